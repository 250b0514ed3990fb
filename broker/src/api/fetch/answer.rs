//! A Fetch response out of what was found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use moldau_kafka::{
    AbortedTransaction, Chunk as WireChunk, EpochEndOffset, FetchPartition, FetchResponse, FetchTopic,
    LeaderIdAndEpoch, NodeEndpoint, RecordsSource,
};
use moldau_log::FileSlice;
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerId, ErrorCode, Offset, TopicId, TopicIdPartition};

use super::{Fetch, Found, Reader, Round};
use crate::api::RequestContext;
use crate::broker::Broker;
use crate::fetch_session::{Answered, FetchTarget, FetchTopicRef};
use crate::replica_manager::{Isolation, PartitionRead};
use crate::response::{Chunk, ResponseFrame};

/// From here on records go from the file to the socket; below, a copy costs less than the extra system calls.
const SENDFILE_BYTES_MIN: usize = 64 * 1024;

/// Records of an answer: in memory, or still in their file.
enum Records {
    Memory(Bytes),
    File(FileSlice),
}

impl RecordsSource for Records {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(slice) => slice.length,
        }
    }
}

/// The answer to a fetch whose session is not to be had.
pub(super) fn refused(context: &RequestContext, code: ErrorCode) -> ResponseFrame {
    encode(context, response(code, 0))
}

/// The answer to a client that has to wait: nothing, and its session stays as it was before it asked.
pub(super) fn throttled(fetch: &Fetch, throttle_ms: i32) -> ResponseFrame {
    let mut response = response(ErrorCode::None, fetch.session.id());
    response.throttle_time_ms = throttle_ms;
    encode(&fetch.context, response).telling_throttle(throttle_ms)
}

fn response(error_code: ErrorCode, session_id: i32) -> FetchResponse<Records> {
    FetchResponse {
        throttle_time_ms: 0,
        error_code,
        session_id,
        topics: Vec::new(),
        node_endpoints: Vec::new(),
    }
}

pub(super) fn frame(fetch: Fetch, round: Round, now: Instant) -> ResponseFrame {
    let Fetch { broker, context, session, limits, .. } = fetch;
    let image = broker.control.image();
    let targets = session.targets.clone();
    let mut partitions = Vec::with_capacity(targets.len());
    let mut leaders = BTreeSet::new();
    // A client that knows of it turns to the new leader at once (KIP-951); a replica hears of it from the controller.
    let tells_leader = context.api_version >= 16;
    let mut has_more = Vec::with_capacity(targets.len());
    for (target, found) in targets.iter().zip(round.found) {
        let has_more_of = |read: &PartitionRead| target.fetch_offset < read.upper_bound || read.is_outdated;
        has_more.push(found.result.as_ref().is_ok_and(|(_, read)| has_more_of(read)));
        let leaders = tells_leader.then_some(&mut leaders);
        partitions.push(partition(&broker, &image, target, found, limits.isolation, leaders));
    }
    let answered: Vec<Answered> = partitions
        .iter()
        .zip(has_more)
        .map(|((_, partition), has_more)| answered(partition, has_more))
        .collect();
    let (session_id, told) = session.finish(&broker.fetch_sessions, &answered, now);
    let mut response = response(ErrorCode::None, session_id);
    for ((target, (topic_id, partition)), told) in targets.into_iter().zip(partitions).zip(told) {
        if told {
            add(&mut response, target, topic_id, partition);
        }
    }
    if matches!(limits.reader, Reader::Client | Reader::ClientOfAny) {
        response.node_endpoints = endpoints(&image, &context, &leaders);
    }
    encode(&context, response)
}

/// Partitions of one topic that follow one another share its entry.
fn add(
    response: &mut FetchResponse<Records>,
    target: FetchTarget,
    topic_id: TopicId,
    partition: FetchPartition<Records>,
) {
    let (name, topic_id) = match target.key.topic {
        FetchTopicRef::Name(name) => (name, topic_id),
        FetchTopicRef::Id(id) => (Arc::from(""), id),
    };
    match response.topics.last_mut() {
        Some(last) if last.topic_id == topic_id && last.name == name => last.partitions.push(partition),
        _ => response.topics.push(FetchTopic { name, topic_id, partitions: vec![partition] }),
    }
}

fn partition(
    broker: &Broker,
    image: &MetadataImage,
    target: &FetchTarget,
    found: Found,
    isolation: Isolation,
    leaders: Option<&mut BTreeSet<BrokerId>>,
) -> (TopicId, FetchPartition<Records>) {
    let topic_id = found.topic_id;
    let result = found.result.and_then(|(_, read)| success(target, read, isolation));
    let answer = result.unwrap_or_else(|code| {
        let mut failed = FetchPartition::error(target.key.partition, code);
        // Kafka has an empty list, too, where it did not get as far as to the log.
        let is_no_log = matches!(
            code,
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::TopicAuthorizationFailed
        );
        if is_no_log {
            failed.aborted_transactions = Some(Vec::new());
        }
        let is_leadership = matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        if let Some(leaders) = leaders.filter(|_| is_leadership) {
            let id = TopicIdPartition { topic_id, partition: target.key.partition };
            if let Some((leader_id, leader_epoch)) = broker.replica_manager.current_leader(image, id) {
                leaders.insert(leader_id);
                failed.current_leader = Some(LeaderIdAndEpoch { leader_id, leader_epoch });
            }
        }
        failed
    });
    (topic_id, answer)
}

fn success(
    target: &FetchTarget,
    read: PartitionRead,
    isolation: Isolation,
) -> Result<FetchPartition<Records>, ErrorCode> {
    let mut answer = FetchPartition::new(target.key.partition);
    if read.is_out_of_range {
        answer.error_code = ErrorCode::OffsetOutOfRange;
    }
    answer.high_watermark = read.high_watermark;
    answer.last_stable_offset = read.last_stable_offset;
    answer.log_start_offset = read.log_start_offset;
    answer.preferred_read_replica = read.preferred_read_replica;
    answer.diverging_epoch = read
        .diverging_epoch
        .map(|end| EpochEndOffset { epoch: end.leader_epoch, end_offset: end.end_offset });
    if isolation == Isolation::ReadCommitted {
        let aborted = read.aborted_transactions.iter().map(|transaction| AbortedTransaction {
            producer_id: transaction.producer_id,
            first_offset: transaction.first_offset,
        });
        answer.aborted_transactions = Some(aborted.collect());
    }
    if let Some(slice) = read.records {
        answer.records.push(load(slice)?);
    }
    Ok(answer)
}

fn load(slice: FileSlice) -> Result<Records, ErrorCode> {
    if slice.length >= SENDFILE_BYTES_MIN {
        return Ok(Records::File(slice));
    }
    match slice.read_all() {
        Ok(bytes) => Ok(Records::Memory(bytes.into())),
        Err(error) => {
            tracing::error!(%error, "cannot read a log segment");
            Err(ErrorCode::KafkaStorageError)
        }
    }
}

fn answered(partition: &FetchPartition<Records>, has_more: bool) -> Answered {
    let is_error = !partition.error_code.is_none();
    Answered {
        has_records: !partition.records.is_empty(),
        is_notable: is_error
            || partition.diverging_epoch.is_some()
            || partition.preferred_read_replica != BrokerId::NONE,
        is_settled: !is_error && !has_more && partition.diverging_epoch.is_none(),
        high_watermark: partition.high_watermark,
        log_start_offset: if is_error { Offset::NONE } else { partition.log_start_offset },
    }
}

fn endpoints(
    image: &MetadataImage,
    context: &RequestContext,
    leaders: &BTreeSet<BrokerId>,
) -> Vec<NodeEndpoint> {
    image
        .alive_brokers_with_listener(&context.listener)
        .filter(|(broker, _)| leaders.contains(&broker.id))
        .map(|(broker, listener)| NodeEndpoint {
            node_id: broker.id,
            host: Arc::clone(&listener.host),
            port: i32::from(listener.port),
            rack: broker.rack.clone(),
        })
        .collect()
}

fn encode(context: &RequestContext, response: FetchResponse<Records>) -> ResponseFrame {
    match response.encode(context.api_version, context.correlation_id) {
        Ok(encoded) => {
            let chunks = encoded.chunks.into_iter().map(|chunk| match chunk {
                WireChunk::Bytes(bytes) | WireChunk::Records(Records::Memory(bytes)) => Chunk::Bytes(bytes),
                WireChunk::Records(Records::File(slice)) => Chunk::File(slice),
            });
            ResponseFrame::from_chunks(chunks.collect())
        }
        Err(error) => {
            tracing::error!(version = context.api_version, %error, "cannot encode a fetch response");
            ResponseFrame::unanswerable()
        }
    }
}
