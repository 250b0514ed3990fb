//! A fetcher's thread. What the fetcher waits for, its leader, its inbox and the disk, it waits for here: nothing that it does
//! needs another thread to wake, and while it waits for the disk no worker does.

use std::pin::Pin;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

type Fetching = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs on it ends at its next wait when this is dropped.
pub(super) struct FetcherThread {
    ended: oneshot::Receiver<()>,
    /// Held, not used: dropping it is the word to end.
    _wanted: oneshot::Sender<()>,
}

impl FetcherThread {
    /// Where no thread can be had `fetching` is a task of the runtime in which this is called.
    pub(super) fn start(name: String, fetching: impl Future<Output = ()> + Send + 'static) -> Self {
        let (wanted, unwanted) = oneshot::channel::<()>();
        let (running, ended) = oneshot::channel::<()>();
        let fetching: Fetching = Box::pin(async move {
            tokio::select! {
                () = fetching => {}
                _ = unwanted => {}
            }
            drop(running);
        });
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
                let _ = give.send((runtime, fetching));
            }
            Err(error) => {
                tracing::error!(%error, "no thread for a fetcher, it shares those of connections");
                tokio::spawn(fetching);
            }
        }
        Self { ended, _wanted: wanted }
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
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
        let mut thread = FetcherThread::start("fetcher-test".to_owned(), async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(Duration::from_millis(1));
            let thread = std::thread::current();
            tell.send((thread.id() != caller, thread.name().map(str::to_owned))).unwrap();
        });
        let told = tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
        assert_eq!(told, (true, Some("fetcher-test".to_owned())));
        tokio::time::timeout(LIMIT, thread.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn it_ends_when_nobody_wants_it_any_more() {
        let (held, released) = oneshot::channel::<()>();
        let thread = FetcherThread::start("fetcher-test".to_owned(), async move {
            let _held = held;
            std::future::pending().await
        });
        drop(thread);
        assert!(tokio::time::timeout(LIMIT, released).await.unwrap().is_err(), "what it held is gone");
    }
}
