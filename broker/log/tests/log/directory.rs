//! One of `log.dirs`: its owner, its identity, its checkpoints, its partitions, and its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_log::{
    FileCache, FileSystem, LogConfig, LogDirectory, LogError, MetaProperties, PartitionCheckpoint,
    PartitionLog, RealFileSystem,
};
use moldau_model::{BrokerEpoch, BrokerId, Offset, TimestampMs, TopicId, TopicPartition, Uuid};

use crate::support::*;

fn open(disk: &FaultFileSystem) -> Result<LogDirectory, LogError> {
    LogDirectory::open(Arc::new(disk.clone()), Arc::new(FileCache::new(8)), PathBuf::from("/data"))
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("pageview", number)
}

fn open_log(directory: &LogDirectory, number: i32) -> PartitionLog {
    directory.open_partition(&partition(number), topic_id(), LogConfig::default(), NOW).unwrap().0
}

fn checkpoint(log: &PartitionLog) -> PartitionCheckpoint {
    PartitionCheckpoint {
        topic_partition: log.topic_partition().clone(),
        recovery_point: log.durable_end_offset(),
        log_start_offset: log.log_start_offset(),
        high_watermark: log.durable_end_offset(),
    }
}

fn properties() -> MetaProperties {
    MetaProperties {
        cluster_id: "mKZ8dTqYR1mXkF2g5p0Dhw".into(),
        node_id: BrokerId(3),
        directory_id: Uuid::from_random_bytes([9; 16]),
    }
}

fn names(disk: &FaultFileSystem) -> Vec<String> {
    disk.read_dir(Path::new("/data")).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_directory_has_one_owner_at_a_time() {
    let disk = FaultFileSystem::new();
    let first = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(LogError::Locked { path }) if path == Path::new("/data")));
    drop(first);
    open(&disk).unwrap();

    let real = tempfile::tempdir().unwrap();
    let open = || {
        LogDirectory::open(
            Arc::new(RealFileSystem),
            Arc::new(FileCache::new(8)),
            real.path().join("new/deep"),
        )
    };
    let first = open().unwrap();
    assert!(matches!(open(), Err(LogError::Locked { .. })));
    drop(first);
    let again = open().unwrap();
    let space = again.space().unwrap();
    assert!(space.usable_bytes <= space.total_bytes && space.total_bytes > 0);
}

#[test]
fn an_identity_is_kept_and_a_corrupt_one_stands_in_the_way() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    assert_eq!(directory.meta_properties(), None);
    directory.format(&properties()).unwrap();
    assert_eq!(directory.meta_properties(), Some(properties()));
    drop(directory);
    disk.power_cut(1);
    assert_eq!(open(&disk).unwrap().meta_properties(), Some(properties()));
    disk.set_bytes(Path::new("/data/meta.properties"), b"version=1\n".to_vec()).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { path, .. } if path.ends_with("meta.properties")), "{error}");
}

#[test]
fn checkpoints_come_back_each_for_its_partition() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    let mut checkpoints = Vec::new();
    for number in 0..3 {
        let mut log = open_log(&directory, number);
        for _ in 0..=number {
            append(&mut log, batch(10)).unwrap();
        }
        sync(&mut log);
        log.delete_records_to(Offset(5), Offset(10)).unwrap();
        checkpoints.push(checkpoint(&log));
    }
    directory.write_checkpoints(&checkpoints).unwrap();
    let syncs = disk.count(Operation::SyncData);
    directory.write_checkpoints(&checkpoints).unwrap();
    assert_eq!(disk.count(Operation::SyncData), syncs, "what did not change is not written");
    drop(directory);
    disk.power_cut(2);
    let directory = open(&disk).unwrap();
    for number in 0..3 {
        let end = Offset(10 * i64::from(number) + 10);
        assert_eq!(directory.high_watermark_checkpoint(&partition(number)), Some(end));
        let log = open_log(&directory, number);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(5), end));
    }
    assert_eq!(directory.high_watermark_checkpoint(&partition(7)), None);
}

#[test]
fn a_start_that_was_checkpointed_does_not_outlive_a_truncation_below_it() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    let mut log = open_log(&directory, 0);
    for _ in 0..10 {
        append(&mut log, batch(1)).unwrap();
    }
    sync(&mut log);
    log.delete_records_to(Offset(8), Offset(10)).unwrap();
    directory.write_checkpoints(&[checkpoint(&log)]).unwrap();
    log.truncate_to(Offset(3), NOW).unwrap();
    append(&mut log, batch(2)).unwrap();
    assert_eq!(sync(&mut log), Offset(5));
    drop((log, directory));
    disk.power_cut(4);
    let log = open_log(&open(&disk).unwrap(), 0);
    assert_eq!(
        (log.log_start_offset(), offsets(&log)),
        (Offset(3), vec![3, 4]),
        "it would have begun anew at 8"
    );
}

#[test]
fn corrupt_checkpoints_count_as_missing() {
    for name in
        ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"]
    {
        for damage in [&b""[..], b"0\n1\npageview 0 999", &[0; 50], b"7\n0\n"] {
            let disk = FaultFileSystem::new();
            let directory = open(&disk).unwrap();
            let mut log = open_log(&directory, 0);
            append(&mut log, batch(10)).unwrap();
            sync(&mut log);
            log.delete_records_to(Offset(5), Offset(10)).unwrap();
            directory.write_checkpoints(&[checkpoint(&log)]).unwrap();
            drop((log, directory));
            disk.kill_process();
            disk.set_bytes(&Path::new("/data").join(name), damage.to_vec()).unwrap();
            let directory = open(&disk).unwrap();
            let log = open_log(&directory, 0);
            assert_eq!(log.log_end_offset(), Offset(10), "{name} {damage:?}");
            let start = if name.starts_with("log-start") { 0 } else { 5 };
            assert_eq!(log.log_start_offset(), Offset(start), "{name} {damage:?}");
        }
    }
}

#[test]
fn a_clean_shutdown_is_told_once_and_with_its_broker_epoch() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    assert!(!directory.was_clean_shutdown());
    let mut log = open_log(&directory, 0);
    append(&mut log, batch(10)).unwrap();
    sync(&mut log);
    log.close(NOW).unwrap();
    directory.close_clean(&[checkpoint(&log)], BrokerEpoch(42)).unwrap();
    drop((log, directory));
    disk.power_cut(5);
    let directory = open(&disk).unwrap();
    assert!(directory.was_clean_shutdown());
    assert_eq!(directory.clean_shutdown_broker_epoch(), Some(BrokerEpoch(42)));
    let (log, report) =
        directory.open_partition(&partition(0), topic_id(), LogConfig::default(), NOW).unwrap();
    assert_eq!((report.segments_scanned, log.log_end_offset()), (0, Offset(10)));
    drop((log, directory));
    disk.power_cut(6);
    let directory = open(&disk).unwrap();
    assert!(!directory.was_clean_shutdown(), "the marker went before anything could be written");
    let (_, report) = directory.open_partition(&partition(0), topic_id(), LogConfig::default(), NOW).unwrap();
    assert_eq!(report.segments_scanned, 1);
}

#[test]
fn no_marker_is_written_over_a_failed_shutdown() {
    for operation in [Operation::SyncData, Operation::Rename, Operation::Write] {
        let disk = FaultFileSystem::new();
        let directory = open(&disk).unwrap();
        let mut log = open_log(&directory, 0);
        append(&mut log, batch(10)).unwrap();
        sync(&mut log);
        log.close(NOW).unwrap();
        disk.fail_once(operation, 0, FaultKind::Io);
        directory.close_clean(&[checkpoint(&log)], BrokerEpoch(1)).unwrap_err();
        drop((log, directory));
        disk.kill_process();
        assert!(!open(&disk).unwrap().was_clean_shutdown(), "{operation:?}");
    }
}

#[test]
fn a_deleted_partition_is_renamed_and_removed_later() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    let mut log = open_log(&directory, 0);
    append(&mut log, batch(10)).unwrap();
    sync(&mut log);
    let slice = log.read(Offset(0), 1 << 20, Offset(10), true).unwrap().slice.unwrap();
    directory.write_checkpoints(&[checkpoint(&log)]).unwrap();
    directory.delete_partition(log, NOW).unwrap();
    let renamed: Vec<String> = names(&disk).into_iter().filter(|name| name.starts_with("pageview")).collect();
    assert_eq!(renamed.len(), 1);
    assert!(renamed[0].starts_with("pageview-0.") && renamed[0].ends_with("-delete"), "{renamed:?}");
    assert_eq!(slice.read_all().unwrap().len(), slice.length, "a read under way goes on");
    assert_eq!(directory.list_partitions().unwrap(), []);

    // The same name again, another topic: nothing of the old one shows.
    let other = TopicId::from_random_bytes([8; 16]);
    let (mut log, _) = directory.open_partition(&partition(0), other, LogConfig::default(), NOW).unwrap();
    assert_eq!(log.log_end_offset(), Offset(0));
    append(&mut log, batch(1)).unwrap();
    sync(&mut log);
    assert_eq!(directory.high_watermark_checkpoint(&partition(0)), None);

    assert_eq!(directory.purge_deleted(TimestampMs(NOW.0 + 59_999), 60_000), 0);
    assert_eq!(directory.purge_deleted(TimestampMs(NOW.0 + 60_000), 60_000), 1);
    assert_eq!(names(&disk).iter().filter(|name| name.ends_with("-delete")).count(), 0);
    drop(log);
    assert_eq!(directory.list_partitions().unwrap().len(), 1);
}

#[test]
fn what_a_deletion_left_is_removed_at_the_next_start() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    for number in 0..3 {
        let mut log = open_log(&directory, number);
        append(&mut log, batch(1)).unwrap();
        sync(&mut log);
    }
    directory.delete_partition(open_log(&directory, 1), NOW).unwrap();
    let stray = directory.list_partitions().unwrap().remove(0);
    assert_eq!(
        (stray.topic_id, stray.directory.as_path()),
        (Some(topic_id()), Path::new("/data/pageview-0"))
    );
    directory.delete_stray(&stray, NOW).unwrap();
    drop(directory);
    disk.kill_process();
    let directory = open(&disk).unwrap();
    let found = directory.list_partitions().unwrap();
    assert_eq!(found.iter().map(|found| &found.topic_partition).collect::<Vec<_>>(), [&partition(2)]);
    assert_eq!(names(&disk).iter().filter(|name| name.starts_with("pageview")).count(), 1);
}

#[test]
fn strangers_are_left_alone() {
    let disk = FaultFileSystem::new();
    let strangers = ["lost+found", "__raft", "notes-x", "a b-0", "pageview-01"];
    for name in strangers {
        disk.create_dir_all(&Path::new("/data").join(name)).unwrap();
    }
    disk.set_bytes(Path::new("/data/pageview-5"), b"a file".to_vec()).unwrap();
    let directory = open(&disk).unwrap();
    assert_eq!(directory.list_partitions().unwrap(), []);
    assert!(strangers.iter().all(|stranger| names(&disk).iter().any(|name| name == stranger)));
    disk.create_dir_all(Path::new("/data/pageview-6")).unwrap();
    let found = directory.list_partitions().unwrap();
    assert_eq!(
        (found.len(), found[0].topic_id),
        (1, None),
        "a partition whose id is not known is named all the same"
    );
}

#[test]
fn an_offline_directory_keeps_its_first_reason() {
    let directory = open(&FaultFileSystem::new()).unwrap();
    let log = open_log(&directory, 0);
    assert_eq!(directory.offline_reason(), None);
    assert!(directory.take_offline("a sync failed"));
    assert!(!directory.take_offline("a write failed too"));
    assert_eq!(directory.offline_reason().as_deref(), Some("a sync failed"));
    let refused = [
        directory.open_partition(&partition(1), topic_id(), LogConfig::default(), NOW).err(),
        directory.write_checkpoints(&[checkpoint(&log)]).err(),
        directory.close_clean(&[checkpoint(&log)], BrokerEpoch(1)).err(),
    ];
    for error in refused {
        assert!(
            matches!(&error, Some(LogError::Offline { reason }) if &**reason == "a sync failed"),
            "{error:?}"
        );
    }
}

#[test]
fn a_partition_that_begins_behind_zero_is_there_after_a_loss_of_power() {
    for seed in 0..20 {
        let disk = FaultFileSystem::new();
        let directory = open(&disk).unwrap();
        let mut log = open_log(&directory, 0);
        log.truncate_fully_and_start_at(Offset(100), NOW).unwrap();
        assert_eq!(log.durable_end_offset(), Offset(100));
        drop((log, directory));
        disk.power_cut(seed);
        assert_eq!(open_log(&open(&disk).unwrap(), 0).log_end_offset(), Offset(100), "seed {seed}");
    }
}

#[test]
fn a_thousand_new_partitions_sync_the_directory_once() {
    let disk = FaultFileSystem::new();
    let directory = open(&disk).unwrap();
    let mut logs: Vec<PartitionLog> = (0..1000).map(|number| open_log(&directory, number)).collect();
    for log in &mut logs {
        append(log, batch(1)).unwrap();
    }
    let before = disk.count(Operation::SyncDirectory);
    for log in &mut logs {
        sync(log);
    }
    assert_eq!(disk.count(Operation::SyncDirectory) - before, 1000 + 1, "each its own, and theirs");
    drop((logs, directory));
    disk.power_cut(8);
    let directory = open(&disk).unwrap();
    assert_eq!(directory.list_partitions().unwrap().len(), 1000);
    assert_eq!(open_log(&directory, 999).log_end_offset(), Offset(1));
}
