//! The answer to a produce that went well, against the library's encoder in every version.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{ApiKey, ProducedPartition, ProducedTopic, WireError, encode_produced, encode_response};
use moldau_model::{ErrorCode, Offset, PartitionIndex, TimestampMs, TopicId};

fn partitions(count: i32) -> Vec<ProducedPartition> {
    let of = |index: i32| ProducedPartition {
        index: PartitionIndex(index),
        error_code: if index == 2 { ErrorCode::CorruptMessage } else { ErrorCode::None },
        base_offset: Offset(i64::from(index) << 33),
        log_append_time: TimestampMs(if index % 2 == 0 { -1 } else { 1_700_000_000_000 }),
        log_start_offset: Offset(i64::from(index) + 5),
    };
    (0..count).map(of).collect()
}

fn by_the_library(version: i16, topics: &[(String, [u8; 16], Vec<ProducedPartition>)]) -> ProduceResponse {
    let responses = topics.iter().map(|(name, id, partitions)| {
        let partitions = partitions.iter().map(|partition| {
            let answer = PartitionProduceResponse::default()
                .with_index(partition.index.0)
                .with_error_code(partition.error_code.code())
                .with_base_offset(partition.base_offset.0)
                .with_log_append_time_ms(partition.log_append_time.0);
            if version >= 5 { answer.with_log_start_offset(partition.log_start_offset.0) } else { answer }
        });
        let topic = TopicProduceResponse::default().with_partition_responses(partitions.collect());
        if version >= 13 {
            topic.with_topic_id(uuid::Uuid::from_bytes(*id))
        } else {
            topic.with_name(TopicName(StrBytes::from_string(name.clone())))
        }
    });
    ProduceResponse::default().with_responses(responses.collect()).with_throttle_time_ms(7)
}

#[test]
fn it_is_the_librarys_to_the_byte_in_every_version() {
    let topics = [
        ("pageview".to_owned(), [1; 16], partitions(1)),
        ("".to_owned(), [2; 16], vec![]),
        ("long".repeat(60), [3; 16], partitions(200)),
    ];
    for version in 3..=13 {
        for count in 0..=topics.len() {
            let topics = &topics[..count];
            let ours = topics.iter().map(|(name, id, partitions)| ProducedTopic {
                name,
                topic_id: TopicId::from_bytes(*id),
                partitions: partitions.iter().copied(),
            });
            let ours = encode_produced(version, 42, ours, 7).unwrap();
            let expected =
                encode_response(ApiKey::Produce, version, 42, &by_the_library(version, topics)).unwrap();
            assert_eq!(ours, expected, "version {version}, {count} topics");
        }
    }
}

#[test]
fn a_version_that_is_not_served_is_refused() {
    let none = std::iter::empty::<ProducedTopic<'_, std::iter::Empty<ProducedPartition>>>;
    for version in [2, 14] {
        let refused = encode_produced(version, 1, none(), 0);
        assert_eq!(refused, Err(WireError::UnsupportedVersion { api_key: ApiKey::Produce, version }));
    }
}
