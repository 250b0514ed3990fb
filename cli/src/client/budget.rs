//! What one operation may take in all, whatever requests it is made of: time, bytes of answers, requests.
//!
//! A command has the time of its user, and its requests have deadlines of their own. An operation that somebody else asked a node
//! for has an end, so that brokers that hang or send a byte a second do not keep what the node lent to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What an operation had no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Spent {
    #[error("whoever asked has left")]
    Cancelled,
    #[error("the answers are larger than one operation may read")]
    Bytes,
    #[error("more requests are needed than one operation may send")]
    Requests,
}

/// Shared by an operation's client, its connections, and whoever may cancel it.
#[derive(Debug)]
pub(crate) struct Budget {
    deadline: Option<Instant>,
    bytes_left: AtomicU64,
    requests_left: AtomicU64,
    is_cancelled: AtomicBool,
}

impl Budget {
    /// Of a command that its user may end.
    pub(crate) fn unbounded() -> Self {
        Self {
            deadline: None,
            bytes_left: AtomicU64::new(u64::MAX),
            requests_left: AtomicU64::new(u64::MAX),
            is_cancelled: AtomicBool::new(false),
        }
    }

    pub(crate) fn new(deadline: Instant, bytes: u64, requests: u64) -> Self {
        Self {
            deadline: Some(deadline),
            bytes_left: AtomicU64::new(bytes),
            requests_left: AtomicU64::new(requests),
            is_cancelled: AtomicBool::new(false),
        }
    }

    /// A step's deadline, or the operation's where that is earlier.
    pub(crate) fn within(&self, deadline: Instant) -> Instant {
        self.deadline.map_or(deadline, |whole| whole.min(deadline))
    }

    /// Nobody waits for the operation any more: its next request fails.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it makes no sense to begin another step.
    pub(crate) fn is_over(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.bytes_left.load(Ordering::Relaxed) == 0
            || self.requests_left.load(Ordering::Relaxed) == 0
    }

    /// Takes one request.
    pub(super) fn spend_request(&self) -> Result<(), Spent> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(Spent::Cancelled);
        }
        spend(&self.requests_left, 1).ok_or(Spent::Requests)
    }

    /// Takes an answer's bytes, before they are read.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Spent> {
        spend(&self.bytes_left, bytes as u64).ok_or(Spent::Bytes)
    }
}

fn spend(left: &AtomicU64, amount: u64) -> Option<()> {
    // One operation runs on one thread: nobody else takes from it.
    let rest = left.load(Ordering::Relaxed).checked_sub(amount)?;
    left.store(rest, Ordering::Relaxed);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_operation_ends_with_any_of_what_it_may_take() {
        let later = Instant::now() + Duration::from_secs(3600);
        let budget = Budget::new(later, 10, 2);
        assert_eq!(budget.within(later + Duration::from_secs(1)), later);
        assert!(!budget.is_over());
        assert_eq!((budget.spend_bytes(11), budget.spend_bytes(10)), (Err(Spent::Bytes), Ok(())));
        assert!(budget.is_over());

        let budget = Budget::new(later, 10, 2);
        assert_eq!((budget.spend_request(), budget.spend_request()), (Ok(()), Ok(())));
        assert_eq!(budget.spend_request(), Err(Spent::Requests));
        assert!(budget.is_over());

        let budget = Budget::new(later, 10, 2);
        budget.cancel();
        assert!(budget.is_over());
        assert_eq!(budget.spend_request(), Err(Spent::Cancelled));
        assert!(Budget::new(Instant::now(), 10, 2).is_over());
        assert!(!Budget::unbounded().is_over());
    }
}
