//! A fetch that waits for records: parked at its partitions, poked by them, never polling.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

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

    /// Wakes the fetch, which looks at all its partitions again.
    pub(crate) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        self.poked.notify_one();
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
    async fn news_waits_a_little_for_records_and_records_do_not_wait() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(60);
        let waiter = FetchWaiter::new(1);
        waiter.note_news();
        waiter.note_news();
        assert_eq!(waiter.wait(deadline).await, WaitEnd::Over);
        assert_eq!(start.elapsed(), NEWS_DELAY);
        let waiter = FetchWaiter::new(1);
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
