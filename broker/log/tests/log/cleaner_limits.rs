//! When the cleaner has something to do, what it may use, and what it knows again after a restart.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_log::{
    CleanerBudget, CleanupPolicy, FileCache, FileSystem, LogConfig, LogDirectory, LogError, PartitionLog,
};
use moldau_model::{Offset, TimestampMs, TopicPartition};
use moldau_record::BatchBuilder;

use crate::support::*;

fn compacted() -> LogConfig {
    LogConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..small() }
}

fn keys_for(count: usize) -> CleanerBudget {
    CleanerBudget { key_bytes: (count + 1) * 24, key_load_factor: 1.0, ..CleanerBudget::default() }
}

/// One batch of records with these keys.
fn put(log: &mut PartitionLog, keys: impl IntoIterator<Item = u64>, value_bytes: usize) {
    let mut builder = BatchBuilder::new();
    for key in keys {
        let value = vec![b'x'; value_bytes];
        builder.append(NOW, Some(key.to_string().as_bytes()), Some(&value), &[]).unwrap();
    }
    append(log, builder.build().unwrap()).unwrap();
}

fn ratio(log: &PartitionLog) -> Option<f64> {
    log.dirtiness(log.log_end_offset(), NOW).map(|found| found.ratio())
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_log_is_dirty_enough_above_the_ratio_and_not_at_it() {
    let mut log = Disk::new().open(LogConfig { min_cleanable_dirty_ratio: 1.0, ..compacted() });
    put(&mut log, 0..5, 50);
    log.roll(NOW).unwrap();
    assert_eq!(ratio(&log), None, "all of it is dirty, which is not more than all");
    log.update_config(LogConfig { min_cleanable_dirty_ratio: 0.99, ..compacted() });
    assert_eq!(ratio(&log), Some(1.0));
    log.clean(log.log_end_offset(), NOW).unwrap();
    assert_eq!(ratio(&log), None);
    put(&mut log, 5..10, 50);
    log.roll(NOW).unwrap();
    log.update_config(LogConfig { min_cleanable_dirty_ratio: 0.5, ..compacted() });
    assert_eq!(ratio(&log), None, "half of it is dirty");
    log.update_config(LogConfig { min_cleanable_dirty_ratio: 0.49, ..compacted() });
    assert_eq!(ratio(&log), Some(0.5));
    let _out = log.begin_clean(log.log_end_offset(), NOW, CleanerBudget::default()).unwrap().unwrap();
    assert_eq!(ratio(&log), None, "somebody is at it");
}

#[test]
fn what_a_pass_had_no_memory_for_in_a_segment_is_still_dirty() {
    let mut log = Disk::new().open(LogConfig { segment_bytes: 64 << 10, ..compacted() });
    for batch in 0..10 {
        put(&mut log, batch * 10..batch * 10 + 10, 10);
    }
    log.roll(NOW).unwrap();
    for pass in 1..=4 {
        let report = log.clean_within(log.log_end_offset(), NOW, keys_for(30)).unwrap();
        assert_eq!(report.first_dirty_offset, Offset((pass * 30).min(100)));
        assert_eq!(ratio(&log).is_some(), pass < 4, "after pass {pass}");
    }
}

#[test]
fn a_batch_that_is_too_large_for_the_memory_is_told_and_nothing_changes() {
    let mut log = Disk::new().open(compacted());
    put(&mut log, 0..40, 1);
    log.roll(NOW).unwrap();
    let before = read_all(&log);
    let error = log.clean_within(log.log_end_offset(), NOW, keys_for(39)).unwrap_err();
    let LogError::Io { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("log.cleaner.dedupe.buffer.size"), "{source}");
    assert_eq!(read_all(&log), before);
    log.clean_within(log.log_end_offset(), NOW, keys_for(40)).unwrap();
    assert_eq!(ratio(&log), None);
}

#[test]
fn keys_that_come_again_take_no_more_memory() {
    let mut log = Disk::new().open(LogConfig { segment_bytes: 64 << 10, ..compacted() });
    for _ in 0..50 {
        put(&mut log, 0..20, 1);
    }
    log.roll(NOW).unwrap();
    let report = log.clean_within(log.log_end_offset(), NOW, keys_for(20)).unwrap();
    assert_eq!((report.first_dirty_offset, report.records_after), (Offset(1000), 20));
}

#[test]
fn the_pace_hears_of_every_byte_and_may_end_the_pass() {
    let log_of_groups = |disk: &Disk| {
        let mut log = disk.open(LogConfig { segment_bytes: 20_000, ..compacted() });
        for round in 0..40 {
            put(&mut log, (0..8).map(|key| key + round % 2), 200);
        }
        log.roll(NOW).unwrap();
        log
    };
    let budget = CleanerBudget { buffer_bytes: 4096, ..CleanerBudget::default() };
    let mut log = log_of_groups(&Disk::new());
    let read = 2 * log.size_bytes();
    let (mut heard, mut calls) = (0, 0);
    let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, budget).unwrap().unwrap();
    let mut count = |bytes| {
        (heard, calls) = (heard + bytes, calls + 1);
        ControlFlow::Continue(())
    };
    while cleaning.run(&mut count).unwrap() {
        log.install_cleaned(&mut cleaning, NOW).unwrap();
    }
    assert!((read - 8192..read + 20_000).contains(&heard), "{heard} of {read} bytes and what was written");

    for end in 1..=calls {
        let disk = Disk::new();
        let mut log = log_of_groups(&disk);
        let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, budget).unwrap().unwrap();
        let mut left = end;
        let mut until = |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        while cleaning.run(&mut until).unwrap() {
            log.install_cleaned(&mut cleaning, NOW).unwrap();
        }
        assert!(!cleaning.run(&mut go_on).unwrap(), "it is over");
        log.complete_clean(cleaning).unwrap();
        assert!(!disk.names().iter().any(|name| name.ends_with(".cleaned")), "{:?}", disk.names());
        assert!(ratio(&log).is_some(), "after {end} calls");
        log.clean(log.log_end_offset(), NOW).unwrap();
        assert_eq!(records(&read_all(&log)).len(), 9);
    }
}

#[test]
fn a_segment_does_not_stay_open_for_longer_than_its_records_may_stay_uncleaned() {
    let lag = LogConfig { max_compaction_lag_ms: 1000, ..compacted() };
    let mut log = Disk::new().open(lag.clone());
    put(&mut log, 0..2, 10);
    assert!(!log.roll_if_due(TimestampMs(NOW.0 + 1000)).unwrap());
    assert!(log.roll_if_due(TimestampMs(NOW.0 + 1001)).unwrap());

    let policy = CleanupPolicy { delete: true, compact: false };
    let mut log = Disk::new().open(LogConfig { cleanup_policy: policy, ..lag });
    put(&mut log, 0..2, 10);
    assert!(!log.roll_if_due(TimestampMs(NOW.0 + 1001)).unwrap(), "nothing waits for it");
}

#[test]
fn segments_are_joined_as_long_as_their_indexes_fit_into_one() {
    // An entry for each batch but the first; of the time index one for the whole segment.
    let config = LogConfig { index_interval_bytes: 0, segment_bytes: 64 << 10, ..compacted() };
    for (index_bytes, expected) in [(10 << 20, 2), (120, 3), (60, 5)] {
        let mut log = Disk::new().open(config.clone());
        for segment in 0..4 {
            for batch in 0..6 {
                put(&mut log, [segment * 6 + batch], 10);
            }
            log.roll(NOW).unwrap();
        }
        log.update_config(LogConfig { segment_index_bytes: index_bytes, ..config.clone() });
        log.clean(log.log_end_offset(), NOW).unwrap();
        assert_eq!(log.segment_base_offsets().len(), expected, "{index_bytes} bytes");
    }
}

const CHECKPOINT: &str = "/data/cleaner-offset-checkpoint";

fn open_directory(disk: &FaultFileSystem) -> LogDirectory {
    LogDirectory::open(Arc::new(disk.clone()), Arc::new(FileCache::new(8)), PathBuf::from("/data")).unwrap()
}

fn open_log(directory: &LogDirectory) -> PartitionLog {
    let partition = TopicPartition::new("pageview", 0);
    directory.open_partition(&partition, topic_id(), compacted(), NOW).unwrap().0
}

#[test]
fn how_far_a_log_was_compacted_is_known_again_in_kafkas_file() {
    let disk = FaultFileSystem::new();
    {
        let directory = open_directory(&disk);
        let mut log = open_log(&directory);
        put(&mut log, 0..5, 10);
        log.roll(NOW).unwrap();
        sync(&mut log);
        log.clean(log.log_end_offset(), NOW).unwrap();
        put(&mut log, 5..7, 10);
        log.roll(NOW).unwrap();
        sync(&mut log);
    }
    assert_eq!(disk.bytes(Path::new(CHECKPOINT)).unwrap(), b"0\n1\npageview 0 5\n");
    disk.power_cut(1);
    let directory = open_directory(&disk);
    let mut log = open_log(&directory);
    let found = log.dirtiness(log.log_end_offset(), NOW);
    assert!(found.is_none(), "less than half of it is dirty: {found:?}");

    // What is written again is not what was compacted.
    log.truncate_to(Offset(3), NOW).unwrap();
    assert_eq!(disk.bytes(Path::new(CHECKPOINT)).unwrap(), b"0\n1\npageview 0 0\n");
    put(&mut log, 20..30, 10);
    log.roll(NOW).unwrap();
    sync(&mut log);
    assert_eq!(ratio(&log), Some(1.0));
    log.clean(log.log_end_offset(), NOW).unwrap();
    log.truncate_fully_and_start_at(Offset(4), NOW).unwrap();
    assert_eq!(disk.bytes(Path::new(CHECKPOINT)).unwrap(), b"0\n1\npageview 0 4\n");
}

#[test]
fn a_checkpoint_that_cannot_be_of_the_log_counts_for_nothing() {
    for text in ["0\n1\npageview 0 99\n", "0\n1\npageview 0", "what"] {
        let disk = FaultFileSystem::new();
        {
            let mut log = open_log(&open_directory(&disk));
            put(&mut log, 0..5, 10);
            log.roll(NOW).unwrap();
            sync(&mut log);
        }
        disk.replace_file(Path::new(CHECKPOINT), text.as_bytes()).unwrap();
        disk.kill_process();
        let log = open_log(&open_directory(&disk));
        assert_eq!(ratio(&log), Some(1.0), "{text:?}");
    }
}

#[test]
fn a_pass_whose_checkpoint_is_not_written_was_a_pass_all_the_same() {
    let disk = FaultFileSystem::new();
    let directory = open_directory(&disk);
    let mut log = open_log(&directory);
    for _ in 0..5 {
        put(&mut log, 0..3, 10);
    }
    log.roll(NOW).unwrap();
    sync(&mut log);
    let mut cleaning = log.begin_clean(log.log_end_offset(), NOW, CleanerBudget::default()).unwrap().unwrap();
    while cleaning.run(&mut go_on).unwrap() {
        log.install_cleaned(&mut cleaning, NOW).unwrap();
    }
    disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    log.complete_clean(cleaning).unwrap_err();
    assert!(log.failure().is_none() && ratio(&log).is_none());
    assert_eq!(offsets(&log), [12, 13, 14]);
}
