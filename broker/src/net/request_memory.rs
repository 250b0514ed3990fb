//! How many bytes of large requests there may be in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that holds part of a request and gets no memory for the rest within this time ends, or connections that
/// each hold a part could wait for one another for ever.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The broker-wide budget for bytes of large requests; a permit is a byte.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    semaphore: Arc<Semaphore>,
    bytes_max: usize,
}

impl RequestMemory {
    /// The budget is at least one largest request, or that one could never be served.
    #[must_use]
    pub fn new(bytes_max: usize, request_bytes_max: usize) -> Self {
        let permits = bytes_max.max(request_bytes_max).min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(permits)), bytes_max: permits }
    }

    /// How many bytes are taken, and how many there are.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.bytes_max.saturating_sub(self.semaphore.available_permits()), self.bytes_max)
    }

    /// Takes part of the budget, waiting for others to give theirs back. `None` after a long wait in vain.
    pub(super) async fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.semaphore).acquire_many_owned(bytes);
        Box::pin(tokio::time::timeout(MEMORY_WAIT_MAX, acquire)).await.ok()?.ok()
    }

    /// The same without waiting: `None` where there is not so much, or others wait for theirs.
    pub(super) fn try_acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.semaphore).try_acquire_many_owned(bytes).ok()
    }
}
