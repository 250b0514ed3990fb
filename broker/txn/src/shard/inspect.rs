//! What administrators ask: nothing here changes anything.

use std::collections::BTreeSet;

use moldau_model::ErrorCode;

use super::TransactionShard;
use crate::request::ListTransactionsRequest;
use crate::response::{DescribedTransaction, ListTransactionsResponse, ListedTransaction};
use crate::state::TransactionState;

impl TransactionShard {
    pub(super) fn describe(&self, transactional_id: &str) -> DescribedTransaction {
        let Some(entry) = self.entries.get(transactional_id).filter(|entry| entry.current.is_stored()) else {
            return DescribedTransaction::refused(transactional_id, ErrorCode::TransactionalIdNotFound);
        };
        let current = &entry.current;
        DescribedTransaction {
            error: ErrorCode::None,
            transactional_id: transactional_id.to_owned(),
            state: Some(current.state),
            timeout_ms: current.timeout_ms,
            started_at: current.started_at,
            producer_id: current.producer_id,
            producer_epoch: current.producer_epoch,
            partitions: current.partitions.iter().cloned().collect(),
        }
    }

    pub(super) fn list(&self, request: &ListTransactionsRequest, now_ms: i64) -> ListTransactionsResponse {
        let mut states = BTreeSet::new();
        let mut unknown_states = Vec::new();
        for name in &request.states_filter {
            match TransactionState::from_name(name) {
                Some(state) => {
                    states.insert(state);
                }
                None => unknown_states.push(name.clone()),
            }
        }
        let producer_ids: BTreeSet<_> = request.producer_ids_filter.iter().copied().collect();
        let listed = self.entries.iter().filter(|(_, entry)| {
            let current = &entry.current;
            let runs_for_ms = now_ms.saturating_sub(current.started_at.0);
            current.is_stored()
                && (producer_ids.is_empty() || producer_ids.contains(&current.producer_id))
                && (request.states_filter.is_empty() || states.contains(&current.state))
                && request.duration_filter_ms.is_none_or(|duration_ms| runs_for_ms > duration_ms)
        });
        let transactions = listed.map(|(id, entry)| ListedTransaction {
            transactional_id: id.to_string(),
            producer_id: entry.current.producer_id,
            state: entry.current.state,
        });
        ListTransactionsResponse {
            error: ErrorCode::None,
            unknown_states,
            transactions: transactions.collect(),
        }
    }
}
