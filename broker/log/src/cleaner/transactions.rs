//! What the cleaner knows of a batch's transaction while it walks through the log: only records below the last stable
//! offset are cleaned, so each transaction has ended.

use std::collections::{HashMap, HashSet};

use moldau_model::ProducerId;
use moldau_record::{BatchView, ControlRecord};

use crate::AbortedTransaction;
use crate::partition_log::control_record;

/// How a batch stands to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its records count: the transaction was committed, or there is none.
    Counts,
    /// Its records never counted.
    Aborted,
    /// The end of a transaction. While a batch of it is left, that cannot be understood without its end.
    Marker { has_batches: bool },
}

/// Walks along, batch by batch.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// By their first offsets, the last first; those ahead.
    ahead: Vec<AbortedTransaction>,
    /// Aborted transactions under way, and whether a batch of them was seen.
    aborted: HashMap<ProducerId, bool>,
    /// Producers of which batches of a committed transaction were seen.
    committed: HashSet<ProducerId>,
}

impl Transactions {
    pub(super) fn new(aborted: &[AbortedTransaction]) -> Self {
        let mut ahead = aborted.to_vec();
        ahead.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { ahead, ..Self::default() }
    }

    /// The next batch.
    pub(super) fn advance(&mut self, batch: &BatchView<'_>) -> Standing {
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= batch.last_offset()) {
            self.aborted.entry(next.producer_id).or_insert(false);
        }
        let producer_id = batch.producer_id();
        if batch.is_control() {
            let has_batches = match control_record(batch) {
                Some(ControlRecord::Abort { .. }) => self.aborted.remove(&producer_id).unwrap_or(false),
                Some(ControlRecord::Commit { .. }) => self.committed.remove(&producer_id),
                // What is not known is not touched; what is empty was cleaned before.
                Some(ControlRecord::Other { .. }) => true,
                None => batch.record_count() > 0,
            };
            return Standing::Marker { has_batches };
        }
        if !batch.is_transactional() {
            return Standing::Counts;
        }
        match self.aborted.get_mut(&producer_id) {
            Some(has_batches) => {
                *has_batches = true;
                Standing::Aborted
            }
            None => {
                self.committed.insert(producer_id);
                Standing::Counts
            }
        }
    }
}
