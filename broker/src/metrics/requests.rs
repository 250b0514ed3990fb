//! Requests, by API key: how many, and how long they took.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::{Histogram, Snapshot};

/// One more than the largest API key that Kafka has.
const KEYS: usize = 96;

/// The requests of one broker.
#[derive(Debug)]
pub struct RequestMetrics {
    by_key: Box<[OfKey]>,
}

#[derive(Debug, Default)]
struct OfKey {
    total: Histogram,
    /// In the handler, before anything was waited for.
    local: Histogram,
    /// Of requests whose answers waited: for durability, for records, for others.
    remote: Histogram,
    waiting: AtomicI64,
    /// Requests that ended their connection instead of being answered.
    refused: AtomicU64,
    errors: AtomicU64,
}

/// When a request came, and how long its handler took.
#[derive(Clone, Copy, Debug)]
pub struct RequestTiming {
    pub api_key: i16,
    pub received_at: Instant,
    pub local: Duration,
}

/// What one key has counted.
#[derive(Clone, Debug)]
pub struct KeySnapshot {
    pub api_key: i16,
    pub total: Snapshot,
    pub local: Snapshot,
    pub remote: Snapshot,
    pub waiting: i64,
    pub refused: u64,
    pub errors: u64,
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It was there when the handler returned.
    None,
    /// It was waited for.
    Waited,
}

impl RequestTiming {
    /// Of a request that has taken no time yet.
    #[must_use]
    pub fn begun(api_key: i16, received_at: Instant) -> Self {
        Self { api_key, received_at, local: Duration::ZERO }
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { by_key: (0..KEYS).map(|_| OfKey::default()).collect() }
    }
}

impl RequestMetrics {
    fn of(&self, api_key: i16) -> Option<&OfKey> {
        self.by_key.get(usize::try_from(api_key).ok()?)
    }

    /// The answer goes to the socket at `now`, or there is none to give.
    pub(crate) fn answered(&self, timing: RequestTiming, waiting: Waiting, now: Instant) {
        let Some(of_key) = self.of(timing.api_key) else { return };
        let total = now.saturating_duration_since(timing.received_at);
        of_key.total.record(total);
        of_key.local.record(timing.local);
        if waiting == Waiting::Waited {
            of_key.remote.record(total.saturating_sub(timing.local));
        }
    }

    /// An answer begins to be waited for, or is there.
    pub(crate) fn wait(&self, api_key: i16, more: i64) {
        if let Some(of_key) = self.of(api_key) {
            of_key.waiting.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The request ended its connection.
    pub(crate) fn refused(&self, api_key: i16) {
        if let Some(of_key) = self.of(api_key) {
            of_key.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The answer tells of so many errors.
    pub(crate) fn errors(&self, api_key: i16, count: u64) {
        if let Some(of_key) = self.of(api_key).filter(|_| count > 0) {
            of_key.errors.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The keys that were asked for, in their order.
    pub fn snapshots(&self) -> impl Iterator<Item = KeySnapshot> {
        self.by_key.iter().enumerate().filter_map(|(key, of_key)| {
            let snapshot = KeySnapshot {
                api_key: i16::try_from(key).ok()?,
                total: of_key.total.snapshot(),
                local: of_key.local.snapshot(),
                remote: of_key.remote.snapshot(),
                waiting: of_key.waiting.load(Ordering::Relaxed),
                refused: of_key.refused.load(Ordering::Relaxed),
                errors: of_key.errors.load(Ordering::Relaxed),
            };
            let is_used = snapshot.total.count() > 0 || snapshot.waiting != 0 || snapshot.refused > 0;
            is_used.then_some(snapshot)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_its_handlers_and_what_it_waited() {
        let metrics = RequestMetrics::default();
        let received_at = Instant::now();
        let now = received_at + Duration::from_millis(30);
        let timing = RequestTiming { api_key: 0, received_at, local: Duration::from_millis(10) };
        metrics.answered(timing, Waiting::Waited, now);
        metrics.answered(RequestTiming { api_key: 3, ..timing }, Waiting::None, now);
        metrics.answered(RequestTiming { api_key: -1, ..timing }, Waiting::None, now);
        metrics.answered(RequestTiming { api_key: i16::MAX, ..timing }, Waiting::None, now);
        let all: Vec<KeySnapshot> = metrics.snapshots().collect();
        assert_eq!(all.iter().map(|of_key| of_key.api_key).collect::<Vec<_>>(), [0, 3]);
        let sums =
            |of: &KeySnapshot| (of.total.sum_seconds(), of.local.sum_seconds(), of.remote.sum_seconds());
        assert_eq!(sums(&all[0]), (0.03, 0.01, 0.02));
        assert_eq!(sums(&all[1]), (0.03, 0.01, 0.0));
    }
}
