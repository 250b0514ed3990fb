//! Logs that are there before their files are: they cost nothing, and their first record makes them whole.

use std::path::PathBuf;
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_log::{AppendOrigin, FileCache, LogConfig, LogDirectory, PartitionLog};
use moldau_model::{Offset, TimestampMs, TopicPartition};

use crate::support::*;

fn open(disk: &FaultFileSystem) -> LogDirectory {
    let cache = Arc::new(FileCache::new(8));
    LogDirectory::open(Arc::new(disk.clone()), cache, PathBuf::from("/data")).unwrap()
}

fn partition() -> TopicPartition {
    TopicPartition::new("pageview", 0)
}

fn declare(directory: &LogDirectory) -> PartitionLog {
    directory.open_or_declare_partition(&partition(), topic_id(), LogConfig::default(), NOW).unwrap().0
}

#[test]
fn a_declared_log_is_an_empty_log_and_touches_no_disk() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk);
    let before = disk.mutations();
    let mut log = declare(&directory);
    log.assign_leader_epoch(EPOCH);
    for upper_bound in [Offset(0), Offset(i64::MAX)] {
        assert!(log.read(Offset(0), 1 << 20, upper_bound, true).unwrap().slice.is_none());
        assert_eq!(log.offset_for_timestamp(TimestampMs(0), upper_bound).unwrap(), None);
        assert_eq!(log.max_timestamp_offset(upper_bound).unwrap(), None);
    }
    assert!(log.read(Offset(1), 1 << 20, Offset(1), true).is_err());
    assert!(!log.truncate_to(Offset(0), NOW).unwrap());
    let far = TimestampMs(i64::MAX / 2);
    assert_eq!(log.delete_old_segments(far, Offset(0)).unwrap().segments, 0);
    assert!(!log.roll_if_due(far).unwrap());
    log.roll(NOW).unwrap();
    assert!(log.clean(Offset(0), far).is_ok());
    assert_eq!((log.size_bytes(), log.purge_deleted(far)), (0, 0));
    assert!(log.begin_sync().is_none());
    log.close(NOW).unwrap();
    assert_eq!(disk.mutations(), before);
    directory.delete_partition(declare(&directory), NOW).unwrap();
    assert_eq!(disk.mutations(), before);
    assert_eq!(directory.list_partitions().unwrap(), []);
}

#[test]
fn the_first_record_makes_the_log_and_survives_a_loss_of_power_once_it_is_synced() {
    for seed in 0..20 {
        let disk = FaultFileSystem::new();
        let directory = open(&disk);
        let mut log = declare(&directory);
        append(&mut log, batch(3)).unwrap();
        sync(&mut log);
        drop((log, directory));
        disk.power_cut(seed);
        let directory = open(&disk);
        let found = directory.list_partitions().unwrap();
        assert_eq!(found.len(), 1, "seed {seed}");
        assert_eq!(found[0].topic_id, Some(topic_id()));
        assert_eq!(declare(&directory).log_end_offset(), Offset(3), "what is on disk is opened");
    }
}

#[test]
fn a_log_that_could_not_be_made_is_made_at_the_next_try() {
    for operation in [Operation::Create, Operation::Write] {
        for passes in 0..3 {
            let disk = FaultFileSystem::new();
            let directory = open(&disk);
            let mut log = declare(&directory);
            disk.fail_once(operation, passes, FaultKind::Io);
            let made = log.make();
            disk.clear_faults();
            log.make().unwrap();
            let mutations = disk.mutations();
            log.make().unwrap();
            assert_eq!(disk.mutations(), mutations, "made once");
            append(&mut log, batch(2)).unwrap();
            sync(&mut log);
            drop((log, directory));
            disk.power_cut(passes);
            let log = declare(&open(&disk));
            assert_eq!(log.log_end_offset(), Offset(2), "{operation:?} {passes}: {made:?}");
        }
    }
}

#[test]
fn an_append_that_cannot_make_the_log_leaves_it_empty_and_the_next_one_is_its_first() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk);
    let mut log = declare(&directory);
    disk.fail_always(Operation::Create, FaultKind::Io);
    let mut records = batch(2);
    assert!(log.append_as_leader(&mut records, EPOCH, AppendOrigin::Client, NOW).is_err());
    assert_eq!((log.log_end_offset(), log.size_bytes()), (Offset(0), 0));
    disk.clear_faults();
    assert_eq!(append(&mut log, batch(2)).unwrap().first_offset, Offset(0));
}

#[test]
fn a_declared_log_that_is_to_begin_elsewhere_is_made_for_it() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk);
    let mut log = declare(&directory);
    log.truncate_fully_and_start_at(Offset(100), NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(100), Offset(100)));
    append(&mut log, batch(1)).unwrap();
    assert_eq!(directory.list_partitions().unwrap().len(), 1);
}
