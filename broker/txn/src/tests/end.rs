//! EndTxn: outcomes, repetitions, and requests that come late.

use moldau_model::{ErrorCode, ProducerId};

use super::harness::{Harness, add_request, code, end_request, partition, producer};
use crate::*;

#[test]
fn an_end_is_answered_when_the_outcome_is_committed_and_complete_when_all_markers_are_written() {
    for (is_commit, prepared, complete) in [
        (true, TransactionState::PrepareCommit, TransactionState::CompleteCommit),
        (false, TransactionState::PrepareAbort, TransactionState::CompleteAbort),
    ] {
        let mut h = Harness::new();
        let (id, epoch) = h.init("x").unwrap();
        h.add("x", (id, epoch), &[0, 1]);
        h.auto_commit = false;
        let token = h.send(end_request("x", (id, epoch), is_commit, 2));
        assert!(h.is_waiting(token) && h.markers.is_empty(), "nothing happens before the outcome is durable");
        h.settle_first(Ok(()));
        h.auto_commit = true;
        assert_eq!(producer(&h.try_answer(token).unwrap()), Ok((id, epoch + 1)), "KIP-890");
        assert_eq!(h.state("x"), Some(prepared));
        let markers = h.markers.remove(0);
        assert_eq!((markers.is_commit, markers.producer_id), (is_commit, ProducerId(id)));
        assert_eq!(markers.producer_epoch.0, epoch + 1, "nothing can be written behind the marker");
        h.written(&markers, &[partition(1)]);
        assert_eq!(h.state("x"), Some(prepared), "one partition has no marker yet");
        assert_eq!(h.describe("x").partitions, [partition(0)]);
        h.written(&markers, &[partition(1), partition(0)]);
        assert_eq!(h.state("x"), Some(complete));
        assert!(h.describe("x").partitions.is_empty());
    }
}

#[test]
fn a_producer_that_knows_no_version_2_keeps_its_epoch() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    for is_commit in [true, false, true] {
        let request = Request::AddPartitions(add_request("x", own, &[0], 0));
        assert_eq!(code(&h.ask(request)), ErrorCode::None);
        assert_eq!(h.end_v1("x", own, is_commit), ErrorCode::None);
        assert_eq!(h.end_v1("x", own, is_commit), ErrorCode::ConcurrentTransactions);
        assert_eq!(h.write_markers().producer_epoch.0, own.1);
        assert_eq!(h.end_v1("x", own, is_commit), ErrorCode::None, "a repetition");
        assert_eq!(h.end_v1("x", own, !is_commit), ErrorCode::InvalidTxnState, "not the outcome it had");
    }
}

#[test]
fn an_end_that_comes_late_does_not_end_the_next_transaction() {
    // KAFKA-17754: the client has given up on a connection, and its request is still on the way.
    let mut h = Harness::new();
    let first = h.init("x").unwrap();
    h.add("x", first, &[0]);
    let second = h.end("x", first, true).unwrap();
    h.write_markers();
    assert_eq!(h.end("x", first, true), Ok(second), "repeated at once, it gets the same answer");
    h.add("x", second, &[1]);
    assert_eq!(h.end("x", first, true), Err(ErrorCode::ProducerFenced), "late");
    assert_eq!(h.end_v1("x", first, true), ErrorCode::ProducerFenced);
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing), "the second one is still open");
    assert!(h.markers.is_empty());
    assert!(h.end("x", second, false).is_ok());
    assert!(!h.write_markers().is_commit, "and can be aborted");
    assert_eq!(h.end("x", second, true), Err(ErrorCode::InvalidTxnState), "it was aborted");
}

#[test]
fn an_abort_without_partitions_raises_the_epoch_and_a_commit_is_refused() {
    let mut h = Harness::new();
    let (id, epoch) = h.init("x").unwrap();
    assert_eq!(h.end("x", (id, epoch), true), Err(ErrorCode::InvalidTxnState));
    assert_eq!(h.end_v1("x", (id, epoch), false), ErrorCode::InvalidTxnState);
    assert_eq!(h.end("x", (id, epoch), false), Ok((id, epoch + 1)));
    assert!(h.markers.is_empty(), "no partition is to be told");
    let described = h.describe("x");
    assert_eq!(described.state, Some(TransactionState::CompleteAbort));
    assert_eq!(described.started_at.0, h.now_ms);
    assert_eq!(h.end("x", (id, epoch + 1), false), Ok((id, epoch + 2)), "once more");
    assert_eq!(h.end("x", (id, epoch + 2), true), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn a_producer_in_its_last_epoch_goes_on_with_another_producer_id() {
    let mut h = Harness::new();
    let (id, mut epoch) = h.init("x").unwrap();
    while epoch < i16::MAX - 1 {
        epoch = h.end("x", (id, epoch), false).unwrap().1;
    }
    h.add("x", (id, epoch), &[0]);
    let rolled = h.end("x", (id, epoch), true).unwrap();
    assert!(rolled.0 != id && rolled.1 == 0);
    assert_eq!(h.add("x", rolled, &[0]), ErrorCode::ConcurrentTransactions, "not a wrong producer id");
    assert_eq!(h.end("x", (id, epoch), true), Err(ErrorCode::ConcurrentTransactions));
    let markers = h.write_markers();
    assert_eq!((markers.producer_id.0, markers.producer_epoch.0), (id, i16::MAX));
    assert_eq!(h.end("x", (id, epoch), true), Ok(rolled), "a repetition");
    assert_eq!(h.end("x", (id, epoch), false), Err(ErrorCode::InvalidTxnState));
    assert_eq!(h.add("x", rolled, &[0]), ErrorCode::None);
    assert_eq!(h.end("x", (id, epoch), true), Err(ErrorCode::InvalidProducerIdMapping), "late");
    assert!(h.end("x", rolled, true).is_ok());
}

#[test]
fn who_may_not_end_is_told_why() {
    let mut h = Harness::new();
    assert_eq!(h.end("x", (1, 0), true), Err(ErrorCode::InvalidProducerIdMapping), "an id that nobody has");
    assert_eq!(h.end("", (1, 0), true), Err(ErrorCode::InvalidRequest));
    let (id, epoch) = h.init("x").unwrap();
    h.add("x", (id, epoch), &[0]);
    for version in [0, 2] {
        for (producer, code) in [
            ((id + 1, epoch), ErrorCode::InvalidProducerIdMapping),
            ((id, epoch + 1), ErrorCode::ProducerFenced),
            ((id, epoch - 1), ErrorCode::ProducerFenced),
        ] {
            let asked = h.ask_producer(end_request("x", producer, true, version));
            assert_eq!(asked, Err(code), "{producer:?} {version}");
        }
    }
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing));
}

#[test]
fn an_outcome_that_cannot_be_written_is_no_outcome() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.add("x", own, &[0]);
    h.auto_commit = false;
    let token = h.send(end_request("x", own, true, 2));
    h.settle_first(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(producer(&h.try_answer(token).unwrap()), Err(ErrorCode::CoordinatorNotAvailable));
    assert!(h.markers.is_empty());
    h.auto_commit = true;
    assert!(h.end("x", own, false).is_ok(), "it can still be aborted");
    assert!(!h.write_markers().is_commit);
}

#[test]
fn the_last_record_is_written_until_it_can_be() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.add("x", own, &[0]);
    h.end("x", own, true).unwrap();
    h.auto_commit = false;
    h.write_markers();
    for _ in 0..3 {
        h.settle_first(Err(ErrorCode::NotEnoughReplicas));
        assert_eq!(h.state("x"), Some(TransactionState::PrepareCommit));
        h.advance(TransactionConfig::default().completion_retry_ms);
    }
    h.settle_first(Ok(()));
    assert_eq!(h.state("x"), Some(TransactionState::CompleteCommit));
}

#[test]
fn markers_of_an_earlier_transaction_say_nothing_of_this_one() {
    let mut h = Harness::new();
    let first = h.init("x").unwrap();
    h.add("x", first, &[0]);
    let second = h.end("x", first, true).unwrap();
    let markers = h.write_markers();
    h.add("x", second, &[0]);
    h.end("x", second, true).unwrap();
    h.written(&markers, &[partition(0)]);
    assert_eq!(h.state("x"), Some(TransactionState::PrepareCommit));
    h.write_markers();
    assert_eq!(h.state("x"), Some(TransactionState::CompleteCommit));
}
