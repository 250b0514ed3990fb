//! OffsetCommit (8), versions 2 to 10: a group notes how far it has read.
//!
//! - 2 to 4: a retention time of the commit's own. 6: leader epochs (KIP-320). 7: static membership (KIP-345).
//! - 9: the member epoch of consumer groups (KIP-848). 10: topics by their ids; one that there is not is UNKNOWN_TOPIC_ID.
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
use moldau_kafka::OFFSETS_BY_TOPIC_ID_SINCE;
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::commit_results::{self, CommitResults};
use super::group_request::{mismatched, outcome};
use super::message::owned;
use super::offsets_by_id::name_of;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(8, "OffsetCommit", 2, 10, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let image = broker.control.image();
    let (context, mut request, mut topic_ids) = match decoded(&image, request) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    if !is_authorized(&context, Operation::Read, Resource::group(&group_id)) {
        let code = ErrorCode::GroupAuthorizationFailed;
        let response = OffsetCommitResponse::default().with_topics(refused(&request.topics, code));
        return Reply::Ready(frame(&context, response, topic_ids.as_deref()));
    }
    let refused = take_unauthorized(&context, &mut request, topic_ids.as_mut());
    let topics: Vec<OffsetCommitTopic> =
        request.topics.iter().filter_map(|topic| committable(&image, topic)).collect();
    if topics.is_empty() {
        let mut response = merged(&image, &request.topics, Err(ErrorCode::None));
        response.topics.extend(refused);
        return Reply::Ready(frame(&context, response, topic_ids.as_deref()));
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
    let asked = broker.control.coordinator.submit(&group_id, GroupRequest::OffsetCommit(commit));
    let answered = move |answer: Result<GroupResponse, ErrorCode>| {
        let outcome = match answer {
            Ok(GroupResponse::OffsetCommit(committed)) => Ok(committed),
            Ok(other) => Err(mismatched(&other)),
            Err(error) => Err(error),
        };
        let mut response = merged(&image, &request.topics, outcome);
        response.topics.extend(refused);
        frame(&context, response, topic_ids.as_deref())
    };
    match asked {
        Err(error) => Reply::Ready(answered(Err(error))),
        Ok(receiver) => Reply::Pending(Box::pin(async move { answered(outcome(receiver).await) })),
    }
}

/// Takes out the topics that the asker may not read, with what it is told of them. Their ids go behind the others', as their
/// answers do.
fn take_unauthorized(
    context: &RequestContext,
    request: &mut OffsetCommitRequest,
    topic_ids: Option<&mut Vec<TopicId>>,
) -> Vec<OffsetCommitResponseTopic> {
    let is_allowed = |topic: &OffsetCommitRequestTopic| {
        // What has no name has an id that nobody has.
        topic.name.is_empty() || is_authorized(context, Operation::Read, Resource::topic(&topic.name))
    };
    let allowed: Vec<bool> = request.topics.iter().map(is_allowed).collect();
    if allowed.iter().all(|is_allowed| *is_allowed) {
        return Vec::new();
    }
    if let Some(ids) = topic_ids {
        let (kept, taken): (Vec<_>, Vec<_>) =
            ids.drain(..).zip(&allowed).partition(|(_, is_allowed)| **is_allowed);
        ids.extend(kept.into_iter().chain(taken).map(|(id, _)| id));
    }
    let (kept, taken): (Vec<_>, Vec<_>) =
        std::mem::take(&mut request.topics).into_iter().zip(allowed).partition(|(_, is_allowed)| *is_allowed);
    request.topics = kept.into_iter().map(|(topic, _)| topic).collect();
    let taken: Vec<_> = taken.into_iter().map(|(topic, _)| topic).collect();
    refused(&taken, ErrorCode::TopicAuthorizationFailed)
}

/// Topics of which every partition is told the same.
fn refused(topics: &[OffsetCommitRequestTopic], code: ErrorCode) -> Vec<OffsetCommitResponseTopic> {
    let topic = |topic: &OffsetCommitRequestTopic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code())
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    };
    topics.iter().map(topic).collect()
}

type Decoded = (RequestContext, OffsetCommitRequest, Option<Vec<TopicId>>);

/// The request, and the ids of its topics where it has those in place of names.
fn decoded(image: &MetadataImage, request: Request) -> Result<Decoded, Reply> {
    if request.context.api_version < OFFSETS_BY_TOPIC_ID_SINCE {
        return request.decode().map(|(context, request)| (context, request, None));
    }
    let (context, (mut request, topic_ids)) =
        request.decode_with(|_, body| moldau_kafka::decode_offset_commit_by_id(body))?;
    for (topic, id) in request.topics.iter_mut().zip(&topic_ids) {
        topic.name = name_of(image, *id);
    }
    Ok((context, request, Some(topic_ids)))
}

fn frame(
    context: &RequestContext,
    mut response: OffsetCommitResponse,
    topic_ids: Option<&[TopicId]>,
) -> ResponseFrame {
    let Some(topic_ids) = topic_ids else { return context.response(&response) };
    let of_unknown_id = response.topics.iter_mut().filter(|topic| topic.name.is_empty());
    for partition in of_unknown_id.flat_map(|topic| &mut topic.partitions) {
        partition.error_code = ErrorCode::UnknownTopicId.code();
    }
    context.encoded(moldau_kafka::encode_offset_commit_by_id(context.correlation_id, &response, topic_ids))
}

fn committable(image: &MetadataImage, topic: &OffsetCommitRequestTopic) -> Option<OffsetCommitTopic> {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitPartition {
        partition: PartitionIndex(partition.partition_index),
        committed_offset: Offset(partition.committed_offset),
        committed_leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: owned(partition.committed_metadata.clone()),
    });
    commit_results::committable(image, &topic.name, partitions)
}

fn merged(
    image: &MetadataImage,
    topics: &[OffsetCommitRequestTopic],
    outcome: Result<Committed, ErrorCode>,
) -> OffsetCommitResponse {
    let mut results = CommitResults::new(image, outcome);
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(results.next(&topic.name, index).code())
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
    use kafka_protocol::protocol::StrBytes;
    use moldau_group::{CommittedTopic, PartitionResult};
    use moldau_metadata::{MetadataRecord, records};

    use super::*;

    /// Topics `a` and `b` of two partitions each.
    fn image() -> MetadataImage {
        let mut made: Vec<MetadataRecord> = Vec::new();
        for (name, id) in [("a", 1u8), ("b", 2)] {
            made.push(records::Topic { name: name.into(), topic_id: vec![id; 16] }.into());
            made.extend((0..2).map(|partition_index| {
                MetadataRecord::from(records::Partition {
                    partition_index,
                    topic_id: vec![id; 16],
                    replicas: vec![1],
                    isr: vec![1],
                    leader: 1,
                    directories: vec![vec![0; 16]],
                    ..records::Partition::default()
                })
            }));
        }
        MetadataImage::empty().replay(&made.into(), Offset(1), LeaderEpoch(1)).unwrap().0
    }

    fn asked(name: &'static str, partitions: &[i32]) -> OffsetCommitRequestTopic {
        let partitions = partitions
            .iter()
            .map(|index| OffsetCommitRequestPartition::default().with_partition_index(*index));
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(partitions.collect())
    }

    /// What a coordinator answers that was asked for the committable part: another code for each partition.
    fn answered(image: &MetadataImage, topics: &[OffsetCommitRequestTopic]) -> Committed {
        let mut codes = (1..100).cycle().map(ErrorCode::from_code);
        let topics =
            topics.iter().filter_map(|topic| committable(image, topic)).map(|topic| CommittedTopic {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| PartitionResult {
                        partition: partition.partition,
                        error: codes.next().unwrap(),
                    })
                    .collect(),
                name: topic.name,
                topic_id: topic.topic_id,
            });
        Committed { topics: topics.collect() }
    }

    fn codes(response: &OffsetCommitResponse) -> Vec<i16> {
        response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code).collect()
    }

    #[test]
    fn every_partition_gets_its_own_answer_and_who_does_not_exist_is_told_so() {
        let image = image();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let topics = [
            asked("a", &[1, 7, 0]),
            asked("nobody", &[0]),
            asked("b", &[9]),
            asked("b", &[0, 0]),
            asked("a", &[1]),
        ];
        let response = merged(&image, &topics, Ok(answered(&image, &topics)));
        assert_eq!(codes(&response), [1, unknown, 2, unknown, unknown, 3, 4, 5]);
        let response = merged(&image, &topics, Err(ErrorCode::NotCoordinator));
        assert_eq!(codes(&response).iter().filter(|code| **code == unknown).count(), 3);
    }

    #[test]
    fn a_request_that_names_a_partition_very_often_is_answered_in_one_walk() {
        let image = image();
        let topics: Vec<OffsetCommitRequestTopic> =
            (0..200_000).map(|n| asked(if n < 100_000 { "a" } else { "b" }, &[0])).collect();
        let mut committed = answered(&image, &topics);
        for result in committed.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            result.error = ErrorCode::None;
        }
        let response = merged(&image, &topics, Ok(committed));
        assert!(codes(&response).iter().all(|code| *code == 0));
    }
}
