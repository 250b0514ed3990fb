//! When the next sync of a partition begins: at once where one producer waits for it, a little later where several do.
//!
//! A fast disk ends a sync before those that it answered have sent anything again. A sync that began at once would cover
//! one or two appends, and each costs the processor and the disk as much as one that covers ten. So the next one waits
//! until half of those have appended that were seen to wait at the same time; the other half overlaps with it. It never
//! waits for longer than the last sync took: whoever appended is answered in at most twice the time.

use std::time::{Duration, Instant};

/// Nobody is made to wait for longer than this for others, however slow the disk.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// What is known of a partition's appends and syncs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Appends since the last sync began.
    waiting: usize,
    /// Appends that the sync under way covers, or the last one did.
    covered: usize,
    /// About how many appends were without a durable end at the same time.
    crowd: usize,
}

impl Pace {
    pub(super) fn note_append(&mut self) {
        self.waiting += 1;
    }

    /// A sync begins, over all that was appended so far.
    pub(super) fn note_begin(&mut self) {
        self.covered = std::mem::take(&mut self.waiting);
    }

    /// It took so long and ended now. Returns until when the next one waits for more to come; `None` if it need not.
    pub(super) fn note_end(&mut self, now: Instant, took: Duration) -> Option<Instant> {
        let seen = self.covered + self.waiting;
        // Up at once, down slowly: a crowd that comes in two halves is one.
        self.crowd = seen.max(self.crowd - self.crowd.saturating_sub(seen).div_ceil(8));
        (!self.is_enough()).then(|| now + took.min(WAIT_MAX))
    }

    /// Whether as many have appended as are worth a sync.
    pub(super) fn is_enough(&self) -> bool {
        self.crowd < 2 || self.waiting > self.crowd / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(200);

    /// Appends, one sync over them, and appends that come while it runs.
    fn round(pace: &mut Pace, before: usize, during: usize) -> Option<Duration> {
        let now = Instant::now();
        for _ in 0..before {
            pace.note_append();
        }
        pace.note_begin();
        for _ in 0..during {
            pace.note_append();
        }
        pace.note_end(now, TOOK).map(|until| until - now)
    }

    #[test]
    fn one_that_waits_for_each_answer_is_never_held_up() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert_eq!(round(&mut pace, 1, 0), None);
            assert!(pace.is_enough());
        }
    }

    #[test]
    fn of_five_that_wait_at_once_three_are_worth_a_sync() {
        let mut pace = Pace::default();
        // Two are answered, three came meanwhile: they are enough.
        assert_eq!(round(&mut pace, 2, 3), None);
        // Those three are answered and one came: the others follow soon.
        assert_eq!(round(&mut pace, 0, 1), Some(TOOK));
        assert!(!pace.is_enough());
        pace.note_append();
        assert!(!pace.is_enough());
        pace.note_append();
        assert!(pace.is_enough());
    }

    #[test]
    fn when_the_crowd_has_gone_nobody_waits_for_it_any_more() {
        let mut pace = Pace::default();
        round(&mut pace, 100, 0);
        let held_up = (0..1000).take_while(|_| round(&mut pace, 1, 0).is_some()).count();
        assert!((1..50).contains(&held_up), "{held_up}");
    }

    #[test]
    fn on_a_slow_disk_the_wait_is_short_all_the_same() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for _ in 0..5 {
            pace.note_append();
        }
        pace.note_begin();
        assert_eq!(pace.note_end(now, Duration::from_secs(10)), Some(now + WAIT_MAX));
    }
}
