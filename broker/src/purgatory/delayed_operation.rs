//! A request that has taken its effect here and waits for the other replicas: an acks=all produce on its way to
//! durability, a deletion of records on its way to the followers.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use moldau_model::ErrorCode;
use tokio::sync::Notify;

use super::answering::{Answering, answer_or_hold};

/// A slot whose partition has not answered yet; no error code has this value.
const WAITING: i32 = i32::MIN;

/// One request's wait: a slot for each partition of the request, of which some may wait.
///
/// It ends when the last one of these has happened for every slot that waits: (A) the high watermark passed the records,
/// with enough members in the ISR, or the ISR's low watermark reached the deletion; (B) the ISR has too few members; (C)
/// the partition has another leader, was deleted or lost its disk. What is still open at the timeout is
/// REQUEST_TIMED_OUT.
pub struct DelayedOperation {
    codes: Box<[AtomicI32]>,
    /// Slots that wait, and one for as long as the request is not through all of its partitions.
    open: AtomicUsize,
    done: Notify,
    /// Who answers when it is done; empty where somebody [waits](Self::wait).
    answered_by: OnceLock<Weak<dyn Answering>>,
}

impl DelayedOperation {
    /// For a request with this many partitions, none of which waits yet.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let codes = (0..slots).map(|_| AtomicI32::new(i32::from(ErrorCode::None.code()))).collect();
        Self { codes, open: AtomicUsize::new(1), done: Notify::new(), answered_by: OnceLock::new() }
    }

    /// The slot waits from now on.
    pub(crate) fn wait_for(&self, slot: usize) {
        if let Some(code) = self.codes.get(slot) {
            code.store(WAITING, Ordering::Relaxed);
            self.open.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The slot has its outcome. Only the first one counts. `true` if it was the last that was open: the caller then
    /// [wakes](Self::wake) the waiter, at the latest when it has given all the outcomes that it has.
    #[must_use]
    pub(crate) fn complete(&self, slot: usize, outcome: ErrorCode) -> bool {
        let Some(code) = self.codes.get(slot) else { return false };
        let outcome = i32::from(outcome.code());
        code.compare_exchange(WAITING, outcome, Ordering::AcqRel, Ordering::Acquire).is_ok()
            && self.close_one()
    }

    /// Lets the waiter go on.
    pub(crate) fn wake(&self) {
        // Either the connection sees that it is done, or this sees the connection.
        fence(Ordering::SeqCst);
        match self.answered_by.get() {
            Some(connection) => connection.upgrade().into_iter().for_each(answer_or_hold),
            None => self.done.notify_one(),
        }
    }

    /// Has this connection answer when it is done; it may be done already.
    pub(crate) fn answer_by(&self, connection: &Arc<dyn Answering>) {
        // Only the first one counts, and there is one.
        let _ = self.answered_by.set(Arc::downgrade(connection));
        fence(Ordering::SeqCst);
    }

    /// Nobody waits any longer.
    pub(crate) fn time_out(&self) {
        for slot in 0..self.codes.len() {
            let _ = self.complete(slot, ErrorCode::RequestTimedOut);
        }
    }

    /// All partitions are served: from now on the wait can end. `true` if there is nothing to wait for.
    pub(crate) fn seal(&self) -> bool {
        self.close_one()
    }

    fn close_one(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Waits for the end, at most so long.
    pub(crate) async fn wait(&self, timeout: Duration) {
        // Its result is in the slots: those that still wait have timed out.
        // What was complete before the wait began needs no waking.
        if !self.is_done() {
            let _ = tokio::time::timeout(timeout, self.done.notified()).await;
        }
        self.time_out();
    }

    /// Whether no slot waits or has failed.
    pub(crate) fn is_all_well(&self) -> bool {
        let none = i32::from(ErrorCode::None.code());
        self.codes.iter().all(|code| code.load(Ordering::Acquire) == none)
    }

    /// The slot's outcome.
    #[must_use]
    pub fn outcome(&self, slot: usize) -> ErrorCode {
        let code = self.codes.get(slot).map_or(0, |code| code.load(Ordering::Acquire));
        i16::try_from(code).map_or(ErrorCode::RequestTimedOut, ErrorCode::from_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_open_at_the_timeout_is_timed_out_and_stays_so() {
        let produce = DelayedOperation::new(3);
        produce.wait_for(0);
        produce.wait_for(2);
        assert!(!produce.seal());
        assert!(!produce.complete(0, ErrorCode::None));
        produce.wait(Duration::from_millis(10)).await;
        assert!(!produce.complete(2, ErrorCode::None));
        assert!(!produce.is_all_well());
        assert_eq!(produce.outcome(0), ErrorCode::None);
        assert_eq!(produce.outcome(1), ErrorCode::None);
        assert_eq!(produce.outcome(2), ErrorCode::RequestTimedOut);
        assert!(produce.is_done());
    }

    #[tokio::test]
    async fn the_last_outcome_ends_the_wait() {
        let produce = std::sync::Arc::new(DelayedOperation::new(2));
        produce.wait_for(0);
        produce.wait_for(1);
        assert!(!produce.complete(1, ErrorCode::NotLeaderOrFollower));
        assert!(!produce.seal());
        assert!(produce.complete(0, ErrorCode::NotEnoughReplicasAfterAppend));
        produce.wake();
        produce.wait(Duration::from_secs(3600)).await;
        assert_eq!(produce.outcome(0), ErrorCode::NotEnoughReplicasAfterAppend);
        assert_eq!(produce.outcome(1), ErrorCode::NotLeaderOrFollower);
    }

    #[test]
    fn with_nothing_to_wait_for_the_end_is_at_once() {
        let produce = DelayedOperation::new(1);
        assert!(produce.seal());
        assert!(produce.is_all_well());
    }
}
