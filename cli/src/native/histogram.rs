//! Latencies in a fixed number of buckets, three per cent wide: what a percentile of millions of records is read from.

use std::time::Duration;

/// Below this many microseconds each has a bucket of its own; above, each power of two has so many.
const STEPS: u64 = 32;
const BUCKETS: usize = 64 * STEPS as usize;

/// How many records took how long.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: Duration::ZERO }
    }

    pub(super) fn add(&mut self, latency: Duration, count: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.counts.get_mut(bucket_of(micros)) {
            *bucket += count;
        }
        self.total += count;
        self.max = self.max.max(latency);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }

    /// What this share of the records took at most, in thousandths: 990 is the 99th percentile.
    pub(super) fn at(&self, thousandths: u64) -> Duration {
        let wanted = (self.total * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(top_of(bucket)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = u64::from(micros.ilog2());
    // The five bits below the highest one.
    let step = (micros >> (power - 5)) - STEPS;
    usize::try_from((power - 4) * STEPS + step).unwrap_or(BUCKETS - 1)
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS + 4, bucket % STEPS);
    ((STEPS + step + 1) << (power - 5)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_no_wider_than_a_few_per_cent() {
        for micros in [0, 1, 31, 32, 33, 100, 999, 12_345, 1_000_000, 3_600_000_000] {
            let top = top_of(bucket_of(micros));
            assert!(top >= micros && top - micros <= micros / 30 + 1, "{micros} is in a bucket up to {top}");
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::new();
        let mut other = Histogram::new();
        for ms in 1..=1000u64 {
            let into = if ms % 2 == 0 { &mut histogram } else { &mut other };
            into.add(Duration::from_millis(ms), 1);
        }
        histogram.merge(&other);
        for (thousandths, ms) in [(500, 500.0), (990, 990.0), (999, 999.0)] {
            let at = histogram.at(thousandths).as_secs_f64() * 1000.0;
            assert!((at - ms).abs() / ms < 0.04, "{thousandths}: {at} ms");
        }
        assert_eq!((histogram.at(1000), histogram.max()), (Duration::from_secs(1), Duration::from_secs(1)));
        assert_eq!(Histogram::new().at(500), Duration::ZERO);
    }
}
