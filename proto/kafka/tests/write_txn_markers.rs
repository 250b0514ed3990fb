//! WriteTxnMarkers against the library's codec where that knows the version, and against lies.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;
use kafka_protocol::messages::{self, WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use moldau_kafka::{
    ApiKey, RequestHeader, SIZE_PREFIX_BYTES, TxnMarker, TxnMarkerTopic, TxnMarkersRequest, WireError,
    decode_txn_markers_response, encode_response,
};
use moldau_model::{PartitionIndex, ProducerEpoch, ProducerId};

fn request(transaction_version: i8) -> TxnMarkersRequest {
    let topic = |name: &str, partitions: &[i32]| TxnMarkerTopic {
        name: name.to_owned(),
        partitions: partitions.iter().copied().map(PartitionIndex).collect(),
    };
    let marker = |producer, is_commit, topics| TxnMarker {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(3),
        is_commit,
        topics,
        coordinator_epoch: 17,
        transaction_version,
    };
    TxnMarkersRequest {
        markers: vec![
            marker(1 << 40, true, vec![topic("pageview", &[0, 7]), topic("b", &[])]),
            marker(5, false, vec![]),
        ],
    }
}

fn body(frame: &[u8]) -> Bytes {
    let mut frame = Bytes::copy_from_slice(&frame[SIZE_PREFIX_BYTES..]);
    RequestHeader::parse(&mut frame).unwrap();
    frame
}

#[test]
fn what_is_encoded_comes_back_in_every_version() {
    for version in 1..=2 {
        let request = request(if version == 2 { 2 } else { 0 });
        let frame = request.encode(version, 9, Some(&StrBytes::from_static_str("broker-1"))).unwrap();
        assert_eq!(TxnMarkersRequest::decode(version, &body(&frame)), Ok(request));
    }
}

#[test]
fn version_1_is_the_librarys() {
    let wire = |marker: &TxnMarker| {
        let topics = marker.topics.iter().map(|topic| {
            WritableTxnMarkerTopic::default()
                .with_name(messages::TopicName(StrBytes::from_string(topic.name.clone())))
                .with_partition_indexes(topic.partitions.iter().map(|partition| partition.0).collect())
        });
        WritableTxnMarker::default()
            .with_producer_id(messages::ProducerId(marker.producer_id.0))
            .with_producer_epoch(marker.producer_epoch.0)
            .with_transaction_result(marker.is_commit)
            .with_topics(topics.collect())
            .with_coordinator_epoch(marker.coordinator_epoch)
    };
    let request = request(0);
    let library = WriteTxnMarkersRequest::default().with_markers(request.markers.iter().map(wire).collect());
    let mut expected = BytesMut::new();
    library.encode(&mut expected, 1).unwrap();
    assert_eq!(body(&request.encode(1, 9, None).unwrap()), expected);
}

#[test]
fn the_response_is_one_in_both_versions() {
    let result = WritableTxnMarkerResult::default().with_producer_id(messages::ProducerId(5));
    let response = WriteTxnMarkersResponse::default().with_markers(vec![result]);
    for version in 1..=2 {
        let frame = encode_response(ApiKey::WriteTxnMarkers, version, 11, &response).unwrap();
        let mut frame = frame.freeze().slice(SIZE_PREFIX_BYTES..);
        assert_eq!(decode_txn_markers_response(version, &mut frame), Ok((11, response.clone())));
    }
}

#[test]
fn what_is_no_request_is_refused() {
    for version in 1..=2 {
        let whole = body(&request(0).encode(version, 9, None).unwrap());
        for cut in 0..whole.len() {
            let result = TxnMarkersRequest::decode(version, &whole.slice(..cut));
            assert!(
                matches!(result, Err(WireError::Truncated { .. } | WireError::CountTooLarge { .. })),
                "{cut}"
            );
        }
    }
    let unknown = TxnMarkersRequest::default().encode(3, 9, None);
    assert!(matches!(unknown, Err(WireError::UnsupportedVersion { .. })));
}
