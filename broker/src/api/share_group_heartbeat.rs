//! ShareGroupHeartbeat (76), version 1: a member of a share group joins, stays or leaves, and is told what to read (KIP-932).
//!
//! Partitions that the group has not read before are initialized at their share coordinators after the answer; they are
//! assigned once that is done.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::share_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use moldau_group::{
    Request as GroupRequest, Response as GroupResponse, ShareGroupHeartbeatRequest as Beat,
    ShareGroupHeartbeatResponse as Heard, ShareOffsetsChange, ShareOffsetsRequest, ShareStateToInitialize,
};
use moldau_model::ErrorCode;
use moldau_share::{
    Request as StateRequest, Response as StateResponse, START_OFFSET_UNKNOWN, SharePartitionKey,
};

use super::group_request::{check_member, mismatched};
use super::message::{owned, text, wire_uuid};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(76, "ShareGroupHeartbeat", 1, 1, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ShareGroupHeartbeatRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !broker.share.is_served() {
        return context.ready(&failed(ErrorCode::UnsupportedVersion));
    }
    let names = request.subscribed_topic_names.iter().flatten().map(|name| name.as_str());
    if let Err(error) = check_member(&context, &request.group_id, names) {
        return context.ready(&failed(error));
    }
    if request.member_id.is_empty() {
        // Kafka has no words for this one.
        return context.ready(&failed(ErrorCode::InvalidRequest).with_error_message(None));
    }
    let beat = beat(&context, request);
    let group_id = beat.group_id.clone();
    let request = GroupRequest::ShareGroupHeartbeat(Box::new(beat));
    let answer = match broker.control.coordinator.submit(&group_id, request) {
        Ok(answer) => answer,
        Err(error) => return context.ready(&failed(error)),
    };
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match answer.await {
            Ok(GroupResponse::ShareGroupHeartbeat(mut heard)) => {
                if let Some(state) = heard.initialize.take() {
                    tokio::spawn(initialize(broker, group_id, state));
                }
                response(heard)
            }
            Ok(other) => failed(mismatched(&other)),
            Err(_) => failed(ErrorCode::NotCoordinator),
        };
        context.response(&response)
    }))
}

/// Tells the share coordinators, and then the group's. What does not come through is asked for again by a later heartbeat.
async fn initialize(broker: Arc<Broker>, group_id: String, state: ShareStateToInitialize) {
    let group: Arc<str> = group_id.as_str().into();
    let asked = state.topics.iter().flat_map(|topic| {
        let group = &group;
        topic.partitions.iter().map(move |partition| (topic.topic_id, *partition, Arc::clone(group)))
    });
    let asked = asked.map(|(topic_id, partition, group_id)| {
        let key = SharePartitionKey { group_id, topic_id, partition };
        let state_epoch = state.state_epoch;
        let request = StateRequest::Initialize { key, state_epoch, start_offset: START_OFFSET_UNKNOWN };
        let broker = &broker;
        async move {
            let response = broker.share.persister.ask(request).await;
            (topic_id, partition, response)
        }
    });
    let mut topics: Vec<moldau_group::TopicPartitions> = Vec::new();
    for (topic_id, partition, response) in join_all(asked.collect::<Vec<_>>()).await {
        match response {
            StateResponse::Changed(Ok(())) => match topics.last_mut() {
                Some(topic) if topic.topic_id == topic_id => topic.partitions.push(partition),
                _ => topics.push(moldau_group::TopicPartitions { topic_id, partitions: vec![partition] }),
            },
            other => {
                tracing::warn!(group_id, %topic_id, %partition, ?other, "a share partition is not initialized")
            }
        }
    }
    if topics.is_empty() {
        return;
    }
    let change = ShareOffsetsChange::Initialized(topics);
    let request = ShareOffsetsRequest { group_id: group_id.clone(), change };
    if let Ok(answer) = broker.control.coordinator.submit(&group_id, GroupRequest::ShareOffsets(request)) {
        // Whatever it says: if the group does not know of it, it asks again.
        let _ = answer.await;
    }
}

fn beat(context: &RequestContext, request: ShareGroupHeartbeatRequest) -> Beat {
    let names = request.subscribed_topic_names;
    Beat {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        member_epoch: request.member_epoch,
        rack_id: owned(request.rack_id),
        subscribed_topic_names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client_address.ip().to_canonical()),
    }
}

fn failed(error: ErrorCode) -> ShareGroupHeartbeatResponse {
    ShareGroupHeartbeatResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(text(error.message())))
        .with_member_id(None)
        .with_assignment(None)
}

fn response(heard: Heard) -> ShareGroupHeartbeatResponse {
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
    ShareGroupHeartbeatResponse::default()
        .with_error_message(None)
        .with_member_id(heard.member_id.map(text))
        .with_member_epoch(heard.member_epoch)
        .with_heartbeat_interval_ms(heard.heartbeat_interval_ms)
        .with_assignment(assignment)
}
