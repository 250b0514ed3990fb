//! How many bytes of large requests there may be in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that holds part of a request and gets no memory for the rest within this time ends.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The broker-wide budget for bytes of large requests; a permit is a byte.
///
/// Requests take of it as they arrive, so that many may each have a part and wait for the rest, which none of them gives back
/// before it has arrived whole. So one request at a time may come whole beside the budget: with it, some request can always
/// go on. (Kafka's budget is also exceeded by the request that exhausts it.)
#[derive(Clone, Debug)]
pub struct RequestMemory {
    budget: Arc<Semaphore>,
    bytes_max: usize,
    /// Who has the permit has a frame beside the budget.
    beside: Arc<Semaphore>,
    /// The frame of the last one who had it.
    beside_bytes: Arc<AtomicUsize>,
}

/// A request's part of the memory, given back on drop.
#[derive(Debug, Default)]
pub struct HeldMemory {
    budget: Option<OwnedSemaphorePermit>,
    beside: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    /// The budget is at least one largest request, or that one could never be served.
    #[must_use]
    pub fn new(bytes_max: usize, request_bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(request_bytes_max).min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(bytes_max));
        Self { budget, bytes_max, beside: Arc::new(Semaphore::new(1)), beside_bytes: Arc::default() }
    }

    /// How many bytes are taken, and how many there are.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let is_exceeded = self.beside.available_permits() == 0;
        let beside = if is_exceeded { self.beside_bytes.load(Ordering::Relaxed) } else { 0 };
        (self.bytes_max.saturating_sub(self.budget.available_permits()) + beside, self.bytes_max)
    }

    /// Has so much held of a frame of so many bytes, waiting for others to give theirs back; whether it came to that.
    pub(crate) async fn hold(&self, held: &mut HeldMemory, bytes: usize, frame_bytes: usize) -> bool {
        if self.hold_at_once(held, bytes) {
            return true;
        }
        let lacking = held.lacking(bytes);
        let waited = async {
            let beside = Arc::clone(&self.beside).acquire_owned();
            tokio::select! {
                biased;
                more = Arc::clone(&self.budget).acquire_many_owned(lacking) => more.map(|more| held.add(more)),
                permit = beside => permit.map(|permit| {
                    self.beside_bytes.store(frame_bytes, Ordering::Relaxed);
                    held.beside = Some(permit);
                }),
            }
        };
        matches!(Box::pin(tokio::time::timeout(MEMORY_WAIT_MAX, waited)).await, Ok(Ok(())))
    }

    /// The same without waiting, and within the budget: not where there is not so much, or others wait for theirs.
    pub(crate) fn hold_at_once(&self, held: &mut HeldMemory, bytes: usize) -> bool {
        let lacking = held.lacking(bytes);
        if lacking == 0 {
            return true;
        }
        let more = Arc::clone(&self.budget).try_acquire_many_owned(lacking);
        more.map(|more| held.add(more)).is_ok()
    }
}

impl HeldMemory {
    /// Its frame is beside the budget.
    pub(crate) fn is_beside(&self) -> bool {
        self.beside.is_some()
    }

    fn lacking(&self, bytes: usize) -> u32 {
        if self.beside.is_some() {
            return 0;
        }
        let held = self.budget.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(bytes.saturating_sub(held)).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.budget {
            Some(budget) => budget.merge(more),
            None => self.budget = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_BYTES: usize = 1000;

    /// Frames of which each has a part, and which together have all there is.
    async fn halves(memory: &RequestMemory, count: usize) -> Vec<HeldMemory> {
        let mut halves = Vec::new();
        for _ in 0..count {
            let mut half = HeldMemory::default();
            assert!(memory.hold(&mut half, FRAME_BYTES / 2, FRAME_BYTES).await);
            halves.push(half);
        }
        halves
    }

    #[tokio::test(start_paused = true)]
    async fn of_frames_that_have_each_a_part_one_after_the_other_goes_on() {
        let memory = RequestMemory::new(5 * FRAME_BYTES, FRAME_BYTES);
        let begun = tokio::time::Instant::now();
        let mut served = tokio::task::JoinSet::new();
        for mut half in halves(&memory, 10).await {
            let memory = memory.clone();
            served.spawn(async move {
                let is_held = memory.hold(&mut half, FRAME_BYTES, FRAME_BYTES).await;
                (is_held, memory.usage().0)
            });
        }
        while let Some(result) = served.join_next().await {
            let (is_held, taken) = result.unwrap();
            assert!(is_held, "none waits for those that wait");
            assert!(taken <= 6 * FRAME_BYTES, "{taken}");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(memory.usage(), (0, 5 * FRAME_BYTES));
    }

    #[tokio::test(start_paused = true)]
    async fn one_frame_at_a_time_is_beside_the_budget_and_the_next_waits_for_it_or_gives_up() {
        let memory = RequestMemory::new(FRAME_BYTES, FRAME_BYTES);
        let mut all = HeldMemory::default();
        assert!(memory.hold(&mut all, FRAME_BYTES, FRAME_BYTES).await);
        let (mut first, mut second) = (HeldMemory::default(), HeldMemory::default());
        assert!(!memory.hold_at_once(&mut first, 100), "only who waits may");
        assert!(memory.hold(&mut first, 100, 700).await);
        assert!(memory.hold(&mut first, 700, 700).await, "all of it");
        assert_eq!(memory.usage().0, FRAME_BYTES + 700);
        assert!(!memory.hold(&mut second, 100, 700).await);
        drop(first);
        assert_eq!(memory.usage().0, FRAME_BYTES);
        assert!(memory.hold(&mut second, 100, 700).await);
        drop((second, all));
        assert_eq!(memory.usage().0, 0);
    }
}
