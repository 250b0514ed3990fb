//! The sync journal of a log directory (ADR 29): one write and one sync make the newest records of many partitions durable.
//!
//! Records are written to their partition's segment first, always; there they are read, and there they stay. Syncing a
//! segment costs the disk a round of its own, though, and with six partitions in a request that is six of them. So what a
//! few tickets of little size have to make durable is copied to the end of the journal, which is synced once for all. Their
//! segments are synced later and in bulk: by the megabyte, and what is left when the journal's other half is to be used again
//! ([`Journal::settle_next`]). After a crash the journal's records are written to their places again, before any log is opened (`replay`).
//!
//! What keeps that right:
//!
//! - An entry holds just the bytes that lie at its position of its segment, so writing it again changes nothing, however often.
//! - Wherever bytes of a segment are changed or given up (a truncation, a deletion, a roll, after which the cleaner may come),
//!   the segment is synced and the partition's entries are declared void first, durably: [`JournalSeat::void`].
//! - A half is written over only when the segments of all of its entries were synced.
//! - A clean shutdown leaves no journal, so that whoever comes next, and be it Apache Kafka, finds whole segments.

mod entry;
mod replay;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use moldau_model::{Offset, TopicId};
use parking_lot::{Condvar, Mutex};

use crate::file_system::OpenFile;
use crate::sync::SyncTicket;
use crate::{File, FileSystem, Room};
use entry::{Entry, EntryKind, HALF_HEADER_BYTES};

pub(crate) use replay::{remove, replay};

/// The names of the two halves, in the log directory.
const HALF_NAMES: [&str; 2] = ["moldau-journal-0", "moldau-journal-1"];
/// A ticket of more bytes is synced in its own file: copying costs more than the sync that it saves.
/// (Nodes that took half of it read so much, too: they left room for longer names than there are.)
pub(crate) const JOURNALED_BYTES_MAX: usize = 64 * 1024;
/// What one commit takes at most, in [`SyncTicket::journal_bytes`].
pub const JOURNAL_COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The part of each half, at its end, that only voids take, so that a truncation does not wait for a settlement.
const VOID_RESERVE_PARTS: u64 = 64;
/// A half grows by so much at once, in zeros: overwriting is what makes a sync of the journal cheap, for the file
/// system has then nothing to note.
const GROWTH_BYTES: u64 = 128 * 1024;
/// A segment is synced when it has so much more in the journal. Left to the half's settlement it would have megabytes: a sync of
/// its own, or another's, would wait for them.
const BACKLOG_BYTES_MAX: u64 = 1024 * 1024;

/// The bytes of a ticket that the journal can take: what was appended to one segment, one append behind the other.
#[derive(Clone, Debug)]
pub(crate) struct JournalRange {
    pub(crate) seat: JournalSeat,
    /// What the seat's was when the range was taken.
    pub(crate) incarnation: u64,
    pub(crate) file: Arc<dyn File>,
    pub(crate) base_offset: Offset,
    /// First and one behind the last byte.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a log needs to have its records in the journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalSeat {
    journal: Arc<Journal>,
    /// The name of the partition's directory.
    directory: Arc<str>,
    topic_id: TopicId,
    /// Grows with each [`JournalSeat::void`]: entries with a smaller one are none.
    incarnation: Arc<AtomicU64>,
}

/// One of the two files.
#[derive(Debug)]
struct Half {
    file: Arc<dyn File>,
    generation: u64,
    /// Where the next entry goes.
    position: u64,
    /// How long the file is.
    length: u64,
    /// Whose entries it has, and their segments until those are synced: one each, for a segment that is closed was synced.
    segments: HashMap<Arc<str>, Option<Segment>>,
}

/// A segment that has entries in a half and was not synced since.
#[derive(Debug)]
struct Segment {
    file: Arc<dyn File>,
    /// Of its entries, since it was last synced or begun to be.
    unsynced_bytes: u64,
}

impl Half {
    /// The range has an entry from now on. Whether its segment has much to sync by now, which is told once.
    fn note_entry(&mut self, range: &JournalRange) -> bool {
        let segment = self.segments.entry(Arc::clone(&range.seat.directory)).or_default();
        let before = match segment {
            Some(segment) if Arc::ptr_eq(&segment.file, &range.file) => segment.unsynced_bytes,
            _ => 0,
        };
        let unsynced_bytes = before + (range.to - range.from);
        let is_much = unsynced_bytes >= BACKLOG_BYTES_MAX;
        let unsynced_bytes = if is_much { 0 } else { unsynced_bytes };
        *segment = Some(Segment { file: Arc::clone(&range.file), unsynced_bytes });
        is_much
    }

    fn unsettled(&self) -> impl Iterator<Item = &Arc<dyn File>> {
        self.segments.values().flatten().map(|segment| &segment.file)
    }

    fn is_settled(&self) -> bool {
        self.unsettled().next().is_none()
    }

    /// Its entries may still be written again, after a crash, but need not be.
    fn note_settled(&mut self) {
        self.segments.values_mut().for_each(|file| *file = None);
    }
}

#[derive(Debug, Default)]
struct State {
    halves: [Option<Half>; 2],
    current: usize,
    generation_last: u64,
    /// Reused from commit to commit.
    buffer: Vec<u8>,
    /// Segments with much to sync, which the next commits may make more of: one for so much of a half.
    backlog: Vec<Arc<dyn File>>,
    is_closed: bool,
    /// A write or a sync has failed: another may say that all is well, and is not to be believed.
    has_failed: bool,
}

/// The journal of one log directory.
#[derive(Debug)]
pub struct Journal {
    file_system: Arc<dyn FileSystem>,
    directory: PathBuf,
    room: Arc<Room>,
    /// Of one half; 0 switches the journal off.
    half_bytes_max: AtomicU64,
    /// Partitions with entries in one half: each keeps a file open.
    partitions_max: AtomicUsize,
    incarnation_last: AtomicU64,
    state: Mutex<State>,
    settlement_due: Condvar,
}

impl Journal {
    /// A journal that is switched off, and takes nothing before [`Journal::enable`]. No file is made before the first commit.
    pub(crate) fn new(file_system: Arc<dyn FileSystem>, directory: PathBuf, room: Arc<Room>) -> Self {
        Self {
            file_system,
            directory,
            room,
            half_bytes_max: AtomicU64::new(0),
            partitions_max: AtomicUsize::new(0),
            incarnation_last: AtomicU64::new(0),
            state: Mutex::new(State::default()),
            settlement_due: Condvar::new(),
        }
    }

    /// Lets it grow to `bytes_max`, both halves together, and hold the segments of `partitions_max` partitions open.
    pub fn enable(&self, bytes_max: u64, partitions_max: usize) {
        self.partitions_max.store(partitions_max / 2, Ordering::Relaxed);
        self.half_bytes_max.store(bytes_max / 2, Ordering::Relaxed);
    }

    fn is_enabled(&self) -> bool {
        self.half_bytes_max.load(Ordering::Relaxed) > 0
    }

    /// A number larger than all before it.
    fn next_incarnation(&self) -> u64 {
        self.incarnation_last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes what these tickets stand for durable, all or none of them: they count as run. `false` if the journal cannot take
    /// them now (one of them is not for it, or there is no room): run each of them then. Blocks on the disk.
    ///
    /// # Errors
    /// The log directory has to go offline, as after a failed sync.
    pub fn commit(&self, tickets: &[&SyncTicket]) -> io::Result<bool> {
        let ranges: Option<Vec<&JournalRange>> =
            tickets.iter().map(|ticket| ticket.journal_range()).collect();
        let Some(ranges) = ranges else { return Ok(false) };
        let bytes: usize = ranges.iter().map(|range| range.entry_bytes()).sum();
        let mut guard = self.state.lock();
        let result = self.commit_ranges(&mut guard, &ranges, bytes);
        guard.has_failed |= result.is_err();
        if matches!(result, Ok(true)) {
            for ticket in tickets {
                ticket.note_journaled();
            }
        }
        result
    }

    fn commit_ranges(&self, state: &mut State, ranges: &[&JournalRange], bytes: usize) -> io::Result<bool> {
        state.check()?;
        // A void comes before or after all of this, never in between.
        if state.is_closed
            || bytes > JOURNAL_COMMIT_BYTES_MAX
            || ranges.iter().any(|range| !range.is_for(self))
            || !self.make_room(state, bytes as u64, ranges.len())?
        {
            return Ok(false);
        }
        let Some(half) = &mut state.halves[state.current] else { return Ok(false) };
        state.buffer.clear();
        for range in ranges {
            match range.encode(half.generation, &mut state.buffer) {
                Ok(()) => {}
                // The log was cut meanwhile: its ticket promises nothing any more.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // First: part of what is written may be found again even if not all can be.
        for range in ranges {
            if half.note_entry(range) {
                state.backlog.push(Arc::clone(&range.file));
                self.settlement_due.notify_all();
            }
        }
        let length_max = self.half_bytes_max.load(Ordering::Relaxed);
        half.write_and_sync(&mut state.buffer, length_max, &self.room, EntryKind::Records)
    }

    /// See [`JournalSeat::void`].
    fn void(&self, seat: &JournalSeat, is_wanted: bool) -> io::Result<()> {
        let mut guard = self.state.lock();
        let incarnation = self.next_incarnation();
        seat.incarnation.store(incarnation, Ordering::Release);
        if !guard.halves.iter().flatten().any(|half| half.segments.contains_key(&seat.directory)) {
            return Ok(());
        }
        let result = if is_wanted { guard.sync_segments_of(&seat.directory) } else { Ok(()) };
        let result = result.and_then(|()| self.write_void(&mut guard, seat, incarnation));
        guard.has_failed |= result.is_err();
        if result.is_ok() {
            // Nobody waits for that segment any more, which may be gone: its room on the disk is not to be held.
            let State { halves, backlog, .. } = &mut *guard;
            let segments =
                halves.iter_mut().flatten().filter_map(|half| half.segments.get_mut(&seat.directory));
            for segment in segments.filter_map(Option::take) {
                backlog.retain(|file| !Arc::ptr_eq(file, &segment.file));
            }
        }
        result
    }

    fn write_void(&self, state: &mut State, seat: &JournalSeat, incarnation: u64) -> io::Result<()> {
        state.check()?;
        let bytes = entry::size_bytes(seat.directory.len(), 0) as u64;
        if !self.has_room(state, bytes) {
            // Rare: there were more voids than the reserve takes.
            self.settle_other(state)?;
            match self.switch(state) {
                Ok(()) => {}
                Err(error) if is_full_disk(&error) => return self.abandon(state),
                Err(error) => return Err(error),
            }
        }
        let Some(half) = &mut state.halves[state.current] else { return Ok(()) };
        state.buffer.clear();
        let void = Entry {
            kind: EntryKind::Void,
            incarnation,
            topic_id: seat.topic_id,
            base_offset: Offset::ZERO,
            position: 0,
            directory: &seat.directory,
        };
        let start = void.begin(&mut state.buffer);
        entry::seal(&mut state.buffer, start, half.generation);
        let length_max = self.half_bytes_max.load(Ordering::Relaxed);
        let is_written = half.write_and_sync(&mut state.buffer, length_max, &self.room, EntryKind::Void)?;
        if is_written { Ok(()) } else { self.abandon(state) }
    }

    /// Waits until a half is to be settled, or segments have much to sync, and does so; `false` once the journal is closed. For a
    /// thread of its own.
    ///
    /// # Errors
    /// The log directory has to go offline.
    pub fn settle_next(&self) -> io::Result<bool> {
        let mut state = self.state.lock();
        while state.half_to_settle().is_none() && state.backlog.is_empty() {
            if state.is_closed {
                return Ok(false);
            }
            self.settlement_due.wait(&mut state);
        }
        state.check()?;
        let segment = state.backlog.pop();
        drop(state);
        if let Some(segment) = segment {
            let result = segment.sync_data();
            self.state.lock().has_failed |= result.is_err();
            result?;
        }
        self.settle_if_due()?;
        Ok(true)
    }

    /// Syncs the segments of the half that is not written to, so that it can be used again.
    ///
    /// # Errors
    /// The log directory has to go offline.
    pub fn settle_if_due(&self) -> io::Result<()> {
        let state = self.state.lock();
        state.check()?;
        let Some(half) = state.half_to_settle() else { return Ok(()) };
        let files: Vec<Arc<dyn File>> = half.unsettled().cloned().collect();
        let generation = half.generation;
        // Without the lock: nothing is added to this half before it is settled.
        drop(state);
        let result: io::Result<()> = files.iter().try_for_each(|file| file.sync_data());
        let mut state = self.state.lock();
        state.has_failed |= result.is_err();
        result?;
        state.check()?;
        let settled = state.halves.iter_mut().flatten().find(|half| half.generation == generation);
        if let Some(half) = settled {
            half.note_settled();
        }
        Ok(())
    }

    /// Ends [`Journal::settle_next`]; nothing is taken any more.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
        self.settlement_due.notify_all();
    }

    /// Removes the files, durably: everything is durable elsewhere.
    pub(crate) fn discard(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.halves = [None, None];
        state.is_closed = true;
        remove(&*self.file_system, &self.directory)
    }

    fn has_room(&self, state: &State, bytes: u64) -> bool {
        let max = self.half_bytes_max.load(Ordering::Relaxed);
        state.halves[state.current].as_ref().is_some_and(|half| half.position + bytes <= max)
    }

    /// Sees to it that the current half takes so much, which may be the other one afterwards; `false` if neither does.
    fn make_room(&self, state: &mut State, bytes: u64, partitions: usize) -> io::Result<bool> {
        let partitions_max = self.partitions_max.load(Ordering::Relaxed);
        let half_bytes_max = self.half_bytes_max.load(Ordering::Relaxed);
        let reserve = half_bytes_max / VOID_RESERVE_PARTS;
        if partitions > partitions_max || HALF_HEADER_BYTES as u64 + bytes + reserve > half_bytes_max {
            return Ok(false);
        }
        let has_places = state.halves[state.current]
            .as_ref()
            .is_some_and(|half| half.segments.len() + partitions <= partitions_max);
        if has_places && self.has_room(state, bytes + reserve) {
            return Ok(true);
        }
        if state.halves[state.next()].as_ref().is_some_and(|half| !half.is_settled()) {
            return Ok(false);
        }
        match self.switch(state) {
            Ok(()) => Ok(true),
            // A full disk has no room for a journal, and perhaps some for the records.
            Err(error) if is_full_disk(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins the next generation in the half whose turn it is. Its header is durable before its first entry is written, so
    /// that no entry of an earlier generation is taken for one of this.
    fn switch(&self, state: &mut State) -> io::Result<()> {
        let next = state.next();
        let generation = state.generation_last + 1;
        // What is there stays known until it is overwritten: its entries may have to be declared void.
        let (file, length) = match &state.halves[next] {
            Some(half) => (Arc::clone(&half.file), half.length),
            None => {
                let file =
                    self.file_system.open(&self.directory.join(HALF_NAMES[next]), OpenFile::Truncate)?;
                self.file_system.sync_dir(&self.directory)?;
                (file, 0)
            }
        };
        file.write_all_at(&entry::half_header(generation), 0)?;
        file.sync_data()?;
        state.generation_last = generation;
        let position = HALF_HEADER_BYTES as u64;
        let half =
            Half { file, generation, position, length: length.max(position), segments: HashMap::new() };
        state.halves[next] = Some(half);
        state.current = next;
        self.settlement_due.notify_all();
        Ok(())
    }

    /// A full disk takes not even a void. What is there already can be overwritten: with the segments synced, the journal is
    /// declared empty as a whole.
    fn abandon(&self, state: &mut State) -> io::Result<()> {
        for half in state.halves.iter().flatten() {
            for file in half.unsettled() {
                file.sync_data()?;
            }
        }
        // The older one first: what it has may be void by a note in the newer one.
        for which in [1 - state.current, state.current] {
            if let Some(half) = &state.halves[which] {
                half.file.write_all_at(&[0; HALF_HEADER_BYTES], 0)?;
                half.file.sync_data()?;
            }
            state.halves[which] = None;
        }
        Ok(())
    }

    /// Syncs the segments of the half that is not written to, with the journal's lock held.
    fn settle_other(&self, state: &mut State) -> io::Result<()> {
        let other = state.next();
        if let Some(half) = &mut state.halves[other] {
            for file in half.unsettled() {
                file.sync_data()?;
            }
            half.note_settled();
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        if self.has_failed { Err(io::Error::other("the sync journal has failed before")) } else { Ok(()) }
    }

    /// What an earlier log in the same directory may have left.
    fn sync_segments_of(&self, directory: &str) -> io::Result<()> {
        self.check()?;
        let files = self.halves.iter().flatten().filter_map(|half| half.segments.get(directory)?.as_ref());
        files.into_iter().try_for_each(|segment| segment.file.sync_data())
    }

    fn half_to_settle(&self) -> Option<&Half> {
        self.halves[1 - self.current].as_ref().filter(|half| !half.is_settled())
    }

    /// The half that is written to after the current one; of a journal without any the first.
    fn next(&self) -> usize {
        if self.halves[self.current].is_none() { self.current } else { 1 - self.current }
    }
}

impl Half {
    /// Puts the buffer behind the last entry; `false` if the disk is full. A void comes before room is given back: where
    /// records have none left, it takes what there is, and no more than it needs.
    fn write_and_sync(
        &mut self,
        buffer: &mut Vec<u8>,
        length_max: u64,
        room: &Room,
        kind: EntryKind,
    ) -> io::Result<bool> {
        let end = self.position + buffer.len() as u64;
        if end > self.length {
            let length = end.next_multiple_of(GROWTH_BYTES).min(length_max.max(end));
            match room.take(length - self.length) {
                Ok(()) => buffer.resize(buffer.len() + (length - end) as usize, 0),
                Err(_) if kind == EntryKind::Void => {}
                Err(_) => return Ok(false),
            }
        }
        match self.file.write_all_at(buffer, self.position) {
            Ok(()) => {}
            Err(error) if is_full_disk(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.file.sync_data()?;
        self.length = self.length.max(self.position + buffer.len() as u64);
        self.position = end;
        Ok(true)
    }
}

impl JournalSeat {
    pub(crate) fn new(journal: &Arc<Journal>, directory: &Path, topic_id: TopicId) -> Self {
        let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        Self {
            directory: name.into(),
            topic_id,
            incarnation: Arc::new(AtomicU64::new(journal.next_incarnation())),
            journal: Arc::clone(journal),
        }
    }

    /// The range as an entry, if the journal takes its like.
    pub(crate) fn range(
        &self,
        file: &Arc<dyn File>,
        base_offset: Offset,
        from: u64,
        to: u64,
    ) -> Option<JournalRange> {
        let is_small = to > from && to - from <= JOURNALED_BYTES_MAX as u64;
        (is_small && self.journal.is_enabled()).then(|| JournalRange {
            seat: self.clone(),
            incarnation: self.incarnation.load(Ordering::Acquire),
            file: Arc::clone(file),
            base_offset,
            from,
            to,
        })
    }

    /// No entry of the partition so far is to be written again, and none that is under way will be made. The caller has synced
    /// the segment, or gives it up: then it `is_wanted` no more. Blocks on syncs if there are any, and where both halves are full
    /// on a settlement.
    ///
    /// # Errors
    /// The log directory has to go offline.
    pub(crate) fn void(&self, is_wanted: bool) -> io::Result<()> {
        self.journal.void(self, is_wanted)
    }
}

impl JournalRange {
    pub(crate) fn entry_bytes(&self) -> usize {
        entry::size_bytes(self.seat.directory.len(), (self.to - self.from) as usize)
    }

    /// Whether it is this journal's, and still stands.
    fn is_for(&self, journal: &Journal) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.seat.journal), journal)
            && self.seat.incarnation.load(Ordering::Acquire) == self.incarnation
    }

    /// Copies the range out of the page cache behind what the buffer holds.
    fn encode(&self, generation: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let entry = Entry {
            kind: EntryKind::Records,
            incarnation: self.incarnation,
            topic_id: self.seat.topic_id,
            base_offset: self.base_offset,
            position: self.from,
            directory: &self.seat.directory,
        };
        let start = entry.begin(buffer);
        let data_start = buffer.len();
        buffer.resize(data_start + (self.to - self.from) as usize, 0);
        if let Some(data) = buffer.get_mut(data_start..) {
            self.file.read_exact_at(data, self.from)?;
        }
        entry::seal(buffer, start, generation);
        Ok(())
    }
}

fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
