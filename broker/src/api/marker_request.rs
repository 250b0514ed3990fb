//! WriteTxnMarkers (27) as the coordinator sends it, version 2, and what it makes of the answer.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use moldau_kafka::{TxnMarker, TxnMarkerTopic, TxnMarkersRequest, WireError, decode_txn_markers_response};
use moldau_model::{ErrorCode, PartitionIndex, ProducerId, TopicPartition};
use moldau_txn::TransactionMarkers;

/// It tells which transactions the producer knows, by which a partition refuses a marker that comes late, into the producer's
/// next transaction (KIP-1228).
const VERSION: i16 = 2;

/// The frame that asks for these markers.
///
/// # Errors
/// None that a coordinator's own markers can cause.
pub(crate) fn encode<'a>(
    correlation_id: i32,
    all: impl Iterator<Item = &'a TransactionMarkers>,
) -> Result<BytesMut, WireError> {
    let request = TxnMarkersRequest { markers: all.map(marker).collect() };
    request.encode(VERSION, correlation_id, None)
}

fn marker(markers: &TransactionMarkers) -> TxnMarker {
    let mut by_topic: BTreeMap<&str, Vec<PartitionIndex>> = BTreeMap::new();
    for partition in &markers.partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics =
        by_topic.into_iter().map(|(topic, partitions)| TxnMarkerTopic { name: topic.to_owned(), partitions });
    TxnMarker {
        producer_id: markers.producer_id,
        producer_epoch: markers.producer_epoch,
        is_commit: markers.is_commit,
        topics: topics.collect(),
        coordinator_epoch: markers.coordinator_epoch.0,
        transaction_version: i8::try_from(markers.transaction_version).unwrap_or(i8::MAX),
    }
}

/// What became of each marker. A producer has one transaction that ends, so it tells which.
pub(crate) type Outcomes = BTreeMap<(ProducerId, TopicPartition), ErrorCode>;

/// Reads an answer: its correlation id, and the outcomes.
///
/// # Errors
/// Bytes that are no answer.
pub(crate) fn decode(mut frame: Bytes) -> Result<(i32, Outcomes), WireError> {
    let (correlation_id, response) = decode_txn_markers_response(VERSION, &mut frame)?;
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
    let request = TxnMarkersRequest::decode(header.api_version, &frame).unwrap();
    let markers = request.markers.iter().map(|marker| {
        let topics = marker.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let (epoch, coordinator_epoch) = (marker.producer_epoch.0, marker.coordinator_epoch);
                let code = decide((partition.0, epoch, coordinator_epoch, marker.is_commit));
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(partition.0)
                    .with_error_code(code.code())
            });
            WritableTxnMarkerTopicResult::default()
                .with_name(super::message::topic_name(&topic.name))
                .with_partitions(partitions.collect())
        });
        WritableTxnMarkerResult::default()
            .with_producer_id(kafka_protocol::messages::ProducerId(marker.producer_id.0))
            .with_topics(topics.collect())
    });
    let response = WriteTxnMarkersResponse::default().with_markers(markers.collect());
    moldau_kafka::encode_response(header.api_key, header.api_version, header.correlation_id, &response)
        .unwrap()
}
