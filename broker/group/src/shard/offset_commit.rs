//! OffsetCommit (key 8), versions 2 to 10. Answered once the offsets are committed in the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, TimestampMs};

use super::append::{Completion, PendingAppend};
use super::{AppendKind, CoordinatorRecord, GroupShard, Output};
use crate::GroupConfig;
use crate::group::{ClassicGroup, GroupState};
use crate::records::{OffsetCommitValue, STRING_BYTES_MAX, offset_key};
use crate::request::{OffsetCommitPartition, OffsetCommitRequest, RequestToken};
use crate::response::{CommittedTopic, OffsetCommitResponse, PartitionResult, Response};

/// From this version on a member of an unknown group is told that there is no such group (KIP-848).
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;

/// Transactions are fenced by their producers: old ones name no member, and a rebalance does not stop them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitKind {
    Plain,
    InTransaction,
}

impl GroupShard {
    pub(super) fn offset_commit(
        &mut self,
        token: RequestToken,
        request: &OffsetCommitRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let simple_group = match self.commit_group(request, CommitKind::Plain, now_ms) {
            Ok(simple_group) => simple_group,
            Err(error) => return out.push(Output::Reply { token, response: refused(request, error) }),
        };
        if let Some(mut rebalance) = self.rebalance(&request.group_id, now_ms, out)
            && matches!(rebalance.group.state(), GroupState::Stable | GroupState::PreparingRebalance)
        {
            // A commit is a sign of life.
            rebalance.renew_session(&request.member_id);
        }
        self.append_offsets(token, request, AppendKind::Records, simple_group, now_ms, out);
    }

    /// Writes the offsets, and answers once they are in the log.
    pub(super) fn append_offsets(
        &mut self,
        token: RequestToken,
        request: &OffsetCommitRequest,
        kind: AppendKind,
        simple_group: Option<Arc<str>>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let (records, response) = offset_records(&self.config, request, now_ms);
        if records.is_empty() {
            self.remove_group_without_use(simple_group.as_deref());
            return out.push(Output::Reply { token, response });
        }
        let group_id: Arc<str> = request.group_id.as_str().into();
        let append = PendingAppend {
            kind,
            records,
            completion: Some(Completion::Reply { token, response, simple_group }),
            offsets_of: BTreeSet::from([group_id]),
            ..PendingAppend::default()
        };
        self.append(append, now_ms, out);
    }

    /// Checks that this client may commit for the group. A client that is no member makes a group by committing:
    /// Kafka's simple group, which is returned if it is new.
    pub(super) fn commit_group(
        &mut self,
        request: &OffsetCommitRequest,
        kind: CommitKind,
        now_ms: i64,
    ) -> Result<Option<Arc<str>>, ErrorCode> {
        if let Some(slot) = self.consumer_groups.by_id.get(&*request.group_id) {
            return slot.validate_commit(request, kind).map(|()| None);
        }
        if let Some(slot) = self.streams_groups.by_id.get(&*request.group_id) {
            return slot.validate_commit(request, kind).map(|()| None);
        }
        if self.share_groups.by_id.contains_key(&*request.group_id) {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if let Some(group) = self.groups.get(&*request.group_id) {
            return validate(group, request, kind).map(|()| None);
        }
        if request.generation_id >= GenerationId(0) {
            return Err(match (kind, request.api_version) {
                (CommitKind::Plain, GROUP_ID_NOT_FOUND_SINCE..) => ErrorCode::GroupIdNotFound,
                _ => ErrorCode::IllegalGeneration,
            });
        }
        if self.groups.len() >= self.config.groups_per_shard_max {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        let group_id: Arc<str> = request.group_id.as_str().into();
        self.groups.insert(Arc::clone(&group_id), ClassicGroup::new(Arc::clone(&group_id), now_ms));
        Ok(Some(group_id))
    }

    /// Takes back a simple group whose first commit came to nothing.
    pub(super) fn remove_group_without_use(&mut self, group_id: Option<&str>) {
        let Some(group_id) = group_id else { return };
        let is_unused = self.groups.get(group_id).is_some_and(|group| {
            group.protocol_type.is_none()
                && group.state() == GroupState::Empty
                && group.pending_join.is_empty()
                && !self.has_offsets(group_id)
        });
        if is_unused {
            self.groups.remove(group_id);
        }
    }
}

fn validate(group: &ClassicGroup, request: &OffsetCommitRequest, kind: CommitKind) -> Result<(), ErrorCode> {
    let is_empty = group.state() == GroupState::Empty;
    let has_generation = request.generation_id >= GenerationId(0);
    if !has_generation && is_empty {
        // An administrator, or a consumer that assigns itself its partitions.
        return Ok(());
    }
    if has_generation || !request.member_id.is_empty() || request.group_instance_id.is_some() {
        group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != group.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
    } else if kind == CommitKind::Plain {
        // Nobody from outside commits for a group that has members.
        return Err(ErrorCode::UnknownMemberId);
    }
    if kind == CommitKind::Plain && group.state() == GroupState::CompletingRebalance {
        // The member knows the generation and not yet what it was assigned.
        return Err(ErrorCode::RebalanceInProgress);
    }
    Ok(())
}

fn offset_records(
    config: &GroupConfig,
    request: &OffsetCommitRequest,
    now_ms: i64,
) -> (Vec<CoordinatorRecord>, Response) {
    let expire_timestamp =
        request.retention_time_ms.map(|retention_ms| TimestampMs(now_ms.saturating_add(retention_ms)));
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let error = if topic.name.len() > STRING_BYTES_MAX {
                ErrorCode::UnknownTopicOrPartition
            } else if is_metadata_too_large(config, partition) {
                ErrorCode::OffsetMetadataTooLarge
            } else {
                let value = OffsetCommitValue {
                    offset: partition.committed_offset,
                    // Kafka knows one number for no epoch.
                    leader_epoch: partition.committed_leader_epoch.max(LeaderEpoch::NONE),
                    metadata: partition.metadata.as_deref().unwrap_or_default(),
                    commit_timestamp: TimestampMs(now_ms),
                    expire_timestamp,
                    topic_id: topic.topic_id,
                };
                records.push(CoordinatorRecord {
                    key: offset_key(&request.group_id, &topic.name, partition.partition),
                    value: Some(value.encode()),
                });
                ErrorCode::None
            };
            partitions.push(PartitionResult { partition: partition.partition, error });
        }
        topics.push(CommittedTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions });
    }
    (records, Response::OffsetCommit(OffsetCommitResponse { topics }))
}

/// Kafka calls the setting bytes and counts UTF-16 units.
fn is_metadata_too_large(config: &GroupConfig, partition: &OffsetCommitPartition) -> bool {
    let Some(metadata) = &partition.metadata else { return false };
    metadata.len() > STRING_BYTES_MAX
        || (metadata.len() > config.offset_metadata_bytes_max
            && metadata.encode_utf16().count() > config.offset_metadata_bytes_max)
}

/// The answer that says the same of every partition.
pub(super) fn refused(request: &OffsetCommitRequest, error: ErrorCode) -> Response {
    let topics = request.topics.iter().map(|topic| CommittedTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionResult { partition: partition.partition, error })
            .collect(),
    });
    Response::OffsetCommit(OffsetCommitResponse { topics: topics.collect() })
}
