//! A fetcher's thread. What the fetcher waits for, its leader, its inbox and the disk, it waits for here: nothing that it does
//! needs another thread to wake, and while it waits for the disk no worker does.

use std::pin::Pin;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

type Fetching = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs on it goes on to its end when this is dropped.
pub(super) struct FetcherThread {
    ended: oneshot::Receiver<()>,
    abort: oneshot::Sender<()>,
}

impl FetcherThread {
    /// `fetch` is told whether it has a thread of its own, where it may block. Where none can be had it is a task of the runtime in
    /// which this is called.
    pub(super) fn start<F>(name: String, fetch: impl FnOnce(bool) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (abort, aborted) = oneshot::channel::<()>();
        let (running, ended) = oneshot::channel::<()>();
        let fetching = |has_thread| -> Fetching {
            let fetching = fetch(has_thread);
            Box::pin(async move {
                tokio::select! {
                    () = fetching => {}
                    Ok(()) = aborted => {}
                }
                drop(running);
            })
        };
        // Given away once the thread is there: a thread that does not start would take it along.
        let (give, given) = mpsc::channel::<(Runtime, Fetching)>();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if let Ok((runtime, fetching)) = given.recv() {
                runtime.block_on(fetching);
            }
        });
        match thread.and_then(|_| Builder::new_current_thread().enable_all().build()) {
            Ok(runtime) => {
                // The thread waits for this alone.
                let _ = give.send((runtime, fetching(true)));
            }
            Err(error) => {
                tracing::error!(%error, "no thread for a fetcher, it shares those of connections");
                tokio::spawn(fetching(false));
            }
        }
        Self { ended, abort }
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Has it end at its next wait.
    pub(super) fn abort(self) {
        // It may have ended.
        let _ = self.abort.send(());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_runs_on_it_may_block_and_use_timers() {
        let caller = std::thread::current().id();
        let (tell, told) = oneshot::channel();
        let mut thread = FetcherThread::start("fetcher-test".to_owned(), |has_thread| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(Duration::from_millis(1));
            let thread = std::thread::current();
            let is_its_own = has_thread && thread.id() != caller;
            tell.send((is_its_own, thread.name().map(str::to_owned))).unwrap();
        });
        let told = tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
        assert_eq!(told, (true, Some("fetcher-test".to_owned())));
        tokio::time::timeout(LIMIT, thread.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_cut_short_by_an_abort_alone() {
        let start = || {
            let (told_to_end, end) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel();
            let thread = FetcherThread::start("fetcher-test".to_owned(), |_| async move {
                end.await.unwrap();
                tell.send(()).unwrap();
            });
            (thread, told_to_end, told)
        };
        let (thread, told_to_end, told) = start();
        drop(thread);
        told_to_end.send(()).unwrap();
        tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
        let (thread, _told_to_end, told) = start();
        thread.abort();
        assert!(tokio::time::timeout(LIMIT, told).await.unwrap().is_err(), "what it held is gone");
    }
}
