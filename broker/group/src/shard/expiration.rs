//! Offsets that outlived their use, and groups of which nothing is left.
//!
//! Kafka's rules (KIP-211): a group without a protocol type only commits, and its offsets age from their commit.
//! The offsets of an empty group age from when it became empty. Those of a stable consumer group age from their
//! commit, but only where no member subscribes to the topic, and so do those of consumer and streams groups. All others
//! stay.

use std::sync::Arc;

use moldau_model::{PartitionIndex, TimestampMs};

use super::append::PendingAppend;
use super::deletion::offset_tombstone;
use super::{CoordinatorRecord, GroupShard, Output};
use crate::group::{ClassicGroup, GroupState};
use crate::offsets::OffsetAndMetadata;
use crate::timers::TimerKey;

/// Where the age of a group's offsets is counted from.
#[derive(Clone, Copy)]
enum AgesFrom {
    Commit,
    /// The group's becoming empty.
    StateChange(TimestampMs),
}

impl GroupShard {
    pub(super) fn expire_offsets(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        let interval_ms = self.config.offsets_retention_check_interval_ms.max(1);
        self.timers.schedule(TimerKey::Expiration, now_ms.saturating_add(interval_ms));
        let mut tombstones: Vec<(Arc<str>, CoordinatorRecord)> = Vec::new();
        let mut finished: Vec<Arc<str>> = Vec::new();
        let mut expire =
            |group_id: &Arc<str>, from: Option<AgesFrom>, is_empty, subscribed: &dyn Fn(&str) -> bool| {
                let (expired, has_more) = self.expired_offsets(group_id, from, subscribed, now_ms);
                if !has_more && is_empty {
                    // Its offsets' tombstones are written with its own.
                    return finished.push(Arc::clone(group_id));
                }
                let tombstone = |(topic, partition): (String, PartitionIndex)| {
                    (Arc::clone(group_id), offset_tombstone(group_id, &topic, partition))
                };
                tombstones.extend(expired.into_iter().map(tombstone));
            };
        for (group_id, group) in &self.groups {
            let is_empty = group.state() == GroupState::Empty && group.pending_join.is_empty();
            expire(group_id, ages_from(group), is_empty, &|topic| group.is_subscribed_to(topic));
        }
        let from_commit = Some(AgesFrom::Commit);
        for (group_id, slot) in &self.consumer_groups.by_id {
            let is_empty = slot.is_idle_and_empty();
            expire(group_id, from_commit, is_empty, &|topic| slot.group.is_subscribed_to(topic));
        }
        for (group_id, slot) in &self.streams_groups.by_id {
            let is_empty = slot.is_idle_and_empty();
            expire(group_id, from_commit, is_empty, &|topic| slot.group.is_subscribed_to(topic));
        }
        self.append_tombstones(tombstones, now_ms, out);
        self.remove_finished_groups(&finished, now_ms, out);
    }

    fn remove_finished_groups(&mut self, finished: &[Arc<str>], now_ms: i64, out: &mut Vec<Output>) {
        let mut append = PendingAppend::default();
        let (mut consumer_groups, mut streams_groups) = (Vec::new(), Vec::new());
        for group_id in finished {
            if self.remove_consumer_group(group_id, &mut append) {
                consumer_groups.push(Arc::clone(group_id));
            } else if self.remove_streams_group(group_id, &mut append) {
                streams_groups.push(Arc::clone(group_id));
            } else {
                self.remove_group(group_id, &mut append);
            }
            if append.records.len() >= self.config.records_per_append_max {
                let append_id = self.append(std::mem::take(&mut append), now_ms, out);
                self.consumer_groups.go(append_id, &std::mem::take(&mut consumer_groups));
                self.streams_groups.go(append_id, &std::mem::take(&mut streams_groups));
            }
        }
        if !append.records.is_empty() {
            let append_id = self.append(append, now_ms, out);
            self.consumer_groups.go(append_id, &consumer_groups);
            self.streams_groups.go(append_id, &streams_groups);
        }
    }

    /// The group's expired offsets, and whether it has others, pending ones and those of open transactions among them.
    fn expired_offsets(
        &self,
        group_id: &str,
        ages_from: Option<AgesFrom>,
        is_subscribed_to: &dyn Fn(&str) -> bool,
        now_ms: i64,
    ) -> (Vec<(String, PartitionIndex)>, bool) {
        let mut has_more = self.appends.last_offsets_append(group_id).is_some()
            || self.open_transactions.contains_group(group_id);
        let mut expired = Vec::new();
        for (topic, partitions) in self.offsets.of_group(group_id).into_iter().flatten() {
            for (partition, offset) in partitions {
                match ages_from {
                    Some(ages_from)
                        if !is_subscribed_to(topic)
                            && self.is_expired(offset, ages_from, now_ms)
                            && !self.open_transactions.contains(group_id, topic, *partition) =>
                    {
                        expired.push((topic.to_string(), *partition));
                    }
                    _ => has_more = true,
                }
            }
        }
        (expired, has_more)
    }

    fn is_expired(&self, offset: &OffsetAndMetadata, ages_from: AgesFrom, now_ms: i64) -> bool {
        let base = match ages_from {
            AgesFrom::Commit => offset.commit_timestamp,
            AgesFrom::StateChange(timestamp) => timestamp,
        };
        offset.is_expired(base, now_ms, self.config.offsets_retention_ms)
    }
}

/// `None`: the group's offsets do not age.
fn ages_from(group: &ClassicGroup) -> Option<AgesFrom> {
    match group.state() {
        _ if group.protocol_type.is_none() => Some(AgesFrom::Commit),
        GroupState::Empty => Some(group.state_timestamp().map_or(AgesFrom::Commit, AgesFrom::StateChange)),
        GroupState::Stable if group.uses_consumer_protocol() && group.knows_subscribed_topics() => {
            Some(AgesFrom::Commit)
        }
        _ => None,
    }
}
