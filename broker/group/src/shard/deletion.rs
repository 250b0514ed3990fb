//! OffsetDelete (key 47), DeleteGroups (key 42), versions 0 to 2, and the offsets of deleted topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_model::{ErrorCode, PartitionIndex};

use super::append::{Completion, PendingAppend};
use super::{CoordinatorRecord, GroupShard, Output};
use crate::group::{ClassicGroup, GroupState};
use crate::records::{group_key, offset_key};
use crate::request::{OffsetDeleteRequest, RequestToken};
use crate::response::{DeletedGroup, DeletedTopic, OffsetDeleteResponse, PartitionResult, Response};
use crate::timers::TimerKey;

impl GroupShard {
    pub(super) fn offset_delete(
        &mut self,
        token: RequestToken,
        request: &OffsetDeleteRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let classic = self.groups.get(&*request.group_id);
        let consumer = self.consumer_groups.get(&request.group_id);
        let streams = self.streams_groups.get(&request.group_id);
        if classic.is_none() && consumer.is_none() && streams.is_none() {
            return out.push(Output::Reply { token, response: offsets_refused(ErrorCode::GroupIdNotFound) });
        }
        if classic.is_some_and(|group| group.state() != GroupState::Empty && !group.uses_consumer_protocol())
        {
            // Which topics such a group uses is its own secret.
            return out.push(Output::Reply { token, response: offsets_refused(ErrorCode::NonEmptyGroup) });
        }
        let is_subscribed_to = |topic: &str| {
            classic.is_some_and(|group| group.is_subscribed_to(topic))
                || consumer.is_some_and(|group| group.is_subscribed_to(topic))
                || streams.is_some_and(|group| group.is_subscribed_to(topic))
        };
        let present = self.offset_keys(&request.group_id);
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let is_subscribed = is_subscribed_to(&topic.name);
            let error = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            let partitions =
                topic.partitions.iter().map(|partition| PartitionResult { partition: *partition, error });
            topics.push(DeletedTopic { name: topic.name.clone(), partitions: partitions.collect() });
            let deleted = topic
                .partitions
                .iter()
                .filter(|partition| !is_subscribed && present.contains(&(topic.name.clone(), **partition)));
            records.extend(
                deleted.map(|partition| offset_tombstone(&request.group_id, &topic.name, *partition)),
            );
        }
        let response = Response::OffsetDelete(OffsetDeleteResponse { error: ErrorCode::None, topics });
        if records.is_empty() {
            return out.push(Output::Reply { token, response });
        }
        let append = PendingAppend {
            records,
            completion: Some(Completion::Reply { token, response, simple_group: None }),
            offsets_of: BTreeSet::from([request.group_id.as_str().into()]),
            ..PendingAppend::default()
        };
        self.append(append, now_ms, out);
    }

    pub(super) fn delete_groups(
        &mut self,
        token: RequestToken,
        group_ids: &[String],
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let mut append = PendingAppend::default();
        let distinct: BTreeSet<&String> = group_ids.iter().collect();
        let mut results = Vec::with_capacity(distinct.len());
        let mut consumer_groups: Vec<Arc<str>> = Vec::new();
        let mut share_groups: Vec<Arc<str>> = Vec::new();
        let mut streams_groups: Vec<Arc<str>> = Vec::new();
        for group_id in distinct {
            let error = match self.groups.get(&**group_id).map(ClassicGroup::state) {
                None if self.remove_consumer_group(group_id, &mut append) => {
                    consumer_groups.push(group_id.as_str().into());
                    ErrorCode::None
                }
                None if self.consumer_groups.get(group_id).is_some() => ErrorCode::NonEmptyGroup,
                None if self.remove_share_group(group_id, &mut append) => {
                    share_groups.push(group_id.as_str().into());
                    ErrorCode::None
                }
                None if self.share_groups.get(group_id).is_some() => ErrorCode::NonEmptyGroup,
                None if self.remove_streams_group(group_id, &mut append) => {
                    streams_groups.push(group_id.as_str().into());
                    ErrorCode::None
                }
                None if self.streams_groups.get(group_id).is_some() => ErrorCode::NonEmptyGroup,
                None => ErrorCode::GroupIdNotFound,
                Some(GroupState::Empty | GroupState::Dead) => {
                    self.remove_group(group_id, &mut append);
                    ErrorCode::None
                }
                Some(_) => ErrorCode::NonEmptyGroup,
            };
            results.push(DeletedGroup { group_id: group_id.clone(), error });
        }
        let response = Response::DeleteGroups(results);
        if append.records.is_empty() {
            return out.push(Output::Reply { token, response });
        }
        append.completion = Some(Completion::Reply { token, response, simple_group: None });
        let append_id = self.append(append, now_ms, out);
        self.consumer_groups.go(append_id, &consumer_groups);
        self.share_groups.go(append_id, &share_groups);
        self.streams_groups.go(append_id, &streams_groups);
    }

    /// Writes tombstones for the offsets of topics that are no more.
    pub(super) fn topics_deleted(&mut self, topics: &[String], now_ms: i64, out: &mut Vec<Output>) {
        let mut tombstones = Vec::new();
        let mut group_ids: BTreeSet<Arc<str>> =
            self.appends.groups_with_pending_offsets().into_iter().collect();
        group_ids.extend(
            self.offsets
                .groups()
                .filter(|(_, offsets)| topics.iter().any(|topic| offsets.contains_key(&**topic)))
                .map(|(group_id, _)| Arc::clone(group_id)),
        );
        group_ids.extend(self.open_transactions.groups().cloned());
        for group_id in group_ids {
            for (topic, partition) in self.offset_keys(&group_id) {
                if topics.contains(&topic) {
                    tombstones.push((Arc::clone(&group_id), offset_tombstone(&group_id, &topic, partition)));
                }
            }
        }
        self.append_tombstones(tombstones, now_ms, out);
    }

    /// Appends tombstones that nobody waits for, in batches of a bounded size.
    pub(super) fn append_tombstones(
        &mut self,
        tombstones: Vec<(Arc<str>, CoordinatorRecord)>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let mut tombstones = tombstones.into_iter().peekable();
        while tombstones.peek().is_some() {
            let (offsets_of, records) =
                tombstones.by_ref().take(self.config.records_per_append_max.max(1)).unzip();
            let append = PendingAppend { records, offsets_of, ..PendingAppend::default() };
            self.append(append, now_ms, out);
        }
    }

    /// Takes an empty group out, with tombstones for its offsets and then for itself. It comes back if they
    /// cannot be written.
    pub(super) fn remove_group(&mut self, group_id: &str, append: &mut PendingAppend) {
        self.append_offset_tombstones(group_id, append);
        let Some((group_id, group)) = self.groups.remove_entry(group_id) else { return };
        for member_id in &group.pending_join {
            self.timers.cancel(&TimerKey::Session {
                group_id: Arc::clone(&group_id),
                member_id: Arc::clone(member_id),
            });
        }
        append.records.push(CoordinatorRecord { key: group_key(&group_id), value: None });
        append.removed_groups.push(group);
        append.offsets_of.insert(group_id);
    }

    /// Tombstones for a group's offsets.
    pub(super) fn append_offset_tombstones(&self, group_id: &str, append: &mut PendingAppend) {
        let keys = self.offset_keys(group_id);
        append
            .records
            .extend(keys.iter().map(|(topic, partition)| offset_tombstone(group_id, topic, *partition)));
    }

    /// The group's offsets, committed ones, those on their way, and those of transactions.
    pub(super) fn offset_keys(&self, group_id: &str) -> BTreeSet<(String, PartitionIndex)> {
        let mut keys = self.appends.pending_offset_keys(group_id);
        let kept =
            self.offsets.of_group(group_id).into_iter().chain(self.open_transactions.of_group(group_id));
        for (topic, partitions) in kept.flatten() {
            keys.extend(partitions.keys().map(|partition| (topic.to_string(), *partition)));
        }
        keys
    }
}

pub(super) fn offset_tombstone(group_id: &str, topic: &str, partition: PartitionIndex) -> CoordinatorRecord {
    CoordinatorRecord { key: offset_key(group_id, topic, partition), value: None }
}

pub(super) fn offsets_refused(error: ErrorCode) -> Response {
    Response::OffsetDelete(OffsetDeleteResponse { error, topics: Vec::new() })
}
