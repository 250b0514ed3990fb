//! The promises of streams groups (KIP-1071).

mod assignor;
mod lifecycle;
mod model;
mod topologies;

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_model::PartitionIndex;

use super::consumer::Topics;
use super::harness::Harness;
use crate::*;

/// `0-1` is task 1 of subtopology 0.
fn tasks(names: &[&str]) -> StreamsTasks {
    let mut tasks = StreamsTasks::new();
    for name in names {
        let (subtopology, partition) = name.split_once('-').unwrap();
        let partition = PartitionIndex(partition.parse().unwrap());
        tasks.entry(subtopology.into()).or_default().insert(partition);
    }
    tasks
}

fn names(tasks: &StreamsTasks) -> BTreeSet<String> {
    let of = |(subtopology, partitions): (&Arc<str>, &BTreeSet<PartitionIndex>)| {
        partitions.iter().map(|partition| format!("{subtopology}-{}", partition.0)).collect::<Vec<_>>()
    };
    tasks.iter().flat_map(of).collect()
}

fn info(name: &str) -> StreamsTopicInfo {
    StreamsTopicInfo { name: name.into(), ..StreamsTopicInfo::default() }
}

/// A word count: lines are split, words repartitioned, and counted in a store.
fn word_count() -> StreamsTopology {
    let split = StreamsSubtopology {
        subtopology_id: "0".into(),
        source_topics: vec!["lines".into()],
        repartition_sink_topics: vec!["words".into()],
        ..StreamsSubtopology::default()
    };
    let changelog = StreamsTopicInfo {
        configs: vec![("cleanup.policy".into(), "compact".into())],
        ..info("store-changelog")
    };
    let count = StreamsSubtopology {
        subtopology_id: "1".into(),
        changelog_topics: vec![changelog],
        repartition_source_topics: vec![info("words")],
        ..StreamsSubtopology::default()
    };
    StreamsTopology { epoch: 0, subtopologies: vec![split, count] }
}

/// The topics that a word count of two partitions needs.
const TOPICS: [(&str, i32); 3] = [("lines", 2), ("store-changelog", 2), ("words", 2)];

fn beat(member_id: &str, member_epoch: i32) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member_id.into(),
        member_epoch,
        rebalance_timeout_ms: -1,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        ..StreamsGroupHeartbeatRequest::default()
    }
}

pub(super) fn joining(member_id: &str) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest {
        rebalance_timeout_ms: 10_000,
        topology: Some(word_count()),
        process_id: Some(format!("process of {member_id}")),
        ..having(member_id, 0, &[], &[])
    }
}

/// A heartbeat that says what the member has.
fn having(
    member_id: &str,
    member_epoch: i32,
    active: &[&str],
    standby: &[&str],
) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest {
        active_tasks: Some(tasks(active)),
        standby_tasks: Some(tasks(standby)),
        warmup_tasks: Some(StreamsTasks::new()),
        ..beat(member_id, member_epoch)
    }
}

/// A shard whose groups wait for nothing, in a cluster with these topics.
fn cluster(topics: &[(&str, i32)]) -> Harness {
    with_config(topics, StreamsGroupConfig::default())
}

fn with_config(topics: &[(&str, i32)], config: StreamsGroupConfig) -> Harness {
    let streams = StreamsGroupConfig {
        assignment_interval_ms: 0,
        initial_rebalance_delay_ms: 0,
        size_max: 5,
        ..config
    };
    let config = GroupConfig { streams, initial_rebalance_delay_ms: 1, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    h.change_topics(&Topics::of(topics));
    h
}

impl Harness {
    fn send_streams_beat(&mut self, request: StreamsGroupHeartbeatRequest) -> RequestToken {
        self.send(Request::StreamsGroupHeartbeat(Box::new(request)))
    }

    fn streams_beat(&mut self, request: StreamsGroupHeartbeatRequest) -> StreamsGroupHeartbeatResponse {
        let token = self.send_streams_beat(request);
        match self.answer(token) {
            Response::StreamsGroupHeartbeat(response) => *response,
            other => panic!("{other:?}"),
        }
    }

    fn describe_streams_group(&mut self, group_id: &str) -> DescribedStreamsGroup {
        match self.call(Request::StreamsGroupDescribe(vec![group_id.into()])) {
            Response::StreamsGroupDescribe(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

/// The active and the standby tasks that an answer tells of.
fn told(response: &StreamsGroupHeartbeatResponse) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let assignment = response.assignment.as_ref()?;
    Some((names(&assignment.active), names(&assignment.standby)))
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn codes(response: &StreamsGroupHeartbeatResponse) -> Vec<StreamsStatusCode> {
    response.statuses.iter().map(|status| status.code).collect()
}
