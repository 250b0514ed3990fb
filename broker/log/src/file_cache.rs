//! Bounds the open files: ten thousand partitions live on four thousand descriptors.
//!
//! A file that is used again shortly costs one atomic operation to find; only opening one takes the cache's lock. When
//! the cache is full, the files are passed over in the order of their opening and the first that nobody touched since
//! the last pass is closed (second chance).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use moldau_model::Offset;
use parking_lot::{Mutex, RwLock};

use crate::file_system::OpenFile;
use crate::{File, FileSystem, LogEnvironment, Room};

/// Shared by all logs of a broker. A file that somebody still reads or has yet to sync stays open beyond the bound.
#[derive(Debug)]
pub struct FileCache {
    open_max: usize,
    open: Mutex<VecDeque<Arc<Cached>>>,
}

#[derive(Debug)]
struct Cached {
    file: Arc<dyn File>,
    used: AtomicBool,
}

impl FileCache {
    /// At most `open_max` (and at least one) files that nobody is using at the moment stay open.
    #[must_use]
    pub fn new(open_max: usize) -> Self {
        Self { open_max: open_max.max(1), open: Mutex::new(VecDeque::new()) }
    }

    fn insert(&self, file: Arc<dyn File>) -> Arc<Cached> {
        let cached = Arc::new(Cached { file, used: AtomicBool::new(true) });
        let mut evicted = Vec::new();
        let mut open = self.open.lock();
        while open.len() >= self.open_max {
            let Some(oldest) = open.pop_front() else { break };
            if oldest.used.swap(false, Ordering::Relaxed) {
                open.push_back(oldest);
            } else {
                evicted.push(oldest);
            }
        }
        open.push_back(Arc::clone(&cached));
        drop(open);
        // Closing may block; it happens here, with the lock gone.
        drop(evicted);
        cached
    }

    fn forget(&self, cached: &Arc<Cached>) {
        self.open.lock().retain(|other| !Arc::ptr_eq(other, cached));
    }
}

/// The files of one segment, and their temporary states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    AbortedIndex,
    ProducerSnapshot,
}

impl FileKind {
    /// What belongs to a segment, and goes with it. (A producer snapshot belongs to an offset.)
    pub(crate) const OF_SEGMENT: [Self; 4] =
        [Self::Log, Self::OffsetIndex, Self::TimeIndex, Self::AbortedIndex];

    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::AbortedIndex => "txnindex",
            Self::ProducerSnapshot => "snapshot",
        }
    }
}

/// `<twenty digits>.<suffix>` in `directory`.
pub(crate) fn segment_path(directory: &Path, base_offset: Offset, suffix: &str) -> PathBuf {
    directory.join(format!("{:020}.{suffix}", base_offset.0))
}

/// What every file of a partition is opened through.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) file_system: Arc<dyn FileSystem>,
    pub(crate) cache: Arc<FileCache>,
    /// It changes once at most: when a copy of a log takes the place of the log.
    directory: RwLock<Arc<Path>>,
    /// See [`crate::LogEnvironment`].
    pub(crate) rewrites_recovered: bool,
    /// Of the volume, for records.
    pub(crate) room: Arc<Room>,
}

impl Storage {
    pub(crate) fn new(environment: &LogEnvironment, directory: &Path) -> Self {
        Self {
            file_system: Arc::clone(&environment.file_system),
            cache: Arc::clone(&environment.file_cache),
            directory: RwLock::new(directory.into()),
            rewrites_recovered: environment.rewrites_recovered,
            room: Arc::clone(&environment.room),
        }
    }

    pub(crate) fn directory(&self) -> Arc<Path> {
        Arc::clone(&self.directory.read())
    }

    /// The directory was renamed. Files that are open stay open.
    pub(crate) fn set_directory(&self, directory: &Path) {
        *self.directory.write() = directory.into();
    }
}

/// One file of a segment, opened when it is needed and closed when others are needed more.
pub(crate) struct SegmentFile {
    storage: Arc<Storage>,
    base_offset: Offset,
    kind: FileKind,
    slot: Mutex<Weak<Cached>>,
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

impl SegmentFile {
    pub(crate) fn new(storage: &Arc<Storage>, base_offset: Offset, kind: FileKind) -> Self {
        Self { storage: Arc::clone(storage), base_offset, kind, slot: Mutex::new(Weak::new()) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        segment_path(&self.storage.directory(), self.base_offset, self.kind.suffix())
    }

    /// The open file; it is made if it is not there yet.
    pub(crate) fn get(&self) -> io::Result<Arc<dyn File>> {
        let mut slot = self.slot.lock();
        if let Some(cached) = slot.upgrade() {
            cached.used.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(&cached.file));
        }
        let how = if self.kind == FileKind::Log { OpenFile::Write } else { OpenFile::Create };
        let cached = self.storage.cache.insert(self.storage.file_system.open(&self.path(), how)?);
        *slot = Arc::downgrade(&cached);
        Ok(Arc::clone(&cached.file))
    }

    /// The open file of a segment that is being made.
    pub(crate) fn create(&self) -> io::Result<Arc<dyn File>> {
        let file = self.storage.file_system.open(&self.path(), OpenFile::Truncate)?;
        let cached = self.storage.cache.insert(file);
        *self.slot.lock() = Arc::downgrade(&cached);
        Ok(Arc::clone(&cached.file))
    }

    pub(crate) fn room(&self) -> &Room {
        &self.storage.room
    }

    pub(crate) fn length(&self) -> io::Result<Option<u64>> {
        self.storage.file_system.file_length(&self.path())
    }

    /// Lets go of the descriptor, because the path is about to mean another file.
    pub(crate) fn forget(&self) {
        if let Some(cached) = std::mem::take(&mut *self.slot.lock()).upgrade() {
            self.storage.cache.forget(&cached);
        }
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.forget();
    }
}
