//! ListOffsets (2), versions 1 to 11.
//!
//! - Timestamps: -1 latest, -2 earliest; 7: -3 the largest timestamp (KIP-734); 8: -4 earliest local, 9: -5 latest tiered
//!   (KIP-405, KIP-1005), 11: -6 earliest that is to be tiered (KIP-1023). Without tiered storage all is local, and nothing is
//!   tiered or to be.
//! - 2: isolation level. 4: leader epochs. 6: flexible. 10: the client's timeout.
//! - A timestamp that the version does not have is UNSUPPORTED_VERSION; a partition named twice is INVALID_REQUEST.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex, TimestampMs};

use super::message::topic_name;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::broker::Broker;
use crate::replica_manager::{FoundOffset, Isolation, OffsetQuery};

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(2, "ListOffsets", 1, 11, handle);

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The last version that kafka-protocol 0.18 knows; 11 only allows one more timestamp.
const LIBRARY_VERSION: i16 = 10;

const READ_COMMITTED: i8 = 1;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let version = request.context.api_version.min(LIBRARY_VERSION);
    let (context, request) = match request.decode_as::<ListOffsetsRequest>(version) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let searches =
        |partition: &ListOffsetsPartition| partition.timestamp >= 0 || partition.timestamp == MAX_TIMESTAMP;
    if !request.topics.iter().flat_map(|topic| &topic.partitions).any(searches) {
        return context.ready(&answer(broker, &context, &request));
    }
    // A search reads from the log, which may mean from the disk.
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let found = tokio::task::spawn_blocking(move || {
            let response = answer(&broker, &context, &request);
            context.response(&response)
        });
        found.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a search for offsets failed");
            crate::response::ResponseFrame::unanswerable()
        })
    }))
}

fn answer(broker: &Broker, context: &RequestContext, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let image = broker.control.image();
    // As in Kafka, a topic and a partition are answered once, however often they are named.
    let mut wishes: Vec<(&str, Vec<&ListOffsetsPartition>)> = Vec::new();
    let mut repeated = HashSet::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for topic in &request.topics {
        let name = topic.name.as_str();
        let place = *places.entry(name).or_insert_with(|| {
            wishes.push((name, Vec::new()));
            wishes.len() - 1
        });
        for partition in &topic.partitions {
            if seen.insert((name, partition.partition_index)) {
                wishes[place].1.push(partition);
            } else {
                repeated.insert((name, partition.partition_index));
            }
        }
    }
    let topics = wishes.into_iter().map(|(name, partitions)| {
        let is_allowed = is_visible(context, Operation::ClusterAction, Resource::CLUSTER)
            || is_authorized(context, Operation::Describe, Resource::topic(name));
        let partitions = partitions.into_iter().map(|partition| {
            let result = if !is_allowed {
                Err(ErrorCode::TopicAuthorizationFailed)
            } else if repeated.contains(&(name, partition.partition_index)) {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(broker, &image, context.api_version, request, name, partition)
            };
            partition_answer(context.api_version, partition.partition_index, result)
        });
        ListOffsetsTopicResponse::default().with_name(topic_name(name)).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    broker: &Broker,
    image: &MetadataImage,
    version: i16,
    request: &ListOffsetsRequest,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<FoundOffset, ErrorCode> {
    let query = match partition.timestamp {
        LATEST => OffsetQuery::Latest,
        EARLIEST => OffsetQuery::Earliest,
        MAX_TIMESTAMP if version >= 7 => OffsetQuery::MaxTimestamp,
        EARLIEST_LOCAL if version >= 8 => OffsetQuery::Earliest,
        timestamp
            if (timestamp == LATEST_TIERED && version >= 9)
                || (timestamp == EARLIEST_PENDING_UPLOAD && version >= 11) =>
        {
            // Nothing is tiered, but what is asked about has to be there.
            return image
                .partition_by_name(topic, PartitionIndex(partition.partition_index))
                .map(|_| FoundOffset::NONE)
                .ok_or(ErrorCode::UnknownTopicOrPartition);
        }
        time if time >= 0 => OffsetQuery::Timestamp(TimestampMs(time)),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    let isolation = if request.isolation_level == READ_COMMITTED {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    };
    let replica = broker.replica_manager.by_name(image, topic, PartitionIndex(partition.partition_index))?;
    let found = replica.find_offset(query, isolation, LeaderEpoch(partition.current_leader_epoch));
    match found {
        // Clients before KIP-207 know only this one.
        Err(ErrorCode::OffsetNotAvailable) if version < 5 => Err(ErrorCode::LeaderNotAvailable),
        found => found,
    }
}

fn partition_answer(
    version: i16,
    index: i32,
    result: Result<FoundOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (code, found) = match result {
        Ok(found) => (ErrorCode::None, found),
        Err(code) => (code, FoundOffset::NONE),
    };
    let mut answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code.code())
        .with_timestamp(found.timestamp.0)
        .with_offset(found.offset.0);
    if version >= 4 {
        answer.leader_epoch = found.leader_epoch.0;
    }
    answer
}
