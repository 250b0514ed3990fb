//! How many requests a client keeps in flight, as a connection that is alone sees it: so many come behind answers that leave
//! together, and one sync is to cover all of them.

use std::time::Duration;

/// What the next request is waited for, where one is expected.
const PATIENCE: Duration = Duration::from_micros(150);
/// And all of a turn's requests together: a client that sends byte by byte is to hold up neither its worker nor its own sync.
const GATHERED_WITHIN: Duration = Duration::from_millis(1);
/// One turn in so many waits for one request more than came before.
const EXPLORED_EVERY: u32 = 32;
/// Turns before it is tried again whether requests take less time than their sync.
const OVERLAPPED_TURNS: u32 = 256;

/// A round with the followers is waited for so long, then the connection goes on without its end;
pub(super) const ROUND_WAITED_MAX: Duration = Duration::from_millis(20);
/// and where they take longer than this on average it is better not to wait at all.
const ROUND_US_MAX: u32 = 5_000;
/// The newest round's weight in the average is one of so many parts.
const MEAN_PARTS: u32 = 8;

/// What came in the turns before.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// Requests that a turn is expected to have.
    expected: usize,
    turns: u32,
    overlapped_turns: u32,
    /// How long rounds took on average; 0 before the first.
    round_us: u32,
}

impl Pipeline {
    /// Requests took longer than their sync, or a round too long: for some turns others are to do theirs while this one goes on.
    pub(super) fn overlap(&mut self) {
        self.overlapped_turns = OVERLAPPED_TURNS;
    }

    /// A round with the followers has ended, or was waited for long enough.
    pub(super) fn note_round(&mut self, took: Duration) {
        let took_us = u32::try_from(took.min(ROUND_WAITED_MAX).as_micros()).unwrap_or(u32::MAX).max(1);
        self.round_us = match self.round_us {
            0 => took_us,
            mean_us => (mean_us * (MEAN_PARTS - 1) + took_us).div_ceil(MEAN_PARTS),
        };
        if self.round_us > ROUND_US_MAX {
            self.round_us = 0;
            self.overlap();
        }
    }

    /// Asked once for each turn of one that is alone.
    pub(super) fn is_overlapped(&mut self) -> bool {
        let is_overlapped = self.overlapped_turns > 0;
        self.overlapped_turns = self.overlapped_turns.saturating_sub(1);
        is_overlapped
    }

    /// How long to wait for another request, with so many served in this turn and so much time spent on waiting for them and
    /// reading them; `None` where it is to end.
    pub(super) fn patience(&self, served: usize, spent: Duration) -> Option<Duration> {
        let left = GATHERED_WITHIN.checked_sub(spent)?;
        let explored = usize::from(self.turns.is_multiple_of(EXPLORED_EVERY));
        Some(if served < self.expected + explored { PATIENCE.min(left) } else { Duration::ZERO })
    }

    /// A turn is over. One request less than expected may be chance, and a client that stopped is to cost a few waits at most.
    pub(super) fn note(&mut self, served: usize) {
        self.expected = served.max(self.expected.saturating_sub(1));
        self.turns = self.turns.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of a client that keeps so many in flight, each with as many as were waited for; how many waits were in vain.
    fn run(pipeline: &mut Pipeline, in_flight: usize, turns: usize) -> usize {
        let mut in_vain = 0;
        for _ in 0..turns {
            let mut served = 1;
            let waits = |served| pipeline.patience(served, Duration::ZERO) > Some(Duration::ZERO);
            while served < in_flight && waits(served) {
                served += 1;
            }
            in_vain += usize::from(served == in_flight && waits(served));
            pipeline.note(served);
        }
        in_vain
    }

    #[test]
    fn a_turn_comes_to_take_all_that_the_client_keeps_in_flight() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, 5, 5 * EXPLORED_EVERY as usize);
        assert_eq!(pipeline.expected, 5);
        assert!(run(&mut pipeline, 5, 1000) <= 1000 / EXPLORED_EVERY as usize + 1);
    }

    #[test]
    fn a_turn_ends_however_its_requests_come() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, 5, 1000);
        assert_eq!(pipeline.patience(1, Duration::ZERO), Some(PATIENCE));
        assert!(
            pipeline
                .patience(1, GATHERED_WITHIN - PATIENCE / 2)
                .is_some_and(|patience| patience <= PATIENCE / 2)
        );
        assert_eq!(pipeline.patience(1, GATHERED_WITHIN + PATIENCE), None);
        assert_eq!(
            pipeline.patience(5, GATHERED_WITHIN + PATIENCE),
            None,
            "be there something to read or not"
        );
    }

    #[test]
    fn a_client_that_sends_one_behind_the_other_is_hardly_ever_waited_for() {
        let mut pipeline = Pipeline::default();
        assert!(run(&mut pipeline, 1, 1000) <= 1000 / EXPLORED_EVERY as usize + 1);
    }

    #[test]
    fn requests_that_take_longer_than_their_sync_are_tried_again_after_some_turns() {
        let mut pipeline = Pipeline::default();
        assert!(!pipeline.is_overlapped());
        pipeline.overlap();
        let overlapped = (0..).take_while(|_| pipeline.is_overlapped()).count();
        assert_eq!(overlapped, OVERLAPPED_TURNS as usize);
        assert!(!pipeline.is_overlapped());
    }

    #[test]
    fn rounds_are_not_waited_for_where_the_followers_are_far() {
        let near = Duration::from_micros(500);
        let mut pipeline = Pipeline::default();
        for _ in 0..100 {
            pipeline.note_round(near);
            assert!(!pipeline.is_overlapped());
        }
        pipeline.note_round(Duration::from_secs(3600));
        assert!(!pipeline.is_overlapped(), "one that took long is chance");
        let far = (1..).find(|_| {
            pipeline.note_round(ROUND_WAITED_MAX);
            pipeline.is_overlapped()
        });
        assert!(far.is_some_and(|rounds| rounds <= 3), "{far:?}");
        while pipeline.is_overlapped() {}
        pipeline.note_round(near);
        assert!(!pipeline.is_overlapped(), "they are tried again, as if for the first time");
    }

    #[test]
    fn a_client_that_sends_less_than_it_did_costs_a_few_waits() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, 5, 1000);
        assert!(run(&mut pipeline, 1, EXPLORED_EVERY as usize - 1) <= 6);
    }
}
