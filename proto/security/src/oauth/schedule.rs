//! When keys are fetched next. Pure: times are on a clock that only goes forward.

use std::collections::VecDeque;
use std::time::Duration;

use moldau_metadata::config::security::KeysEndpoint;

/// A key that is not there is asked for once in so long, as in Kafka: the provider may not have it yet, or never.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
/// So many of them are remembered, and none that is longer, as in Kafka.
const MISSING_MAX: usize = 16;
const KEY_ID_BYTES_MAX: usize = 1000;
/// Between two fetches, whatever tokens name: strangers make up as many keys as they like, which Kafka fetches for each time.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    backoff: Duration,
    backoff_max: Duration,
    failures: u32,
    fetched_at: Duration,
    due: Duration,
    /// Keys that are not there, the one asked for last at the end, and until when they are not asked for again.
    missing: VecDeque<(String, Duration)>,
}

impl Schedule {
    /// Fetches at once.
    pub(super) const fn new(endpoint: &KeysEndpoint) -> Self {
        Self {
            refresh: endpoint.refresh,
            backoff: endpoint.retry_backoff,
            backoff_max: endpoint.retry_backoff_max,
            failures: 0,
            fetched_at: Duration::ZERO,
            due: Duration::ZERO,
            missing: VecDeque::new(),
        }
    }

    pub(super) const fn due(&self) -> Duration {
        self.due
    }

    pub(super) fn succeeded(&mut self, now: Duration) {
        self.failures = 0;
        self.fetched_at = now;
        self.due = now.saturating_add(self.refresh);
    }

    /// It is tried again, ever more seldom, and not less often than otherwise.
    pub(super) fn failed(&mut self, now: Duration) {
        let backoff = self.backoff.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.fetched_at = now;
        self.due = now.saturating_add(backoff.min(self.backoff_max).min(self.refresh));
    }

    /// A token names a key that is not there. Whether it is fetched sooner for that.
    pub(super) fn ask_for(&mut self, key_id: &str, now: Duration) -> bool {
        self.missing.retain(|(_, until)| *until > now);
        if key_id.len() > KEY_ID_BYTES_MAX || self.missing.iter().any(|(known, _)| known == key_id) {
            return false;
        }
        if self.missing.len() == MISSING_MAX {
            self.missing.pop_front();
        }
        self.missing.push_back((key_id.to_owned(), now.saturating_add(ASKED_AGAIN)));
        let soon = now.max(self.fetched_at.saturating_add(PAUSE_MIN));
        let is_sooner = soon < self.due;
        self.due = self.due.min(soon);
        is_sooner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn schedule() -> Schedule {
        Schedule {
            refresh: seconds(3600),
            backoff: Duration::from_millis(100),
            backoff_max: seconds(10),
            failures: 0,
            fetched_at: Duration::ZERO,
            due: Duration::ZERO,
            missing: VecDeque::new(),
        }
    }

    #[test]
    fn failures_are_tried_again_ever_more_seldom_and_forever() {
        let mut schedule = schedule();
        let mut pauses = Vec::new();
        for _ in 0..100 {
            schedule.failed(seconds(1));
            pauses.push((schedule.due() - seconds(1)).as_millis());
        }
        assert_eq!(pauses[..8], [100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert_eq!(pauses[99], 10_000);
        schedule.succeeded(seconds(2));
        assert_eq!(schedule.due(), seconds(3602));
        schedule.failed(seconds(3602));
        assert_eq!(schedule.due(), seconds(3602) + Duration::from_millis(100));
    }

    #[test]
    fn a_key_that_is_not_there_is_fetched_for_once_a_minute() {
        let mut schedule = schedule();
        schedule.succeeded(seconds(0));
        assert!(schedule.ask_for("a", seconds(100)));
        assert_eq!(schedule.due(), seconds(100), "at once");
        schedule.succeeded(seconds(100));
        assert!(!schedule.ask_for("a", seconds(159)));
        assert_eq!(schedule.due(), seconds(3700));
        assert!(schedule.ask_for("a", seconds(160)));
    }

    #[test]
    fn made_up_keys_are_fetched_for_no_more_often_than_the_pause_and_take_no_memory() {
        let mut schedule = schedule();
        let mut fetches = 0;
        for ms in 0..60_000 {
            let now = Duration::from_millis(ms);
            if schedule.due() <= now {
                fetches += 1;
                schedule.succeeded(now);
            }
            schedule.ask_for(&format!("key-{ms}"), now);
        }
        assert_eq!(fetches, 12);
        assert_eq!(schedule.missing.len(), MISSING_MAX);
        assert!(!schedule.ask_for(&"x".repeat(KEY_ID_BYTES_MAX + 1), seconds(120)));
    }
}
