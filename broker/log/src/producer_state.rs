//! What a partition remembers of its producers (KIP-98): enough to answer a repeated batch with its first offset, to
//! refuse a gap or an old epoch, and to know the oldest transaction still open.

mod snapshot;
mod verification;
mod window;

use std::collections::{BTreeMap, HashMap, VecDeque};

use moldau_model::{Offset, ProducerEpoch, ProducerId, TimestampMs, VerificationGuard};
use moldau_record::ControlRecord;

use crate::aborted_transaction::AbortedTransaction;
use crate::batch_header::BatchHeader;
use crate::partition_log::ActiveProducer;
use crate::{AppendError, AppendOrigin, AppendTerms};

use verification::Verifications;
pub(crate) use window::{ProducerEntry, StoredBatch};

/// How many transactions that ended above the high watermark are remembered one by one.
const COMPLETED_MAX: usize = 1 << 16;

/// Transactions whose markers are in the log, perhaps not yet below the high watermark: usually one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CompletedTransaction {
    first_offset: Offset,
    last_offset: Offset,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProducerState {
    producers: HashMap<ProducerId, ProducerEntry>,
    /// Open transactions by their first offset.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// By their last offsets.
    completed: VecDeque<CompletedTransaction>,
    verifications: Verifications,
}

/// A transaction began or ended in an append.
#[derive(Clone, Copy, Debug)]
enum TransactionEvent {
    Begun { producer_id: ProducerId, first_offset: Offset },
    Ended { producer_id: ProducerId, transaction: CompletedTransaction, is_aborted: bool },
}

/// The new entries of one append, held back until its bytes are written. Reused from append to append.
#[derive(Debug, Default)]
pub(crate) struct ProducerAppend {
    changed: Vec<ProducerEntry>,
    /// In the log's order.
    events: Vec<TransactionEvent>,
    /// Which questions to the coordinator are answered.
    verified: Vec<ProducerId>,
    /// What a commit found, for the segment's index.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

/// What a partition has last of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// Of its last record; `None` where the end of a transaction is all that is known of its epoch.
    pub(crate) data_offset: Option<Offset>,
    pub(crate) producer_epoch: ProducerEpoch,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    New,
    /// The batch is in the log already.
    Duplicate(StoredBatch),
}

impl ProducerAppend {
    pub(crate) fn clear(&mut self) {
        self.changed.clear();
        self.events.clear();
        self.verified.clear();
        self.aborted.clear();
    }
}

/// Who wrote a batch that is looked at: only a live client is held to its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Live(AppendTerms),
    /// A leader has accepted the batch before.
    Accepted,
}

impl Source {
    fn is_client(self) -> bool {
        matches!(self, Self::Live(terms) if terms.origin == AppendOrigin::Client)
    }
}

impl ProducerState {
    pub(crate) fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Takes in a batch from before a snapshot, of which only the last one is in it.
    pub(crate) fn recall(&mut self, header: &BatchHeader) {
        if !header.has_producer_id() || header.is_control() {
            return;
        }
        if let Some(entry) = self.producers.get_mut(&header.producer_id) {
            entry.recall(header);
        }
    }

    /// Checks one batch against what is known and against the batches before it in the same append, and notes in
    /// `append` what it will change. `header` holds the offsets that the batch will get.
    pub(crate) fn check(
        &self,
        append: &mut ProducerAppend,
        header: &BatchHeader,
        control: Option<ControlRecord>,
        source: Source,
        now: TimestampMs,
    ) -> Result<Checked, AppendError> {
        if !header.has_producer_id() {
            return Ok(Checked::New);
        }
        let at = append.changed.iter().position(|entry| entry.producer_id == header.producer_id);
        let known =
            at.and_then(|at| append.changed.get(at)).or_else(|| self.producers.get(&header.producer_id));
        if source.is_client()
            && let Some(batch) = known.and_then(|entry| entry.find(header))
        {
            return Ok(Checked::Duplicate(batch));
        }
        let mut entry = known.copied().unwrap_or_else(|| ProducerEntry::new(header.producer_id));
        if header.is_control() {
            if let Some(first_offset) = entry.end_transaction(header, control, source)? {
                append.events.push(TransactionEvent::Ended {
                    producer_id: header.producer_id,
                    transaction: CompletedTransaction { first_offset, last_offset: header.last_offset() },
                    is_aborted: matches!(control, Some(ControlRecord::Abort { .. })),
                });
            }
        } else {
            if let Source::Live(terms) = source {
                self.check_verified(&entry, header, terms)?;
            }
            let was_open = entry.transaction_first_offset != Offset::NONE;
            entry.add(header, source)?;
            if header.is_transactional() && !was_open {
                append.events.push(TransactionEvent::Begun {
                    producer_id: header.producer_id,
                    first_offset: entry.transaction_first_offset,
                });
            }
        }
        if header.is_transactional() {
            append.verified.push(header.producer_id);
        }
        entry.last_seen = now;
        match at.and_then(|at| append.changed.get_mut(at)) {
            Some(place) => *place = entry,
            None => append.changed.push(entry),
        }
        Ok(Checked::New)
    }

    /// The checked batches are in the log.
    pub(crate) fn commit(&mut self, append: &mut ProducerAppend, producers_max: usize) {
        for event in append.events.drain(..) {
            match event {
                TransactionEvent::Begun { producer_id, first_offset } => {
                    self.ongoing.insert(first_offset, producer_id);
                }
                TransactionEvent::Ended { producer_id, transaction, is_aborted } => {
                    self.ongoing.remove(&transaction.first_offset);
                    if is_aborted {
                        append.aborted.push(self.aborted(producer_id, transaction));
                    }
                    self.note_completed(transaction);
                }
            }
        }
        for entry in append.changed.drain(..) {
            self.producers.insert(entry.producer_id, entry);
        }
        for producer_id in append.verified.drain(..) {
            self.verifications.end(producer_id);
        }
        if self.producers.len() > producers_max {
            self.forget_longest_idle(producers_max);
        }
    }

    fn aborted(&self, producer_id: ProducerId, transaction: CompletedTransaction) -> AbortedTransaction {
        let CompletedTransaction { first_offset, last_offset } = transaction;
        let end = last_offset.plus(1);
        let last_stable_offset = self.ongoing.keys().next().map_or(end, |first| end.min(*first));
        AbortedTransaction { producer_id, first_offset, last_offset, last_stable_offset }
    }

    /// Where there are too many, the two oldest count as one, which ended when the later of them did.
    fn note_completed(&mut self, transaction: CompletedTransaction) {
        if self.completed.len() >= COMPLETED_MAX
            && let (Some(oldest), Some(next)) = (self.completed.pop_front(), self.completed.front_mut())
        {
            next.first_offset = next.first_offset.min(oldest.first_offset);
        }
        self.completed.push_back(transaction);
    }

    /// The producer has asked for its transaction's first batch to be taken: a guard for that append, or `None` if the
    /// transaction is open here, and nobody needs to be asked.
    pub(crate) fn begin_verification(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        sequence: i32,
        bumps_epoch: bool,
        now: TimestampMs,
        count_max: usize,
    ) -> Option<VerificationGuard> {
        let entry = self.producers.get(&producer_id);
        if entry.is_some_and(|entry| entry.is_in_transaction(producer_epoch)) {
            return None;
        }
        let verifications = &mut self.verifications;
        Some(verifications.begin(producer_id, producer_epoch, sequence, bumps_epoch, now, count_max))
    }

    /// Whether the coordinator knows of the transaction: it was asked for the first batch, and so for all behind it.
    fn check_verified(
        &self,
        entry: &ProducerEntry,
        header: &BatchHeader,
        terms: AppendTerms,
    ) -> Result<(), AppendError> {
        let verification = self.verifications.get(header.producer_id);
        if header.is_transactional()
            && terms.needs_verification
            && !entry.is_in_transaction(header.producer_epoch)
            && (terms.verification.is_none()
                || terms.verification != verification.map(|verification| verification.guard))
        {
            return Err(AppendError::TransactionNotVerified { producer_id: header.producer_id });
        }
        let Some(verification) = verification.filter(|_| terms.origin == AppendOrigin::Client) else {
            return Ok(());
        };
        let is_too_early = header.base_sequence > verification.lowest_sequence
            || (verification.bumps_epoch && header.base_sequence != 0 && entry.last_batch().is_none());
        if is_too_early {
            return Err(AppendError::OutOfOrderSequence {
                producer_id: header.producer_id,
                received: header.base_sequence,
                expected_after: entry.last_sequence(),
            });
        }
        Ok(())
    }

    /// Drops down to nine tenths of the cap, so that the search is not made for every append.
    fn forget_longest_idle(&mut self, producers_max: usize) {
        let mut idle: Vec<(TimestampMs, ProducerId)> = self
            .producers
            .values()
            .filter(|entry| entry.transaction_first_offset == Offset::NONE)
            .map(|entry| (entry.last_seen, entry.producer_id))
            .collect();
        idle.sort_unstable();
        let excess = self.producers.len() - producers_max * 9 / 10;
        for (_, producer_id) in idle.into_iter().take(excess) {
            self.producers.remove(&producer_id);
        }
    }

    pub(crate) fn remove_expired(&mut self, now: TimestampMs, expiration_ms: i64) -> usize {
        self.verifications.remove_expired(now, expiration_ms);
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.transaction_first_offset != Offset::NONE
                || now.0.saturating_sub(entry.last_seen.0) < expiration_ms
        });
        before - self.producers.len()
    }

    /// The first offset of the oldest transaction that is open, or whose marker is at or above the high watermark.
    pub(crate) fn first_unstable_offset(&self, high_watermark: Offset) -> Option<Offset> {
        let open = self.ongoing.keys().next().copied();
        let from = self.completed.partition_point(|transaction| transaction.last_offset < high_watermark);
        let completed = self.completed.iter().skip(from).map(|transaction| transaction.first_offset).min();
        open.into_iter().chain(completed).min()
    }

    /// Forgets completed transactions that every replica has.
    pub(crate) fn prune_completed(&mut self, high_watermark: Offset) {
        while self.completed.front().is_some_and(|transaction| transaction.last_offset < high_watermark) {
            self.completed.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let mut active: Vec<ActiveProducer> = self
            .producers
            .values()
            .map(|entry| ActiveProducer {
                producer_id: entry.producer_id,
                producer_epoch: entry.producer_epoch,
                last_sequence: entry.last_sequence(),
                last_timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                current_transaction_start_offset: entry.transaction_first_offset,
            })
            .collect();
        active.sort_unstable_by_key(|producer| producer.producer_id);
        active
    }

    /// The last of each producer that wrote nothing from `end` on: the batch that holds it must outlive compaction.
    pub(crate) fn last_records_below(&self, end: Offset) -> HashMap<ProducerId, LastRecord> {
        let last = |entry: &ProducerEntry| {
            let data_offset = entry.last_batch().map(|batch| batch.last_offset);
            (entry.producer_id, LastRecord { data_offset, producer_epoch: entry.producer_epoch })
        };
        let is_below = |(_, last): &(_, LastRecord)| last.data_offset.is_none_or(|offset| offset < end);
        self.producers.values().map(last).filter(is_below).collect()
    }
}
