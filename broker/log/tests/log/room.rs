//! A reserve of the volume, which records leave free: refused like a full disk, and everything else finds room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, Operation, Space};
use moldau_log::{AppendError, CleanupPolicy, FileCache, FileSystem, LogConfig, LogDirectory, PartitionLog};
use moldau_model::{ErrorCode, Offset, TimestampMs, TopicPartition};

use crate::support::*;

const VOLUME_BYTES: u64 = 1 << 20;
/// A sixteenth of it.
const RESERVE_BYTES: u64 = 64 << 10;
/// What indexes, names and the like may take of the reserve here.
const SLACK_BYTES: u64 = 8 << 10;

struct Volume {
    disk: FaultFileSystem,
    directory: LogDirectory,
}

impl Volume {
    fn keeping(reserve_bytes_max: u64) -> Self {
        let disk = FaultFileSystem::new();
        disk.set_capacity(VOLUME_BYTES);
        let cache = Arc::new(FileCache::new(8));
        let directory = LogDirectory::open(Arc::new(disk.clone()), cache, PathBuf::from("/data")).unwrap();
        directory.room().keep(reserve_bytes_max);
        Self { disk, directory }
    }

    fn log(&self, number: i32, config: LogConfig) -> PartitionLog {
        let partition = TopicPartition::new("pageview", number);
        self.directory.open_or_declare_partition(&partition, topic_id(), config, NOW).unwrap().0
    }

    fn free_bytes(&self) -> u64 {
        self.disk.space(Path::new("/data")).unwrap().usable_bytes
    }

    /// Something other than records.
    fn writes_metadata(&self, bytes: u64) -> bool {
        self.disk.replace_file(Path::new("/data/metadata"), &vec![1; bytes as usize]).is_ok()
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 100 << 10, file_delete_delay_ms: 0, ..LogConfig::default() }
}

fn is_full(error: &AppendError) -> bool {
    error.is_disk_full() && error.error_code() == ErrorCode::KafkaStorageError
}

fn fill(log: &mut PartitionLog) -> AppendError {
    (0..2000).find_map(|_| append(log, batch_of(1, 1000)).err()).expect("the volume is full some day")
}

#[test]
fn records_leave_the_reserve_and_go_on_once_there_is_more_room() {
    let volume = Volume::keeping(u64::MAX);
    let mut log = volume.log(0, config());
    let error = fill(&mut log);
    assert!(is_full(&error), "{error}");
    let free = volume.free_bytes();
    assert!((RESERVE_BYTES - SLACK_BYTES..RESERVE_BYTES + 2000).contains(&free), "{free} of {VOLUME_BYTES}");
    // Nothing of what is refused takes anything, and what is there is served.
    let (end, before) = (log.log_end_offset(), volume.disk.count(Operation::Write));
    for _ in 0..50 {
        assert!(is_full(&append(&mut log, batch_of(1, 1000)).unwrap_err()));
    }
    assert_eq!((log.log_end_offset(), volume.disk.count(Operation::Write)), (end, before));
    assert_eq!(offsets(&log).len() as i64, end.0);
    sync(&mut log);
    log.roll(NOW).unwrap();
    assert!(volume.writes_metadata(RESERVE_BYTES - 2 * SLACK_BYTES));
    assert_eq!(
        volume.directory.space().unwrap().usable_bytes,
        0,
        "what records may take is told, not what is free"
    );
    // Retention gives room back.
    log.delete_records_to(Offset(200), end).unwrap();
    assert!(log.delete_old_segments(NOW, end).unwrap().segments > 0 && log.purge_deleted(NOW) > 0);
    append(&mut log, batch_of(1, 1000)).unwrap();
}

#[test]
fn without_a_reserve_records_take_the_last_room_from_the_metadata() {
    let volume = Volume::keeping(0);
    assert!(is_full(&fill(&mut volume.log(0, config()))));
    assert!(!volume.writes_metadata(SLACK_BYTES));
}

#[test]
fn a_follower_is_refused_alike_and_a_log_that_is_refused_is_not_made() {
    let volume = Volume::keeping(u64::MAX);
    let (mut log, mut follower) = (volume.log(0, config()), volume.log(1, config()));
    let mut declared = volume.log(2, config());
    follower.append_as_follower(&batch_of(1, 1000), NOW).unwrap();
    fill(&mut log);
    let mut next = batch_of(1, 2000);
    moldau_record::set_base_offset(&mut next, Offset(1));
    assert!(is_full(&follower.append_as_follower(&next, NOW).unwrap_err()));
    assert_eq!(follower.log_end_offset(), Offset(1));
    assert!(is_full(&append(&mut declared, batch_of(1, 2000)).unwrap_err()));
    assert!(volume.disk.read_dir(Path::new("/data/pageview-2")).is_err());
    // A partition that is deleted gives its room back.
    volume.directory.delete_partition(log, NOW).unwrap();
    assert_eq!(volume.directory.purge_deleted(NOW, 0), 1);
    follower.append_as_follower(&next, NOW).unwrap();
    append(&mut declared, batch_of(1, 2000)).unwrap();
}

#[test]
fn directories_of_one_volume_leave_one_reserve() {
    let volume = Volume::keeping(u64::MAX);
    let open = |path: &str| {
        let cache = Arc::new(FileCache::new(8));
        let directory =
            LogDirectory::open(Arc::new(volume.disk.clone()), cache, PathBuf::from(path)).unwrap();
        directory.room().keep(u64::MAX);
        let partition = TopicPartition::new("pageview", 0);
        let (log, _) = directory.open_partition(&partition, topic_id(), config(), NOW).unwrap();
        (directory, log)
    };
    let mut others: Vec<_> = ["/b", "/c", "/d"].into_iter().map(open).collect();
    let mut refused = 0;
    for _ in 0..1000 {
        for (_, log) in &mut others {
            refused += u32::from(append(log, batch_of(1, 500)).is_err());
        }
    }
    assert!(refused > 0);
    assert!(volume.free_bytes() >= RESERVE_BYTES - SLACK_BYTES, "{}", volume.free_bytes());
}

#[test]
fn a_segment_is_allocated_from_what_records_may_take_and_then_filled() {
    let volume = Volume::keeping(u64::MAX);
    let preallocated = || LogConfig { preallocate: true, ..config() };
    let free = (VOLUME_BYTES - RESERVE_BYTES) as usize;
    // Nine are allocated, for a tenth there is no room but the reserve's.
    let mut logs: Vec<PartitionLog> = (0..10).map(|number| volume.log(number, preallocated())).collect();
    for log in &mut logs {
        append(log, batch_of(1, 1000)).unwrap();
    }
    let tenth = logs.last_mut().unwrap();
    assert!(is_full(&fill(tenth)));
    assert!(tenth.size_bytes() < (free % (100 << 10)) as u64 + 2000);
    // What was set aside for the others is theirs still, and no more.
    for log in &mut logs[..9] {
        while log.size_bytes() < 90 << 10 {
            append(log, batch_of(1, 1000)).unwrap();
        }
        fill(log);
    }
    assert!(volume.free_bytes() >= RESERVE_BYTES - SLACK_BYTES, "{}", volume.free_bytes());
}

#[test]
fn compaction_may_have_half_of_the_reserve_and_no_more() {
    for (used_of_reserve, is_cleaned) in [(0, true), (RESERVE_BYTES / 2 + 1000, false)] {
        let volume = Volume::keeping(u64::MAX);
        let compacted = CleanupPolicy { delete: false, compact: true };
        let mut log =
            volume.log(0, LogConfig { cleanup_policy: compacted, segment_bytes: 20 << 10, ..config() });
        fill(&mut log);
        sync(&mut log);
        log.roll(NOW).unwrap();
        assert!(volume.writes_metadata(used_of_reserve));
        let cleaned = log.clean(log.log_end_offset(), NOW);
        // All records have one key.
        let is_full = |error: &moldau_log::LogError| error.to_string().contains("kept for the metadata");
        match cleaned {
            Ok(report) => assert!(is_cleaned && report.records_after < report.records_before, "{report:?}"),
            Err(error) => assert!(!is_cleaned && is_full(&error), "{error}"),
        }
        assert!(volume.free_bytes() >= RESERVE_BYTES / 2 - SLACK_BYTES);
        log.purge_deleted(TimestampMs(i64::MAX));
        // Segments of which nothing stays go all the same.
        append(&mut log, batch_of(1, 1000)).unwrap();
    }
}

#[test]
fn the_journal_does_not_grow_into_the_reserve_and_goes_on_voiding() {
    let volume = Volume::keeping(u64::MAX);
    let journal = Arc::clone(volume.directory.journal().unwrap());
    journal.enable(VOLUME_BYTES, 100);
    let mut log = volume.log(0, config());
    let mut last = volume.log(1, config());
    append(&mut last, batch_of(1, 100)).unwrap();
    let commits = |log: &mut PartitionLog| {
        let ticket = log.begin_sync().unwrap();
        let is_committed = journal.commit(&[&ticket]).unwrap();
        if !is_committed {
            ticket.run().unwrap();
        }
        log.complete_sync(ticket);
        is_committed
    };
    // The first sync of a log makes names durable, and is not the journal's.
    commits(&mut last);
    fill(&mut log);
    append(&mut last, batch_of(1, 10)).unwrap_or_else(|_| {
        volume.disk.set_capacity(VOLUME_BYTES + 200);
        append(&mut last, batch_of(1, 10)).unwrap()
    });
    assert!(!commits(&mut last), "there is no room for a journal");
    assert!(volume.free_bytes() >= RESERVE_BYTES - SLACK_BYTES, "{}", volume.free_bytes());
    last.truncate_to(Offset(1), NOW).unwrap();
}

#[test]
fn a_volume_that_others_fill_is_looked_at_again() {
    let disk = FaultFileSystem::new();
    let cache = Arc::new(FileCache::new(8));
    let directory = LogDirectory::open(Arc::new(disk.clone()), cache, PathBuf::from("/data")).unwrap();
    directory.room().keep(RESERVE_BYTES);
    let partition = TopicPartition::new("pageview", 0);
    let (mut log, _) = directory.open_partition(&partition, topic_id(), config(), NOW).unwrap();
    append(&mut log, batch_of(1, 100)).unwrap();
    disk.set_space(Space { total_bytes: 1 << 40, usable_bytes: 10 });
    append(&mut log, batch_of(1, 100)).unwrap();
    directory.room().forget_grant();
    assert!(is_full(&append(&mut log, batch_of(1, 100)).unwrap_err()));
    disk.set_space(Space { total_bytes: 1 << 40, usable_bytes: 1 << 30 });
    append(&mut log, batch_of(1, 100)).unwrap();
}
