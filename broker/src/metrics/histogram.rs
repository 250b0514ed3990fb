//! A histogram of durations: two relaxed additions for each, and buckets that double.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first bucket holds what took up to 2^6 = 64 microseconds.
const FIRST_BOUND_LOG2: u32 = 6;
/// The last bound is 2^24 microseconds, 16.8 s: longer than what clients wait for by default is a bucket of its own.
const BOUNDS: usize = 19;

/// Durations, counted in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is beyond the last.
    buckets: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

/// What a histogram had counted at some moment. Counts that are taken while others are added may be one apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    buckets: [u64; BOUNDS + 1],
    sum_us: u64,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|index| {
                self.buckets.get(index).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
            }),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// The first bucket whose bound is not below `us`.
fn bucket_of(us: u64) -> usize {
    let bits = u64::BITS - us.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(FIRST_BOUND_LOG2) as usize).min(BOUNDS)
}

fn bound_us(bucket: usize) -> u64 {
    1 << (FIRST_BOUND_LOG2 as usize + bucket)
}

impl Snapshot {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Each bound in seconds, with how many took no longer than that.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.buckets.iter().take(BOUNDS).scan(0, |count, bucket| {
            *count += bucket;
            Some(*count)
        });
        counts.enumerate().map(|(bucket, count)| (bound_us(bucket) as f64 / 1e6, count))
    }

    /// The duration in milliseconds that so large a part of all did not exceed, as far as buckets tell: straight lines
    /// between their bounds. 0 where nothing was counted.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = quantile * self.count() as f64;
        let mut before = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            if count > 0 && (before + count) as f64 >= rank {
                let lower = if bucket == 0 { 0 } else { bound_us(bucket - 1) };
                let upper = if bucket < BOUNDS { bound_us(bucket) } else { lower };
                let part = ((rank - before as f64) / count as f64).clamp(0.0, 1.0);
                return (lower as f64 + (upper - lower) as f64 * part) / 1e3;
            }
            before += count;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_took_no_longer_than_its_bound() {
        for (us, bucket) in
            [(0, 0), (1, 0), (64, 0), (65, 1), (128, 1), (129, 2), (1 << 24, 18), ((1 << 24) + 1, 19)]
        {
            assert_eq!(bucket_of(us), bucket, "{us}");
        }
        assert_eq!(bucket_of(u64::MAX), BOUNDS);
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_holds_them() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile_ms(0.99), 0.0);
        for _ in 0..99 {
            histogram.record(Duration::from_micros(100));
        }
        histogram.record(Duration::from_secs(100));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 100);
        let half = snapshot.quantile_ms(0.5);
        assert!((0.064..=0.128).contains(&half), "{half}");
        assert!(snapshot.quantile_ms(0.999) >= 16_000.0);
        assert!((snapshot.sum_seconds() - 100.0099).abs() < 1e-6);
        assert_eq!(snapshot.cumulative().last(), Some((16.777216, 99)));
    }
}
