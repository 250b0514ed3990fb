//! A segment's two sparse indexes: offset to byte, time to offset. Fixed-size entries, ascending.
//!
//! The newest entries are kept in memory and written out in runs: an index can be rebuilt from its log, so it needs to be
//! on disk only when the segment is closed. An index file is never mapped: a torn one must not kill the process.

use std::io;
use std::sync::Arc;

use moldau_model::{Offset, TimestampMs};

use crate::File;
use crate::file_cache::{FileKind, SegmentFile, Storage};

/// How many entries are read at once, and how many are kept in memory before they are written out.
const RUN_ENTRIES: usize = 512;

/// An entry as it stands in the file.
pub(crate) trait IndexEntry: Copy + std::fmt::Debug {
    const BYTES: usize;
    /// Whether there is a file where there is no entry.
    const IS_ALWAYS_THERE: bool = true;
    fn encode(self, base_offset: Offset, out: &mut Vec<u8>);
    fn decode(base_offset: Offset, bytes: &[u8]) -> Self;
    /// Whether `self` may stand behind `earlier`.
    fn follows(&self, earlier: &Self) -> bool;
}

/// The batch that ends at `offset` begins at byte `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: Offset,
    pub(crate) position: u32,
}

/// No batch up to the one that ends at `offset` is younger than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: TimestampMs,
    pub(crate) offset: Offset,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(self, base_offset: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.offset.minus(base_offset) as u32).to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(base_offset: Offset, bytes: &[u8]) -> Self {
        Self { offset: base_offset.plus(i64::from(word(bytes, 0))), position: word(bytes, 4) }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.offset > earlier.offset && self.position > earlier.position
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(self, base_offset: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&(self.offset.minus(base_offset) as u32).to_be_bytes());
    }

    fn decode(base_offset: Offset, bytes: &[u8]) -> Self {
        let timestamp = (i64::from(word(bytes, 0)) << 32) | i64::from(word(bytes, 4));
        Self { timestamp: TimestampMs(timestamp), offset: base_offset.plus(i64::from(word(bytes, 8))) }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.timestamp > earlier.timestamp && self.offset >= earlier.offset
    }
}

/// One index: `tail_start <= written <= entries`, and the entries from `tail_start` on are in memory.
#[derive(Debug)]
pub(crate) struct Index<E> {
    file: SegmentFile,
    base_offset: Offset,
    /// Entries that the file holds.
    written: usize,
    /// The number of the first entry in `tail`.
    tail_start: usize,
    tail: Vec<E>,
    last: Option<E>,
    /// The file must be cut to `written` before it is added to.
    longer_on_disk: bool,
    /// The file was written, or cut, and not given to anybody to be synced.
    is_unsynced: bool,
}

impl<E: IndexEntry> Index<E> {
    /// An index without entries, whatever the file holds: it is cut when it is first written.
    pub(crate) fn empty(storage: &Arc<Storage>, base_offset: Offset, kind: FileKind) -> Self {
        Self {
            file: SegmentFile::new(storage, base_offset, kind),
            base_offset,
            written: 0,
            tail_start: 0,
            tail: Vec::new(),
            last: None,
            longer_on_disk: true,
            is_unsynced: false,
        }
    }

    /// The index as it stands in its file; `None` if that is missing or visibly not whole.
    pub(crate) fn load(
        storage: &Arc<Storage>,
        base_offset: Offset,
        kind: FileKind,
    ) -> io::Result<Option<Self>> {
        let mut index = Self::empty(storage, base_offset, kind);
        let length = match index.file.length()? {
            Some(length) => length,
            None if E::IS_ALWAYS_THERE => return Ok(None),
            None => 0,
        };
        if !length.is_multiple_of(E::BYTES as u64) {
            return Ok(None);
        }
        index.written = (length / E::BYTES as u64) as usize;
        index.tail_start = index.written;
        index.longer_on_disk = false;
        if index.written > 0 {
            // The last two must ascend: that is how a tail of zeros, which a loss of power leaves, is told.
            let from = index.written.saturating_sub(2);
            let entries = index.read_run(from, index.written - from)?;
            if let [earlier, later] = entries.as_slice()
                && !later.follows(earlier)
            {
                return Ok(None);
            }
            index.last = entries.last().copied();
        }
        Ok(Some(index))
    }

    pub(crate) fn entries(&self) -> usize {
        self.tail_start + self.tail.len()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.entries() * E::BYTES
    }

    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    pub(crate) fn push(&mut self, entry: E) {
        self.tail.push(entry);
        self.last = Some(entry);
    }

    /// Whether enough has gathered in memory to be written out.
    pub(crate) fn is_write_due(&self) -> bool {
        self.entries() - self.written >= RUN_ENTRIES
    }

    /// Writes what the file lacks. It is not synced.
    pub(crate) fn write_out(&mut self) -> io::Result<()> {
        let missing = self.tail.get(self.written - self.tail_start..).unwrap_or_default();
        if missing.is_empty() && (!self.longer_on_disk || self.may_stay_away()?) {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(missing.len() * E::BYTES);
        for entry in missing {
            entry.encode(self.base_offset, &mut bytes);
        }
        let file = self.file.get()?;
        self.is_unsynced = true;
        if self.longer_on_disk {
            file.set_len((self.written * E::BYTES) as u64)?;
            self.longer_on_disk = false;
        }
        file.write_all_at(&bytes, (self.written * E::BYTES) as u64)?;
        self.written = self.entries();
        if self.tail.len() > 2 * RUN_ENTRIES {
            let dropped = self.tail.len() - RUN_ENTRIES;
            self.tail.drain(..dropped);
            self.tail_start += dropped;
        }
        Ok(())
    }

    /// The same, with the file if it has changed since the last time: the caller sees to it that it is synced.
    pub(crate) fn finish(&mut self) -> io::Result<Option<Arc<dyn File>>> {
        self.write_out()?;
        if !self.is_unsynced {
            return Ok(None);
        }
        let file = self.file.get()?;
        self.is_unsynced = false;
        Ok(Some(file))
    }

    /// Whether there is nothing to say, and no file that says otherwise, if only once the power was lost.
    fn may_stay_away(&self) -> io::Result<bool> {
        Ok(!E::IS_ALWAYS_THERE && self.entries() == 0 && self.file.length()?.is_none())
    }

    /// Gives the memory back, once everything is written: the segment is closed.
    pub(crate) fn release_memory(&mut self) {
        if self.written == self.entries() {
            self.tail_start = self.written;
            self.tail = Vec::new();
        }
    }

    /// The last entry for which `holds`; it must hold for a prefix of the entries.
    pub(crate) fn last_where(&self, holds: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        Ok(self.search(&holds)?.1)
    }

    /// Gives the entries behind the prefix for which `before` holds to `each`, until that returns `false`. Returns whether
    /// it came to the end.
    pub(crate) fn each_behind(
        &self,
        before: impl Fn(&E) -> bool,
        mut each: impl FnMut(E) -> bool,
    ) -> io::Result<bool> {
        let (mut at, _) = self.search(&before)?;
        while at < self.tail_start {
            let run = self.read_run(at, RUN_ENTRIES.min(self.tail_start - at))?;
            at += run.len();
            if !run.into_iter().all(&mut each) {
                return Ok(false);
            }
        }
        let rest = self.tail.get(at - self.tail_start..).unwrap_or_default();
        Ok(rest.iter().copied().all(each))
    }

    /// Keeps the prefix of the entries for which `holds`.
    pub(crate) fn keep_while(&mut self, holds: impl Fn(&E) -> bool) -> io::Result<()> {
        let (kept, last) = self.search(&holds)?;
        if kept < self.written {
            self.written = kept;
            self.longer_on_disk = true;
        }
        if kept >= self.tail_start {
            self.tail.truncate(kept - self.tail_start);
        } else {
            self.tail.clear();
            self.tail_start = kept;
        }
        self.last = last;
        Ok(())
    }

    /// How many entries `holds` holds for, and the last of them.
    fn search(&self, holds: &impl Fn(&E) -> bool) -> io::Result<(usize, Option<E>)> {
        if self.tail.first().is_some_and(holds) {
            let count = self.tail.partition_point(holds);
            return Ok((self.tail_start + count, self.tail.get(count - 1).copied()));
        }
        let (mut low, mut high) = (0, self.tail_start);
        while high - low > RUN_ENTRIES {
            let middle = low + (high - low) / 2;
            match self.read_run(middle, 1)?.first() {
                Some(entry) if holds(entry) => low = middle,
                _ => high = middle,
            }
        }
        let run = self.read_run(low, high - low)?;
        let count = run.partition_point(holds);
        Ok((low + count, count.checked_sub(1).and_then(|at| run.get(at)).copied()))
    }

    fn read_run(&self, from: usize, count: usize) -> io::Result<Vec<E>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; count * E::BYTES];
        self.file.get()?.read_exact_at(&mut bytes, (from * E::BYTES) as u64)?;
        Ok(bytes.chunks_exact(E::BYTES).map(|entry| E::decode(self.base_offset, entry)).collect())
    }

    pub(crate) fn forget_file(&self) {
        self.file.forget();
    }
}
