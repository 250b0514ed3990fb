//! Counts of values in buckets that grow with the value: openraft keeps its run-time statistics in them.
//!
//! This stands in for the published crate of the same name, which at its first use makes tables for sixteen widths of
//! bucket, of which openraft uses one: 26 MB and tens of milliseconds in every process that starts a Raft node. Here a
//! bucket is computed, and only what openraft calls is there. See ADR 19.

use std::fmt;
use std::marker::PhantomData;

/// Two bits below the leading one tell four buckets apart in each power of two: within 25 % of the value.
const BITS: u32 = 2;
const PER_POWER: usize = 1 << BITS;
const BUCKETS: usize = (64 - BITS as usize + 1) * PER_POWER;

/// How often each bucket of values was recorded. `T` is what the published crate attaches to a period; always `()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    kind: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    #[must_use]
    pub fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), kind: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records the value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if let Some(bucket) = self.counts.get_mut(bucket_of(value)) {
            *bucket = bucket.saturating_add(count);
        }
    }

    /// How many values were recorded.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The least value of the bucket in which this share (0.0 to 1.0) of the values is reached; 0 of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share of a count needs no more")]
    pub fn percentile(&self, share: f64) -> u64 {
        let total = self.total();
        let mut sum: u64 = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            sum = sum.saturating_add(*count);
            if *count > 0 && sum as f64 >= total as f64 * share {
                return least_of(bucket);
            }
        }
        0
    }

    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// Values by the share of the samples that do not lie above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}")
    }
}

/// Several histograms to be printed: one line of percentiles each.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.rows.push((name.into(), histogram.percentile_stats()));
        self
    }

    /// There is one way to print it.
    #[must_use]
    pub const fn detailed(&self) -> &Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.rows {
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

/// Values below four are their own buckets; above, the leading one's place and the two bits behind it.
const fn bucket_of(value: u64) -> usize {
    if value < PER_POWER as u64 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros();
    let within = (value >> (power - BITS)) as usize & (PER_POWER - 1);
    (power - BITS + 1) as usize * PER_POWER + within
}

const fn least_of(bucket: usize) -> u64 {
    if bucket < PER_POWER {
        return bucket as u64;
    }
    let shift = bucket / PER_POWER - 1;
    ((bucket % PER_POWER + PER_POWER) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_least_value_and_what_lies_below_the_next_ones() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(least_of(bucket)), bucket);
            let last =
                least_of(bucket.saturating_add(1).min(BUCKETS - 1)).wrapping_sub(1).max(least_of(bucket));
            assert_eq!(bucket_of(last), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_the_least_values_of_their_buckets() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        for value in 1..=100 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p1, stats.p50, stats.p99), (100, 1, 48, 96));
        histogram.record_n(1 << 40, 900);
        assert_eq!((histogram.total(), histogram.percentile(0.5)), (1000, 1 << 40));
        let chart = AsciiChart::new().add("stage", histogram).detailed().to_string();
        assert!(chart.starts_with("stage: 1000 samples, p50 1099511627776"), "{chart}");
    }
}
