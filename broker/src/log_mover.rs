//! Moves logs between log directories: threads that take each moving partition a piece further, one after the other.
//!
//! A partition is in the queue, or with one thread, at most once. How fast all threads together copy is
//! `replica.alter.log.dirs.io.max.bytes.per.second`, which may change meanwhile. Clients that produce are not throttled.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::io_throttle::IoThrottle;
use crate::log_dirs::LogDir;
use crate::replica_manager::{MoveProgress, Partition, ReplicaManager};
use crate::stop_signal::StopSignal;

/// What is copied of one partition before the next has its turn.
const TURN_BYTES: u64 = 16 * 1024 * 1024;
/// A move that waits, for the cleaner or for room on its disk, is looked at so often.
const REST: Duration = Duration::from_millis(100);
/// How often a thread that is held back, or has nothing to do, looks whether that is so still.
const CHECK: Duration = Duration::from_secs(1);
/// More would not find a processor.
const THREADS_MAX: usize = 64;

/// The partitions that are being moved.
#[derive(Default)]
pub(crate) struct MoveQueue {
    state: Mutex<QueueState>,
    more: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Partition>>,
    /// Those in the queue, and those that a thread has.
    known: HashSet<usize>,
}

impl MoveQueue {
    /// A move has begun. Nothing where the partition is known already.
    pub(crate) fn push(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        if state.known.insert(address_of(&partition)) {
            state.waiting.push_back(partition);
            drop(state);
            self.more.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<Partition>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            self.more.wait_for(&mut state, CHECK);
        }
        state.waiting.pop_front()
    }

    /// A thread is done with it for now. Whoever begins a move sets it before it comes here: it is not overlooked.
    fn put_back(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        if partition.is_moving() {
            state.waiting.push_back(partition);
        } else {
            state.known.remove(&address_of(&partition));
        }
    }
}

/// What tells a partition from one of the same id that was here before, and of which a thread may hold the last of it.
fn address_of(partition: &Arc<Partition>) -> usize {
    Arc::as_ptr(partition).addr()
}

/// The running threads; they end when this is dropped, wherever a move stands.
pub(crate) struct LogMover {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    replicas: Arc<ReplicaManager>,
    stop: StopSignal,
    throttle: Mutex<IoThrottle>,
}

impl LogMover {
    /// `threads` is `num.replica.alter.log.dirs.threads`; without it there is one for each directory.
    pub(crate) fn start(replicas: Arc<ReplicaManager>, threads: Option<usize>) -> io::Result<Self> {
        let dirs = replicas.dirs().iter().count();
        // With one directory there is nowhere to move to.
        let count = if dirs < 2 { 0 } else { threads.unwrap_or(dirs).clamp(1, THREADS_MAX) };
        let shared = Arc::new(Shared { replicas, stop: StopSignal::default(), throttle: Mutex::default() });
        let mut mover = Self { shared, threads: Vec::with_capacity(count) };
        for number in 0..count {
            let shared = Arc::clone(&mover.shared);
            let name = format!("log-mover-{number}");
            mover.threads.push(std::thread::Builder::new().name(name).spawn(move || shared.run())?);
        }
        Ok(mover)
    }
}

impl Drop for LogMover {
    fn drop(&mut self) {
        self.shared.stop.stop();
        self.shared.replicas.moves().more.notify_all();
        for thread in self.threads.drain(..) {
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while self.stop.pause_until(Instant::now()) {
            let Some(partition) = self.replicas.moves().pop() else { continue };
            let waits = self.take_turn(&partition);
            self.replicas.moves().put_back(partition);
            if waits && !self.stop.pause_until(Instant::now() + REST) {
                return;
            }
        }
    }

    /// Whether the partition has to wait for something.
    fn take_turn(&self, partition: &Arc<Partition>) -> bool {
        let mut copied = 0;
        while copied < TURN_BYTES && self.stop.pause_until(Instant::now()) {
            match partition.advance_move() {
                MoveProgress::Copied(bytes) => {
                    copied += bytes;
                    if bytes > 0 && !self.pace(partition, bytes) {
                        return false;
                    }
                }
                MoveProgress::Waits => return true,
                MoveProgress::Ended => return false,
                MoveProgress::Moved { old, from } => {
                    tracing::info!(
                        partition = %partition.topic_partition(), from = %from.log.path().display(),
                        to = %partition.dir().log.path().display(), "moved a log"
                    );
                    // Before anything can go wrong with the old directory: the replica is not in it any more.
                    self.replicas.dirs().note_moved();
                    let finished = partition.finish_move(old, &from);
                    if let Err((dir, error)) = finished {
                        // The next start deletes what is left of the old log.
                        self.fail(partition, &dir, &error.to_string());
                    }
                    self.replicas.note_moved(&from, &partition.dir());
                    return false;
                }
                MoveProgress::Failed { dir, reason } => {
                    self.fail(partition, &dir, &reason);
                    return false;
                }
            }
        }
        false
    }

    fn fail(&self, partition: &Partition, dir: &LogDir, reason: &str) {
        if dir.log.take_offline(reason) {
            tracing::error!(
                path = %dir.log.path().display(), partition = %partition.topic_partition(), reason,
                "a move failed, the log directory goes offline"
            );
        }
        self.replicas.handle_offline_dir(dir);
    }

    /// Waits until as much may be copied. `false` if the move, or the broker, has ended meanwhile.
    fn pace(&self, partition: &Partition, bytes: u64) -> bool {
        let rate = self.replicas.move_rate();
        let until = self.throttle.lock().spend(bytes, rate, Instant::now());
        loop {
            let now = Instant::now();
            // Nobody waits on for a limit that was lifted.
            if now >= until || self.replicas.move_rate() != rate {
                return true;
            }
            if !self.stop.pause_until(until.min(now + CHECK)) || !partition.is_moving() {
                return false;
            }
        }
    }
}
