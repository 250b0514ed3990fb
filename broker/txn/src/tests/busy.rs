//! What comes while a step is under way waits for it, for a while.

use moldau_model::ErrorCode;

use super::harness::{Harness, Producer, add_request, code, init, producer};
use crate::*;

const WAIT_MS: i64 = 20;

/// A producer adds a partition itself.
fn add(h: &mut Harness, producer: Producer, index: i32) -> RequestToken {
    h.send(Request::AddPartitions(add_request("x", producer, &[index], 0)))
}

/// A broker adds a partition for a producer.
fn add_by_broker(h: &mut Harness, producer: Producer, index: i32) -> RequestToken {
    h.send(Request::AddPartitions(add_request("x", producer, &[index], 2)))
}

fn answered(h: &mut Harness, token: RequestToken) -> Option<ErrorCode> {
    h.try_answer(token).map(|response| code(&response))
}

#[test]
fn the_next_transaction_begins_when_the_last_one_is_complete() {
    let mut h = Harness::waiting();
    let first = h.init("x").unwrap();
    let token = add(&mut h, first, 0);
    assert_eq!(answered(&mut h, token), Some(ErrorCode::None));
    let second = h.end("x", first, true).unwrap();
    let token = add(&mut h, second, 1);
    assert!(h.is_waiting(token), "markers are being written");
    h.write_markers();
    assert_eq!(answered(&mut h, token), Some(ErrorCode::None));
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing));
}

#[test]
fn partitions_that_come_together_are_added_one_after_the_other() {
    let mut h = Harness::waiting();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    let tokens = [0, 1, 2].map(|index| add_by_broker(&mut h, own, index));
    assert_eq!(h.pending.len(), 1, "one step at a time");
    for token in tokens {
        assert!(h.is_waiting(token));
        h.settle_first(Ok(()));
        assert_eq!(answered(&mut h, token), Some(ErrorCode::None));
    }
    assert_eq!(h.describe("x").partitions.len(), 3);
}

#[test]
fn a_broker_asks_anew_once_the_markers_of_the_last_transaction_are_written() {
    let mut h = Harness::waiting();
    let first = h.init("x").unwrap();
    assert_eq!(h.add("x", first, &[0]), ErrorCode::None);
    let second = h.end("x", first, true).unwrap();
    let token = add_by_broker(&mut h, second, 0);
    assert_eq!(answered(&mut h, token), Some(ErrorCode::ConcurrentTransactions));
    h.auto_commit = false;
    h.write_markers();
    let token = add_by_broker(&mut h, second, 0);
    assert_eq!(answered(&mut h, token), Some(ErrorCode::ConcurrentTransactions), "the end is being written");
    h.settle_first(Ok(()));
    h.auto_commit = true;
    assert_eq!(h.add("x", second, &[0]), ErrorCode::None);
}

#[test]
fn whoever_waits_behind_a_step_that_fails_goes_on_all_the_same() {
    let mut h = Harness::waiting();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    let tokens = [0, 1].map(|index| add(&mut h, own, index));
    h.settle_first(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(answered(&mut h, tokens[0]), Some(ErrorCode::CoordinatorNotAvailable));
    h.settle_first(Ok(()));
    assert_eq!(answered(&mut h, tokens[1]), Some(ErrorCode::None));
    assert_eq!(h.describe("x").partitions.len(), 1);
}

#[test]
fn nobody_waits_for_longer_than_a_client_would_stay_away() {
    let mut h = Harness::waiting();
    let first = h.init("x").unwrap();
    add(&mut h, first, 0);
    let second = h.end("x", first, true).unwrap();
    let early = add(&mut h, second, 1);
    h.advance(5);
    let late = add(&mut h, second, 2);
    h.advance(WAIT_MS - 5);
    assert_eq!(answered(&mut h, early), Some(ErrorCode::ConcurrentTransactions));
    assert!(h.is_waiting(late));
    h.advance(5);
    assert_eq!(answered(&mut h, late), Some(ErrorCode::ConcurrentTransactions));
    assert_eq!(h.unanswered(), 0);
}

#[test]
fn a_crowd_that_waits_for_one_id_has_a_bound() {
    let config = TransactionConfig { busy_waiters_max: 2, ..TransactionConfig::default() };
    let mut h = Harness::of(config, 2);
    h.fail_over();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    let tokens = [0, 1, 2, 3].map(|index| add(&mut h, own, index));
    assert_eq!(answered(&mut h, tokens[3]), Some(ErrorCode::ConcurrentTransactions));
    assert_eq!(tokens.iter().filter(|token| h.is_waiting(**token)).count(), 3);
}

#[test]
fn starts_and_ends_do_not_wait_and_who_waits_is_sent_away_with_the_leadership() {
    let mut h = Harness::waiting();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    add(&mut h, own, 0);
    assert_eq!(h.init("x"), Err(ErrorCode::ConcurrentTransactions));
    assert_eq!(h.end("x", own, true), Err(ErrorCode::ConcurrentTransactions));
    let token = add(&mut h, own, 1);
    h.begin_load();
    assert_eq!(answered(&mut h, token), Some(ErrorCode::NotCoordinator));
    h.fail_over();
    let token = h.send(init("x", None));
    h.settle_first(Ok(()));
    assert!(producer(&h.try_answer(token).unwrap()).is_ok());
}
