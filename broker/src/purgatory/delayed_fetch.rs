//! A fetch that waits for records: parked at its partitions, poked by them, never polling.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

/// What the partitions of one parked fetch know of it.
pub struct FetchWaiter {
    missing_bytes: AtomicI64,
    is_woken: AtomicBool,
    woken: Notify,
}

impl FetchWaiter {
    /// Parks until this many more bytes can be read, or something else happens to a partition.
    #[must_use]
    pub fn new(missing_bytes: i64) -> Self {
        Self {
            missing_bytes: AtomicI64::new(missing_bytes.max(1)),
            is_woken: AtomicBool::new(false),
            woken: Notify::new(),
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
        self.woken.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}
