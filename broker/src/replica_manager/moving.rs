//! A partition's log on its way to another log directory (KIP-113). What comes next is decided by
//! [`moldau_replica::DirectoryMove`]; here it is done, one step a call, by one thread for each partition.
//!
//! The copy has a lock of its own, which may wait for the disk: clients never do. It is taken under the partition's lock only
//! where the copy takes the log's place, and by those who want a number. What is cut from the log meanwhile is noted, and cut
//! from the copy at the next step.

use std::io;
use std::sync::Arc;

use moldau_log::{
    AppendError, FileSlice, LogConfig, LogError, PartitionCheckpoint, PartitionLog, PartitionOnDisk,
};
use moldau_model::{ErrorCode, Offset, TimestampMs, Uuid};
use moldau_record::BatchView;
use moldau_replica::{DirectoryMove, EpochEndOffset, LogEnds, MoveStep, TAIL_BYTES_MAX, truncation_offset};
use parking_lot::Mutex;

use super::log_config::log_config;
use super::partition::{Partition, State};
use super::wake::Wake;
use crate::clock;
use crate::log_dirs::LogDir;

/// What is copied at once. The last piece is copied while nobody can append, and so this is small.
const PIECE_BYTES: usize = TAIL_BYTES_MAX as usize;

/// A move as the partition knows it, under its lock.
pub(super) struct Moving {
    pub(super) future: Arc<FutureLog>,
    /// The lowest offset that the log was cut to since the copy was.
    cut_to: Option<Offset>,
}

impl Moving {
    pub(super) fn note_cut(&mut self, log_end: Offset) {
        self.cut_to = Some(self.cut_to.map_or(log_end, |before| before.min(log_end)));
    }
}

/// The copy.
pub(crate) struct FutureLog {
    dir: Arc<LogDir>,
    /// `None` once it has taken the log's place, or was given up.
    copy: Mutex<Option<Copied>>,
}

struct Copied {
    log: PartitionLog,
    is_near_end: bool,
    unsynced_bytes: u64,
    prepared_at: Option<Offset>,
}

/// What is told of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutureView {
    /// The directory that it is in.
    pub directory: Uuid,
    pub size_bytes: u64,
    /// How many offsets it is behind the log.
    pub offset_lag: i64,
}

/// What a step of a move came to.
pub(crate) enum MoveProgress {
    /// There is more to do at once; so many bytes were copied.
    Copied(u64),
    /// It has to wait for something.
    Waits,
    /// Nothing is moved here any more.
    Ended,
    /// The copy is the log now: the old one, and the directory that it is in.
    Moved { old: Box<PartitionLog>, from: Arc<LogDir> },
    /// The copy's directory failed, and has to go offline.
    Failed { dir: Arc<LogDir>, reason: String },
}

impl FutureLog {
    pub(super) fn update_config(&self, config: LogConfig) {
        if let Some(copied) = self.copy.lock().as_mut() {
            copied.log.update_config(config);
        }
    }

    /// The copy's lines in the checkpoint files, if it is in this directory.
    pub(super) fn checkpoint(&self, dir: &LogDir, high_watermark: Offset) -> Option<PartitionCheckpoint> {
        let slot = self.copy.lock();
        let copied = slot.as_ref().filter(|_| self.dir.id == dir.id)?;
        Some(PartitionCheckpoint {
            topic_partition: copied.log.topic_partition().clone(),
            recovery_point: copied.log.durable_end_offset(),
            log_start_offset: copied.log.log_start_offset(),
            high_watermark: high_watermark.min(copied.log.log_end_offset()),
        })
    }

    /// The broker stops; the next start goes on with the move.
    pub(super) fn close(&self) -> Result<(), LogError> {
        self.copy.lock().as_mut().map_or(Ok(()), |copied| copied.log.close(clock::now()))
    }

    /// Removes the copy: nobody wants it any more. Whose directory failed stays as it is.
    pub(super) fn give_up(&self) {
        let Some(copied) = self.copy.lock().take() else { return };
        if !self.dir.is_online() {
            return;
        }
        let topic_partition = copied.log.topic_partition().clone();
        if let Err(error) = self.dir.log.delete_future(copied.log, clock::now()) {
            tracing::error!(partition = %topic_partition, %error, "cannot delete a copy");
        }
    }

    pub(super) fn dir(&self) -> &LogDir {
        &self.dir
    }

    pub(super) fn directory(&self) -> Uuid {
        self.dir.id
    }

    /// Runs a change of the copy that may wait for the disk.
    fn change(&self, change: impl FnOnce(&mut Copied) -> Result<(), LogError>) -> MoveProgress {
        let result = self.copy.lock().as_mut().map(change);
        match result {
            Some(Ok(())) => MoveProgress::Copied(0),
            Some(Err(error)) => self.failed(&error),
            None => MoveProgress::Ended,
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> MoveProgress {
        MoveProgress::Failed { dir: Arc::clone(&self.dir), reason: format!("a copy failed: {error}") }
    }

    /// Makes the copy durable. Its lock is free meanwhile.
    fn sync(&self) -> MoveProgress {
        let ticket = match self.copy.lock().as_mut() {
            Some(copied) => {
                copied.unsynced_bytes = 0;
                copied.log.begin_sync()
            }
            None => return MoveProgress::Ended,
        };
        let Some(ticket) = ticket else { return MoveProgress::Copied(0) };
        let result = ticket.run();
        match self.copy.lock().as_mut().filter(|copied| copied.log.issued(&ticket)) {
            Some(copied) => drop(copied.log.complete_sync(ticket)),
            // It was given up meanwhile, and its names are gone: nothing has failed.
            None => return MoveProgress::Ended,
        }
        match result {
            Ok(()) => MoveProgress::Copied(0),
            Err(error) => self.failed(&error),
        }
    }

    /// Appends a piece of the log that was read from the copy's end on, when the log ended at `log_end`. A piece ends with its
    /// segment, so that a short one says nothing.
    fn append(&self, from: Offset, bytes: &[u8], log_end: Offset) -> MoveProgress {
        let mut slot = self.copy.lock();
        let Some(copied) = slot.as_mut() else { return MoveProgress::Ended };
        if copied.log.log_end_offset() != from {
            return MoveProgress::Copied(0);
        }
        match copied.append(bytes) {
            Ok(()) => {
                copied.is_near_end = copied.log.log_end_offset() >= log_end;
                MoveProgress::Copied(bytes.len() as u64)
            }
            Err(error) if error.is_disk_full() => {
                self.dir.note_full();
                MoveProgress::Waits
            }
            Err(error) if copied.log.failure().is_some() => self.failed(&error),
            Err(error) => {
                tracing::error!(partition = %copied.log.topic_partition(), %error, "a copy does not grow");
                MoveProgress::Waits
            }
        }
    }
}

impl Copied {
    /// Unlinks what was cut: nobody reads a copy.
    fn purge(&mut self) {
        self.log.purge_deleted(TimestampMs(i64::MAX));
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let now = clock::now();
        // The log's start may lie in the middle of a batch.
        if let Ok(first) = BatchView::first(bytes)
            && first.base_offset() < self.log.log_end_offset()
            && self.log.log_start_offset() == self.log.log_end_offset()
        {
            let restarted = self.log.truncate_fully_and_start_at(first.base_offset(), now);
            restarted.map_err(|error| AppendError::Io(io::Error::other(error)))?;
        }
        self.log.append_as_follower(bytes, now)?;
        self.unsynced_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn ends(log: &PartitionLog) -> LogEnds {
    LogEnds {
        log_start: log.log_start_offset(),
        // A log that retention has emptied begins behind what was synced of it.
        durable_end: log.durable_end_offset().max(log.log_start_offset()),
        log_end: log.log_end_offset(),
    }
}

impl Moving {
    fn state(&self, log: &PartitionLog, copied: &Copied) -> DirectoryMove {
        DirectoryMove {
            log: ends(log),
            copy: ends(&copied.log),
            cut_to: self.cut_to,
            is_near_end: copied.is_near_end,
            unsynced_bytes: copied.unsynced_bytes,
            is_being_cleaned: log.is_being_cleaned(),
            prepared_at: copied.prepared_at,
        }
    }
}

impl Partition {
    /// Whether the log is being moved.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.lock().moving.is_some()
    }

    /// The copy, and how far it is.
    #[must_use]
    pub fn future(&self) -> Option<FutureView> {
        let (future, log_end) = {
            let state = self.lock();
            let future = Arc::clone(&state.moving.as_ref()?.future);
            (future, state.log.as_ref()?.log_end_offset())
        };
        let slot = future.copy.lock();
        let copied = slot.as_ref()?;
        Some(FutureView {
            directory: future.dir.id,
            size_bytes: copied.log.size_bytes(),
            offset_lag: log_end.minus(copied.log.log_end_offset()).max(0),
        })
    }

    /// The directory that the log is on its way to.
    pub(super) fn moves_to(&self) -> Option<Uuid> {
        self.lock().moving.as_ref().map(|moving| moving.future.directory())
    }

    /// Begins a move, or goes on with one whose copy was `found` at the start. Blocks on the disk.
    pub(super) fn begin_move(
        &self,
        to: &Arc<LogDir>,
        found: Option<&PartitionOnDisk>,
    ) -> Result<(), ErrorCode> {
        let failed = |error: LogError| {
            tracing::error!(partition = %self.topic_partition(), %error, "cannot begin a move");
            error.error_code()
        };
        let config = {
            let mut state = self.lock();
            let config = log_config(&state.config, &self.settings);
            let log = state.log.as_mut().ok_or(ErrorCode::UnknownTopicOrPartition)?;
            log.make().map_err(failed)?;
            config
        };
        let (topic_partition, topic_id) = (self.topic_partition(), self.id().topic_id);
        let opened = to.log.open_future(topic_partition, topic_id, found, config, clock::now());
        let (mut copy, _) = opened.map_err(failed)?;
        if found.is_some() {
            self.cut_to_common(&mut copy).map_err(failed)?;
        }
        let copied = Copied { log: copy, is_near_end: false, unsynced_bytes: 0, prepared_at: None };
        let future = Arc::new(FutureLog { dir: Arc::clone(to), copy: Mutex::new(Some(copied)) });
        let mut state = self.lock();
        if state.log.is_none() {
            drop(state);
            future.give_up();
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        state.moving = Some(Moving { future, cut_to: None });
        drop(state);
        tracing::info!(
            partition = %topic_partition, from = %self.dir().log.path().display(), to = %to.log.path().display(),
            "moving a log"
        );
        Ok(())
    }

    /// What a copy of before the start has in common with the log, of which a loss of power may have taken the end. No more is
    /// known of it than its epochs; each round takes one of them away.
    fn cut_to_common(&self, copy: &mut PartitionLog) -> Result<(), LogError> {
        let state = self.lock();
        let Some(log) = &state.log else { return Ok(()) };
        let end = |end: moldau_log::EpochEnd| EpochEndOffset {
            leader_epoch: end.leader_epoch,
            end_offset: end.end_offset,
        };
        if log.may_be_compacted() {
            // What was compacted since is not in the log, but may be in the copy, and without what took it out.
            return copy.truncate_fully_and_start_at(log.log_start_offset(), clock::now());
        }
        loop {
            let before = (copy.log_end_offset(), copy.latest_epoch());
            let Some(epoch) = before.1 else { return Ok(()) };
            let Some(of_log) = log.end_offset_for_epoch(epoch).map(end) else {
                // An epoch that the log never had, or has lost.
                return copy.truncate_fully_and_start_at(log.log_start_offset(), clock::now());
            };
            let own = copy.end_offset_for_epoch(of_log.leader_epoch).map(end);
            copy.truncate_to(truncation_offset(of_log, own, before.0), clock::now())?;
            if (copy.log_end_offset(), copy.latest_epoch()) == before {
                return Ok(());
            }
        }
    }

    /// Gives the move up.
    pub(super) fn cancel_move(&self) {
        let moving = self.lock().moving.take();
        if let Some(moving) = moving {
            tracing::info!(partition = %self.topic_partition(), "a move was given up");
            moving.future.give_up();
        }
    }

    /// Takes a move one step on. To be called by one thread at a time.
    pub(crate) fn advance_move(self: &Arc<Self>) -> MoveProgress {
        let Some((future, step)) = self.next_move_step() else { return MoveProgress::Ended };
        match step {
            MoveStep::Restart { at } => future.change(|copied| {
                copied.is_near_end = false;
                copied.log.truncate_fully_and_start_at(at, clock::now())?;
                copied.purge();
                Ok(())
            }),
            MoveStep::Cut { to } => self.cut_copy(&future, to),
            MoveStep::RaiseStart { to } => future
                .change(|copied| copied.log.delete_records_to(to, copied.log.log_end_offset()).map(drop)),
            MoveStep::Copy { from } => self.copy_piece(&future, from),
            MoveStep::Sync => future.sync(),
            MoveStep::AwaitCleaner => MoveProgress::Waits,
            MoveStep::Prepare => self.prepare_replacement(&future),
            MoveStep::Replace => self.replace_log(&future),
        }
    }

    fn next_move_step(&self) -> Option<(Arc<FutureLog>, MoveStep)> {
        let mut guard = self.lock();
        let State { log, moving, .. } = &mut *guard;
        let (log, moving) = (log.as_ref()?, moving.as_mut()?);
        let future = Arc::clone(&moving.future);
        let slot = future.copy.lock();
        let copied = slot.as_ref()?;
        // Nothing is being copied at this moment: what the cut took is not in the copy.
        if moving.cut_to.is_some_and(|to| to >= copied.log.log_end_offset()) {
            moving.cut_to = None;
        }
        let step = moving.state(log, copied).next_step();
        drop(slot);
        Some((future, step))
    }

    fn cut_copy(&self, future: &Arc<FutureLog>, to: Offset) -> MoveProgress {
        let progress = future.change(|copied| {
            copied.is_near_end = false;
            copied.log.truncate_to(to, clock::now())?;
            copied.purge();
            Ok(())
        });
        let mut state = self.lock();
        if let Some(moving) = &mut state.moving
            && moving.cut_to.is_some_and(|noted| noted >= to)
        {
            moving.cut_to = None;
        }
        progress
    }

    /// Finds what comes next under the lock, and copies it without.
    fn copy_piece(&self, future: &Arc<FutureLog>, from: Offset) -> MoveProgress {
        let found = {
            let state = self.lock();
            let Some(log) = &state.log else { return MoveProgress::Ended };
            let read = log.read(from, PIECE_BYTES, log.log_end_offset(), true);
            read.map(|read| (read.slice, read.log_end_offset))
        };
        let read = found.map_err(|error| error.to_string()).and_then(|(slice, log_end)| {
            let bytes = slice.as_ref().map(FileSlice::read_all).transpose();
            bytes.map(|bytes| (bytes, log_end)).map_err(|error| error.to_string())
        });
        match read {
            Ok((Some(bytes), log_end)) => future.append(from, &bytes, log_end),
            // Compaction left nothing up to the log's end.
            Ok((None, log_end)) => future.change(|copied| copied.log.pass_over_to(log_end, clock::now())),
            Err(error) => {
                tracing::error!(partition = %self.topic_partition(), error, "cannot read a log that is to be moved");
                MoveProgress::Waits
            }
        }
    }

    fn prepare_replacement(&self, future: &Arc<FutureLog>) -> MoveProgress {
        let (claim, log_start) = {
            let state = self.lock();
            let Some(log) = &state.log else { return MoveProgress::Ended };
            (log.moved_from().clone(), log.log_start_offset())
        };
        let Some(directory) = future.copy.lock().as_ref().map(|copied| copied.log.directory()) else {
            return MoveProgress::Ended;
        };
        let (from, to) = (self.dir().id, &future.dir);
        let prepared = to
            .log
            .raise_log_starts(&[(self.topic_partition().clone(), log_start)])
            .and_then(|()| to.log.prepare_replacement(&claim, &directory, from, to.id));
        future.change(|copied| {
            prepared?;
            copied.prepared_at = Some(log_start);
            Ok(())
        })
    }

    /// Copies what is left, and puts the copy in the log's place. Appends wait for it, for some syncs of the disk.
    fn replace_log(self: &Arc<Self>, future: &Arc<FutureLog>) -> MoveProgress {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let (Some(log), Some(moving)) = (&mut state.log, &state.moving) else { return MoveProgress::Ended };
        let mut slot = future.copy.lock();
        let Some(copied) = slot.as_mut().filter(|_| Arc::ptr_eq(&moving.future, future)) else {
            return MoveProgress::Copied(0);
        };
        if moving.state(log, copied).next_step() != MoveStep::Replace {
            return MoveProgress::Copied(0);
        }
        let tail_bytes = match copied.append_tail(log) {
            Ok(bytes) => bytes,
            Err(error) => {
                // The next step meets the same failure, and says what becomes of it.
                tracing::debug!(partition = %self.topic_partition(), %error, "the end of a copy is missing");
                copied.is_near_end = false;
                return MoveProgress::Waits;
            }
        };
        if copied.log.log_end_offset() != log.log_end_offset() {
            copied.is_near_end = false;
            return MoveProgress::Copied(tail_bytes);
        }
        if log.failure().is_some() {
            // It is the log's directory that fails, and a sync says so.
            drop(slot);
            drop(guard);
            self.schedule_sync();
            return MoveProgress::Waits;
        }
        let (from, to) = (self.dir(), Arc::clone(&future.dir));
        if let Err(error) = to.log.install_future(log, &mut copied.log, (from.id, to.id)) {
            let has_failed = log.failure().is_some();
            drop(slot);
            drop(guard);
            if has_failed {
                self.schedule_sync();
            }
            return future.failed(&error);
        }
        let Some(copied) = slot.take() else { return MoveProgress::Ended };
        drop(slot);
        let old = Box::new(std::mem::replace(log, copied.log));
        state.moving = None;
        state.dirty_since_ms = None;
        self.set_dir(to);
        self.after_log_change(state, &mut wake);
        drop(guard);
        wake.fire();
        MoveProgress::Moved { old, from }
    }

    /// After a move: the old log goes, durably, and then the claim to be newer than it.
    ///
    /// # Errors
    /// The directory in which that failed, and is to go offline.
    pub(crate) fn finish_move(
        &self,
        old: Box<PartitionLog>,
        from: &Arc<LogDir>,
    ) -> Result<(), (Arc<LogDir>, LogError)> {
        let deleted = from.log.delete_partition(*old, clock::now()).and_then(|()| from.log.sync_names());
        deleted.map_err(|error| (Arc::clone(from), error))?;
        let dir = self.dir();
        let Some(claimant) = self.lock().log.as_ref().map(PartitionLog::directory) else { return Ok(()) };
        // Without the lock, for it waits for the disk.
        let ended = dir.log.end_replacement(&claimant);
        match &mut self.lock().log {
            Some(log) if log.directory() == claimant => {
                ended.map_err(|error| (dir, error))?;
                log.note_replacement_ended(&claimant);
                Ok(())
            }
            // The log was deleted meanwhile, and its claim with it.
            Some(_) | None => Ok(()),
        }
    }

    /// A directory failed. Whether the copy was there, or the log that it was made from.
    pub(super) fn end_move_of_failed(&self, failed: Uuid) -> bool {
        let mut state = self.lock();
        let is_concerned = state
            .moving
            .as_ref()
            .is_some_and(|moving| moving.future.directory() == failed || self.dir().id == failed);
        // What is on disk stays: the next start goes on with it, if it can.
        let moving = if is_concerned { state.moving.take() } else { None };
        drop(state);
        if let Some(moving) = moving {
            drop(moving.future.copy.lock().take());
        }
        is_concerned
    }
}

impl Copied {
    /// Copies the little that is left; how many bytes that was.
    fn append_tail(&mut self, log: &PartitionLog) -> Result<u64, AppendError> {
        let (from, end) = (self.log.log_end_offset(), log.log_end_offset());
        if from >= end {
            return Ok(0);
        }
        let other = |error: &dyn std::fmt::Display| AppendError::Io(io::Error::other(error.to_string()));
        let read = log.read(from, PIECE_BYTES, end, true).map_err(|error| other(&error))?;
        let Some(slice) = read.slice else {
            return self.log.pass_over_to(end, clock::now()).map(|()| 0).map_err(|error| other(&error));
        };
        let bytes = slice.read_all()?;
        self.append(&bytes)?;
        Ok(bytes.len() as u64)
    }
}
