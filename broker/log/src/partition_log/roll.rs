//! Closing the active segment and starting the next.

use std::io;

use moldau_model::{Offset, TimestampMs};

use super::PartitionLog;
use crate::LogError;
use crate::batch_header::BatchHeader;
use crate::file_cache::{FileKind, segment_path};
use crate::file_system::OpenFile;
use crate::leader_epoch_cache;
use crate::segment::Segment;

/// How many producer snapshots are kept: a truncation may need one older than the last.
const SNAPSHOTS_KEPT: usize = 3;

impl PartitionLog {
    /// Starts a new segment, if the active one holds anything.
    pub fn roll(&mut self, now: TimestampMs) -> Result<(), LogError> {
        self.check_online()?;
        if self.segments.back().is_some_and(|active| active.size_bytes() > 0) {
            self.start_segment(now).map_err(LogError::io(self.directory()))?;
        }
        Ok(())
    }

    /// The log that this one is a copy of has nothing more up to `offset`, because it was compacted: this one ends there, too.
    pub fn pass_over_to(&mut self, offset: Offset, now: TimestampMs) -> Result<(), LogError> {
        self.check_online()?;
        let end = self.log_end_offset;
        if offset <= end {
            return Ok(());
        }
        // The end of a log is told by the name of its last segment, where that holds nothing.
        self.log_end_offset = offset;
        self.start_segment(now).map_err(|source| {
            self.log_end_offset = end;
            LogError::io(self.directory())(source)
        })
    }

    /// Rolls the active segment if its first record is older than `segment.ms`: compaction waits for closed segments.
    pub fn roll_if_due(&mut self, now: TimestampMs) -> Result<bool, LogError> {
        let due = self
            .segments
            .back()
            .is_some_and(|active| active.size_bytes() > 0 && self.is_old(active, now, now));
        if due {
            self.roll(now)?;
        }
        Ok(due)
    }

    /// Whether the batches must go to a new segment: the active one is full, old, fully indexed, or cannot count so far.
    pub(super) fn is_roll_due(&self, batches: &[BatchHeader], size_bytes: usize, now: TimestampMs) -> bool {
        let Some(active) = self.segments.back() else { return true };
        if active.size_bytes() == 0 {
            return false;
        }
        let youngest = batches.iter().map(|batch| batch.max_timestamp).max().unwrap_or(TimestampMs::NONE);
        let last_offset = batches.last().map_or(self.log_end_offset, BatchHeader::last_offset);
        active.size_bytes() + size_bytes as u64 > u64::from(self.config.segment_bytes)
            || self.is_old(active, youngest, now)
            || active.is_index_full(self.config.segment_index_bytes)
            || last_offset.minus(active.base_offset()) > i64::from(i32::MAX)
    }

    /// Age is told by the records' own time where they have one, so that a replica that catches up rolls as the leader
    /// did.
    fn is_old(&self, active: &Segment, youngest: TimestampMs, now: TimestampMs) -> bool {
        let age_ms = match active.born() {
            Some(born) => youngest.0.saturating_sub(born.0),
            None => now.0.saturating_sub(active.created().0),
        };
        age_ms > self.segment_ms_max().saturating_sub(self.roll_jitter_ms(active.base_offset()))
    }

    /// The cleaner waits for closed segments: where a record must not stay uncleaned for long, its segment must not stay
    /// open for longer.
    fn segment_ms_max(&self) -> i64 {
        if self.config.cleanup_policy.compact {
            self.config.segment_ms.min(self.config.max_compaction_lag_ms)
        } else {
            self.config.segment_ms
        }
    }

    /// The same for one segment at any time, different from one partition to the next.
    fn roll_jitter_ms(&self, base_offset: Offset) -> i64 {
        let bound = self.config.segment_jitter_ms.min(self.segment_ms_max());
        if bound <= 0 {
            return 0;
        }
        let mut hash = crc32c::crc32c(self.topic_partition.topic.as_bytes());
        hash = crc32c::crc32c_append(hash, &self.topic_partition.partition.0.to_be_bytes());
        hash = crc32c::crc32c_append(hash, &base_offset.0.to_be_bytes());
        i64::from(hash) % bound
    }

    /// Closes the active segment and makes the next one at the log's end. On an error the log is as it was, or offline.
    ///
    /// The closed segment is synced before the next one has a name: after a loss of power the name may be there and the
    /// end of the closed segment not, and nobody could tell such a hole from one that compaction made. Its epochs are
    /// too, for once it lies below a recovery point nobody looks for them in it. Blocks for that, once a segment, on what
    /// the last tickets left.
    pub(super) fn start_segment(&mut self, now: TimestampMs) -> io::Result<()> {
        let Some(active) = self.segments.back_mut() else {
            return Err(io::Error::other("a log without a segment"));
        };
        assert!(active.base_offset() < self.log_end_offset, "a segment that holds nothing was to be closed");
        let mut changed = active.finish_indexes()?;
        // A closed segment is as long as its file.
        changed.extend(active.trim()?);
        for file in &changed {
            self.durability.mark(file);
        }
        self.sync_before_roll()?;
        let next = Segment::create(&self.storage, self.log_end_offset, &self.config, now)?;
        self.durability.names().directory = true;
        self.segments.push_back(next);
        self.recent.clear();
        if let Err(error) = self.write_producer_snapshot() {
            // The log itself holds all that a snapshot does.
            tracing::warn!(partition = %self.topic_partition, %error, "producer snapshot not written");
        }
        Ok(())
    }

    fn sync_before_roll(&mut self) -> io::Result<()> {
        if let Err(error) = self.durability.sync_files_now().and_then(|()| self.leave_journal()) {
            self.fail(format!("a sync failed: {error}").into());
            return Err(error);
        }
        if !self.epochs_dirty {
            return Ok(());
        }
        self.write_epochs().inspect_err(|error| {
            // A full disk gives space back some day, and the file beside the old one is written from its start again.
            if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                self.fail(format!("the leader epochs were not written: {error}").into());
            }
        })
    }

    /// Writes the producers' state at the log's end. Not synced: its CRC tells a torn one, and an older one serves too.
    pub(super) fn write_producer_snapshot(&self) -> io::Result<()> {
        let suffix = FileKind::ProducerSnapshot.suffix();
        let path = segment_path(&self.storage.directory(), self.log_end_offset, suffix);
        let file = self.storage.file_system.open(&path, OpenFile::Truncate)?;
        file.write_all_at(&self.producers.encode_snapshot(), 0)?;
        let snapshots = self.snapshots_on_disk()?;
        for at in snapshots.iter().rev().skip(SNAPSHOTS_KEPT) {
            self.storage.file_system.remove_file(&segment_path(
                &self.storage.directory(),
                Offset(*at),
                suffix,
            ))?;
        }
        Ok(())
    }

    pub(super) fn snapshots_on_disk(&self) -> io::Result<std::collections::BTreeSet<i64>> {
        let entries = self.storage.file_system.read_dir(&self.storage.directory())?;
        Ok(entries.iter().filter_map(|entry| entry.name.strip_suffix(".snapshot")?.parse().ok()).collect())
    }

    /// Replaces the epoch checkpoint, durably.
    pub(super) fn write_epochs(&mut self) -> io::Result<()> {
        let path = self.storage.directory().join(leader_epoch_cache::FILE_NAME);
        self.storage.file_system.replace_file(&path, self.epochs.encode().as_bytes())?;
        self.epochs_dirty = false;
        Ok(())
    }

    /// Replaces the epoch checkpoint; a sync of the whole file system follows, or it is written once more. If neither
    /// comes to pass, the old file may stay, or one that can be told to be torn.
    pub(super) fn write_epochs_unsynced(&mut self) -> io::Result<()> {
        let path = self.storage.directory().join(leader_epoch_cache::FILE_NAME);
        let beside = self.storage.directory().join(format!("{}.tmp", leader_epoch_cache::FILE_NAME));
        let file = self.storage.file_system.open(&beside, OpenFile::Truncate)?;
        file.write_all_at(self.epochs.encode().as_bytes(), 0)?;
        self.storage.file_system.rename(&beside, &path)?;
        self.epochs_dirty = false;
        Ok(())
    }
}
