//! The duplicate window (KIP-98): what a producer may send next, and what is remembered across a restart.

use moldau_log::{AppendOrigin, LogConfig, PartitionLog};
use moldau_model::{ErrorCode, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, ControlRecord};

use crate::support::*;

/// The first offset that the answer names, or the error; and whether it was a duplicate.
fn send(log: &mut PartitionLog, epoch: i16, sequence: i32, count: usize) -> Result<(i64, bool), ErrorCode> {
    match append(log, idempotent(9, epoch, sequence, count)) {
        Ok(info) => Ok((info.first_offset.0, info.duplicate)),
        Err(error) => Err(error.error_code()),
    }
}

const GAP: Result<(i64, bool), ErrorCode> = Err(ErrorCode::OutOfOrderSequenceNumber);
const FENCED: Result<(i64, bool), ErrorCode> = Err(ErrorCode::InvalidProducerEpoch);

#[test]
fn the_next_batch_of_a_producer() {
    // After batches (epoch 1) of sequences 0-1, 2-3, 4-5, 6-7, 8-9, 10-11 at offsets 0, 2, ... 10.
    for (what, epoch, sequence, count, expected) in [
        ("the next", 1, 12, 1, Ok((12, false))),
        ("the last again", 1, 10, 2, Ok((10, true))),
        ("the fifth last again", 1, 2, 2, Ok((2, true))),
        ("the sixth last again", 1, 0, 2, GAP),
        ("half of the last again", 1, 11, 1, GAP),
        ("another length at the last's start", 1, 10, 1, GAP),
        ("two batches as one", 1, 8, 4, GAP),
        ("a gap", 1, 13, 1, GAP),
        ("an older epoch", 0, 12, 1, FENCED),
        ("an older epoch's own numbers", 0, 0, 1, FENCED),
        ("a newer epoch from zero", 2, 0, 1, Ok((12, false))),
        ("a newer epoch that goes on", 2, 12, 1, GAP),
    ] {
        let mut log = Disk::new().open(LogConfig::default());
        for number in 0..6 {
            assert_eq!(send(&mut log, 1, number * 2, 2), Ok((i64::from(number) * 2, false)));
        }
        assert_eq!(send(&mut log, epoch, sequence, count), expected, "{what}");
        let end = if matches!(expected, Ok((_, false))) { 13 } else { 12 };
        assert_eq!(log.log_end_offset(), Offset(end), "{what}");
    }
}

#[test]
fn a_producer_of_which_nothing_is_known_may_begin_anywhere() {
    let mut log = Disk::new().open(LogConfig::default());
    assert_eq!(send(&mut log, 0, 4711, 3), Ok((0, false)));
    assert_eq!(send(&mut log, 0, 4711, 3), Ok((0, true)));
    assert_eq!(send(&mut log, 0, 4714, 1), Ok((3, false)));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut log = Disk::new().open(LogConfig::default());
    assert_eq!(send(&mut log, 0, i32::MAX - 3, 2), Ok((0, false)));
    assert_eq!(send(&mut log, 0, i32::MAX - 1, 3), Ok((2, false)), "across the wrap");
    assert_eq!(send(&mut log, 0, i32::MAX - 1, 3), Ok((2, true)));
    assert_eq!(send(&mut log, 0, 2, 1), GAP);
    assert_eq!(send(&mut log, 0, 1, 1), Ok((5, false)));

    let mut log = Disk::new().open(LogConfig::default());
    send(&mut log, 0, i32::MAX, 1).unwrap();
    assert_eq!(send(&mut log, 0, 0, 1), Ok((1, false)), "exactly at the wrap");
}

#[test]
fn the_window_survives_a_crash_a_clean_restart_and_the_loss_of_its_snapshot() {
    for (mode, remove_snapshots) in [(UNCLEAN, false), (CLEAN, false), (CLEAN, true), (UNCLEAN, true)] {
        let disk = Disk::new();
        let config = small();
        let mut log = disk.open(config.clone());
        for number in 0..30 {
            append(&mut log, numbered(u64::try_from(number).unwrap())).unwrap();
            send(&mut log, 3, number, 1).unwrap();
        }
        if mode.clean_shutdown {
            log.close(NOW).unwrap();
        }
        drop(log);
        if remove_snapshots {
            for name in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
                disk.remove(name);
            }
        }
        let (mut log, report) = disk.reopen(config, mode);
        assert_eq!(report.notes, Vec::<String>::new());
        assert_eq!(send(&mut log, 3, 29, 1), Ok((59, true)), "{mode:?} {remove_snapshots}");
        assert_eq!(send(&mut log, 3, 31, 1), GAP);
        assert_eq!(send(&mut log, 2, 0, 1), FENCED);
        assert_eq!(send(&mut log, 3, 30, 1), Ok((60, false)));
    }
}

#[test]
fn a_follower_that_takes_over_knows_every_duplicate() {
    let mut leader = Disk::new().open(small());
    for number in 0..20 {
        send(&mut leader, 0, number * 3, 3).unwrap();
    }
    let bytes = read_all(&leader);
    let disk = Disk::new();
    let mut follower = disk.open(small());
    follower.append_as_follower(&bytes, NOW).unwrap();
    for number in 16..20 {
        assert_eq!(send(&mut follower, 0, number * 3, 3), Ok((i64::from(number) * 3, true)));
    }
    for cut in (0..19).rev() {
        // Truncated to each batch boundary, what is left is still known, and what is gone is not.
        let end = Offset(i64::from(cut) * 3 + 3);
        assert!(follower.truncate_to(end, NOW).unwrap());
        assert_eq!(follower.log_end_offset(), end);
        assert_eq!(send(&mut follower, 0, cut * 3, 3), Ok((i64::from(cut) * 3, true)), "cut {cut}");
        assert_eq!(send(&mut follower, 0, cut * 3 + 6, 3), GAP, "cut {cut}");
    }
}

#[test]
fn idle_producers_are_forgotten_and_their_number_is_capped() {
    let config = LogConfig { producer_id_expiration_ms: 1000, producer_ids_max: 100, ..LogConfig::default() };
    let mut log = Disk::new().open(config);
    for producer in 0..150 {
        let now = TimestampMs(NOW.0 + producer);
        log.append_as_leader(&mut idempotent(producer, 0, 0, 1), EPOCH, AppendOrigin::Client, now).unwrap();
    }
    let known = log.active_producers();
    assert!(known.len() <= 100);
    assert_eq!(known.last().unwrap().producer_id, ProducerId(149), "the longest idle went");
    assert_eq!(log.remove_expired_producers(TimestampMs(NOW.0 + 999)), 0);
    let before = log.active_producers().len();
    let expired = log.remove_expired_producers(TimestampMs(NOW.0 + 1140));
    assert_eq!(log.active_producers().len(), before - expired);
    assert_eq!(log.active_producers().first().unwrap().producer_id, ProducerId(141));
}

#[test]
fn a_record_of_the_past_does_not_make_its_producer_expire() {
    let mut log = Disk::new().open(LogConfig::default());
    let mut old = BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), 0);
    old.append(TimestampMs(5), None, Some(b"v"), &[]).unwrap();
    append(&mut log, old.build().unwrap()).unwrap();
    assert_eq!(log.remove_expired_producers(NOW), 0);
}

fn end(log: &mut PartitionLog, producer: i64, coordinator_epoch: i32) -> Result<Offset, ErrorCode> {
    let mut marker = marker(producer, 0, ControlRecord::Commit { coordinator_epoch });
    let appended = log.append_as_leader(&mut marker, EPOCH, AppendOrigin::Coordinator, NOW);
    appended.map(|info| info.last_offset).map_err(|error| error.error_code())
}

#[test]
fn the_last_stable_offset_waits_for_the_oldest_open_transaction() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    append(&mut log, batch(2)).unwrap(); // 0-1
    append(&mut log, transactional(1, 0, 1)).unwrap(); // 2
    append(&mut log, transactional(2, 0, 1)).unwrap(); // 3
    let stable = |log: &PartitionLog, high_watermark| log.last_stable_offset(Offset(high_watermark)).0;
    assert_eq!((stable(&log, 4), stable(&log, 1)), (2, 1));
    assert_eq!(end(&mut log, 1, 5), Ok(Offset(4)));
    assert_eq!(stable(&log, 5), 3, "the second is open still");
    assert_eq!(stable(&log, 4), 2, "a marker above the high watermark does not count yet");
    assert_eq!(end(&mut log, 1, 4), Err(ErrorCode::TransactionCoordinatorFenced));
    assert_eq!(
        append(&mut log, idempotent(2, 0, 1, 1)).unwrap_err().error_code(),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(end(&mut log, 2, 5), Ok(Offset(5)));
    assert_eq!(stable(&log, 6), 6);

    append(&mut log, transactional(1, 1, 1)).unwrap(); // 6
    for mode in [UNCLEAN, CLEAN] {
        if mode.clean_shutdown {
            log.close(NOW).unwrap();
        }
        log = disk.reopen(LogConfig::default(), mode).0;
        assert_eq!(stable(&log, 7), 6, "{mode:?}");
        assert_eq!(log.active_producers()[0].current_transaction_start_offset, Offset(6));
        assert_eq!(log.active_producers()[0].coordinator_epoch, 5);
    }
}
