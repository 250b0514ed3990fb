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

/// What came in the turns before.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// Requests that a turn is expected to have.
    expected: usize,
    turns: u32,
    overlapped_turns: u32,
}

impl Pipeline {
    /// Requests took longer than their sync: for some turns a thread is to sync while this one goes on.
    pub(super) fn overlap(&mut self) {
        self.overlapped_turns = OVERLAPPED_TURNS;
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
    fn a_client_that_sends_less_than_it_did_costs_a_few_waits() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, 5, 1000);
        assert!(run(&mut pipeline, 1, EXPLORED_EVERY as usize - 1) <= 6);
    }
}
