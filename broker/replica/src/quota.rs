//! How many bytes a second replication may take (KIP-73).

use std::collections::VecDeque;

use moldau_model::TimestampMs;

/// The rate that no limit stands for.
const UNLIMITED: i64 = i64::MAX;

/// A bound of bytes a second, and what was counted against it of late.
///
/// The rate is Kafka's: bytes are counted in samples of fixed length, and divided by the time since the oldest sample that
/// still counts began, one sample's length at least. A sample counts while something of it happened within the window. A
/// response is counted when it is sent, so that the first one after a pause passes whatever its size, and the window's
/// length bounds for how long it is paid off.
#[derive(Clone, Debug)]
pub struct ReplicationQuota {
    bytes_per_second_max: i64,
    /// `replication.quota.window.num`.
    samples_max: usize,
    /// `replication.quota.window.size.seconds`.
    sample_ms: i64,
    /// The oldest first: those within the window, and one that began before it.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    begun: TimestampMs,
    last: TimestampMs,
    bytes: u64,
}

impl ReplicationQuota {
    /// Without a limit.
    #[must_use]
    pub fn new(samples_max: usize, sample_ms: i64) -> Self {
        let (samples_max, sample_ms) = (samples_max.max(1), sample_ms.max(1));
        Self { bytes_per_second_max: UNLIMITED, samples_max, sample_ms, samples: VecDeque::new() }
    }

    /// The limit from now on, over what was counted before as well. The largest number is none.
    pub fn set_limit(&mut self, bytes_per_second_max: i64) {
        self.bytes_per_second_max = bytes_per_second_max;
    }

    /// So many bytes are counted.
    pub fn record(&mut self, bytes: usize, now: TimestampMs) {
        let window_ms = self.window_ms();
        while self.samples.front().is_some_and(|sample| !counts(sample, window_ms, now)) {
            self.samples.pop_front();
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.samples.back_mut() {
            Some(sample) if now.0.saturating_sub(sample.begun.0) < self.sample_ms => {
                sample.last = now;
                sample.bytes = sample.bytes.saturating_add(bytes);
            }
            _ => self.samples.push_back(Sample { begun: now, last: now, bytes }),
        }
    }

    /// Whether more was counted than the limit allows.
    #[must_use]
    pub fn is_exceeded(&self, now: TimestampMs) -> bool {
        if self.bytes_per_second_max == UNLIMITED {
            return false;
        }
        let window_ms = self.window_ms();
        let mut counted = self.samples.iter().filter(|sample| counts(sample, window_ms, now)).peekable();
        let Some(oldest) = counted.peek() else { return false };
        let elapsed_ms = now.0.saturating_sub(oldest.begun.0).max(self.sample_ms);
        let bytes: i128 = counted.map(|sample| i128::from(sample.bytes)).sum();
        bytes * 1000 > i128::from(self.bytes_per_second_max) * i128::from(elapsed_ms)
    }

    fn window_ms(&self) -> i64 {
        i64::try_from(self.samples_max).unwrap_or(i64::MAX).saturating_mul(self.sample_ms)
    }
}

fn counts(sample: &Sample, window_ms: i64, now: TimestampMs) -> bool {
    now.0.saturating_sub(sample.last.0) < window_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens at a moment: so many bytes, and whether the quota is exceeded right after them.
    fn check(limit: i64, story: &[(i64, usize, bool)]) {
        let mut quota = ReplicationQuota::new(11, 1000);
        quota.set_limit(limit);
        for &(now, bytes, expected) in story {
            if bytes > 0 {
                quota.record(bytes, TimestampMs(now));
            }
            assert_eq!(quota.is_exceeded(TimestampMs(now)), expected, "at {now} of {story:?}");
        }
        assert!(quota.samples.len() <= 12, "bounded by the window");
    }

    #[test]
    fn the_rate_is_over_the_time_since_the_oldest_sample_and_never_over_less_than_one() {
        // The first second counts as one whole, and the limit itself is allowed.
        check(1000, &[(0, 0, false), (5, 1000, false), (6, 1, true), (1005, 0, true), (1006, 0, false)]);
        // Ten times too much takes ten seconds.
        check(1000, &[(0, 10_000, true), (5_000, 0, true), (9_999, 0, true), (10_000, 0, false)]);
        // A steady load, of which the window has half a second more than its time, and one that is always above.
        let steady: Vec<_> = (0..100).map(|n| (n * 500, 500, false)).collect();
        check(1500, &steady);
        let above: Vec<_> = (0..100).map(|n| (n * 500, 600, n >= 1)).collect();
        check(1000, &above);
    }

    #[test]
    fn what_left_the_window_does_not_count_any_more() {
        // At a byte a second one response is paid off by the window's end, whatever its size.
        check(1, &[(0, 1 << 30, true), (10_999, 0, true), (11_000, 0, false), (11_001, 1 << 30, true)]);
        // Each sample leaves on its own, and the time is that since the oldest of the rest.
        check(10, &[(0, 1000, true), (6_000, 10, true), (11_000, 0, false), (16_999, 0, false)]);
        // Nothing at all may pass but what passes before anything was counted.
        check(0, &[(0, 0, false), (1, 1, true), (11_000, 0, true), (11_001, 0, false)]);
    }

    #[test]
    fn many_samples_are_as_many_as_the_window_has() {
        let story: Vec<_> = (0..1000).map(|n| (n * 1000, 1, false)).collect();
        check(10, &story);
    }

    #[test]
    fn a_new_limit_counts_at_once_over_what_was_counted_before() {
        let mut quota = ReplicationQuota::new(11, 1000);
        let now = TimestampMs(5);
        quota.record(usize::MAX, now);
        quota.record(usize::MAX, now);
        assert!(!quota.is_exceeded(now), "there is no limit");
        quota.set_limit(i64::MAX - 1);
        assert!(quota.is_exceeded(now));
        quota.set_limit(i64::MAX);
        assert!(!quota.is_exceeded(now));
    }
}
