//! A Fetch request as the session and the partitions take it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::Limits;
use crate::api::RequestContext;
use crate::api::message::model_uuid;
use crate::broker::Broker;
use crate::fetch_session::{FetchContext, FetchKey, FetchTarget, FetchTopicRef};
use crate::replica_manager::Isolation;

const READ_COMMITTED: i8 = 1;
/// The first version with topic ids.
const TOPIC_IDS_SINCE: i16 = 13;

pub(super) fn limits(broker: &Broker, context: &RequestContext, request: &FetchRequest) -> Limits {
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let bytes_max = size(request.max_bytes).min(size(broker.options.config.fetch_bytes_max));
    let replica_id =
        if context.api_version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    Limits {
        wait_max: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        // Nobody waits for more than the answer may hold.
        bytes_min: i64::from(request.min_bytes).min(i64::try_from(bytes_max).unwrap_or(i64::MAX)),
        bytes_max,
        isolation: match request.isolation_level {
            READ_COMMITTED => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
        is_replica: replica_id.0 >= 0,
    }
}

pub(super) fn begin_session(
    broker: &Broker,
    context: &RequestContext,
    request: &FetchRequest,
) -> Result<FetchContext, ErrorCode> {
    let uses_ids = context.api_version >= TOPIC_IDS_SINCE;
    let topic_ref = |name: &str, id: uuid::Uuid| {
        if uses_ids { FetchTopicRef::Id(model_uuid(id)) } else { FetchTopicRef::Name(Arc::from(name)) }
    };
    let targets = targets(request, topic_ref);
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let reference = topic_ref(&topic.topic, topic.topic_id);
        forgotten.extend(
            topic.partitions.iter().map(|partition| FetchKey {
                topic: reference.clone(),
                partition: PartitionIndex(*partition),
            }),
        );
    }
    // Before version 7 there are no sessions; the fields then have the defaults that say so.
    let (id, epoch) =
        if context.api_version < 7 { (0, -1) } else { (request.session_id, request.session_epoch) };
    broker.fetch_sessions.begin(id, epoch, targets, &forgotten, uses_ids, Instant::now())
}

/// What is asked for. As in Kafka, a partition that is named again keeps its place, and what is said of it last counts:
/// a request that repeats one partition a hundred thousand times is no more work than one that names it once.
fn targets(
    request: &FetchRequest,
    topic_ref: impl Fn(&str, uuid::Uuid) -> FetchTopicRef,
) -> Vec<FetchTarget> {
    let mut targets: Vec<FetchTarget> = Vec::new();
    let mut places = HashMap::new();
    for topic in &request.topics {
        let reference = topic_ref(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            let key = FetchKey { topic: reference.clone(), partition: PartitionIndex(partition.partition) };
            let target = FetchTarget {
                key: key.clone(),
                fetch_offset: Offset(partition.fetch_offset),
                bytes_max: partition.partition_max_bytes,
                current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            };
            match places.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(targets.len());
                    targets.push(target);
                }
                Entry::Occupied(place) => {
                    if let Some(before) = targets.get_mut(*place.get()) {
                        *before = target;
                    }
                }
            }
        }
    }
    targets
}
