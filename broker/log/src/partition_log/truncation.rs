//! Cutting a diverged end off. What is cut must not come back: the cut is durable before anything is written behind it.

use std::io;

use moldau_model::{Offset, TimestampMs};

use super::{PartitionLog, RecoveryReport};
use crate::LogError;
use crate::segment::Segment;

impl PartitionLog {
    /// Cuts the log so that it ends at `offset` at the latest; the batch that holds `offset` goes whole. Blocks on a
    /// sync. Returns whether any record was cut. After an error the log refuses everything, as if poisoned.
    ///
    /// An epoch that began at the log's end and got no record is forgotten even where no record goes: a replica that
    /// led for a moment would else name it for ever to a leader that never heard of it.
    pub fn truncate_to(&mut self, offset: Offset, now: TimestampMs) -> Result<bool, LogError> {
        self.check_online()?;
        if offset >= self.log_end_offset {
            self.epochs_dirty |= self.epochs.truncate_from_end(self.log_end_offset);
            return Ok(false);
        }
        if self.segments.front().is_none_or(|first| offset < first.base_offset()) {
            self.truncate_fully_and_start_at(offset, now)?;
            return Ok(true);
        }
        let result = self.try_truncate(offset, now);
        self.end_truncation(result)?;
        Ok(true)
    }

    /// Empties the log and lets it begin at `offset`. Blocks on a sync.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now: TimestampMs) -> Result<(), LogError> {
        self.check_online()?;
        self.make()?;
        let result = self.try_restart(offset, now);
        self.end_truncation(result)
    }

    fn end_truncation(&mut self, result: io::Result<()>) -> Result<(), LogError> {
        if let Err(source) = result {
            // Half of it may be done: what is in memory is not what is on disk.
            self.fail(format!("truncation failed: {source}").into());
            return Err(LogError::Io { path: self.directory().to_path_buf(), source });
        }
        self.check();
        Ok(())
    }

    fn try_truncate(&mut self, offset: Offset, now: TimestampMs) -> io::Result<()> {
        self.leave_journal()?;
        self.recent.clear();
        // From the end backwards, and durably before the segment before them loses its end: a crash in between leaves a
        // log without a hole.
        while self.segments.len() > 1 && self.segments.back().is_some_and(|last| last.base_offset() > offset)
        {
            self.remove_last_segment(now)?;
        }
        self.storage.file_system.sync_dir(&self.storage.directory())?;
        if let Some(active) = self.segments.back_mut() {
            let found = active.find_batch(offset).map_err(io::Error::other)?;
            let (position, end) = match found {
                Some((position, header)) => (position, header.base_offset.min(offset)),
                None => (active.size_bytes(), offset),
            };
            active.truncate(position, end)?.sync_data()?;
            self.log_end_offset = end;
        }
        self.log_start_offset = self.log_start_offset.min(self.log_end_offset);
        self.lower_checkpointed_start()?;
        self.first_dirty_offset = self.first_dirty_offset.min(self.log_end_offset);
        self.lower_checkpointed_first_dirty()?;
        self.durability.truncated(self.log_end_offset);
        if self.epochs.truncate_from_end(self.log_end_offset) {
            self.write_epochs_unsynced()?;
            self.epochs_dirty = true;
        }
        let snapshots = self.snapshots_on_disk()?;
        self.load_producers(&snapshots, now, &mut RecoveryReport::default())
    }

    /// A log that ends before its checkpointed start is thrown away by the next start: the checkpoint must not say so of
    /// the new history.
    fn lower_checkpointed_start(&self) -> io::Result<()> {
        match &self.checkpoints {
            Some(checkpoints) => checkpoints.lower_log_start(&self.topic_partition, self.log_start_offset),
            None => Ok(()),
        }
    }

    fn lower_checkpointed_first_dirty(&self) -> io::Result<()> {
        match &self.checkpoints {
            Some(checkpoints) => {
                checkpoints.lower_first_dirty(&self.topic_partition, self.first_dirty_offset)
            }
            None => Ok(()),
        }
    }

    fn remove_last_segment(&mut self, now: TimestampMs) -> io::Result<()> {
        if let Some(segment) = self.segments.pop_back() {
            self.delete_segment_files(&segment, now)?;
        }
        Ok(())
    }

    fn try_restart(&mut self, offset: Offset, now: TimestampMs) -> io::Result<()> {
        self.leave_journal()?;
        self.recent.clear();
        while !self.segments.is_empty() {
            self.remove_last_segment(now)?;
        }
        for at in self.snapshots_on_disk()? {
            self.delete_snapshot(Offset(at))?;
        }
        self.segments.push_back(Segment::create(&self.storage, offset, &self.config, now)?);
        self.storage.file_system.sync_dir(&self.storage.directory())?;
        self.durability.sync_name_now(&*self.storage.file_system, self.parent.as_ref())?;
        self.log_start_offset = offset;
        self.log_end_offset = offset;
        self.lower_checkpointed_start()?;
        self.first_dirty_offset = offset;
        self.lower_checkpointed_first_dirty()?;
        self.durability.restarted(offset);
        self.epochs.clear();
        self.write_epochs_unsynced()?;
        self.epochs_dirty = true;
        self.producers.clear();
        Ok(())
    }
}
