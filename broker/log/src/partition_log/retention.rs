//! What goes at the log's beginning: by age, by size, or because DeleteRecords said so.

use std::io;

use moldau_model::{Offset, TimestampMs};

use super::{DeletedFile, PartitionLog, RemovedSegments};
use crate::LogError;
use crate::file_cache::{FileKind, segment_path};
use crate::segment::Segment;

impl PartitionLog {
    /// Moves the log start up to `offset` (DeleteRecords), which is at most `high_watermark`. Persist it by
    /// `LogDirectory::write_checkpoints` before answering. Returns the log start.
    pub fn delete_records_to(&mut self, offset: Offset, high_watermark: Offset) -> Result<Offset, LogError> {
        self.check_online()?;
        let upper = high_watermark.min(self.log_end_offset);
        if offset > upper || offset.0 < 0 {
            return Err(LogError::OffsetOutOfRange {
                offset,
                log_start_offset: self.log_start_offset,
                upper,
            });
        }
        self.move_log_start(offset);
        Ok(self.log_start_offset)
    }

    fn move_log_start(&mut self, offset: Offset) {
        if offset > self.log_start_offset {
            self.log_start_offset = offset;
            self.first_dirty_offset = self.first_dirty_offset.max(offset);
            self.epochs_dirty |= self.epochs.truncate_from_start(offset);
            self.check();
        }
    }

    /// Removes what retention by time, by size and the log start allow, never beyond the high watermark. Time and size
    /// count only where `cleanup.policy` has `delete`.
    pub fn delete_old_segments(
        &mut self,
        now: TimestampMs,
        high_watermark: Offset,
    ) -> Result<RemovedSegments, LogError> {
        self.check_online()?;
        self.producers.prune_completed(high_watermark);
        let count = self.deletable(now, high_watermark);
        self.remove_oldest(count, now).map_err(LogError::io(self.directory()))
    }

    /// How many of the oldest segments may go.
    fn deletable(&self, now: TimestampMs, high_watermark: Offset) -> usize {
        let delete = self.config.cleanup_policy.delete;
        let mut excess = if delete && self.config.retention_bytes >= 0 {
            self.size_bytes().saturating_sub(self.config.retention_bytes as u64)
        } else {
            0
        };
        let mut count = 0;
        for (number, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(number + 1).map(Segment::base_offset);
            let end = next.unwrap_or(self.log_end_offset);
            let is_empty_active = next.is_none() && segment.size_bytes() == 0;
            if end > high_watermark || is_empty_active {
                break;
            }
            let breached = next.is_some_and(|next| next <= self.log_start_offset);
            let oversize = excess > 0 && excess >= segment.size_bytes();
            let expired = delete && self.is_expired(segment, now);
            if !breached && !oversize && !expired {
                break;
            }
            excess = excess.saturating_sub(segment.size_bytes());
            count += 1;
        }
        count
    }

    /// A segment whose records carry no time is as old as it is known to be.
    fn is_expired(&self, segment: &Segment, now: TimestampMs) -> bool {
        let youngest =
            if segment.max_timestamp().0 >= 0 { segment.max_timestamp() } else { segment.created() };
        self.config.retention_ms >= 0 && now.0.saturating_sub(youngest.0) > self.config.retention_ms
    }

    fn remove_oldest(&mut self, count: usize, now: TimestampMs) -> io::Result<RemovedSegments> {
        let mut removed = RemovedSegments::default();
        if count == 0 {
            return Ok(removed);
        }
        if count == self.segments.len() {
            // Even the active segment is old: the log goes on in an empty one.
            self.start_segment(now)?;
        }
        for _ in 0..count {
            let next = self.segments.get(1).map(Segment::base_offset);
            let Some(segment) = self.segments.pop_front() else { break };
            removed.segments += 1;
            removed.bytes += segment.size_bytes();
            if let Some(next) = next {
                self.move_log_start(next);
            }
            self.delete_segment_files(&segment, now)?;
        }
        self.check();
        Ok(removed)
    }

    /// Renames a segment's files; `purge_deleted` unlinks them later. Who reads the log file goes on reading it.
    pub(super) fn delete_segment_files(&mut self, segment: &Segment, now: TimestampMs) -> io::Result<()> {
        self.delete_cleaned_away(segment, now)?;
        self.delete_snapshot(segment.base_offset())
    }

    /// The same without the producer snapshot: what was compacted away leaves the producers as they are.
    pub(crate) fn delete_cleaned_away(&mut self, segment: &Segment, now: TimestampMs) -> io::Result<()> {
        segment.forget_files();
        let due = TimestampMs(now.0.saturating_add(self.config.file_delete_delay_ms));
        for kind in FileKind::OF_SEGMENT {
            let path = segment_path(&self.storage.directory(), segment.base_offset(), kind.suffix());
            let deleted = segment_path(
                &self.storage.directory(),
                segment.base_offset(),
                &format!("{}.deleted", kind.suffix()),
            );
            match self.storage.file_system.rename(&path, &deleted) {
                Ok(()) => self.deleted.push(DeletedFile { path: deleted, due }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn delete_snapshot(&self, at: Offset) -> io::Result<()> {
        let path = segment_path(&self.storage.directory(), at, FileKind::ProducerSnapshot.suffix());
        match self.storage.file_system.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Unlinks the files of segments that were removed `file.delete.delay.ms` ago. Returns how many files went.
    pub fn purge_deleted(&mut self, now: TimestampMs) -> usize {
        let before = self.deleted.len();
        let file_system = &self.storage.file_system;
        self.deleted.retain(|file| {
            if file.due > now {
                return true;
            }
            match file_system.remove_file(&file.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %file.path.display(), %error, "not removed, will be tried again");
                    true
                }
                _ => false,
            }
        });
        before - self.deleted.len()
    }
}
