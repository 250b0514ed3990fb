//! What the background does with a partition, and what is reported of it.

use std::sync::Arc;

use moldau_log::{
    CleanReport, CleanerBudget, Cleaning, Dirtiness, LogError, PartitionCheckpoint, PartitionLog,
    RemovedSegments,
};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, TimestampMs};
use moldau_replica::Role;

use super::partition::{Partition, State, Waiting};
use super::wake::Wake;
use crate::clock;
use crate::log_dirs::LogDir;
use crate::purgatory::DelayedOperation;

impl State {
    /// The end of what may be deleted: committed, and durable here. A follower may have heard of a high watermark above
    /// what it has synced.
    fn deletable_end(&self) -> Offset {
        self.replica.high_watermark().min(self.replica.log_ends().durable_end)
    }
}

impl Partition {
    /// Moves the log start up to `offset`, or to the high watermark if `None`. The slot waits until the whole ISR has
    /// followed. The caller writes the checkpoints before it answers.
    pub fn delete_records(
        &self,
        offset: Option<Offset>,
        (operation, slot): (&Arc<DelayedOperation>, usize),
    ) -> Result<(), ErrorCode> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !matches!(state.replica.role(), Role::Leader { .. }) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !state.config.cleanup_delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let offset = offset.unwrap_or(state.deletable_end());
        self.move_log_start(state, offset, &mut wake)?;
        if state.replica.low_watermark().is_none_or(|low_watermark| low_watermark < offset) {
            operation.wait_for(slot);
            // Those that have timed out are not worth a place.
            state.deletions.retain(|waiting| !waiting.operation.is_done());
            state.deletions.push(Waiting { required: offset, operation: Arc::clone(operation), slot });
        }
        drop(guard);
        wake.fire();
        Ok(())
    }

    /// Moves the log start up to `offset`, as leader of that epoch, for a coordinator that needs nothing before it. Followers
    /// follow when they hear of it. The caller writes the checkpoints.
    pub fn prune(&self, leader_epoch: LeaderEpoch, offset: Offset) -> Result<(), ErrorCode> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.replica.role() != (Role::Leader { leader_epoch }) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.move_log_start(state, offset, &mut wake)?;
        drop(guard);
        wake.fire();
        Ok(())
    }

    fn move_log_start(&self, state: &mut State, offset: Offset, wake: &mut Wake) -> Result<(), ErrorCode> {
        let high_watermark = state.deletable_end();
        if offset > high_watermark || offset < Offset::ZERO {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let log = state.log.as_mut().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        log.delete_records_to(offset, high_watermark).map_err(|error| error.error_code())?;
        self.after_log_change(state, wake);
        Ok(())
    }

    /// Removes what retention allows, unlinks what was removed long enough ago, forgets idle producers.
    pub(crate) fn enforce_retention(&self, now: TimestampMs) -> Result<RemovedSegments, LogError> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let high_watermark = state.deletable_end();
        let Some(log) = &mut state.log else { return Ok(RemovedSegments::default()) };
        let removed = log.delete_old_segments(now, high_watermark)?;
        log.purge_deleted(now);
        log.remove_expired_producers(now);
        self.after_log_change(state, &mut wake);
        drop(guard);
        wake.fire();
        Ok(removed)
    }

    /// Unlinks the files of removed segments whose time has come. A log that failed meanwhile, in retention or compaction,
    /// is told of by its next sync.
    pub(crate) fn purge_deleted(self: &Arc<Self>, now: TimestampMs) -> usize {
        let mut state = self.lock();
        let Some(log) = &mut state.log else { return 0 };
        let has_failed = log.failure().is_some();
        let purged = log.purge_deleted(now);
        drop(state);
        if has_failed && self.is_dir_online() {
            self.schedule_sync();
        }
        purged
    }

    /// How much there is to compact, if it is enough. A follower compacts its log as a leader does, up to what is committed:
    /// it would else grow without end.
    pub(crate) fn dirtiness(&self, now: TimestampMs) -> Result<Option<Dirtiness>, LogError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        // As in Kafka a log that moves is not compacted: its copy would have to follow.
        let is_left_alone = state.moving.is_some() || matches!(state.replica.role(), Role::None);
        if !state.config.cleanup_compact || is_left_alone {
            return Ok(None);
        }
        let end = state.deletable_end();
        let Some(log) = &mut state.log else { return Ok(None) };
        log.roll_if_due(now)?;
        Ok(log.dirtiness(end, now))
    }

    /// Whether the cleaner has something to do here now, or is at it.
    #[must_use]
    pub fn is_cleaning_due(&self) -> bool {
        let is_under_way = self.lock().log.as_ref().is_some_and(PartitionLog::is_being_cleaned);
        is_under_way || matches!(self.dirtiness(clock::now()), Ok(Some(_)))
    }

    /// Plans a pass of the cleaner. The lock is held for the plan and the renames only: what takes long, reading and
    /// copying, happens beside the clients.
    pub(crate) fn begin_clean(
        &self,
        now: TimestampMs,
        budget: CleanerBudget,
    ) -> Result<Option<Cleaning>, LogError> {
        let mut state = self.lock();
        if state.moving.is_some() {
            return Ok(None);
        }
        let end = state.deletable_end();
        // The log may have gone with its topic.
        let Some(log) = &mut state.log else { return Ok(None) };
        log.begin_clean(end, now, budget)
    }

    pub(crate) fn install_cleaned(&self, cleaning: &mut Cleaning, now: TimestampMs) -> Result<(), LogError> {
        match &mut self.lock().log {
            Some(log) => log.install_cleaned(cleaning, now),
            None => {
                cleaning.give_up();
                Ok(())
            }
        }
    }

    pub(crate) fn complete_clean(&self, cleaning: Cleaning) -> Result<Option<CleanReport>, LogError> {
        self.lock().log.as_mut().map(|log| log.complete_clean(cleaning)).transpose()
    }

    /// The partition's lines in the checkpoint files of this directory: the log's, or its copy's.
    pub(crate) fn checkpoint(&self, dir: &LogDir) -> Option<PartitionCheckpoint> {
        let state = self.lock();
        if self.dir().id != dir.id {
            let copy = state.moving.as_ref().map(|moving| Arc::clone(&moving.future))?;
            let high_watermark = state.replica.high_watermark();
            drop(state);
            return copy.checkpoint(dir, high_watermark);
        }
        let log = state.log.as_ref()?;
        Some(PartitionCheckpoint {
            topic_partition: self.topic_partition().clone(),
            recovery_point: log.durable_end_offset(),
            log_start_offset: log.log_start_offset(),
            high_watermark: state.replica.high_watermark(),
        })
    }

    /// Bytes of the log's records; nothing once it was deleted.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.lock().log.as_ref().map(PartitionLog::size_bytes)
    }
}
