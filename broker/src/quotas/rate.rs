//! How much a client took of late, by Kafka's sampled rate, and for how long it has to wait. Pure.

use std::collections::VecDeque;

use moldau_model::TimestampMs;

/// Over which time a rate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// `quota.window.num`: whole samples, and the one that has begun.
    pub(crate) samples: u32,
    /// `quota.window.size.seconds`, in milliseconds.
    pub(crate) sample_ms: i64,
}

impl Window {
    pub(crate) fn length_ms(self) -> i64 {
        i64::from(self.samples).saturating_mul(self.sample_ms)
    }
}

/// What was counted within the window, in samples of fixed length.
///
/// The rate is over the time since the oldest sample began, and over the window without its last sample at least: else the
/// first request after a pause would look like a flood. A sample counts while something of it happened within the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct SampledRate {
    /// The oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    begun: TimestampMs,
    last: TimestampMs,
    amount: f64,
}

impl SampledRate {
    /// Counts an amount; one below zero takes back what was counted at the same time.
    pub(crate) fn record(&mut self, amount: f64, window: Window, now: TimestampMs) {
        self.forget_old(window, now);
        match self.samples.back_mut() {
            Some(sample) if now.0.saturating_sub(sample.begun.0) < window.sample_ms => {
                sample.last = now;
                sample.amount += amount;
            }
            _ => self.samples.push_back(Sample { begun: now, last: now, amount }),
        }
    }

    /// For how long nothing more may come until the rate is no more than `limit` a second: 0 where it is not.
    pub(crate) fn throttle_ms(&mut self, limit: f64, window: Window, now: TimestampMs) -> f64 {
        self.forget_old(window, now);
        let Some(oldest) = self.samples.front() else { return 0.0 };
        let elapsed_ms = now.0.saturating_sub(oldest.begun.0).max(0);
        let least = i64::from(window.samples) - 1;
        let missing = (least - elapsed_ms / window.sample_ms).max(0);
        let elapsed_ms = (elapsed_ms + missing * window.sample_ms).max(1) as f64;
        let amount: f64 = self.samples.iter().map(|sample| sample.amount).sum();
        let rate = amount * 1000.0 / elapsed_ms;
        if rate <= limit {
            return 0.0;
        }
        ((rate - limit) / limit * elapsed_ms).round()
    }

    /// Whether anything still counts.
    pub(crate) fn is_idle(&self, window: Window, now: TimestampMs) -> bool {
        self.samples.back().is_none_or(|sample| now.0.saturating_sub(sample.last.0) >= window.length_ms())
    }

    fn forget_old(&mut self, window: Window, now: TimestampMs) {
        let is_old = |sample: &Sample| now.0.saturating_sub(sample.last.0) >= window.length_ms();
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { samples: 11, sample_ms: 1000 };

    /// At a limit of 100 a second: what comes when, and for how long to wait right after it.
    fn check(story: &[(i64, f64, f64)]) {
        let mut rate = SampledRate::default();
        for &(now, amount, expected) in story {
            let now = TimestampMs(now);
            rate.record(amount, WINDOW, now);
            assert_eq!(rate.throttle_ms(100.0, WINDOW, now), expected, "at {now:?} of {story:?}");
            assert!(rate.samples.len() <= 12, "bounded by the window");
        }
    }

    #[test]
    fn a_burst_may_be_as_large_as_the_whole_samples_of_the_window() {
        check(&[(0, 1000.0, 0.0), (0, 1.0, 10.0), (5, 0.0, 5.0), (10, 0.0, 0.0)]);
        // Five times as much takes as long as the rest of it at the limit.
        check(&[(0, 5000.0, 40_000.0)]);
    }

    #[test]
    fn a_client_below_its_limit_never_waits_and_one_above_it_does() {
        let at = |amount: f64| (0..200).map(move |n| (n * 500, amount)).collect::<Vec<_>>();
        check(&at(45.0).into_iter().map(|(now, amount)| (now, amount, 0.0)).collect::<Vec<_>>());
        let mut rate = SampledRate::default();
        let waits = at(60.0).into_iter().filter(|(now, amount)| {
            rate.record(*amount, WINDOW, TimestampMs(*now));
            rate.throttle_ms(100.0, WINDOW, TimestampMs(*now)) > 0.0
        });
        assert!(waits.count() > 100);
    }

    #[test]
    fn what_is_taken_back_or_has_left_the_window_does_not_count() {
        check(&[(0, 3000.0, 20_000.0), (0, -3000.0, 0.0), (0, 900.0, 0.0)]);
        check(&[(0, 9000.0, 80_000.0), (10_999, 0.0, 79_001.0), (11_999, 1000.0, 0.0)]);
        let mut rate = SampledRate::default();
        assert!(rate.is_idle(WINDOW, TimestampMs(0)));
        rate.record(1.0, WINDOW, TimestampMs(0));
        assert!(!rate.is_idle(WINDOW, TimestampMs(10_999)) && rate.is_idle(WINDOW, TimestampMs(11_000)));
    }
}
