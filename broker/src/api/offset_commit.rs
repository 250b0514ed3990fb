//! OffsetCommit (8), versions 2 to 9: a group notes how far it has read.
//!
//! - 2 to 4: a retention time of the commit's own. 6: leader epochs (KIP-320). 7: static membership (KIP-345).
//! - 9: the member epoch of consumer groups (KIP-848). 10 (topic ids) is unknown to kafka-protocol 0.18.
//!
//! The answer comes when the offsets are committed as records. Topics and partitions that do not exist are refused one by
//! one, the others are committed.

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use moldau_group::{
    OffsetCommitPartition, OffsetCommitRequest as Commit, OffsetCommitResponse as Committed,
    OffsetCommitTopic, Request as GroupRequest, Response as GroupResponse,
};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex};

use super::group_request::{ask, mismatched};
use super::message::owned;
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(8, "OffsetCommit", 2, 9, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<OffsetCommitRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    let image = broker.control.image();
    let topics: Vec<OffsetCommitTopic> =
        request.topics.iter().filter_map(|topic| committable(&image, topic)).collect();
    if topics.is_empty() {
        return context.ready(&merged(&image, &request.topics, Err(ErrorCode::None)));
    }
    let commit = Commit {
        api_version: context.api_version,
        group_id: group_id.clone(),
        generation_id: GenerationId(request.generation_id_or_member_epoch),
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id.clone()),
        retention_time_ms: (2..=4)
            .contains(&context.api_version)
            .then_some(request.retention_time_ms)
            .filter(|retention_ms| *retention_ms >= 0),
        topics,
    };
    ask(&broker.control, context, &group_id, GroupRequest::OffsetCommit(commit), move |_, answer| {
        let outcome = match answer {
            Ok(GroupResponse::OffsetCommit(committed)) => Ok(committed),
            Ok(other) => Err(mismatched(&other)),
            Err(error) => Err(error),
        };
        merged(&image, &request.topics, outcome)
    })
}

fn exists(image: &MetadataImage, topic: &str, partition: i32) -> bool {
    image.partition_by_name(topic, PartitionIndex(partition)).is_some()
}

/// The part of a topic that can be committed: its partitions that exist.
fn committable(image: &MetadataImage, topic: &OffsetCommitRequestTopic) -> Option<OffsetCommitTopic> {
    let known = image.topics().by_name(&topic.name)?;
    let partitions: Vec<OffsetCommitPartition> = topic
        .partitions
        .iter()
        .filter(|partition| known.partition(PartitionIndex(partition.partition_index)).is_some())
        .map(|partition| OffsetCommitPartition {
            partition: PartitionIndex(partition.partition_index),
            committed_offset: Offset(partition.committed_offset),
            committed_leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
            metadata: owned(partition.committed_metadata.clone()),
        })
        .collect();
    if partitions.is_empty() {
        return None;
    }
    Some(OffsetCommitTopic { name: topic.name.to_string(), topic_id: known.id(), partitions })
}

/// One answer for every partition of the request, in its order: what the coordinator said, and that the others do not
/// exist. Partitions of a request that has nothing to commit take `Err`'s code only where they exist, so none do.
fn merged(
    image: &MetadataImage,
    topics: &[OffsetCommitRequestTopic],
    outcome: Result<Committed, ErrorCode>,
) -> OffsetCommitResponse {
    let code_of = |topic: &str, partition: i32| -> ErrorCode {
        if !exists(image, topic, partition) {
            return ErrorCode::UnknownTopicOrPartition;
        }
        match &outcome {
            Err(error) => *error,
            Ok(committed) => committed
                .topics
                .iter()
                .filter(|committed| committed.name == topic)
                .flat_map(|committed| &committed.partitions)
                .find(|result| result.partition.0 == partition)
                .map_or(ErrorCode::UnknownServerError, |result| result.error),
        }
    };
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code_of(&topic.name, index).code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
