//! The topic of share state stays short, and keeps all that is needed.

use super::coordinator::{Harness, initialize_at, write_at};
use super::*;

/// So long that unneeded records are deleted, and not so long that a snapshot becomes old.
const PRUNING: i64 = 20_000;
/// So long that snapshots become old as well.
const COOLING: i64 = 60_000;

fn time_goes_by(harness: &mut Harness, time_ms: i64) {
    harness.now_ms += time_ms;
    harness.handle(Input::Tick);
    harness.settle(Ok(()));
}

fn states(harness: &mut Harness) -> Vec<ReadState> {
    (0..2).map(|partition| harness.read_at(partition, 0).unwrap()).collect()
}

#[test]
fn what_lies_before_the_last_snapshot_is_deleted() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(0, 3, 0));
    for start_offset in 1..=4 {
        harness.answer(write_at(0, 3, start_offset));
    }
    // A snapshot, two updates, a snapshot with the third, an update.
    time_goes_by(&mut harness, PRUNING);
    assert_eq!((harness.log.len(), harness.pruned), (5, 3));
    harness.restart();
    assert_eq!(harness.read_at(0, 0).unwrap().start_offset, 4, "nothing of it was needed");
    let log_end = harness.log.len();
    time_goes_by(&mut harness, COOLING);
    assert_eq!(harness.log.len(), log_end + 1, "a snapshot that has become old is written anew");
    time_goes_by(&mut harness, COOLING);
    assert_eq!((harness.log.len(), harness.pruned), (log_end + 1, log_end), "and once is enough");
}

#[test]
fn an_idle_share_partition_does_not_keep_what_others_write() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(0, 3, 7));
    harness.answer(initialize_at(1, 3, 0));
    for round in 1..=60 {
        harness.answer(write_at(1, 3, 2 * round));
        harness.answer(write_at(1, 3, 2 * round + 1));
        time_goes_by(&mut harness, PRUNING);
        let kept = harness.log.len() - harness.pruned;
        assert!(kept <= 30, "round {round}: {kept} records");
        let before = states(&mut harness);
        // A new coordinator counts its intervals anew.
        if round % 10 == 0 {
            harness.restart();
            assert_eq!(states(&mut harness), before);
        }
        assert_eq!((before[0].start_offset, before[1].start_offset), (7, 2 * round + 1));
    }
}

#[test]
fn where_nothing_happens_nothing_is_written() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(0, 3, 7));
    harness.answer(initialize_at(1, 3, 8));
    for _ in 0..3 {
        time_goes_by(&mut harness, COOLING);
    }
    let written = harness.log.len();
    for _ in 0..3 {
        time_goes_by(&mut harness, COOLING);
    }
    assert_eq!(harness.log.len(), written);
}

#[test]
fn all_is_deleted_once_nothing_is_known() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(0, 3, 7));
    harness.answer(Request::Delete { key: key(0) });
    time_goes_by(&mut harness, COOLING);
    assert_eq!(harness.pruned, harness.log.len());
    harness.restart();
    assert_eq!(harness.shard.key_count(), 0);
}

#[test]
fn a_snapshot_that_is_not_committed_replaces_none() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(0, 3, 7));
    harness.ask(initialize_at(0, 4, 9));
    harness.now_ms += PRUNING;
    harness.handle(Input::Tick);
    assert_eq!(harness.pruned, 0);
    harness.settle(Err(ErrorCode::NotLeaderOrFollower));
    harness.restart();
    assert_eq!(harness.read_at(0, 0).unwrap().start_offset, 7);
}

#[test]
fn what_is_committed_is_kept_though_its_outcome_comes_late() {
    let mut harness = Harness::new();
    harness.answer(initialize_at(1, 3, 0));
    for start_offset in 1..=2 {
        harness.answer(write_at(1, 3, start_offset));
    }
    // The first snapshot of one, and behind it a new one of the other, of which is heard first, when it is time to delete.
    harness.ask(initialize_at(0, 3, 7));
    harness.ask(write_at(1, 3, 3));
    harness.now_ms += PRUNING;
    harness.settle_last_first();
    harness.restart();
    assert_eq!(harness.read_at(0, 0).unwrap().start_offset, 7);
}
