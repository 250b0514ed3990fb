//! ConsumerGroupHeartbeat (68), versions 0 and 1: a member of a consumer group joins, stays or leaves, and is told its
//! partitions (KIP-848).
//!
//! - 1: regular expressions; the member makes its id (KIP-1082).

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use moldau_group::{
    ConsumerGroupHeartbeatRequest as Beat, ConsumerGroupHeartbeatResponse as Heard, Request as GroupRequest,
    Response as GroupResponse, TopicFilter, TopicPartitions as Owned,
};
use moldau_model::{ErrorCode, PartitionIndex, Uuid};

use super::group_request::{ask, check_member, mismatched, serves_consumer_groups};
use super::message::{model_uuid, owned, text, wire_uuid};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(68, "ConsumerGroupHeartbeat", 0, 1, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ConsumerGroupHeartbeatRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !serves_consumer_groups(&broker.control) {
        return context.ready(&failed(ErrorCode::UnsupportedVersion));
    }
    let names = request.subscribed_topic_names.iter().flatten().map(|name| name.as_str());
    if let Err(error) = check_member(&context, &request.group_id, names) {
        return context.ready(&failed(error));
    }
    let mut random = [0u8; 16];
    if request.member_id.is_empty() && getrandom::fill(&mut random).is_err() {
        return context.ready(&failed(ErrorCode::UnknownServerError));
    }
    let group_id = request.group_id.to_string();
    let beat = beat(&context, request, Uuid::from_random_bytes(random));
    ask(
        &broker.control,
        context,
        &group_id,
        GroupRequest::ConsumerGroupHeartbeat(Box::new(beat)),
        |_, answer| match answer {
            Ok(GroupResponse::ConsumerGroupHeartbeat(heard)) => response(heard),
            Ok(other) => failed(mismatched(&other)),
            Err(error) => failed(error),
        },
    )
}

fn beat(context: &RequestContext, request: ConsumerGroupHeartbeatRequest, new_member_uuid: Uuid) -> Beat {
    let topics = request.topic_partitions.map(|topics| {
        let topic =
            |topic: kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions| Owned {
                topic_id: model_uuid(topic.topic_id),
                partitions: topic.partitions.into_iter().map(PartitionIndex).collect(),
            };
        topics.into_iter().map(topic).collect()
    });
    let names = request.subscribed_topic_names;
    Beat {
        api_version: context.api_version,
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        instance_id: owned(request.instance_id),
        rack_id: owned(request.rack_id),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        subscribed_topic_names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        subscribed_topic_regex: owned(request.subscribed_topic_regex),
        server_assignor: owned(request.server_assignor),
        topic_partitions: topics,
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client_address.ip().to_canonical()),
        new_member_uuid,
        visible_topics: visible_topics(context),
    }
}

/// What the member's regular expressions may find: what it may describe.
fn visible_topics(context: &RequestContext) -> TopicFilter {
    if context.authorizer.is_none() {
        return TopicFilter::default();
    }
    let context = context.clone();
    TopicFilter::new(move |topic| is_visible(&context, Operation::Describe, Resource::topic(topic)))
}

fn failed(error: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(text(error.message())))
        .with_member_id(None)
        .with_assignment(None)
}

fn response(heard: Heard) -> ConsumerGroupHeartbeatResponse {
    if !heard.error.is_none() {
        let message = heard.error_message.unwrap_or_else(|| heard.error.message().to_owned());
        return failed(heard.error).with_error_message(Some(text(message)));
    }
    let assignment = heard.assignment.map(|topics| {
        let topics = topics.into_iter().map(|topic| {
            TopicPartitions::default()
                .with_topic_id(wire_uuid(topic.topic_id))
                .with_partitions(topic.partitions.into_iter().map(|partition| partition.0).collect())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_error_message(None)
        .with_member_id(heard.member_id.map(text))
        .with_member_epoch(heard.member_epoch)
        .with_heartbeat_interval_ms(heard.heartbeat_interval_ms)
        .with_assignment(assignment)
}
