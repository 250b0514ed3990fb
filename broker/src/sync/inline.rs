//! Rounds that the appending connection runs on its own thread.
//!
//! Handing a round to a thread of the directory wakes that thread, and its end wakes the connection's again: two wake-ups of
//! another core, which with a single producer of small batches cost as much as everything else that a request does. So whoever
//! waits for nothing but its own sync does it itself. That blocks a worker of the runtime, and is done only where it is short
//! and alone: the directory's commits have been quick lately ([`Gate`]), nobody else waits for the disk, no follower is to be
//! served meanwhile, and the journal takes all of it. Should the disk then stand still, [`StallWatch`] sees to it that another
//! worker takes over whoever else there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

/// What a commit to the journal takes on average at most, where a worker waits for it.
const COMMIT_MAX: Duration = Duration::from_micros(500);
/// The newest commit's weight in the average is one of so many parts.
const MEAN_PARTS: u32 = 8;
/// What one commit counts for at most, so that a disk that stood still once is soon believed again.
const COUNTED_MAX: Duration = Duration::from_millis(20);
/// Rounds that go to the threads for each append that had to wait for an inline one: several producers at once gain by
/// sharing a sync, and lose by waiting for each other's.
const ROUNDS_PER_WAITER: u32 = 16;
const ROUNDS_MAX: u32 = 256;
/// A worker that waits longer is stuck.
const STALL: Duration = Duration::from_millis(20);

/// Whether the next round may run on the thread that wants it.
#[derive(Debug)]
pub(super) struct Gate {
    /// What is quick enough.
    commit_max: Duration,
    /// Of the latest commits; `None` before the first one, which a thread runs.
    mean: Option<Duration>,
    /// Rounds that the threads run before it is tried again.
    rounds_for_threads: u32,
}

impl Default for Gate {
    fn default() -> Self {
        Self { commit_max: COMMIT_MAX, mean: None, rounds_for_threads: 0 }
    }
}

impl Gate {
    /// For which every disk is quick enough.
    #[cfg(test)]
    pub(super) fn for_any_disk() -> Self {
        Self { commit_max: Duration::MAX, ..Self::default() }
    }

    /// A commit to the journal took so long.
    pub(super) fn note_commit(&mut self, took: Duration) {
        let took = took.min(COUNTED_MAX);
        let mean = self.mean.unwrap_or(took);
        self.mean = Some((mean * (MEAN_PARTS - 1) + took) / MEAN_PARTS);
    }

    /// Somebody's append waits for the inline round that is out.
    pub(super) fn note_waiter(&mut self) {
        self.rounds_for_threads = (self.rounds_for_threads + ROUNDS_PER_WAITER).min(ROUNDS_MAX);
    }

    /// Asked once for each round.
    pub(super) fn admits(&mut self) -> bool {
        if self.mean.is_none_or(|mean| mean > self.commit_max) {
            return false;
        }
        let is_alone = self.rounds_for_threads == 0;
        self.rounds_for_threads = self.rounds_for_threads.saturating_sub(1);
        is_alone
    }
}

/// Looks after a worker that waits for the disk. Tokio leaves the sockets to one of its workers, and if that is the one which
/// blocks, the others sleep on: a task from outside wakes one of them, and it takes the sockets over.
#[derive(Debug)]
pub(super) struct StallWatch {
    epoch: Instant,
    /// When the round began that is out, in microseconds since `epoch` and one more; 0 while there is none.
    begun_us: AtomicU64,
    /// Rounds that were begun.
    rounds: AtomicU64,
    state: Mutex<WatchState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WatchState {
    is_watching: bool,
    is_closed: bool,
}

impl Default for StallWatch {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            begun_us: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl StallWatch {
    /// A round begins on this thread; it has ended when the guard is dropped. One is out at a time.
    pub(super) fn begin(self: &Arc<Self>) -> InlineRound {
        let since_epoch = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        let begun_us = since_epoch + 1;
        self.begun_us.store(begun_us, Ordering::Relaxed);
        // The watcher sleeps once a whole period has gone without a round.
        if self.rounds.fetch_add(1, Ordering::AcqRel) == 0 {
            self.state.lock().is_watching = true;
            self.changed.notify_one();
        }
        InlineRound { watch: Arc::clone(self), begun_us }
    }

    fn is_stalled(&self) -> bool {
        let begun_us = self.begun_us.load(Ordering::Relaxed);
        begun_us != 0 && self.epoch.elapsed() > Duration::from_micros(begun_us - 1) + STALL
    }

    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Until [`StallWatch::close`], for a thread of its own: calls `unblock` for as long as a round stands still.
    pub(super) fn run(&self, mut unblock: impl FnMut()) {
        let mut state = self.state.lock();
        while !state.is_closed {
            if !state.is_watching {
                self.changed.wait(&mut state);
                continue;
            }
            let _ = self.changed.wait_for(&mut state, STALL);
            if self.is_stalled() {
                unblock();
            } else if self.begun_us.load(Ordering::Relaxed) == 0 && self.rounds.swap(0, Ordering::AcqRel) == 0
            {
                // Whoever begins the next one finds 0, and wakes this thread.
                state.is_watching = false;
            }
        }
    }
}

/// A round on this thread.
#[must_use = "the round ends with it"]
pub(super) struct InlineRound {
    watch: Arc<StallWatch>,
    begun_us: u64,
}

impl Drop for InlineRound {
    fn drop(&mut self) {
        // By now the next one may have begun elsewhere.
        let _ = self.watch.begun_us.compare_exchange(self.begun_us, 0, Ordering::Relaxed, Ordering::Relaxed);
        if std::thread::panicking() {
            // As on a thread of the directory's own: what waits for the round would wait for ever.
            tracing::error!("a sync round panicked, the process stops");
            std::process::abort();
        }
    }
}

/// Wakes another worker of the runtime.
pub(super) fn wake_worker(runtime: &Handle) {
    drop(runtime.spawn(std::future::ready(())));
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(100);

    #[test]
    fn a_worker_waits_only_for_a_disk_that_has_been_quick() {
        let mut gate = Gate::default();
        assert!(!gate.admits(), "nothing is known of the disk");
        gate.note_commit(QUICK);
        assert!(gate.admits());
        for _ in 0..20 {
            gate.note_commit(Duration::from_millis(2));
        }
        assert!(!gate.admits());
        let needed = (1..).find(|_| {
            gate.note_commit(QUICK);
            gate.admits()
        });
        assert!(needed.is_some_and(|commits| commits < 20), "{needed:?}");
    }

    #[test]
    fn one_commit_that_hung_is_soon_forgiven() {
        let mut gate = Gate::default();
        gate.note_commit(QUICK);
        gate.note_commit(Duration::from_secs(3600));
        assert!(!gate.admits());
        for _ in 0..30 {
            gate.note_commit(QUICK);
        }
        assert!(gate.admits());
    }

    #[test]
    fn who_had_to_wait_for_anothers_round_has_the_threads_do_the_next_ones() {
        let mut gate = Gate::default();
        gate.note_commit(QUICK);
        gate.note_waiter();
        let refused = (0..).take_while(|_| !gate.admits()).count();
        assert_eq!(refused, ROUNDS_PER_WAITER as usize);
        for _ in 0..1000 {
            gate.note_waiter();
        }
        let refused = (0..).take_while(|_| !gate.admits()).count();
        assert_eq!(refused, ROUNDS_MAX as usize, "bounded");
    }

    /// With two workers of which one blocks for as long as the other does not answer: only the watcher can end that.
    #[test]
    fn a_worker_that_is_stuck_does_not_keep_the_sockets_from_the_others() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let watch = Arc::new(StallWatch::default());
        let watcher = {
            let (watch, handle) = (Arc::clone(&watch), runtime.handle().clone());
            std::thread::spawn(move || watch.run(|| wake_worker(&handle)))
        };
        let (mut client, server) = std::os::unix::net::UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let (answered, answer) = std::sync::mpsc::channel();
        // Answers what comes, for the other one.
        runtime.spawn(async move {
            let server = tokio::net::UnixStream::from_std(server).unwrap();
            server.readable().await.unwrap();
            answered.send(()).unwrap();
        });
        let blocked = {
            let watch = Arc::clone(&watch);
            runtime.spawn(async move {
                // So that this is the worker that has polled the sockets last.
                tokio::time::sleep(Duration::from_millis(5)).await;
                let round = watch.begin();
                std::io::Write::write_all(&mut client, b"x").unwrap();
                let result = answer.recv_timeout(Duration::from_secs(60));
                drop(round);
                result
            })
        };
        assert_eq!(runtime.block_on(blocked).unwrap(), Ok(()));
        watch.close();
        watcher.join().unwrap();
    }

    #[test]
    fn the_watcher_sleeps_while_nothing_is_to_be_watched() {
        let watch = Arc::new(StallWatch::default());
        let watcher = {
            let watch = Arc::clone(&watch);
            std::thread::spawn(move || watch.run(|| {}))
        };
        for _ in 0..3 {
            drop(watch.begin());
            let deadline = Instant::now() + Duration::from_secs(60);
            while watch.state.lock().is_watching {
                assert!(Instant::now() < deadline, "it watches on");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(watch.rounds.load(Ordering::Relaxed), 0, "and the next round wakes it");
        }
        watch.close();
        watcher.join().unwrap();
    }
}
