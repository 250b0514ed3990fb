//! Requests that wait for the step before them. A producer that ends a transaction begins the next one at once, and the
//! first writes of one transaction come from several brokers together: without a wait all but one would come again after a
//! pause much longer than the step takes.

use std::sync::Arc;

use moldau_model::ErrorCode;

use super::request::refused;
use super::{Output, TransactionShard};
use crate::request::{AddPartitionsRequest, Request, RequestToken};
use crate::timers::Deadline;
use crate::transaction::EPOCH_PER_TRANSACTION;

/// A request and how long it waits at most.
#[derive(Debug)]
pub(super) struct Waiting {
    token: RequestToken,
    request: Request,
    deadline_ms: i64,
}

impl Waiting {
    pub(super) fn refused(&self, error: ErrorCode) -> Output {
        Output::Reply { token: self.token, response: refused(&self.request, error) }
    }
}

impl TransactionShard {
    /// The id is busy: the request waits if it is one that may, or the client is told to come again.
    pub(super) fn wait_or_refuse(
        &mut self,
        token: RequestToken,
        request: Request,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let error = ErrorCode::ConcurrentTransactions;
        let deadline_ms = now_ms.saturating_add(self.config.busy_wait_ms);
        let waiting = Waiting { token, request, deadline_ms };
        let Request::AddPartitions(add) = &waiting.request else { return out.push(waiting.refused(error)) };
        if !self.may_wait(add) {
            return out.push(waiting.refused(error));
        }
        let transactional_id: Arc<str> = add.transactional_id.as_str().into();
        let count = self.waiting.get(&transactional_id).map_or(0, |queue| queue.len());
        if self.config.busy_wait_ms <= 0 || count >= self.config.busy_waiters_max {
            return out.push(waiting.refused(error));
        }
        self.timers.schedule(deadline_ms, Deadline::Busy(Arc::clone(&transactional_id)));
        self.waiting.entry(transactional_id).or_default().push_back(waiting);
    }

    /// A broker that adds a partition for a producer has a guard on it, which the marker of the last transaction takes away:
    /// it has to ask anew after that. It may wait for what other brokers add to the same transaction.
    fn may_wait(&self, add: &AddPartitionsRequest) -> bool {
        let Some(entry) = self.entries.get(&*add.transactional_id) else { return false };
        let current = &entry.current;
        add.transaction_version < EPOCH_PER_TRANSACTION
            || (!current.state.is_ending()
                && (add.producer_id, add.producer_epoch) == (current.producer_id, current.producer_epoch))
    }

    /// A step of the id has come to its end: what waits for it goes on, in its order.
    pub(super) fn retry_waiting(&mut self, transactional_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        while !self.entries.get(transactional_id).is_some_and(|entry| entry.is_busy()) {
            let Some(waiting) = self.pop_waiting(transactional_id, i64::MAX) else { return };
            if self.has_room() {
                self.change(waiting.token, waiting.request, None, now_ms, out);
            } else {
                out.push(waiting.refused(ErrorCode::CoordinatorNotAvailable));
            }
        }
    }

    /// Those that have waited long enough are told to come again.
    pub(super) fn refuse_waiting(&mut self, transactional_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        while let Some(waiting) = self.pop_waiting(transactional_id, now_ms) {
            out.push(waiting.refused(ErrorCode::ConcurrentTransactions));
        }
    }

    /// Takes the first one, if its deadline is not later than this.
    fn pop_waiting(&mut self, transactional_id: &Arc<str>, deadline_ms: i64) -> Option<Waiting> {
        let queue = self.waiting.get_mut(transactional_id)?;
        if queue.front().is_none_or(|first| first.deadline_ms > deadline_ms) {
            return None;
        }
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(transactional_id);
        }
        waiting
    }
}
