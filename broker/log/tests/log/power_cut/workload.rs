//! A seeded run of everything that changes a log, up to the moment when the power goes.

use std::sync::Arc;

use moldau_log::file_system::FaultFileSystem;
use moldau_log::{
    AppendOrigin, CleanupPolicy, FileCache, LogConfig, LogDirectory, LogError, PartitionCheckpoint,
    PartitionLog, SyncTicket,
};
use moldau_model::{
    BrokerEpoch, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicPartition,
};
use moldau_record::{BatchBuilder, BatchView, ControlRecord};

use super::model::{Cut, Model, Stored};
use crate::support::*;

const STEPS: u64 = 40;
const PRODUCER: ProducerId = ProducerId(77);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Append,
    Truncate,
    Transact,
    Delete,
    Compact,
    Close,
}

/// The log is gone, or the power is.
#[derive(Debug)]
struct Stop;

type Step = Result<(), Stop>;

fn stop<E>(_: E) -> Stop {
    Stop
}

pub(super) struct Workload {
    pub(super) disk: FaultFileSystem,
    pub(super) model: Model,
    pub(super) interrupted: bool,
    flavour: Flavour,
    random: Random,
    number: u64,
    sequence: i32,
    epoch: i32,
    ticket: Option<SyncTicket>,
    /// Tickets that the journal took.
    pub(super) journaled: u64,
}

fn partition() -> TopicPartition {
    TopicPartition::new("pageview", 0)
}

fn config(flavour: Flavour) -> LogConfig {
    let compact = flavour == Flavour::Compact;
    LogConfig {
        segment_bytes: 900,
        index_interval_bytes: 100,
        retention_bytes: if flavour == Flavour::Delete { 1800 } else { -1 },
        cleanup_policy: CleanupPolicy { delete: !compact, compact },
        file_delete_delay_ms: 0,
        delete_retention_ms: 0,
        ..LogConfig::default()
    }
}

pub(super) fn open(
    disk: &FaultFileSystem,
    flavour: Flavour,
) -> Result<(LogDirectory, PartitionLog), LogError> {
    let directory = LogDirectory::open(Arc::new(disk.clone()), Arc::new(FileCache::new(3)), "/data".into())?;
    if let Some(journal) = directory.journal() {
        // So small that its halves take turns.
        journal.enable(2 * 900, 8);
    }
    let (log, _) = directory.open_partition(&partition(), topic_id(), config(flavour), NOW)?;
    Ok((directory, log))
}

fn stored(bytes: Vec<u8>) -> Stored {
    let batch = BatchView::first(&bytes).unwrap();
    let (base, next) = (batch.base_offset().0, batch.next_offset().0);
    Stored { base, next, bytes }
}

/// Writes behind what was found, durably, and says what there must be from now on.
pub(super) fn go_on(log: &mut PartitionLog, cut: &Cut) -> Model {
    let epoch = LeaderEpoch(log.latest_epoch().map_or(0, |epoch| epoch.0) + 1);
    let mut second = Model::of(cut);
    for number in 0..6 {
        let mut bytes = numbered(1_000_000 + number);
        log.append_as_leader(&mut bytes, epoch, AppendOrigin::Client, NOW).unwrap();
        second.history.push(stored(bytes));
    }
    second.durable = sync(log).0;
    second
}

impl Workload {
    pub(super) fn new(flavour: Flavour, seed: u64) -> Self {
        Self {
            disk: FaultFileSystem::new(),
            model: Model::default(),
            interrupted: false,
            flavour,
            random: Random::new(seed),
            number: 0,
            sequence: 0,
            epoch: 0,
            ticket: None,
            journaled: 0,
        }
    }

    pub(super) fn run(&mut self) {
        self.interrupted = self.steps().is_err();
    }

    fn steps(&mut self) -> Step {
        let (directory, mut log) = open(&self.disk, self.flavour).map_err(stop)?;
        for _ in 0..STEPS {
            match self.random.below(16) {
                0..=7 => self.append(&mut log)?,
                8 if self.random.below(2) == 0 => self.epoch += 1,
                8 => self.begin_sync(&mut log),
                9 | 10 => self.sync(&directory, &mut log)?,
                11 => log.roll(NOW).map_err(stop)?,
                12 => self.checkpoint(&directory, &log)?,
                _ => self.special(&directory, &mut log)?,
            }
        }
        if self.flavour == Flavour::Close {
            self.close(&directory, &mut log)?;
        }
        Ok(())
    }

    fn special(&mut self, directory: &LogDirectory, log: &mut PartitionLog) -> Step {
        match self.flavour {
            // The first of the two makes names durable that are new, which is not the journal's.
            Flavour::Truncate | Flavour::Delete if self.random.below(3) == 0 => {
                self.sync(directory, log)?;
                self.append(log)?;
                self.sync(directory, log)
            }
            Flavour::Append | Flavour::Close => self.sync(directory, log),
            Flavour::Transact if self.random.below(3) > 0 => self.sync(directory, log),
            Flavour::Truncate if self.random.below(6) == 0 => {
                let at = (log.log_end_offset().0 + 5 - self.random.below(30) as i64).max(0);
                self.restart(log, at)
            }
            Flavour::Truncate if self.random.below(4) == 0 => self.delete_records(directory, log),
            Flavour::Truncate | Flavour::Transact => self.truncate(log),
            Flavour::Delete if self.random.below(2) == 0 => self.delete_records(directory, log),
            Flavour::Delete => self.retain(log),
            Flavour::Compact => self.clean(directory, log),
        }
    }

    /// Of one of three producers, or the end of its transaction.
    fn transactional_batch(&mut self) -> Vec<u8> {
        let producer = 1 + self.random.below(3) as i64;
        match self.random.below(4) {
            0 => marker(producer, 0, ControlRecord::Commit { coordinator_epoch: 0 }),
            1 => marker(producer, 0, ControlRecord::Abort { coordinator_epoch: 0 }),
            _ => transactional(producer, 0, 1 + self.random.below(3) as usize),
        }
    }

    fn batch(&mut self) -> Vec<u8> {
        self.number += 1;
        if self.flavour == Flavour::Transact && self.random.below(3) > 0 {
            return self.transactional_batch();
        }
        let value = format!("value {} {}", self.number, "x".repeat(self.random.below(60) as usize));
        let count = 1 + self.random.below(3) as i32;
        let mut builder = BatchBuilder::new();
        if self.random.below(3) == 0 {
            builder = builder.producer(PRODUCER, ProducerEpoch(0), self.sequence);
            self.sequence += count;
        }
        for _ in 0..count {
            let key = format!("key{}", self.random.below(5));
            let time = TimestampMs(NOW.0 + self.random.below(1000) as i64);
            let tombstone = self.flavour == Flavour::Compact && self.random.below(3) == 0;
            let value = (!tombstone).then_some(value.as_bytes());
            builder.append(time, Some(key.as_bytes()), value, &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn append(&mut self, log: &mut PartitionLog) -> Step {
        let mut bytes = self.batch();
        let end = log.log_end_offset();
        let mut expected = bytes.clone();
        moldau_record::set_base_offset(&mut expected, end);
        moldau_record::set_leader_epoch(&mut expected, LeaderEpoch(self.epoch));
        self.model.appending = Some(stored(expected));
        // A truncation may have taken this producer's last batch away: the coordinator's origin asks for no sequence.
        log.append_as_leader(&mut bytes, LeaderEpoch(self.epoch), AppendOrigin::Coordinator, NOW)
            .map_err(stop)?;
        self.model.history.extend(self.model.appending.take());
        Ok(())
    }

    fn begin_sync(&mut self, log: &mut PartitionLog) {
        if self.ticket.is_none() {
            self.ticket = log.begin_sync();
        }
    }

    /// Runs the ticket that is out, which may be older than the last appends, or a new one.
    fn sync(&mut self, directory: &LogDirectory, log: &mut PartitionLog) -> Step {
        self.begin_sync(log);
        let Some(ticket) = self.ticket.take() else { return Ok(()) };
        if !self.commit(directory, &ticket)? {
            ticket.run().map_err(stop)?;
        }
        self.model.durable = log.complete_sync(ticket).0;
        Ok(())
    }

    /// By the journal, mostly; whether that took it.
    fn commit(&mut self, directory: &LogDirectory, ticket: &SyncTicket) -> Result<bool, Stop> {
        let Some(journal) = directory.journal() else { return Ok(false) };
        if self.random.below(3) == 0 {
            journal.settle_if_due().map_err(stop)?;
        }
        if self.random.below(4) == 0 {
            return Ok(false);
        }
        let is_committed = journal.commit(&[ticket]).map_err(stop)?;
        self.journaled += u64::from(is_committed);
        Ok(is_committed)
    }

    fn checkpoint(&mut self, directory: &LogDirectory, log: &PartitionLog) -> Step {
        directory.write_checkpoints(&[checkpoint_of(log)]).map_err(stop)?;
        self.model.start_promised = log.log_start_offset().0;
        Ok(())
    }

    fn truncate(&mut self, log: &mut PartitionLog) -> Step {
        let end = log.log_end_offset().0;
        let to = (end - self.random.below(25) as i64).max(0);
        if log.segment_base_offsets()[0].0 > to {
            return self.restart(log, to);
        }
        let first_cut = self.model.history.iter().position(|batch| batch.next > to);
        let new_end = first_cut.map_or(to, |at| self.model.history[at].base.min(to)).min(end);
        self.model.durable = self.model.durable.min(new_end);
        self.model.start_promised = self.model.start_promised.min(new_end);
        log.truncate_to(Offset(to), NOW).map_err(stop)?;
        self.model.history.retain(|batch| batch.next <= to);
        assert_eq!(log.log_end_offset().0, new_end, "truncated to {to}");
        self.model.start_furthest = self.model.start_furthest.min(new_end);
        self.epoch += 1;
        Ok(())
    }

    fn restart(&mut self, log: &mut PartitionLog, at: i64) -> Step {
        self.model.restarting_at = Some(at);
        self.model.start_promised = 0;
        log.truncate_fully_and_start_at(Offset(at), NOW).map_err(stop)?;
        self.model = Model { durable: at, start_furthest: at, ..Model::default() };
        self.epoch += 1;
        Ok(())
    }

    fn delete_records(&mut self, directory: &LogDirectory, log: &mut PartitionLog) -> Step {
        let (start, durable) = (log.log_start_offset().0, log.durable_end_offset().0);
        let to = start + self.random.below((durable - start).max(0) as u64 + 1) as i64;
        self.model.start_furthest = self.model.start_furthest.max(to);
        let found = log.delete_records_to(Offset(to), Offset(durable)).map_err(stop)?;
        assert_eq!(found.0, to);
        self.checkpoint(directory, log)
    }

    fn retain(&mut self, log: &mut PartitionLog) -> Step {
        self.model.start_furthest = self.model.start_furthest.max(log.durable_end_offset().0);
        log.delete_old_segments(NOW, log.durable_end_offset()).map_err(stop)?;
        self.model.start_furthest = log.log_start_offset().0;
        log.purge_deleted(NOW);
        Ok(())
    }

    fn clean(&mut self, directory: &LogDirectory, log: &mut PartitionLog) -> Step {
        log.roll(NOW).map_err(stop)?;
        self.sync(directory, log)?;
        self.model.compacted = true;
        log.clean(log.durable_end_offset(), NOW).map_err(stop)?;
        log.purge_deleted(NOW);
        Ok(())
    }

    fn close(&mut self, directory: &LogDirectory, log: &mut PartitionLog) -> Step {
        self.sync(directory, log)?;
        self.sync(directory, log)?;
        let checkpoint = checkpoint_of(log);
        log.close(NOW).map_err(stop)?;
        directory.close_clean(&[checkpoint], BrokerEpoch(3)).map_err(stop)?;
        self.model.durable = log.log_end_offset().0;
        self.model.start_promised = log.log_start_offset().0;
        Ok(())
    }
}

pub(super) fn checkpoint_of(log: &PartitionLog) -> PartitionCheckpoint {
    PartitionCheckpoint {
        topic_partition: partition(),
        recovery_point: log.durable_end_offset(),
        log_start_offset: log.log_start_offset(),
        high_watermark: log.durable_end_offset(),
    }
}
