//! InitProducerId: who is given which epoch, and who is fenced by it.

use moldau_model::ErrorCode;

use super::harness::{Harness, init, producer};
use crate::*;

const MAX: i16 = i16::MAX;

/// The id's epoch is raised by so many starts of its producer.
fn at_epoch(h: &mut Harness, id: &str, epoch: i16) -> (i64, i16) {
    loop {
        let started = h.init(id).unwrap();
        if started.1 == epoch {
            return started;
        }
        assert!(started.1 < epoch, "{started:?}");
    }
}

#[test]
fn the_first_producer_of_an_id_gets_a_fresh_producer_id_and_each_later_one_the_next_epoch() {
    let mut h = Harness::new();
    let (id, epoch) = h.init("x").unwrap();
    assert_eq!(epoch, 0);
    assert_eq!(h.init("x"), Ok((id, 1)));
    let other = h.init("y").unwrap();
    assert!(other.0 != id && other.1 == 0, "another id has another producer");
    assert_eq!(h.state("x"), Some(TransactionState::Empty));
}

#[test]
fn two_first_producers_at_once_do_not_both_get_through() {
    let mut h = Harness::new();
    h.auto_allocate = false;
    let tokens = [h.send(init("x", None)), h.send(init("x", None))];
    h.auto_commit = false;
    h.allocate(Ok(()));
    h.allocate(Ok(()));
    assert!(h.is_waiting(tokens[0]));
    let second = producer(&h.try_answer(tokens[1]).unwrap());
    assert_eq!(second, Err(ErrorCode::ConcurrentTransactions));
    h.settle_first(Ok(()));
    assert!(producer(&h.try_answer(tokens[0]).unwrap()).is_ok());
}

#[test]
fn requests_that_make_no_sense_are_refused_by_kafkas_codes() {
    let mut h = Harness::new();
    let with = |id: &str, transaction_timeout_ms| {
        Request::InitProducerId(InitProducerIdRequest {
            transactional_id: id.into(),
            transaction_timeout_ms,
            expected: None,
        })
    };
    for (id, timeout_ms, code) in [
        ("", 1, ErrorCode::InvalidRequest),
        ("x", 0, ErrorCode::InvalidTransactionTimeout),
        ("x", -1, ErrorCode::InvalidTransactionTimeout),
        ("x", 900_001, ErrorCode::InvalidTransactionTimeout),
    ] {
        assert_eq!(h.ask_producer(with(id, timeout_ms)), Err(code), "{id:?} {timeout_ms}");
    }
    assert!(h.ask_producer(with("x", 900_000)).is_ok());
    let long = "x".repeat(40_000);
    assert_eq!(h.init(&long), Err(ErrorCode::InvalidRequest));
}

#[test]
fn a_producer_that_goes_on_is_raised_and_one_that_was_overtaken_is_fenced() {
    let mut h = Harness::new();
    let (id, _) = h.init("x").unwrap();
    assert_eq!(h.init_expecting("x", (id, 0)), Ok((id, 1)), "KIP-360");
    assert_eq!(h.init_expecting("x", (id, 0)), Ok((id, 1)), "the answer was lost: the same again");
    assert_eq!(h.init_expecting("x", (id, 1)), Ok((id, 2)));
    assert_eq!(h.init_expecting("x", (id, 0)), Err(ErrorCode::ProducerFenced), "two epochs back");
    assert_eq!(h.init_expecting("x", (id + 77, 2)), Err(ErrorCode::ProducerFenced), "another producer");
    // A new producer fences all that went before, the last one too.
    assert_eq!(h.init("x"), Ok((id, 3)));
    assert_eq!(h.init_expecting("x", (id, 2)), Err(ErrorCode::ProducerFenced));
    assert_eq!(h.init_expecting("x", (id, 3)), Ok((id, 4)));
}

#[test]
fn an_overtaken_producer_that_goes_on_does_not_abort_its_successors_transaction() {
    let mut h = Harness::new();
    let old = h.init("x").unwrap();
    let new = h.init("x").unwrap();
    h.add("x", new, &[0]);
    for other in [old, (new.0 + 77, new.1)] {
        assert_eq!(h.init_expecting("x", other), Err(ErrorCode::ProducerFenced), "{other:?}");
    }
    assert_eq!(h.state("x"), Some(TransactionState::Ongoing));
    assert_eq!(h.init_expecting("x", new), Err(ErrorCode::ConcurrentTransactions), "its own it aborts");
    assert!(!h.write_markers().is_commit);
    assert_eq!(h.init_expecting("x", old), Err(ErrorCode::ProducerFenced));
    assert!(h.init("x").is_ok());
}

#[test]
fn an_open_transaction_is_aborted_before_another_producer_may_start() {
    for version in [0, 2] {
        let mut h = Harness::with(TransactionConfig::default(), version);
        let old = h.init("x").unwrap();
        assert_eq!(h.add("x", old, &[0, 1]), ErrorCode::None);
        assert_eq!(h.init("x"), Err(ErrorCode::ConcurrentTransactions), "the abort comes first");
        assert_eq!(h.init("x"), Err(ErrorCode::ConcurrentTransactions), "markers are being written");
        let markers = h.write_markers();
        assert!(!markers.is_commit);
        assert_eq!(markers.producer_epoch.0, old.1 + 1, "the fenced producer cannot write behind the marker");
        assert_eq!(h.state("x"), Some(TransactionState::CompleteAbort));
        assert_eq!(h.init("x"), Ok((old.0, old.1 + 2)), "version {version}");
        assert_eq!(h.add("x", old, &[0]), ErrorCode::ProducerFenced);
        assert_eq!(h.end("x", old, true), Err(ErrorCode::ProducerFenced));
        assert_eq!(h.end_v1("x", old, true), ErrorCode::ProducerFenced);
    }
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_producer_id() {
    let mut h = Harness::new();
    let last = at_epoch(&mut h, "x", MAX - 1);
    let rolled = h.init("x").unwrap();
    assert!(rolled.0 != last.0 && rolled.1 == 0);
    // Whoever has the old id is fenced, unless it goes on from its last epoch.
    assert_eq!(h.add("x", last, &[0]), ErrorCode::InvalidProducerIdMapping);
    assert_eq!(h.init_expecting("x", last), Err(ErrorCode::ProducerFenced), "a new producer came");
}

#[test]
fn a_producer_that_goes_on_from_the_last_epoch_and_misses_the_answer_gets_it_again() {
    let mut h = Harness::new();
    let last = at_epoch(&mut h, "x", MAX - 1);
    let rolled = h.init_expecting("x", last).unwrap();
    assert!(rolled.0 != last.0 && rolled.1 == 0);
    assert_eq!(h.init_expecting("x", last), Ok(rolled));
    assert_eq!(h.init_expecting("x", rolled), Ok((rolled.0, 1)));
    assert_eq!(h.init_expecting("x", last), Err(ErrorCode::ProducerFenced));
}

#[test]
fn fencing_in_the_last_epoch_leaves_a_producer_that_can_be_fenced_again() {
    for version in [0, 2] {
        let mut h = Harness::with(TransactionConfig::default(), version);
        let last = at_epoch(&mut h, "x", MAX - 1);
        assert_eq!(h.add("x", last, &[0]), ErrorCode::None);
        assert_eq!(h.init("x"), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(h.write_markers().producer_epoch.0, MAX, "the one epoch that nobody is given");
        let next = h.init("x").unwrap();
        assert!(next.0 != last.0 && next.1 < 2, "version {version}: {next:?}");
        assert!(h.end("x", last, false).is_err());
    }
}

#[test]
fn what_cannot_be_written_is_an_error_and_leaves_nothing() {
    for (failure, code) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::UnknownTopicOrPartition, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ] {
        let mut h = Harness::new();
        h.auto_commit = false;
        let token = h.send(init("x", None));
        h.settle_first(Err(failure));
        assert_eq!(producer(&h.try_answer(token).unwrap()), Err(code));
        assert_eq!(h.shard.transactional_id_count(), 0);
        h.auto_commit = true;
        assert_eq!(h.init("x").unwrap().1, 0);
    }
}

#[test]
fn a_producer_waits_for_its_id_and_is_told_if_there_is_none() {
    let mut h = Harness::new();
    h.auto_allocate = false;
    let token = h.send(init("x", None));
    h.allocate(Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(producer(&h.try_answer(token).unwrap()), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(h.shard.transactional_id_count(), 0);
}

#[test]
fn ids_and_steps_under_way_have_a_bound() {
    let mut h = Harness::with(
        TransactionConfig { transactional_ids_max: 2, pending_max: 1, ..TransactionConfig::default() },
        2,
    );
    h.init("a").unwrap();
    h.auto_commit = false;
    let waiting = h.send(init("b", None));
    assert_eq!(h.init("a"), Err(ErrorCode::CoordinatorNotAvailable), "an append is under way");
    h.settle_first(Ok(()));
    h.auto_commit = true;
    assert!(producer(&h.try_answer(waiting).unwrap()).is_ok());
    assert_eq!(h.init("c"), Err(ErrorCode::CoordinatorNotAvailable), "there are two ids");
    assert!(h.init("a").is_ok());
}
