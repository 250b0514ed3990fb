//! Makes records durable. Every append queues its partition; threads of their own take partitions off the queue. A thread
//! takes all that wait for one round: what they have of little size goes into the directory's journal by one write and one
//! sync, and the others are synced file by file, several at a time. What is appended while a round is out is covered by
//! the next one: group commit falls out of the queue, across producers, requests and partitions.
//!
//! A partition is in the queue at most once, and at most one ticket of it is out. A sync that fails is never repeated: the
//! kernel may have dropped the pages that it could not write, and the next sync would say that all is well.
//!
//! Whoever handles several requests in a row holds a plug ([`plug_syncs`]): what they append reaches the queue together, and one
//! sync covers it. Without it a thread would wake for the first of them, and the second sync would cover the rest. A connection
//! that is alone runs such a round itself ([`sync_held`]).

mod inline;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moldau_log::{JOURNAL_COMMIT_BYTES_MAX, SyncTicket};
use parking_lot::{Condvar, Mutex};

pub(crate) use self::inline::Turns;
use self::inline::{Pace, StallWatch};
use crate::log_dirs::LogDir;
use crate::metrics::Histogram;
use crate::plug::{Held, Plug, hold};
use crate::purgatory::plug_answers;
use crate::replica_manager::{Partition, SyncFailed};

/// Partitions of one directory that are synced at the same time. A disk gains by some depth; each is a thread.
const PARALLELISM: usize = 4;
/// Partitions in one round: the tickets of all of them are out until it has ended.
const ROUND_PARTITIONS_MAX: usize = 1024;

/// A ticket that is alone in its round is synced in its own file if it has more than this: copying costs as much as the sync
/// that it makes cheaper, where there are no others to share it.
const JOURNALED_ALONE_BYTES_MAX: usize = 32 * 1024;

/// A partition whose ticket is out.
pub(crate) struct Syncing {
    pub(crate) partition: Arc<Partition>,
    /// Where the log was when the ticket was taken.
    pub(crate) dir: Arc<LogDir>,
    pub(crate) ticket: SyncTicket,
}

/// What a thread does next.
enum Work {
    /// The partitions whose tickets are still to be taken. One thread has a round at a time.
    Round(Vec<Arc<Partition>>),
    /// A ticket that is not the journal's.
    Own(Syncing),
}

/// The partitions of one log directory that have something to sync.
#[derive(Default)]
pub struct SyncQueue {
    state: Mutex<QueueState>,
    more: Condvar,
    /// Rounds that ended well, for tests and metrics.
    completed: AtomicUsize,
    /// How long they took, the failed ones too.
    pub(crate) durations: Histogram,
    pace: Pace,
    stall_watch: Arc<StallWatch>,
    /// The threads', for as long as they run: it holds the replicas, and they the directories.
    failed: OnceLock<Weak<Failed>>,
}

/// Is told when a sync has failed and the directory has gone offline.
type Failed = dyn Fn(&LogDir) + Send + Sync;

/// Who runs a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// A thread of the directory's, which looks into the queue behind it.
    Thread,
    /// A connection or a fetcher, which does not.
    Guest,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Partition>>,
    own: VecDeque<Syncing>,
    /// A thread has a round.
    is_round_out: bool,
    /// A thread was woken for the next one.
    is_wake_sent: bool,
    is_closed: bool,
}

impl QueueState {
    /// Whether somebody is to be woken for those who wait. At the end of a round that thread looks again.
    fn is_wake_due(&mut self) -> bool {
        let is_due = !self.waiting.is_empty() && !self.is_round_out && !self.is_wake_sent;
        self.is_wake_sent |= is_due;
        is_due
    }
}

impl SyncQueue {
    /// Adds a partition. The caller sees to it that it is in here once only.
    pub(crate) fn push(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.waiting.push_back(partition);
        let is_wake_due = state.is_wake_due();
        drop(state);
        if is_wake_due {
            self.more.notify_one();
        }
    }

    /// Adds a partition that the calling thread of the directory has just synced: it looks here next, so nobody is woken.
    fn push_back(&self, partition: Arc<Partition>) {
        self.state.lock().waiting.push_back(partition);
    }

    /// Has the tickets run, by whoever is free.
    fn push_own(&self, tickets: impl IntoIterator<Item = Syncing>) {
        let mut state = self.state.lock();
        let before = state.own.len();
        state.own.extend(tickets);
        let added = state.own.len() - before;
        drop(state);
        for _ in 0..added.min(PARALLELISM) {
            self.more.notify_one();
        }
    }

    /// The thread that had the round takes the next one, if `goes_on`; or else somebody is woken for those who wait.
    pub(crate) fn end_round(&self, goes_on: bool) {
        let mut state = self.state.lock();
        state.is_round_out = false;
        let is_closed = state.is_closed;
        let is_wake_due = !goes_on && state.is_wake_due();
        drop(state);
        if is_closed {
            self.more.notify_all();
        } else if is_wake_due {
            self.more.notify_one();
        }
    }

    /// A round for whoever is not one of the directory's threads, if nobody waits for the disk and the disk is quick.
    pub(crate) fn begin_inline(&self) -> bool {
        if !self.pace.is_quick() {
            return false;
        }
        let mut state = self.state.lock();
        let is_free =
            state.waiting.is_empty() && state.own.is_empty() && !state.is_round_out && !state.is_closed;
        state.is_round_out |= is_free;
        is_free
    }

    fn note_sync(&self, begun: Instant) {
        let took = begun.elapsed();
        self.durations.record(took);
        self.pace.note(took);
    }

    /// How many syncs have ended well.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.completed.load(Ordering::Relaxed)
    }

    /// How many partitions wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Waits for something to do; `None` once the queue is closed and worked off.
    fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if let Some(own) = state.own.pop_front() {
                // If this thread was woken for the next round, somebody else has to be.
                state.is_wake_sent = false;
                if state.is_wake_due() {
                    self.more.notify_one();
                }
                return Some(Work::Own(own));
            }
            if !state.waiting.is_empty() && !state.is_round_out {
                state.is_round_out = true;
                state.is_wake_sent = false;
                let count = state.waiting.len().min(ROUND_PARTITIONS_MAX);
                return Some(Work::Round(state.waiting.drain(..count).collect()));
            }
            // With a round out, who has it comes back for those who wait.
            if state.is_closed && !state.is_round_out {
                return None;
            }
            self.more.wait(&mut state);
        }
    }

    fn close(&self) {
        self.state.lock().is_closed = true;
        self.more.notify_all();
    }
}

/// The threads that sync one directory. They end, the queue worked off, when this is dropped.
pub struct Syncer {
    dir: Arc<LogDir>,
    threads: Vec<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the threads. `failed` is told when a sync has failed and the directory has gone offline.
    pub fn start(dir: Arc<LogDir>, failed: Arc<Failed>) -> io::Result<Self> {
        let mut syncer = Self { dir, threads: Vec::with_capacity(PARALLELISM + 2) };
        let watch = Arc::clone(&syncer.dir.sync.stall_watch);
        let thread = std::thread::Builder::new().name("stall-watch".into()).spawn(move || watch.run())?;
        syncer.threads.push(thread);
        syncer.dir.sync.failed.get_or_init(|| Arc::downgrade(&failed));
        for number in 0..PARALLELISM {
            let (dir, failed) = (Arc::clone(&syncer.dir), Arc::clone(&failed));
            let thread = std::thread::Builder::new()
                .name(format!("sync-{number}"))
                .spawn(move || run(&dir, &*failed))?;
            syncer.threads.push(thread);
        }
        let (dir, failed) = (Arc::clone(&syncer.dir), Arc::clone(&failed));
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(move || settle(&dir, &*failed))?;
        syncer.threads.push(thread);
        Ok(syncer)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.dir.sync.close();
        self.dir.sync.stall_watch.close();
        if let Some(journal) = self.dir.log.journal() {
            journal.close();
        }
        for thread in self.threads.drain(..) {
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

thread_local! {
    static APPENDED: Held<Arc<Partition>> = const { RefCell::new(None) };
}

/// Keeps the partitions that its thread appends to from the queue; dropping it queues them. It must not outlive a turn: no
/// lock is taken and nothing awaited that another thread's append could be waiting behind.
pub(crate) fn plug_syncs() -> Plug<Arc<Partition>> {
    Plug::new(&APPENDED, |partitions| {
        for partition in partitions {
            partition.push_to_sync_queue();
        }
    })
}

/// Queues the partition now, or when the thread's plug is pulled.
pub(crate) fn push_or_hold(partition: &Arc<Partition>) {
    if let Some(unheld) = hold(&APPENDED, Arc::clone(partition)) {
        unheld.push_to_sync_queue();
    }
}

/// Who has to have what a thread's plug holds before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldFor {
    /// The plug holds nothing.
    Nobody,
    /// This broker, which is alone in the ISR of all of it.
    Itself,
    /// Followers as well, of some of it.
    Followers,
}

/// What this thread's plug holds.
pub(crate) fn held_for() -> HeldFor {
    APPENDED.with_borrow(|held| match held.as_deref().unwrap_or_default() {
        [] => HeldFor::Nobody,
        held if held.iter().all(|partition| partition.is_alone_in_isr()) => HeldFor::Itself,
        _ => HeldFor::Followers,
    })
}

/// Makes durable what this thread's plug holds, on this thread, where that is better: see [`inline`]. Otherwise the plug holds it
/// as before. `false` says that it is no use to try: to serve it took longer than a sync does, and a thread can sync meanwhile.
pub(crate) fn sync_held(turns: &Turns, took: Duration) -> bool {
    let mut is_slow = false;
    run_held(|dir, held| {
        is_slow = dir.sync.pace.is_shorter_than(took);
        let is_lone = !is_slow && held.iter().all(|partition| partition.is_alone_in_isr());
        let turn = if is_lone { turns.begin_round()? } else { return None };
        Some((turn, dir.sync.stall_watch.begin()))
    });
    !is_slow
}

/// The same for a fetcher, whose thread may sleep, and with whatever else is in the ISR. `is_better` is asked with what a sync
/// takes on average.
pub(crate) fn sync_held_by_follower(is_better: impl FnOnce(Duration) -> bool) {
    run_held(|dir, _| is_better(dir.sync.pace.mean()).then_some(()));
}

/// Runs a round with what this thread's plug holds, if that is of one directory, nobody else waits for the disk, and `begin` gives
/// what is to live as long as the round.
fn run_held<Guard>(begin: impl FnOnce(&LogDir, &[Arc<Partition>]) -> Option<Guard>) {
    let held = APPENDED.with_borrow_mut(|held| held.as_mut().map(std::mem::take)).unwrap_or_default();
    let Some(dir) = held.first().map(|partition| partition.dir()) else { return };
    let is_of_one_dir = held.iter().all(|partition| partition.dir().id == dir.id);
    let failed = dir.sync.failed.get().and_then(Weak::upgrade).filter(|_| is_of_one_dir);
    let begun = failed.and_then(|failed| Some((begin(&dir, &held)?, failed)));
    match begun {
        Some((_guard, failed)) if dir.sync.begin_inline() => {
            let _aborting = AbortOnPanic;
            run_round(&dir, held, Runner::Guest, &*failed);
        }
        _ => APPENDED.with_borrow_mut(|plug| *plug = Some(held)),
    }
}

/// What waits for a round that panicked would wait for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a sync round panicked, the process stops");
            std::process::abort();
        }
    }
}

fn run(dir: &LogDir, failed: &Failed) {
    while let Some(work) = dir.sync.next() {
        match work {
            Work::Own(syncing) => run_own(dir, syncing, Runner::Thread, failed),
            Work::Round(partitions) => run_round(dir, partitions, Runner::Thread, failed),
        }
    }
}

/// Takes the tickets, and commits those to the journal that are for it.
fn run_round(dir: &LogDir, partitions: Vec<Arc<Partition>>, runner: Runner, failed: &Failed) {
    let (mut small, mut own) = (Vec::new(), Vec::new());
    for partition in partitions {
        match partition.begin_sync() {
            Ok(None) => {}
            Ok(Some((dir, ticket))) => {
                let group = if ticket.journal_bytes().is_some() { &mut small } else { &mut own };
                group.push(Syncing { partition, dir, ticket });
            }
            Err(error) => report(&partition, &error, failed),
        }
    }
    if let [only] = &small[..]
        && only.ticket.journal_bytes().is_some_and(|bytes| bytes > JOURNALED_ALONE_BYTES_MAX)
    {
        own.append(&mut small);
    }
    // What is left for this thread alone needs nobody else woken.
    let last = if small.is_empty() { own.pop() } else { None };
    dir.sync.push_own(own);
    while !small.is_empty() {
        let rest = small.split_off(commit_size(&small));
        commit(dir, std::mem::replace(&mut small, rest), runner, failed);
    }
    dir.sync.end_round(last.is_none() && runner == Runner::Thread);
    if let Some(last) = last {
        run_own(dir, last, runner, failed);
    }
}

/// How many of these one commit takes, at least one.
fn commit_size(small: &[Syncing]) -> usize {
    let mut bytes = 0;
    let fits = |syncing: &&Syncing| {
        bytes += syncing.ticket.journal_bytes().unwrap_or(0);
        bytes <= JOURNAL_COMMIT_BYTES_MAX
    };
    small.iter().take_while(fits).count().max(1)
}

fn commit(dir: &LogDir, small: Vec<Syncing>, runner: Runner, failed: &Failed) {
    let tickets: Vec<&SyncTicket> = small.iter().map(|syncing| &syncing.ticket).collect();
    let begun = Instant::now();
    let result = dir.log.journal().map_or(Ok(false), |journal| journal.commit(&tickets));
    if !matches!(result, Ok(false)) {
        dir.sync.note_sync(begun);
    }
    match result {
        Ok(false) => dir.sync.push_own(small),
        Ok(true) => {
            let _plug = plug_answers();
            small.into_iter().for_each(|syncing| finish(dir, syncing, Ok(()), runner, failed));
        }
        Err(error) => {
            for syncing in small {
                let error = io::Error::new(error.kind(), format!("the sync journal: {error}"));
                finish(dir, syncing, Err(error), runner, failed);
            }
        }
    }
}

fn run_own(dir: &LogDir, syncing: Syncing, runner: Runner, failed: &Failed) {
    let begun = Instant::now();
    let result = syncing.ticket.run();
    syncing.dir.sync.note_sync(begun);
    finish(dir, syncing, result, runner, failed);
}

fn finish(dir: &LogDir, syncing: Syncing, result: io::Result<()>, runner: Runner, failed: &Failed) {
    let Syncing { partition, dir: of_ticket, ticket } = syncing;
    match partition.end_sync(of_ticket, ticket, result) {
        Ok(is_due_again) => {
            dir.sync.completed.fetch_add(1, Ordering::Relaxed);
            if is_due_again && runner == Runner::Thread && partition.dir().id == dir.id {
                dir.sync.push_back(partition);
            } else if is_due_again {
                // It has moved, or this thread does not look into the queue.
                partition.push_to_sync_queue();
            }
        }
        Err(error) => report(&partition, &error, failed),
    }
}

/// The partition's directory goes offline.
fn report(partition: &Partition, error: &SyncFailed, failed: &Failed) {
    let dir = &error.dir;
    if dir.log.take_offline(format!("sync of {} failed: {error}", partition.topic_partition())) {
        tracing::error!(
            path = %dir.log.path().display(), partition = %partition.topic_partition(), %error,
            "sync failed, the log directory goes offline"
        );
    }
    failed(dir);
}

/// Syncs in bulk what only the journal has, whenever that is to take more.
fn settle(dir: &LogDir, failed: &Failed) {
    let Some(journal) = dir.log.journal() else { return };
    loop {
        match journal.settle_next() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                if dir.log.take_offline(format!("a sync failed: {error}")) {
                    tracing::error!(path = %dir.log.path().display(), %error, "sync failed, the log directory goes offline");
                }
                failed(dir);
                return;
            }
        }
    }
}
