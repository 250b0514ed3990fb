//! Makes records durable. Every append queues its partition; threads of their own take partitions off the queue and
//! sync them, several at a time. What is appended while a partition's sync runs is covered by the next one: group
//! commit falls out of the queue, across producers and across requests.
//!
//! A partition is in the queue at most once, and at most one ticket of it is out. A sync that fails is never repeated: the
//! kernel may have dropped the pages that it could not write, and the next sync would say that all is well.

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

    /// How many syncs have ended well.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.completed.load(Ordering::Relaxed)
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

fn run(dir: &LogDir, failed: &(dyn Fn(&LogDir) + Send + Sync)) {
    while let Some(partition) = dir.sync.pop() {
        match partition.sync() {
            Ok(()) => {
                dir.sync.completed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
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
