//! Transactions that a producer wants to write here and of which this partition knows nothing yet (KIP-890): their first
//! batch is taken only after the coordinator was asked. What it was asked for is told by a guard, so that an answer from
//! before the transaction ended does not open it again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use moldau_model::{ProducerEpoch, ProducerId, TimestampMs, VerificationGuard};

/// Never given twice by a process, whatever becomes of the partition meanwhile.
static NEXT_GUARD: AtomicU64 = AtomicU64::new(1);

/// One producer whose transaction is being asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verification {
    pub(super) guard: VerificationGuard,
    since: TimestampMs,
    producer_epoch: ProducerEpoch,
    /// Of all batches that were held back: a later one must not be written before the first.
    pub(super) lowest_sequence: i32,
    /// The producer's epoch is a new one in each transaction (transactions of version 2).
    pub(super) bumps_epoch: bool,
}

/// By producer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verifications(HashMap<ProducerId, Verification>);

impl Verifications {
    pub(super) fn get(&self, producer_id: ProducerId) -> Option<&Verification> {
        self.0.get(&producer_id)
    }

    /// The question that is out for the producer already, or a new one.
    pub(super) fn begin(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        sequence: i32,
        bumps_epoch: bool,
        now: TimestampMs,
        count_max: usize,
    ) -> VerificationGuard {
        if self.0.len() >= count_max && !self.0.contains_key(&producer_id) {
            self.forget_oldest(count_max);
        }
        let verification = self.0.entry(producer_id).or_insert_with(|| Verification {
            guard: VerificationGuard(NEXT_GUARD.fetch_add(1, Ordering::Relaxed)),
            since: now,
            producer_epoch,
            lowest_sequence: sequence,
            bumps_epoch,
        });
        if producer_epoch > verification.producer_epoch {
            verification.producer_epoch = producer_epoch;
            verification.lowest_sequence = sequence;
        } else if producer_epoch == verification.producer_epoch {
            verification.lowest_sequence = verification.lowest_sequence.min(sequence);
        }
        verification.guard
    }

    /// The transaction is open, or over: who asked before has asked for another one.
    pub(super) fn end(&mut self, producer_id: ProducerId) {
        self.0.remove(&producer_id);
    }

    pub(super) fn remove_expired(&mut self, now: TimestampMs, expiration_ms: i64) {
        self.0.retain(|_, verification| now.0.saturating_sub(verification.since.0) < expiration_ms);
    }

    /// Drops down to nine tenths of the cap. Who is dropped is refused, and asks again.
    fn forget_oldest(&mut self, count_max: usize) {
        let mut by_age: Vec<(TimestampMs, ProducerId)> =
            self.0.iter().map(|(id, verification)| (verification.since, *id)).collect();
        by_age.sort_unstable();
        let excess = (self.0.len() + 1).saturating_sub(count_max * 9 / 10);
        for (_, producer_id) in by_age.into_iter().take(excess) {
            self.0.remove(&producer_id);
        }
    }
}
