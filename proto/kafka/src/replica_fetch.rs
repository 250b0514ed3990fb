//! A follower's side of Fetch, in the one version that our brokers speak among one another, and the tagged field of our
//! own in it.
//!
//! A Kafka follower's fetch offset says both what it wants next and what it has. Ours says besides how much of that is on
//! stable storage, in a tagged field of each partition of the request (KIP-482):
//!
//! ```text
//! tag 19780 (0x4d44, "MD"), 8 bytes: the durable end of the follower's log, int64, exclusive
//! ```
//! Kafka numbers its tags from 0, and a broker passes over those that it does not know. A peer that does not send it is
//! not known to have anything on stable storage. See ADR 23.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::{BrokerId as WireBrokerId, FetchRequest};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition,
};

use crate::codec::{decode_response, encode_request};
use crate::error::WireError;
use crate::fetch::EpochEndOffset;

/// The version in which followers fetch: topics by id, replica state, the follower's high watermark.
pub const REPLICA_FETCH_VERSION: i16 = 18;

/// See the module's documentation.
const TAG_DURABLE_END: i32 = 0x4d44;

/// What a follower asks its leader for. A session's partitions that are not named stay as they were.
#[derive(Clone, Debug)]
pub struct ReplicaFetchRequest {
    pub replica_id: BrokerId,
    /// The registration that the follower speaks for (KIP-903).
    pub broker_epoch: BrokerEpoch,
    pub wait_max_ms: i32,
    pub bytes_min: i32,
    /// 0 asks for no records at all: the request only reports.
    pub bytes_max: i32,
    /// 0 for none.
    pub session_id: i32,
    /// 0 asks for a session, -1 for none.
    pub session_epoch: i32,
    /// Partitions of one topic stand together, or the topic is named again.
    pub partitions: Vec<ReplicaFetchPartition>,
    /// Out of the session.
    pub forgotten: Vec<TopicIdPartition>,
}

/// What a follower has of one partition, and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFetchPartition {
    pub id: TopicIdPartition,
    pub leader_epoch: LeaderEpoch,
    /// The end of its log.
    pub fetch_offset: Offset,
    /// [`LeaderEpoch::NONE`] of an empty log.
    pub last_fetched_epoch: LeaderEpoch,
    pub log_start: Offset,
    pub durable_end: Offset,
    pub high_watermark: Offset,
    pub bytes_max: i32,
}

impl ReplicaFetchRequest {
    /// The whole frame.
    pub fn encode(&self, correlation_id: i32) -> Result<BytesMut, WireError> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for partition in &self.partitions {
            let topic_id = wire_id(partition.id.topic_id);
            if topics.last().is_none_or(|last| last.topic_id != topic_id) {
                topics.push(FetchTopic::default().with_topic_id(topic_id));
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(partition.to_wire());
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for id in &self.forgotten {
            let topic_id = wire_id(id.topic_id);
            if forgotten.last().is_none_or(|last| last.topic_id != topic_id) {
                forgotten.push(ForgottenTopic::default().with_topic_id(topic_id));
            }
            if let Some(topic) = forgotten.last_mut() {
                topic.partitions.push(id.partition.0);
            }
        }
        let state = ReplicaState::default()
            .with_replica_id(WireBrokerId(self.replica_id.0))
            .with_replica_epoch(self.broker_epoch.0);
        let request = FetchRequest::default()
            .with_replica_state(state)
            .with_max_wait_ms(self.wait_max_ms)
            .with_min_bytes(self.bytes_min)
            .with_max_bytes(self.bytes_max)
            .with_session_id(self.session_id)
            .with_session_epoch(self.session_epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(forgotten);
        let client_id = StrBytes::from_string(format!("broker-{}-fetcher", self.replica_id));
        encode_request(REPLICA_FETCH_VERSION, correlation_id, Some(&client_id), &request)
    }
}

impl ReplicaFetchPartition {
    fn to_wire(self) -> FetchPartition {
        let durable_end = Bytes::copy_from_slice(&self.durable_end.0.to_be_bytes());
        FetchPartition::default()
            .with_partition(self.id.partition.0)
            .with_current_leader_epoch(self.leader_epoch.0)
            .with_fetch_offset(self.fetch_offset.0)
            .with_last_fetched_epoch(self.last_fetched_epoch.0)
            .with_log_start_offset(self.log_start.0)
            .with_partition_max_bytes(self.bytes_max)
            .with_high_watermark(self.high_watermark.0)
            .with_unknown_tagged_field(TAG_DURABLE_END, durable_end)
    }
}

/// The durable end that a follower's request names for a partition; [`Offset::NONE`] where it does not, or not as one
/// does.
#[must_use]
pub fn durable_end(partition: &FetchPartition) -> Offset {
    match partition.unknown_tagged_fields.get(&TAG_DURABLE_END) {
        Some(value) if value.len() == size_of::<i64>() => Offset(value.clone().get_i64()),
        _ => Offset::NONE,
    }
}

/// A leader's answer.
#[derive(Clone, Debug)]
pub struct ReplicaFetchResponse {
    pub error_code: ErrorCode,
    pub session_id: i32,
    pub partitions: Vec<FetchedPartition>,
}

/// What a leader answered for one partition.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    pub id: TopicIdPartition,
    pub error_code: ErrorCode,
    pub high_watermark: Offset,
    /// With OFFSET_OUT_OF_RANGE too: where a follower that is too far behind goes on.
    pub log_start_offset: Offset,
    pub diverging_epoch: Option<EpochEndOffset>,
    /// Slices of the response's frame.
    pub records: Bytes,
}

impl ReplicaFetchResponse {
    /// Decodes a frame without its size prefix. Returns the correlation id besides.
    pub fn decode(frame: &mut Bytes) -> Result<(i32, Self), WireError> {
        let (correlation_id, response) = decode_response::<FetchRequest>(REPLICA_FETCH_VERSION, frame)?;
        let mut partitions = Vec::with_capacity(response.responses.iter().map(|t| t.partitions.len()).sum());
        for topic in response.responses {
            let topic_id = TopicId::from_bytes(*topic.topic_id.as_bytes());
            for partition in topic.partitions {
                let diverging = partition.diverging_epoch;
                partitions.push(FetchedPartition {
                    id: TopicIdPartition { topic_id, partition: PartitionIndex(partition.partition_index) },
                    error_code: ErrorCode::from_code(partition.error_code),
                    high_watermark: Offset(partition.high_watermark),
                    log_start_offset: Offset(partition.log_start_offset),
                    diverging_epoch: (diverging.end_offset >= 0).then_some(EpochEndOffset {
                        epoch: LeaderEpoch(diverging.epoch),
                        end_offset: Offset(diverging.end_offset),
                    }),
                    records: partition.records.unwrap_or_default(),
                });
            }
        }
        let error_code = ErrorCode::from_code(response.error_code);
        Ok((correlation_id, Self { error_code, session_id: response.session_id, partitions }))
    }
}

fn wire_id(id: TopicId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestHeader, decode};

    fn id(topic: u8, partition: i32) -> TopicIdPartition {
        TopicIdPartition { topic_id: TopicId::from_bytes([topic; 16]), partition: PartitionIndex(partition) }
    }

    fn partition(id: TopicIdPartition, offset: i64) -> ReplicaFetchPartition {
        ReplicaFetchPartition {
            id,
            leader_epoch: LeaderEpoch(4),
            fetch_offset: Offset(offset),
            last_fetched_epoch: LeaderEpoch(3),
            log_start: Offset(1),
            durable_end: Offset(offset - 1),
            high_watermark: Offset(offset - 2),
            bytes_max: 1000,
        }
    }

    #[test]
    fn a_leader_reads_what_a_follower_says() {
        let request = ReplicaFetchRequest {
            replica_id: BrokerId(2),
            broker_epoch: BrokerEpoch(77),
            wait_max_ms: 500,
            bytes_min: 1,
            bytes_max: 10_000,
            session_id: 9,
            session_epoch: 3,
            partitions: vec![partition(id(1, 0), 10), partition(id(1, 5), 20), partition(id(2, 0), 30)],
            forgotten: vec![id(3, 1), id(3, 2)],
        };
        let mut frame = request.encode(5).unwrap().freeze().slice(4..);
        let header = RequestHeader::parse(&mut frame).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (18, 5));
        let decoded: FetchRequest = decode(18, &mut frame).unwrap();
        assert_eq!((decoded.replica_state.replica_id.0, decoded.replica_state.replica_epoch), (2, 77));
        let found: Vec<_> = decoded
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id.as_bytes()[0], p)))
            .map(|(topic, p)| (topic, p.partition, p.fetch_offset, durable_end(p), p.high_watermark))
            .collect();
        assert_eq!(found, [(1, 0, 10, Offset(9), 8), (1, 5, 20, Offset(19), 18), (2, 0, 30, Offset(29), 28)]);
        assert_eq!(decoded.topics.len(), 2);
        assert_eq!(decoded.forgotten_topics_data[0].partitions, [1, 2]);
    }

    #[test]
    fn who_does_not_say_what_is_durable_has_nothing_durable() {
        for value in [None, Some(&[][..]), Some(&[1, 2, 3]), Some(&[0; 9])] {
            let mut partition = FetchPartition::default().with_fetch_offset(50);
            if let Some(value) = value {
                partition = partition.with_unknown_tagged_field(TAG_DURABLE_END, Bytes::from_static(value));
            }
            assert_eq!(durable_end(&partition), Offset::NONE, "{value:?}");
        }
    }
}
