//! The share coordinator's messages against the library's codec where that knows the version, and against the schema where it does
//! not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use kafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::write_share_group_state_request::{PartitionData, StateBatch, WriteStateData};
use kafka_protocol::messages::{self, DescribeShareGroupOffsetsResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{
    ApiKey, DescribedShareOffset, DescribedShareOffsets, ReadShareGroupStateSummaryResponse, RequestHeader,
    SIZE_PREFIX_BYTES, ShareStateBatch, ShareStateSummary, ShareStateWrite, WriteShareGroupStateRequest,
    check_response, encode_described_share_offsets, encode_request, encode_response,
};
use moldau_model::{PartitionIndex, TopicId};

/// The correlation id and the header's tagged fields.
const RESPONSE_HEADER_BYTES: usize = 5;

fn write(delivery_complete_count: i32) -> WriteShareGroupStateRequest {
    let batch = ShareStateBatch { first_offset: 3, last_offset: 9, delivery_state: 2, delivery_count: 1 };
    let write = |partition, batches| ShareStateWrite {
        topic_id: TopicId::ONE,
        partition: PartitionIndex(partition),
        state_epoch: 4,
        leader_epoch: 5,
        start_offset: 3,
        delivery_complete_count,
        batches,
    };
    let writes = vec![write(0, vec![batch, ShareStateBatch { first_offset: 10, ..batch }]), write(7, vec![])];
    WriteShareGroupStateRequest { group_id: "g".into(), writes }
}

fn body(frame: &[u8]) -> Bytes {
    let mut frame = Bytes::copy_from_slice(&frame[SIZE_PREFIX_BYTES..]);
    RequestHeader::parse(&mut frame).unwrap();
    frame
}

#[test]
fn a_write_comes_back_in_both_versions_and_the_first_is_the_librarys() {
    let client = StrBytes::from_static_str("broker-1-share");
    for (version, count) in [(0, -1), (1, 6)] {
        let frame = write(count).encode(version, 9, Some(&client)).unwrap();
        let body = body(&frame);
        assert_eq!(WriteShareGroupStateRequest::decode(version, &body), Ok(write(count)));
        for end in 0..body.len() {
            assert!(
                WriteShareGroupStateRequest::decode(version, &body.slice(..end)).is_err(),
                "{version} {end}"
            );
        }
    }
    let partition = |write: &ShareStateWrite| {
        let batches = write.batches.iter().map(|batch| {
            StateBatch::default()
                .with_first_offset(batch.first_offset)
                .with_last_offset(batch.last_offset)
                .with_delivery_state(batch.delivery_state)
                .with_delivery_count(batch.delivery_count)
        });
        PartitionData::default()
            .with_partition(write.partition.0)
            .with_state_epoch(write.state_epoch)
            .with_leader_epoch(write.leader_epoch)
            .with_start_offset(write.start_offset)
            .with_state_batches(batches.collect())
    };
    let topic = WriteStateData::default()
        .with_topic_id(uuid::Uuid::from_bytes(*TopicId::ONE.as_bytes()))
        .with_partitions(write(-1).writes.iter().map(partition).collect());
    let of_library = messages::WriteShareGroupStateRequest::default()
        .with_group_id(StrBytes::from_static_str("g"))
        .with_topics(vec![topic]);
    assert_eq!(
        encode_request(0, 9, Some(&client), &of_library).unwrap(),
        write(-1).encode(0, 9, Some(&client)).unwrap()
    );
}

#[test]
fn a_summary_comes_back_in_both_versions() {
    for (version, count) in [(0, -1), (1, 6)] {
        let summary = |partition, error_message: Option<&str>| ShareStateSummary {
            topic_id: TopicId::ONE,
            partition: PartitionIndex(partition),
            error_code: 3,
            error_message: error_message.map(str::to_owned),
            state_epoch: 4,
            leader_epoch: 5,
            start_offset: 6,
            delivery_complete_count: count,
        };
        let response =
            ReadShareGroupStateSummaryResponse { summaries: vec![summary(0, None), summary(2, Some("no"))] };
        let frame = response.encode(version, 9).unwrap().freeze().slice(SIZE_PREFIX_BYTES..);
        assert_eq!(ReadShareGroupStateSummaryResponse::decode(version, &mut frame.clone()), Ok(response));
        assert!(ReadShareGroupStateSummaryResponse::decode(1 - version, &mut frame.clone()).is_err());
    }
}

#[test]
fn described_offsets_are_the_librarys_in_version_0_and_tell_the_lag_in_version_1() {
    let offset = |name: &str, partition| DescribedShareOffset {
        topic_id: TopicId::ONE,
        topic_name: name.to_owned(),
        partition: PartitionIndex(partition),
        start_offset: 5,
        leader_epoch: 2,
        lag: 77,
        error_code: 0,
        error_message: None,
    };
    let groups = [
        DescribedShareOffsets {
            group_id: "g".into(),
            offsets: vec![offset("t", 0), offset("t", 1)],
            error_code: 0,
            error_message: None,
        },
        DescribedShareOffsets {
            group_id: "h".into(),
            offsets: vec![],
            error_code: 69,
            error_message: Some("not found".into()),
        },
    ];
    let partition = |index| {
        DescribeShareGroupOffsetsResponsePartition::default()
            .with_partition_index(index)
            .with_start_offset(5)
            .with_leader_epoch(2)
            .with_error_message(None)
    };
    let topic = DescribeShareGroupOffsetsResponseTopic::default()
        .with_topic_name(TopicName(StrBytes::from_static_str("t")))
        .with_topic_id(uuid::Uuid::from_bytes(*TopicId::ONE.as_bytes()))
        .with_partitions(vec![partition(0), partition(1)]);
    let group = |id: &'static str| {
        DescribeShareGroupOffsetsResponseGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str(id)))
    };
    let of_library = DescribeShareGroupOffsetsResponse::default().with_groups(vec![
        group("g").with_topics(vec![topic]).with_error_message(None),
        group("h").with_error_code(69).with_error_message(Some(StrBytes::from_static_str("not found"))),
    ]);
    let first = encode_described_share_offsets(0, 9, &groups).unwrap();
    assert_eq!(encode_response(ApiKey::DescribeShareGroupOffsets, 0, 9, &of_library).unwrap(), first);
    let second = encode_described_share_offsets(1, 9, &groups).unwrap().freeze();
    assert_eq!(second.len(), first.len() + 2 * 8);
    check_response(
        ApiKey::DescribeShareGroupOffsets,
        1,
        &second.slice(SIZE_PREFIX_BYTES + RESPONSE_HEADER_BYTES..),
    )
    .unwrap();
}
