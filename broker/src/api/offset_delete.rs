//! OffsetDelete (47), version 0: a group forgets committed offsets of topics it does not read (KIP-496).

use std::sync::Arc;

use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use moldau_group::{
    OffsetDeleteRequest as Delete, OffsetDeleteResponse as Deleted, OffsetDeleteTopic,
    Request as GroupRequest, Response as GroupResponse,
};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex};

use super::group_request::{ask, check_group_id, mismatched};
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(47, "OffsetDelete", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, mut request) = match request.decode::<OffsetDeleteRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    if !is_authorized(&context, Operation::Delete, Resource::group(&group_id)) {
        return context.ready(&failed(ErrorCode::GroupAuthorizationFailed));
    }
    if let Err(error) = check_group_id(&group_id) {
        return context.ready(&failed(error));
    }
    let is_allowed = |topic: &OffsetDeleteRequestTopic| {
        is_authorized(&context, Operation::Read, Resource::topic(&topic.name))
    };
    let (allowed, refused): (Vec<_>, Vec<_>) =
        std::mem::take(&mut request.topics).into_iter().partition(is_allowed);
    request.topics = allowed;
    let image = broker.control.image();
    // Partitions that do not exist are answered here; the coordinator is asked about the others.
    let topics = request.topics.iter().filter_map(|topic| {
        let partitions: Vec<PartitionIndex> = topic
            .partitions
            .iter()
            .map(|partition| PartitionIndex(partition.partition_index))
            .filter(|partition| image.partition_by_name(&topic.name, *partition).is_some())
            .collect();
        (!partitions.is_empty()).then(|| OffsetDeleteTopic { name: topic.name.to_string(), partitions })
    });
    let delete = Delete { group_id: group_id.clone(), topics: topics.collect() };
    ask(
        &broker.control,
        context,
        &group_id,
        GroupRequest::OffsetDelete(delete),
        move |_, answer| match answer {
            Ok(GroupResponse::OffsetDelete(deleted)) if deleted.error.is_none() => {
                let mut response = merged(&image, &request.topics, deleted);
                response.topics.extend(refused.into_iter().map(refused_topic));
                response
            }
            Ok(GroupResponse::OffsetDelete(deleted)) => failed(deleted.error),
            Ok(other) => failed(mismatched(&other)),
            Err(error) => failed(error),
        },
    )
}

fn failed(error: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(error.code())
}

fn refused_topic(topic: OffsetDeleteRequestTopic) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetDeleteResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(ErrorCode::TopicAuthorizationFailed.code())
    });
    let partitions = partitions.collect();
    OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
}

/// One walk over the request and the coordinator's answer, which is in the request's order.
fn merged(
    image: &MetadataImage,
    topics: &[OffsetDeleteRequestTopic],
    deleted: Deleted,
) -> OffsetDeleteResponse {
    let mut results = deleted.topics.into_iter().flat_map(|topic| topic.partitions);
    let mut code_of = |topic: &str, partition: PartitionIndex| {
        if image.partition_by_name(topic, partition).is_none() {
            return ErrorCode::UnknownTopicOrPartition;
        }
        results
            .next()
            .filter(|result| result.partition == partition)
            .map_or(ErrorCode::UnknownServerError, |result| result.error)
    };
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = PartitionIndex(partition.partition_index);
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index.0)
                .with_error_code(code_of(&topic.name, index).code())
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
