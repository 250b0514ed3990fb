//! A Fetch request as the session and the partitions take it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use moldau_metadata::{MetadataImage, QuotaKey};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicIdPartition};

use super::{Follower, Limits, Reader};
use crate::api::RequestContext;
use crate::api::message::model_uuid;
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::fetch_session::{FetchContext, FetchKey, FetchTarget, FetchTopicRef, Known};
use crate::replica_manager::Isolation;

const READ_COMMITTED: i8 = 1;
/// The first version with topic ids.
const TOPIC_IDS_SINCE: i16 = 13;

/// The first version in which a client says where it is, and can be sent to another replica (KIP-392).
const RACKS_SINCE: i16 = 11;
/// The first version in which a follower says which registration it speaks for (KIP-903).
const REPLICA_STATE_SINCE: i16 = 15;

pub(super) fn limits(broker: &Broker, context: &RequestContext, request: &FetchRequest) -> Limits {
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let mut bytes_max = size(request.max_bytes).min(size(broker.options.config.fetch_bytes_max));
    let reader = reader(broker, context, request);
    let quotas = &broker.control.quotas;
    if quotas.limits(QuotaKey::ConsumerByteRate)
        && !matches!(reader, Reader::Follower(_))
        && let Some(most) = quotas.fetch_bytes_max(context)
    {
        bytes_max = bytes_max.min(most);
    }
    Limits {
        wait_max: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        // Nobody waits for more than the answer may hold.
        bytes_min: i64::from(request.min_bytes).min(i64::try_from(bytes_max).unwrap_or(i64::MAX)),
        bytes_max,
        isolation: match (reader, request.isolation_level) {
            (Reader::Follower(_), _) => Isolation::LogEnd,
            (_, READ_COMMITTED) => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
        reader,
    }
}

/// Who asks. As a follower counts only who comes by the brokers' own listener and names the registration that metadata
/// has of that broker: anybody can write a replica's id into a request (CVE-2018-1288).
fn reader(broker: &Broker, context: &RequestContext, request: &FetchRequest) -> Reader {
    let names_registration = context.api_version >= REPLICA_STATE_SINCE;
    let replica_id = if names_registration { request.replica_state.replica_id } else { request.replica_id };
    if replica_id.0 < 0 {
        let reads_from_any =
            broker.options.config.replication.reads_from_closest && context.api_version >= RACKS_SINCE;
        return if reads_from_any { Reader::ClientOfAny } else { Reader::Client };
    }
    let is_inside = *context.listener == *broker.options.config.inter_broker_listener_name;
    if !names_registration
        || !is_inside
        || !is_authorized(context, Operation::ClusterAction, Resource::CLUSTER)
    {
        return Reader::Stranger;
    }
    let image = broker.control.image();
    match image.broker(BrokerId(replica_id.0)) {
        Some(found) if found.epoch.0 == request.replica_state.replica_epoch => Reader::Follower(Follower {
            broker_id: found.id,
            broker_epoch: found.epoch,
            might_join: found.is_active() && found.full_log_directories.is_empty(),
        }),
        _ => Reader::Stranger,
    }
}

pub(super) fn begin_session(
    broker: &Broker,
    context: &RequestContext,
    request: &FetchRequest,
    reader: Reader,
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
    if let Reader::Follower(follower) = reader {
        note_left(broker, follower, &forgotten);
    }
    // Before version 7 there are no sessions; the fields then have the defaults that say so.
    let (id, epoch) =
        if context.api_version < 7 { (0, -1) } else { (request.session_id, request.session_epoch) };
    let may_join = matches!(reader, Reader::Follower(follower) if follower.might_join);
    broker.fetch_sessions.begin_for(id, epoch, targets, &forgotten, uses_ids, may_join, Instant::now())
}

/// Whether the ISR may have the follower: it is neither fenced nor on its way down (KIP-841), and has room for more.
pub(super) fn may_join(image: &MetadataImage, id: TopicIdPartition, follower: Follower) -> bool {
    let broker = image.broker(follower.broker_id);
    let Some(broker) = broker.filter(|broker| broker.epoch == follower.broker_epoch && broker.is_active())
    else {
        return false;
    };
    broker.full_log_directories.is_empty()
        || image
            .topics()
            .partition(id.topic_id, id.partition)
            .is_some_and(|partition| !broker.is_full(partition.directory(broker.id)))
}

fn note_left(broker: &Broker, follower: Follower, forgotten: &[FetchKey]) {
    for FetchKey { topic, partition } in forgotten {
        let FetchTopicRef::Id(topic_id) = *topic else { continue };
        let id = TopicIdPartition { topic_id, partition: *partition };
        if let Ok(partition) = broker.replica_manager.get(id) {
            partition.note_follower_left(follower.broker_id, follower.broker_epoch);
        }
    }
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
                log_start: Offset(partition.log_start_offset),
                durable_end: moldau_kafka::durable_end(partition),
                is_named: true,
                // Kafka's default says that the follower does not know of KIP-1166.
                known: (partition.high_watermark != i64::MAX).then_some(Known {
                    high_watermark: Offset(partition.high_watermark),
                    log_start_offset: Offset::NONE,
                }),
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
