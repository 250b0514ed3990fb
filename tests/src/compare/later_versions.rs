//! Versions that kafka-protocol does not know, of APIs that it knows: made of the bytes of the version before.

use bytes::BytesMut;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};
use kafka_protocol::protocol::StrBytes;

use super::admin::{text, topic};
use super::groups::group;
use super::transactions::{marker_of, write_markers};
use super::{Case, Peer};

/// Names that stand for ids: no part of a request contains one of them by chance.
const NAMES: [(&str, &str); 3] =
    [("name-of-offsets", "offsets"), ("name-of-two", "two"), ("name-of-none", "none")];

fn bytes(request: &RequestKind, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    if request.encode(&mut out, version).is_err() {
        return Vec::new();
    }
    out.to_vec()
}

fn with(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// Ids in place of names. The last name's id no system has.
fn by_id(peer: &Peer, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (name, topic) in NAMES {
        let compact = [&[name.len() as u8 + 1], name.as_bytes()].concat();
        bytes = with(&bytes, &compact, peer.topic_id(topic).as_bytes());
    }
    bytes
}

/// Of a topic, one that is not there, and another; Kafka puts partitions that are not there first.
fn commit(peer: &Peer, name: &str, member: &str, epoch: i32) -> Vec<u8> {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let part = |partition| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(42)
            .with_committed_leader_epoch(0)
            .with_committed_metadata(Some(text("note")))
    };
    let of = |(name, _): (&str, &str), partitions: &[i32]| {
        let partitions = partitions.iter().map(|partition| part(*partition)).collect();
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let topics = vec![of(NAMES[0], &[9, 0]), of(NAMES[2], &[0, 1]), of(NAMES[1], &[1])];
    let request = m::OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(epoch)
        .with_member_id(text(member))
        .with_topics(topics);
    by_id(peer, &bytes(&RequestKind::OffsetCommit(request), 9))
}

fn commit_one(peer: &Peer, name: &str) -> Vec<u8> {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
    let of =
        OffsetCommitRequestTopic::default().with_name(topic(NAMES[0].0)).with_partitions(vec![partition]);
    let request = m::OffsetCommitRequest::default().with_group_id(group(name)).with_topics(vec![of]);
    by_id(peer, &bytes(&RequestKind::OffsetCommit(request), 9))
}

fn fetch(peer: &Peer, names: &[&str], all: bool) -> Vec<u8> {
    use m::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let of = |(name, _): (&str, &str), partitions: &[i32]| {
        OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec())
    };
    let topics = || vec![of(NAMES[2], &[0, 1]), of(NAMES[0], &[0, 9]), of(NAMES[1], &[1])];
    let groups = names.iter().enumerate().map(|(n, name)| {
        let of_group = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_member_epoch(-1);
        // The names stand once in a request: the first of them.
        of_group.with_topics(if all { None } else { Some(if n == 0 { topics() } else { Vec::new() }) })
    });
    let request = m::OffsetFetchRequest::default().with_groups(groups.collect());
    by_id(peer, &bytes(&RequestKind::OffsetFetch(request), 9))
}

/// Of one partition: Kafka answers several in the order of a hash map.
fn list_offsets(name: &str, timestamp: i64) -> Vec<u8> {
    use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
    let of = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = m::ListOffsetsRequest::default().with_replica_id(m::BrokerId(-1)).with_topics(vec![of]);
    bytes(&RequestKind::ListOffsets(request), 10)
}

/// One marker of version 2: its last field comes in front of its tagged fields and the request's.
fn marker(producer: (i64, i16), transaction_version: u8, partition: i32) -> Vec<u8> {
    let mut body = bytes(&write_markers(&[(marker_of(producer, 5, true), "two", partition)]), 1);
    body.insert(body.len().saturating_sub(2), transaction_version);
    body
}

fn add_voter(id: i32, waits_for_commit: bool) -> Vec<u8> {
    let listener = m::add_raft_voter_request::Listener::default()
        .with_name(StrBytes::from_static_str("OUTSIDE"))
        .with_host(StrBytes::from_static_str("controller"))
        .with_port(9093);
    let request = m::AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(5000)
        .with_voter_id(id)
        .with_voter_directory_id(uuid::Uuid::from_u128(7))
        .with_listeners(vec![listener]);
    let mut body = bytes(&RequestKind::AddRaftVoter(request), 0);
    body.insert(body.len().saturating_sub(1), u8::from(waits_for_commit));
    body
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{AddRaftVoter, ListOffsets, OffsetCommit, OffsetFetch, WriteTxnMarkers};
    vec![
        Case::bytes("commit by topic ids", OffsetCommit, 10, |peer| commit(peer, "by-id", "", -1)),
        Case::bytes("commit by topic ids as a member that is none", OffsetCommit, 10, |peer| {
            commit(peer, "by-id", "m", 3)
        }),
        Case::bytes("commit by topic ids to no group", OffsetCommit, 10, |peer| commit(peer, "", "", -1)),
        Case::bytes("fetch offsets by topic ids", OffsetFetch, 10, |peer| {
            fetch(peer, &["by-id", "nobody"], false)
        }),
        Case::bytes("commit to one topic by its id", OffsetCommit, 10, |peer| commit_one(peer, "by-one-id")),
        Case::bytes("fetch all offsets by topic ids", OffsetFetch, 10, |peer| {
            fetch(peer, &["by-one-id", "nobody"], true)
        }),
        Case::bytes("fetch offsets by topic ids of no group", OffsetFetch, 10, |peer| {
            fetch(peer, &[""], false)
        }),
        Case::bytes("fetch offsets by topic ids of nobody", OffsetFetch, 10, |peer| {
            fetch(peer, &["nobody"], false)
        }),
        Case::bytes("list offsets: latest, 11", ListOffsets, 11, |_| list_offsets("records", -1)),
        Case::bytes("list offsets: earliest, 11", ListOffsets, 11, |_| list_offsets("records", -2)),
        Case::bytes("list offsets: latest tiered, 11", ListOffsets, 11, |_| list_offsets("records", -5)),
        Case::bytes("list offsets: earliest to be tiered", ListOffsets, 11, |_| list_offsets("records", -6)),
        Case::bytes("list offsets: earliest to be tiered of no topic", ListOffsets, 11, |_| {
            list_offsets("nope", -6)
        }),
        Case::bytes("list offsets: a timestamp that is none", ListOffsets, 11, |_| {
            list_offsets("records", -7)
        }),
        Case::bytes("an end of the first transaction version", WriteTxnMarkers, 2, |_| {
            marker((9_100_001, 3), 1, 0)
        }),
        Case::bytes("an end of the first transaction version again", WriteTxnMarkers, 2, |_| {
            marker((9_100_001, 3), 1, 0)
        }),
        Case::bytes("an end of the second transaction version at the same epoch", WriteTxnMarkers, 2, |_| {
            marker((9_100_001, 3), 2, 0)
        }),
        Case::bytes("an end of the second transaction version at the next epoch", WriteTxnMarkers, 2, |_| {
            marker((9_100_001, 4), 2, 0)
        }),
        Case::bytes("an end of no producer's transaction", WriteTxnMarkers, 2, |_| {
            marker((9_100_002, 0), 2, 0)
        }),
        Case::bytes("an end in a partition that is not there, 2", WriteTxnMarkers, 2, |_| {
            marker((9_100_003, 0), 2, 99)
        }),
        Case::bytes("add a voter that listens elsewhere, not waiting", AddRaftVoter, 1, |_| {
            add_voter(2, false)
        }),
        Case::bytes("add a voter without an id, waiting", AddRaftVoter, 1, |_| add_voter(-1, true)),
    ]
}
