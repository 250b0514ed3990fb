//! OffsetCommit and OffsetFetch by topic ids against the library's version 9, in whose messages the ids take the place of the
//! names; and AddRaftVoter's version 1 against version 0, behind which one byte comes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    AddRaftVoterRequest, GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use moldau_kafka::{
    ApiKey, WireError, check_response, decode_add_raft_voter, decode_offset_commit_by_id,
    decode_offset_fetch_by_id, encode_offset_commit_by_id, encode_offset_fetch_by_id, encode_response,
};
use moldau_model::TopicId;

const NAMES: [&str; 3] = ["the-first-topic", "the-second-one", "the-last-of-them"];

fn id(n: usize) -> TopicId {
    TopicId::from_bytes([0xa0 + n as u8; 16])
}

fn name(n: usize) -> TopicName {
    TopicName(StrBytes::from_static_str(NAMES[n]))
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn compact(name: &str) -> Vec<u8> {
    [&[name.len() as u8 + 1], name.as_bytes()].concat()
}

/// What version 10 makes of version 9's bytes.
fn with_ids(bytes: &[u8], topics: &[usize]) -> Bytes {
    topics
        .iter()
        .fold(bytes.to_vec(), |bytes, &n| replaced(&bytes, &compact(NAMES[n]), id(n).as_bytes()))
        .into()
}

fn encoded<M: Encodable>(message: &M, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out
}

/// Behind size and header, which is as long in both versions.
fn without_size(frame: &[u8]) -> &[u8] {
    &frame[4..]
}

fn commit() -> OffsetCommitRequest {
    let partition = |index: i32, metadata: Option<&'static str>| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(1 << 40)
            .with_committed_leader_epoch(7)
            .with_committed_metadata(metadata.map(text))
    };
    let topic = |n: usize, partitions| {
        OffsetCommitRequestTopic::default().with_name(name(n)).with_partitions(partitions)
    };
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(3)
        .with_member_id(text("m"))
        .with_group_instance_id(Some(text("i")))
        .with_topics(vec![
            topic(0, vec![partition(0, Some("x")), partition(9, None)]),
            topic(1, vec![]),
            topic(2, vec![partition(1, Some(""))]),
        ])
}

#[test]
fn offsets_are_committed_by_ids() {
    let mut expected = commit();
    let body = with_ids(&encoded(&expected, 9), &[0, 1, 2]);
    for topic in &mut expected.topics {
        topic.name = TopicName::default();
    }
    assert_eq!(decode_offset_commit_by_id(&body), Ok((expected, vec![id(0), id(1), id(2)])));
    for length in 0..body.len() {
        assert!(decode_offset_commit_by_id(&body.slice(..length)).is_err(), "{length}");
    }

    let topic = |n: usize, codes: &[i16]| {
        let partitions = codes.iter().enumerate().map(|(index, code)| {
            OffsetCommitResponsePartition::default().with_partition_index(index as i32).with_error_code(*code)
        });
        OffsetCommitResponseTopic::default().with_name(name(n)).with_partitions(partitions.collect())
    };
    let response = OffsetCommitResponse::default()
        .with_throttle_time_ms(5)
        .with_topics(vec![topic(1, &[0, 100]), topic(0, &[])]);
    let by_name = encode_response(ApiKey::OffsetCommit, 9, 77, &response).unwrap();
    let by_id = encode_offset_commit_by_id(77, &response, &[id(1), id(0)]).unwrap();
    assert_eq!(without_size(&by_id), with_ids(without_size(&by_name), &[1, 0]));
    assert_eq!(check_response(ApiKey::OffsetCommit, 10, &by_id[9..]), Ok(()));
    assert_eq!(encode_offset_commit_by_id(77, &response, &[id(1)]), Err(WireError::UnexpectedNull));
}

#[test]
fn offsets_are_fetched_by_ids() {
    let topic = |n: usize, partitions: &[i32]| {
        OffsetFetchRequestTopics::default().with_name(name(n)).with_partition_indexes(partitions.to_vec())
    };
    let group = |group: &'static str, topics| {
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(topics)
    };
    let mut expected = OffsetFetchRequest::default().with_require_stable(true).with_groups(vec![
        group("g", Some(vec![topic(0, &[0, 1]), topic(1, &[])]))
            .with_member_id(Some(text("m")))
            .with_member_epoch(4),
        group("all", None),
        group("h", Some(vec![topic(2, &[5])])),
    ]);
    let body = with_ids(&encoded(&expected, 9), &[0, 1, 2]);
    for topic in expected.groups.iter_mut().flat_map(|group| &mut group.topics).flatten() {
        topic.name = TopicName::default();
    }
    let ids = vec![vec![id(0), id(1)], vec![], vec![id(2)]];
    assert_eq!(decode_offset_fetch_by_id(&body), Ok((expected, ids)));
    for length in 0..body.len() {
        assert!(decode_offset_fetch_by_id(&body.slice(..length)).is_err(), "{length}");
    }

    let topic = |n: usize, metadata: Option<&'static str>| {
        let partition = OffsetFetchResponsePartitions::default()
            .with_partition_index(3)
            .with_committed_offset(1 << 33)
            .with_committed_leader_epoch(2)
            .with_metadata(metadata.map(text))
            .with_error_code(100);
        OffsetFetchResponseTopics::default().with_name(name(n)).with_partitions(vec![partition])
    };
    let group = |group: &'static str, topics, code| {
        OffsetFetchResponseGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(topics)
            .with_error_code(code)
    };
    let response = OffsetFetchResponse::default().with_groups(vec![
        group("g", vec![topic(1, Some("x")), topic(0, None)], 0),
        group("h", vec![], 69),
        group("i", vec![topic(2, Some(""))], 0),
    ]);
    let by_name = encode_response(ApiKey::OffsetFetch, 9, 77, &response).unwrap();
    let by_id = encode_offset_fetch_by_id(77, &response, &[id(1), id(0), id(2)]).unwrap();
    assert_eq!(without_size(&by_id), with_ids(without_size(&by_name), &[1, 0, 2]));
    assert_eq!(check_response(ApiKey::OffsetFetch, 10, &by_id[9..]), Ok(()));
}

#[test]
fn a_voter_is_added_with_and_without_waiting_for_the_commit() {
    let listener = Listener::default().with_name(text("CONTROLLER")).with_host(text("h")).with_port(65_000);
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(Some(text("c")))
        .with_timeout_ms(9)
        .with_voter_id(3)
        .with_voter_directory_id(uuid::Uuid::from_bytes([5; 16]))
        .with_listeners(vec![listener]);
    let first = encoded(&request, 0).freeze();
    assert_eq!(decode_add_raft_voter(0, &first), Ok((request.clone(), true)));
    for waits in [false, true] {
        // In front of the count of tagged fields.
        let mut second = BytesMut::from(&first[..first.len() - 1]);
        second.put_slice(&[u8::from(waits), 0]);
        assert_eq!(decode_add_raft_voter(1, &second.freeze()), Ok((request.clone(), waits)));
    }
    assert!(decode_add_raft_voter(1, &first).is_err());
}
