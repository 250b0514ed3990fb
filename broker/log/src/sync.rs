//! What is written but not durable, and the ticket by which it becomes so: taken under the partition's lock, run
//! without it, given back under it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use moldau_model::Offset;
use parking_lot::Mutex;

use crate::file_cache::Storage;
use crate::file_system::OpenFile;
use crate::journal::{JournalRange, JournalSeat};
use crate::{File, FileSystem};

/// Syncs the log directory's own names, once for all partitions made since the last time.
#[derive(Debug)]
pub(crate) struct DirectorySync {
    path: PathBuf,
    /// How many partitions were made.
    made: AtomicU64,
    /// How many of them have a durable name.
    durable: Mutex<u64>,
}

impl DirectorySync {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, made: AtomicU64::new(0), durable: Mutex::new(0) }
    }

    /// A name was added; the number is what [`DirectorySync::ensure`] wants.
    pub(crate) fn note_made(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Returns once the names up to the given one are durable.
    pub(crate) fn ensure(&self, file_system: &dyn FileSystem, number: u64) -> io::Result<()> {
        let mut durable = self.durable.lock();
        if *durable >= number {
            return Ok(());
        }
        let made = self.made.load(Ordering::SeqCst);
        file_system.sync_dir(&self.path)?;
        *durable = made;
        Ok(())
    }
}

/// The part of a sync that is not a file which is open already.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamesToSync {
    /// The partition's directory has new names.
    pub(crate) directory: bool,
    /// `partition.metadata` is new.
    pub(crate) partition_metadata: bool,
}

/// What must reach stable storage so that [`SyncTicket::end_offset`] is durable.
#[derive(Debug)]
#[must_use = "a log whose ticket is dropped never becomes durable again"]
pub struct SyncTicket {
    end_offset: Offset,
    truncations: u64,
    files: Vec<Arc<dyn File>>,
    names: NamesToSync,
    made: Option<u64>,
    storage: Arc<Storage>,
    parent: Option<Arc<DirectorySync>>,
    /// What the log directory's journal could take instead.
    journal_range: Option<JournalRange>,
    was_journaled: AtomicBool,
    succeeded: AtomicBool,
}

impl SyncTicket {
    /// Syncs the dirty files, and the directories of those that are new. Blocks on the disk; holds no lock of the log.
    /// After an error the log directory must go offline: never run a ticket again.
    pub fn run(&self) -> io::Result<()> {
        for file in &self.files {
            file.sync_data()?;
        }
        let file_system = &*self.storage.file_system;
        if self.names.partition_metadata {
            let path = self.storage.directory().join(crate::partition_metadata::FILE_NAME);
            file_system.open(&path, OpenFile::Read)?.sync_data()?;
        }
        if self.names.directory {
            file_system.sync_dir(&self.storage.directory())?;
        }
        if let (Some(made), Some(parent)) = (self.made, &self.parent) {
            parent.ensure(file_system, made)?;
        }
        self.succeeded.store(true, Ordering::Release);
        Ok(())
    }

    /// What it would take in the journal, if [`crate::Journal::commit`] may take it.
    #[must_use]
    pub fn journal_bytes(&self) -> Option<usize> {
        self.journal_range.as_ref().map(JournalRange::entry_bytes)
    }

    pub(crate) fn journal_range(&self) -> Option<&JournalRange> {
        self.journal_range.as_ref()
    }

    /// The journal has it, durably.
    pub(crate) fn note_journaled(&self) {
        self.was_journaled.store(true, Ordering::Release);
        self.succeeded.store(true, Ordering::Release);
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// The exclusive end of what is durable once the ticket was run and completed.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }
}

/// A log's dirty files and its durable end.
#[derive(Debug)]
pub(crate) struct Durability {
    durable_end_offset: Offset,
    dirty: Vec<Arc<dyn File>>,
    /// Where the dirty bytes begin, if all of them were appended to the one dirty file.
    appended_from: Option<u64>,
    /// Durable in the journal, and not yet in the file itself, as far as is known here.
    unsettled: Option<Weak<dyn File>>,
    /// The journal may have entries that are not void.
    may_be_journaled: bool,
    names: NamesToSync,
    /// The partition itself is new in the log directory: its number there, until a ticket has made its name durable.
    made: Option<u64>,
    /// Counts truncations, so that a ticket from before one is known.
    truncations: u64,
    in_flight: bool,
    in_flight_files: Vec<Arc<dyn File>>,
}

impl Durability {
    pub(crate) fn new(durable_end_offset: Offset) -> Self {
        Self {
            durable_end_offset,
            dirty: Vec::new(),
            appended_from: None,
            unsettled: None,
            // By an earlier log in the same directory.
            may_be_journaled: true,
            names: NamesToSync::default(),
            made: None,
            truncations: 0,
            in_flight: false,
            in_flight_files: Vec::new(),
        }
    }

    pub(crate) fn durable_end_offset(&self) -> Offset {
        self.durable_end_offset
    }

    pub(crate) fn truncations(&self) -> u64 {
        self.truncations
    }

    pub(crate) fn names(&mut self) -> &mut NamesToSync {
        &mut self.names
    }

    pub(crate) fn note_made(&mut self, number: Option<u64>) {
        self.made = number;
    }

    /// Makes the partition's own name durable at once, for a log that becomes durable without a ticket.
    pub(crate) fn sync_name_now(
        &self,
        file_system: &dyn FileSystem,
        parent: Option<&Arc<DirectorySync>>,
    ) -> io::Result<()> {
        match (self.made, parent) {
            (Some(made), Some(parent)) => parent.ensure(file_system, made),
            _ => Ok(()),
        }
    }

    /// The file was written. It stays open until it is synced: an error of writeback is reported to the descriptors
    /// that were open when it happened.
    pub(crate) fn mark(&mut self, file: &Arc<dyn File>) {
        self.appended_from = None;
        self.add_dirty(file);
    }

    /// The same of a segment to which something was appended at `position`, and nothing else.
    pub(crate) fn mark_appended(&mut self, file: &Arc<dyn File>, position: u64) {
        if self.dirty.is_empty() {
            self.appended_from = Some(position);
        } else if !self.dirty.iter().all(|dirty| Arc::ptr_eq(dirty, file)) {
            self.appended_from = None;
        }
        self.add_dirty(file);
    }

    fn add_dirty(&mut self, file: &Arc<dyn File>) {
        if !self.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            self.dirty.push(Arc::clone(file));
        }
    }

    /// A ticket for all that is dirty. `active` is the log's seat in the journal, and base offset and size of its active segment.
    pub(crate) fn begin(
        &mut self,
        end_offset: Offset,
        storage: &Arc<Storage>,
        parent: Option<&Arc<DirectorySync>>,
        active: Option<(&JournalSeat, Offset, u64)>,
    ) -> Option<SyncTicket> {
        if self.in_flight || (self.dirty.is_empty() && end_offset == self.durable_end_offset) {
            return None;
        }
        self.in_flight = true;
        let journal_range = self.journal_range(active);
        self.may_be_journaled |= journal_range.is_some();
        let files = std::mem::take(&mut self.dirty);
        self.appended_from = None;
        self.in_flight_files.clone_from(&files);
        Some(SyncTicket {
            end_offset,
            truncations: self.truncations,
            files,
            names: std::mem::take(&mut self.names),
            made: self.made,
            storage: Arc::clone(storage),
            parent: parent.cloned(),
            journal_range,
            was_journaled: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
        })
    }

    /// Only what was appended to one file, whose names are durable.
    fn journal_range(&self, active: Option<(&JournalSeat, Offset, u64)>) -> Option<JournalRange> {
        let (seat, base_offset, end) = active?;
        let ([file], Some(from)) = (self.dirty.as_slice(), self.appended_from) else { return None };
        if self.names.directory || self.names.partition_metadata || self.made.is_some() {
            return None;
        }
        seat.range(file, base_offset, from, end)
    }

    /// Returns whether the ticket had succeeded. If the log was cut meanwhile, what the ticket promised is not there any
    /// more, and everything is dirty again.
    pub(crate) fn complete(&mut self, ticket: SyncTicket) -> bool {
        if !ticket.succeeded.load(Ordering::Acquire) {
            // `in_flight` stays: nothing here ever becomes durable again.
            return false;
        }
        self.in_flight = false;
        self.in_flight_files.clear();
        self.made = None;
        if ticket.was_journaled.load(Ordering::Acquire) {
            self.unsettled = ticket.files.first().map(Arc::downgrade);
        } else if let Some(unsettled) = self.unsettled()
            && ticket.files.iter().any(|file| Arc::ptr_eq(file, &unsettled))
        {
            self.unsettled = None;
        }
        if ticket.truncations != self.truncations {
            for file in &ticket.files {
                self.mark(file);
            }
            return true;
        }
        assert!(
            ticket.end_offset >= self.durable_end_offset,
            "the durable end went backwards without a truncation"
        );
        self.durable_end_offset = ticket.end_offset;
        true
    }

    /// Syncs all files at once, under the lock, those of a ticket under way included.
    pub(crate) fn sync_files_now(&mut self) -> io::Result<()> {
        for file in self.dirty.iter().chain(&self.in_flight_files).chain(&self.unsettled()) {
            file.sync_data()?;
        }
        self.dirty.clear();
        self.appended_from = None;
        self.unsettled = None;
        Ok(())
    }

    /// The journal keeps the file open until it is settled.
    fn unsettled(&self) -> Option<Arc<dyn File>> {
        self.unsettled.as_ref().and_then(Weak::upgrade)
    }

    /// Whether the journal may have entries of the log that count; from now on it has none.
    pub(crate) fn leave_journal(&mut self) -> bool {
        std::mem::take(&mut self.may_be_journaled)
    }

    /// The log ends at `end_offset` now, and that is durable.
    pub(crate) fn truncated(&mut self, end_offset: Offset) {
        self.truncations += 1;
        // What is dirty may lie behind the log's end now.
        self.appended_from = None;
        self.durable_end_offset = self.durable_end_offset.min(end_offset);
    }

    /// The log is empty and begins at `offset`.
    pub(crate) fn restarted(&mut self, offset: Offset) {
        self.truncated(offset);
        self.durable_end_offset = offset;
    }

    /// Everything up to here was just synced by other means.
    pub(crate) fn set_durable(&mut self, end_offset: Offset) {
        self.durable_end_offset = end_offset;
    }
}
