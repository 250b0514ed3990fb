//! Streams groups (KIP-1071). kafka-protocol does not know their APIs: both systems are asked, and read, by our own codec.

use std::time::Duration;

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{
    ApiKey as Key, StreamsCopartitionedTopics, StreamsDescribeRequest, StreamsDescribeResponse,
    StreamsHeartbeatRequest, StreamsHeartbeatResponse, StreamsInternalTopic, StreamsTaskIds,
    StreamsTaskOffset, StreamsTopologyPart,
};

use super::admin::{text, topic};
use super::groups::{describe, group};
use super::{Case, Error, Peer};

const GROUP: &str = "st";
/// Longer than a group waits for its first members, and than a target has to be old before the next one.
const SETTLED: Duration = Duration::from_millis(4_500);
const ROUND: Duration = Duration::from_millis(1_100);
const WHY: &str = "Apache Kafka tells its setting; Moldau tells half a second, if that is less, while tasks move or have just moved, so \
                   that a group settles in one or two seconds instead of two intervals";

fn client() -> StrBytes {
    StrBytes::from_static_str("compare")
}

fn ask(peer: &mut Peer, request: &StreamsHeartbeatRequest) -> Result<StreamsHeartbeatResponse, Error> {
    let mut answer = peer.call_frame(|correlation_id| request.encode(correlation_id, Some(&client())))?;
    Ok(StreamsHeartbeatResponse::decode(&mut answer)?)
}

fn beat_of(peer: &mut Peer, request: &StreamsHeartbeatRequest, ignore: &[&str]) -> Result<String, Error> {
    let mut response = ask(peer, request)?;
    for tasks in [&mut response.active_tasks, &mut response.standby_tasks].into_iter().flatten() {
        tasks.sort_by(|a, b| a.subtopology_id.cmp(&b.subtopology_id));
    }
    for (_, detail) in response.status.iter_mut().flatten() {
        *detail = in_order(detail);
    }
    Ok(peer.normalise_own(&response, ignore))
}

/// Apache Kafka names missing topics in the order of a Java hash map.
fn in_order(detail: &str) -> String {
    const MISSING: &str = "Internal topics are missing: ";
    let Some(names) = detail.strip_prefix(MISSING) else { return detail.to_owned() };
    let mut names: Vec<&str> = names.split(", ").collect();
    names.sort_unstable();
    format!("{MISSING}{}", names.join(", "))
}

fn beat(name: &str, member: &str, epoch: i32) -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        group_id: name.into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        ..StreamsHeartbeatRequest::default()
    }
}

fn internal(name: &str) -> StreamsInternalTopic {
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    StreamsInternalTopic { name: name.into(), configs, ..StreamsInternalTopic::default() }
}

/// Reads a topic, and counts what it has repartitioned.
fn topology(source: &str, of: &str) -> Vec<StreamsTopologyPart> {
    let words = format!("{of}-words");
    vec![
        StreamsTopologyPart {
            subtopology_id: "0".into(),
            source_topics: vec![source.into()],
            repartition_sink_topics: vec![words.clone()],
            ..StreamsTopologyPart::default()
        },
        StreamsTopologyPart {
            subtopology_id: "1".into(),
            changelog_topics: vec![internal(&format!("{of}-store"))],
            repartition_source_topics: vec![internal(&words)],
            copartition_groups: vec![StreamsCopartitionedTopics {
                repartition_source_topics: vec![0],
                ..StreamsCopartitionedTopics::default()
            }],
            ..StreamsTopologyPart::default()
        },
    ]
}

fn joining(name: &str, member: &str) -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        topology: Some((0, topology("two", name))),
        active_tasks: Some(vec![]),
        standby_tasks: Some(vec![]),
        warmup_tasks: Some(vec![]),
        process_id: Some("p".into()),
        client_tags: Some(vec![]),
        ..beat(name, member, 0)
    }
}

/// Joins with another topology.
fn joining_with(change: impl FnOnce(&mut Vec<StreamsTopologyPart>)) -> StreamsHeartbeatRequest {
    let mut request = joining(GROUP, "m");
    if let Some((_, parts)) = &mut request.topology {
        change(parts);
    }
    request
}

fn tasks(partitions: &[i32]) -> Option<Vec<StreamsTaskIds>> {
    Some(vec![StreamsTaskIds { subtopology_id: "0".into(), partitions: partitions.to_vec() }])
}

macro_rules! beats {
    ($name:expr, $request:expr) => {
        Case::own($name, Key::StreamsGroupHeartbeat, |peer, ignore| beat_of(peer, &$request, ignore))
            .ignoring(&["heartbeat_interval_ms"], WHY)
    };
}

fn described(peer: &mut Peer, names: &[&str], ignore: &[&str]) -> Result<String, Error> {
    let request = StreamsDescribeRequest {
        group_ids: names.iter().map(ToString::to_string).collect(),
        include_authorized_operations: true,
    };
    let mut answer = peer.call_frame(|correlation_id| request.encode(correlation_id, Some(&client())))?;
    let mut response = StreamsDescribeResponse::decode(&mut answer)?;
    response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    Ok(peer.normalise_own(&response, ignore))
}

/// Waits until the topics are there and the first target is old enough, and takes what the member is to have.
fn settle(peer: &mut Peer, name: &str) -> Result<i32, Error> {
    std::thread::sleep(SETTLED);
    let mut epoch = 1;
    for _ in 0..5 {
        epoch = ask(peer, &beat(name, "m", epoch))?.member_epoch;
        std::thread::sleep(ROUND);
    }
    Ok(epoch)
}

fn refusals() -> Vec<Case> {
    vec![
        beats!("a heartbeat of an unknown streams group", beat(GROUP, "m", 1)),
        beats!("leave an unknown streams group", beat(GROUP, "m", -1)),
        beats!("a streams group heartbeat without a group", joining("", "m")),
        beats!("a streams group heartbeat without a member id", joining(GROUP, "")),
        beats!(
            "a streams group heartbeat of a static member",
            StreamsHeartbeatRequest { instance_id: Some("i".into()), ..joining(GROUP, "m") }
        ),
        beats!(
            "a streams group heartbeat with offsets of tasks",
            StreamsHeartbeatRequest {
                task_offsets: Some(vec![StreamsTaskOffset::default()]),
                ..joining(GROUP, "m")
            }
        ),
        beats!(
            "a streams group heartbeat with end offsets of tasks",
            StreamsHeartbeatRequest { task_end_offsets: Some(vec![]), ..joining(GROUP, "m") }
        ),
        beats!(
            "a streams group heartbeat with warm-up tasks",
            StreamsHeartbeatRequest { warmup_tasks: tasks(&[0]), ..joining(GROUP, "m") }
        ),
        beats!(
            "join a streams group without a topology",
            StreamsHeartbeatRequest { topology: None, ..joining(GROUP, "m") }
        ),
        beats!(
            "join a streams group without a rebalance timeout",
            StreamsHeartbeatRequest { rebalance_timeout_ms: -1, ..joining(GROUP, "m") }
        ),
        beats!(
            "join a streams group with tasks",
            StreamsHeartbeatRequest { active_tasks: tasks(&[0]), ..joining(GROUP, "m") }
        ),
        beats!(
            "join a streams group with an empty rack",
            StreamsHeartbeatRequest { rack_id: Some(" ".into()), ..joining(GROUP, "m") }
        ),
        beats!("a streams group heartbeat of an impossible epoch", beat(GROUP, "m", -3)),
        beats!("a static member leaves a streams group for a while", beat(GROUP, "m", -2)),
        beats!(
            "a streams group heartbeat with one kind of tasks",
            StreamsHeartbeatRequest { active_tasks: tasks(&[0]), ..beat(GROUP, "m", 1) }
        ),
        beats!(
            "a streams group heartbeat with a topology",
            StreamsHeartbeatRequest { topology: Some((0, vec![])), ..beat(GROUP, "m", 1) }
        ),
        beats!(
            "a streams group's topology with a topic of the cluster",
            joining_with(|parts| parts[0].source_topics.push("__consumer_offsets".into()))
        ),
        beats!(
            "a streams group's topology with a topic that cannot be",
            joining_with(|parts| parts[0].source_topics.push("a b".into()))
        ),
        beats!(
            "a streams group's topology with expressions",
            joining_with(|parts| parts[0].source_topic_regexes.push("a.*".into()))
        ),
        beats!(
            "a streams group's topology with a changelog of fixed partitions",
            joining_with(|parts| parts[1].changelog_topics[0].partitions = 3)
        ),
        beats!(
            "a streams group's topology with a repartition topic that nobody writes to",
            joining_with(|parts| parts[0].repartition_sink_topics.clear())
        ),
        // Where only cases of streams groups are run there is no such group, and this must make none.
        beats!("join a classic group by KIP-1071", joining("g0", "m")),
        beats!(
            "join a streams group whose source is missing",
            StreamsHeartbeatRequest {
                topology: Some((0, topology("never", "st-missing"))),
                ..joining("st-missing", "m")
            }
        ),
    ]
}

fn life() -> Vec<Case> {
    vec![
        beats!("join a streams group", joining(GROUP, "m")),
        Case::own("describe streams groups", Key::StreamsGroupDescribe, |peer, ignore| {
            settle(peer, GROUP)?;
            described(peer, &[GROUP, "never", "g0", ""], ignore)
        }),
        Case::own("describe a streams group alone", Key::StreamsGroupDescribe, |peer, ignore| {
            described(peer, &[GROUP], ignore)
        }),
        Case::new("the topics of a streams group", ApiKey::Metadata, 12, 12, |_, _| {
            let names = ["st-store", "st-words"];
            let topics = names.map(|name| {
                m::metadata_request::MetadataRequestTopic::default().with_name(Some(topic(name)))
            });
            RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(topics.to_vec())))
        }),
        beats!("a streams group heartbeat", beat(GROUP, "m", 3)),
        beats!("a streams group heartbeat of a later epoch", beat(GROUP, "m", 9)),
        beats!("a streams group heartbeat of an earlier epoch", beat(GROUP, "m", 1)),
        beats!("a streams group heartbeat of an unknown member", beat(GROUP, "nobody", 3)),
        beats!(
            "a streams group heartbeat with a task that there is not",
            StreamsHeartbeatRequest {
                active_tasks: tasks(&[77]),
                standby_tasks: Some(vec![]),
                warmup_tasks: Some(vec![]),
                ..beat(GROUP, "m", 3)
            }
        ),
        beats!(
            "join a streams group with another topology",
            StreamsHeartbeatRequest {
                topology: Some((0, topology("two", "st-other"))),
                ..joining(GROUP, "n")
            }
        ),
        Case::new("describe a streams group as a classic one", ApiKey::DescribeGroups, 0, 6, |_, v| {
            describe(&[GROUP], v)
        }),
        Case::new("list streams groups", ApiKey::ListGroups, 5, 5, |_, _| {
            RequestKind::ListGroups(m::ListGroupsRequest::default().with_types_filter(vec![text("streams")]))
        }),
        Case::new("delete a streams group in use", ApiKey::DeleteGroups, 0, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]))
        }),
        beats!(
            "a member of a streams group has the application shut down",
            StreamsHeartbeatRequest { shutdown_application: true, ..beat(GROUP, "m", 3) }
        ),
        beats!("leave a streams group", beat(GROUP, "m", -1)),
        beats!("leave a streams group again", beat(GROUP, "m", -1)),
        Case::own("describe an empty streams group", Key::StreamsGroupDescribe, |peer, ignore| {
            described(peer, &[GROUP], ignore)
        }),
        Case::new("delete a streams group", ApiKey::DeleteGroups, 2, 2, |_, _| {
            RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(GROUP)]))
        }),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [refusals(), life()].concat()
}
