//! Groups that change between the classic and the consumer protocol while they are in use (KIP-848).

use bytes::Bytes;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind};

use super::admin::{text, topic};
use super::consumer_groups::{beat, described, joining};
use super::groups::{describe, group, heartbeat};
use super::{Case, Peer};

const MEMBER_IDS: (&[&str], &str) = (&["member_id"], "each coordinator makes up ids of its own");

/// A subscription of version 0 to `two`.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x03two\xff\xff\xff\xff";
/// An assignment of version 0 with partition 1 of `two`.
const ASSIGNMENT: &[u8] = b"\0\0\0\0\0\x01\0\x03two\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";

fn join(name: &str, version: i16, member: &str, protocol_type: &str, protocol: &str) -> RequestKind {
    let request = m::JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text(protocol_type))
        .with_protocols(vec![
            m::join_group_request::JoinGroupRequestProtocol::default()
                .with_name(text(protocol))
                .with_metadata(Bytes::from_static(SUBSCRIPTION)),
        ]);
    // Version 0 has no field for it.
    RequestKind::JoinGroup(if version >= 1 { request.with_rebalance_timeout_ms(60_000) } else { request })
}

fn sync(name: &str, member: &str, generation: i32, assignment: Option<&'static [u8]>) -> RequestKind {
    let assignments = assignment.map(|assignment| {
        m::sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(assignment))
    });
    RequestKind::SyncGroup(
        m::SyncGroupRequest::default()
            .with_group_id(group(name))
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_assignments(assignments.into_iter().collect()),
    )
}

fn commit(name: &str, member: &str, generation: i32) -> RequestKind {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default().with_partition_index(1).with_committed_offset(7);
    let topics = OffsetCommitRequestTopic::default().with_name(topic("two")).with_partitions(vec![partition]);
    RequestKind::OffsetCommit(
        m::OffsetCommitRequest::default()
            .with_group_id(group(name))
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topics]),
    )
}

/// A stable classic group of one member. Returns its id and generation.
fn classic(peer: &mut Peer, name: &str, protocol_type: &str, assignment: &'static [u8]) -> (String, i32) {
    let joined = peer.call(ApiKey::JoinGroup, 3, &join(name, 3, "", protocol_type, "range"));
    let Ok(ResponseKind::JoinGroup(joined)) = joined else { return (String::new(), -1) };
    let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
    drop(peer.call(ApiKey::SyncGroup, 3, &sync(name, &member, generation, Some(assignment))));
    (member, generation)
}

/// The same after a member of the consumer protocol has joined.
fn upgraded(peer: &mut Peer, name: &str) -> (String, i32) {
    let member = classic(peer, name, "consumer", ASSIGNMENT);
    drop(peer.call(ApiKey::ConsumerGroupHeartbeat, 1, &joins(name)));
    member
}

fn joins(name: &str) -> RequestKind {
    RequestKind::ConsumerGroupHeartbeat(joining(name, "new"))
}

/// A classic member joins again; returns its generation.
fn rejoin(peer: &mut Peer, name: &str, member: &str) -> i32 {
    let joined = peer.call(ApiKey::JoinGroup, 3, &join(name, 3, member, "consumer", "range"));
    match joined {
        Ok(ResponseKind::JoinGroup(joined)) => joined.generation_id,
        _ => -1,
    }
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        ConsumerGroupDescribe, ConsumerGroupHeartbeat, DescribeGroups, Heartbeat, JoinGroup, LeaveGroup,
        OffsetCommit, SyncGroup,
    };
    let cases = vec![
        Case::new("migration: join a classic group as a consumer", ConsumerGroupHeartbeat, 0, 1, |peer, v| {
            let name = format!("mig-join-{v}");
            classic(peer, &name, "consumer", ASSIGNMENT);
            joins(&name)
        }),
        Case::new("migration: join a group of another type", ConsumerGroupHeartbeat, 1, 1, |peer, _| {
            classic(peer, "mig-connect", "connect", ASSIGNMENT);
            joins("mig-connect")
        }),
        Case::new("migration: a heartbeat of a classic member", Heartbeat, 0, 4, |peer, v| {
            let name = format!("mig-beat-{v}");
            let (member, generation) = upgraded(peer, &name);
            heartbeat(&name, generation, &member)
        }),
        Case::new("migration: a classic member asks before it has joined", SyncGroup, 0, 4, |peer, v| {
            let name = format!("mig-early-{v}");
            let (member, generation) = upgraded(peer, &name);
            sync(&name, &member, generation, None)
        }),
        Case::new("migration: a classic member joins again", JoinGroup, 0, 9, |peer, v| {
            let name = format!("mig-again-{v}");
            let (member, _) = upgraded(peer, &name);
            join(&name, v, &member, "consumer", "range")
        }),
        Case::new("migration: a classic member asks for its assignment", SyncGroup, 0, 5, |peer, v| {
            let name = format!("mig-sync-{v}");
            let (member, _) = upgraded(peer, &name);
            let generation = rejoin(peer, &name, &member);
            sync(&name, &member, generation, None)
        }),
        Case::new("migration: commit as a classic member", OffsetCommit, 2, 9, |peer, v| {
            let name = format!("mig-commit-{v}");
            let (member, generation) = upgraded(peer, &name);
            commit(&name, &member, generation)
        }),
        Case::new("migration: commit at another generation", OffsetCommit, 2, 9, |peer, v| {
            let name = format!("mig-late-{v}");
            let (member, generation) = upgraded(peer, &name);
            commit(&name, &member, generation + 7)
        }),
        Case::new("migration: describe a group of both", ConsumerGroupDescribe, 0, 1, |peer, v| {
            let name = format!("mig-described-{v}");
            upgraded(peer, &name);
            described(&[&name])
        }),
        Case::new("migration: a classic member leaves", LeaveGroup, 0, 5, |peer, v| {
            let name = format!("mig-leave-{v}");
            let (member, _) = upgraded(peer, &name);
            let request = m::LeaveGroupRequest::default().with_group_id(group(&name));
            RequestKind::LeaveGroup(if v >= 3 {
                request.with_members(vec![
                    m::leave_group_request::MemberIdentity::default().with_member_id(text(&member)),
                    m::leave_group_request::MemberIdentity::default().with_member_id(text("new")),
                ])
            } else {
                request.with_member_id(text(&member))
            })
        }),
        Case::new("migration: join a consumer group by the classic protocol", JoinGroup, 3, 9, |peer, v| {
            let name = format!("mig-in-{v}");
            drop(peer.call(ApiKey::ConsumerGroupHeartbeat, 1, &joins(&name)));
            join(&name, v, "", "consumer", "range")
        }),
        Case::new("migration: join a group by a protocol that it has not", JoinGroup, 3, 9, |peer, v| {
            let name = format!("mig-other-{v}");
            let _ = upgraded(peer, &name);
            join(&name, v, "", "consumer", "sticky")
        }),
        Case::new("migration: the last consumer leaves", ConsumerGroupHeartbeat, 0, 1, |peer, v| {
            let name = format!("mig-last-{v}");
            upgraded(peer, &name);
            RequestKind::ConsumerGroupHeartbeat(beat(&name, "new", -1))
        }),
        Case::new("migration: describe what it left", DescribeGroups, 0, 6, |peer, v| {
            let name = format!("mig-left-{v}");
            upgraded(peer, &name);
            let leaves = RequestKind::ConsumerGroupHeartbeat(beat(&name, "new", -1));
            drop(peer.call(ApiKey::ConsumerGroupHeartbeat, 1, &leaves));
            describe(&[&name], v)
        })
        .ignoring(
            &["member_id", "protocol_data", "member_assignment", "member_metadata"],
            "ids are each system's own; the members are about to join again, and what they had is written differently",
        ),
    ];
    let with_ids =
        |case: Case| if case.ignore.0.is_empty() { Case { ignore: MEMBER_IDS, ..case } } else { case };
    cases.into_iter().map(with_ids).collect()
}
