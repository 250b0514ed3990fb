//! What a broker does to its logs from time to time: retention, checkpoints, compaction, unlinking. One thread, one step
//! after the other, each step bounded by what one partition takes.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moldau_metadata::config::{BrokerConfig, FlushPolicy};
use parking_lot::{Condvar, Mutex};

use crate::clock;
use crate::replica_manager::ReplicaManager;

/// Segments and partitions that were deleted are looked after this often; also `flush.ms`.
const TICK: Duration = Duration::from_secs(1);

/// How often each job runs.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// `log.retention.check.interval.ms`.
    pub retention: Duration,
    /// The shorter one of `log.flush.offset.checkpoint.interval.ms` and
    /// `replica.high.watermark.checkpoint.interval.ms`: the files are written together.
    pub checkpoint: Duration,
    /// `log.cleaner.backoff.ms`; `None` where `log.cleaner.enable` is off.
    pub cleaner: Option<Duration>,
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
            cleaner: config.cleaner_enable.then(|| ms(config.cleaner_backoff_ms)),
            file_delete_delay_ms: config.topic_defaults.file_delete_delay_ms,
        }
    }
}

#[derive(Default)]
struct Stop {
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

/// The running thread; it ends when this is dropped.
pub struct Background {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub fn start(replicas: Arc<ReplicaManager>, schedule: Schedule) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let thread = std::thread::Builder::new().name("log-upkeep".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || run(&replicas, schedule, &stop)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.is_stopping.lock() = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

fn run(replicas: &ReplicaManager, schedule: Schedule, stop: &Stop) {
    let start = Instant::now();
    let (mut retention, mut checkpoint) = (start + schedule.retention, start + schedule.checkpoint);
    let mut cleaner = schedule.cleaner.map(|interval| start + interval);
    loop {
        let next = [retention, checkpoint, Instant::now() + TICK].into_iter().chain(cleaner).min();
        if !pause_until(stop, next.unwrap_or(start)) {
            return;
        }
        let now = Instant::now();
        if now >= retention {
            retention = now + schedule.retention;
            enforce_retention(replicas);
        }
        if let (Some(due), Some(interval)) = (cleaner, schedule.cleaner)
            && now >= due
        {
            cleaner = Some(now + interval);
            clean(replicas);
        }
        if now >= checkpoint {
            checkpoint = now + schedule.checkpoint;
            write_checkpoints(replicas);
        }
        tidy(replicas, schedule.file_delete_delay_ms);
    }
}

/// `false` once the broker stops.
fn pause_until(stop: &Stop, deadline: Instant) -> bool {
    let mut is_stopping = stop.is_stopping.lock();
    while !*is_stopping {
        if stop.changed.wait_until(&mut is_stopping, deadline).timed_out() {
            return !*is_stopping;
        }
    }
    false
}

fn enforce_retention(replicas: &ReplicaManager) {
    for partition in replicas.partitions().iter().filter(|partition| partition.dir.is_online()) {
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

fn clean(replicas: &ReplicaManager) {
    for partition in replicas.partitions().iter().filter(|partition| partition.dir.is_online()) {
        match partition.clean_if_due(clock::now()) {
            Ok(Some(report)) => {
                tracing::info!(partition = %partition.topic_partition(), ?report, "compacted a log");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partition = %partition.topic_partition(), %error, "compaction failed");
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

/// What is cheap enough for every tick.
fn tidy(replicas: &ReplicaManager, file_delete_delay_ms: i64) {
    let is_interval = replicas.flush_policy() == FlushPolicy::Interval;
    for partition in replicas.partitions() {
        partition.purge_deleted(clock::now());
        if is_interval {
            partition.sync_if_flush_due();
        }
    }
    for dir in replicas.dirs().iter().filter(|dir| dir.is_online()) {
        dir.log.purge_deleted(clock::now(), file_delete_delay_ms);
        dir.look_for_room();
    }
}
