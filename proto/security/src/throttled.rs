//! What strangers can cause as often as they like is told to the log once in a while, with how often it was left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets so many lines through in each stretch of time.
#[derive(Debug)]
pub struct Throttled {
    every: Duration,
    lines_max: u32,
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Throttled {
    #[must_use]
    pub fn new(lines_max: u32, every: Duration) -> Self {
        Self { every, lines_max, lately: Mutex::default() }
    }

    /// Whether one more line may be told now; with how many were left out since the last one that was told.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut lately = self.lately.lock();
        if lately.since.is_none_or(|since| now.saturating_duration_since(since) >= self.every) {
            lately.since = Some(now);
            lately.told = 0;
        }
        if lately.told == self.lines_max {
            lately.left_out += 1;
            return None;
        }
        lately.told += 1;
        Some(std::mem::take(&mut lately.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let throttled = Throttled::new(20, Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!((0..1000).filter(|_| throttled.take(start).is_some()).count(), 20);
        let later = start + Duration::from_secs(1);
        assert_eq!(throttled.take(later), Some(980));
        assert_eq!(throttled.take(later), Some(0));
        assert_eq!(throttled.take(start), Some(0), "a clock that was read before another one");
    }
}
