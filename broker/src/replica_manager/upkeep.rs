//! What the background does with a partition, and what is reported of it.

use std::sync::Arc;

use moldau_log::{CleanReport, Cleaning, LogError, PartitionCheckpoint, RemovedSegments};
use moldau_model::{ErrorCode, Offset, TimestampMs};
use moldau_replica::Role;

use super::partition::{Partition, State, Waiting};
use super::wake::Wake;
use crate::clock;
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
        let high_watermark = state.deletable_end();
        let offset = offset.unwrap_or(high_watermark);
        if offset > high_watermark || offset < Offset::ZERO {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let log = state.log.as_mut().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        log.delete_records_to(offset, high_watermark).map_err(|error| error.error_code())?;
        self.after_log_change(state, &mut wake);
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
        if has_failed && self.dir.is_online() {
            self.schedule_sync();
        }
        purged
    }

    /// Compacts the log if its topic is compacted and there is enough to gain. The lock is held for the plan and the
    /// renames only: what takes long, reading and copying, happens beside the clients.
    pub(crate) fn clean_if_due(&self, now: TimestampMs) -> Result<Option<CleanReport>, LogError> {
        let Some(mut cleaning) = self.begin_clean(now)? else { return Ok(None) };
        while cleaning.run()? {
            let mut state = self.lock();
            // The log may have gone with its topic.
            let Some(log) = &mut state.log else { return Ok(None) };
            log.install_cleaned(&mut cleaning, now)?;
        }
        let mut state = self.lock();
        Ok(state.log.as_mut().map(|log| log.complete_clean(cleaning)))
    }

    fn begin_clean(&self, now: TimestampMs) -> Result<Option<Cleaning>, LogError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.config.cleanup_compact || !matches!(state.replica.role(), Role::Leader { .. }) {
            return Ok(None);
        }
        let high_watermark = state.replica.high_watermark();
        let Some(log) = &mut state.log else { return Ok(None) };
        log.roll_if_due(now)?;
        if !log.is_cleaning_due(high_watermark, now) {
            return Ok(None);
        }
        log.begin_clean(high_watermark, now)
    }

    /// The partition's lines in the checkpoint files.
    pub(crate) fn checkpoint(&self) -> Option<PartitionCheckpoint> {
        let state = self.lock();
        let log = state.log.as_ref()?;
        Some(PartitionCheckpoint {
            topic_partition: self.topic_partition().clone(),
            recovery_point: log.durable_end_offset(),
            log_start_offset: log.log_start_offset(),
            high_watermark: state.replica.high_watermark(),
        })
    }

    /// Closes the log cleanly; the partition takes nothing any more.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(log) = &mut state.log else { return Ok(()) };
        log.close(clock::now())?;
        self.after_log_change(state, &mut wake);
        drop(guard);
        wake.fire();
        Ok(())
    }

    /// Bytes of the log's records; nothing once it was deleted.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.lock().log.as_ref().map(moldau_log::PartitionLog::size_bytes)
    }
}
