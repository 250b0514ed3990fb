//! The Fetch encoder against the library's decoder, in every version.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use moldau_kafka::{
    AbortedTransaction, Chunk, EncodedFetch, EpochEndOffset, FetchPartition, FetchResponse, FetchTopic,
    LeaderIdAndEpoch, NodeEndpoint, RecordsSource, WireError, decode_response,
};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};

/// Records of one byte, repeated: what stands for a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice(u8, usize);

impl RecordsSource for Slice {
    fn size_bytes(&self) -> usize {
        self.1
    }
}

/// The bytes as the client gets them.
fn sent(encoded: &EncodedFetch<Slice>) -> Bytes {
    let mut out = Vec::new();
    for chunk in &encoded.chunks {
        match chunk {
            Chunk::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                out.extend_from_slice(bytes);
            }
            Chunk::Records(Slice(byte, size)) => out.resize(out.len() + size, *byte),
        }
    }
    assert_eq!(out.len(), encoded.size_bytes);
    assert_eq!(out[..4], (out.len() as i32 - 4).to_be_bytes());
    Bytes::from(out)
}

fn topic(name: &str, id: u8, partitions: Vec<FetchPartition<Slice>>) -> FetchTopic<Slice> {
    FetchTopic { name: name.into(), topic_id: TopicId::from_bytes([id; 16]), partitions }
}

fn response() -> FetchResponse<Slice> {
    let plain = FetchPartition {
        high_watermark: Offset(100),
        last_stable_offset: Offset(90),
        log_start_offset: Offset(10),
        records: vec![Slice(b'a', 200), Slice(b'b', 300)],
        ..FetchPartition::new(PartitionIndex(0))
    };
    let aborted = FetchPartition {
        aborted_transactions: Some(vec![AbortedTransaction {
            producer_id: ProducerId(5),
            first_offset: Offset(33),
        }]),
        preferred_read_replica: BrokerId(2),
        ..FetchPartition::new(PartitionIndex(1))
    };
    let diverging = FetchPartition {
        diverging_epoch: Some(EpochEndOffset { epoch: LeaderEpoch(4), end_offset: Offset(77) }),
        current_leader: Some(LeaderIdAndEpoch { leader_id: BrokerId(3), leader_epoch: LeaderEpoch(6) }),
        records: vec![Slice(b'c', 1)],
        ..FetchPartition::new(PartitionIndex(2))
    };
    let refused = FetchPartition::error(PartitionIndex(9), ErrorCode::NotLeaderOrFollower);
    FetchResponse {
        throttle_time_ms: 8,
        error_code: ErrorCode::None,
        session_id: 1234,
        topics: vec![topic("pageview", 1, vec![plain, aborted, diverging]), topic("b", 2, vec![refused])],
        node_endpoints: vec![
            NodeEndpoint { node_id: BrokerId(3), host: "host-3".into(), port: 9092, rack: Some("r1".into()) },
            NodeEndpoint { node_id: BrokerId(4), host: "h".into(), port: 1, rack: None },
        ],
    }
}

#[test]
fn the_library_reads_what_we_write_in_every_version() {
    for version in 4..=18 {
        let encoded = response().encode(version, 77).unwrap();
        let mut frame = sent(&encoded).slice(4..);
        let (correlation_id, decoded) = decode_response::<FetchRequest>(version, &mut frame).unwrap();
        assert_eq!((correlation_id, decoded.throttle_time_ms), (77, 8));
        assert_eq!(decoded.session_id, if version >= 7 { 1234 } else { 0 });
        assert_eq!(decoded.responses.len(), 2);
        let first = &decoded.responses[0];
        if version >= 13 {
            assert_eq!(first.topic_id.as_bytes(), &[1; 16]);
        } else {
            assert_eq!(first.topic.as_str(), "pageview");
        }
        let [plain, aborted, diverging] = &first.partitions[..] else { panic!("three partitions") };

        assert_eq!((plain.partition_index, plain.high_watermark, plain.last_stable_offset), (0, 100, 90));
        assert_eq!(plain.log_start_offset, if version >= 5 { 10 } else { -1 });
        assert_eq!(plain.aborted_transactions, None);
        let records = [vec![b'a'; 200], vec![b'b'; 300]].concat();
        assert_eq!(plain.records.as_deref(), Some(&records[..]));

        let transactions = aborted.aborted_transactions.as_ref().unwrap();
        assert_eq!((transactions[0].producer_id.0, transactions[0].first_offset), (5, 33));
        assert_eq!(aborted.preferred_read_replica.0, if version >= 11 { 2 } else { -1 });
        assert_eq!(aborted.records.as_deref(), Some(&b""[..]), "no records are no bytes, not null");

        assert_eq!(diverging.records.as_deref(), Some(&b"c"[..]));
        let tagged = version >= 12;
        let epoch = &diverging.diverging_epoch;
        assert_eq!((epoch.epoch, epoch.end_offset), if tagged { (4, 77) } else { (-1, -1) });
        let leader = &diverging.current_leader;
        assert_eq!((leader.leader_id.0, leader.leader_epoch), if tagged { (3, 6) } else { (-1, -1) });

        let refused = &decoded.responses[1].partitions[0];
        assert_eq!((refused.partition_index, refused.error_code), (9, ErrorCode::NotLeaderOrFollower as i16));
        let endpoints: Vec<_> = decoded
            .node_endpoints
            .iter()
            .map(|e| (e.node_id.0, e.host.as_str(), e.port, e.rack.as_deref()))
            .collect();
        let expected = [(3, "host-3", 9092, Some("r1")), (4, "h", 1, None)];
        assert_eq!(endpoints, if version >= 16 { &expected[..] } else { &[] });
    }
}

#[test]
fn records_stand_between_the_bytes_and_are_copied_nowhere() {
    let encoded = response().encode(12, 1).unwrap();
    let records: Vec<_> = encoded
        .chunks
        .iter()
        .map(|chunk| match chunk {
            Chunk::Records(records) => Some(records.clone()),
            Chunk::Bytes(_) => None,
        })
        .collect();
    let expected = [None, Some(Slice(b'a', 200)), Some(Slice(b'b', 300)), None, Some(Slice(b'c', 1)), None];
    assert_eq!(records, expected);
}

#[test]
fn a_response_without_topics_is_a_response() {
    for version in 4..=18 {
        let empty = FetchResponse::<Slice> {
            throttle_time_ms: 0,
            error_code: ErrorCode::FetchSessionIdNotFound,
            session_id: 0,
            topics: vec![],
            node_endpoints: vec![],
        };
        let encoded = empty.encode(version, -5).unwrap();
        assert_eq!(encoded.chunks.len(), 1);
        let mut frame = sent(&encoded).slice(4..);
        let (correlation_id, decoded) = decode_response::<FetchRequest>(version, &mut frame).unwrap();
        assert_eq!(correlation_id, -5);
        let expected = if version >= 7 { ErrorCode::FetchSessionIdNotFound } else { ErrorCode::None };
        assert_eq!(decoded.error_code, expected as i16);
    }
    assert!(matches!(response().encode(3, 0), Err(WireError::UnsupportedVersion { .. })));
    assert!(matches!(response().encode(19, 0), Err(WireError::UnsupportedVersion { .. })));
}

#[test]
fn a_response_beyond_a_frame_is_an_error() {
    let mut partition = FetchPartition::new(PartitionIndex(0));
    partition.records = vec![Slice(0, i32::MAX as usize)];
    let mut response = response();
    response.topics = vec![topic("t", 1, vec![partition.clone()])];
    assert!(matches!(response.clone().encode(4, 0), Err(WireError::MessageTooLarge { .. })));
    partition.records.push(Slice(0, 1));
    response.topics = vec![topic("t", 1, vec![partition])];
    assert!(matches!(response.encode(12, 0), Err(WireError::MessageTooLarge { .. })));
}
