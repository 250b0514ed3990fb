//! Consumer groups (KIP-848), each version with a group of its own.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{self as m, ApiKey, ConsumerGroupHeartbeatRequest, RequestKind};

use super::Case;
use super::admin::{text, topic};
use super::groups::{describe, group};

fn name_of(version: i16) -> String {
    format!("k{version}")
}

/// A heartbeat that says nothing but that the member is there.
pub(super) fn beat(name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_instance_id(None)
        .with_rack_id(None)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_subscribed_topic_regex(None)
        .with_server_assignor(None)
        .with_topic_partitions(None)
}

pub(super) fn joining(name: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    beat(name, member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic("two"), topic("nope")]))
        .with_topic_partitions(Some(vec![]))
}

fn of(instance: &str, request: ConsumerGroupHeartbeatRequest) -> RequestKind {
    RequestKind::ConsumerGroupHeartbeat(request.with_instance_id(Some(text(instance))))
}

pub(super) fn described(names: &[&str]) -> RequestKind {
    RequestKind::ConsumerGroupDescribe(
        m::ConsumerGroupDescribeRequest::default()
            .with_group_ids(names.iter().map(|name| group(name)).collect())
            .with_include_authorized_operations(true),
    )
}

fn commit(name: &str, member: &str, epoch: i32) -> RequestKind {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(7)
        .with_committed_leader_epoch(0)
        .with_committed_metadata(Some(text("")));
    let topics = OffsetCommitRequestTopic::default().with_name(topic("two")).with_partitions(vec![partition]);
    RequestKind::OffsetCommit(
        m::OffsetCommitRequest::default()
            .with_group_id(group(name))
            .with_member_id(text(member))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![topics]),
    )
}

fn fetch(name: &str, member: Option<&str>, epoch: i32) -> RequestKind {
    use m::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    let topics =
        OffsetFetchRequestTopics::default().with_name(topic("two")).with_partition_indexes(vec![0, 1]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_member_id(member.map(text))
        .with_member_epoch(epoch)
        .with_topics(Some(vec![topics]));
    RequestKind::OffsetFetch(m::OffsetFetchRequest::default().with_groups(vec![asked]))
}

/// A heartbeat in all versions.
macro_rules! beats {
    ($name:expr, $member:expr, $epoch:expr) => {
        Case::new($name, ApiKey::ConsumerGroupHeartbeat, 0, 1, |_, v| {
            RequestKind::ConsumerGroupHeartbeat(beat(&name_of(v), $member, $epoch))
        })
    };
}

/// A request to join that is wrong in itself.
macro_rules! wrong {
    ($name:expr, $change:expr) => {
        Case::new($name, ApiKey::ConsumerGroupHeartbeat, 0, 1, |_, v| {
            let change: fn(ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest = $change;
            RequestKind::ConsumerGroupHeartbeat(change(joining(&name_of(v), "m")))
        })
    };
}

fn wrong_cases() -> Vec<Case> {
    vec![
        wrong!("a consumer group heartbeat without a group", |r| r.with_group_id(group(""))),
        wrong!("a consumer group heartbeat without a member id", |r| {
            r.with_member_id(text("")).with_member_epoch(1)
        }),
        wrong!("join a consumer group without a rebalance timeout", |r| r.with_rebalance_timeout_ms(-1)),
        wrong!("join a consumer group without a subscription", |r| r.with_subscribed_topic_names(None)),
        wrong!("join a consumer group with something in hand", |r| {
            r.with_topic_partitions(Some(vec![TopicPartitions::default().with_partitions(vec![0])]))
        }),
        wrong!("join a consumer group with an empty instance id", |r| r.with_instance_id(Some(text("")))),
        wrong!("join a consumer group with an empty rack", |r| r.with_rack_id(Some(text(" ")))),
        wrong!("join a consumer group with an unknown assignor", |r| r
            .with_server_assignor(Some(text("mine")))),
        wrong!("a consumer group heartbeat of an impossible epoch", |r| r.with_member_epoch(-3)),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        ConsumerGroupDescribe, ConsumerGroupHeartbeat as Heartbeat, DeleteGroups, DescribeGroups, ListGroups,
        OffsetCommit, OffsetFetch,
    };
    let cases = vec![
        beats!("a heartbeat of an unknown consumer group", "m", 1),
        beats!("leave an unknown consumer group", "m", -1),
        Case::new("join a consumer group", Heartbeat, 0, 1, |_, v| {
            RequestKind::ConsumerGroupHeartbeat(joining(&name_of(v), "m"))
        }),
        beats!("a consumer group heartbeat", "m", 2),
        beats!("a consumer group heartbeat of a later epoch", "m", 9),
        beats!("a consumer group heartbeat of an earlier epoch", "m", 1),
        beats!("a consumer group heartbeat of an unknown member", "nobody", 2),
        Case::new("join a consumer group again", Heartbeat, 0, 1, |_, v| {
            RequestKind::ConsumerGroupHeartbeat(joining(&name_of(v), "m"))
        }),
        Case::new("subscribe to no regular expression", Heartbeat, 1, 1, |_, v| {
            let request = joining(&name_of(v), "r").with_subscribed_topic_regex(Some(text("(")));
            RequestKind::ConsumerGroupHeartbeat(request)
        })
        .ignoring(&["error_message"], "each engine of regular expressions has its own words"),
        Case::new("describe consumer groups", ConsumerGroupDescribe, 0, 1, |_, v| {
            described(&[&name_of(v), "never", "simple", ""])
        }),
        Case::new("describe a consumer group as a classic one", DescribeGroups, 0, 6, |_, v| {
            describe(&["k0"], v)
        }),
        Case::new("list consumer groups", ListGroups, 5, 5, |_, _| {
            RequestKind::ListGroups(m::ListGroupsRequest::default().with_types_filter(vec![text("consumer")]))
        }),
        Case::new("commit as a member of a consumer group", OffsetCommit, 9, 9, |_, _| commit("k0", "m", 2)),
        Case::new("commit at another member epoch", OffsetCommit, 9, 9, |_, _| commit("k0", "m", 3)),
        Case::new("commit as nobody of a consumer group", OffsetCommit, 9, 9, |_, _| commit("k0", "", -1)),
        Case::new("an old commit for a consumer group", OffsetCommit, 8, 8, |_, _| commit("k0", "m", 2)),
        Case::new("fetch offsets as a member of a consumer group", OffsetFetch, 9, 9, |_, _| {
            fetch("k0", Some("m"), 2)
        }),
        Case::new("fetch offsets at another member epoch", OffsetFetch, 9, 9, |_, _| {
            fetch("k0", Some("m"), 1)
        }),
        Case::new("fetch offsets as nobody of a consumer group", OffsetFetch, 9, 9, |_, _| {
            fetch("k0", Some("nobody"), 2)
        }),
        Case::new("delete a consumer group that is in use", DeleteGroups, 2, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group("k0")]))
        }),
        Case::new("join a consumer group as a static member", Heartbeat, 0, 1, |_, v| {
            of("i", joining(&format!("s{v}"), "a"))
        }),
        Case::new("take a static member's place while it is there", Heartbeat, 0, 1, |_, v| {
            of("i", joining(&format!("s{v}"), "b"))
        }),
        Case::new("a heartbeat for another's instance", Heartbeat, 0, 1, |_, v| {
            of("i", beat(&format!("s{v}"), "b", 2))
        }),
        Case::new("a heartbeat for an unknown instance", Heartbeat, 0, 1, |_, v| {
            of("j", beat(&format!("s{v}"), "a", 2))
        }),
        Case::new("leave for a while", Heartbeat, 0, 1, |_, v| of("i", beat(&format!("s{v}"), "a", -2))),
        Case::new("take a static member's place", Heartbeat, 0, 1, |_, v| {
            of("i", joining(&format!("s{v}"), "b"))
        }),
        Case::new("describe a consumer group of a static member", ConsumerGroupDescribe, 0, 1, |_, v| {
            described(&[&format!("s{v}")])
        }),
        beats!("leave a consumer group", "m", -1),
        Case::new("describe an empty consumer group", ConsumerGroupDescribe, 0, 1, |_, v| {
            described(&[&name_of(v)])
        }),
    ];
    wrong_cases().into_iter().chain(cases).collect()
}
