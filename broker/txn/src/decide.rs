//! What becomes of a request: the next step of its transactional id, or why there is none.

use std::collections::BTreeSet;

use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use crate::request::{AddPartitionsRequest, EndTransactionRequest, InitProducerIdRequest};
use crate::state::TransactionState;
use crate::transaction::{EPOCH_PER_TRANSACTION, Transaction, is_exhausted};

/// What surrounds a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Whether a step is being written.
    pub(crate) is_pending: bool,
    /// `transaction.version` of the cluster: what the coordinator's own steps go by.
    pub(crate) transaction_version: i16,
    /// A fresh producer id, if one was asked for.
    pub(crate) spare: Option<ProducerId>,
    pub(crate) now: TimestampMs,
}

impl Circumstances {
    /// While a step is being written, or markers are, the client is to come again.
    fn is_busy(&self, current: &Transaction) -> bool {
        self.is_pending || current.state.is_ending()
    }
}

/// What a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The step to write; the answer follows it.
    Step(Transaction),
    /// The step to write, which fences; the client is to come again.
    Fence(Transaction),
    /// Decide again with a fresh producer id.
    NeedsProducerId,
    /// All is as asked for already.
    Done,
}

/// InitProducerId: a new epoch for the id, and the end of whatever an older producer has open.
pub(crate) fn init_producer_id(
    current: &Transaction,
    request: &InitProducerIdRequest,
    circumstances: &Circumstances,
) -> Result<Decision, ErrorCode> {
    let (timeout_ms, now) = (request.transaction_timeout_ms, circumstances.now);
    if circumstances.is_pending {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if request.expected.is_some_and(|expected| !is_of_this_producer(current, expected)) {
        return Err(ErrorCode::ProducerFenced);
    }
    if current.state.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    if current.state == TransactionState::Ongoing {
        // Whoever has begun it knows its epoch: another one that goes on was overtaken, and ends nobody's transaction.
        let own = (current.producer_id, current.producer_epoch);
        return match request.expected {
            Some(expected) if expected != own => Err(ErrorCode::ProducerFenced),
            _ => Ok(fence(current, circumstances)),
        };
    }
    let expected_epoch = request.expected.map(|(_, epoch)| epoch);
    let epoch = current.producer_epoch;
    let last_epoch = match expected_epoch {
        // A new producer: whoever goes on from an older epoch is fenced.
        None => ProducerEpoch::NONE,
        // The producer goes on after an error (KIP-360).
        Some(expected) if expected == epoch || !current.is_stored() => epoch,
        // It has not seen the answer to the same request: it gets that answer again.
        Some(expected) if expected == current.last_producer_epoch => {
            return Ok(Decision::Step(current.with_epoch(epoch, expected, timeout_ms, now)));
        }
        Some(_) => return Err(ErrorCode::ProducerFenced),
    };
    if !current.is_epoch_exhausted() {
        let next_epoch = ProducerEpoch(epoch.0 + 1);
        return Ok(Decision::Step(current.with_epoch(next_epoch, last_epoch, timeout_ms, now)));
    }
    Ok(match circumstances.spare {
        Some(id) => Decision::Step(current.with_producer_id(id, last_epoch, timeout_ms, now)),
        None => Decision::NeedsProducerId,
    })
}

/// Whether a producer that goes on is the one the id belongs to: it may have missed that its producer id was rolled.
fn is_of_this_producer(current: &Transaction, (id, epoch): (ProducerId, ProducerEpoch)) -> bool {
    !current.is_stored()
        || id == current.producer_id
        || (id == current.previous_producer_id && is_exhausted(epoch))
}

/// An open transaction is aborted by the coordinator: a new producer has come, or it took too long.
pub(crate) fn fence(current: &Transaction, circumstances: &Circumstances) -> Decision {
    let version = circumstances.transaction_version;
    // The client that repeats its EndTxn goes on from what the abort leaves: that must be an epoch it may have.
    let rolls = version >= EPOCH_PER_TRANSACTION && current.is_epoch_exhausted();
    match (rolls, circumstances.spare) {
        (true, None) => Decision::NeedsProducerId,
        (true, Some(id)) => Decision::Fence(current.fenced(version, Some(id), circumstances.now)),
        (false, _) => Decision::Fence(current.fenced(version, None, circumstances.now)),
    }
}

/// AddPartitionsToTxn.
pub(crate) fn add_partitions(
    current: &Transaction,
    request: &AddPartitionsRequest,
    circumstances: &Circumstances,
) -> Result<Decision, ErrorCode> {
    // First of all: the producer may go by what the step under way will bring.
    if circumstances.is_busy(current) {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    check_producer(current, request.producer_id, request.producer_epoch)?;
    if current.state == TransactionState::Ongoing && contains_all(&current.partitions, &request.partitions) {
        return Ok(Decision::Done);
    }
    let (partitions, version) = (&request.partitions, request.transaction_version);
    Ok(Decision::Step(current.with_partitions(partitions, version, circumstances.now)))
}

/// AddPartitionsToTxn that only verifies (KIP-890): one code for each partition. What is being written is not looked at:
/// the partition's log has the last word.
pub(crate) fn verify_partitions(
    current: &Transaction,
    request: &AddPartitionsRequest,
) -> Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode> {
    check_producer(current, request.producer_id, request.producer_epoch)?;
    if current.state.is_ending() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let verify = |partition: &TopicPartition| {
        let is_open = current.state == TransactionState::Ongoing && current.partitions.contains(partition);
        let code = if is_open { ErrorCode::None } else { ErrorCode::TransactionAbortable };
        (partition.clone(), code)
    };
    Ok(request.partitions.iter().map(verify).collect())
}

/// EndTxn.
pub(crate) fn end_transaction(
    current: &Transaction,
    request: &EndTransactionRequest,
    circumstances: &Circumstances,
) -> Result<Decision, ErrorCode> {
    if request.transaction_version >= EPOCH_PER_TRANSACTION {
        end_with_new_epoch(current, request, circumstances)
    } else {
        end_in_same_epoch(current, request, circumstances)
    }
}

/// EndTxn below version 5: the epoch stays, so what tells a repetition from the next transaction is the state alone.
fn end_in_same_epoch(
    current: &Transaction,
    request: &EndTransactionRequest,
    circumstances: &Circumstances,
) -> Result<Decision, ErrorCode> {
    check_producer(current, request.producer_id, request.producer_epoch)?;
    if circumstances.is_busy(current) {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    match (current.state, request.is_commit) {
        (TransactionState::Ongoing, is_commit) => {
            let version = request.transaction_version;
            Ok(Decision::Step(current.ending(is_commit, version, None, circumstances.now)))
        }
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
            Ok(Decision::Done)
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// EndTxn from version 5 on: the epoch tells which transaction is meant, so one that comes late ends no other
/// (KAFKA-17754).
fn end_with_new_epoch(
    current: &Transaction,
    request: &EndTransactionRequest,
    circumstances: &Circumstances,
) -> Result<Decision, ErrorCode> {
    // First of all: the producer may go by what the step under way will bring.
    if circumstances.is_busy(current) {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let (id, epoch) = (request.producer_id, request.producer_epoch);
    let has_rolled = current.previous_producer_id == id
        && current.producer_id != id
        && is_exhausted(epoch)
        && current.producer_epoch == ProducerEpoch(0);
    if current.producer_id != id && !has_rolled {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let is_ended =
        matches!(current.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
    let has_bumped = current.client_version >= EPOCH_PER_TRANSACTION
        && current.producer_epoch.0.checked_sub(1) == Some(epoch.0);
    let is_repeated = is_ended && (has_rolled || has_bumped);
    if !is_repeated && (has_rolled || current.producer_epoch != epoch) {
        return Err(ErrorCode::ProducerFenced);
    }
    let is_same_outcome = request.is_commit == (current.state == TransactionState::CompleteCommit);
    match current.state {
        _ if is_repeated && is_same_outcome => Ok(Decision::Done),
        _ if is_repeated => Err(ErrorCode::InvalidTxnState),
        // A producer aborts what it has not begun, as far as the coordinator knows.
        state if state != TransactionState::Ongoing && request.is_commit => Err(ErrorCode::InvalidTxnState),
        _ => Ok(end_once(current, request, circumstances)),
    }
}

fn end_once(
    current: &Transaction,
    request: &EndTransactionRequest,
    circumstances: &Circumstances,
) -> Decision {
    let rolled_to = match circumstances.spare {
        _ if !current.is_epoch_exhausted() => None,
        None => return Decision::NeedsProducerId,
        spare => spare,
    };
    let version = request.transaction_version;
    Decision::Step(current.ending(request.is_commit, version, rolled_to, circumstances.now))
}

fn check_producer(current: &Transaction, id: ProducerId, epoch: ProducerEpoch) -> Result<(), ErrorCode> {
    if current.producer_id != id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if current.producer_epoch != epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    Ok(())
}

fn contains_all(partitions: &BTreeSet<TopicPartition>, some: &[TopicPartition]) -> bool {
    some.iter().all(|partition| partitions.contains(partition))
}
