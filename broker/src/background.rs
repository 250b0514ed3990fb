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
    loop {
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
        tidy(replicas, schedule.file_delete_delay_ms);
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
