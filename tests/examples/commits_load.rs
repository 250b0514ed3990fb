//! How long committed offsets take to load after a million commits of ten keys, and what they need on disk:
//! `cargo run --release -p moldau-tests --example commits_load -- DIRECTORY [COMMITS] [SEGMENT_BYTES]`.
//!
//! One partition of `__consumer_offsets`, made as the broker makes it: the group coordinator turns every commit into its
//! record, each goes to the log as a batch of its own, and the cleaner runs as often as by the clock of a busy broker.
//! Then the log is closed, opened and replayed, which is all that a coordinator does before it answers.

#![expect(clippy::print_stdout, reason = "the output of a command")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_group::{
    GroupConfig, GroupShard, Input, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic,
    OffsetFetchRequest, Output, Request, RequestToken, Response,
};
use moldau_log::{
    AppendOrigin, CleanupPolicy, FileCache, LogConfig, LogEnvironment, OpenMode, PartitionLog, RealFileSystem,
};
use moldau_model::{GenerationId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicPartition};
use moldau_record::{BatchBuilder, Batches, DecompressLimit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NOW_MS: i64 = 1_700_000_000_000;
const KEYS: i32 = 10;
/// A commit takes a busy group's broker a tenth of a millisecond; the cleaner looks every `log.cleaner.backoff.ms`, 15 s.
const COMMITS_BETWEEN_PASSES: u64 = 150_000;
const LOAD_BYTES: usize = 1 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory =
        PathBuf::from(arguments.next().ok_or("usage: commits_load DIRECTORY [COMMITS] [SEGMENT_BYTES]")?);
    let commits: u64 = arguments.next().map_or(Ok(1_000_000), |argument| argument.parse())?;
    let segment_bytes: u32 = arguments.next().map_or(Ok(100 << 20), |argument| argument.parse())?;
    let config = LogConfig {
        segment_bytes,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };

    let mut log = open(&directory, &config)?;
    let started = Instant::now();
    let (largest, cleaning) = commit_all(&mut log, commits)?;
    println!("commits          {commits} of {KEYS} keys in {:.2} s", started.elapsed().as_secs_f64());
    println!("longest cleaning {} ms", cleaning.as_millis());
    println!("largest on disk  {largest} bytes");
    println!("at the end       {} bytes", on_disk(&log.directory())?);
    log.close(TimestampMs(NOW_MS))?;
    drop(log);

    let started = Instant::now();
    let log = open(&directory, &config)?;
    let opened = started.elapsed();
    let (mut shard, records) = load(&log)?;
    let loaded = started.elapsed();
    println!("opened           {:.1} ms", opened.as_secs_f64() * 1000.0);
    println!("loaded           {records} records, {:.1} ms with opening", loaded.as_secs_f64() * 1000.0);
    check(&mut shard, commits)
}

fn open(directory: &Path, config: &LogConfig) -> Result<PartitionLog> {
    let environment = LogEnvironment::new(Arc::new(RealFileSystem), Arc::new(FileCache::new(16)));
    let mode =
        OpenMode { clean_shutdown: true, recovery_point: Offset::ZERO, log_start_offset: Offset::ZERO };
    let partition = TopicPartition::new("__consumer_offsets", 0);
    let path = directory.join(partition.to_string());
    let topic_id = TopicId::from_random_bytes([7; 16]);
    Ok(PartitionLog::open(
        &environment,
        path,
        partition,
        topic_id,
        config.clone(),
        mode,
        TimestampMs(NOW_MS),
    )?
    .0)
}

fn commit(number: u64) -> Request {
    let partition = OffsetCommitPartition {
        partition: PartitionIndex(number as i32 % KEYS),
        committed_offset: Offset(number as i64),
        committed_leader_epoch: LeaderEpoch(0),
        metadata: Some(String::new()),
    };
    let topic =
        OffsetCommitTopic { name: "pageview".into(), topic_id: TopicId::ZERO, partitions: vec![partition] };
    Request::OffsetCommit(OffsetCommitRequest {
        api_version: 9,
        group_id: "webshop".into(),
        generation_id: GenerationId(-1),
        member_id: String::new(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![topic],
    })
}

/// Returns the most bytes that lay on disk, and the longest pass of the cleaner.
fn commit_all(log: &mut PartitionLog, commits: u64) -> Result<(u64, Duration)> {
    let mut shard = GroupShard::new(Arc::new(GroupConfig::default()));
    shard.begin_load(LeaderEpoch(0));
    shard.finish_load(NOW_MS);
    let (mut largest, mut cleaning) = (0, Duration::ZERO);
    for number in 0..commits {
        let now = TimestampMs(NOW_MS + number as i64 / 10);
        let request = Input::Request { token: RequestToken(number), request: Box::new(commit(number)) };
        for output in shard.handle(request, now.0) {
            let Output::Append { append_id, leader_epoch, records, .. } = output else { continue };
            let mut batch = BatchBuilder::new();
            for record in &records {
                batch.append(now, Some(&record.key), record.value.as_deref(), &[])?;
            }
            log.append_as_leader(&mut batch.build()?, leader_epoch, AppendOrigin::Coordinator, now)?;
            shard.handle(Input::Appended { append_id, result: Ok(()) }, now.0);
        }
        if (number + 1) % COMMITS_BETWEEN_PASSES == 0 {
            largest = largest.max(on_disk(&log.directory())?);
            let started = Instant::now();
            log.roll_if_due(now)?;
            if log.dirtiness(log.log_end_offset(), now).is_some() {
                log.clean(log.log_end_offset(), now)?;
                log.purge_deleted(now);
            }
            cleaning = cleaning.max(started.elapsed());
        }
    }
    Ok((largest, cleaning))
}

/// As the broker's coordinator loads.
fn load(log: &PartitionLog) -> Result<(GroupShard, u64)> {
    let mut shard = GroupShard::new(Arc::new(GroupConfig::default()));
    shard.begin_load(LeaderEpoch(1));
    let (mut at, mut count) = (log.log_start_offset(), 0);
    while let Some(slice) = log.read(at, LOAD_BYTES, log.log_end_offset(), true)?.slice {
        let bytes = slice.read_all()?;
        for batch in Batches::new(&bytes).map_while(std::result::Result::ok) {
            batch.check_crc()?;
            at = batch.next_offset();
            for record in &batch.records(DecompressLimit(100 << 20))? {
                let record = record?;
                shard.replay(record.key.ok_or("a record without a key")?, record.value)?;
                count += 1;
            }
        }
    }
    shard.finish_load(NOW_MS);
    Ok((shard, count))
}

/// Every key's last commit is what is fetched.
fn check(shard: &mut GroupShard, commits: u64) -> Result<()> {
    let request = OffsetFetchRequest {
        group_id: "webshop".into(),
        member_id: None,
        member_epoch: -1,
        topics: None,
        require_stable: false,
        may_be_replaced: false,
    };
    let input = Input::Request { token: RequestToken(0), request: Box::new(Request::OffsetFetch(request)) };
    let mut fetched = Vec::new();
    for output in shard.handle(input, NOW_MS) {
        if let Output::Reply { response: Response::OffsetFetch(response), .. } = output {
            let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
            fetched.extend(partitions.map(|fetched| fetched.committed_offset.0));
        }
    }
    fetched.sort_unstable();
    let expected: Vec<i64> =
        (commits.saturating_sub(KEYS as u64)..commits).map(|offset| offset as i64).collect();
    if fetched != expected {
        return Err(format!("{fetched:?} was fetched, not {expected:?}").into());
    }
    println!("fetched          the last commit of every key");
    Ok(())
}

fn on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(bytes)
}
