//! A fetch that waits for records: parked at its partitions, poked by them, never polling.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::plug::{Held, Plug, hold};

/// How long a follower's fetch goes on waiting for records once it has something else to tell: that the high watermark
/// or the log's start moved. Under load the next records carry that along, and an answer of its own is saved.
const NEWS_DELAY: Duration = Duration::from_millis(10);

/// What the partitions of one parked fetch know of it.
pub struct FetchWaiter {
    missing_bytes: AtomicI64,
    is_woken: AtomicBool,
    has_news: AtomicBool,
    is_superseded: AtomicBool,
    poked: Notify,
}

/// How a parked fetch's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// It looks at its partitions again.
    Woken,
    /// It answers with what there is: its time is over, or there is news that has waited long enough, or the same
    /// session asked again.
    Over,
}

thread_local! {
    static WOKEN: Held<Arc<FetchWaiter>> = const { RefCell::new(None) };
}

/// Keeps fetches that its thread wakes asleep until it is dropped: they then find all that was appended meanwhile.
pub(crate) fn plug_fetches() -> Plug<Arc<FetchWaiter>> {
    Plug::new(&WOKEN, |woken| woken.iter().for_each(|fetch| fetch.poked.notify_one()))
}

impl FetchWaiter {
    /// Parks until this many more bytes can be read, or something else happens to a partition.
    #[must_use]
    pub fn new(missing_bytes: i64) -> Self {
        Self {
            missing_bytes: AtomicI64::new(missing_bytes.max(1)),
            is_woken: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            is_superseded: AtomicBool::new(false),
            poked: Notify::new(),
        }
    }

    /// So many more bytes can be read. `true` once the fetch is awake: its partitions may forget it.
    pub(crate) fn add_bytes(&self, bytes: i64) -> bool {
        let before = self.missing_bytes.fetch_sub(bytes, Ordering::AcqRel);
        before <= bytes || self.is_woken.load(Ordering::Acquire)
    }

    /// Wakes the fetch, which looks at all its partitions again: now, or when the thread's plug is pulled.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        if let Some(unheld) = hold(&WOKEN, Arc::clone(self)) {
            unheld.poked.notify_one();
        }
    }

    /// There is something to tell that is worth no haste.
    pub(crate) fn note_news(&self) {
        if !self.has_news.swap(true, Ordering::AcqRel) {
            self.poked.notify_one();
        }
    }

    /// The fetch's session has asked again: nobody waits for this answer any more.
    pub(crate) fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Release);
        self.poked.notify_one();
    }

    /// Waits for a poke, until `deadline` at the latest.
    pub(crate) async fn wait(&self, deadline: Instant) -> WaitEnd {
        let mut deadline = deadline;
        let mut has_seen_news = false;
        loop {
            if self.is_superseded.load(Ordering::Acquire) {
                return WaitEnd::Over;
            }
            if self.is_woken.load(Ordering::Acquire) {
                return WaitEnd::Woken;
            }
            if !has_seen_news && self.has_news.load(Ordering::Acquire) {
                has_seen_news = true;
                deadline = deadline.min(Instant::now() + NEWS_DELAY);
            }
            if tokio::time::timeout_at(deadline, self.poked.notified()).await.is_err() {
                return WaitEnd::Over;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fetch_behind_a_plug_wakes_when_it_is_pulled() {
        const A_WHILE: Duration = Duration::from_secs(60);
        let waiter = Arc::new(FetchWaiter::new(1));
        let waiting = {
            let waiter = Arc::clone(&waiter);
            tokio::spawn(async move { waiter.wait(Instant::now() + 2 * A_WHILE).await })
        };
        let poked = |waiter: &Arc<FetchWaiter>| {
            let _plug = plug_fetches();
            waiter.wake();
            assert!(waiter.is_woken.load(Ordering::Acquire), "so that its partitions may forget it");
        };
        tokio::task::yield_now().await;
        let start = Instant::now();
        poked(&waiter);
        assert_eq!(waiting.await.unwrap(), WaitEnd::Woken);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let waiter = Arc::new(FetchWaiter::new(1));
        {
            let _plug = plug_fetches();
            waiter.wake();
            let early = tokio::time::timeout(A_WHILE, waiter.poked.notified());
            assert!(futures::FutureExt::now_or_never(early).is_none(), "not before");
        }
        tokio::time::timeout(A_WHILE, waiter.poked.notified()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn news_waits_a_little_for_records_and_records_do_not_wait() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(60);
        let waiter = FetchWaiter::new(1);
        waiter.note_news();
        waiter.note_news();
        assert_eq!(waiter.wait(deadline).await, WaitEnd::Over);
        assert_eq!(start.elapsed(), NEWS_DELAY);
        let waiter = Arc::new(FetchWaiter::new(1));
        waiter.note_news();
        waiter.wake();
        assert_eq!(waiter.wait(deadline).await, WaitEnd::Woken);
        let waiter = FetchWaiter::new(1);
        waiter.supersede();
        assert_eq!(waiter.wait(deadline).await, WaitEnd::Over);
        assert_eq!(start.elapsed(), NEWS_DELAY);
        assert_eq!(FetchWaiter::new(1).wait(deadline).await, WaitEnd::Over);
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    }
}
