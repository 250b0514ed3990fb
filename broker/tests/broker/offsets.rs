//! ListOffsets, DeleteRecords, OffsetForLeaderEpoch.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, OffsetForLeaderEpochRequest};
use moldau_model::{ErrorCode, TimestampMs};
use moldau_record::BatchBuilder;

use crate::harness::{Client, Node};
use crate::requests::*;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

fn at_times(times: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for time in times {
        builder.append(TimestampMs(*time), None, Some(b"x"), &[]).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn every_version_knows_its_special_timestamps_and_only_those() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let now = now_ms();
    produced(&mut client, &topic, at_times(&[now - 50, now - 10, now - 30]));
    produced(&mut client, &topic, at_times(&[now - 40, now - 20]));
    for version in 1..=10 {
        for (timestamp, since, expected) in [
            (LATEST, 1, (5, -1)),
            (EARLIEST, 1, (0, -1)),
            (now - 50, 1, (0, now - 50)),
            (now - 45, 1, (1, now - 10)),
            (now - 20, 1, (1, now - 10)),
            (0, 1, (0, now - 50)),
            (now, 1, (-1, -1)),
            (MAX_TIMESTAMP, 7, (1, now - 10)),
            (EARLIEST_LOCAL, 8, (0, -1)),
            (LATEST_TIERED, 9, (-1, -1)),
            (-6, 99, (-1, -1)),
        ] {
            let answer = list_offset(&mut client, version, &topic, timestamp);
            let expected_code =
                if version >= since { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
            assert_eq!(code(answer.error_code), expected_code, "{version} {timestamp}");
            if version >= since {
                assert_eq!((answer.offset, answer.timestamp), expected, "{version} {timestamp}");
            }
        }
    }
    let mut read_committed = list_offsets_request(6, &topic, LATEST, -1);
    read_committed.isolation_level = 1;
    assert_eq!(client.call(6, &read_committed).topics[0].partitions[0].offset, 5);
}

#[test]
fn an_epoch_that_is_wrong_is_told() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let epoch = list_offset(&mut client, 6, &topic, LATEST).leader_epoch;
    for (asked, expected) in
        [(-1, ErrorCode::None), (epoch, ErrorCode::None), (epoch + 1, ErrorCode::UnknownLeaderEpoch)]
    {
        let response = client.call(6, &list_offsets_request(6, &topic, LATEST, asked));
        assert_eq!(code(response.topics[0].partitions[0].error_code), expected, "{asked}");
    }
}

fn delete_records(client: &mut Client, version: i16, topic: &Topic, offset: i64) -> (ErrorCode, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let of_topic =
        DeleteRecordsTopic::default().with_name(name(&topic.name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_topic]).with_timeout_ms(30_000);
    let response = client.call(version, &request);
    let answer = &response.topics[0].partitions[0];
    (code(answer.error_code), answer.low_watermark)
}

#[test]
fn deleted_records_are_gone_for_every_reader_and_stay_gone() {
    let mut node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    for _ in 0..5 {
        produced(&mut client, &topic, batch(&[b"a", b"b"]));
    }
    assert_eq!(delete_records(&mut client, 0, &topic, 3), (ErrorCode::None, 3));
    assert_eq!(delete_records(&mut client, 1, &topic, 2), (ErrorCode::None, 3), "it never goes back");
    assert_eq!(delete_records(&mut client, 2, &topic, 11).0, ErrorCode::OffsetOutOfRange);
    assert_eq!(delete_records(&mut client, 2, &topic, -2).0, ErrorCode::OffsetOutOfRange);
    for round in 0..3 {
        assert_eq!(list_offset(&mut client, 6, &topic, EARLIEST).offset, 3, "round {round}");
        let gone = fetch_one(&mut client, 12, &topic, from(0, 2));
        assert_eq!(code(gone.error_code), ErrorCode::OffsetOutOfRange, "round {round}");
        // Whole batches are sent: the client passes over what is before the offset it asked for.
        let first = read_from(&mut client, &topic, 3).into_iter().find(|(offset, _)| *offset >= 3);
        assert_eq!(first.unwrap().0, 3);
        match round {
            0 => node.restart(),
            _ => node.crash_and_start(),
        }
        client = node.connect();
    }
    // -1 is the high watermark: all is gone, and the offsets go on.
    assert_eq!(delete_records(&mut client, 2, &topic, -1), (ErrorCode::None, 10));
    assert_eq!(list_offset(&mut client, 6, &topic, EARLIEST).offset, 10);
    assert_eq!(produced(&mut client, &topic, batch(&[b"c"])), 10);
}

fn epoch_end(client: &mut Client, version: i16, topic: &Topic, current: i32, asked: i32) -> EpochEndOffset {
    let mut partition = OffsetForLeaderPartition::default().with_leader_epoch(asked);
    partition.current_leader_epoch = current;
    let of_topic =
        OffsetForLeaderTopic::default().with_topic(name(&topic.name)).with_partitions(vec![partition]);
    let mut request = OffsetForLeaderEpochRequest::default().with_topics(vec![of_topic]);
    if version >= 3 {
        request.replica_id = BrokerId(-1);
    }
    client.call(version, &request).topics.remove(0).partitions.remove(0)
}

#[test]
fn every_leader_epoch_knows_where_it_ended() {
    let mut node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut ends = Vec::new();
    for round in 0..3 {
        produced(&mut client, &topic, batch(&[b"a", b"b"]));
        let epoch = list_offset(&mut client, 6, &topic, LATEST).leader_epoch;
        ends.push((epoch, (round + 1) * 2));
        node.restart();
        client = node.connect();
    }
    assert!(ends.is_sorted() && ends[0].0 < ends[1].0);
    let now = list_offset(&mut client, 6, &topic, LATEST).leader_epoch;
    for version in 2..=4 {
        for (epoch, end) in &ends {
            let found = epoch_end(&mut client, version, &topic, -1, *epoch);
            assert_eq!(
                (found.error_code, found.leader_epoch, found.end_offset),
                (0, *epoch, *end),
                "{version}"
            );
        }
        let future = epoch_end(&mut client, version, &topic, -1, now + 5);
        assert_eq!((future.leader_epoch, future.end_offset), (-1, -1), "{version}");
        let fenced = epoch_end(&mut client, version, &topic, now - 1, ends[0].0);
        assert_eq!(code(fenced.error_code), ErrorCode::FencedLeaderEpoch, "{version}");
        let unknown = epoch_end(&mut client, version, &topic, now + 1, ends[0].0);
        assert_eq!(code(unknown.error_code), ErrorCode::UnknownLeaderEpoch, "{version}");
    }
}
