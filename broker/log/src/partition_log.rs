//! One partition's log. Externally locked: changes take `&mut self`, and no method blocks on a sync unless it says so.

mod append;
mod declare;
mod journaled;
mod open;
mod reading;
mod recent;
mod retention;
mod roll;
mod timestamps;
mod truncation;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use moldau_model::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition, VerificationGuard,
};

use crate::batch_header::BatchHeader;
use crate::checkpoint::Checkpoints;
use crate::file_cache::{FileKind, Storage, segment_path};
use crate::file_system::OpenFile;
use crate::journal::{Journal, JournalSeat};
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::producer_state::{ProducerAppend, ProducerState};
use crate::segment::Segment;
use crate::sync::{DirectorySync, Durability};
use crate::{FileCache, FileSystem, LogConfig, LogError, MovedFrom, Room, SyncTicket};
pub(crate) use open::control_record;
use recent::RecentBatches;

/// What all logs of one directory share.
#[derive(Clone, Debug)]
pub struct LogEnvironment {
    pub(crate) file_system: Arc<dyn FileSystem>,
    pub(crate) file_cache: Arc<FileCache>,
    pub(crate) parent: Option<Arc<DirectorySync>>,
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
    pub(crate) journal: Option<Arc<Journal>>,
    /// A sync has failed in this directory: what recovery finds beyond the recovery point is written again before it is
    /// believed.
    pub(crate) rewrites_recovered: bool,
    pub(crate) room: Arc<Room>,
}

impl LogEnvironment {
    /// For a log on its own; the logs of a [`crate::LogDirectory`] get theirs from it.
    #[must_use]
    pub fn new(file_system: Arc<dyn FileSystem>, file_cache: Arc<FileCache>) -> Self {
        Self {
            room: Arc::new(Room::new(Arc::clone(&file_system), PathBuf::new())),
            file_system,
            file_cache,
            parent: None,
            checkpoints: None,
            journal: None,
            rewrites_recovered: false,
        }
    }
}

/// What the broker knows about a log before it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl RecoveryReport {
    /// Whether anything was cut off or found wrong, which is more than looking after a stop that was not clean.
    #[must_use]
    pub fn has_mended(&self) -> bool {
        self.bytes_truncated > 0 || self.segments_removed > 0 || !self.notes.is_empty()
    }
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A Produce request: exactly one batch, no control batch.
    Client,
    /// A group or transaction coordinator of this broker.
    Coordinator,
}

/// What is known of the batches that somebody appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendTerms {
    pub origin: AppendOrigin,
    /// The first batch of a transaction is taken only with a guard (`transaction.partition.verification.enable`).
    pub needs_verification: bool,
    /// What [`PartitionLog::begin_verification`] gave, after the coordinator knew of the transaction.
    pub verification: Option<VerificationGuard>,
    /// How the coordinator ends transactions: from 2 on with an epoch of the marker's own. Zero where there is no marker.
    pub transaction_version: i8,
}

impl From<AppendOrigin> for AppendTerms {
    fn from(origin: AppendOrigin) -> Self {
        Self { origin, needs_verification: false, verification: None, transaction_version: 0 }
    }
}

/// Where the batches went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// The broker's time if the topic keeps that, else [`TimestampMs::NONE`]. Of a duplicate, the time it was stored
    /// with.
    pub log_append_time: TimestampMs,
    pub log_start_offset: Offset,
    /// The batch was in the log already: the offsets are those of the first time. The answer must wait for them to be
    /// committed as it does for new ones.
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

/// A file that was renamed to `.deleted`.
#[derive(Debug)]
struct DeletedFile {
    path: PathBuf,
    due: TimestampMs,
}

/// One partition: `log_start_offset <= log_end_offset` and `durable_end_offset <= log_end_offset`.
///
/// Driven like this: `open`; then `append_*`, `read`, `truncate_*` as the replica's role demands; after appends
/// `begin_sync`, run the ticket without the lock, `complete_sync`; `delete_old_segments`, `purge_deleted` and `clean`
/// from time to time; `close` at the end.
#[derive(Debug)]
pub struct PartitionLog {
    topic_partition: TopicPartition,
    topic_id: TopicId,
    storage: Arc<Storage>,
    parent: Option<Arc<DirectorySync>>,
    checkpoints: Option<Arc<Checkpoints>>,
    journal: Option<JournalSeat>,
    config: LogConfig,
    /// By base offset; never empty, the last is active.
    segments: VecDeque<Segment>,
    log_start_offset: Offset,
    log_end_offset: Offset,
    epochs: LeaderEpochCache,
    /// The checkpoint file lacks an epoch. It need not be written before a segment is closed: recovery finds the epochs
    /// of the segments that it scans in their batches.
    epochs_dirty: bool,
    producers: ProducerState,
    recent: RecentBatches,
    durability: Durability,
    deleted: Vec<DeletedFile>,
    /// Everything below it was compacted, as far as this process knows.
    first_dirty_offset: Offset,
    /// Alive while a pass of the cleaner is out.
    cleaning: Weak<()>,
    offline: Option<Arc<str>>,
    has_failed: bool,
    /// It has no files yet: see `declare.rs`.
    is_declared_only: bool,
    /// What the partition's directory says of older copies elsewhere.
    pub(crate) moved_from: MovedFrom,
    /// Reused from append to append.
    scratch_headers: Vec<BatchHeader>,
    scratch_producers: ProducerAppend,
}

impl PartitionLog {
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    #[must_use]
    pub fn directory(&self) -> Arc<Path> {
        self.storage.directory()
    }

    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes effect with the next append, roll or retention pass.
    pub fn update_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The offset of the next record.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// Exclusive: everything below it survives a loss of power. Also the recovery point.
    #[must_use]
    pub fn durable_end_offset(&self) -> Offset {
        self.durability.durable_end_offset()
    }

    /// Exclusive: what a `read_committed` consumer may see, given the high watermark.
    #[must_use]
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        let first_unstable = self.producers.first_unstable_offset(high_watermark);
        first_unstable.map_or(high_watermark, |first| first.min(high_watermark)).max(self.log_start_offset)
    }

    /// Bytes of all segments' records.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::size_bytes).sum()
    }

    /// The base offsets of all segments, oldest first.
    #[must_use]
    pub fn segment_base_offsets(&self) -> Vec<Offset> {
        self.segments.iter().map(Segment::base_offset).collect()
    }

    /// Notes that `leader_epoch` begins at the log's end (becoming leader), so that the epoch's start is known before
    /// its first record.
    pub fn assign_leader_epoch(&mut self, leader_epoch: LeaderEpoch) {
        self.epochs_dirty |= self.epochs.assign(leader_epoch, self.log_end_offset);
    }

    /// The newest epoch that the log knows.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// The largest epoch not above `leader_epoch` and where it ended; `None` if `leader_epoch` is newer than all known
    /// (KIP-101, KIP-279).
    #[must_use]
    pub fn end_offset_for_epoch(&self, leader_epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_offset_for(leader_epoch, self.log_end_offset)
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_for(offset)
    }

    /// The producers that have a place in the duplicate window, by id.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    /// A producer wants to write the first batch of a transaction, of which the coordinator is to be asked: the guard for
    /// that append, or `None` if its transaction is open here already. `bumps_epoch` is for transactions of version 2.
    pub fn begin_verification(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        sequence: i32,
        bumps_epoch: bool,
        now: TimestampMs,
    ) -> Option<VerificationGuard> {
        let count_max = self.config.producer_ids_max;
        self.producers.begin_verification(producer_id, producer_epoch, sequence, bumps_epoch, now, count_max)
    }

    /// Every replica of the ISR has what lies below `high_watermark`: how transactions ended there is settled.
    pub fn note_high_watermark(&mut self, high_watermark: Offset) {
        self.producers.prune_completed(high_watermark);
    }

    /// Forgets producers that were idle for `producer.id.expiration.ms`. Returns how many.
    pub fn remove_expired_producers(&mut self, now: TimestampMs) -> usize {
        self.producers.remove_expired(now, self.config.producer_id_expiration_ms)
    }

    /// A ticket for all that is written but not durable; `None` if there is nothing, or a ticket is out already: then
    /// ask again when that one is completed.
    pub fn begin_sync(&mut self) -> Option<SyncTicket> {
        if self.offline.is_some() {
            return None;
        }
        let active = self.segments.back();
        let active = active.map(|active| (active.base_offset(), active.size_bytes()));
        let active = self.journal.as_ref().zip(active).map(|(seat, (base, size))| (seat, base, size));
        self.durability.begin(self.log_end_offset, &self.storage, self.parent.as_ref(), active)
    }

    /// Takes back a ticket that was run. Returns the durable end, which moves only if the run succeeded. If it failed,
    /// the log refuses everything from then on, as after [`PartitionLog::poison`].
    pub fn complete_sync(&mut self, ticket: SyncTicket) -> Offset {
        if !self.durability.complete(ticket) {
            self.fail("a sync failed".into());
        }
        self.check();
        self.durability.durable_end_offset()
    }

    /// Refuses appends, reads and syncs from now on: the log directory is offline. The first reason stays.
    pub fn poison(&mut self, reason: Arc<str>) {
        self.offline.get_or_insert(reason);
    }

    /// The disk failed this log in a way that cannot be taken back: its directory has to go offline. `None` of a log that is
    /// well, was closed, or was poisoned by somebody who knew better.
    #[must_use]
    pub fn failure(&self) -> Option<&Arc<str>> {
        self.offline.as_ref().filter(|_| self.has_failed)
    }

    pub(crate) fn fail(&mut self, reason: Arc<str>) {
        self.has_failed |= self.offline.is_none();
        self.poison(reason);
    }

    /// Writes out indexes, producer state and leader epochs and syncs the records. Names, indexes and checkpoints
    /// become durable with `LogDirectory::close_clean`, which comes after it. Nothing can be appended afterwards.
    pub fn close(&mut self, _now: TimestampMs) -> Result<(), LogError> {
        self.check_online()?;
        self.try_close().map_err(LogError::io(self.directory()))?;
        self.poison("the log is closed".into());
        Ok(())
    }

    fn try_close(&mut self) -> std::io::Result<()> {
        if self.is_declared_only {
            return Ok(());
        }
        if let Some(active) = self.segments.back_mut()
            && let Some(file) = active.trim()?
        {
            self.durability.mark(&file);
        }
        self.durability.sync_files_now()?;
        if let Some(active) = self.segments.back_mut() {
            active.finish_indexes()?;
        }
        self.write_producer_snapshot()?;
        if self.epochs_dirty {
            self.write_epochs_unsynced()?;
        }
        self.durability.set_durable(self.log_end_offset);
        Ok(())
    }

    /// Of a copy of `current`, which has the same records: what else is known of them. Producers that retention has taken the
    /// records of are known still, and epochs without records.
    pub(crate) fn adopt(&mut self, current: &Self) {
        self.epochs = current.epochs.clone();
        self.epochs_dirty = true;
        self.producers = current.producers.clone();
        self.first_dirty_offset = current.first_dirty_offset;
        self.config = current.config.clone();
        self.check();
    }

    /// Whether compaction may have taken records out, or may do so.
    #[must_use]
    pub fn may_be_compacted(&self) -> bool {
        self.config.cleanup_policy.compact || self.first_dirty_offset > Offset::ZERO
    }

    /// Makes all of the log durable at once: records, names, producers, epochs. Nobody else has a ticket.
    pub(crate) fn sync_whole(&mut self) -> std::io::Result<()> {
        self.write_producer_snapshot()?;
        let snapshot =
            segment_path(&self.storage.directory(), self.log_end_offset, FileKind::ProducerSnapshot.suffix());
        self.storage.file_system.open(&snapshot, OpenFile::Read)?.sync_data()?;
        let (end, parent) = (self.log_end_offset, self.parent.as_ref());
        if let Some(ticket) = self.durability.begin(end, &self.storage, parent, None) {
            let result = ticket.run();
            self.durability.complete(ticket);
            result?;
        }
        // It syncs the directory's names, the snapshot's among them.
        self.write_epochs()
    }

    /// What the partition's directory says of older copies elsewhere.
    #[must_use]
    pub fn moved_from(&self) -> &MovedFrom {
        &self.moved_from
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    pub(crate) fn segments_mut(&mut self) -> &mut VecDeque<Segment> {
        &mut self.segments
    }

    pub(crate) fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// Changes whenever offsets that were written once may be written again.
    #[must_use]
    pub fn truncations(&self) -> u64 {
        self.durability.truncations()
    }

    /// Whether a pass of the cleaner is out.
    #[must_use]
    pub fn is_being_cleaned(&self) -> bool {
        self.cleaning.strong_count() > 0
    }

    pub(crate) fn mark_cleaning(&mut self) -> Arc<()> {
        let running = Arc::new(());
        self.cleaning = Arc::downgrade(&running);
        running
    }

    pub(crate) fn first_dirty_offset(&self) -> Offset {
        self.first_dirty_offset
    }

    pub(crate) fn set_first_dirty_offset(&mut self, offset: Offset) {
        self.first_dirty_offset = offset;
    }

    /// What `cleaner-offset-checkpoint` says, if it can be of this log.
    pub(crate) fn restore_first_dirty_offset(&mut self, offset: Offset) {
        if (self.log_start_offset..=self.log_end_offset).contains(&offset) {
            self.first_dirty_offset = offset;
        }
    }

    pub(crate) fn checkpoint_first_dirty(&self) -> std::io::Result<()> {
        match &self.checkpoints {
            Some(checkpoints) => checkpoints.set_first_dirty(&self.topic_partition, self.first_dirty_offset),
            None => Ok(()),
        }
    }

    pub(crate) fn check_online(&self) -> Result<(), LogError> {
        match &self.offline {
            Some(reason) => Err(LogError::Offline { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// The order of the log's offsets. What breaks it would lose records later: stop here.
    fn check(&self) {
        assert!(self.log_start_offset <= self.log_end_offset, "the log starts behind its end");
        assert!(self.durability.durable_end_offset() <= self.log_end_offset, "more is durable than there is");
        let active = self.segments.back().map(Segment::base_offset);
        assert!(
            active.is_some_and(|base| base <= self.log_end_offset),
            "the active segment begins behind the log's end"
        );
    }

    /// The segment that holds `offset`, or would.
    fn segment_at(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base_offset() <= offset).saturating_sub(1)
    }
}
