//! What a partition remembers of its producers (KIP-98): enough to answer a repeated batch with its first offset, to
//! refuse a gap or an old epoch, and to know the oldest transaction still open.

mod snapshot;
mod window;

use std::collections::{BTreeMap, HashMap};

use moldau_model::{Offset, ProducerId, TimestampMs};
use moldau_record::ControlRecord;

use crate::batch_header::BatchHeader;
use crate::partition_log::ActiveProducer;
use crate::{AppendError, AppendOrigin};

pub(crate) use window::{ProducerEntry, StoredBatch};

/// A transaction whose marker is in the log, perhaps not yet below the high watermark.
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
    completed: Vec<CompletedTransaction>,
}

/// The new entries of one append, held back until its bytes are written. Reused from append to append.
#[derive(Debug, Default)]
pub(crate) struct ProducerAppend {
    changed: Vec<ProducerEntry>,
    completed: Vec<CompletedTransaction>,
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
        self.completed.clear();
    }
}

/// Who wrote a batch that is looked at: only a live client is held to its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Live(AppendOrigin),
    /// A leader has accepted the batch before.
    Accepted,
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
        if source == Source::Live(AppendOrigin::Client)
            && let Some(batch) = known.and_then(|entry| entry.find(header))
        {
            return Ok(Checked::Duplicate(batch));
        }
        let mut entry = known.copied().unwrap_or_else(|| ProducerEntry::new(header.producer_id));
        if header.is_control() {
            if let Some(transaction) = entry.end_transaction(header, control, source)? {
                append.completed.push(CompletedTransaction {
                    first_offset: transaction,
                    last_offset: header.last_offset(),
                });
            }
        } else {
            entry.add(header, source)?;
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
        for entry in append.changed.drain(..) {
            let before = self.producers.insert(entry.producer_id, entry);
            let before = before.map_or(Offset::NONE, |before| before.transaction_first_offset);
            if before != entry.transaction_first_offset {
                self.ongoing.remove(&before);
                if entry.transaction_first_offset != Offset::NONE {
                    self.ongoing.insert(entry.transaction_first_offset, entry.producer_id);
                }
            }
        }
        self.completed.append(&mut append.completed);
        if self.producers.len() > producers_max {
            self.forget_longest_idle(producers_max);
        }
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
        let completed = self
            .completed
            .iter()
            .filter(|transaction| transaction.last_offset >= high_watermark)
            .map(|transaction| transaction.first_offset)
            .min();
        open.into_iter().chain(completed).min()
    }

    /// Forgets completed transactions that every replica has.
    pub(crate) fn prune_completed(&mut self, high_watermark: Offset) {
        self.completed.retain(|transaction| transaction.last_offset >= high_watermark);
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

    /// The last data offset of each producer that wrote nothing from `end` on: the batch that holds it must outlive
    /// compaction.
    pub(crate) fn last_data_offsets_below(&self, end: Offset) -> HashMap<ProducerId, Offset> {
        let last = |entry: &ProducerEntry| Some((entry.producer_id, entry.last_batch()?.last_offset));
        self.producers.values().filter_map(last).filter(|(_, offset)| *offset < end).collect()
    }
}
