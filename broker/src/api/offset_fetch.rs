//! OffsetFetch (9), versions 1 to 10: how far groups have read.
//!
//! - 2: null topics mean all of them, and an error of the whole answer. 5: leader epochs (KIP-320).
//! - 7: offsets of open transactions may be refused (KIP-447). 8: several groups at once (KIP-709).
//! - 9: member id and epoch of consumer groups (KIP-848). 10: topics by their ids; one that there is not is UNKNOWN_TOPIC_ID.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use moldau_group::{
    FetchedOffset, FetchedTopic, OffsetFetchRequest as Fetch, OffsetFetchResponse as Fetched,
    OffsetFetchTopic, Request as GroupRequest, Response as GroupResponse,
};
use moldau_kafka::OFFSETS_BY_TOPIC_ID_SINCE;
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::group_request::{all, mismatched};
use super::message::{group_id, owned, text, topic_name};
use super::offsets_by_id::UnknownTopics;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(9, "OffsetFetch", 1, 10, handle);

/// The first version that asks for several groups.
const GROUPS_VERSION: i16 = 8;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let image = broker.control.image();
    let (context, request, by_id) = match decoded(&image, request) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let mut fetches = if context.api_version >= GROUPS_VERSION {
        groups_of(&image, &request, broker.control.may_be_replaced())
    } else {
        vec![group_of(&image, &request, broker.control.may_be_replaced())]
    };
    let asked: Vec<(String, Option<Vec<OffsetFetchTopic>>)> =
        fetches.iter().map(|fetch| (fetch.group_id.clone(), fetch.topics.clone())).collect();
    let is_seen = |topic: &str| is_visible(&context, Operation::Describe, Resource::topic(topic));
    let unseen: Vec<Vec<FetchedTopic>> =
        fetches.iter_mut().map(|fetch| take_unseen(fetch, is_seen)).collect();
    let submit = |fetch: Fetch| {
        if !is_authorized(&context, Operation::Describe, Resource::group(&fetch.group_id)) {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        let group_id = fetch.group_id.clone();
        broker.control.coordinator.submit(&group_id, GroupRequest::OffsetFetch(fetch))
    };
    let answers = all(fetches.into_iter().map(submit).collect());
    Reply::Pending(Box::pin(async move {
        let is_seen = |topic: &str| is_visible(&context, Operation::Describe, Resource::topic(topic));
        let outcomes = answers.await.into_iter().zip(unseen).map(|(answer, unseen)| match answer {
            Ok(GroupResponse::OffsetFetch(mut fetched)) => {
                // Who asked for all is told of those that it may see.
                fetched.topics.retain(|topic| is_seen(&topic.name));
                if fetched.error.is_none() {
                    fetched.topics.extend(unseen);
                }
                if by_id.is_some() {
                    forget_former_topics(&mut fetched, &image);
                }
                Ok(fetched)
            }
            Ok(other) => Err(mismatched(&other)),
            Err(error) => Err(error),
        });
        let groups = asked.into_iter().zip(outcomes).collect();
        let response = response(&context, groups);
        match by_id {
            None => context.response(&response),
            Some(unknown) => with_ids(&context, &image, response, unknown),
        }
    }))
}

/// Takes out the topics that the asker may not see, with what it is told of them.
fn take_unseen(fetch: &mut Fetch, is_seen: impl Fn(&str) -> bool) -> Vec<FetchedTopic> {
    let Some(topics) = &mut fetch.topics else { return Vec::new() };
    let mut unseen = Vec::new();
    topics.retain(|topic| {
        let is_seen = is_seen(&topic.name);
        if !is_seen {
            let partitions = topic.partitions.iter().map(|partition| FetchedOffset {
                partition: *partition,
                topic_id: topic.topic_id,
                committed_offset: Offset::NONE,
                committed_leader_epoch: LeaderEpoch::NONE,
                metadata: String::new(),
                error: ErrorCode::TopicAuthorizationFailed,
            });
            unseen.push(FetchedTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
            });
        }
        is_seen
    });
    unseen
}

/// A topic's id must not be told with what was committed for an earlier topic of its name.
fn forget_former_topics(fetched: &mut Fetched, image: &MetadataImage) {
    for topic in &mut fetched.topics {
        let Some(id) = image.topics().by_name(&topic.name).map(|topic| topic.id()) else { continue };
        topic.partitions.retain(|offset| offset.topic_id.is_zero() || offset.topic_id == id);
    }
    fetched.topics.retain(|topic| !topic.partitions.is_empty());
}

type Decoded = (RequestContext, OffsetFetchRequest, Option<UnknownTopics>);

/// The request; where it has ids in place of names, it is left with the topics that there are.
fn decoded(image: &MetadataImage, request: Request) -> Result<Decoded, Reply> {
    if request.context.api_version < OFFSETS_BY_TOPIC_ID_SINCE {
        return request.decode().map(|(context, request)| (context, request, None));
    }
    let (context, (mut request, topic_ids)) =
        request.decode_with(|_, body| moldau_kafka::decode_offset_fetch_by_id(body))?;
    let unknown = UnknownTopics::taken_from(&mut request, topic_ids, image);
    Ok((context, request, Some(unknown)))
}

fn with_ids(
    context: &RequestContext,
    image: &MetadataImage,
    mut response: OffsetFetchResponse,
    unknown: UnknownTopics,
) -> ResponseFrame {
    let topic_ids = unknown.answered(&mut response, image);
    context.encoded(moldau_kafka::encode_offset_fetch_by_id(context.correlation_id, &response, &topic_ids))
}

type Asked = (String, Option<Vec<OffsetFetchTopic>>);

/// What is asked for of one group, each partition once: what was committed with it may be a thousand times as long as
/// its number, and a small request must not make a huge answer.
fn topics<'a>(
    image: &MetadataImage,
    asked: impl Iterator<Item = (&'a str, &'a [i32])>,
) -> Vec<OffsetFetchTopic> {
    let mut seen = HashSet::new();
    let mut topic = |name: &'a str, partitions: &'a [i32]| OffsetFetchTopic {
        name: name.to_owned(),
        topic_id: image.topics().by_name(name).map_or(TopicId::ZERO, |topic| topic.id()),
        partitions: partitions
            .iter()
            .filter(|partition| seen.insert((name, **partition)))
            .copied()
            .map(PartitionIndex)
            .collect(),
    };
    asked.map(|(name, partitions)| topic(name, partitions)).collect()
}

fn group_of(image: &MetadataImage, request: &OffsetFetchRequest, may_be_replaced: bool) -> Fetch {
    let asked = request.topics.as_ref();
    let topics = asked.map(|asked| {
        topics(image, asked.iter().map(|topic| (topic.name.as_str(), &topic.partition_indexes[..])))
    });
    Fetch {
        group_id: request.group_id.to_string(),
        member_id: None,
        member_epoch: -1,
        topics,
        require_stable: request.require_stable,
        may_be_replaced,
    }
}

fn groups_of(image: &MetadataImage, request: &OffsetFetchRequest, may_be_replaced: bool) -> Vec<Fetch> {
    let mut seen = HashSet::new();
    let distinct = request.groups.iter().filter(|group| seen.insert(group.group_id.as_str()));
    let fetches = distinct.map(|group| Fetch {
        group_id: group.group_id.to_string(),
        member_id: owned(group.member_id.clone()),
        member_epoch: group.member_epoch,
        topics: group.topics.as_ref().map(|asked| {
            topics(image, asked.iter().map(|topic| (topic.name.as_str(), &topic.partition_indexes[..])))
        }),
        require_stable: request.require_stable,
        may_be_replaced,
    });
    fetches.collect()
}

fn response(
    context: &RequestContext,
    groups: Vec<(Asked, Result<Fetched, ErrorCode>)>,
) -> OffsetFetchResponse {
    if context.api_version >= GROUPS_VERSION {
        let groups = groups.into_iter().map(|((id, _), outcome)| {
            let group = OffsetFetchResponseGroup::default().with_group_id(group_id(id));
            match outcome {
                Ok(fetched) => {
                    let error = fetched.error;
                    group.with_topics(topics_of_group(fetched)).with_error_code(error.code())
                }
                Err(error) => group.with_error_code(error.code()),
            }
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let Some(((_, asked), outcome)) = groups.into_iter().next() else {
        return OffsetFetchResponse::default();
    };
    let (error, topics) = match outcome {
        Ok(fetched) if fetched.error.is_none() => (ErrorCode::None, topics_alone(context, fetched)),
        Ok(fetched) => (fetched.error, failed_topics(context, asked, fetched.error)),
        Err(error) => (error, failed_topics(context, asked, error)),
    };
    let response = OffsetFetchResponse::default().with_topics(topics);
    if context.api_version >= 2 { response.with_error_code(error.code()) } else { response }
}

fn topics_of_group(fetched: Fetched) -> Vec<OffsetFetchResponseTopics> {
    let topics = fetched.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(partition.partition.0)
                .with_committed_offset(partition.committed_offset.0)
                .with_committed_leader_epoch(partition.committed_leader_epoch.0)
                .with_metadata(Some(text(partition.metadata)))
                .with_error_code(partition.error.code())
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic_name(topic.name))
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

fn topics_alone(context: &RequestContext, fetched: Fetched) -> Vec<OffsetFetchResponseTopic> {
    let topics = fetched.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let told = OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition.0)
                .with_committed_offset(partition.committed_offset.0)
                .with_metadata(Some(text(partition.metadata)))
                .with_error_code(partition.error.code());
            if context.api_version >= 5 {
                told.with_committed_leader_epoch(partition.committed_leader_epoch.0)
            } else {
                told
            }
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic_name(topic.name))
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

/// Before version 2 the error of the whole stands at every partition that was asked for; later there are no topics then.
fn failed_topics(
    context: &RequestContext,
    asked: Option<Vec<OffsetFetchTopic>>,
    error: ErrorCode,
) -> Vec<OffsetFetchResponseTopic> {
    if context.api_version >= 2 {
        return Vec::new();
    }
    let topics = asked.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.0)
                .with_committed_offset(-1)
                .with_metadata(Some(text("")))
                .with_error_code(error.code())
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic_name(topic.name))
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

    use super::*;

    #[test]
    fn a_group_and_a_partition_are_fetched_once_however_often_they_are_named() {
        let topic = |name: &str, partitions: &[i32]| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions.to_vec())
        };
        let group = |id: &str| {
            OffsetFetchRequestGroup::default().with_group_id(group_id(id)).with_topics(Some(vec![
                topic("a", &[1, 0, 1]),
                topic("b", &[1]),
                topic("a", &[0, 2]),
            ]))
        };
        let request = OffsetFetchRequest::default().with_groups(vec![group("g"), group("h"), group("g")]);
        let fetches = groups_of(&MetadataImage::empty(), &request, false);
        assert_eq!(fetches.len(), 2);
        for fetch in fetches {
            let asked: Vec<(String, Vec<i32>)> = fetch
                .topics
                .unwrap()
                .into_iter()
                .map(|topic| (topic.name, topic.partitions.into_iter().map(|p| p.0).collect()))
                .collect();
            let expected = [("a", vec![1, 0]), ("b", vec![1]), ("a", vec![2])];
            assert_eq!(asked, expected.map(|(name, partitions)| (name.to_owned(), partitions)));
        }
    }
}
