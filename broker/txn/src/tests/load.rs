//! A new coordinator goes on from what the log holds.

use moldau_model::{ErrorCode, LeaderEpoch};

use super::harness::{Harness, add_request, code, end_request, init, producer};
use crate::*;

#[test]
fn nothing_is_lost_from_one_coordinator_to_the_next() {
    for version in [0, 2] {
        let mut h = Harness::with(TransactionConfig::default(), version);
        let open = h.init("open").unwrap();
        h.add("open", open, &[3, 4]);
        let ended = h.init("ended").unwrap();
        h.add("ended", ended, &[0]);
        assert_eq!(h.end_v1("ended", ended, true), ErrorCode::None);
        h.write_markers();
        h.init("fresh").unwrap();
        let before: Vec<_> = ["open", "ended", "fresh"].map(|id| h.describe(id)).into();
        h.fail_over();
        let after: Vec<_> = ["open", "ended", "fresh"].map(|id| h.describe(id)).into();
        assert_eq!(before, after, "version {version}");
        assert_eq!(h.add("open", open, &[5]), ErrorCode::None);
        assert_eq!(h.end_v1("open", open, true), ErrorCode::None);
    }
}

#[test]
fn a_decided_outcome_is_carried_on_with_by_the_next_coordinator() {
    for is_commit in [true, false] {
        let mut h = Harness::new();
        let own = h.init("x").unwrap();
        h.add("x", own, &[0, 1]);
        let next = h.end("x", own, is_commit).unwrap();
        h.fail_over();
        assert_eq!(h.add("x", next, &[0]), ErrorCode::ConcurrentTransactions);
        let markers = h.write_markers();
        assert_eq!((markers.is_commit, markers.partitions.len()), (is_commit, 2));
        assert_eq!(markers.coordinator_epoch, LeaderEpoch(h.leader_epoch), "of the new leadership");
        assert_eq!(h.end("x", own, is_commit), Ok(next), "a repetition is known as one");
        assert_eq!(h.add("x", next, &[0]), ErrorCode::None);
    }
}

#[test]
fn an_end_without_partitions_is_completed_by_the_next_coordinator() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.auto_commit = false;
    h.send(end_request("x", own, false, 2));
    h.settle_first(Ok(()));
    assert_eq!(h.pending.len(), 1, "the last record is on its way");
    h.auto_commit = true;
    h.fail_over_keeping(0);
    assert_eq!(h.state("x"), Some(TransactionState::CompleteAbort));
}

#[test]
fn a_rolled_producer_id_is_known_to_the_next_coordinator() {
    let mut h = Harness::new();
    let (id, mut epoch) = h.init("x").unwrap();
    while epoch < i16::MAX - 1 {
        epoch = h.end("x", (id, epoch), false).unwrap().1;
    }
    h.add("x", (id, epoch), &[0]);
    let rolled = h.end("x", (id, epoch), true).unwrap();
    h.fail_over();
    h.write_markers();
    h.fail_over();
    assert_eq!(h.end("x", (id, epoch), true), Ok(rolled));
    assert_eq!(h.add("x", rolled, &[0]), ErrorCode::None);
}

#[test]
fn clients_are_told_while_a_coordinator_loads_and_when_it_is_none() {
    let mut h = Harness::inactive(TransactionConfig::default(), 2);
    assert_eq!(h.init("x"), Err(ErrorCode::NotCoordinator));
    assert_eq!(h.describe("x").error, ErrorCode::NotCoordinator);
    h.begin_load();
    assert_eq!(h.init("x"), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(h.add("x", (1, 0), &[0]), ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(h.end("x", (1, 0), true), Err(ErrorCode::CoordinatorLoadInProgress));
}

#[test]
fn who_waits_when_the_leadership_ends_is_sent_away() {
    let mut h = Harness::new();
    let own = h.init("x").unwrap();
    h.auto_allocate = false;
    h.auto_commit = false;
    let for_an_id = h.send(init("y", None));
    let for_a_record = h.send(Request::AddPartitions(add_request("x", own, &[0], 2)));
    let append_id = *h.pending.first_key_value().unwrap().0;
    h.begin_load();
    assert_eq!(producer(&h.try_answer(for_an_id).unwrap()), Err(ErrorCode::NotCoordinator));
    assert_eq!(code(&h.try_answer(for_a_record).unwrap()), ErrorCode::NotCoordinator);
    h.fail_over();
    // The outcome of the other leadership's append meets nothing.
    h.handle(Input::Appended { append_id, result: Ok(()) });
    assert_eq!(h.state("x"), Some(TransactionState::Empty));
}

#[test]
fn a_tombstone_and_records_of_other_kinds_leave_nothing() {
    let mut h = Harness::new();
    h.init("x").unwrap();
    let key = h.log[0].key.clone();
    h.begin_load();
    let record = h.log[0].clone();
    assert_eq!(h.shard.replay(&record.key, record.value.as_deref()), Ok(Replayed::Transaction));
    assert_eq!(h.shard.replay(&key, None), Ok(Replayed::Transaction));
    assert_eq!(h.shard.replay(&[0, 7, 1], Some(&[1])), Ok(Replayed::Skipped(7)));
    assert_eq!(h.shard.transactional_id_count(), 0);
}
