//! What is known of one transactional id, and the steps it can take. Each step gives the whole of what will be known
//! once its record is committed; nothing changes before.

use std::collections::BTreeSet;

use moldau_model::{ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use crate::state::TransactionState;

/// Transactions whose end raises the producer's epoch (KIP-890): `transaction.version` 2 and above.
pub(crate) const EPOCH_PER_TRANSACTION: i16 = 2;

/// No producer is given an epoch above this one, so that the coordinator can always fence by one more.
const LAST_PRODUCER_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// The newest transaction of a transactional id: the contents of its record, and what only memory has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) producer_id: ProducerId,
    /// The producer id before the last step: that of a client that repeats an EndTxn which rolled the id.
    pub(crate) previous_producer_id: ProducerId,
    /// The producer id to go on with once the transaction is complete: the epochs of this one are used up.
    pub(crate) next_producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    /// The epoch before the last one, for a producer that repeats its InitProducerId (KIP-360). Memory alone.
    pub(crate) last_producer_epoch: ProducerEpoch,
    pub(crate) timeout_ms: i32,
    pub(crate) state: TransactionState,
    /// While markers are written: the partitions that have none yet.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) started_at: TimestampMs,
    pub(crate) updated_at: TimestampMs,
    /// What the client knew of transactions when it took the last step.
    pub(crate) client_version: i16,
}

impl Transaction {
    /// An id that nobody had: its first InitProducerId raises the epoch to zero.
    pub(crate) fn unused(producer_id: ProducerId, timeout_ms: i32, now: TimestampMs) -> Self {
        Self {
            producer_id,
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            started_at: TimestampMs::NONE,
            updated_at: now,
            client_version: 0,
        }
    }

    /// Whether a record of it was ever committed.
    pub(crate) fn is_stored(&self) -> bool {
        self.producer_epoch != ProducerEpoch::NONE
    }

    /// Whether no further epoch of this producer id may be given to a producer.
    pub(crate) fn is_epoch_exhausted(&self) -> bool {
        is_exhausted(self.producer_epoch)
    }

    /// A producer starts, or goes on with another epoch.
    pub(crate) fn with_epoch(
        &self,
        producer_epoch: ProducerEpoch,
        last_producer_epoch: ProducerEpoch,
        timeout_ms: i32,
        now: TimestampMs,
    ) -> Self {
        Self {
            previous_producer_id: self.producer_id,
            producer_epoch,
            last_producer_epoch,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            started_at: TimestampMs::NONE,
            updated_at: now,
            ..self.clone()
        }
    }

    /// A producer starts, or goes on, with another producer id: the epochs of the old one are used up.
    pub(crate) fn with_producer_id(
        &self,
        producer_id: ProducerId,
        last_producer_epoch: ProducerEpoch,
        timeout_ms: i32,
        now: TimestampMs,
    ) -> Self {
        Self { producer_id, ..self.with_epoch(ProducerEpoch(0), last_producer_epoch, timeout_ms, now) }
    }

    /// The transaction has these partitions too. It begins now if it had not.
    pub(crate) fn with_partitions(
        &self,
        partitions: &[TopicPartition],
        client_version: i16,
        now: TimestampMs,
    ) -> Self {
        let mut next = Self {
            previous_producer_id: self.producer_id,
            state: TransactionState::Ongoing,
            started_at: if self.state.is_at_rest() { now } else { self.started_at },
            updated_at: now,
            client_version,
            ..self.clone()
        };
        next.partitions.extend(partitions.iter().cloned());
        next
    }

    /// The outcome is decided. With `transaction.version` 2 the epoch rises, and markers carry the new one; `rolled_to`
    /// is the producer id that follows where there is no epoch left.
    pub(crate) fn ending(
        &self,
        is_commit: bool,
        version: i16,
        rolled_to: Option<ProducerId>,
        now: TimestampMs,
    ) -> Self {
        let state = if is_commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        let mut next = Self {
            previous_producer_id: self.producer_id,
            next_producer_id: rolled_to.unwrap_or(ProducerId::NONE),
            state,
            // A transaction that never had a partition begins with its end.
            started_at: if self.state == TransactionState::Ongoing { self.started_at } else { now },
            updated_at: now,
            client_version: version,
            ..self.clone()
        };
        if version >= EPOCH_PER_TRANSACTION {
            next.producer_epoch = self.next_epoch();
            next.last_producer_epoch = self.producer_epoch;
        }
        next
    }

    /// The transaction is aborted in an epoch that its producer does not have.
    pub(crate) fn fenced(&self, version: i16, rolled_to: Option<ProducerId>, now: TimestampMs) -> Self {
        let mut next = self.ending(false, version, rolled_to, now);
        if version < EPOCH_PER_TRANSACTION {
            next.producer_epoch = self.next_epoch();
            next.last_producer_epoch = ProducerEpoch::NONE;
        }
        next
    }

    /// All markers are written.
    ///
    /// # Panics
    /// If the outcome was not decided: an outcome made up here would be another one than the markers have.
    pub(crate) fn completed(&self, now: TimestampMs) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            TransactionState::PrepareAbort => TransactionState::CompleteAbort,
            state => panic!("a transaction in state {state} has no outcome"),
        };
        let mut next = Self {
            previous_producer_id: self.producer_id,
            next_producer_id: ProducerId::NONE,
            state,
            partitions: BTreeSet::new(),
            updated_at: now,
            ..self.clone()
        };
        (next.producer_id, next.producer_epoch) = self.producer_after();
        next
    }

    /// What the producer goes on with after the transaction that ends.
    pub(crate) fn producer_after(&self) -> (ProducerId, ProducerEpoch) {
        if self.next_producer_id == ProducerId::NONE {
            (self.producer_id, self.producer_epoch)
        } else {
            (self.next_producer_id, ProducerEpoch(0))
        }
    }

    fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.producer_epoch.0.saturating_add(1))
    }
}

/// Whether this is the last epoch that a producer is given, or one beyond it.
pub(crate) fn is_exhausted(producer_epoch: ProducerEpoch) -> bool {
    producer_epoch >= LAST_PRODUCER_EPOCH
}
