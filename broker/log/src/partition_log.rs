//! One partition's log. Externally locked: changes take `&mut self`, and no method blocks on a sync unless it says so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition};

use crate::{AppendError, FileCache, FileSystem, LogConfig, LogError, LogRead, ReadError, SyncTicket};

/// What the broker knows about a log before it opens it.
#[derive(Clone, Copy, Debug)]
pub struct OpenMode {
    /// The whole directory was closed cleanly: nothing needs to be scanned.
    pub clean_shutdown: bool,
    /// From `recovery-point-offset-checkpoint`: all below it was durable. Zero if unknown.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`. Zero if unknown.
    pub log_start_offset: Offset,
}

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub segments_scanned: usize,
    /// Bytes behind the longest valid prefix that were cut off.
    pub bytes_truncated: u64,
    /// Segments behind a bad one that were taken away.
    pub segments_removed: usize,
    pub indexes_rebuilt: usize,
    /// What else was found wrong and mended, for the log.
    pub notes: Vec<String>,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A Produce request: exactly one batch, no control batch.
    Client,
    /// A group or transaction coordinator of this broker.
    Coordinator,
}

/// Where the batches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// The broker's time if the topic keeps that, else [`TimestampMs::NONE`].
    pub log_append_time: TimestampMs,
    pub log_start_offset: Offset,
    /// The batch was in the log already: the offsets are those of the first time.
    pub duplicate: bool,
}

/// The end of a leader epoch: what OffsetForLeaderEpoch answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub leader_epoch: LeaderEpoch,
    /// Exclusive.
    pub end_offset: Offset,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: TimestampMs,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

/// A producer as DescribeProducers shows it (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// -1 if no batch of this epoch is known.
    pub last_sequence: i32,
    pub last_timestamp: TimestampMs,
    /// -1 if none.
    pub coordinator_epoch: i32,
    /// Where its open transaction began, or [`Offset::NONE`].
    pub current_transaction_start_offset: Offset,
}

/// What retention took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedSegments {
    pub segments: usize,
    pub bytes: u64,
}

/// What one pass of the cleaner did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    pub segments_cleaned: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub records_before: u64,
    pub records_after: u64,
    /// Everything below it has been compacted.
    pub first_dirty_offset: Offset,
}

/// One partition: `log_start_offset <= durable_end_offset <= log_end_offset`.
///
/// Driven like this: `open`; then `append_*`, `read`, `truncate_*` as the replica's role demands; after appends
/// `begin_sync`, run the ticket without the lock, `complete_sync`; `delete_old_segments`, `purge_deleted` and `clean`
/// from time to time; `close` at the end.
#[derive(Debug)]
pub struct PartitionLog {
    topic_partition: TopicPartition,
    topic_id: TopicId,
    directory: PathBuf,
}

#[allow(unused_variables, clippy::todo)]
impl PartitionLog {
    /// Opens or makes the log in `directory`. After an unclean shutdown everything from the recovery point's segment on
    /// is checked and the log cut to its longest valid prefix.
    pub fn open(
        file_system: Arc<dyn FileSystem>,
        file_cache: Arc<FileCache>,
        directory: PathBuf,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        mode: OpenMode,
        now: TimestampMs,
    ) -> Result<(Self, RecoveryReport), LogError> {
        todo!()
    }

    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn config(&self) -> &LogConfig {
        todo!()
    }

    /// Takes effect with the next append, roll or retention pass.
    pub fn update_config(&mut self, config: LogConfig) {
        todo!()
    }

    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        todo!()
    }

    /// The offset of the next record.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        todo!()
    }

    /// Exclusive: everything below it survives a loss of power. Also the recovery point.
    #[must_use]
    pub fn durable_end_offset(&self) -> Offset {
        todo!()
    }

    /// Exclusive: what a `read_committed` consumer may see, given the high watermark.
    #[must_use]
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        todo!()
    }

    /// Bytes of all segments' records.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// The base offsets of all segments, oldest first.
    #[must_use]
    pub fn segment_base_offsets(&self) -> Vec<Offset> {
        todo!()
    }

    /// Appends a leader's batches. They are checked first, all of them; then base offsets, the leader epoch and, where
    /// the topic wants it, the broker's time are patched into `batches` and everything is written at once.
    ///
    /// On an error the log is as it was. If even that could not be brought about, the log refuses everything from then
    /// on with [`AppendError::Offline`].
    pub fn append_as_leader(
        &mut self,
        batches: &mut [u8],
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now: TimestampMs,
    ) -> Result<AppendInfo, AppendError> {
        todo!()
    }

    /// Appends what a follower fetched, byte for byte: offsets and epochs are the leader's. A cut batch at the end is
    /// left out. Returns the new log end offset.
    pub fn append_as_follower(&mut self, batches: &[u8], now: TimestampMs) -> Result<Offset, AppendError> {
        todo!()
    }

    /// Notes that `leader_epoch` begins at the log's end (becoming leader), so that the epoch's start is known before
    /// its first record.
    pub fn assign_leader_epoch(&mut self, leader_epoch: LeaderEpoch) {
        todo!()
    }

    /// The newest epoch that the log knows.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        todo!()
    }

    /// The largest epoch not above `leader_epoch` and where it ended; `None` if `leader_epoch` is newer than all known
    /// (KIP-101, KIP-279).
    #[must_use]
    pub fn end_offset_for_epoch(&self, leader_epoch: LeaderEpoch) -> Option<EpochEnd> {
        todo!()
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        todo!()
    }

    /// Finds batches from the one that holds `from` on, below `upper_bound` (exclusive: high watermark, last stable
    /// offset or log end, as the reader may see), at most `max_bytes` of them; if `at_least_one_batch`, the first batch
    /// comes whole whatever its size (KIP-74).
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one_batch: bool,
    ) -> Result<LogRead, ReadError> {
        todo!()
    }

    /// The first record below `upper_bound` whose timestamp is at least `timestamp`.
    pub fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        todo!()
    }

    /// The first record with the largest timestamp below `upper_bound` (KIP-734).
    pub fn max_timestamp_offset(&self, upper_bound: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        todo!()
    }

    /// Cuts the log so that it ends at `offset` at the latest; the batch that holds `offset` goes whole. Blocks on a
    /// sync. Returns whether anything was cut.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<bool, LogError> {
        todo!()
    }

    /// Empties the log and lets it begin at `offset`. Blocks on a sync.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now: TimestampMs) -> Result<(), LogError> {
        todo!()
    }

    /// Moves the log start up to `offset` (DeleteRecords), which is at most `high_watermark`. Persist it by
    /// `LogDirectory::write_checkpoints` before answering. Returns the log start.
    pub fn delete_records_to(&mut self, offset: Offset, high_watermark: Offset) -> Result<Offset, LogError> {
        todo!()
    }

    /// Removes what retention by time, by size and the log start allow, never beyond the high watermark.
    pub fn delete_old_segments(
        &mut self,
        now: TimestampMs,
        high_watermark: Offset,
    ) -> Result<RemovedSegments, LogError> {
        todo!()
    }

    /// Unlinks the files of segments that were removed `file.delete.delay.ms` ago. Returns how many files went.
    pub fn purge_deleted(&mut self, now: TimestampMs) -> usize {
        todo!()
    }

    /// Starts a new segment, if the active one holds anything.
    pub fn roll(&mut self, now: TimestampMs) -> Result<(), LogError> {
        todo!()
    }

    /// Rolls the active segment if its first record is older than `segment.ms`: compaction waits for closed segments.
    pub fn roll_if_due(&mut self, now: TimestampMs) -> Result<bool, LogError> {
        todo!()
    }

    /// Whether a compacted log has enough to gain from [`PartitionLog::clean`].
    #[must_use]
    pub fn is_cleaning_due(&self, upper_bound: Offset, now: TimestampMs) -> bool {
        todo!()
    }

    /// Compacts closed segments below `upper_bound` (the high watermark at most): of each key the last value stays.
    /// Reads and writes files and blocks on syncs, holding `&mut self` all the while: for the small, hot internal
    /// topics that is a matter of milliseconds.
    pub fn clean(&mut self, upper_bound: Offset, now: TimestampMs) -> Result<CleanReport, LogError> {
        todo!()
    }

    /// The producers that have a place in the duplicate window, by id.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        todo!()
    }

    /// Forgets producers that were idle for `producer.id.expiration.ms`. Returns how many.
    pub fn remove_expired_producers(&mut self, now: TimestampMs) -> usize {
        todo!()
    }

    /// A ticket for all that is written but not durable; `None` if there is nothing, or a ticket is out already: then
    /// ask again when that one is completed.
    pub fn begin_sync(&mut self) -> Option<SyncTicket> {
        todo!()
    }

    /// Takes back a ticket that was run. Returns the durable end, which moves only if the run succeeded.
    pub fn complete_sync(&mut self, ticket: SyncTicket) -> Offset {
        todo!()
    }

    /// Refuses appends, reads and syncs from now on: the log directory is offline. The first reason stays.
    pub fn poison(&mut self, reason: Arc<str>) {
        todo!()
    }

    /// Writes out indexes, producer state and leader epochs and syncs everything: after it the log counts as closed
    /// cleanly. The log cannot be appended to afterwards.
    pub fn close(&mut self, now: TimestampMs) -> Result<(), LogError> {
        todo!()
    }
}

impl From<io::Error> for ReadFailed {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

#[derive(Debug)]
struct ReadFailed(#[allow(dead_code)] io::Error);
