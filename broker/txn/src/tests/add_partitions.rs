//! AddPartitionsToTxn: what begins a transaction, and what is in it.

use moldau_model::{ErrorCode, TimestampMs};

use super::harness::{Harness, add_request, code, partition};
use crate::*;

#[test]
fn the_first_partition_begins_the_transaction_and_more_join_it() {
    let mut h = Harness::new();
    let producer = h.init("x").unwrap();
    assert_eq!(h.add("x", producer, &[0]), ErrorCode::None);
    let started_at = TimestampMs(h.now_ms);
    h.advance(500);
    assert_eq!(h.add("x", producer, &[1, 2]), ErrorCode::None);
    let described = h.describe("x");
    assert_eq!(described.state, Some(TransactionState::Ongoing));
    assert_eq!(described.started_at, started_at, "more partitions do not prolong it");
    assert_eq!(described.partitions, [partition(0), partition(1), partition(2)]);
}

#[test]
fn partitions_that_are_in_it_already_cost_no_record() {
    let mut h = Harness::new();
    let producer = h.init("x").unwrap();
    h.add("x", producer, &[0, 1]);
    let records = h.log.len();
    assert_eq!(h.add("x", producer, &[1]), ErrorCode::None);
    assert_eq!(h.log.len(), records);
}

#[test]
fn who_may_not_add_is_told_why() {
    let mut h = Harness::new();
    assert_eq!(h.add("x", (1, 0), &[0]), ErrorCode::InvalidProducerIdMapping, "an id that nobody has");
    assert_eq!(h.add("", (1, 0), &[0]), ErrorCode::InvalidRequest);
    let (id, epoch) = h.init("x").unwrap();
    assert_eq!(h.add("x", (id + 1, epoch), &[0]), ErrorCode::InvalidProducerIdMapping);
    for other in [epoch - 1, epoch + 1] {
        assert_eq!(h.add("x", (id, other), &[0]), ErrorCode::ProducerFenced);
    }
}

#[test]
fn while_a_step_is_written_or_markers_are_the_producer_is_to_come_again() {
    let mut h = Harness::new();
    let producer = h.init("x").unwrap();
    h.auto_commit = false;
    let first = h.send(Request::AddPartitions(add_request("x", producer, &[0], 2)));
    assert_eq!(h.add("x", producer, &[1]), ErrorCode::ConcurrentTransactions);
    h.settle_first(Ok(()));
    assert_eq!(code(&h.try_answer(first).unwrap()), ErrorCode::None);
    h.auto_commit = true;
    let next = h.end("x", producer, true).unwrap();
    assert_eq!(h.add("x", next, &[0]), ErrorCode::ConcurrentTransactions, "markers are being written");
    h.write_markers();
    assert_eq!(h.add("x", next, &[0]), ErrorCode::None);
}

#[test]
fn an_answer_waits_for_the_record_and_a_failed_one_adds_nothing() {
    let mut h = Harness::new();
    let producer = h.init("x").unwrap();
    h.auto_commit = false;
    let token = h.send(Request::AddPartitions(add_request("x", producer, &[0], 2)));
    assert!(h.is_waiting(token));
    h.settle_first(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(code(&h.try_answer(token).unwrap()), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.state("x"), Some(TransactionState::Empty));
}

#[test]
fn a_transaction_does_not_outgrow_its_record() {
    let mut h = Harness::with(TransactionConfig { record_bytes_max: 400, ..TransactionConfig::default() }, 2);
    let producer = h.init("x").unwrap();
    assert_eq!(h.add("x", producer, &[0]), ErrorCode::None);
    let many: Vec<i32> = (0..200).collect();
    assert_eq!(h.add("x", producer, &many), ErrorCode::UnknownServerError);
    assert_eq!(h.describe("x").partitions.len(), 1);
    assert!(h.end("x", producer, true).is_ok(), "what is in it can be committed");
}

fn verify(h: &mut Harness, producer: (i64, i16), partitions: &[i32]) -> Vec<ErrorCode> {
    match h.ask(Request::VerifyPartitions(add_request("x", producer, partitions, 0))) {
        Response::VerifyPartitions(response) => response.partitions.iter().map(|(_, code)| *code).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn verification_tells_partitions_of_the_open_transaction_from_others() {
    let mut h = Harness::new();
    assert_eq!(verify(&mut h, (1, 0), &[0]), [ErrorCode::InvalidProducerIdMapping]);
    let (id, epoch) = h.init("x").unwrap();
    assert_eq!(verify(&mut h, (id, epoch), &[0]), [ErrorCode::TransactionAbortable], "nothing is open");
    h.add("x", (id, epoch), &[0]);
    let records = h.log.len();
    let verified = verify(&mut h, (id, epoch), &[0, 1]);
    assert_eq!(verified, [ErrorCode::None, ErrorCode::TransactionAbortable]);
    assert_eq!(verify(&mut h, (id + 1, epoch), &[0]), [ErrorCode::InvalidProducerIdMapping]);
    assert_eq!(verify(&mut h, (id, epoch + 1), &[0]), [ErrorCode::ProducerFenced]);
    assert_eq!(h.end_v1("x", (id, epoch), false), ErrorCode::None);
    assert_eq!(verify(&mut h, (id, epoch), &[0]), [ErrorCode::ConcurrentTransactions]);
    h.write_markers();
    // T22: what comes late, after the abort, is refused: no transaction is left hanging.
    assert_eq!(verify(&mut h, (id, epoch), &[0]), [ErrorCode::TransactionAbortable]);
    assert_eq!(h.log.len(), records + 2, "verification writes nothing");
}
