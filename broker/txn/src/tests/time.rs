//! What the passing of time does.

use moldau_model::ErrorCode;

use super::harness::{Harness, add_request, code, init, producer};
use crate::*;

const SCAN_MS: i64 = 10_000;

#[test]
fn a_transaction_that_takes_too_long_is_aborted_in_an_epoch_its_producer_does_not_have() {
    for version in [0, 2] {
        let mut h = Harness::with(TransactionConfig::default(), version);
        let own = h.init("x").unwrap();
        h.add("x", own, &[0]);
        h.advance(60_000);
        assert_eq!(h.state("x"), Some(TransactionState::Ongoing), "it has its time");
        h.advance(SCAN_MS);
        assert_eq!(h.state("x"), Some(TransactionState::PrepareAbort));
        let markers = h.write_markers();
        assert_eq!((markers.is_commit, markers.producer_epoch.0), (false, own.1 + 1));
        assert_eq!(h.end_v1("x", own, true), ErrorCode::ProducerFenced, "version {version}");
        assert_eq!(h.add("x", own, &[0]), ErrorCode::ProducerFenced);
        assert!(h.init("x").is_ok());
    }
}

#[test]
fn a_producer_of_version_2_that_was_too_slow_learns_it_and_goes_on() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.add("x", own, &[0]);
    h.advance(60_000 + 2 * SCAN_MS);
    h.write_markers();
    assert_eq!(h.end("x", own, true), Err(ErrorCode::InvalidTxnState), "it was aborted");
    let next = h.end("x", own, false).unwrap();
    assert_eq!(next, (own.0, own.1 + 1));
    assert_eq!(h.add("x", next, &[0]), ErrorCode::None);
}

#[test]
fn a_transaction_in_the_last_epoch_that_takes_too_long_is_aborted_too() {
    let mut h = Harness::new();
    let (id, mut epoch) = h.init("x").unwrap();
    while epoch < i16::MAX - 1 {
        epoch = h.end("x", (id, epoch), false).unwrap().1;
    }
    h.add("x", (id, epoch), &[0]);
    h.auto_allocate = false;
    h.advance(60_000 + SCAN_MS);
    // No producer id is to be had: it is looked for again.
    h.allocate(Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing));
    h.auto_allocate = true;
    h.advance(SCAN_MS);
    assert_eq!(h.write_markers().producer_epoch.0, i16::MAX);
    let next = h.end("x", (id, epoch), false).unwrap();
    assert!(next.0 != id && next.1 == 0, "an epoch it may have: {next:?}");
}

#[test]
fn an_id_that_nobody_uses_is_forgotten_and_one_with_an_open_transaction_is_not() {
    let config = TransactionConfig {
        transactional_id_expiration_ms: 100_000,
        remove_expired_interval_ms: 1_000,
        records_per_append_max: 2,
        ..TransactionConfig::default()
    };
    let mut h = Harness::with(TransactionConfig { abort_timed_out_interval_ms: i64::MAX, ..config }, 2);
    for id in ["a", "b", "c", "ending", "open"] {
        h.init(id).unwrap();
    }
    for id in ["open", "ending"] {
        let own = h.init(id).unwrap();
        h.add(id, own, &[0]);
    }
    let own = h.describe("ending");
    h.end("ending", (own.producer_id.0, own.producer_epoch.0), true).unwrap();
    h.advance(99_000);
    assert_eq!(h.shard.transactional_id_count(), 5);
    h.auto_commit = false;
    h.advance(2_000);
    assert_eq!(h.pending.len(), 2, "three tombstones, two in an append");
    assert_eq!(h.init("a"), Err(ErrorCode::ConcurrentTransactions), "its tombstone is on its way");
    h.settle_first(Ok(()));
    h.settle_first(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(h.shard.transactional_id_count(), 3);
    h.auto_commit = true;
    h.advance(1_000);
    assert_eq!(h.shard.transactional_id_count(), 2);
    h.fail_over();
    assert_eq!(h.shard.transactional_id_count(), 2, "tombstones are in the log");
    assert_eq!(h.init("a").unwrap().1, 0);
}

#[test]
fn an_append_whose_fate_stays_unknown_is_answered_in_time_and_stays_pending() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let token = h.send(init("x", None));
    h.advance(29_999);
    assert!(h.is_waiting(token));
    h.advance(1);
    assert_eq!(producer(&h.try_answer(token).unwrap()), Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(h.init("x"), Err(ErrorCode::ConcurrentTransactions), "its record may be in the log");
    h.settle_first(Ok(()));
    h.auto_commit = true;
    assert_eq!(h.init("x").unwrap().1, 1, "it was");
}

#[test]
fn a_late_outcome_after_the_client_was_told_still_counts() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    let token = h.send(Request::AddPartitions(add_request("x", own, &[0], 2)));
    h.advance(30_000);
    assert_eq!(code(&h.try_answer(token).unwrap()), ErrorCode::CoordinatorNotAvailable);
    h.settle_first(Ok(()));
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing));
    assert_eq!(h.unanswered(), 0);
}
