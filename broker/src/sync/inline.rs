//! Rounds that a connection runs on its own thread (ADR 48).
//!
//! Handing a round to a thread of the directory wakes that thread, and while it syncs the connection goes on, on another
//! processor: good for whoever shares the disk, and nearly half of what a request costs where one producer sends one
//! request behind the other. So a connection that has been the only one to speak for a while ([`Turns`]), and has nothing to
//! answer before its own sync, runs the round itself. That blocks a worker of the runtime, and is done only where the
//! directory's syncs have been quick lately, nobody else waits for the disk and no follower is to be served meanwhile; by one
//! worker at a time, of several, so that disks which stand still never have all of them. Where requests take longer than their
//! sync, as those that are to be unpacked may, a thread does better: it syncs while the connection takes the next ones.
//! Should the disk then stand still, [`StallWatch`] sees to it that another worker takes over whoever else comes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

/// Turns in a row after which a connection counts as alone.
const TURNS_ALONE: u32 = 16;
/// What a sync takes on average at most, where a worker waits for it.
const SYNC_US_MAX: u64 = 5_000;
/// The newest sync's weight in the average is one of so many parts.
const MEAN_PARTS: u64 = 8;
/// What one sync counts for at most, so that a disk that stood still once is soon believed again.
const COUNTED_US_MAX: u64 = 80_000;
/// A worker that waits longer is stuck.
const STALL: Duration = Duration::from_millis(20);

/// Which of a broker's connections was served last, and how often in a row; followers' do not count. Two that are served at the same moment may both be
/// noted as the last: each then counts from the start.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    numbers: AtomicU32,
    last: AtomicU32,
    in_a_row: AtomicU32,
    /// A connection has a round of syncs, of whichever directory.
    is_round_out: AtomicBool,
}

impl Turns {
    /// A number for a new connection. It comes again after four billion, and then two share their turns.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection has a turn: whether it has been the only one for a while.
    pub(crate) fn note(&self, connection: u32) -> bool {
        if self.last.load(Ordering::Relaxed) != connection {
            self.last.store(connection, Ordering::Relaxed);
            self.in_a_row.store(0, Ordering::Relaxed);
            return false;
        }
        let in_a_row = self.in_a_row.load(Ordering::Relaxed);
        if in_a_row < TURNS_ALONE {
            self.in_a_row.store(in_a_row + 1, Ordering::Relaxed);
        }
        in_a_row >= TURNS_ALONE
    }

    /// The calling thread, a worker of a runtime's, may sleep in a round of syncs until the guard is dropped. `None` where
    /// another one does, or nobody else would be left.
    pub(super) fn begin_round(&self) -> Option<RoundGuard<'_>> {
        let has_others = Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1);
        let is_free = has_others && !self.is_round_out.swap(true, Ordering::Acquire);
        is_free.then_some(RoundGuard(&self.is_round_out))
    }
}

/// See [`Turns::begin_round`].
pub(super) struct RoundGuard<'a>(&'a AtomicBool);

impl Drop for RoundGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How long a directory's syncs take, on average.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// 0 before the first sync, which a thread runs.
    mean_us: AtomicU64,
}

impl Pace {
    pub(super) fn note(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, COUNTED_US_MAX);
        let mean_us = match self.mean_us.load(Ordering::Relaxed) {
            0 => took_us,
            mean_us => (mean_us * (MEAN_PARTS - 1) + took_us).div_ceil(MEAN_PARTS),
        };
        self.mean_us.store(mean_us, Ordering::Relaxed);
    }

    /// Whether a sync takes less than that.
    pub(super) fn is_shorter_than(&self, took: Duration) -> bool {
        let mean = self.mean();
        !mean.is_zero() && took > mean
    }

    /// 0 before the first one.
    pub(super) fn mean(&self) -> Duration {
        Duration::from_micros(self.mean_us.load(Ordering::Relaxed))
    }

    /// Whether a worker may wait for the next one.
    pub(super) fn is_quick(&self) -> bool {
        (1..=SYNC_US_MAX).contains(&self.mean_us.load(Ordering::Relaxed))
    }
}

/// Looks after a worker that waits for the disk. Tokio leaves the sockets to one of its workers, and if that is the one which
/// blocks, the others sleep on: a task from outside wakes one of them, and it takes the sockets over.
#[derive(Debug)]
pub(super) struct StallWatch {
    epoch: Instant,
    /// When the round began that is out, in microseconds since `epoch` and one more; 0 while there is none.
    begun_us: AtomicU64,
    /// Rounds that were begun since the watcher looked last.
    rounds: AtomicU64,
    /// The runtime whose workers begin rounds.
    runtime: OnceLock<Handle>,
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
            runtime: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl StallWatch {
    /// A round begins on this thread, a worker of the runtime's; it has ended when the guard is dropped. One is out at a time.
    pub(super) fn begin(self: &Arc<Self>) -> InlineRound {
        self.runtime.get_or_init(Handle::current);
        let since_epoch = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        let begun_us = since_epoch + 1;
        self.begun_us.store(begun_us, Ordering::Relaxed);
        // The watcher sleeps once a whole period has gone without a round.
        if self.rounds.fetch_add(1, Ordering::AcqRel) == 0 {
            let mut state = self.state.lock();
            if !std::mem::replace(&mut state.is_watching, true) {
                self.changed.notify_one();
            }
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

    /// Until [`StallWatch::close`], for a thread of its own.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();
        while !state.is_closed {
            if !state.is_watching {
                self.changed.wait(&mut state);
                continue;
            }
            let _ = self.changed.wait_for(&mut state, STALL);
            if self.is_stalled() {
                if let Some(runtime) = self.runtime.get() {
                    drop(runtime.spawn(std::future::ready(())));
                }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(300);

    #[test]
    fn a_connection_is_alone_once_nobody_else_has_spoken_for_some_turns() {
        let turns = Turns::default();
        let (one, other) = (turns.number(), turns.number());
        turns.note(other);
        let not_alone = (0..).take_while(|_| !turns.note(one)).count();
        assert_eq!(not_alone, TURNS_ALONE as usize + 1);
        assert!(turns.note(one), "and stays so");
        assert!(!turns.note(other), "until somebody else speaks");
        assert!(!turns.note(one));
        for _ in 0..100 {
            assert!(!turns.note(one) && !turns.note(other), "nobody is, in turn");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_worker_at_a_time_sleeps_in_a_round() {
        let turns = Turns::default();
        let round = turns.begin_round();
        assert!(round.is_some());
        assert!(turns.begin_round().is_none());
        drop(round);
        assert!(turns.begin_round().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_only_worker_does_not() {
        assert!(Turns::default().begin_round().is_none());
    }

    #[test]
    fn a_worker_waits_only_for_a_disk_that_has_been_quick() {
        let pace = Pace::default();
        assert!(!pace.is_quick(), "nothing is known of the disk");
        pace.note(QUICK);
        assert!(pace.is_quick());
        assert!(pace.is_shorter_than(2 * QUICK) && !pace.is_shorter_than(QUICK));
        for _ in 0..30 {
            pace.note(Duration::from_millis(8));
        }
        assert!(!pace.is_quick());
        let needed = (1..).find(|_| {
            pace.note(QUICK);
            pace.is_quick()
        });
        assert!(needed.is_some_and(|syncs| syncs < 20), "{needed:?}");
    }

    #[test]
    fn a_sync_that_hung_is_soon_forgiven() {
        let pace = Pace::default();
        pace.note(QUICK);
        pace.note(Duration::from_secs(3600));
        assert!(!pace.is_quick());
        for _ in 0..30 {
            pace.note(QUICK);
        }
        assert!(pace.is_quick());
    }

    /// With two workers of which one blocks for as long as the other does not answer: only the watcher can end that.
    #[test]
    fn a_worker_that_is_stuck_does_not_keep_the_sockets_from_the_others() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let watch = Arc::new(StallWatch::default());
        let watcher = {
            let watch = Arc::clone(&watch);
            std::thread::spawn(move || watch.run())
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

    #[tokio::test]
    async fn the_watcher_sleeps_while_nothing_is_to_be_watched() {
        let watch = Arc::new(StallWatch::default());
        let watcher = {
            let watch = Arc::clone(&watch);
            std::thread::spawn(move || watch.run())
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
