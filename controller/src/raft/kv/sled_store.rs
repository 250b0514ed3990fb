//! The store on sled, with the syncs that sled leaves out.
//!
//! sled's `flush` hands its buffers to the kernel and starts write-back, but asks neither for the file's metadata nor
//! for the device's cache. So `sync` flushes and then syncs the one file that sled keeps its pages in. What is too long for
//! a page goes to files that sled never syncs; entries therefore are cut into parts, each a row.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sled::{Batch, Db};

use super::{RaftKv, Write};
use crate::StartError;

/// The longest value that sled is given. sled writes a leaf of its tree to a file of its own, which it never syncs, once
/// the leaf is longer than a quarter of a segment (128 KiB). A leaf splits above 16 values, and may reach 20 when two
/// are merged: 20 values of this length, and their keys, stay below.
const PART_BYTES_MAX: usize = 6 << 10;
const CACHE_BYTES: u64 = 8 << 20;
/// Rows begin with a letter: entries first, then what else there is.
const ENTRY_ROW: u8 = b'e';
const META_ROW: u8 = b'm';

/// See the module.
pub(in crate::raft) struct SledKv {
    db: Db,
    pages: File,
    syncs: AtomicU64,
}

impl SledKv {
    /// Opens the store in `path`, or makes a new one that is durable when this returns.
    pub(in crate::raft) fn open(path: &Path) -> Result<Self, StartError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io { path, source }
        };
        let pages_path = path.join("db");
        let is_new = !pages_path.try_exists().map_err(io_error(&pages_path))?;
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Its own flusher would sync behind our back, twice a second, for nothing.
            .flush_every_ms(None)
            .open()
            .map_err(|error| open_error(path, error))?;
        let pages =
            OpenOptions::new().read(true).write(true).open(&pages_path).map_err(io_error(&pages_path))?;
        let store = Self { db, pages, syncs: AtomicU64::new(0) };
        if is_new {
            store.make_durable(path)?;
        }
        Ok(store)
    }

    /// Syncs what sled has just created: its files, and their names.
    fn make_durable(&self, path: &Path) -> Result<(), StartError> {
        let io_error = |source| StartError::Io { path: path.to_owned(), source };
        self.sync().map_err(io_error)?;
        let configuration = path.join("conf");
        if configuration.try_exists().map_err(io_error)? {
            sync_path(&configuration).map_err(io_error)?;
        }
        sync_path(path).map_err(io_error)
    }

    /// How many times the store was synced since it was opened.
    pub(in crate::raft) fn sync_count(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
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
        self.db.apply_batch(std::mem::take(batch)).map_err(to_io)
    }
}

impl RaftKv for SledKv {
    fn write(&self, writes: &[Write]) -> io::Result<()> {
        let mut batch = Batch::default();
        for write in writes {
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
        Ok(())
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

/// Syncs a file, or a directory's names.
pub(in crate::raft) fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
