//! What goes at the log's beginning: by time, by size, by DeleteRecords; and what never does.

use moldau_log::{AppendOrigin, CleanupPolicy, LogConfig, LogError, PartitionLog};
use moldau_model::{LeaderEpoch, Offset, TimestampMs};
use moldau_record::BatchBuilder;

use crate::support::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const DELETE: CleanupPolicy = CleanupPolicy { delete: true, compact: false };
const COMPACT: CleanupPolicy = CleanupPolicy { delete: false, compact: true };
const BOTH: CleanupPolicy = CleanupPolicy { delete: true, compact: true };

/// One segment a batch, written an hour after the other: offset n is n hours younger than [`NOW`].
fn hourly(config: LogConfig, hours: i64) -> PartitionLog {
    let mut log = Disk::new().open(config);
    for hour in 0..hours {
        let now = TimestampMs(NOW.0 + hour * HOUR_MS);
        let mut builder = BatchBuilder::new();
        builder.append(now, Some(b"key"), Some(&[b'v'; 100]), &[]).unwrap();
        let mut bytes = builder.build().unwrap();
        log.append_as_leader(&mut bytes, EPOCH, AppendOrigin::Client, now).unwrap();
        if hour + 1 < hours {
            log.roll(now).unwrap();
        }
    }
    log
}

/// The log start after one pass.
fn retain(log: &mut PartitionLog, hours_after: i64, high_watermark: i64) -> i64 {
    let now = TimestampMs(NOW.0 + hours_after * HOUR_MS);
    let before = log.segment_base_offsets().len() as i64;
    let removed = log.delete_old_segments(now, Offset(high_watermark)).unwrap();
    let after = log.segment_base_offsets().len() as i64;
    let rolled = i64::from(log.size_bytes() == 0 && removed.segments > 0);
    assert_eq!(removed.segments as i64, before - after + rolled);
    log.log_start_offset().0
}

#[test]
fn by_time_segments_go_whose_youngest_record_is_too_old() {
    let config =
        |retention_ms, cleanup_policy| LogConfig { retention_ms, cleanup_policy, ..LogConfig::default() };
    for (what, config, hours_after, high_watermark, expected) in [
        ("nothing is old", config(10 * HOUR_MS, DELETE), 10, 10, 0),
        ("one is", config(10 * HOUR_MS, DELETE), 11, 10, 1),
        ("all but the last", config(10 * HOUR_MS, DELETE), 19, 10, 9),
        ("the active one too", config(10 * HOUR_MS, DELETE), 20, 10, 10),
        ("never beyond the high watermark", config(10 * HOUR_MS, DELETE), 20, 4, 4),
        ("for ever", config(-1, DELETE), 1_000_000, 10, 0),
        ("no delete in the policy", config(10 * HOUR_MS, COMPACT), 1_000_000, 10, 0),
        ("both in the policy", config(10 * HOUR_MS, BOTH), 20, 10, 10),
        ("at once", config(0, DELETE), 10, 10, 10),
    ] {
        let mut log = hourly(config, 10);
        assert_eq!(retain(&mut log, hours_after, high_watermark), expected, "{what}");
        assert_eq!(log.log_end_offset(), Offset(10), "{what}");
        assert_eq!(retain(&mut log, hours_after, high_watermark), expected, "{what}, again");
    }
}

#[test]
fn by_size_as_many_go_as_leave_no_less_than_the_bound() {
    let one = hourly(LogConfig::default(), 1).size_bytes() as i64;
    for (what, retention_bytes, cleanup_policy, expected) in [
        ("exactly all", 10 * one, DELETE, 0),
        ("one byte less", 10 * one - 1, DELETE, 0),
        ("one less", 9 * one, DELETE, 1),
        ("a half more than three", 3 * one + one / 2, DELETE, 6),
        ("nothing may stay", 0, DELETE, 10),
        ("without limit", -1, DELETE, 0),
        ("no delete in the policy", 0, COMPACT, 0),
    ] {
        let mut log = hourly(LogConfig { retention_bytes, cleanup_policy, ..LogConfig::default() }, 10);
        assert_eq!(retain(&mut log, 0, 10), expected, "{what}");
    }
}

#[test]
fn time_is_the_records_own_and_without_one_the_brokers() {
    let config = LogConfig { retention_ms: HOUR_MS, ..LogConfig::default() };
    let mut log = hourly(config.clone(), 3);
    // A record from the future is alone in its segment and keeps it.
    let mut builder = BatchBuilder::new().base_offset(Offset(3)).leader_epoch(EPOCH);
    builder.append(TimestampMs(NOW.0 + 100 * DAY_MS), None, Some(b"v"), &[]).unwrap();
    log.append_as_follower(&builder.build().unwrap(), NOW).unwrap();
    assert_eq!(retain(&mut log, 24, 4), 3);
    assert_eq!(retain(&mut log, 99 * 24, 4), 3);

    let mut log = Disk::new().open(config);
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs::NONE, None, Some(b"v"), &[]).unwrap();
    append(&mut log, builder.build().unwrap()).unwrap();
    assert_eq!(retain(&mut log, 1, 1), 0);
    assert_eq!(retain(&mut log, 2, 1), 1);
}

#[test]
fn files_of_removed_segments_stay_for_their_readers_and_then_go() {
    let disk = Disk::new();
    let config = LogConfig { retention_bytes: 0, file_delete_delay_ms: 60_000, ..small() };
    let mut log = disk.open(config);
    for number in 0..30 {
        append(&mut log, numbered(number)).unwrap();
    }
    let slice = log.read(Offset(0), 1 << 20, Offset(30), true).unwrap().slice.unwrap();
    let bytes = slice.read_all().unwrap();
    log.delete_old_segments(NOW, Offset(30)).unwrap();
    assert!(log.read(Offset(0), 1 << 20, Offset(30), true).is_err());
    let deleted = |disk: &Disk| disk.names().iter().filter(|name| name.ends_with(".deleted")).count();
    let waiting = deleted(&disk);
    assert!(waiting >= 9, "{waiting}");
    assert_eq!(log.purge_deleted(TimestampMs(NOW.0 + 59_999)), 0);
    assert_eq!(slice.read_all().unwrap(), bytes);
    assert_eq!(log.purge_deleted(TimestampMs(NOW.0 + 60_000)), waiting);
    assert_eq!(deleted(&disk), 0);
    assert_eq!(slice.read_all().unwrap(), bytes, "the open file outlives its name");
    let snapshots = disk.names().iter().filter(|name| name.ends_with(".snapshot")).count();
    assert!(snapshots <= 3, "snapshots of removed segments go with them");
}

#[test]
fn delete_records_moves_the_start_and_the_segments_follow() {
    let mut log = hourly(LogConfig { retention_ms: -1, cleanup_policy: COMPACT, ..LogConfig::default() }, 10);
    assert_eq!(log.delete_records_to(Offset(5), Offset(8)).unwrap(), Offset(5));
    assert_eq!(log.delete_records_to(Offset(3), Offset(8)).unwrap(), Offset(5), "never backwards");
    assert_eq!(offsets(&log), [5, 6, 7, 8, 9]);
    for (offset, high_watermark) in [(9, 8), (11, 20), (-1, 8)] {
        let error = log.delete_records_to(Offset(offset), Offset(high_watermark)).unwrap_err();
        assert!(matches!(error, LogError::OffsetOutOfRange { .. }), "{error}");
    }
    assert_eq!(log.segment_base_offsets().len(), 10);
    assert_eq!(retain(&mut log, 0, 10), 5);
    assert_eq!(log.segment_base_offsets(), (5..10).map(Offset).collect::<Vec<_>>());
    assert_eq!(log.delete_records_to(Offset(10), Offset(10)).unwrap(), Offset(10), "all of it");
    retain(&mut log, 0, 10);
    assert_eq!(
        log.segment_base_offsets(),
        [Offset(9)],
        "the active segment stays, what it holds is not read"
    );
    assert_eq!(offsets(&log), Vec::<i64>::new());
}

#[test]
fn epochs_move_with_the_start() {
    let mut log = Disk::new().open(LogConfig::default());
    for epoch in [0, 2, 4] {
        for _ in 0..5 {
            log.append_as_leader(&mut batch(1), LeaderEpoch(epoch), AppendOrigin::Client, NOW).unwrap();
        }
    }
    log.delete_records_to(Offset(7), Offset(15)).unwrap();
    assert_eq!(log.epoch_for_offset(Offset(6)), None);
    assert_eq!(log.epoch_for_offset(Offset(7)), Some(LeaderEpoch(2)));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)).unwrap().end_offset, Offset(7));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(2)).unwrap().end_offset, Offset(10));
}

#[test]
fn commits_outlive_eight_days_in_a_compacted_log_and_would_not_in_another() {
    for (cleanup_policy, survive) in [(COMPACT, true), (DELETE, false)] {
        // As `__consumer_offsets` is made, but for smaller segments; `retention.ms` is the default of seven days.
        let config = LogConfig { cleanup_policy, segment_bytes: 16 << 10, ..LogConfig::default() };
        let disk = Disk::new();
        let mut log = disk.open(config.clone());
        for number in 0..5_000i64 {
            let now = TimestampMs(NOW.0 + number);
            let mut builder = BatchBuilder::new();
            let (key, value) = (format!("group topic {}", number % 10), format!("offset {number}"));
            builder.append(now, Some(key.as_bytes()), Some(value.as_bytes()), &[]).unwrap();
            let mut bytes = builder.build().unwrap();
            log.append_as_leader(&mut bytes, EPOCH, AppendOrigin::Coordinator, now).unwrap();
        }
        sync(&mut log);
        for day in 1..=8 {
            let now = TimestampMs(NOW.0 + day * DAY_MS + HOUR_MS);
            log.roll_if_due(now).unwrap();
            log.delete_old_segments(now, log.durable_end_offset()).unwrap();
            if log.dirtiness(log.durable_end_offset(), now).is_some() {
                log.clean(log.durable_end_offset(), now).unwrap();
            }
            log.purge_deleted(now);
        }
        let commits = |log: &PartitionLog| {
            let mut last: Vec<(Option<String>, Option<String>)> = Vec::new();
            for (_, key, value) in records(&read_all(log)) {
                last.retain(|(other, _)| *other != key);
                last.push((key, value));
            }
            last
        };
        let expected =
            |key: i64| (Some(format!("group topic {key}")), Some(format!("offset {}", 4_990 + key)));
        let expected: Vec<_> = if survive { (0..10).map(expected).collect() } else { Vec::new() };
        assert_eq!(commits(&log), expected);
        sync_if_due(&mut log);
        let (log, _) = disk.reopen(config, UNCLEAN);
        assert_eq!(commits(&log), expected, "after a restart");
    }
}

fn sync_if_due(log: &mut PartitionLog) {
    if let Some(ticket) = log.begin_sync() {
        ticket.run().unwrap();
        log.complete_sync(ticket);
    }
}
