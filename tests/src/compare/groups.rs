//! The classic consumer group, from the coordinator to its end.

use bytes::Bytes;
use kafka_protocol::messages::{self as m, ApiKey, GroupId, RequestKind};

use super::admin::{text, topic};
use super::{Case, Peer};

pub(super) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Each version has a group of its own, so that each starts from nothing.
fn name_of(version: i16) -> String {
    format!("g{version}")
}

pub(super) fn join(name: &str, version: i16, member: &str) -> RequestKind {
    let request = m::JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            m::join_group_request::JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0")),
        ]);
    RequestKind::JoinGroup(if version >= 1 { request.with_rebalance_timeout_ms(60_000) } else { request })
}

pub(super) fn sync(peer: &Peer, name: &str, version: i16, generation: i32) -> RequestKind {
    let request = m::SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(&peer.member_id))
        .with_assignments(vec![
            m::sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(text(&peer.member_id))
                .with_assignment(Bytes::from_static(b"assigned")),
        ]);
    RequestKind::SyncGroup(if version >= 5 {
        request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
    } else {
        request
    })
}

fn commit(name: &str, version: i16, generation: i32, member: &str) -> RequestKind {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let part = |partition, metadata: Option<String>| {
        let part = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(42)
            .with_committed_metadata(metadata.map(|s| text(&s)));
        if version >= 6 { part.with_committed_leader_epoch(0) } else { part }
    };
    let topics = vec![
        OffsetCommitRequestTopic::default()
            .with_name(topic("offsets"))
            .with_partitions(vec![part(0, Some("note".into())), part(9, Some(String::new()))]),
        OffsetCommitRequestTopic::default()
            .with_name(topic("two"))
            .with_partitions(vec![part(0, Some("x".repeat(5000))), part(1, None)]),
        OffsetCommitRequestTopic::default().with_name(topic("nope")).with_partitions(vec![part(0, None)]),
    ];
    let request = m::OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(topics);
    RequestKind::OffsetCommit(if version <= 4 { request.with_retention_time_ms(-1) } else { request })
}

pub(super) fn fetch_offsets(names: &[&str], version: i16, all: bool) -> RequestKind {
    use m::offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let wishes = [("offsets", vec![0, 9]), ("two", vec![1]), ("nope", vec![0])];
    let request = m::OffsetFetchRequest::default();
    let request = if version >= 8 {
        let groups = names.iter().map(|name| {
            let topics = wishes.iter().map(|(t, p)| {
                OffsetFetchRequestTopics::default().with_name(topic(t)).with_partition_indexes(p.clone())
            });
            OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(if all {
                None
            } else {
                Some(topics.collect())
            })
        });
        request.with_groups(groups.collect())
    } else {
        let topics = wishes.iter().map(|(t, p)| {
            OffsetFetchRequestTopic::default().with_name(topic(t)).with_partition_indexes(p.clone())
        });
        let topics = if all && version >= 2 { None } else { Some(topics.collect()) };
        request.with_group_id(group(names[0])).with_topics(topics)
    };
    RequestKind::OffsetFetch(request)
}

pub(super) fn describe(names: &[&str], version: i16) -> RequestKind {
    let request = m::DescribeGroupsRequest::default().with_groups(names.iter().map(|n| group(n)).collect());
    RequestKind::DescribeGroups(if version >= 3 {
        request.with_include_authorized_operations(true)
    } else {
        request
    })
}

pub(super) fn heartbeat(name: &str, generation: i32, member: &str) -> RequestKind {
    RequestKind::Heartbeat(
        m::HeartbeatRequest::default()
            .with_group_id(group(name))
            .with_generation_id(generation)
            .with_member_id(text(member)),
    )
}

fn leave(name: &str, version: i16, member: &str) -> RequestKind {
    let request = m::LeaveGroupRequest::default().with_group_id(group(name));
    RequestKind::LeaveGroup(if version >= 3 {
        request.with_members(vec![
            m::leave_group_request::MemberIdentity::default().with_member_id(text(member)),
        ])
    } else {
        request.with_member_id(text(member))
    })
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        DeleteGroups, DescribeGroups, FindCoordinator, Heartbeat, JoinGroup, LeaveGroup, ListGroups,
        OffsetCommit, OffsetDelete, OffsetFetch, SyncGroup,
    };
    vec![
        Case::new("find the coordinator", FindCoordinator, 0, 6, |_, v| {
            let request = m::FindCoordinatorRequest::default();
            RequestKind::FindCoordinator(if v >= 4 {
                request.with_coordinator_keys(vec![text("g1"), text("g2")])
            } else {
                request.with_key(text("g1"))
            })
        }),
        Case::new("find the coordinator of nothing", FindCoordinator, 1, 6, |_, v| {
            let request = m::FindCoordinatorRequest::default().with_key_type(9);
            RequestKind::FindCoordinator(if v >= 4 {
                request.with_coordinator_keys(vec![text("g1")])
            } else {
                request.with_key(text("g1"))
            })
        }),
        Case::new("join without a member id", JoinGroup, 0, 9, |_, v| join(&name_of(v), v, "")),
        Case::new("join with the member id that was given", JoinGroup, 4, 9, |peer, v| {
            let RequestKind::JoinGroup(first) = join(&format!("again{v}"), v, "") else {
                unreachable!("built above")
            };
            if let Ok(answer) = peer.call(ApiKey::JoinGroup, v, &RequestKind::JoinGroup(first)) {
                peer.remember(&answer);
            }
            let member = peer.member_id.clone();
            join(&format!("again{v}"), v, &member)
        }),
        Case::new("join as an unknown member", JoinGroup, 0, 9, |_, v| join(&name_of(v), v, "nobody")),
        Case::new("join with an impossible session", JoinGroup, 0, 9, |_, v| {
            let RequestKind::JoinGroup(request) = join("short", v, "") else { unreachable!("built above") };
            RequestKind::JoinGroup(request.with_session_timeout_ms(1))
        }),
        Case::new("join with no group", JoinGroup, 0, 9, |_, v| join("", v, "")),
        Case::new("ground: one member", JoinGroup, 3, 3, |_, v| join("living", v, "")),
        Case::new("sync as an unknown member", SyncGroup, 0, 5, |_, v| {
            let RequestKind::SyncGroup(request) = sync(&Peer::new(""), "living", v, 1) else {
                unreachable!("built above")
            };
            RequestKind::SyncGroup(request.with_member_id(text("nobody")).with_assignments(vec![]))
        }),
        Case::new("sync in another generation", SyncGroup, 0, 5, |peer, v| sync(peer, "living", v, 99)),
        Case::new("sync", SyncGroup, 0, 5, |peer, v| sync(peer, "living", v, peer.generation_id)),
        Case::new("heartbeat", Heartbeat, 0, 4, |peer, _| {
            heartbeat("living", peer.generation_id, &peer.member_id)
        }),
        Case::new("heartbeat in another generation", Heartbeat, 0, 4, |peer, _| {
            heartbeat("living", 99, &peer.member_id)
        }),
        Case::new("heartbeat as an unknown member", Heartbeat, 0, 4, |_, _| heartbeat("living", 1, "nobody")),
        Case::new("heartbeat in an unknown group", Heartbeat, 0, 4, |_, _| heartbeat("never", 1, "nobody")),
        Case::new("commit as a member", OffsetCommit, 2, 9, |peer, v| {
            commit("living", v, peer.generation_id, &peer.member_id.clone())
        }),
        Case::new("commit in another generation", OffsetCommit, 2, 9, |peer, v| {
            commit("living", v, 99, &peer.member_id.clone())
        }),
        Case::new("commit as an unknown member", OffsetCommit, 2, 9, |_, v| commit("living", v, 1, "nobody")),
        Case::new("commit without a group membership", OffsetCommit, 2, 9, |_, v| {
            commit("simple", v, -1, "")
        }),
        Case::new("fetch offsets", OffsetFetch, 1, 9, |_, v| fetch_offsets(&["simple"], v, false)),
        Case::new("fetch all offsets", OffsetFetch, 2, 9, |_, v| fetch_offsets(&["simple"], v, true)),
        Case::new("fetch offsets of several groups", OffsetFetch, 8, 9, |_, v| {
            fetch_offsets(&["simple", "living", "never"], v, true)
        }),
        Case::new("fetch offsets of an unknown group", OffsetFetch, 1, 9, |_, v| {
            fetch_offsets(&["never"], v, false)
        }),
        Case::new("describe groups", DescribeGroups, 0, 6, |_, v| {
            describe(&["living", "simple", "never"], v)
        }),
        Case::new("list groups in a state", ListGroups, 4, 5, |_, _| {
            RequestKind::ListGroups(m::ListGroupsRequest::default().with_states_filter(vec![text("Empty")]))
        }),
        Case::new("list groups of a type", ListGroups, 5, 5, |_, _| {
            RequestKind::ListGroups(
                m::ListGroupsRequest::default()
                    .with_types_filter(vec![text("classic")])
                    .with_states_filter(vec![text("Empty")]),
            )
        }),
        Case::new("delete offsets", OffsetDelete, 0, 0, |_, _| {
            use m::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
            RequestKind::OffsetDelete(
                m::OffsetDeleteRequest::default().with_group_id(group("simple")).with_topics(vec![
                    OffsetDeleteRequestTopic::default().with_name(topic("offsets")).with_partitions(vec![
                        OffsetDeleteRequestPartition::default().with_partition_index(0),
                    ]),
                ]),
            )
        }),
        Case::new("delete offsets of an unknown group", OffsetDelete, 0, 0, |_, _| {
            RequestKind::OffsetDelete(m::OffsetDeleteRequest::default().with_group_id(group("never")))
        }),
        Case::new("delete groups", DeleteGroups, 0, 2, |_, v| {
            let names = ["living", "never", if v == 0 { "simple" } else { "never2" }];
            RequestKind::DeleteGroups(
                m::DeleteGroupsRequest::default().with_groups_names(names.iter().map(|n| group(n)).collect()),
            )
        }),
        Case::new("leave as an unknown member", LeaveGroup, 0, 5, |_, v| leave("living", v, "nobody")),
        Case::new("leave an unknown group", LeaveGroup, 0, 5, |_, v| leave("never", v, "nobody")),
        Case::new("leave", LeaveGroup, 5, 5, |peer, v| leave("living", v, &peer.member_id.clone())),
        Case::new("describe a group that was left", DescribeGroups, 0, 6, |_, v| describe(&["living"], v)),
    ]
}
