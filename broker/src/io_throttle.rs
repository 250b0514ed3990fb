//! How fast background work may read and write: the cleaner's, and what moves logs between directories.

use std::time::{Duration, Instant};

/// The longest wait for one piece, however low the limit.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// What all threads together may read and write: each piece takes its time, one after the other.
#[derive(Debug, Default)]
pub(crate) struct IoThrottle {
    rate: Option<f64>,
    free_at: Option<Instant>,
}

impl IoThrottle {
    /// Until when whoever read or wrote so much waits. `None` for the rate is no limit.
    pub(crate) fn spend(&mut self, bytes: u64, rate: Option<f64>, now: Instant) -> Instant {
        if self.rate != rate {
            // Nothing is owed by an old limit.
            *self = Self { rate, free_at: None };
        }
        let Some(rate) = rate else { return now };
        let took = Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(WAIT_MAX);
        let begins = self.free_at.map_or(now, |free_at| free_at.max(now));
        let until = begins + took.min(WAIT_MAX);
        self.free_at = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_keep_to_the_rate() {
        let start = Instant::now();
        let mut throttle = IoThrottle::default();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(throttle.spend(100, Some(1000.0), at(0)), at(100));
        assert_eq!(throttle.spend(200, Some(1000.0), at(0)), at(300), "behind the first one");
        assert_eq!(throttle.spend(100, Some(1000.0), at(500)), at(600), "what was not used is gone");
        assert_eq!(throttle.spend(100, None, at(510)), at(510));
        assert_eq!(throttle.spend(100, Some(1000.0), at(520)), at(620), "no debt from before");
        assert_eq!(throttle.spend(100, Some(100.0), at(530)), at(1530), "nor by another limit");
        assert_eq!(throttle.spend(100, Some(1000.0), at(540)), at(640));
        assert!(throttle.spend(u64::MAX, Some(0.001), at(520)) <= at(640) + WAIT_MAX);
    }
}
