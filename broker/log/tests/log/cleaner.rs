//! Compaction: what stays, what goes, and that no crash in the middle brings anything back.

use std::collections::HashMap;
use std::ops::ControlFlow;

use moldau_log::file_system::Operation;
use moldau_log::{
    ActiveProducer, AppendOrigin, CleanReport, CleanerBudget, CleanupPolicy, LogConfig, LogError,
    PartitionLog,
};
use moldau_model::{ErrorCode, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Batches, Compression, ControlRecord};

use crate::support::*;

const DAY_MS: i64 = 24 * 3_600_000;

type Text = (i64, Option<String>, Option<String>);

const BUDGET: CleanerBudget =
    CleanerBudget { key_bytes: 1 << 20, key_load_factor: 0.9, buffer_bytes: 64 << 10 };

/// Memory for so many keys.
fn keys_for(count: usize) -> CleanerBudget {
    CleanerBudget { key_bytes: (count + 1) * 24, key_load_factor: 1.0, ..BUDGET }
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn compacted() -> LogConfig {
    LogConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..small() }
}

fn keyed_with(mut builder: BatchBuilder, records: &[(&str, Option<&str>)]) -> Vec<u8> {
    for (number, (key, value)) in records.iter().enumerate() {
        let time = TimestampMs(NOW.0 + number as i64);
        builder.append(time, Some(key.as_bytes()), value.map(str::as_bytes), &[("h", Some(b"1"))]).unwrap();
    }
    builder.build().unwrap()
}

fn put(log: &mut PartitionLog, records: &[(&str, Option<&str>)]) {
    append(log, keyed_with(BatchBuilder::new(), records)).unwrap();
}

/// Closes the active segment and compacts everything before it.
fn roll_and_clean(log: &mut PartitionLog, now: TimestampMs) -> CleanReport {
    log.roll(now).unwrap();
    let report = log.clean(log.log_end_offset(), now).unwrap();
    log.purge_deleted(TimestampMs(i64::MAX));
    report
}

fn contents(log: &PartitionLog) -> Vec<Text> {
    records(&read_all(log))
}

fn text(offset: i64, key: &str, value: Option<&str>) -> Text {
    (offset, Some(key.into()), value.map(Into::into))
}

/// The last value of each key that has one.
fn map(records: &[Text]) -> HashMap<String, String> {
    let mut map = HashMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => drop(map.insert(key.clone().unwrap(), value.clone())),
            None => drop(map.remove(key.as_ref().unwrap())),
        }
    }
    map
}

#[test]
fn the_last_value_of_each_key_stays_at_its_offset_with_all_it_had() {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        let mut log = Disk::new().open(compacted());
        let batch =
            |records: &[(&str, Option<&str>)]| keyed_with(BatchBuilder::new().compression(codec), records);
        append(&mut log, batch(&[("a", Some("1")), ("b", Some("2")), ("c", Some("3"))])).unwrap();
        append(&mut log, batch(&[("a", Some("4")), ("d", Some("5"))])).unwrap();
        append(&mut log, batch(&[("b", Some("6"))])).unwrap();
        let report = roll_and_clean(&mut log, NOW);
        assert_eq!((report.records_before, report.records_after), (6, 4), "{codec:?}");
        let left = [
            text(2, "c", Some("3")),
            text(3, "a", Some("4")),
            text(4, "d", Some("5")),
            text(5, "b", Some("6")),
        ];
        assert_eq!(contents(&log), left, "{codec:?}");
        let bytes = read_all(&log);
        let first = Batches::new(&bytes).next().unwrap().unwrap();
        assert_eq!(
            (first.base_offset(), first.last_offset()),
            (Offset(0), Offset(2)),
            "batches keep their ends"
        );
        assert_eq!(first.compression(), Some(codec));
        assert_eq!(first.max_timestamp(), TimestampMs(NOW.0 + 2));
        let records = first.records(moldau_record::DecompressLimit(1000)).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!((record.timestamp, record.headers.len()), (TimestampMs(NOW.0 + 2), 1));
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(0), Offset(6)));
    }
}

#[test]
fn a_tombstone_stays_for_delete_retention_and_then_goes() {
    let disk = Disk::new();
    let mut log = disk.open(compacted());
    put(&mut log, &[("a", Some("1")), ("b", Some("2"))]);
    put(&mut log, &[("a", None)]);
    let left = [text(1, "b", Some("2")), text(2, "a", None)];
    for (after_ms, expected) in [(0, &left[..]), (DAY_MS - 1, &left), (DAY_MS, &left[..1])] {
        put(&mut log, &[("z", Some("later"))]);
        roll_and_clean(&mut log, TimestampMs(NOW.0 + after_ms));
        let mut found = contents(&log);
        found.pop();
        assert_eq!(found, expected, "after {after_ms} ms");
        // Neither the horizon nor what was decided is forgotten by a restart.
        sync(&mut log);
        log = disk.reopen(compacted(), UNCLEAN).0;
    }
}

#[test]
fn only_closed_segments_below_the_bound_are_touched() {
    let mut log = Disk::new().open(compacted());
    for _ in 0..3 {
        put(&mut log, &[("a", Some("x"))]);
        log.roll(NOW).unwrap();
    }
    put(&mut log, &[("a", Some("active"))]);
    log.clean(Offset(2), NOW).unwrap();
    assert_eq!(offsets(&log), [1, 2, 3], "segment 2 may not be committed yet");
    log.clean(Offset(4), NOW).unwrap();
    assert_eq!(offsets(&log), [2, 3], "the active segment neither goes nor supersedes");

    let young = LogConfig { min_compaction_lag_ms: 1000, ..compacted() };
    log.update_config(young);
    put(&mut log, &[("a", Some("last"))]);
    log.roll(NOW).unwrap();
    log.clean(log.log_end_offset(), TimestampMs(NOW.0 + 999)).unwrap();
    assert_eq!(offsets(&log), [2, 3, 4]);
    log.clean(log.log_end_offset(), TimestampMs(NOW.0 + 1000)).unwrap();
    assert_eq!(offsets(&log), [4]);
}

#[test]
fn cleaning_is_due_by_the_dirty_ratio_or_by_age() {
    let config = LogConfig { max_compaction_lag_ms: 5000, ..compacted() };
    let mut log = Disk::new().open(config);
    let due = |log: &PartitionLog, after_ms| {
        log.dirtiness(log.log_end_offset(), TimestampMs(NOW.0 + after_ms)).is_some()
    };
    assert!(!due(&log, 0), "there is nothing");
    put(&mut log, &[("a", Some("x"))]);
    assert!(!due(&log, 9999), "the active segment does not count");
    log.roll(NOW).unwrap();
    assert!(due(&log, 0), "all of it is dirty");
    for number in 0..8 {
        put(&mut log, &[(&format!("key{number}"), Some(&"x".repeat(50)))]);
    }
    roll_and_clean(&mut log, NOW);
    assert!(!due(&log, 9999), "all of it is clean");
    put(&mut log, &[("a", Some("y"))]);
    log.roll(NOW).unwrap();
    assert!(!due(&log, 5000), "a tenth of it is dirty, and young");
    assert!(due(&log, 5001));
    log.update_config(LogConfig {
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        ..compacted()
    });
    assert!(!due(&log, 5001), "not a compacted topic");
}

#[test]
fn a_producers_last_batch_stays_although_its_records_go() {
    let disk = Disk::new();
    let mut log = disk.open(compacted());
    let own = |sequence, value| {
        let builder = BatchBuilder::new().producer(ProducerId(5), ProducerEpoch(1), sequence);
        keyed_with(builder, &[("a", Some(value)), ("b", Some(value))])
    };
    append(&mut log, own(0, "1")).unwrap();
    append(&mut log, own(2, "2")).unwrap();
    put(&mut log, &[("a", Some("3")), ("b", Some("3"))]);
    roll_and_clean(&mut log, NOW);
    assert_eq!(offsets(&log), [4, 5]);
    sync(&mut log);
    for name in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(name);
    }
    let (mut log, _) = disk.reopen(compacted(), UNCLEAN);
    let again = append(&mut log, own(2, "2")).unwrap();
    assert!(again.duplicate && again.first_offset == Offset(2), "{again:?}");
    append(&mut log, own(4, "4")).unwrap();
    roll_and_clean(&mut log, NOW);
    let bytes = read_all(&log);
    let empty = Batches::new(&bytes).filter(|batch| batch.as_ref().unwrap().record_count() == 0).count();
    assert_eq!(empty, 0, "an empty batch goes once the producer wrote another");
}

#[test]
fn nothing_above_the_last_stable_offset_is_cleaned() {
    let mut log = Disk::new().open(compacted());
    let producer = |sequence| {
        BatchBuilder::new().producer(ProducerId(5), ProducerEpoch(0), sequence).transactional(true)
    };
    append(&mut log, keyed_with(producer(0), &[("a", Some("1"))])).unwrap();
    let mut marker = producer(-1).control(true);
    marker.append_control(NOW, ControlRecord::Abort { coordinator_epoch: 0 }).unwrap();
    let mut marker = marker.build().unwrap();
    log.append_as_leader(&mut marker, EPOCH, AppendOrigin::Coordinator, NOW).unwrap();
    put(&mut log, &[("a", Some("2"))]);
    append(&mut log, keyed_with(producer(1), &[("b", Some("open"))])).unwrap();
    put(&mut log, &[("a", Some("3"))]);
    log.roll(NOW).unwrap();
    log.clean(log.log_end_offset(), NOW).unwrap();
    assert_eq!(offsets(&log), [0, 1, 2, 3, 4], "nothing above the last stable offset");
}

/// Of a transaction of one batch, and its end.
fn transact(log: &mut PartitionLog, producer: i64, sequence: i32, records: &[(&str, &str)], is_commit: bool) {
    let builder =
        BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(0), sequence).transactional(true);
    let records: Vec<_> = records.iter().map(|(key, value)| (*key, Some(*value))).collect();
    append(log, keyed_with(builder, &records)).unwrap();
    end(log, producer, is_commit);
}

fn end(log: &mut PartitionLog, producer: i64, is_commit: bool) {
    let record = if is_commit {
        ControlRecord::Commit { coordinator_epoch: 0 }
    } else {
        ControlRecord::Abort { coordinator_epoch: 0 }
    };
    let mut bytes = marker(producer, 0, record);
    log.append_as_leader(&mut bytes, EPOCH, AppendOrigin::Coordinator, NOW).unwrap();
}

/// Base offset and number of records of each batch, with its producer, and a mark for the end of a transaction.
fn batches(log: &PartitionLog) -> Vec<(i64, i32, i64, bool)> {
    let bytes = read_all(log);
    let batches = Batches::new(&bytes).map(Result::unwrap);
    let batches = batches.map(|batch| {
        batch.check_crc().unwrap();
        (batch.base_offset().0, batch.record_count(), batch.producer_id().0, batch.is_control())
    });
    batches.collect()
}

#[test]
fn records_of_aborted_transactions_go_and_those_of_committed_ones_count() {
    let disk = Disk::new();
    let mut log = disk.open(compacted());
    put(&mut log, &[("a", Some("0")), ("b", Some("0")), ("c", Some("0"))]); // 0-2
    transact(&mut log, 1, 0, &[("a", "aborted"), ("d", "aborted")], false); // 3-4, 5
    transact(&mut log, 2, 0, &[("b", "committed")], true); // 6, 7
    transact(&mut log, 1, 2, &[("e", "last of 1")], true); // 8, 9
    transact(&mut log, 3, 0, &[("c", "aborted, last of 3")], false); // 10, 11
    let expected = [("a", "0"), ("b", "committed"), ("c", "0"), ("e", "last of 1")];
    roll_and_clean(&mut log, NOW);
    let kept = [
        (0, 2, -1, false),
        (5, 1, 1, true),
        (6, 1, 2, false),
        (7, 1, 2, true),
        (8, 1, 1, false),
        (9, 1, 1, true),
        // Its sequence is kept, and the end of its transaction as long as that is.
        (10, 0, 3, false),
        (11, 1, 3, true),
    ];
    assert_eq!(batches(&log), kept);
    let aborted: Vec<i64> = log
        .aborted_transactions(Offset(0), Offset(12))
        .unwrap()
        .iter()
        .map(|transaction| transaction.last_offset.0)
        .collect();
    assert_eq!(aborted, [5, 11]);
    let values = |log: &PartitionLog| {
        let mut map: Vec<_> = map(&data(log)).into_iter().collect();
        map.sort_unstable();
        map
    };
    let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    assert_eq!(values(&log), expected);

    // Of the first transaction nothing is left: its end goes once whoever has read the records has read that as well.
    roll_and_clean(&mut log, NOW);
    assert_eq!(batches(&log), kept);
    roll_and_clean(&mut log, TimestampMs(NOW.0 + DAY_MS - 1));
    assert_eq!(batches(&log), kept);
    roll_and_clean(&mut log, TimestampMs(NOW.0 + DAY_MS));
    assert_eq!(batches(&log), [&kept[..1], &kept[2..]].concat());
    assert_eq!(values(&log), expected);
    let before = log.active_producers();
    drop(log);
    for snapshot in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(snapshot);
    }
    let (log, _) = disk.reopen(compacted(), UNCLEAN);
    let sequences = |producers: &[ActiveProducer]| -> Vec<(i64, i32)> {
        producers.iter().map(|producer| (producer.producer_id.0, producer.last_sequence)).collect()
    };
    assert_eq!(sequences(&log.active_producers()), sequences(&before), "every sequence is known");
    assert_eq!(log.aborted_transactions(Offset(0), Offset(12)).unwrap().len(), 1);
    assert_eq!(log.last_stable_offset(log.log_end_offset()), log.log_end_offset());
}

/// Key and value of the records that are no ends of transactions.
fn data(log: &PartitionLog) -> Vec<Text> {
    let bytes = read_all(log);
    let batches = Batches::new(&bytes).map(Result::unwrap).filter(|batch| !batch.is_control());
    batches.flat_map(|batch| records(batch.bytes())).collect()
}

#[test]
fn an_end_of_which_the_epoch_is_all_that_is_known_of_its_producer_stays_without_its_record() {
    let disk = Disk::new();
    let mut log = disk.open(compacted());
    append(&mut log, transactional_in(1, 4, 0, 1)).unwrap();
    // Transactions of version 2 end with a newer epoch than their records have.
    let mut bytes = marker(1, 5, ControlRecord::Abort { coordinator_epoch: 0 });
    log.append_as_leader(&mut bytes, EPOCH, AppendOrigin::Coordinator, NOW).unwrap();
    put(&mut log, &[("a", Some("1"))]);
    for days in 0..3 {
        roll_and_clean(&mut log, TimestampMs(NOW.0 + days * DAY_MS));
    }
    assert_eq!(batches(&log), [(1, 0, 1, true), (2, 1, -1, false)]);
    drop(log);
    for snapshot in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove(snapshot);
    }
    let (mut log, _) = disk.reopen(compacted(), UNCLEAN);
    let refused = append(&mut log, transactional_in(1, 4, 1, 1)).unwrap_err();
    assert_eq!(refused.error_code(), ErrorCode::InvalidProducerEpoch, "who came too late is still refused");
}

/// Transactions that cross segments, several of them and in each other.
fn log_with_transactions(disk: &Disk) -> PartitionLog {
    let config = LogConfig { segment_bytes: 420, delete_retention_ms: 0, ..compacted() };
    let mut log = disk.open(config);
    let filler = "x".repeat(40);
    for round in 0..3 {
        for producer in 0..3 {
            let builder = BatchBuilder::new()
                .producer(ProducerId(producer), ProducerEpoch(0), round * 2)
                .transactional(true);
            let (a, b) = (format!("a{producer}"), format!("b{round}"));
            append(&mut log, keyed_with(builder, &[(&a, Some(&filler)), (&b, Some("b"))])).unwrap();
        }
        for producer in 0..3 {
            end(&mut log, producer, (i64::from(round) + producer) % 2 == 0);
        }
    }
    put(&mut log, &[("filler", Some(&"x".repeat(300)))]);
    log.roll(NOW).unwrap();
    sync(&mut log);
    log
}

/// What a consumer of committed records has of it in the end.
fn committed_map(log: &PartitionLog) -> HashMap<String, String> {
    let end = log.log_end_offset();
    assert_eq!(log.last_stable_offset(end), end);
    let aborted = log.aborted_transactions(Offset(0), end).unwrap();
    let bytes = read_all(log);
    let mut seen = Vec::new();
    for batch in Batches::new(&bytes).map(Result::unwrap).filter(|batch| !batch.is_control()) {
        let is_aborted = batch.is_transactional()
            && aborted.iter().any(|transaction| {
                transaction.producer_id == batch.producer_id()
                    && (transaction.first_offset..transaction.last_offset).contains(&batch.base_offset())
            });
        if !is_aborted {
            seen.extend(records(batch.bytes()));
        }
    }
    map(&seen)
}

#[test]
fn no_two_crashes_bring_an_aborted_record_back_or_take_a_committed_one_away() {
    let disk = Disk::new();
    let log = log_with_transactions(&disk);
    let expected = committed_map(&log);
    assert!(expected.len() > 4, "{expected:?}");
    let mut crashes = 0;
    for first in 0.. {
        let mut second_reached = false;
        for second in (first % 11..).step_by(11) {
            let disk = Disk::new();
            let mut log = log_with_transactions(&disk);
            disk.fs.power_off_at(disk.fs.mutations() + first);
            let first_done = log.clean(log.log_end_offset(), NOW).is_ok();
            disk.fs.power_cut(first);
            let mut log = reopened(&disk);
            assert_eq!(committed_map(&log), expected, "crash {first}");
            disk.fs.power_off_at(disk.fs.mutations() + second);
            let second_done = log.clean(log.log_end_offset(), NOW).is_ok();
            disk.fs.power_cut(second);
            let mut log = reopened(&disk);
            assert_eq!(committed_map(&log), expected, "crashes {first} and {second}");
            for days in 0..3 {
                log.clean(log.log_end_offset(), TimestampMs(NOW.0 + days)).unwrap();
                assert_eq!(committed_map(&log), expected, "crashes {first} and {second}, cleaned");
            }
            crashes += 1;
            if second_done {
                second_reached = first_done;
                break;
            }
        }
        if second_reached {
            break;
        }
    }
    assert!(crashes > 50, "{crashes} pairs of crashes");
}

/// Three groups of segments, the last of which hides what is in the first.
fn log_of_three_groups() -> PartitionLog {
    let mut log = Disk::new().open(LogConfig { segment_bytes: 420, ..compacted() });
    for round in 0..3 {
        for key in ["a", "b", "c", "d"] {
            put(&mut log, &[(key, Some(&format!("{round} {}", "x".repeat(90))))]);
        }
    }
    log.roll(NOW).unwrap();
    log
}

#[test]
fn a_pass_goes_on_beside_appends_and_reads() {
    let mut log = log_of_three_groups();
    let end = log.log_end_offset();
    let mut cleaning = log.begin_clean(end, NOW, BUDGET).unwrap().unwrap();
    assert!(log.begin_clean(end, NOW, BUDGET).unwrap().is_none(), "one pass at a time");
    let mut written = 0;
    while cleaning.run(&mut go_on).unwrap() {
        put(&mut log, &[("a", Some(&format!("beside {written}")))]);
        assert!(contents(&log).len() > 4);
        log.install_cleaned(&mut cleaning, NOW).unwrap();
        written += 1;
    }
    let report = log.complete_clean(cleaning).unwrap();
    assert!(written > 1 && report.first_dirty_offset == end, "{written} {report:?}");
    let mut expected: Vec<i64> = (8..12).collect();
    expected.extend((0..written).map(|number| 12 + number));
    assert_eq!(offsets(&log), expected, "the pass saw nothing of what came after it began");
    assert!(log.begin_clean(end, NOW, BUDGET).unwrap().is_some());
}

#[test]
fn a_pass_that_was_overtaken_changes_nothing() {
    type Change = fn(&mut PartitionLog);
    let changes: [(&str, Change); 4] = [
        ("cut", |log| assert!(log.truncate_to(Offset(9), NOW).unwrap())),
        ("cut and written again", |log| {
            log.truncate_to(Offset(8), NOW).unwrap();
            for key in ["a", "b", "c", "d"] {
                put(log, &[(key, Some(&format!("9 {}", "x".repeat(90))))]);
            }
            log.roll(NOW).unwrap();
        }),
        ("begun anew", |log| log.truncate_fully_and_start_at(Offset(0), NOW).unwrap()),
        ("shortened", |log| {
            log.delete_records_to(Offset(7), log.log_end_offset()).unwrap();
            log.delete_old_segments(NOW, log.log_end_offset()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut log = log_of_three_groups();
        let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, BUDGET).unwrap().unwrap();
        assert!(cleaning.run(&mut go_on).unwrap());
        change(&mut log);
        let expected = contents(&log);
        log.install_cleaned(&mut cleaning, NOW).unwrap();
        assert!(!cleaning.run(&mut go_on).unwrap(), "{what}: it is over");
        let report = log.complete_clean(cleaning).unwrap();
        assert_eq!((report.segments_cleaned, contents(&log)), (0, expected), "{what}");
        let before = map(&contents(&log));
        log.roll(NOW).unwrap();
        log.clean(log.log_end_offset(), NOW).unwrap();
        assert_eq!(map(&contents(&log)), before, "{what}: the next pass takes all of it");
    }
}

#[test]
fn a_pass_that_is_given_up_leaves_the_log_as_it_was() {
    let mut log = log_of_three_groups();
    let before = contents(&log);
    let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, BUDGET).unwrap().unwrap();
    assert!(cleaning.run(&mut go_on).unwrap());
    drop(cleaning);
    assert_eq!(contents(&log), before);
    let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, BUDGET).unwrap().unwrap();
    assert!(cleaning.run(&mut go_on).unwrap());
    log.install_cleaned(&mut cleaning, NOW).unwrap();
    log.complete_clean(cleaning).unwrap();
    assert!(
        log.dirtiness(log.log_end_offset(), NOW).is_some(),
        "what was not looked at is still to be compacted"
    );
    assert_eq!(map(&contents(&log)), map(&before));
}

#[test]
fn what_cannot_be_read_is_not_lost() {
    let disk = Disk::new();
    let mut log = disk.open(compacted());
    put(&mut log, &[("a", Some("1"))]);
    put(&mut log, &[("a", Some("2"))]);
    log.roll(NOW).unwrap();
    let name = "00000000000000000000.log";
    let mut bytes = disk.bytes(name);
    bytes[65] ^= 1;
    disk.set_bytes(name, bytes.clone());
    let error = log.clean(log.log_end_offset(), NOW).unwrap_err();
    assert!(matches!(error, LogError::Io { .. }), "{error}");
    assert_eq!(disk.bytes(name), bytes);
    assert!(!disk.names().iter().any(|name| name.ends_with(".cleaned")), "{:?}", disk.names());
    append(&mut log, keyed_with(BatchBuilder::new(), &[("a", Some("3"))])).unwrap();
}

#[test]
fn more_keys_than_fit_into_memory_take_several_passes() {
    let mut log = Disk::new().open(LogConfig { min_cleanable_dirty_ratio: 0.0, ..compacted() });
    for round in 0..3 {
        for key in 0..40 {
            put(&mut log, &[(&format!("key{key}"), Some(&format!("{round}")))]);
        }
    }
    log.roll(NOW).unwrap();
    let whole = contents(&log);
    let mut passes = 0;
    while log.dirtiness(log.log_end_offset(), NOW).is_some() || passes == 0 {
        let report = log.clean_within(log.log_end_offset(), NOW, keys_for(25)).unwrap();
        assert_eq!(map(&contents(&log)), map(&whole), "after pass {passes}");
        passes += 1;
        assert!(passes < 10 && report.first_dirty_offset.0 > 0);
    }
    assert!(passes > 3);
}

#[test]
fn the_size_is_bounded_by_the_keys_and_not_by_the_writes() {
    let disk = Disk::new();
    let config = LogConfig { segment_bytes: 16 << 10, ..compacted() };
    let mut log = disk.open(config.clone());
    let mut largest = 0;
    for number in 0..20_000 {
        put(&mut log, &[(&format!("key{}", number % 10), Some("a value of some length"))]);
        if number % 50 == 0 && log.dirtiness(log.log_end_offset(), NOW).is_some() {
            log.clean(log.log_end_offset(), NOW).unwrap();
            log.purge_deleted(TimestampMs(i64::MAX));
        }
        largest = largest.max(log.size_bytes());
    }
    let bound = 3 * u64::from(config.segment_bytes);
    assert!(largest <= bound, "{largest} bytes of 10 keys");
    let on_disk: usize = disk.names().iter().map(|name| disk.bytes(name).len()).sum();
    assert!(on_disk as u64 <= bound + 2048, "{on_disk} bytes on disk, indexes included");
    assert_eq!(map(&contents(&log)).len(), 10);
}

/// Values, tombstones over them in another group of segments, and something behind.
fn log_with_tombstones(disk: &Disk) -> PartitionLog {
    let config = LogConfig { segment_bytes: 420, delete_retention_ms: 0, ..compacted() };
    let mut log = disk.open(config);
    for round in 0..2 {
        for key in ["a", "b", "c", "d"] {
            put(
                &mut log,
                &[
                    (key, Some(&format!("value {round} {}", "x".repeat(60)))),
                    (&format!("{key}{round}"), Some("stays")),
                ],
            );
        }
    }
    put(&mut log, &[("a", None), ("b", None)]);
    put(&mut log, &[("filler", Some(&"x".repeat(300)))]);
    put(&mut log, &[("c", None), ("d", Some("last"))]);
    log.roll(NOW).unwrap();
    sync(&mut log);
    log
}

fn reopened(disk: &Disk) -> PartitionLog {
    let config = LogConfig { segment_bytes: 420, delete_retention_ms: 0, ..compacted() };
    disk.reopen(config, UNCLEAN).0
}

#[test]
fn no_two_crashes_bring_a_deleted_key_back() {
    let disk = Disk::new();
    let log = log_with_tombstones(&disk);
    let expected = map(&contents(&log));
    assert!(!expected.contains_key("a") && expected["d"] == "last");
    let mut crashes = 0;
    for first in 0.. {
        let mut second_reached = false;
        for second in (first % 5..).step_by(5) {
            let disk = Disk::new();
            let mut log = log_with_tombstones(&disk);
            disk.fs.power_off_at(disk.fs.mutations() + first);
            let first_done = log.clean(log.log_end_offset(), NOW).is_ok();
            let mut log = reopened(&disk);
            assert_eq!(map(&contents(&log)), expected, "crash {first}");
            disk.fs.power_off_at(disk.fs.mutations() + second);
            let second_done = log.clean(log.log_end_offset(), NOW).is_ok();
            let mut log = reopened(&disk);
            assert_eq!(map(&contents(&log)), expected, "crashes {first} and {second}");
            log.clean(log.log_end_offset(), NOW).unwrap();
            assert_eq!(map(&contents(&log)), expected, "crashes {first} and {second}, cleaned");
            crashes += 1;
            if second_done {
                second_reached = first_done;
                break;
            }
        }
        if second_reached {
            break;
        }
    }
    assert!(crashes > 100, "{crashes} pairs of crashes");
}

#[test]
fn the_old_segments_stay_until_the_new_one_is_durable() {
    let disk = Disk::new();
    let mut log = log_with_tombstones(&disk);
    let whole = contents(&log);
    disk.fs.fail_once(Operation::SyncData, 0, moldau_log::file_system::FaultKind::Io);
    log.clean(log.log_end_offset(), NOW).unwrap_err();
    disk.fs.power_cut(1);
    let log = reopened(&disk);
    assert_eq!(contents(&log), whole);
}
