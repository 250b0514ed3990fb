//! WriteTxnMarkers (27) as the coordinator sends it, version 1, and what it makes of the answer.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{ProducerId as WireProducerId, WriteTxnMarkersRequest};
use moldau_kafka::{WireError, decode_response, encode_request};
use moldau_model::{ErrorCode, ProducerId, TopicPartition};
use moldau_txn::TransactionMarkers;

use super::message::topic_name;

/// Every broker of the cluster serves it.
const VERSION: i16 = 1;

/// The frame that asks for these markers.
///
/// # Errors
/// None that a coordinator's own markers can cause.
pub(crate) fn encode<'a>(
    correlation_id: i32,
    all: impl Iterator<Item = &'a TransactionMarkers>,
) -> Result<BytesMut, WireError> {
    let request = WriteTxnMarkersRequest::default().with_markers(all.map(marker).collect());
    encode_request(VERSION, correlation_id, None, &request)
}

fn marker(markers: &TransactionMarkers) -> WritableTxnMarker {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &markers.partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        WritableTxnMarkerTopic::default().with_name(topic_name(topic)).with_partition_indexes(partitions)
    });
    WritableTxnMarker::default()
        .with_producer_id(WireProducerId(markers.producer_id.0))
        .with_producer_epoch(markers.producer_epoch.0)
        .with_transaction_result(markers.is_commit)
        .with_topics(topics.collect())
        .with_coordinator_epoch(markers.coordinator_epoch.0)
}

/// What became of each marker. A producer has one transaction that ends, so it tells which.
pub(crate) type Outcomes = BTreeMap<(ProducerId, TopicPartition), ErrorCode>;

/// Reads an answer: its correlation id, and the outcomes.
///
/// # Errors
/// Bytes that are no answer.
pub(crate) fn decode(mut frame: Bytes) -> Result<(i32, Outcomes), WireError> {
    let (correlation_id, response) = decode_response::<WriteTxnMarkersRequest>(VERSION, &mut frame)?;
    let mut outcomes = Outcomes::new();
    for marker in response.markers {
        for topic in marker.topics {
            for partition in topic.partitions {
                let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                let key = (ProducerId(marker.producer_id.0), at);
                outcomes.insert(key, ErrorCode::from_code(partition.error_code));
            }
        }
    }
    Ok((correlation_id, outcomes))
}

/// A marker of one partition as a leader sees it: the partition, the producer's epoch, the coordinator's, and whether it
/// commits.
#[cfg(test)]
pub(crate) type Asked = (i32, i16, i32, bool);

/// The answer of a leader that decides so of each marker.
#[cfg(test)]
pub(crate) fn answer(mut frame: Bytes, mut decide: impl FnMut(Asked) -> ErrorCode) -> BytesMut {
    use kafka_protocol::messages::WriteTxnMarkersResponse;
    use kafka_protocol::messages::write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };

    let header = moldau_kafka::RequestHeader::parse(&mut frame).unwrap();
    let request: WriteTxnMarkersRequest = moldau_kafka::decode(header.api_version, &mut frame).unwrap();
    let markers = request.markers.iter().map(|marker| {
        let topics = marker.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|partition| {
                let (epoch, coordinator_epoch) = (marker.producer_epoch, marker.coordinator_epoch);
                let code = decide((*partition, epoch, coordinator_epoch, marker.transaction_result));
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_error_code(code.code())
            });
            WritableTxnMarkerTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics.collect())
    });
    let response = WriteTxnMarkersResponse::default().with_markers(markers.collect());
    moldau_kafka::encode_response(header.api_key, header.api_version, header.correlation_id, &response)
        .unwrap()
}
