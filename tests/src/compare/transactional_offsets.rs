//! Offsets in transactions: TxnOffsetCommit, and what OffsetFetch tells of them.

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::admin::{text, topic};
use super::groups::{fetch_offsets, group};
use super::transactions::{Producer, add_offsets, end, id, start};
use super::{Case, Peer};

/// Offsets of partitions that exist, one of them with more metadata than is allowed, and of others.
fn commit(name: &str, version: i16, producer: Producer, group_id: &str, member: (&str, i32)) -> RequestKind {
    use m::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
    let part = |partition, metadata: Option<String>| {
        let part = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(42)
            .with_committed_metadata(metadata.map(|s| text(&s)));
        if version >= 2 { part.with_committed_leader_epoch(0) } else { part }
    };
    let of = |name: &str, partitions| {
        TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let topics = vec![
        of("offsets", vec![part(0, Some("note".into())), part(9, Some(String::new()))]),
        of("two", vec![part(0, Some("x".repeat(5000))), part(1, None)]),
        of("nope", vec![part(0, None)]),
    ];
    let request = m::TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(group(group_id))
        .with_producer_id(m::ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_topics(topics);
    RequestKind::TxnOffsetCommit(if version >= 3 {
        request.with_member_id(text(member.0)).with_generation_id(member.1)
    } else {
        request
    })
}

const NO_MEMBER: (&str, i32) = ("", -1);

/// A producer whose transaction includes the group.
fn open(peer: &mut Peer, name: &str, group_id: &str) -> Producer {
    let producer = start(peer, name);
    drop(peer.call(ApiKey::AddOffsetsToTxn, 3, &add_offsets(name, producer, group_id)));
    producer
}

/// One that has committed offsets of the group.
fn committed(peer: &mut Peer, name: &str, group_id: &str) -> Producer {
    let producer = open(peer, name, group_id);
    drop(peer.call(ApiKey::TxnOffsetCommit, 3, &commit(name, 3, producer, group_id, NO_MEMBER)));
    producer
}

fn stable(version: i16, group_id: &str) -> RequestKind {
    let RequestKind::OffsetFetch(request) = fetch_offsets(&[group_id], version, false) else {
        panic!("another kind of request");
    };
    RequestKind::OffsetFetch(request.with_require_stable(true))
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{OffsetFetch, TxnOffsetCommit};
    vec![
        Case::new("offsets in a transaction", TxnOffsetCommit, 0, 5, |peer, v| {
            let (name, group_id) = (format!("txn-offsets-{v}"), format!("txn-group-{v}"));
            let producer = open(peer, &name, &group_id);
            commit(&name, v, producer, &group_id, NO_MEMBER)
        }),
        Case::new("offsets in a transaction without the group", TxnOffsetCommit, 0, 5, |peer, v| {
            let name = format!("txn-alone-{v}");
            let producer = start(peer, &name);
            commit(&name, v, producer, &format!("txn-alone-group-{v}"), NO_MEMBER)
        }),
        Case::new("offsets in a transaction of an id that nobody has", TxnOffsetCommit, 0, 5, |_, v| {
            commit("nobody", v, (9_000_077, 0), "txn-group", NO_MEMBER)
        }),
        Case::new("offsets in a transaction of a nameless id", TxnOffsetCommit, 0, 5, |_, v| {
            commit("", v, (9_000_078, 0), "txn-group", NO_MEMBER)
        }),
        Case::new("offsets in a transaction from an older epoch", TxnOffsetCommit, 0, 5, |peer, v| {
            let (name, group_id) = (format!("txn-older-{v}"), format!("txn-older-group-{v}"));
            let (producer_id, epoch) = open(peer, &name, &group_id);
            commit(&name, v, (producer_id, epoch - 1), &group_id, NO_MEMBER)
        }),
        Case::new("offsets in a transaction for a nameless group", TxnOffsetCommit, 0, 5, |peer, v| {
            let name = format!("txn-nameless-{v}");
            let producer = start(peer, &name);
            commit(&name, v, producer, "", NO_MEMBER)
        }),
        Case::new(
            "offsets in a transaction by a member that there is not",
            TxnOffsetCommit,
            3,
            5,
            |peer, v| {
                let (name, group_id) = (format!("txn-member-{v}"), format!("txn-member-group-{v}"));
                let producer = committed(peer, &name, &group_id);
                commit(&name, v, producer, &group_id, ("member", -1))
            },
        ),
        Case::new(
            "offsets in a transaction by a member of an unknown group",
            TxnOffsetCommit,
            3,
            5,
            |peer, v| {
                let (name, group_id) = (format!("txn-unknown-{v}"), format!("txn-unknown-group-{v}"));
                let producer = open(peer, &name, &group_id);
                commit(&name, v, producer, &group_id, ("member", 3))
            },
        ),
        Case::new("offsets while a transaction is open", OffsetFetch, 1, 9, |peer, v| {
            let (name, group_id) = (format!("txn-fetch-{v}"), format!("txn-fetch-group-{v}"));
            committed(peer, &name, &group_id);
            fetch_offsets(&[&group_id], v, false)
        }),
        Case::new("stable offsets while a transaction is open", OffsetFetch, 7, 9, |peer, v| {
            let (name, group_id) = (format!("txn-stable-{v}"), format!("txn-stable-group-{v}"));
            committed(peer, &name, &group_id);
            stable(v, &group_id)
        }),
        Case::new("stable offsets of a transaction that was committed", OffsetFetch, 7, 9, |peer, v| {
            ended(peer, v, true)
        }),
        Case::new("stable offsets of a transaction that was aborted", OffsetFetch, 7, 9, |peer, v| {
            ended(peer, v, false)
        }),
    ]
}

/// The marker may take a moment: the group's stable offsets are asked for until it has come.
fn ended(peer: &mut Peer, version: i16, is_commit: bool) -> RequestKind {
    const UNSTABLE_OFFSET_COMMIT: i16 = 88;
    let group_id = format!("txn-ended-group-{is_commit}-{version}");
    let name = format!("txn-ended-{is_commit}-{version}");
    let producer = committed(peer, &name, &group_id);
    drop(peer.call(ApiKey::EndTxn, 3, &end(&name, producer, is_commit)));
    for _ in 0..200 {
        let Ok(m::ResponseKind::OffsetFetch(fetched)) =
            peer.call(ApiKey::OffsetFetch, 7, &stable(7, &group_id))
        else {
            break;
        };
        let mut partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        if !partitions.any(|partition| partition.error_code == UNSTABLE_OFFSET_COMMIT) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    stable(version, &group_id)
}
