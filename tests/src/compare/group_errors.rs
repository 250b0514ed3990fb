//! Groups where they are refused, static members, filters, other kinds of coordinators.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{self as m, ApiKey, RequestKind, ResponseKind};

use super::admin::{text, topic};
use super::groups::{describe, fetch_offsets, group, heartbeat, join, sync};
use super::{Case, Peer};

fn find(version: i16, kind: i8, keys: &[&str]) -> RequestKind {
    let request = m::FindCoordinatorRequest::default();
    let request = if version >= 1 { request.with_key_type(kind) } else { request };
    RequestKind::FindCoordinator(if version >= 4 {
        request.with_coordinator_keys(keys.iter().map(|key| text(key)).collect())
    } else {
        request.with_key(text(keys.first().copied().unwrap_or_default()))
    })
}

/// Asks until the coordinator is there: Kafka creates its topic while it answers.
fn wait_for_coordinator(peer: &mut Peer) {
    const TRIES: usize = 200;
    for _ in 0..TRIES {
        let Ok(ResponseKind::FindCoordinator(found)) =
            peer.call(ApiKey::FindCoordinator, 3, &find(3, 0, &["g"]))
        else {
            return;
        };
        // Groups enough for every partition of the coordinator's topic: none is still to be led, or loaded.
        let names: Vec<String> = (0..500).map(|n| format!("w{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let described = peer.call(ApiKey::DescribeGroups, 5, &describe(&names, 5));
        let is_loaded = matches!(
            described,
            Ok(ResponseKind::DescribeGroups(described)) if described.groups.iter().all(|group| group.error_code == 0)
        );
        if found.error_code == 0 && is_loaded {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn joined(
    mut change: impl FnMut(m::JoinGroupRequest) -> m::JoinGroupRequest,
    name: &str,
    version: i16,
) -> RequestKind {
    match join(name, version, "") {
        RequestKind::JoinGroup(request) => RequestKind::JoinGroup(change(request)),
        other => other,
    }
}

fn protocol(name: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::from_static(SUBSCRIPTION))
}

/// A consumer's subscription to the topic `offsets`, version 0.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x07offsets\0\0\0\0";

fn static_join(name: &str, version: i16, instance: &str, member: &str) -> RequestKind {
    joined(
        |request| request.with_group_instance_id(Some(text(instance))).with_member_id(text(member)),
        name,
        version,
    )
}

fn leave(name: &str, members: &[(&str, Option<&str>)]) -> RequestKind {
    let members = members.iter().map(|(member, instance)| {
        MemberIdentity::default().with_member_id(text(member)).with_group_instance_id(instance.map(text))
    });
    RequestKind::LeaveGroup(
        m::LeaveGroupRequest::default().with_group_id(group(name)).with_members(members.collect()),
    )
}

fn list(states: &[&str], types: &[&str]) -> RequestKind {
    RequestKind::ListGroups(
        m::ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|s| text(s)).collect())
            .with_types_filter(types.iter().map(|s| text(s)).collect()),
    )
}

fn commit_to(name: &str, topics: &[(&str, i32, i64)]) -> RequestKind {
    let topics = topics.iter().map(|(name, partition, offset)| {
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(None),
        ])
    });
    RequestKind::OffsetCommit(
        m::OffsetCommitRequest::default()
            .with_group_id(group(name))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect()),
    )
}

/// Before any group: both systems then have a coordinator that is loaded.
pub(super) fn ground() -> Vec<Case> {
    vec![
        Case::new("ground: the coordinator", ApiKey::FindCoordinator, 4, 4, |peer, v| {
            wait_for_coordinator(peer);
            find(v, 0, &["g1"])
        }),
        Case::new("ground: the coordinator's topic", ApiKey::Metadata, 12, 12, |_, v| {
            super::admin::metadata(Some(&["__consumer_offsets"]), v)
        }),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        DeleteGroups, DescribeGroups, FindCoordinator, Heartbeat, JoinGroup, LeaveGroup, ListGroups,
        OffsetCommit, OffsetDelete, OffsetFetch, SyncGroup,
    };
    vec![
        Case::new("find the coordinator of a nameless group", FindCoordinator, 0, 6, |_, v| {
            find(v, 0, &[""])
        }),
        Case::new("find no coordinator at all", FindCoordinator, 4, 6, |_, v| find(v, 0, &[])),
        Case::new(
            "find a share group's coordinator in a version that has none",
            FindCoordinator,
            1,
            5,
            |_, v| find(v, 2, &["g:AAAAAAAAAAAAAAAAAAAAAQ:0"]),
        ),
        Case::new("find a share group's coordinator by a key that is none", FindCoordinator, 1, 6, |_, v| {
            find(v, 2, &["g"])
        }),
        Case::new("join with no protocol", JoinGroup, 0, 9, |_, v| {
            joined(|request| request.with_protocols(vec![]), "living", v)
        }),
        Case::new("join with no protocol type", JoinGroup, 0, 9, |_, v| {
            joined(|request| request.with_protocol_type(text("")), "living", v)
        }),
        Case::new("join with a session that is too long", JoinGroup, 0, 9, |_, v| {
            joined(|request| request.with_session_timeout_ms(i32::MAX), "odd", v)
        }),
        Case::new("ground: a static member", JoinGroup, 5, 5, |_, v| static_join("static", v, "i1", "")),
        Case::new("ground: its assignment", SyncGroup, 5, 5, |peer, v| {
            let RequestKind::SyncGroup(request) = sync(peer, "static", v, peer.generation_id) else {
                unreachable!("built above")
            };
            RequestKind::SyncGroup(request.with_group_instance_id(Some(text("i1"))))
        }),
        Case::new("join with another protocol type", JoinGroup, 5, 9, |_, v| {
            joined(|request| request.with_protocol_type(text("connect")), "static", v)
        }),
        Case::new("join with a protocol that nobody else has", JoinGroup, 5, 9, |_, v| {
            joined(|request| request.with_protocols(vec![protocol("other")]), "static", v)
        }),
        Case::new("join as an instance under a false member id", JoinGroup, 5, 9, |_, v| {
            static_join("static", v, "i1", "nobody")
        }),
        Case::new("join as an unknown instance with a member id", JoinGroup, 5, 9, |_, v| {
            static_join("static", v, "i9", "nobody")
        }),
        Case::new("sync with another protocol", SyncGroup, 5, 5, |peer, v| {
            let RequestKind::SyncGroup(request) = sync(peer, "static", v, peer.generation_id) else {
                unreachable!("built above")
            };
            RequestKind::SyncGroup(request.with_protocol_name(Some(text("sticky"))))
        }),
        Case::new("sync in an unknown group", SyncGroup, 0, 5, |peer, v| sync(peer, "never", v, 1)),
        Case::new("sync in no group", SyncGroup, 0, 5, |peer, v| sync(peer, "", v, 1)),
        Case::new("heartbeat of a fenced instance", Heartbeat, 3, 4, |peer, _| {
            let RequestKind::Heartbeat(request) = heartbeat("static", peer.generation_id, "nobody") else {
                unreachable!("built above")
            };
            RequestKind::Heartbeat(request.with_group_instance_id(Some(text("i1"))))
        }),
        Case::new("heartbeat in no group", Heartbeat, 0, 4, |_, _| heartbeat("", 1, "nobody")),
        Case::new("describe a static member", DescribeGroups, 0, 6, |_, v| describe(&["static"], v)),
        Case::new("describe no groups", DescribeGroups, 0, 6, |_, v| describe(&[], v)),
        Case::new("describe a nameless group", DescribeGroups, 0, 6, |_, v| describe(&[""], v)),
        Case::new("list groups", ListGroups, 0, 5, |_, _| list(&[], &[])),
        Case::new("list groups in states that there are not", ListGroups, 4, 5, |_, _| {
            list(&["Sleepy", "stable"], &[])
        }),
        Case::new("list groups of a type that there is not", ListGroups, 5, 5, |_, _| list(&[], &["odd"])),
        Case::new("list groups of the new type", ListGroups, 5, 5, |_, _| list(&[], &["Consumer"])),
        Case::new("commit nothing", OffsetCommit, 2, 9, |_, _| commit_to("simple", &[])),
        Case::new("commit to no group", OffsetCommit, 2, 9, |_, _| commit_to("", &[("offsets", 0, 1)])),
        Case::new("commit an impossible offset", OffsetCommit, 2, 9, |_, _| {
            commit_to("simple", &[("offsets", 0, -7), ("two", -1, 3)])
        }),
        Case::new("commit to a group that lives", OffsetCommit, 2, 9, |_, _| {
            commit_to("static", &[("offsets", 0, 1)])
        }),
        Case::new("fetch offsets of no group", OffsetFetch, 1, 9, |_, v| fetch_offsets(&[""], v, false)),
        Case::new("fetch stable offsets", OffsetFetch, 7, 9, |_, v| {
            match fetch_offsets(&["simple"], v, false) {
                RequestKind::OffsetFetch(request) => {
                    RequestKind::OffsetFetch(request.with_require_stable(true))
                }
                other => other,
            }
        }),
        Case::new(
            "fetch offsets as a member of an older kind",
            OffsetFetch,
            9,
            9,
            |_, v| match fetch_offsets(&["simple", "static"], v, false) {
                RequestKind::OffsetFetch(mut request) => {
                    for group in &mut request.groups {
                        group.member_id = Some(text("nobody"));
                        group.member_epoch = 3;
                    }
                    RequestKind::OffsetFetch(request)
                }
                other => other,
            },
        ),
        Case::new("delete offsets that a member uses", OffsetDelete, 0, 0, |_, _| {
            use m::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
            let parts = |name: &str, partitions: &[i32]| {
                let parts = partitions
                    .iter()
                    .map(|p| OffsetDeleteRequestPartition::default().with_partition_index(*p));
                OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(parts.collect())
            };
            RequestKind::OffsetDelete(
                m::OffsetDeleteRequest::default().with_group_id(group("subscribed")).with_topics(vec![
                    parts("offsets", &[0, 9]),
                    parts("two", &[0]),
                    parts("nope", &[0]),
                ]),
            )
        }),
        Case::new("delete no groups", DeleteGroups, 0, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default())
        }),
        Case::new("delete a nameless group, and one twice", DeleteGroups, 0, 2, |_, _| {
            let names = ["", "static", "static", "never"].map(group);
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(names.to_vec()))
        }),
        Case::new("leave as several", LeaveGroup, 3, 5, |_, _| {
            leave("static", &[("nobody", None), ("", Some("i9")), ("nobody", Some("i1"))])
        }),
        Case::new("leave as nobody", LeaveGroup, 3, 5, |_, _| leave("static", &[])),
        Case::new("leave no group", LeaveGroup, 3, 5, |_, _| leave("", &[("nobody", None)])),
        Case::new("leave as an instance", LeaveGroup, 3, 5, |_, _| leave("static", &[("", Some("i1"))])),
    ]
}

/// A living consumer group that is subscribed to the topic `offsets`.
pub(super) fn subscribed() -> Vec<Case> {
    vec![
        Case::new("ground: a subscribed member", ApiKey::JoinGroup, 3, 3, |_, v| {
            joined(|request| request.with_protocols(vec![protocol("range")]), "subscribed", v)
        }),
        Case::new("ground: what it was assigned", ApiKey::SyncGroup, 3, 3, |peer, v| {
            sync(peer, "subscribed", v, peer.generation_id)
        }),
    ]
}
