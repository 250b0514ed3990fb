//! One segment: a file of batches and its indexes. The last segment of a log is the active one.

use std::io;
use std::sync::Arc;

use moldau_model::{Offset, TimestampMs};
use moldau_record::{BATCH_HEADER_BYTES, BatchView, batch_size};

use crate::aborted_transaction::AbortedTransaction;
use crate::batch_header::{BatchHeader, HeaderWalk, LOOKUP_BUFFER_BYTES, WALK_BUFFER_BYTES, WalkError};
use crate::file_cache::{FileKind, SegmentFile, Storage};
use crate::index::{Index, OffsetEntry, TimeEntry};
use crate::{File, LogConfig, ReadError};

/// How much a scan reads at once; a larger batch makes it read more.
const SCAN_BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Segment {
    base_offset: Offset,
    log: SegmentFile,
    size_bytes: u64,
    /// The file may be longer than what was written to it.
    is_preallocated: bool,
    /// What the disk has set aside for it, written or not; 0 if nothing was.
    allocated_bytes: u64,
    offset_index: Index<OffsetEntry>,
    time_index: Index<TimeEntry>,
    /// Of the transactions whose abort markers are here.
    aborted_index: Index<AbortedTransaction>,
    /// `aborted_index` lacks what only a replay of the producers can tell.
    is_aborted_index_due: bool,
    bytes_since_index_entry: u64,
    /// The largest timestamp, and the last offset of the first batch that has it.
    max_timestamp: TimestampMs,
    max_timestamp_offset: Offset,
    /// The largest timestamp of the first batch: how old the segment is.
    first_timestamp: Option<TimestampMs>,
    created: TimestampMs,
}

/// What a scan of a segment found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// The longest prefix of whole, checked batches.
    pub(crate) valid_bytes: u64,
    pub(crate) next_offset: Offset,
}

/// How a segment came off the disk.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segment: Segment,
    pub(crate) indexes_rebuilt: bool,
    /// From here on the segment cannot be read.
    pub(crate) corrupt_from: Option<u64>,
}

impl Segment {
    fn without_indexes(storage: &Arc<Storage>, base_offset: Offset, now: TimestampMs) -> Self {
        Self {
            base_offset,
            log: SegmentFile::new(storage, base_offset, FileKind::Log),
            size_bytes: 0,
            is_preallocated: false,
            allocated_bytes: 0,
            offset_index: Index::empty(storage, base_offset, FileKind::OffsetIndex),
            time_index: Index::empty(storage, base_offset, FileKind::TimeIndex),
            aborted_index: Index::empty(storage, base_offset, FileKind::AbortedIndex),
            is_aborted_index_due: false,
            bytes_since_index_entry: 0,
            max_timestamp: TimestampMs::NONE,
            max_timestamp_offset: base_offset,
            first_timestamp: None,
            created: now,
        }
    }

    /// A new, empty segment. Its name is not durable before its directory is synced.
    pub(crate) fn create(
        storage: &Arc<Storage>,
        base_offset: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> io::Result<Self> {
        let mut segment = Self::without_indexes(storage, base_offset, now);
        segment.make(config)?;
        Ok(segment)
    }

    /// A new, empty segment that has no file before [`Segment::make`].
    pub(crate) fn declare(storage: &Arc<Storage>, base_offset: Offset, now: TimestampMs) -> Self {
        Self::without_indexes(storage, base_offset, now)
    }

    pub(crate) fn make(&mut self, config: &LogConfig) -> io::Result<()> {
        let file = self.log.create()?;
        if !config.preallocate {
            return Ok(());
        }
        self.is_preallocated = true;
        let full_bytes = u64::from(config.segment_bytes);
        let allocated = self.log.room().take(full_bytes).and_then(|()| file.allocate(full_bytes));
        match allocated.or_else(|error| file.set_len(0).and(Err(error))) {
            Ok(true) => self.allocated_bytes = full_bytes,
            Ok(false) => {}
            // It grows as it is written, and the write that finds no room is the one that is refused.
            Err(error) => {
                tracing::warn!(segment = ?self.log, %error, "no room for a segment of full size");
            }
        }
        Ok(())
    }

    /// Gives back what was allocated and not written. Returns the file if that changed it: its length is not synced.
    pub(crate) fn trim(&mut self) -> io::Result<Option<Arc<dyn File>>> {
        if !self.is_preallocated {
            return Ok(None);
        }
        let file = self.log.get()?;
        file.set_len(self.size_bytes)?;
        self.is_preallocated = false;
        self.allocated_bytes = 0;
        Ok(Some(file))
    }

    /// What an append of so many bytes takes of the volume.
    pub(crate) fn growth(&self, bytes: usize) -> u64 {
        (self.size_bytes + bytes as u64).saturating_sub(self.size_bytes.max(self.allocated_bytes))
    }

    /// The file was cut behind what was written: the disk has got back what it had set aside.
    pub(crate) fn note_cut(&mut self) {
        self.allocated_bytes = 0;
    }

    /// A segment whose bytes are trusted. Indexes that are missing or visibly broken are made anew from the headers.
    pub(crate) fn load(
        storage: &Arc<Storage>,
        base_offset: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> io::Result<Loaded> {
        let mut segment = Self::without_indexes(storage, base_offset, now);
        segment.size_bytes = segment.log.length()?.unwrap_or(0);
        match Index::load(storage, base_offset, FileKind::AbortedIndex)? {
            Some(aborted) if aborted.last().is_none_or(|last: AbortedTransaction| last.fits(base_offset)) => {
                segment.aborted_index = aborted;
            }
            Some(_) | None => segment.is_aborted_index_due = true,
        }
        let offsets = Index::load(storage, base_offset, FileKind::OffsetIndex)?;
        let times = Index::load(storage, base_offset, FileKind::TimeIndex)?;
        if let (Some(offsets), Some(times)) = (offsets, times)
            && segment.fits(&offsets, &times)
        {
            if let Some(last) = times.last() {
                segment.max_timestamp = last.timestamp;
                segment.max_timestamp_offset = last.offset;
            }
            segment.offset_index = offsets;
            segment.time_index = times;
            return Ok(Loaded { segment, indexes_rebuilt: false, corrupt_from: None });
        }
        let corrupt_from = segment.rebuild_indexes(config)?;
        Ok(Loaded { segment, indexes_rebuilt: true, corrupt_from })
    }

    /// Whether the indexes can be those of this log. Kafka believes what it finds below the recovery point (and its own
    /// check would pass an index of zeros); here one look at the last entries tells the two things that a loss of power
    /// or a full disk leaves, and making the indexes anew costs a walk over the headers. A segment whose records carry no
    /// time, or only the year 1970's first millisecond, pays for that walk at every start.
    fn fits(&self, offsets: &Index<OffsetEntry>, times: &Index<TimeEntry>) -> bool {
        let offsets_fit =
            offsets.last().is_none_or(|last| last.position > 0 && u64::from(last.position) < self.size_bytes);
        // A segment that holds a batch with a time gets a time entry when it is closed.
        let times_fit = match times.last() {
            Some(last) => last.timestamp.0 > 0 && self.size_bytes > 0,
            None => self.size_bytes == 0,
        };
        offsets_fit && times_fit
    }

    fn rebuild_indexes(&mut self, config: &LogConfig) -> io::Result<Option<u64>> {
        let file = self.log.get()?;
        let mut walk = HeaderWalk::new(&*file, 0, self.size_bytes, WALK_BUFFER_BYTES);
        loop {
            match walk.next() {
                Ok(Some((position, header))) => {
                    self.note_batch(position, &header, config.index_interval_bytes)
                }
                Ok(None) => return Ok(None),
                Err(WalkError::Corrupt { position }) => return Ok(Some(position)),
                Err(WalkError::Io(error)) => return Err(error),
            }
        }
    }

    /// Reads everything and checks every CRC; the indexes are made anew on the way. `each` is told every good batch.
    /// The segment's size stays what the file has: cutting the rest off is the caller's.
    pub(crate) fn scan(
        storage: &Arc<Storage>,
        base_offset: Offset,
        config: &LogConfig,
        now: TimestampMs,
        each: &mut dyn FnMut(&BatchHeader),
    ) -> io::Result<(Self, Scan)> {
        let mut segment = Self::without_indexes(storage, base_offset, now);
        segment.size_bytes = segment.log.length()?.unwrap_or(0);
        let file = segment.log.get()?;
        let mut reader = BatchReader::new(&*file, segment.size_bytes);
        let mut next_offset = base_offset;
        while let Some((position, batch)) = reader.next()? {
            let header = BatchHeader::of(&batch);
            if header.base_offset < next_offset || header.last_offset_delta < 0 || batch.check_crc().is_err()
            {
                reader.reject(&header);
                break;
            }
            segment.note_batch(position, &header, config.index_interval_bytes);
            segment.is_aborted_index_due |= header.is_control();
            next_offset = header.next_offset();
            each(&header);
        }
        let valid_bytes = reader.position;
        Ok((segment, Scan { valid_bytes, next_offset }))
    }

    /// Follows the active segment from its last index entry to its end. Returns the next offset, or where it breaks.
    pub(crate) fn load_tail(&mut self) -> Result<Offset, WalkError> {
        let file = self.log.get()?;
        let from = self.offset_index.last().map_or(0, |entry| u64::from(entry.position));
        let mut walk = HeaderWalk::new(&*file, from, self.size_bytes, WALK_BUFFER_BYTES);
        let mut next_offset = self.base_offset;
        while let Some((position, header)) = walk.next()? {
            if header.base_offset < next_offset {
                return Err(WalkError::Corrupt { position });
            }
            self.note_timestamp(&header);
            next_offset = header.next_offset();
        }
        self.bytes_since_index_entry = self.size_bytes - from;
        self.first_timestamp = self.read_first_timestamp(&*file)?;
        Ok(next_offset)
    }

    fn read_first_timestamp(&self, file: &dyn File) -> Result<Option<TimestampMs>, WalkError> {
        let first = HeaderWalk::new(file, 0, self.size_bytes, BATCH_HEADER_BYTES).next()?;
        Ok(first.map(|(_, header)| header.max_timestamp))
    }

    /// Takes a batch, which lies at `position`, into the indexes. The entry names the batch's last offset, so that a
    /// lookup never lands behind the batch it looks for.
    pub(crate) fn note_batch(&mut self, position: u64, header: &BatchHeader, index_interval_bytes: u32) {
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        self.note_timestamp(header);
        if self.bytes_since_index_entry > u64::from(index_interval_bytes) {
            self.offset_index.push(OffsetEntry { offset: header.last_offset(), position: position as u32 });
            self.push_time_entry();
            self.bytes_since_index_entry = 0;
        }
        self.bytes_since_index_entry += u64::from(header.size_bytes);
    }

    fn note_timestamp(&mut self, header: &BatchHeader) {
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
    }

    fn push_time_entry(&mut self) {
        let entry = TimeEntry { timestamp: self.max_timestamp, offset: self.max_timestamp_offset };
        if entry.timestamp.0 >= 0
            && self.time_index.last().is_none_or(|last| last.timestamp < entry.timestamp)
        {
            self.time_index.push(entry);
        }
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The file was written up to here.
    pub(crate) fn set_size(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
    }

    pub(crate) fn max_timestamp(&self) -> TimestampMs {
        self.max_timestamp
    }

    pub(crate) fn max_timestamp_offset(&self) -> Offset {
        self.max_timestamp_offset
    }

    /// By what the segment's age is told: its first batch's time if that has one.
    pub(crate) fn born(&self) -> Option<TimestampMs> {
        self.first_timestamp.filter(|timestamp| timestamp.0 >= 0)
    }

    pub(crate) fn created(&self) -> TimestampMs {
        self.created
    }

    pub(crate) fn is_index_full(&self, index_bytes_max: u32) -> bool {
        let full = index_bytes_max as usize;
        // One more entry must fit: the one that closing the segment adds.
        self.offset_index.size_bytes() + 8 > full || self.time_index.size_bytes() + 24 > full
    }

    /// Of the larger one of the offset and the time index.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.offset_index.size_bytes().max(self.time_index.size_bytes()) as u64
    }

    pub(crate) fn file(&self) -> io::Result<Arc<dyn File>> {
        self.log.get()
    }

    /// Writes index entries out if many have gathered. An index on disk may lag, so a failure only postpones it.
    pub(crate) fn write_indexes_if_due(&mut self) {
        let is_due = self.offset_index.is_write_due()
            || self.time_index.is_write_due()
            || self.aborted_index.is_write_due();
        if is_due {
            let result = self.offset_index.write_out().and_then(|()| self.time_index.write_out());
            let result = result.and_then(|()| self.aborted_index.write_out());
            if let Err(error) = result {
                tracing::warn!(segment = ?self.log, %error, "index not written, will be tried again");
            }
        }
    }

    /// Completes the indexes on disk, because the segment is closed or the log is. Returns the files that changed.
    pub(crate) fn finish_indexes(&mut self) -> io::Result<Vec<Arc<dyn File>>> {
        self.push_time_entry();
        let mut changed = Vec::new();
        changed.extend(self.offset_index.finish()?);
        changed.extend(self.time_index.finish()?);
        changed.extend(self.aborted_index.finish()?);
        self.offset_index.release_memory();
        self.time_index.release_memory();
        self.aborted_index.release_memory();
        Ok(changed)
    }

    /// A transaction ended here, aborted.
    pub(crate) fn note_aborted(&mut self, transaction: AbortedTransaction) {
        self.aborted_index.push(transaction);
    }

    /// Gives `each` the transactions aborted here that ended at or behind `from`, in the order of their ends, until it
    /// returns `false`. Returns whether there may be more of them in later segments.
    pub(crate) fn each_aborted(
        &self,
        from: Offset,
        each: impl FnMut(AbortedTransaction) -> bool,
    ) -> io::Result<bool> {
        self.aborted_index.each_behind(|transaction| transaction.last_offset < from, each)
    }

    /// Whether the index of aborted transactions is to be made anew.
    pub(crate) fn is_aborted_index_due(&self) -> bool {
        self.is_aborted_index_due
    }

    /// The index of aborted transactions is complete again. Of a closed segment it becomes durable, for it will be
    /// believed.
    pub(crate) fn finish_aborted_index(&mut self, is_closed: bool) -> io::Result<()> {
        self.is_aborted_index_due = false;
        if is_closed {
            if let Some(file) = self.aborted_index.finish()? {
                file.sync_data()?;
            }
            self.aborted_index.release_memory();
        }
        Ok(())
    }

    /// The first batch that ends at or behind `offset`, and where it lies.
    pub(crate) fn find_batch(&self, offset: Offset) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        let entry = self.offset_index.last_where(|entry| entry.offset <= offset)?;
        if let Some(entry) = entry {
            match self.walk_to(u64::from(entry.position), offset, Some(entry.offset)) {
                Err(WalkError::Corrupt { .. }) => {
                    tracing::warn!(segment = ?self.log, "offset index points nowhere, reading without it");
                }
                Err(WalkError::Io(error)) => return Err(error.into()),
                Ok(found) => return Ok(found),
            }
        }
        self.walk_to(0, offset, None).map_err(|error| self.read_error(error))
    }

    fn walk_to(
        &self,
        position: u64,
        offset: Offset,
        entry_offset: Option<Offset>,
    ) -> Result<Option<(u64, BatchHeader)>, WalkError> {
        let file = self.log.get()?;
        let mut walk = HeaderWalk::new(&*file, position, self.size_bytes, LOOKUP_BUFFER_BYTES);
        let mut first = true;
        while let Some((at, header)) = walk.next()? {
            let wrong_entry = first && entry_offset.is_some_and(|entry| header.base_offset > entry);
            if header.base_offset < self.base_offset || wrong_entry {
                return Err(WalkError::Corrupt { position: at });
            }
            if header.last_offset() >= offset {
                return Ok(Some((at, header)));
            }
            first = false;
        }
        Ok(None)
    }

    pub(crate) fn read_error(&self, error: WalkError) -> ReadError {
        match error {
            WalkError::Corrupt { position } => {
                ReadError::CorruptSegment { base_offset: self.base_offset, position }
            }
            WalkError::Io(error) => ReadError::Io(error),
        }
    }

    /// The last indexed start of a batch in `(after, at_most]`: a place where a read may end without cutting a batch.
    pub(crate) fn boundary_before(&self, after: u64, at_most: u64) -> io::Result<Option<u64>> {
        let entry = self.offset_index.last_where(|entry| u64::from(entry.position) <= at_most)?;
        Ok(entry.map(|entry| u64::from(entry.position)).filter(|position| *position > after))
    }

    /// An offset in the first indexed batch at or behind `position`.
    pub(crate) fn offset_behind(&self, position: u64) -> io::Result<Option<Offset>> {
        let mut found = None;
        self.offset_index.each_behind(
            |entry| u64::from(entry.position) < position,
            |entry| {
                found = Some(entry.offset);
                false
            },
        )?;
        Ok(found)
    }

    /// Where a search for `timestamp` may begin: no batch before it is that young.
    pub(crate) fn search_start(&self, timestamp: TimestampMs) -> io::Result<u64> {
        let Some(time) = self.time_index.last_where(|entry| entry.timestamp < timestamp)? else {
            return Ok(0);
        };
        let entry = self.offset_index.last_where(|entry| entry.offset <= time.offset)?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// Cuts everything from `position` on, where the batch with `offset` begins or would begin. The file is not synced.
    pub(crate) fn truncate(&mut self, position: u64, offset: Offset) -> io::Result<Arc<dyn File>> {
        let file = self.log.get()?;
        file.set_len(position)?;
        self.is_preallocated = false;
        self.allocated_bytes = 0;
        self.size_bytes = position;
        self.offset_index.keep_while(|entry| u64::from(entry.position) < position)?;
        self.time_index.keep_while(|entry| entry.offset < offset)?;
        self.aborted_index.keep_while(|transaction| transaction.last_offset < offset)?;
        let last = self.time_index.last();
        self.max_timestamp = last.map_or(TimestampMs::NONE, |last| last.timestamp);
        self.max_timestamp_offset = last.map_or(self.base_offset, |last| last.offset);
        if position == 0 {
            self.first_timestamp = None;
        } else if self.first_timestamp.is_none() {
            // It was closed until now, and nobody asked how old it is.
            self.first_timestamp = self.read_first_timestamp(&*file).unwrap_or(None);
        }
        let indexed = self.offset_index.last().map_or(0, |entry| u64::from(entry.position));
        self.bytes_since_index_entry = position - indexed;
        // The time index lags behind the log: what lies between must be looked at.
        let mut walk = HeaderWalk::new(&*file, indexed, position, WALK_BUFFER_BYTES);
        while let Ok(Some((at, header))) = walk.next() {
            self.note_timestamp(&header);
            if at == 0 {
                self.first_timestamp = Some(header.max_timestamp);
            }
        }
        self.write_cut_indexes();
        Ok(file)
    }

    /// An index that reaches beyond its log must not be found after a crash.
    fn write_cut_indexes(&mut self) {
        let results =
            [self.offset_index.write_out(), self.time_index.write_out(), self.aborted_index.write_out()];
        for result in results {
            if let Err(error) = result {
                tracing::warn!(segment = ?self.log, %error, "index not cut");
            }
        }
    }

    pub(crate) fn forget_files(&self) {
        self.log.forget();
        self.offset_index.forget_file();
        self.time_index.forget_file();
        self.aborted_index.forget_file();
    }
}

/// Reads whole batches one after the other.
pub(crate) struct BatchReader<'a> {
    file: &'a dyn File,
    pub(crate) position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    step_bytes: usize,
}

impl<'a> BatchReader<'a> {
    pub(crate) fn new(file: &'a dyn File, end: u64) -> Self {
        Self::from(file, 0, end)
    }

    pub(crate) fn from(file: &'a dyn File, position: u64, end: u64) -> Self {
        let step_bytes = SCAN_BUFFER_BYTES;
        Self { file, position, end, buffer: Vec::new(), buffer_start: position, step_bytes }
    }

    pub(crate) fn reading_at_once(mut self, step_bytes: usize) -> Self {
        self.step_bytes = step_bytes;
        self
    }

    /// The next batch and its place; `None` at the end, or where what follows is no whole batch. `position` then says
    /// where the good part ends.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, BatchView<'_>)>> {
        let room = self.end.saturating_sub(self.position);
        if room < BATCH_HEADER_BYTES as u64 {
            return Ok(None);
        }
        self.fill(BATCH_HEADER_BYTES)?;
        let Ok(size) = batch_size(self.buffered()) else { return Ok(None) };
        if size as u64 > room {
            return Ok(None);
        }
        self.fill(size)?;
        let position = self.position;
        let at = (position - self.buffer_start) as usize;
        let Ok(batch) = BatchView::first(self.buffer.get(at..).unwrap_or_default()) else { return Ok(None) };
        self.position += size as u64;
        Ok(Some((position, batch)))
    }

    /// The batch just given is not good: the good part ends before it.
    pub(crate) fn reject(&mut self, header: &BatchHeader) {
        self.position -= u64::from(header.size_bytes);
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get((self.position - self.buffer_start) as usize..).unwrap_or_default()
    }

    /// Makes sure that `bytes` from the position on are in the buffer.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffered().len() >= bytes {
            return Ok(());
        }
        let room = self.end - self.position;
        let length = bytes.max(self.step_bytes).min(room as usize);
        self.buffer.resize(length, 0);
        self.file.read_exact_at(&mut self.buffer, self.position)?;
        self.buffer_start = self.position;
        Ok(())
    }
}
