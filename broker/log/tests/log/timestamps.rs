//! Finding records by time: what ListOffsets answers.

use moldau_log::{AppendOrigin, CleanupPolicy, LogConfig, PartitionLog};
use moldau_model::{LeaderEpoch, Offset, TimestampMs};
use moldau_record::{BatchBuilder, Compression, TimestampType};

use crate::support::*;

/// Offset and time, as a distance from [`NOW`], of the record found.
fn by_time(log: &PartitionLog, distance_ms: i64, upper: i64) -> Option<(i64, i64)> {
    let found = log.offset_for_timestamp(TimestampMs(NOW.0 + distance_ms), Offset(upper)).unwrap();
    found.map(|found| (found.offset.0, found.timestamp.0 - NOW.0))
}

fn youngest(log: &PartitionLog, upper: i64) -> Option<(i64, i64)> {
    let found = log.max_timestamp_offset(Offset(upper)).unwrap();
    found.map(|found| (found.offset.0, found.timestamp.0 - NOW.0))
}

/// Offsets 0-2 with times 10, 30, 20; 3-4 with 25, 5; 5 with 40; 6-7 with 40, 15.
fn log_with_times(config: LogConfig) -> PartitionLog {
    let mut log = Disk::new().open(config);
    for times in [&[10, 30, 20][..], &[25, 5], &[40], &[40, 15]] {
        append(&mut log, at(times)).unwrap();
    }
    log
}

#[test]
fn the_first_record_at_or_after_a_time_even_inside_a_compressed_batch() {
    let every_batch = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let every_segment = LogConfig { segment_bytes: 120, ..every_batch.clone() };
    for config in [LogConfig::default(), every_batch, every_segment] {
        let log = log_with_times(config);
        for (time, upper, expected) in [
            (-1000, 8, Some((0, 10))),
            (10, 8, Some((0, 10))),
            (11, 8, Some((1, 30))),
            (30, 8, Some((1, 30))),
            (31, 8, Some((5, 40))),
            (40, 8, Some((5, 40))),
            (41, 8, None),
            (31, 5, None),
            (31, 6, Some((5, 40))),
            (11, 1, None),
            (0, 0, None),
        ] {
            assert_eq!(by_time(&log, time, upper), expected, "time {time} below {upper}");
        }
    }
}

#[test]
fn the_largest_time_is_that_of_its_first_record_below_the_bound() {
    for segment_bytes in [1 << 20, 120] {
        let log = log_with_times(LogConfig { segment_bytes, ..LogConfig::default() });
        for (upper, expected) in
            [(8, Some((5, 40))), (6, Some((5, 40))), (5, Some((1, 30))), (3, Some((1, 30))), (0, None)]
        {
            assert_eq!(youngest(&log, upper), expected, "below {upper}");
        }
    }
}

#[test]
fn what_lies_before_the_log_start_is_not_found() {
    let mut log = log_with_times(LogConfig::default());
    log.delete_records_to(Offset(2), Offset(8)).unwrap();
    assert_eq!(by_time(&log, 0, 8), Some((2, 20)), "in the middle of a batch");
    assert_eq!(by_time(&log, 21, 8), Some((3, 25)));
    log.delete_records_to(Offset(6), Offset(8)).unwrap();
    assert_eq!(youngest(&log, 8), Some((6, 40)));
    log.delete_records_to(Offset(7), Offset(8)).unwrap();
    assert_eq!(youngest(&log, 8), Some((7, 15)), "the batch's own maximum lies before the start");
    log.delete_records_to(Offset(8), Offset(8)).unwrap();
    assert_eq!((by_time(&log, 0, 8), youngest(&log, 8)), (None, None));
}

#[test]
fn of_log_append_time_every_record_has_its_batchs() {
    let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let mut log = Disk::new().open(config);
    for distance in [100, 200] {
        let mut bytes = at(&[7, 9999, 3]);
        let now = TimestampMs(NOW.0 + distance);
        let info = log.append_as_leader(&mut bytes, EPOCH, AppendOrigin::Client, now).unwrap();
        assert_eq!(info.log_append_time, now);
    }
    assert_eq!(by_time(&log, 0, 6), Some((0, 100)));
    assert_eq!(by_time(&log, 101, 6), Some((3, 200)));
    assert_eq!(youngest(&log, 6), Some((3, 200)));
    log.update_config(LogConfig::default());
    assert_eq!(youngest(&log, 6), Some((3, 200)), "the batch says which time it has, not the topic");
}

#[test]
fn records_without_a_time_are_passed_over() {
    let mut log = Disk::new().open(LogConfig::default());
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs::NONE, None, Some(b"v"), &[]).unwrap();
    append(&mut log, builder.build().unwrap()).unwrap();
    assert_eq!((by_time(&log, 0, 1), youngest(&log, 1)), (None, None));
    append(&mut log, at(&[5])).unwrap();
    assert_eq!((by_time(&log, 0, 2), youngest(&log, 2)), (Some((1, 5)), Some((1, 5))));
}

#[test]
fn the_epoch_of_what_is_found_comes_with_it() {
    let mut log = Disk::new().open(LogConfig::default());
    for epoch in [0, 3] {
        log.append_as_leader(&mut at(&[i64::from(epoch)]), LeaderEpoch(epoch), AppendOrigin::Client, NOW)
            .unwrap();
    }
    let found = log.offset_for_timestamp(TimestampMs(NOW.0 + 1), Offset(2)).unwrap().unwrap();
    assert_eq!((found.offset, found.leader_epoch), (Offset(1), LeaderEpoch(3)));
}

#[test]
fn what_compaction_took_away_is_not_found() {
    let cleanup_policy = CleanupPolicy { delete: false, compact: true };
    let mut log = Disk::new().open(LogConfig { cleanup_policy, ..LogConfig::default() });
    for (time, key) in [(10, "a"), (50, "b"), (20, "a"), (30, "b")] {
        let mut builder = BatchBuilder::new().compression(Compression::Zstd);
        builder.append(TimestampMs(NOW.0 + time), Some(key.as_bytes()), Some(b"v"), &[]).unwrap();
        append(&mut log, builder.build().unwrap()).unwrap();
    }
    log.roll(NOW).unwrap();
    log.clean(Offset(4), NOW).unwrap();
    assert_eq!(by_time(&log, 0, 4), Some((2, 20)));
    assert_eq!(youngest(&log, 4), Some((3, 30)));
    assert_eq!(by_time(&log, 31, 4), None);
}

#[test]
fn a_search_is_the_same_after_a_restart_of_either_kind() {
    for mode in [CLEAN, UNCLEAN] {
        let disk = Disk::new();
        let mut log = disk.open(small());
        let mut random = Random::new(5);
        for _ in 0..200 {
            append(&mut log, at(&[random.below(1000) as i64])).unwrap();
        }
        let end = log.log_end_offset().0;
        let expected: Vec<_> = (0..1000).map(|time| by_time(&log, time, end)).collect();
        let expected_youngest = youngest(&log, end);
        log.close(NOW).unwrap();
        let (log, _) = disk.reopen(small(), mode);
        assert_eq!((0..1000).map(|time| by_time(&log, time, end)).collect::<Vec<_>>(), expected);
        assert_eq!(youngest(&log, end), expected_youngest);
    }
}
