//! The one thread that writes the Raft log.
//!
//! It takes all that waits, writes it in order, syncs once, and only then tells everybody, in order: group commit. After
//! the first failure it answers every later request with that failure, because what reached the disk is not known.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::kv::{RaftKv, Write};
use super::types::TypeConfig;

/// How many requests may wait. Raft bounds what it has in flight as well; this bounds the queue whatever it does.
const QUEUE_LENGTH: usize = 1024;
/// How many requests one sync serves at most.
const GROUP_LENGTH_MAX: usize = 256;

/// Who is told when a request is on disk, or that it failed.
pub(super) enum Done {
    /// Raft, of appended entries.
    Appended(IOFlushed<TypeConfig>),
    /// Whoever waits for it.
    Waiting(oneshot::Sender<io::Result<()>>),
    /// Nobody: what is written becomes durable with whatever is synced next.
    Unwatched,
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Self::Appended(callback) => callback.io_completed(result),
            // Who asked may have stopped waiting.
            Self::Waiting(sender) => drop(sender.send(result)),
            Self::Unwatched => {}
        }
    }
}

struct Request {
    writes: Vec<Write>,
    /// Whether the request must be durable before it is answered.
    sync: bool,
    done: Done,
}

/// The thread's queue. Dropping it stops the thread once it has written what it was given.
pub(super) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// `written` is told the highest index that readers find in the store, after each group of writes.
    pub(super) fn spawn(store: Arc<dyn RaftKv>, written: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE_LENGTH);
        let thread = std::thread::Builder::new()
            .name("metadata-log".into())
            .spawn(move || run(&*store, queue, written))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Queues writes behind all earlier ones. With `sync` they are durable when `done` is told.
    pub(super) async fn write(&self, writes: Vec<Write>, sync: bool, done: Done) -> io::Result<()> {
        let stopped = || io::Error::new(io::ErrorKind::BrokenPipe, "the metadata log's writer has stopped");
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(Request { writes, sync, done }).await.map_err(|_| stopped())
    }

    /// Queues writes and waits until they are done, with `sync` durably.
    pub(super) async fn write_and_wait(&self, writes: Vec<Write>, sync: bool) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.write(writes, sync, Done::Waiting(sender)).await?;
        receiver.await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "the metadata log's writer has stopped"))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and its requests were answered by the drop of their senders.
            drop(thread.join());
        }
    }
}

fn run(store: &dyn RaftKv, mut queue: mpsc::Receiver<Request>, written: impl Fn(u64)) {
    let mut failure: Option<io::Error> = None;
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_LENGTH_MAX
            && let Ok(request) = queue.try_recv()
        {
            group.push(request);
        }
        if failure.is_none() {
            match write_group(store, &mut group, &written) {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "the metadata log cannot be written; this controller stops");
                    failure = Some(error);
                }
            }
        }
        for request in group {
            request.done.tell(failure.as_ref().map_or(Ok(()), |error| Err(copy(error))));
        }
    }
}

fn write_group(store: &dyn RaftKv, group: &mut [Request], written: &impl Fn(u64)) -> io::Result<()> {
    let writes: Vec<Write> = group.iter_mut().flat_map(|request| request.writes.drain(..)).collect();
    store.write(&writes)?;
    let last = writes.iter().rev().find_map(|write| match write {
        Write::Append { index, .. } => Some(*index),
        _ => None,
    });
    if group.iter().any(|request| request.sync) {
        store.sync()?;
    }
    if let Some(last) = last {
        written(last);
    }
    Ok(())
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
