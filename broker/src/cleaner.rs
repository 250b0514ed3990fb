//! The cleaner: threads that compact whichever log has most to gain, one log after the other, and rest when there is none.
//!
//! What it may use (`log.cleaner.*`) is looked up for every pass, so that it changes while the broker runs. Reading,
//! copying and resting happen without any lock.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moldau_log::{CleanReport, CleanerBudget, Cleaning, LogError};
use moldau_metadata::config::CleanerSettings;
use moldau_model::TopicIdPartition;
use parking_lot::Mutex;

use crate::clock;
use crate::io_throttle::IoThrottle;
use crate::replica_manager::{Partition, ReplicaManager};
use crate::stop_signal::StopSignal;

/// A log that could not be compacted is left alone for so long: what is wrong with it rarely mends itself, and every try
/// reads it from its beginning.
const REST_AFTER_FAILURE: Duration = Duration::from_mins(10);
/// How often one who is held back looks whether he still is.
const THROTTLE_CHECK: Duration = Duration::from_secs(1);
/// More would not find a processor.
const THREADS_MAX: usize = 64;

/// The running threads; they end when this is dropped, wherever a pass stands.
pub(crate) struct Cleaner(Arc<Shared>);

struct Shared {
    replicas: Arc<ReplicaManager>,
    stop: StopSignal,
    /// Logs that failed, and until when they rest. Who holds it chooses: no two threads choose the same log.
    resting: Mutex<HashMap<TopicIdPartition, Instant>>,
    throttle: Mutex<IoThrottle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Cleaner {
    pub(crate) fn start(replicas: Arc<ReplicaManager>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            replicas,
            stop: StopSignal::default(),
            resting: Mutex::new(HashMap::new()),
            throttle: Mutex::default(),
            threads: Mutex::new(Vec::new()),
        });
        // The first one is always there: it starts the others, when they are wanted.
        shared.spawn(0)?;
        Ok(Self(shared))
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.0.stop.stop();
        loop {
            let Some(thread) = self.0.threads.lock().pop() else { return };
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, number: usize) -> io::Result<()> {
        let shared = Arc::clone(self);
        let name = format!("log-cleaner-{number}");
        let thread = std::thread::Builder::new().name(name).spawn(move || shared.run(number))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn run(self: &Arc<Self>, number: usize) {
        // A log that was just made is not compacted at once.
        let mut deadline = Instant::now() + self.replicas.cleaner_settings().backoff;
        while self.stop.pause_until(deadline) {
            let settings = self.replicas.cleaner_settings();
            if number == 0 {
                self.start_others(settings.threads.min(THREADS_MAX));
            }
            let is_wanted = number < settings.threads;
            let is_more_to_do = is_wanted && self.clean_one(&settings);
            deadline = Instant::now() + if is_more_to_do { Duration::ZERO } else { settings.backoff };
        }
    }

    /// Threads that are not wanted any more rest.
    fn start_others(self: &Arc<Self>, wanted: usize) {
        loop {
            let number = self.threads.lock().len();
            if number >= wanted {
                return;
            }
            if let Err(error) = self.spawn(number) {
                tracing::warn!(%error, "no further thread for the cleaner");
                return;
            }
        }
    }

    /// Whether there was a log to compact.
    fn clean_one(&self, settings: &CleanerSettings) -> bool {
        let Some((partition, cleaning)) = self.begin_on_dirtiest(&budget(settings)) else { return false };
        match self.clean(&partition, cleaning) {
            Ok(report) => {
                tracing::info!(partition = %partition.topic_partition(), ?report, "compacted a log");
            }
            Err(error) => self.note_failure(&partition, &error),
        }
        true
    }

    fn begin_on_dirtiest(&self, budget: &CleanerBudget) -> Option<(Arc<Partition>, Cleaning)> {
        let mut resting = self.resting.lock();
        let now = Instant::now();
        resting.retain(|_, until| *until > now);
        let mut dirty = Vec::new();
        let mut failed = Vec::new();
        for partition in self.replicas.partitions() {
            if !partition.is_dir_online() || resting.contains_key(&partition.id()) {
                continue;
            }
            match partition.dirtiness(clock::now()) {
                Ok(Some(found)) => dirty.push((found.ratio(), partition)),
                Ok(None) => {}
                Err(error) => failed.push((partition, error)),
            }
        }
        let begun =
            dirtiest(dirty).and_then(|partition| match partition.begin_clean(clock::now(), *budget) {
                Ok(cleaning) => cleaning.map(|cleaning| (partition, cleaning)),
                Err(error) => {
                    failed.push((partition, error));
                    None
                }
            });
        drop(resting);
        for (partition, error) in failed {
            self.note_failure(&partition, &error);
        }
        begun
    }

    fn clean(&self, partition: &Partition, mut cleaning: Cleaning) -> Result<Option<CleanReport>, LogError> {
        // A log that is to move to another directory does not wait for the end of a pass.
        let mut pace = |bytes| self.pace(partition, bytes);
        while cleaning.run(&mut pace)? {
            partition.install_cleaned(&mut cleaning, clock::now())?;
        }
        partition.complete_clean(cleaning)
    }

    /// Waits until as much may be read and written; ends the pass when the broker stops, or the log is to move.
    fn pace(&self, partition: &Partition, bytes: u64) -> ControlFlow<()> {
        let rate = self.replicas.cleaner_settings().io_bytes_per_second;
        let until = self.throttle.lock().spend(bytes, rate, Instant::now());
        loop {
            let now = Instant::now();
            if partition.is_moving() || !self.stop.pause_until(until.min(now + THROTTLE_CHECK)) {
                return ControlFlow::Break(());
            }
            // Nobody waits on for a limit that was lifted.
            if now >= until || self.replicas.cleaner_settings().io_bytes_per_second != rate {
                return ControlFlow::Continue(());
            }
        }
    }

    fn note_failure(&self, partition: &Partition, error: &LogError) {
        tracing::error!(partition = %partition.topic_partition(), %error, "compaction failed");
        self.resting.lock().insert(partition.id(), Instant::now() + REST_AFTER_FAILURE);
    }
}

/// Whichever has the greatest ratio.
fn dirtiest<T>(dirty: Vec<(f64, T)>) -> Option<T> {
    dirty.into_iter().max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, log)| log)
}

/// The share of one thread.
fn budget(settings: &CleanerSettings) -> CleanerBudget {
    let threads = settings.threads.clamp(1, THREADS_MAX);
    CleanerBudget {
        key_bytes: settings.dedupe_buffer_bytes / threads,
        key_load_factor: settings.load_factor,
        // One half to read by, one half to write.
        buffer_bytes: settings.io_buffer_bytes / threads / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dirtiest_log_is_the_first() {
        assert_eq!(dirtiest(vec![(0.6, 'a'), (1.0, 'b'), (0.7, 'c')]), Some('b'));
        assert_eq!(dirtiest::<char>(Vec::new()), None);
    }

    #[test]
    fn threads_share_the_memory() {
        let settings = CleanerSettings {
            threads: 4,
            dedupe_buffer_bytes: 400,
            load_factor: 0.9,
            io_buffer_bytes: 80,
            io_bytes_per_second: None,
            backoff: Duration::from_secs(15),
        };
        let share = budget(&settings);
        assert_eq!((share.key_bytes, share.buffer_bytes), (100, 10));
    }
}
