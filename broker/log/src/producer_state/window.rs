//! One producer: its epoch, its last five batches, its open transaction, and the rules for the next batch.

use moldau_model::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::ControlRecord;

use super::Source;
use crate::AppendError;
use crate::batch_header::BatchHeader;

/// As many as a producer may have in flight with idempotence (`max.in.flight.requests.per.connection`).
const BATCHES_KEPT: usize = 5;

/// A batch that can be recognised when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredBatch {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: TimestampMs,
}

impl StoredBatch {
    pub(crate) fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    /// Sequences wrap from 2^31-1 to 0.
    fn first_sequence(&self) -> i32 {
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }
}

/// A fixed size and no pointer, so that an append may copy it and throw the copy away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProducerEntry {
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: TimestampMs,
    /// By this broker's clock, not by the records': what expiry goes by.
    pub(crate) last_seen: TimestampMs,
    /// [`Offset::NONE`] if no transaction is open.
    pub(crate) transaction_first_offset: Offset,
    /// Oldest first, the empty places last.
    batches: [Option<StoredBatch>; BATCHES_KEPT],
}

impl ProducerEntry {
    pub(crate) fn new(producer_id: ProducerId) -> Self {
        Self {
            producer_id,
            producer_epoch: ProducerEpoch::NONE,
            coordinator_epoch: -1,
            last_timestamp: TimestampMs::NONE,
            last_seen: TimestampMs::NONE,
            transaction_first_offset: Offset::NONE,
            batches: [None; BATCHES_KEPT],
        }
    }

    pub(crate) fn last_batch(&self) -> Option<&StoredBatch> {
        self.batches.iter().rev().find_map(Option::as_ref)
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(-1, |batch| batch.last_sequence)
    }

    pub(super) fn is_in_transaction(&self, producer_epoch: ProducerEpoch) -> bool {
        self.transaction_first_offset != Offset::NONE && self.producer_epoch == producer_epoch
    }

    /// The stored batch that this one repeats.
    pub(super) fn find(&self, header: &BatchHeader) -> Option<StoredBatch> {
        if header.producer_epoch != self.producer_epoch {
            return None;
        }
        self.batches.iter().flatten().copied().find(|batch| {
            batch.last_sequence == header.last_sequence && batch.first_sequence() == header.base_sequence
        })
    }

    /// Takes in a data batch, after checking a live one.
    pub(super) fn add(&mut self, header: &BatchHeader, source: Source) -> Result<(), AppendError> {
        self.check_epoch(header, source)?;
        if source.is_client() {
            self.check_sequence(header)?;
        }
        if self.transaction_first_offset != Offset::NONE
            && !header.is_transactional()
            && matches!(source, Source::Live(_))
        {
            return Err(AppendError::InvalidTxnState { producer_id: self.producer_id });
        }
        self.move_to_epoch(header.producer_epoch);
        self.push(StoredBatch {
            last_sequence: header.last_sequence,
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        self.last_timestamp = header.max_timestamp;
        if self.transaction_first_offset == Offset::NONE && header.is_transactional() {
            self.transaction_first_offset = header.base_offset;
        }
        Ok(())
    }

    /// Takes in a control batch. Returns the first offset of the transaction that it ends, if one was open.
    pub(super) fn end_transaction(
        &mut self,
        header: &BatchHeader,
        control: Option<ControlRecord>,
        source: Source,
    ) -> Result<Option<Offset>, AppendError> {
        let (Some(ControlRecord::Abort { coordinator_epoch })
        | Some(ControlRecord::Commit { coordinator_epoch })) = control
        else {
            if source == Source::Accepted && header.producer_epoch > self.producer_epoch {
                // Compaction has emptied it, and left it for its epoch.
                self.move_to_epoch(header.producer_epoch);
            }
            return Ok(None);
        };
        self.check_epoch(header, source)?;
        self.check_marker_epoch(header, source)?;
        if coordinator_epoch < self.coordinator_epoch && matches!(source, Source::Live(_)) {
            return Err(AppendError::TransactionCoordinatorFenced {
                received: coordinator_epoch,
                current: self.coordinator_epoch,
            });
        }
        self.move_to_epoch(header.producer_epoch);
        self.coordinator_epoch = self.coordinator_epoch.max(coordinator_epoch);
        self.last_timestamp = header.max_timestamp;
        let first = std::mem::replace(&mut self.transaction_first_offset, Offset::NONE);
        Ok((first != Offset::NONE).then_some(first))
    }

    fn check_epoch(&self, header: &BatchHeader, source: Source) -> Result<(), AppendError> {
        if header.producer_epoch < self.producer_epoch && matches!(source, Source::Live(_)) {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: self.producer_id,
                received: header.producer_epoch,
                current: self.producer_epoch,
            });
        }
        Ok(())
    }

    /// From transactions of version 2 on the coordinator ends each with a newer epoch than its records have: a marker of
    /// the same one has come before, and would end the next transaction (KIP-1228). Where none is open it may come again;
    /// and beyond the last epoch there is no newer one.
    fn check_marker_epoch(&self, header: &BatchHeader, source: Source) -> Result<(), AppendError> {
        let needs_newer = matches!(source, Source::Live(terms) if terms.transaction_version >= 2)
            && self.transaction_first_offset != Offset::NONE
            && header.producer_epoch != ProducerEpoch(i16::MAX);
        if needs_newer && header.producer_epoch == self.producer_epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: self.producer_id,
                received: header.producer_epoch,
                current: self.producer_epoch,
            });
        }
        Ok(())
    }

    /// A new epoch begins at zero. A producer of which nothing is known may begin anywhere: its batches may have been
    /// removed by retention.
    fn check_sequence(&self, header: &BatchHeader) -> Result<(), AppendError> {
        if self.producer_epoch == ProducerEpoch::NONE {
            return Ok(());
        }
        let last = if header.producer_epoch == self.producer_epoch { self.last_sequence() } else { -1 };
        let next = if last == i32::MAX { 0 } else { last + 1 };
        if header.base_sequence != next {
            return Err(AppendError::OutOfOrderSequence {
                producer_id: self.producer_id,
                received: header.base_sequence,
                expected_after: last,
            });
        }
        Ok(())
    }

    fn move_to_epoch(&mut self, producer_epoch: ProducerEpoch) {
        if self.producer_epoch != producer_epoch {
            self.producer_epoch = producer_epoch;
            self.batches = [None; BATCHES_KEPT];
        }
    }

    /// Takes in a batch from before the last one. They come oldest first.
    pub(super) fn recall(&mut self, header: &BatchHeader) {
        let Some(last) = self.last_batch().copied() else { return };
        if header.producer_epoch != self.producer_epoch || header.last_offset() >= last.last_offset {
            return;
        }
        if let Some(place) = self.batches.iter_mut().rev().find(|place| place.is_some()) {
            *place = None;
        }
        self.push(StoredBatch {
            last_sequence: header.last_sequence,
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        self.push(last);
    }

    pub(super) fn push(&mut self, batch: StoredBatch) {
        match self.batches.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(batch),
            None => {
                self.batches.rotate_left(1);
                if let Some(last) = self.batches.last_mut() {
                    *last = Some(batch);
                }
            }
        }
    }
}
