//! The store on sled, with the syncs that sled leaves out.
//!
//! sled's `flush` hands its buffers to the kernel and starts write-back, but asks neither for the file's metadata nor
//! for the device's cache. So `sync` flushes and then syncs the one file that sled keeps its pages in. What is too long for
//! a page goes to files that sled never syncs; entries therefore are cut into parts, each a row.
//!
//! A sector that went bad makes sled forget, without a word, what was written there or after it. So each write carries a
//! summary: how many writes there were, and what the log then holds. A small file beside the store remembers the count
//! that was last synced. The file itself is synced at each start, not each time: it may remember too little, never too
//! much. A store that counts less than the file, or holds less than its summary says, has lost what was acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use sled::{Batch, Db};

use super::{RaftKv, Write, meta};
use crate::StartError;

/// The longest value that sled is given. sled writes a leaf of its tree to a file of its own, which it never syncs, once
/// the leaf is longer than a quarter of a segment (128 KiB). A leaf splits above 16 values, and may reach 20 when two
/// are merged: 20 values of this length, and their keys, stay below.
const PART_BYTES_MAX: usize = 6 << 10;
/// The file that sled keeps its pages in.
const PAGES: &str = "db";
const CACHE_BYTES: u64 = 8 << 20;
/// Rows begin with a letter: entries first, then what else there is.
const ENTRY_ROW: u8 = b'e';
const META_ROW: u8 = b'm';
const SUMMARY_ROW: u8 = b's';
/// A count, and its CRC-32C.
const WITNESS_LENGTH: usize = 12;

/// See the module.
pub(in crate::raft) struct SledKv {
    db: Db,
    pages: File,
    witness: File,
    summary: Mutex<Summary>,
    syncs: AtomicU64,
}

impl SledKv {
    /// Opens the store in `path`, or makes a new one. What it then holds, and its names, are durable when this returns.
    pub(in crate::raft) fn open(path: &Path) -> Result<Self, StartError> {
        Self::open_with(path, &sync_path)
    }

    /// `open`, with what syncs a directory's names or a small file.
    pub(in crate::raft) fn open_with(
        path: &Path,
        sync_at: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<Self, StartError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io { path, source }
        };
        let pages_path = path.join(PAGES);
        let is_new = !Self::exists(path)?;
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Its own flusher would sync behind our back, twice a second, for nothing.
            .flush_every_ms(None)
            .open()
            .map_err(|error| open_error(path, error))?;
        let pages =
            OpenOptions::new().read(true).write(true).open(&pages_path).map_err(io_error(&pages_path))?;
        let witness_path = path.with_extension("synced");
        let witness = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&witness_path)
            .map_err(io_error(&witness_path))?;
        let store = Self { db, pages, witness, summary: Mutex::default(), syncs: AtomicU64::new(0) };
        // Before anything is synced, which writes it anew.
        let synced = store.read_witness().map_err(io_error(&witness_path))?;
        if is_new && synced == 0 {
            store.make_durable(path, sync_at)?;
        } else {
            // sled has just renamed a snapshot of its page table into place, removed the one before, and overwritten
            // the segments that only that one needs. It syncs no names. Were these still the old ones after a power cut,
            // and the pages the new ones, then sled would find a torn log, and clear it without a word. So the names
            // go first.
            sync_at(path).map_err(io_error(path))?;
            // What was found may be in the kernel's memory only, and Raft acts on it.
            store.pages.sync_data().map_err(io_error(&pages_path))?;
        }
        let summary = store.stored_summary().map_err(io_error(path))?;
        if summary.writes < synced {
            let reason = format!("it holds {} writes, but {synced} were acknowledged", summary.writes);
            return Err(StartError::Damaged { path: path.to_owned(), reason });
        }
        *store.summary.lock() = summary;
        // A count that is overwritten in place is the old or the new one after a power cut; a file that only grew then may
        // be torn, which would read as a store that acknowledged nothing.
        if synced == 0 {
            store.write_witness(0).map_err(io_error(&witness_path))?;
            if let Some(directory) = witness_path.parent() {
                sync_at(directory).map_err(io_error(directory))?;
            }
        }
        store.witness.sync_data().map_err(io_error(&witness_path))?;
        Ok(store)
    }

    /// Whether a store was made in `path`.
    pub(in crate::raft) fn exists(path: &Path) -> Result<bool, StartError> {
        let path = path.join(PAGES);
        path.try_exists().map_err(|source| StartError::Io { path, source })
    }

    fn stored_summary(&self) -> io::Result<Summary> {
        match self.db.get([SUMMARY_ROW]).map_err(to_io)? {
            Some(row) => Summary::decode(&row).ok_or_else(|| damaged("its summary has the wrong length")),
            None => Ok(Summary::default()),
        }
    }

    /// Whether what is there is what the summary says. Where a power cut may have torn the last write, it need not be.
    fn check_summary(&self, bounds: Option<(u64, u64)>) -> io::Result<()> {
        let summary = *self.summary.lock();
        if summary.writes > self.read_witness()? {
            return Ok(());
        }
        if bounds != summary.bounds() {
            return Err(damaged(format!(
                "the log is {bounds:?}, but {:?} was acknowledged",
                summary.bounds()
            )));
        }
        let vote = self.get_meta(meta::VOTE)?.map_or(0, |vote| crc32c::crc32c(&vote));
        if vote != summary.vote_crc {
            return Err(damaged("the vote is not the one that was acknowledged"));
        }
        Ok(())
    }

    /// The count that is known to be synced; 0 where the file was torn or is new.
    fn read_witness(&self) -> io::Result<u64> {
        let mut bytes = [0; WITNESS_LENGTH];
        if self.witness.read_at(&mut bytes, 0)? < WITNESS_LENGTH {
            return Ok(0);
        }
        let (count, crc) = bytes.split_at(8);
        if crc32c::crc32c(count).to_be_bytes() != *crc {
            return Ok(0);
        }
        Ok(count.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn write_witness(&self, count: u64) -> io::Result<()> {
        let mut bytes = [0; WITNESS_LENGTH];
        bytes[..8].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..8]);
        bytes[8..].copy_from_slice(&crc.to_be_bytes());
        self.witness.write_all_at(&bytes, 0)
    }

    /// Syncs what sled has just created: its files, and their names.
    fn make_durable(&self, path: &Path, sync_at: &dyn Fn(&Path) -> io::Result<()>) -> Result<(), StartError> {
        let io_error = |source| StartError::Io { path: path.to_owned(), source };
        self.sync().map_err(io_error)?;
        let configuration = path.join("conf");
        if configuration.try_exists().map_err(io_error)? {
            sync_at(&configuration).map_err(io_error)?;
        }
        sync_at(path).map_err(io_error)
    }

    /// How many times the store was synced since it was opened.
    pub(in crate::raft) fn sync_count(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Loses one part of an entry, as a store that tears its batches would.
    #[cfg(test)]
    pub(in crate::raft) fn remove_part(&self, index: u64, part: u32) {
        assert!(self.db.remove(entry_key(index, part)).expect("the store works").is_some());
    }

    fn append(&self, batch: &mut Batch, index: u64, entry: &Bytes) {
        // An empty entry has one part too, otherwise it would not be there.
        let part_count = entry.len().div_ceil(PART_BYTES_MAX).max(1);
        for part in 0..part_count {
            let bytes = &entry[part * PART_BYTES_MAX..entry.len().min((part + 1) * PART_BYTES_MAX)];
            let mut value = Vec::with_capacity(4 + bytes.len());
            value.extend_from_slice(&(part_count as u32).to_be_bytes());
            value.extend_from_slice(bytes);
            batch.insert(&entry_key(index, part as u32)[..], value);
        }
    }

    /// Queues the removal of the entries in a range of indexes.
    fn remove(&self, batch: &mut Batch, start: u64, end: Option<u64>) -> io::Result<()> {
        for key in self.db.range(entry_rows(start, end)).keys() {
            batch.remove(key.map_err(to_io)?);
        }
        Ok(())
    }

    fn commit(&self, batch: &mut Batch) -> io::Result<()> {
        let mut summary = self.summary.lock();
        summary.writes += 1;
        batch.insert(&[SUMMARY_ROW][..], &summary.encode()[..]);
        self.db.apply_batch(std::mem::take(batch)).map_err(to_io)
    }
}

impl RaftKv for SledKv {
    fn write(&self, writes: &[Write]) -> io::Result<()> {
        let mut batch = Batch::default();
        for write in writes {
            self.summary.lock().note(write);
            match write {
                Write::Append { index, entry } => self.append(&mut batch, *index, entry),
                Write::PutMeta { key, value } => batch.insert(meta_key(key), &value[..]),
                // A removal looks at what is there, so what was queued before it goes first.
                Write::Truncate { from } => {
                    self.commit(&mut batch)?;
                    self.remove(&mut batch, *from, None)?;
                }
                Write::Purge { to } => {
                    self.commit(&mut batch)?;
                    self.remove(&mut batch, 0, Some(to.saturating_add(1)))?;
                }
            }
        }
        self.commit(&mut batch)
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        self.pages.sync_data()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        // The writer is the only one to write, so all that was counted is synced now.
        self.write_witness(self.summary.lock().writes)
    }

    fn range(&self, start: u64, end: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let mut entries: Vec<(u64, Bytes)> = Vec::new();
        let mut parts = PartsOfOne::default();
        for row in self.db.range(entry_rows(start, Some(end))) {
            let (key, value) = row.map_err(to_io)?;
            let Some((index, entry)) = parts.push(&key, &value)? else { continue };
            if entries.last().is_some_and(|(last, _)| last + 1 != index) {
                return Err(damaged(format!("no entry before {index}")));
            }
            entries.push((index, entry));
        }
        if parts.is_begun() {
            return Err(damaged(format!("entry {} is not whole", parts.index)));
        }
        Ok(entries)
    }

    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let mut bounds: Option<(u64, u64)> = None;
        let mut torn: Option<u64> = None;
        let mut next = (0, 0, 0); // the index and part expected next, and how many parts that entry has
        for row in self.db.range(entry_rows(0, None)) {
            let (key, value) = row.map_err(to_io)?;
            let (index, part) = parse_entry_key(&key)?;
            let part_count = part_count(&value)?;
            if let Some(torn) = torn.filter(|torn| *torn != index) {
                return Err(damaged(format!("entry {torn} is not whole, and entry {index} follows it")));
            }
            if next.1 != 0 && index != next.0 {
                return Err(damaged(format!("entry {} is not whole, and entry {index} follows it", next.0)));
            }
            if part != next.1 || (part != 0 && part_count != next.2) {
                torn = Some(index);
                continue;
            }
            if part + 1 < part_count {
                next = (index, part + 1, part_count);
                continue;
            }
            if bounds.is_some_and(|(_, last)| last + 1 != index) {
                return Err(damaged(format!("no entry before {index}")));
            }
            bounds = Some((bounds.map_or(index, |(first, _)| first), index));
            next = (index + 1, 0, 0);
        }
        if next.1 != 0 {
            torn = Some(next.0);
        }
        self.check_summary(bounds)?;
        if let Some(index) = torn {
            tracing::warn!(index, "the last entry of the metadata log was not written whole; it is dropped");
            self.write(&[Write::Truncate { from: index }])?;
        }
        Ok(bounds)
    }

    fn get_meta(&self, key: &str) -> io::Result<Option<Bytes>> {
        let value = self.db.get(meta_key(key)).map_err(to_io)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }
}

/// What the store holds after so many writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    writes: u64,
    first: u64,
    /// One behind the last entry; not above `first` if there is none.
    end: u64,
    /// CRC-32C of the vote, 0 if there is none.
    vote_crc: u32,
}

impl Summary {
    fn note(&mut self, write: &Write) {
        match write {
            Write::Append { index, .. } => {
                if self.bounds().is_none() {
                    self.first = *index;
                }
                self.end = index + 1;
            }
            Write::Truncate { from } => self.end = self.end.min(*from),
            Write::Purge { to } => self.first = self.first.max(to + 1),
            Write::PutMeta { key: meta::VOTE, value } => self.vote_crc = crc32c::crc32c(value),
            Write::PutMeta { .. } => {}
        }
    }

    fn bounds(&self) -> Option<(u64, u64)> {
        (self.first < self.end).then(|| (self.first, self.end - 1))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28);
        for number in [self.writes, self.first, self.end] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.vote_crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, vote_crc) = (bytes.get(..24)?, bytes.get(24..)?.first_chunk()?);
        let number =
            |at: usize| numbers[at..at + 8].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        let vote_crc = u32::from_be_bytes(*vote_crc);
        Some(Self { writes: number(0), first: number(8), end: number(16), vote_crc })
    }
}

impl Drop for SledKv {
    fn drop(&mut self) {
        if let Err(error) = self.witness.sync_data() {
            tracing::warn!(%error, "the count of synced metadata writes could not be synced");
        }
    }
}

/// Puts an entry together from its rows.
#[derive(Default)]
struct PartsOfOne {
    index: u64,
    parts: u32,
    bytes: BytesMut,
}

impl PartsOfOne {
    const fn is_begun(&self) -> bool {
        self.parts > 0
    }

    /// Takes one row; gives the entry with its last part.
    fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<Option<(u64, Bytes)>> {
        let (index, part) = parse_entry_key(key)?;
        if part != self.parts || (self.is_begun() && index != self.index) {
            return Err(damaged(format!("entry {index} is not whole")));
        }
        let part_count = part_count(value)?;
        let bytes = &value[4..];
        if part == 0 && part_count == 1 {
            return Ok(Some((index, Bytes::copy_from_slice(bytes))));
        }
        self.index = index;
        self.parts += 1;
        self.bytes.extend_from_slice(bytes);
        if self.parts < part_count {
            return Ok(None);
        }
        self.parts = 0;
        Ok(Some((index, self.bytes.split().freeze())))
    }
}

fn entry_key(index: u64, part: u32) -> [u8; 13] {
    let mut key = [ENTRY_ROW; 13];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parse_entry_key(key: &[u8]) -> io::Result<(u64, u32)> {
    let key: &[u8; 13] = key.try_into().map_err(|_| damaged("a row's key has the wrong length"))?;
    let index = key[1..9].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
    let part = key[9..].iter().fold(0, |number, byte| (number << 8) | u32::from(*byte));
    Ok((index, part))
}

fn part_count(value: &[u8]) -> io::Result<u32> {
    let count = value.first_chunk::<4>().ok_or_else(|| damaged("a part of an entry is too short"))?;
    Ok(u32::from_be_bytes(*count))
}

/// The keys of the entries from `start` to before `end`, or to the last.
fn entry_rows(start: u64, end: Option<u64>) -> std::ops::Range<Vec<u8>> {
    let end = end.map_or_else(|| vec![ENTRY_ROW + 1], |end| entry_key(end, 0).to_vec());
    let start = entry_key(start, 0).to_vec();
    // sled panics on a range that ends before it starts.
    let end = end.max(start.clone());
    start..end
}

fn meta_key(key: &str) -> Vec<u8> {
    let mut bytes = vec![META_ROW];
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

fn damaged(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => damaged(format!("sled: {error}")),
        error => io::Error::other(format!("sled: {error}")),
    }
}

fn open_error(path: &Path, error: sled::Error) -> StartError {
    let path: PathBuf = path.to_owned();
    match error {
        sled::Error::Io(source) => StartError::Io { path, source },
        error => StartError::Damaged { path, reason: error.to_string() },
    }
}

/// Whether sled has let go of its files in `path`. Its threads may hold them a moment longer than its handle lives.
pub(in crate::raft) fn is_released(path: &Path) -> bool {
    let Ok(pages) = File::open(path.join("db")) else { return true };
    flock(&pages, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Syncs a file, or a directory's names.
pub(in crate::raft) fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
