//! Opening a log: what is on disk becomes the log again, cut to its longest valid prefix where the end is in doubt.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use moldau_model::{Offset, TimestampMs, TopicId, TopicPartition};
use moldau_record::DecompressLimit;

use super::recent::RecentBatches;
use super::{LogEnvironment, OpenMode, PartitionLog, RecoveryReport};
use crate::aborted_transaction::AbortedTransaction;
use crate::batch_header::{BatchHeader, HeaderWalk, WALK_BUFFER_BYTES, WalkError};
use crate::checkpoint;
use crate::file_cache::{FileKind, Storage, segment_path};
use crate::file_system::OpenFile;
use crate::journal::JournalSeat;
use crate::leader_epoch_cache::{self, LeaderEpochCache};
use crate::partition_metadata;
use crate::producer_state::{ProducerAppend, ProducerState, Source};
use crate::segment::{BatchReader, Segment};
use crate::sync::Durability;
use crate::{File, LogConfig, LogError, MovedFrom};

/// What lies in a partition's directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Base offsets of segments.
    logs: BTreeSet<i64>,
    /// Base offset and suffix of index files.
    indexes: Vec<(i64, &'static str)>,
    snapshots: BTreeSet<i64>,
    /// The directory held something.
    was_there: bool,
}

const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
const CONTROL_RECORD_BYTES_MAX: usize = 4096;
const REWRITE_STEP_BYTES: usize = 1 << 20;
/// Five batches of `max.message.bytes`' default, and some of other producers.
const RECALL_BYTES_MAX: u64 = 6 << 20;
/// Small: only headers are of interest, and batches lie far apart.
const RECALL_BUFFER_BYTES: usize = 4 << 10;

impl PartitionLog {
    /// Opens or makes the log in `directory`. After an unclean shutdown everything from the recovery point's segment on
    /// is checked, the log cut to its longest valid prefix, and that prefix synced.
    pub fn open(
        environment: &LogEnvironment,
        directory: PathBuf,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        mode: OpenMode,
        now: TimestampMs,
    ) -> Result<(Self, RecoveryReport), LogError> {
        let mut log = Self::without_segments(environment, directory, topic_partition, topic_id, config);
        log.log_start_offset = mode.log_start_offset;
        let mut report = RecoveryReport::default();
        let found = log.prepare_directory(&mut report)?;
        log.load(found, mode, now, &mut report).map_err(LogError::io(log.directory()))?;
        log.check();
        Ok((log, report))
    }

    pub(super) fn without_segments(
        environment: &LogEnvironment,
        directory: PathBuf,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
    ) -> Self {
        let storage = Storage::new(environment, &directory);
        Self {
            topic_partition,
            topic_id,
            journal: environment
                .journal
                .as_ref()
                .map(|journal| JournalSeat::new(journal, &directory, topic_id)),
            storage: Arc::new(storage),
            parent: environment.parent.clone(),
            checkpoints: environment.checkpoints.clone(),
            config,
            segments: VecDeque::new(),
            log_start_offset: Offset::ZERO,
            log_end_offset: Offset::ZERO,
            epochs: LeaderEpochCache::default(),
            epochs_dirty: false,
            producers: ProducerState::default(),
            recent: RecentBatches::default(),
            durability: Durability::new(Offset::ZERO),
            deleted: Vec::new(),
            first_dirty_offset: Offset::ZERO,
            cleaning: Weak::new(),
            offline: None,
            has_failed: false,
            is_declared_only: false,
            moved_from: MovedFrom::default(),
            scratch_headers: Vec::new(),
            scratch_producers: ProducerAppend::default(),
        }
    }

    /// Makes the directory if it is not there, checks whose it is, and clears away what a crash left half done.
    pub(super) fn prepare_directory(&mut self, report: &mut RecoveryReport) -> Result<Found, LogError> {
        let directory = self.storage.directory();
        let file_system = Arc::clone(&self.storage.file_system);
        let entries = match file_system.read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file_system.create_dir_all(&directory).map_err(LogError::io(&directory))?;
                self.durability.note_made(self.parent.as_ref().map(|parent| parent.note_made()));
                Vec::new()
            }
            Err(error) => return Err(LogError::Io { path: directory.to_path_buf(), source: error }),
        };
        self.check_partition_metadata(report)?;
        let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        let names =
            crate::cleaner::finish_swaps(&self.storage, names, report).map_err(LogError::io(&directory))?;
        let mut found = Found { was_there: !names.is_empty(), ..Found::default() };
        for name in names {
            self.sort_name(&name, &mut found).map_err(LogError::io(directory.join(&name)))?;
        }
        for (base, suffix) in std::mem::take(&mut found.indexes) {
            if !found.logs.contains(&base) {
                let path = segment_path(&directory, Offset(base), suffix);
                file_system.remove_file(&path).map_err(LogError::io(path))?;
            }
        }
        Ok(found)
    }

    fn check_partition_metadata(&mut self, report: &mut RecoveryReport) -> Result<(), LogError> {
        let path = self.storage.directory().join(partition_metadata::FILE_NAME);
        let file_system = &self.storage.file_system;
        let bytes = match file_system.read_small(&path, partition_metadata::FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(LogError::Io { path, source: error }),
        };
        match bytes.as_deref().map(partition_metadata::decode) {
            Some(Some(found)) if found == self.topic_id => return Ok(()),
            Some(Some(found)) => {
                return Err(LogError::InconsistentTopicId { path, found, expected: self.topic_id });
            }
            Some(None) => report.notes.push("partition.metadata was corrupt and is written anew".into()),
            None => {}
        }
        let write = || {
            let file = file_system.open(&path, OpenFile::Truncate)?;
            file.write_all_at(partition_metadata::encode(self.topic_id).as_bytes(), 0)
        };
        write().map_err(LogError::io(&path))?;
        let names = self.durability.names();
        names.partition_metadata = true;
        names.directory = true;
        Ok(())
    }

    /// Notes a file of ours, removes what is left of a deletion or an unfinished write, leaves alone what is not ours.
    fn sort_name(&self, name: &str, found: &mut Found) -> io::Result<()> {
        let leftover = [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|suffix| name.ends_with(suffix));
        if leftover {
            return self.storage.file_system.remove_file(&self.storage.directory().join(name));
        }
        let Some((digits, suffix)) = name.split_once('.') else { return Ok(()) };
        if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(());
        }
        let Ok(base) = digits.parse::<i64>() else { return Ok(()) };
        match suffix {
            "log" => drop(found.logs.insert(base)),
            "snapshot" => drop(found.snapshots.insert(base)),
            "index" => found.indexes.push((base, FileKind::OffsetIndex.suffix())),
            "timeindex" => found.indexes.push((base, FileKind::TimeIndex.suffix())),
            "txnindex" => found.indexes.push((base, FileKind::AbortedIndex.suffix())),
            _ => {}
        }
        Ok(())
    }

    fn load(
        &mut self,
        found: Found,
        mode: OpenMode,
        now: TimestampMs,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let bases: Vec<Offset> = found.logs.iter().map(|base| Offset(*base)).collect();
        let epochs = self.read_epochs(report);
        let epochs_known = epochs.is_some();
        self.epochs = epochs.unwrap_or_default();
        let recovered_from =
            if bases.is_empty() { None } else { self.load_segments(&bases, mode, now, report)? };
        if self.segments.is_empty() || self.log_end_offset < self.log_start_offset {
            self.start_anew(now, report)?;
            if found.was_there {
                // What is gone must not be there again after a loss of power.
                self.storage.file_system.sync_dir(&self.storage.directory())?;
            }
        }
        let first = self.segments.front().map_or(Offset::ZERO, Segment::base_offset);
        self.log_start_offset = self.log_start_offset.max(first);
        if epochs_known {
            let cut = self.epochs.truncate_from_end(self.log_end_offset);
            self.epochs_dirty |= cut;
        } else {
            self.rebuild_epochs()?;
        }
        self.epochs_dirty |= self.epochs.truncate_from_start(self.log_start_offset);
        self.rebuild_aborted_indexes(&found.snapshots, now, report)?;
        self.load_producers(&found.snapshots, now, report)?;
        if let Some(from) = recovered_from {
            self.sync_recovered(from)?;
        }
        self.durability.set_durable(self.log_end_offset);
        Ok(())
    }

    /// Loads what is trusted and scans what is not. Returns from which segment on was scanned.
    fn load_segments(
        &mut self,
        bases: &[Offset],
        mode: OpenMode,
        now: TimestampMs,
        report: &mut RecoveryReport,
    ) -> io::Result<Option<Offset>> {
        let mut trusted = bases.len();
        if !mode.clean_shutdown {
            trusted = bases.partition_point(|base| *base <= mode.recovery_point).saturating_sub(1);
        }
        for base in bases.get(..trusted).unwrap_or_default() {
            let mut loaded = Segment::load(&self.storage, *base, &self.config, now)?;
            report.indexes_rebuilt += usize::from(loaded.indexes_rebuilt);
            if let Some(position) = loaded.corrupt_from {
                report.notes.push(format!("segment {base} cannot be read from byte {position} on"));
            } else if loaded.indexes_rebuilt && bases.last() != Some(base) {
                self.keep_rebuilt(&mut loaded.segment);
            }
            self.segments.push_back(loaded.segment);
        }
        if trusted == bases.len()
            && let Some(active) = self.segments.back_mut()
        {
            match active.load_tail() {
                Ok(next_offset) => {
                    self.log_end_offset = next_offset;
                    return Ok(None);
                }
                Err(WalkError::Io(error)) => return Err(error),
                Err(WalkError::Corrupt { position }) => {
                    let note = format!("closed cleanly, yet no batch at byte {position} of the last segment");
                    report.notes.push(note);
                    self.segments.pop_back();
                    trusted -= 1;
                }
            }
        }
        let scanned = bases.get(trusted..).unwrap_or_default();
        self.scan_segments(scanned, now, report)?;
        Ok(scanned.first().copied())
    }

    /// Writes out the indexes of a closed segment, so that the next start finds them and memory need not hold them.
    fn keep_rebuilt(&mut self, segment: &mut Segment) {
        match segment.finish_indexes() {
            Ok(changed) => changed.iter().for_each(|file| self.durability.mark(file)),
            Err(error) => {
                tracing::warn!(directory = %self.storage.directory().display(), %error, "rebuilt indexes not written");
            }
        }
    }

    fn scan_segments(
        &mut self,
        bases: &[Offset],
        now: TimestampMs,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let Some(first) = bases.first() else { return Ok(()) };
        self.epochs_dirty |= self.epochs.truncate_from_end(*first);
        self.log_end_offset = *first;
        for (number, base) in bases.iter().enumerate() {
            if *base < self.log_end_offset {
                report.notes.push(format!("segment {base} begins before the end of the one before it"));
                return self.remove_rest(bases.get(number..).unwrap_or_default(), report);
            }
            let epochs = &mut self.epochs;
            let mut epochs_changed = false;
            let mut each = |header: &BatchHeader| {
                epochs_changed |= epochs.assign(header.leader_epoch, header.base_offset);
            };
            let (mut segment, scan) = Segment::scan(&self.storage, *base, &self.config, now, &mut each)?;
            self.epochs_dirty |= epochs_changed;
            report.segments_scanned += 1;
            report.indexes_rebuilt += 1;
            self.log_end_offset = scan.next_offset;
            let cut = segment.size_bytes() - scan.valid_bytes;
            if cut > 0 {
                segment.file()?.set_len(scan.valid_bytes)?;
                segment.set_size(scan.valid_bytes);
                report.bytes_truncated += cut;
            }
            let is_last = number + 1 == bases.len();
            if !is_last || cut > 0 {
                for file in segment.finish_indexes()? {
                    self.durability.mark(&file);
                }
            }
            self.segments.push_back(segment);
            if cut > 0 {
                return self.remove_rest(bases.get(number + 1..).unwrap_or_default(), report);
            }
        }
        Ok(())
    }

    /// What lies behind a bad place is not the log any more, however good it looks.
    fn remove_rest(&mut self, bases: &[Offset], report: &mut RecoveryReport) -> io::Result<()> {
        for base in bases.iter().rev() {
            let log = segment_path(&self.storage.directory(), *base, FileKind::Log.suffix());
            report.bytes_truncated += self.storage.file_system.file_length(&log)?.unwrap_or(0);
            report.segments_removed += 1;
            self.remove_segment_files(*base)?;
        }
        Ok(())
    }

    fn remove_segment_files(&self, base: Offset) -> io::Result<()> {
        for kind in FileKind::OF_SEGMENT {
            let path = segment_path(&self.storage.directory(), base, kind.suffix());
            match self.storage.file_system.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The log has no segment, or ends before the start that was promised: it begins there, empty.
    fn start_anew(&mut self, now: TimestampMs, report: &mut RecoveryReport) -> io::Result<()> {
        if !self.segments.is_empty() {
            report.notes.push(format!(
                "the log ends at {}, before its start at {}, and begins anew there",
                self.log_end_offset, self.log_start_offset
            ));
        }
        while let Some(segment) = self.segments.pop_back() {
            report.segments_removed += 1;
            report.bytes_truncated += segment.size_bytes();
            segment.forget_files();
            self.remove_segment_files(segment.base_offset())?;
        }
        let start = self.log_start_offset;
        self.segments.push_back(Segment::create(&self.storage, start, &self.config, now)?);
        self.log_end_offset = start;
        self.durability.names().directory = true;
        Ok(())
    }

    fn read_epochs(&self, report: &mut RecoveryReport) -> Option<LeaderEpochCache> {
        let path = self.storage.directory().join(leader_epoch_cache::FILE_NAME);
        let bytes = match self.storage.file_system.read_small(&path, checkpoint::FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    report.notes.push(format!("leader epochs not read: {error}"));
                }
                return None;
            }
        };
        match LeaderEpochCache::decode(&bytes) {
            Ok(epochs) => Some(epochs),
            Err(error) => {
                report.notes.push(format!("leader epochs rebuilt from the batches: {error}"));
                None
            }
        }
    }

    fn rebuild_epochs(&mut self) -> io::Result<()> {
        self.epochs.clear();
        let mut epochs = LeaderEpochCache::default();
        self.walk_headers(Offset::ZERO, |header| {
            epochs.assign(header.leader_epoch, header.base_offset);
        })?;
        self.epochs_dirty = !epochs.is_empty();
        self.epochs = epochs;
        Ok(())
    }

    /// Calls `each` for the batches that end at or behind `from`. Ends where a segment cannot be read.
    fn walk_headers(&self, from: Offset, mut each: impl FnMut(&BatchHeader)) -> io::Result<()> {
        for segment in self.segments.iter().skip(self.segment_at(from)) {
            let file = segment.file()?;
            let mut walk = HeaderWalk::new(&*file, 0, segment.size_bytes(), WALK_BUFFER_BYTES);
            loop {
                match walk.next() {
                    Ok(Some((_, header))) if header.last_offset() < from => {}
                    Ok(Some((_, header))) => each(&header),
                    Ok(None) | Err(WalkError::Corrupt { .. }) => break,
                    Err(WalkError::Io(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes the newest snapshot that can be read and replays the batches behind it.
    pub(super) fn load_producers(
        &mut self,
        snapshots: &BTreeSet<i64>,
        now: TimestampMs,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        self.producers.clear();
        // Also what lies before the log's start is looked at: a transaction of which a snapshot knows may have ended there.
        let first = self.segments.front().map_or(self.log_start_offset, Segment::base_offset);
        let mut from = first;
        for at in snapshots.iter().rev() {
            let path =
                segment_path(&self.storage.directory(), Offset(*at), FileKind::ProducerSnapshot.suffix());
            // Between an older one and the first segment transactions may have ended, and nobody can tell which.
            if *at > self.log_end_offset.0 || *at < first.0 {
                self.storage.file_system.remove_file(&path)?;
                continue;
            }
            let bytes = self.storage.file_system.read_small(&path, SNAPSHOT_BYTES_MAX)?;
            match ProducerState::decode_snapshot(&bytes, now) {
                Ok(state) => {
                    self.producers = state;
                    from = Offset(*at);
                    self.recall_batches(Offset(*at))?;
                    break;
                }
                Err(error) => {
                    report.notes.push(format!("producer snapshot {at} not used: {error}"));
                    self.storage.file_system.remove_file(&path)?;
                }
            }
        }
        let mut state = std::mem::take(&mut self.producers);
        let end = self.log_end_offset;
        self.replay_producers(&mut state, from, end, now, |_, _| {})?;
        self.producers = state;
        Ok(())
    }

    /// Kafka's snapshot holds the last batch of each producer. The four before it are looked for where they lie, so that
    /// a producer that had five on their way when the broker stopped may send them all again. Only as far back as five
    /// of the largest reach: who has written nothing since then waits for no answer.
    fn recall_batches(&mut self, snapshot_at: Offset) -> io::Result<()> {
        if self.producers.is_empty() {
            return Ok(());
        }
        let mut bytes_left = RECALL_BYTES_MAX;
        let mut parts = Vec::new();
        for segment in self.segments.iter().rev() {
            let end = segment.size_bytes();
            let start = match end.checked_sub(bytes_left) {
                Some(at_most) => segment.boundary_before(0, at_most)?.unwrap_or(0),
                None => 0,
            };
            parts.push((segment.file()?, start, end));
            bytes_left = bytes_left.saturating_sub(end - start);
            if bytes_left == 0 {
                break;
            }
        }
        for (file, start, end) in parts.iter().rev() {
            let mut walk = HeaderWalk::new(&**file, *start, *end, RECALL_BUFFER_BYTES);
            loop {
                match walk.next() {
                    Ok(Some((_, header))) if header.base_offset < snapshot_at => {
                        self.producers.recall(&header)
                    }
                    Ok(Some(_) | None) | Err(WalkError::Corrupt { .. }) => break,
                    Err(WalkError::Io(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Where an index of aborted transactions is to be made anew, the transactions that end there are found by a replay
    /// of the producers, from the newest snapshot that is as old as the first such segment.
    fn rebuild_aborted_indexes(
        &mut self,
        snapshots: &BTreeSet<i64>,
        now: TimestampMs,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        let due = |segment: &&Segment| segment.is_aborted_index_due();
        let Some(first) = self.segments.iter().find(due).map(Segment::base_offset) else { return Ok(()) };
        let mut state = ProducerState::default();
        let mut from = self.segments.front().map_or(first, Segment::base_offset);
        for at in snapshots.range(from.0..=first.0).rev() {
            let path =
                segment_path(&self.storage.directory(), Offset(*at), FileKind::ProducerSnapshot.suffix());
            let bytes = self.storage.file_system.read_small(&path, SNAPSHOT_BYTES_MAX)?;
            if let Ok(found) = ProducerState::decode_snapshot(&bytes, now) {
                state = found;
                from = Offset(*at);
                break;
            }
        }
        let mut found: Vec<(usize, AbortedTransaction)> = Vec::new();
        let end = self.log_end_offset;
        self.replay_producers(&mut state, from, end, now, |number, transaction| {
            found.push((number, transaction));
        })?;
        let mut found = found.into_iter().peekable();
        let active = self.segments.len() - 1;
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let is_due = segment.is_aborted_index_due();
            while let Some((_, transaction)) = found.next_if(|(at, _)| *at <= number) {
                if is_due {
                    segment.note_aborted(transaction);
                }
            }
            if is_due {
                report.indexes_rebuilt += 1;
                segment.finish_aborted_index(number < active)?;
            }
        }
        Ok(())
    }

    /// Takes the batches from `from` to `end` into `state`. `aborted` is told of each transaction that was aborted, and
    /// the number of the segment that holds its end.
    fn replay_producers(
        &self,
        state: &mut ProducerState,
        from: Offset,
        end: Offset,
        now: TimestampMs,
        mut aborted: impl FnMut(usize, AbortedTransaction),
    ) -> io::Result<()> {
        if from >= end {
            return Ok(());
        }
        let mut append = ProducerAppend::default();
        for (number, segment) in self.segments.iter().enumerate().skip(self.segment_at(from)) {
            let file = segment.file()?;
            let mut walk = HeaderWalk::new(&*file, 0, segment.size_bytes(), WALK_BUFFER_BYTES);
            loop {
                let (position, header) = match walk.next() {
                    Ok(Some(batch)) => batch,
                    Ok(None) | Err(WalkError::Corrupt { .. }) => break,
                    Err(WalkError::Io(error)) => return Err(error),
                };
                if header.last_offset() < from || !header.has_producer_id() {
                    continue;
                }
                let control = if header.is_control() {
                    let mut reader = BatchReader::from(&*file, position, segment.size_bytes());
                    reader.next()?.and_then(|(_, batch)| control_record(&batch))
                } else {
                    None
                };
                if state.check(&mut append, &header, control, Source::Accepted, now).is_ok() {
                    state.commit(&mut append, self.config.producer_ids_max);
                    append.aborted.drain(..).for_each(|transaction| aborted(number, transaction));
                }
                append.clear();
            }
        }
        Ok(())
    }

    /// What was scanned may have been only in the page cache, of a process that was killed; that a segment is empty, too.
    /// From now on it is trusted, with its indexes and what was learned of its epochs.
    fn sync_recovered(&mut self, from: Offset) -> io::Result<()> {
        for segment in &self.segments {
            if segment.base_offset() >= from {
                let file = segment.file()?;
                if self.storage.rewrites_recovered {
                    write_again(&*file, segment.size_bytes())?;
                }
                file.sync_data()?;
            }
        }
        self.durability.sync_files_now()?;
        if self.epochs_dirty && self.segments.len() > 1 {
            return self.write_epochs();
        }
        self.storage.file_system.sync_dir(&self.storage.directory())
    }
}

/// Writes a file's bytes over themselves: the kernel takes the pages of a failed sync for clean, and would not write them
/// at the next one.
fn write_again(file: &dyn File, size_bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; REWRITE_STEP_BYTES];
    let mut position = 0;
    while position < size_bytes {
        let left = usize::try_from(size_bytes - position).unwrap_or(usize::MAX);
        let step = buffer.get_mut(..left.min(REWRITE_STEP_BYTES)).unwrap_or_default();
        file.read_exact_at(step, position)?;
        file.write_all_at(step, position)?;
        position += step.len() as u64;
    }
    Ok(())
}

/// The one record of a control batch.
pub(crate) fn control_record(batch: &moldau_record::BatchView<'_>) -> Option<moldau_record::ControlRecord> {
    let records = batch.records(DecompressLimit(CONTROL_RECORD_BYTES_MAX)).ok()?;
    let record = records.iter().next()?.ok()?;
    moldau_record::ControlRecord::parse(record.key, record.value).ok()
}
