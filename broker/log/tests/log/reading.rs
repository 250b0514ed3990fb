//! What a read finds: where it starts, where it ends, and what it says beyond.

use moldau_log::{LogConfig, PartitionLog, ReadError};
use moldau_model::{LeaderEpoch, Offset};
use moldau_record::Batches;

use crate::support::*;

/// First offset of the first batch, and bytes, of one read; whole batches are counted.
fn read(
    log: &PartitionLog,
    from: i64,
    max_bytes: usize,
    upper: i64,
    at_least_one: bool,
) -> Option<(i64, usize, usize)> {
    let slice = log.read(Offset(from), max_bytes, Offset(upper), at_least_one).unwrap().slice?;
    let bytes = slice.read_all().unwrap();
    let batches: Vec<i64> =
        Batches::new(&bytes).map_while(Result::ok).map(|batch| batch.base_offset().0).collect();
    Some((batches[0], batches.len(), bytes.len()))
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset_and_ends_below_the_bound() {
    for reopened in [false, true] {
        let disk = Disk::new();
        let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
        let mut log = disk.open(config.clone());
        for _ in 0..100 {
            append(&mut log, batch(3)).unwrap();
        }
        let size = batch(3).len();
        if reopened {
            // Without the places of the last batches in memory.
            log = disk.reopen(config, UNCLEAN).0;
        }
        for (what, asked, expected) in [
            ("the start", (0, 10 * size, 300, true), Some((0, 10, 10 * size))),
            ("the middle of a batch", (7, 2 * size, 300, true), Some((6, 2, 2 * size))),
            ("a limit inside a batch", (6, 2 * size + 50, 300, true), Some((6, 2, 2 * size))),
            ("a limit below the first batch", (6, 10, 300, true), Some((6, 1, size))),
            ("no room for a whole batch", (6, size - 1, 300, false), None),
            ("room for just one", (6, size, 300, false), Some((6, 1, size))),
            ("the bound between batches", (0, 1 << 20, 9, true), Some((0, 3, 3 * size))),
            ("the bound inside a batch", (0, 1 << 20, 10, true), Some((0, 3, 3 * size))),
            ("the bound inside the first batch", (0, 1 << 20, 2, true), None),
            ("at the bound", (9, 1 << 20, 9, true), None),
            ("beyond the bound", (12, 1 << 20, 9, true), None),
            ("the last batch", (298, 1 << 20, 300, true), Some((297, 1, size))),
            ("a bound beyond the end", (297, 1 << 20, 9999, true), Some((297, 1, size))),
            ("the end", (300, 1 << 20, 300, true), None),
        ] {
            let (from, max_bytes, upper, at_least_one) = asked;
            assert_eq!(
                read(&log, from, max_bytes, upper, at_least_one),
                expected,
                "{what}, reopened {reopened}"
            );
        }
    }
}

#[test]
fn offsets_outside_of_the_log_are_told() {
    let mut log = Disk::new().open(LogConfig::default());
    append(&mut log, batch(10)).unwrap();
    log.delete_records_to(Offset(4), Offset(10)).unwrap();
    for (from, inside) in [(-1, false), (3, false), (4, true), (10, true), (11, false)] {
        let result = log.read(Offset(from), 100, Offset(10), true);
        assert_eq!(result.is_ok(), inside, "{from}");
        if let Err(error) = result {
            assert!(matches!(error, ReadError::OffsetOutOfRange { .. }));
            assert_eq!(error.error_code(), moldau_model::ErrorCode::OffsetOutOfRange);
        }
    }
}

#[test]
fn a_slice_outlives_its_segment() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    for number in 0..30 {
        append(&mut log, numbered(number)).unwrap();
    }
    let slice = log.read(Offset(0), 200, Offset(30), true).unwrap().slice.unwrap();
    let before = slice.read_all().unwrap();
    log.truncate_fully_and_start_at(Offset(50), NOW).unwrap();
    log.purge_deleted(moldau_model::TimestampMs(i64::MAX));
    append(&mut log, numbered(99)).unwrap();
    assert_eq!(slice.read_all().unwrap(), before);
}

#[test]
fn an_index_that_points_nowhere_costs_time_and_not_the_answer() {
    let disk = Disk::new();
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let mut log = disk.open(config.clone());
    for number in 0..50 {
        append(&mut log, numbered(number)).unwrap();
    }
    log.roll(NOW).unwrap();
    log.close(NOW).unwrap();
    let name = "00000000000000000000.index";
    let mut index = disk.bytes(name);
    for entry in index.chunks_mut(8) {
        entry[7] ^= 1;
    }
    disk.set_bytes(name, index);
    let (log, _) = disk.reopen(config, CLEAN);
    assert_eq!(offsets(&log), (0..50).collect::<Vec<i64>>());
    for from in 0..50 {
        assert_eq!(read(&log, from, 1, 50, true).unwrap().0, from);
    }
}

#[test]
fn epochs_and_their_ends() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    for epoch in [1, 1, 3, 3, 3, 6] {
        log.append_as_leader(&mut batch(2), LeaderEpoch(epoch), moldau_log::AppendOrigin::Client, NOW)
            .unwrap();
    }
    let check = |log: &PartitionLog| {
        for (asked, expected) in [
            (0, Some((0, 0))),
            (1, Some((1, 4))),
            (2, Some((1, 4))),
            (3, Some((3, 10))),
            (5, Some((3, 10))),
            (6, Some((6, 12))),
            (7, None),
        ] {
            let end = log.end_offset_for_epoch(LeaderEpoch(asked));
            assert_eq!(end.map(|end| (end.leader_epoch.0, end.end_offset.0)), expected, "epoch {asked}");
        }
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(6)));
        assert_eq!(log.epoch_for_offset(Offset(4)), Some(LeaderEpoch(3)));
    };
    check(&log);
    // After a crash they are found in the batches; after a clean stop in their file.
    let (mut log, _) = disk.reopen(small(), UNCLEAN);
    check(&log);
    log.close(NOW).unwrap();
    assert_eq!(disk.bytes("leader-epoch-checkpoint"), b"0\n3\n1 0\n3 4\n6 10\n");
    check(&disk.reopen(small(), CLEAN).0);
    log = disk.reopen(small(), UNCLEAN).0;
    log.truncate_to(Offset(9), NOW).unwrap();
    assert_eq!(log.log_end_offset(), Offset(8), "the batch goes whole");
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
    log.assign_leader_epoch(LeaderEpoch(9));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(7)).unwrap().end_offset, Offset(8));
}
