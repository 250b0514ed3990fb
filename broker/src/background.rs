//! What a broker does to its logs from time to time: retention, checkpoints, unlinking. One thread, one step after the
//! other, each step bounded by what one partition takes. The cleaner has threads of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moldau_metadata::config::{BrokerConfig, FlushPolicy};

use crate::cleaner::Cleaner;
use crate::clock;
use crate::log_mover::LogMover;
use crate::replica_manager::ReplicaManager;
use crate::stop_signal::StopSignal;

/// What is cheap for each directory is done this often.
const TICK: Duration = Duration::from_secs(1);
/// Partitions are looked after as often, or where they are many, at the longest.
const REST_MAX: Duration = Duration::from_secs(5);
/// Looking after partitions rests so many times as long as it took: a broker of many idle partitions stays idle.
const REST_FACTOR: u32 = 1000;

/// How often each job runs.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// `log.retention.check.interval.ms`.
    pub retention: Duration,
    /// The shorter one of `log.flush.offset.checkpoint.interval.ms` and
    /// `replica.high.watermark.checkpoint.interval.ms`: the files are written together.
    pub checkpoint: Duration,
    /// `log.cleaner.enable`.
    pub has_cleaner: bool,
    /// `num.replica.alter.log.dirs.threads`, where it is set.
    pub mover_threads: Option<usize>,
    /// `file.delete.delay.ms` of the broker, for deleted partitions.
    pub file_delete_delay_ms: i64,
}

impl Schedule {
    #[must_use]
    pub fn of(config: &BrokerConfig) -> Self {
        let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1));
        let checkpoint_ms = i64::from(config.flush_offset_checkpoint_interval_ms)
            .min(config.replication.high_watermark_checkpoint_interval_ms);
        Self {
            retention: ms(config.retention_check_interval_ms),
            checkpoint: ms(checkpoint_ms),
            has_cleaner: config.cleaner_enable,
            mover_threads: config
                .settings
                .get("num.replica.alter.log.dirs.threads")
                .and_then(|threads| threads.trim().parse().ok()),
            file_delete_delay_ms: config.topic_defaults.file_delete_delay_ms,
        }
    }
}

/// The running threads; they end when this is dropped.
pub struct Background {
    stop: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
    _cleaner: Option<Cleaner>,
    _mover: LogMover,
}

impl Background {
    pub fn start(replicas: Arc<ReplicaManager>, schedule: Schedule) -> io::Result<Self> {
        let stop = Arc::new(StopSignal::default());
        let cleaner = schedule.has_cleaner.then(|| Cleaner::start(Arc::clone(&replicas))).transpose()?;
        let mover = LogMover::start(Arc::clone(&replicas), schedule.mover_threads)?;
        let thread = std::thread::Builder::new().name("log-upkeep".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || run(&replicas, schedule, &stop)
        })?;
        Ok(Self { stop, thread: Some(thread), _cleaner: cleaner, _mover: mover })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

fn run(replicas: &ReplicaManager, schedule: Schedule, stop: &StopSignal) {
    let start = Instant::now();
    let (mut retention, mut checkpoint) = (start + schedule.retention, start + schedule.checkpoint);
    let mut of_partitions = start + TICK;
    loop {
        // Taken after `of_partitions`, whose time has come then as well where they are few.
        if !stop.pause_until(retention.min(checkpoint).min(Instant::now() + TICK)) {
            return;
        }
        let now = Instant::now();
        if now >= retention {
            retention = now + schedule.retention;
            enforce_retention(replicas);
        }
        if now >= checkpoint {
            checkpoint = now + schedule.checkpoint;
            write_checkpoints(replicas);
        }
        tidy_directories(replicas, schedule.file_delete_delay_ms);
        if now >= of_partitions {
            let began = Instant::now();
            tidy_partitions(replicas);
            of_partitions = Instant::now() + rest(replicas.flush_policy(), began.elapsed());
        }
    }
}

/// Until partitions are looked after again, which took so long. `flush.ms` is honoured however many there are.
fn rest(policy: FlushPolicy, took: Duration) -> Duration {
    match policy {
        FlushPolicy::Interval => TICK,
        FlushPolicy::OnAck => took.saturating_mul(REST_FACTOR).clamp(TICK, REST_MAX),
    }
}

fn enforce_retention(replicas: &ReplicaManager) {
    for partition in replicas.partitions().iter().filter(|partition| partition.is_dir_online()) {
        match partition.enforce_retention(clock::now()) {
            Ok(removed) if removed.segments > 0 => tracing::info!(
                partition = %partition.topic_partition(), segments = removed.segments, bytes = removed.bytes,
                "removed segments by retention"
            ),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(partition = %partition.topic_partition(), %error, "retention failed");
            }
        }
    }
}

fn write_checkpoints(replicas: &ReplicaManager) {
    for dir in replicas.dirs().iter() {
        if let Err(error) = replicas.write_checkpoints(dir) {
            tracing::error!(path = %dir.log.path().display(), %error, "cannot write checkpoints");
        }
    }
}

/// Unlinks segments whose delay is over, and repeats syncs that failed.
fn tidy_partitions(replicas: &ReplicaManager) {
    let is_interval = replicas.flush_policy() == FlushPolicy::Interval;
    for partition in replicas.partitions() {
        partition.purge_deleted(clock::now());
        if is_interval {
            partition.sync_if_flush_due();
        }
    }
}

/// Unlinks partitions whose delay is over, and sees whether a full directory has room again.
fn tidy_directories(replicas: &ReplicaManager, file_delete_delay_ms: i64) {
    for dir in replicas.dirs().iter().filter(|dir| dir.is_online()) {
        dir.log.purge_deleted(clock::now(), file_delete_delay_ms);
        dir.look_for_room();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_partitions_are_looked_after_by_a_thousandth_of_a_core() {
        let rest_ms = |policy, took_us| rest(policy, Duration::from_micros(took_us)).as_millis();
        assert_eq!(rest_ms(FlushPolicy::OnAck, 20), 1000);
        assert_eq!(rest_ms(FlushPolicy::OnAck, 2_000), 2000);
        assert_eq!(rest_ms(FlushPolicy::OnAck, 60_000_000), 5000);
        assert_eq!(rest_ms(FlushPolicy::Interval, 2_000), 1000, "flush.ms is a promise");
    }
}
