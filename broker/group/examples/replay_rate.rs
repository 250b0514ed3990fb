//! How fast a coordinator takes in its records: `cargo run --release -p moldau-group --example replay_rate [COMMITS]`.
//!
//! A million commits of ten keys, made by a coordinator and read by the next one. What the log costs (reading,
//! CRCs, batches) is not in it.

use std::sync::Arc;
use std::time::Instant;

use moldau_group::{
    CoordinatorRecord, GroupShard, Input, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic,
    Output, Request, RequestToken,
};
use moldau_model::{GenerationId, LeaderEpoch, Offset, PartitionIndex, TopicId};

const KEYS: u64 = 10;

fn commit(number: u64) -> Request {
    Request::OffsetCommit(OffsetCommitRequest {
        api_version: 9,
        group_id: "pageview-group1".into(),
        generation_id: GenerationId(-1),
        member_id: String::new(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![OffsetCommitTopic {
            name: "pageview".into(),
            topic_id: TopicId::from_bytes([7; 16]),
            partitions: vec![OffsetCommitPartition {
                partition: PartitionIndex((number % KEYS) as i32),
                committed_offset: Offset((number / KEYS) as i64),
                committed_leader_epoch: LeaderEpoch(0),
                metadata: None,
            }],
        }],
    })
}

fn write(commits: u64) -> Vec<CoordinatorRecord> {
    let mut shard = GroupShard::new(Arc::default());
    shard.begin_load(LeaderEpoch(0));
    shard.finish_load(0);
    let mut log = Vec::new();
    for number in 0..commits {
        let request = Box::new(commit(number));
        let input = Input::Request { token: RequestToken(number), request };
        for output in shard.handle(input, 0) {
            if let Output::Append { append_id, records, .. } = output {
                log.extend(records);
                shard.handle(Input::Appended { append_id, result: Ok(()) }, 0);
            }
        }
    }
    log
}

#[expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for the terminal; it wrote the records itself"
)]
fn main() {
    let commits = std::env::args().nth(1).map_or(1_000_000, |argument| argument.parse().unwrap());
    let started = Instant::now();
    let log = write(commits);
    let committed = started.elapsed();
    let bytes: usize = log
        .iter()
        .map(|record| record.key.len() + record.value.as_ref().map_or(0, |value| value.len()))
        .sum();
    let mut shard = GroupShard::new(Arc::default());
    let started = Instant::now();
    shard.begin_load(LeaderEpoch(1));
    for record in &log {
        shard.replay(&record.key, record.value.as_deref()).unwrap();
    }
    shard.finish_load(0);
    let replayed = started.elapsed();
    println!(
        "{commits} commits of {KEYS} keys, {bytes} bytes: decided in {} ms, replayed in {} ms ({:.1} million a second)",
        committed.as_millis(),
        replayed.as_millis(),
        commits as f64 / replayed.as_secs_f64() / 1e6
    );
}
