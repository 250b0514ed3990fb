//! The sync journal as the log directory's owner drives it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_log::{FileCache, Journal, LogConfig, LogDirectory, PartitionLog};
use moldau_model::TopicPartition;

use crate::support::*;

const JOURNAL_BYTES: u64 = 64 << 20;
/// A segment is synced when the journal has so much of it.
const BACKLOG_BYTES: u64 = 1 << 20;
const SEGMENT: &str = "/data/pageview-0/00000000000000000000.log";

struct Journaled {
    disk: FaultFileSystem,
    directory: LogDirectory,
    log: PartitionLog,
}

impl Journaled {
    fn new() -> Self {
        let disk = FaultFileSystem::new();
        let cache = Arc::new(FileCache::new(8));
        let directory = LogDirectory::open(Arc::new(disk.clone()), cache, PathBuf::from("/data")).unwrap();
        directory.journal().unwrap().enable(JOURNAL_BYTES, 100);
        let partition = TopicPartition::new("pageview", 0);
        let (mut log, _) =
            directory.open_partition(&partition, topic_id(), LogConfig::default(), NOW).unwrap();
        append(&mut log, batch_of(1, 100)).unwrap();
        // The first sync of a log makes names durable, and is not the journal's.
        sync(&mut log);
        Self { disk, directory, log }
    }

    fn journal(&self) -> &Arc<Journal> {
        self.directory.journal().unwrap()
    }

    fn segment_bytes(&self) -> u64 {
        self.disk.bytes(Path::new(SEGMENT)).unwrap().len() as u64
    }

    /// Appends at least so much, by commits of some kilobytes.
    fn append(&mut self, bytes: u64) {
        let end = self.segment_bytes() + bytes;
        while self.segment_bytes() < end {
            append(&mut self.log, batch_of(10, 1000)).unwrap();
            let ticket = self.log.begin_sync().unwrap();
            assert!(self.journal().commit(&[&ticket]).unwrap());
            self.log.complete_sync(ticket);
        }
    }

    /// What is left of the segment without power and without the journal.
    fn bytes_after_power_cut(&self) -> u64 {
        self.disk.power_cut(1);
        self.segment_bytes()
    }
}

#[test]
fn a_segment_that_the_journal_has_much_of_is_synced_long_before_the_half_is_full() {
    let mut it = Journaled::new();
    it.append(BACKLOG_BYTES);
    let written = it.segment_bytes();
    assert!(it.journal().settle_next().unwrap());
    assert!(it.bytes_after_power_cut() >= written);
}

#[test]
fn a_segment_that_the_journal_has_little_of_is_left_to_the_half() {
    let mut it = Journaled::new();
    it.append(BACKLOG_BYTES / 2);
    let syncs = it.disk.count(Operation::SyncData);
    it.journal().close();
    assert!(!it.journal().settle_next().unwrap(), "there is nothing to do");
    assert_eq!(it.disk.count(Operation::SyncData), syncs);
}

#[test]
fn such_a_sync_is_told_once_for_so_much() {
    let mut it = Journaled::new();
    let syncs = |it: &mut Journaled| {
        it.append(BACKLOG_BYTES);
        let before = it.disk.count(Operation::SyncData);
        assert!(it.journal().settle_next().unwrap());
        it.disk.count(Operation::SyncData) - before
    };
    assert_eq!([syncs(&mut it), syncs(&mut it), syncs(&mut it)], [1, 1, 1]);
    it.journal().close();
    assert!(!it.journal().settle_next().unwrap());
}

#[test]
fn when_such_a_sync_fails_the_journal_takes_nothing_more() {
    let mut it = Journaled::new();
    it.append(BACKLOG_BYTES);
    it.disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    assert!(it.journal().settle_next().is_err());
    append(&mut it.log, batch_of(1, 100)).unwrap();
    let ticket = it.log.begin_sync().unwrap();
    assert!(it.journal().commit(&[&ticket]).is_err());
}
