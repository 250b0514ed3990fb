//! When something is to happen. Who sets a deadline keeps its time, and gives it back to cancel it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::shard::AppendId;

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// A reply that waits for an append whose outcome does not come.
    Append(AppendId),
    /// The end of a transaction is written again.
    Completion(Arc<str>),
    /// Requests that wait for the step before them have waited long enough.
    Busy(Arc<str>),
    /// The next look for transactions that take too long.
    TimedOutTransactions,
    /// The next look for ids that nobody uses.
    ExpiredIds,
}

/// Deadlines in their order.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(i64, Deadline)>);

impl Timers {
    pub(crate) fn schedule(&mut self, deadline_ms: i64, deadline: Deadline) {
        self.0.insert((deadline_ms, deadline));
    }

    pub(crate) fn cancel(&mut self, deadline_ms: i64, deadline: Deadline) {
        self.0.remove(&(deadline_ms, deadline));
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<Deadline> {
        if self.next_deadline_ms()? > now_ms {
            return None;
        }
        self.0.pop_first().map(|(_, deadline)| deadline)
    }

    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        self.0.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_their_order_only_when_due_and_not_once_cancelled() {
        let mut timers = Timers::default();
        timers.schedule(20, Deadline::ExpiredIds);
        timers.schedule(10, Deadline::TimedOutTransactions);
        timers.schedule(15, Deadline::Append(AppendId(1)));
        timers.cancel(15, Deadline::Append(AppendId(1)));
        assert_eq!(timers.next_deadline_ms(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(25), Some(Deadline::TimedOutTransactions));
        assert_eq!(timers.pop_due(25), Some(Deadline::ExpiredIds));
        assert_eq!(timers.pop_due(25), None);
    }
}
