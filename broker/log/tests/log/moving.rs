//! A partition moves from one log directory to another. Power is cut after every change of the disk, and disks fail: whatever
//! happens, the next start finds one partition, with every record that was durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_log::{
    FileCache, FileSystem, FoundPartitions, LogConfig, LogDirectory, LogError, PartitionCheckpoint,
    PartitionLog, PartitionOnDisk,
};
use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition, Uuid};

use crate::support::*;

const DIRECTORIES: [&str; 3] = ["/a", "/b", "/c"];

fn id(number: usize) -> Uuid {
    Uuid::from_random_bytes([number as u8 + 1; 16])
}

fn partition() -> TopicPartition {
    TopicPartition::new("pageview", 0)
}

struct Broker {
    disk: FaultFileSystem,
    directories: Vec<LogDirectory>,
}

impl Broker {
    fn try_start(disk: &FaultFileSystem) -> Result<Self, LogError> {
        let cache = Arc::new(FileCache::new(4));
        let open =
            |path: &&str| LogDirectory::open(Arc::new(disk.clone()), Arc::clone(&cache), PathBuf::from(path));
        let directories = DIRECTORIES.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { disk: disk.clone(), directories })
    }

    fn start(disk: &FaultFileSystem) -> Self {
        Self::try_start(disk).unwrap()
    }

    fn look(&self) -> Result<FoundPartitions, LogError> {
        let with_ids: Vec<(Uuid, &LogDirectory)> =
            self.directories.iter().enumerate().map(|(number, directory)| (id(number), directory)).collect();
        FoundPartitions::look(&with_ids, NOW)
    }

    /// The number of the one directory that has the partition, and its log.
    fn open(&self) -> Option<(usize, PartitionLog)> {
        let found = self.look().unwrap();
        assert!(found.partitions.len() <= 1, "{found:?}");
        let (number, _) = found.partitions.first()?;
        let opened = self.directories[*number].open_partition(&partition(), topic_id(), small(), NOW);
        Some((*number, opened.unwrap().0))
    }

    fn futures(&self) -> Vec<(usize, PartitionOnDisk)> {
        self.look().unwrap().futures
    }

    fn copy(&self, current: &PartitionLog, to: usize) -> Result<PartitionLog, LogError> {
        let directory = &self.directories[to];
        let found = directory.list_futures()?.into_iter().next();
        let (mut future, _) =
            directory.open_future(current.topic_partition(), topic_id(), found.as_ref(), small(), NOW)?;
        if future.log_end_offset() < current.log_start_offset() {
            future.truncate_fully_and_start_at(current.log_start_offset(), NOW)?;
        }
        while future.log_end_offset() < current.log_end_offset() {
            let from = future.log_end_offset();
            let read = current.read(from, 200, current.log_end_offset(), true).unwrap();
            let bytes = read.slice.unwrap().read_all().map_err(|source| io(&future, source))?;
            future
                .append_as_follower(&bytes, NOW)
                .map_err(|error| io(&future, std::io::Error::other(error)))?;
        }
        Ok(future)
    }

    /// All of a move but the deletion of the old log.
    fn replace(&self, from: usize, current: &mut PartitionLog, to: usize) -> Result<PartitionLog, LogError> {
        let mut future = self.copy(current, to)?;
        let directory = &self.directories[to];
        directory.raise_log_starts(&[(partition(), current.log_start_offset())])?;
        directory.prepare_replacement(current.moved_from(), &future.directory(), id(from), id(to))?;
        directory.install_future(current, &mut future, (id(from), id(to)))?;
        Ok(future)
    }

    fn finish(
        &self,
        from: usize,
        old: PartitionLog,
        to: usize,
        log: &mut PartitionLog,
    ) -> Result<(), LogError> {
        self.directories[from].delete_partition(old, NOW)?;
        self.directories[from].sync_names()?;
        let claimant = log.directory();
        self.directories[to].end_replacement(&claimant)?;
        log.note_replacement_ended(&claimant);
        Ok(())
    }
}

fn io(log: &PartitionLog, source: std::io::Error) -> LogError {
    LogError::Io { path: log.directory().to_path_buf(), source }
}

/// Appends and syncs. Whether it is durable.
fn append_durably(log: &mut PartitionLog, number: u64) -> bool {
    if append(log, numbered(number)).is_err() {
        return false;
    }
    let Some(ticket) = log.begin_sync() else { return false };
    let is_durable = ticket.run().is_ok();
    log.complete_sync(ticket);
    is_durable
}

/// What is known to be durable, offset by offset.
#[derive(Default)]
struct Story {
    durable: Vec<u64>,
    next: u64,
}

impl Story {
    fn append(&mut self, log: &mut PartitionLog, count: usize) -> bool {
        (0..count).all(|_| {
            let number = self.next;
            self.next += 1;
            let is_durable = append_durably(log, number);
            if is_durable {
                self.durable.push(number);
            }
            is_durable
        })
    }

    /// Everything durable is there, in its order, and nothing twice.
    fn check(&self, log: &PartitionLog, what: &str) {
        let values = values(log);
        let expected: Vec<String> = self.durable.iter().map(|number| format!("value {number}")).collect();
        let mut rest = values.iter();
        for value in &expected {
            assert!(rest.any(|found| found == value), "{what}: {value} is missing or late in {values:?}");
        }
        let mut distinct = values.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), values.len(), "{what}: {values:?}");
        assert!(values.len() <= expected.len() + 1, "{what}: {values:?} for {expected:?}");
    }
}

/// Moves there and back, with appends before, between and behind, as far as the disk lets it.
fn run(disk: &FaultFileSystem, story: &mut Story) -> Option<()> {
    let broker = Broker::try_start(disk).ok()?;
    let mut log = broker.directories[0].open_partition(&partition(), topic_id(), small(), NOW).ok()?.0;
    let (mut here, mut is_well) = (0, story.append(&mut log, 12));
    for to in [1, 2, 0] {
        if !is_well {
            return None;
        }
        let mut moved = broker.replace(here, &mut log, to).ok()?;
        // Acknowledged as soon as the log has its new place, whatever becomes of the old one.
        is_well = story.append(&mut moved, 3);
        let old = std::mem::replace(&mut log, moved);
        broker.finish(here, old, to, &mut log).ok()?;
        here = to;
        is_well &= story.append(&mut log, 3);
        let checkpoint = PartitionCheckpoint {
            topic_partition: partition(),
            recovery_point: log.durable_end_offset(),
            log_start_offset: log.log_start_offset(),
            high_watermark: log.durable_end_offset(),
        };
        broker.directories[here].write_checkpoints(&[checkpoint]).ok()?;
    }
    Some(())
}

#[test]
fn the_power_may_go_at_every_step_of_a_move() {
    let whole = FaultFileSystem::new();
    let mut story = Story::default();
    run(&whole, &mut story).unwrap();
    let mutations = whole.mutations();
    assert!(mutations > 150, "{mutations} changes show little");
    for at in 0..=mutations {
        for seed in 0..3 {
            let disk = FaultFileSystem::new();
            disk.power_off_at(at);
            let mut story = Story::default();
            let _ = run(&disk, &mut story);
            if seed == 0 {
                disk.kill_process()
            } else {
                disk.power_cut(at * 3 + seed)
            }
            let what = format!("cut after {at} of {mutations} changes, seed {seed}");
            let broker = Broker::start(&disk);
            let Some((here, mut log)) = broker.open() else {
                assert!(story.durable.is_empty(), "{what}: the partition is gone");
                continue;
            };
            story.check(&log, &what);
            // The move goes on where it was, and ends.
            story.durable = values(&log).iter().map(|value| value[6..].parse().unwrap()).collect();
            let to = broker.futures().first().map_or((here + 1) % 3, |(number, _)| *number);
            let mut moved = broker.replace(here, &mut log, to).unwrap();
            assert!(story.append(&mut moved, 2));
            broker.finish(here, log, to, &mut moved).unwrap();
            drop((moved, broker));
            disk.power_cut(seed);
            let broker = Broker::start(&disk);
            let (there, log) = broker.open().unwrap();
            assert_eq!(there, to, "{what}");
            story.check(&log, &format!("{what}, then moved"));
            assert!(broker.futures().is_empty(), "{what}");
        }
    }
}

#[test]
fn a_directory_that_fails_at_the_end_of_a_move_leaves_the_log_where_it_was() {
    for operation in [Operation::Rename, Operation::SyncDirectory, Operation::SyncData, Operation::Write] {
        // Whether only the process ends, or the power.
        for (passes, is_killed) in (0..12).flat_map(|passes| [(passes, true), (passes, false)]) {
            let disk = FaultFileSystem::new();
            let broker = Broker::start(&disk);
            let mut log =
                broker.directories[0].open_partition(&partition(), topic_id(), small(), NOW).unwrap().0;
            let mut story = Story::default();
            assert!(story.append(&mut log, 12));
            let mut future = broker.copy(&log, 1).unwrap();
            let directory = &broker.directories[1];
            directory.prepare_replacement(log.moved_from(), &future.directory(), id(0), id(1)).unwrap();
            disk.fail_once(operation, passes, FaultKind::Io);
            let what = format!("{operation:?} fails after {passes}, killed {is_killed}");
            match directory.install_future(&mut log, &mut future, (id(0), id(1))) {
                Ok(()) => log = future,
                Err(_) => assert!(log.failure().is_none(), "{what}"),
            }
            disk.clear_faults();
            assert!(story.append(&mut log, 4), "{what}");
            drop((log, broker));
            if is_killed {
                disk.kill_process()
            } else {
                disk.power_cut(passes)
            }
            story.check(&Broker::start(&disk).open().unwrap().1, &what);
        }
    }
}

#[test]
fn a_copy_takes_over_what_records_alone_do_not_tell() {
    let disk = FaultFileSystem::new();
    let broker = Broker::start(&disk);
    let mut log = broker.directories[0].open_partition(&partition(), topic_id(), small(), NOW).unwrap().0;
    append(&mut log, idempotent(7, 0, 0, 2)).unwrap();
    for number in 0..20 {
        append(&mut log, numbered(number)).unwrap();
    }
    sync(&mut log);
    // The producer's records go, and the producer stays known; an epoch began and has no record.
    log.delete_records_to(Offset(10), Offset(20)).unwrap();
    log.delete_old_segments(NOW, Offset(20)).unwrap();
    log.assign_leader_epoch(LeaderEpoch(9));
    let producers = log.active_producers();
    assert_eq!((producers[0].producer_id, producers[0].producer_epoch), (ProducerId(7), ProducerEpoch(0)));
    let bounds = (log.log_start_offset(), log.log_end_offset());
    let copied = broker.copy(&log, 1).unwrap();
    assert!(copied.active_producers().is_empty(), "the copy has no record of it");
    drop(copied);
    let mut moved = broker.replace(0, &mut log, 1).unwrap();
    let all = |log: &PartitionLog| {
        (log.active_producers(), log.latest_epoch(), (log.log_start_offset(), log.log_end_offset()))
    };
    assert_eq!(all(&moved), (producers.clone(), Some(LeaderEpoch(9)), bounds));
    // An epoch without a record does not outlive a restart, here as elsewhere.
    let (producers, _, bounds) = all(&moved);
    broker.finish(0, log, 1, &mut moved).unwrap();
    drop((moved, broker));
    disk.power_cut(3);
    let (_, log) = Broker::start(&disk).open().unwrap();
    let (found, _, found_bounds) = all(&log);
    assert_eq!((found, found_bounds), (producers, bounds), "also after a loss of power");
}

#[test]
fn two_directories_of_which_neither_is_the_newer_end_the_start() {
    let disk = FaultFileSystem::new();
    let broker = Broker::start(&disk);
    for directory in &broker.directories[..2] {
        let mut log =
            directory.open_partition(&partition(), topic_id(), LogConfig::default(), NOW).unwrap().0;
        append(&mut log, batch(1)).unwrap();
        sync(&mut log);
    }
    assert!(matches!(broker.look(), Err(LogError::Duplicate { .. })));
}

#[test]
fn a_copy_that_is_given_up_is_deleted_and_its_directory_may_be_used_again() {
    let disk = FaultFileSystem::new();
    let broker = Broker::start(&disk);
    let mut log = broker.directories[0].open_partition(&partition(), topic_id(), small(), NOW).unwrap().0;
    assert!(Story::default().append(&mut log, 5));
    let future = broker.copy(&log, 1).unwrap();
    broker.directories[1].delete_future(future, NOW).unwrap();
    assert!(broker.futures().is_empty());
    assert_eq!(broker.directories[1].purge_deleted(NOW, 0), 1);
    let names = broker.disk.read_dir(Path::new("/b")).unwrap();
    assert!(names.iter().all(|entry| !entry.is_directory), "{names:?}");
    let future = broker.copy(&log, 1).unwrap();
    assert_eq!(values(&future), values(&log));
}

fn values(log: &PartitionLog) -> Vec<String> {
    records(&read_all(log)).into_iter().filter_map(|(_, _, value)| value).collect()
}
