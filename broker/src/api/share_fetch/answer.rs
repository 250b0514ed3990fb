//! A ShareFetch response out of what was taken.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::ShareFetchResponse;
use kafka_protocol::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchableTopicResponse,
};
use moldau_model::{ErrorCode, TopicId, TopicIdPartition};

use super::Fetch;
use super::take::Taken;
use crate::api::RequestContext;
use crate::api::message::{broker_id, text, wire_uuid};
use crate::api::share_request::{Leaders, message_of};
use crate::response::ResponseFrame;

/// The answer to a request whose session is not to be had.
pub(super) fn refuse(context: &RequestContext, refused: ErrorCode) -> ResponseFrame {
    let body = ShareFetchResponse::default().with_error_code(refused.code()).with_error_message(None);
    context.response(&body)
}

pub(super) fn frame(
    fetch: &Fetch,
    outcomes: &[(TopicIdPartition, ErrorCode)],
    throttle_ms: i32,
    taken: Vec<Taken>,
) -> ResponseFrame {
    let image = fetch.broker.control.image();
    let mut leaders = Leaders::default();
    let mut partitions: Vec<(TopicIdPartition, PartitionData)> = Vec::new();
    // A request may name as many as fit into it: none is looked for by going through all.
    let mut places: HashMap<TopicIdPartition, usize> = HashMap::new();
    for (at, error) in outcomes {
        let mut data = empty(*at)
            .with_acknowledge_error_code(error.code())
            .with_acknowledge_error_message(message_of(*error).map(text));
        if let Some((leader, epoch)) = leaders.of(&fetch.broker, &image, *at, *error) {
            data.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(leader.0).with_leader_epoch(epoch.0);
        }
        places.entry(*at).or_insert(partitions.len());
        partitions.push((*at, data));
    }
    for Taken { at, result } in taken {
        let index = *places.entry(at).or_insert_with(|| {
            partitions.push((at, empty(at)));
            partitions.len() - 1
        });
        let Some((_, data)) = partitions.get_mut(index) else { continue };
        match result {
            Ok(records) => {
                data.records = Some(records.bytes);
                let acquired = records.acquired.iter().map(|got| {
                    AcquiredRecords::default()
                        .with_first_offset(got.first)
                        .with_last_offset(got.last)
                        .with_delivery_count(got.delivery_count)
                });
                data.acquired_records = acquired.collect();
            }
            Err(error) => {
                data.error_code = error.code();
                data.error_message = message_of(error).map(text);
                if let Some((leader, epoch)) = leaders.of(&fetch.broker, &image, at, error) {
                    data.current_leader =
                        LeaderIdAndEpoch::default().with_leader_id(leader.0).with_leader_epoch(epoch.0);
                }
            }
        }
    }
    let mut topics: Vec<ShareFetchableTopicResponse> = Vec::new();
    let mut places: HashMap<TopicId, usize> = HashMap::new();
    for (at, data) in partitions {
        let index = *places.entry(at.topic_id).or_insert_with(|| {
            topics.push(ShareFetchableTopicResponse::default().with_topic_id(wire_uuid(at.topic_id)));
            topics.len() - 1
        });
        if let Some(topic) = topics.get_mut(index) {
            topic.partitions.push(data);
        }
    }
    let endpoints = leaders.endpoints(&fetch.context, &image).into_iter().map(|endpoint| {
        NodeEndpoint::default()
            .with_node_id(broker_id(endpoint.id))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.map(text))
    });
    let lock_ms = i32::try_from(fetch.settings.limits.lock_duration_ms).unwrap_or(i32::MAX);
    let body = ShareFetchResponse::default()
        .with_throttle_time_ms(throttle_ms)
        .with_acquisition_lock_timeout_ms(lock_ms)
        .with_responses(topics)
        .with_node_endpoints(endpoints.collect());
    fetch.context.response(&body).telling_throttle(throttle_ms)
}

fn empty(at: TopicIdPartition) -> PartitionData {
    // None at all would be null, which no version has that is served.
    PartitionData::default().with_partition_index(at.partition.0).with_records(Some(Bytes::new()))
}
