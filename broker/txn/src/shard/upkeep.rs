//! What happens because time passes.

use std::sync::Arc;

use moldau_model::ProducerId;

use super::append::{Change, Completion};
use super::request::Parked;
use super::{CoordinatorRecord, Entry, Output, TransactionShard};
use crate::decide::{self, Decision};
use crate::records::encode_key;
use crate::state::TransactionState;
use crate::timers::Deadline;

impl TransactionShard {
    pub(super) fn schedule_scan(&mut self, scan: Deadline, now_ms: i64) {
        let interval_ms = match scan {
            Deadline::ExpiredIds => self.config.remove_expired_interval_ms,
            _ => self.config.abort_timed_out_interval_ms,
        };
        self.timers.schedule(now_ms.saturating_add(interval_ms.max(1)), scan);
    }

    pub(super) fn deadline_came(&mut self, deadline: Deadline, now_ms: i64, out: &mut Vec<Output>) {
        match deadline {
            Deadline::Append(append_id) => self.append_takes_too_long(append_id, out),
            Deadline::Completion(transactional_id) => self.complete(&transactional_id, now_ms, out),
            Deadline::Busy(transactional_id) => self.refuse_waiting(&transactional_id, now_ms, out),
            Deadline::TimedOutTransactions => {
                self.abort_all_timed_out(now_ms, out);
                self.schedule_scan(Deadline::TimedOutTransactions, now_ms);
            }
            Deadline::ExpiredIds => {
                self.remove_expired(now_ms, out);
                self.schedule_scan(Deadline::ExpiredIds, now_ms);
            }
        }
    }

    fn abort_all_timed_out(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        let timed_out = self.entries.iter().filter(|(_, entry)| is_timed_out(entry, now_ms));
        let timed_out: Vec<Arc<str>> = timed_out.map(|(id, _)| Arc::clone(id)).collect();
        for transactional_id in timed_out {
            // The rest when the coordinator looks again.
            if !self.has_room() {
                return;
            }
            self.abort_timed_out(&transactional_id, None, now_ms, out);
        }
    }

    pub(super) fn abort_timed_out(
        &mut self,
        transactional_id: &Arc<str>,
        spare: Option<ProducerId>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get(transactional_id) else { return };
        // It may have ended, and another begun, while a producer id was waited for.
        if !is_timed_out(entry, now_ms) {
            return;
        }
        match decide::fence(&entry.current, &self.circumstances(entry, spare, now_ms)) {
            Decision::Fence(next) | Decision::Step(next) => {
                self.append_step(transactional_id, next, Completion::Nobody, now_ms, out);
            }
            Decision::NeedsProducerId => {
                self.park(Parked::TimedOut { transactional_id: Arc::clone(transactional_id) }, out);
            }
            Decision::Done => {}
        }
    }

    fn remove_expired(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        let oldest_ms = now_ms.saturating_sub(self.config.transactional_id_expiration_ms);
        let is_expired = |entry: &Entry| {
            entry.pending.is_none()
                && entry.current.state.is_at_rest()
                && entry.current.updated_at.0 <= oldest_ms
        };
        let expired = self.entries.iter().filter(|(_, entry)| is_expired(entry));
        let expired: Vec<Arc<str>> = expired.map(|(id, _)| Arc::clone(id)).collect();
        for some in expired.chunks(self.config.records_per_append_max.max(1)) {
            if !self.has_room() {
                return;
            }
            let tombstone = |transactional_id: &Arc<str>| {
                let record = CoordinatorRecord { key: encode_key(transactional_id), value: None };
                (record, Change::Remove { transactional_id: Arc::clone(transactional_id) })
            };
            self.append(some.iter().map(tombstone).collect(), Completion::Nobody, now_ms, out);
        }
    }
}

/// Whether the coordinator is to abort it. A timeout of the largest number is none: the transaction belongs to an outer
/// one (KIP-939).
fn is_timed_out(entry: &Entry, now_ms: i64) -> bool {
    let current = &entry.current;
    entry.pending.is_none()
        && current.state == TransactionState::Ongoing
        && current.timeout_ms != i32::MAX
        && current.started_at.0.saturating_add(i64::from(current.timeout_ms)) < now_ms
}
