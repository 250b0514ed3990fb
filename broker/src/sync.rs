//! Makes records durable. Every append queues its partition; threads of their own take partitions off the queue and
//! sync them, several at a time. What is appended while a partition's sync runs is covered by the next one: group
//! commit falls out of the queue, across producers and across requests.
//!
//! A partition is in the queue at most once, and at most one ticket of it is out. A sync that fails is never repeated: the
//! kernel may have dropped the pages that it could not write, and the next sync would say that all is well.
//!
//! Whoever handles several requests in a row holds a [`SyncPlug`]: what they append reaches the queue together, and one
//! sync covers it. Without it a thread would wake for the first of them, and the second sync would cover the rest.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::log_dirs::LogDir;
use crate::replica_manager::Partition;

/// Partitions of one directory that are synced at the same time. A disk gains by some depth; each is a thread.
const PARALLELISM: usize = 4;

/// The partitions of one log directory that have something to sync.
#[derive(Default)]
pub struct SyncQueue {
    state: Mutex<QueueState>,
    more: Condvar,
    /// Rounds that ended well, for tests and metrics.
    completed: AtomicUsize,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Partition>>,
    is_closed: bool,
}

impl SyncQueue {
    /// Adds a partition. The caller sees to it that it is in here once only.
    pub(crate) fn push(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.waiting.push_back(partition);
        drop(state);
        self.more.notify_one();
    }

    /// Adds a partition that the calling thread of the directory has just synced: it looks here next, so that a
    /// sleeper is woken only where others wait before it.
    fn push_back_own(&self, partition: Arc<Partition>) {
        let mut state = self.state.lock();
        state.waiting.push_back(partition);
        let others = state.waiting.len() > 1;
        drop(state);
        if others {
            self.more.notify_one();
        }
    }

    /// How many syncs have ended well.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.completed.load(Ordering::Relaxed)
    }

    /// How many partitions wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    fn pop(&self) -> Option<Arc<Partition>> {
        let mut state = self.state.lock();
        loop {
            if let Some(partition) = state.waiting.pop_front() {
                return Some(partition);
            }
            if state.is_closed {
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
    pub fn start(dir: Arc<LogDir>, failed: Arc<dyn Fn(&LogDir) + Send + Sync>) -> io::Result<Self> {
        let mut syncer = Self { dir, threads: Vec::with_capacity(PARALLELISM) };
        for number in 0..PARALLELISM {
            let (dir, failed) = (Arc::clone(&syncer.dir), Arc::clone(&failed));
            let thread = std::thread::Builder::new()
                .name(format!("sync-{number}"))
                .spawn(move || run(&dir, &*failed))?;
            syncer.threads.push(thread);
        }
        Ok(syncer)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.dir.sync.close();
        for thread in self.threads.drain(..) {
            // It has nothing to say beyond its end: a panic in it has aborted the process.
            let _ = thread.join();
        }
    }
}

thread_local! {
    /// What waits behind this thread's plug; `None` without one.
    static PLUGGED: RefCell<Option<Vec<Arc<Partition>>>> = const { RefCell::new(None) };
}

/// While it lives, the partitions that its thread appends to are kept from the queue; dropping it queues them. It must
/// not outlive a turn: no lock is taken and nothing awaited that another thread's append could be waiting behind.
#[must_use = "dropped at once it holds nothing back"]
pub(crate) struct SyncPlug {
    /// An outer plug of the same thread holds on.
    is_inner: bool,
    /// It belongs to its thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl SyncPlug {
    pub(crate) fn new() -> Self {
        let is_inner = PLUGGED.with_borrow_mut(|plugged| {
            let is_inner = plugged.is_some();
            plugged.get_or_insert_default();
            is_inner
        });
        Self { is_inner, _not_send: std::marker::PhantomData }
    }
}

impl Drop for SyncPlug {
    fn drop(&mut self) {
        if self.is_inner {
            return;
        }
        for partition in PLUGGED.take().into_iter().flatten() {
            partition.push_to_sync_queue();
        }
    }
}

/// Queues the partition now, or when the thread's plug is pulled.
pub(crate) fn push_or_hold(partition: &Arc<Partition>) {
    let is_held = PLUGGED.with_borrow_mut(|plugged| {
        plugged.as_mut().is_some_and(|held| {
            held.push(Arc::clone(partition));
            true
        })
    });
    if !is_held {
        partition.push_to_sync_queue();
    }
}

fn run(dir: &LogDir, failed: &(dyn Fn(&LogDir) + Send + Sync)) {
    while let Some(partition) = dir.sync.pop() {
        match partition.sync() {
            Ok(is_due_again) => {
                dir.sync.completed.fetch_add(1, Ordering::Relaxed);
                if is_due_again && partition.dir().id == dir.id {
                    dir.sync.push_back_own(partition);
                } else if is_due_again {
                    // It has moved.
                    partition.push_to_sync_queue();
                }
            }
            Err(error) => {
                let dir = &error.dir;
                if dir.log.take_offline(format!("sync of {} failed: {error}", partition.topic_partition())) {
                    tracing::error!(
                        path = %dir.log.path().display(), partition = %partition.topic_partition(), %error,
                        "sync failed, the log directory goes offline"
                    );
                }
                failed(dir);
            }
        }
    }
}
