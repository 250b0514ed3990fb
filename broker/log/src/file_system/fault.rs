//! A file system in memory whose power can be cut: what was not synced is then lost, whole or in part.
//!
//! Model. A file has live and durable bytes and, between the two, the operations since its last sync; a directory
//! likewise with names. A power cut keeps, of a file, an arbitrary part of those operations (writeback has no order), and,
//! of a directory, the first so many (a journal has). A failed sync loses them for good though they stay readable, as on
//! Linux, where the pages are clean afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{DirectoryEntry, File, FileLock, FileSystem, OpenFile, Space};

/// What may be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Create,
    Write,
    SetLength,
    SyncData,
    SyncDirectory,
    Rename,
    Remove,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `EIO`: the device's own failure.
    Io,
    /// `ENOSPC`: the volume is full. A write stores half of what it was given first.
    NoSpace,
    /// A write stores at most this many bytes and reports them.
    ShortWrite(usize),
}

#[derive(Debug)]
struct Fault {
    operation: Operation,
    /// How many operations of the kind pass before it strikes.
    passes: u64,
    for_ever: bool,
    kind: FaultKind,
}

#[derive(Debug, Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    SetLength(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct FileNode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Default)]
struct DirectoryNode {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

#[derive(Debug)]
enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

const ROOT: u64 = 0;
const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
struct State {
    nodes: HashMap<u64, Node>,
    node_next: u64,
    locks: HashSet<PathBuf>,
    /// Handles from before a power cut are dead.
    generation: u64,
    faults: Vec<Fault>,
    mutations: u64,
    power_off_at: Option<u64>,
    counts: HashMap<Operation, u64>,
    space: Space,
    space_questions: u64,
    /// All files together may have so many bytes, if any bound is set.
    capacity: Option<u64>,
    /// Directories with a volume of their own, and its number. All else is on volume 0.
    volumes: Vec<(PathBuf, u64)>,
}

/// Clones share the one tree.
#[derive(Clone, Debug)]
pub struct FaultFileSystem {
    state: Arc<Mutex<State>>,
}

impl Default for FaultFileSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultFileSystem {
    #[must_use]
    pub fn new() -> Self {
        let nodes = HashMap::from([(ROOT, Node::Directory(DirectoryNode::default()))]);
        let state = State {
            nodes,
            node_next: 1,
            locks: HashSet::new(),
            generation: 0,
            faults: Vec::new(),
            mutations: 0,
            power_off_at: None,
            counts: HashMap::new(),
            space: Space { total_bytes: 1 << 40, usable_bytes: 1 << 39 },
            space_questions: 0,
            capacity: None,
            volumes: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets `passes` more operations of the kind succeed and then one fail.
    pub fn fail_once(&self, operation: Operation, passes: u64, kind: FaultKind) {
        self.state.lock().faults.push(Fault { operation, passes, for_ever: false, kind });
    }

    /// Lets every operation of the kind fail until [`FaultFileSystem::clear_faults`].
    pub fn fail_always(&self, operation: Operation, kind: FaultKind) {
        self.state.lock().faults.push(Fault { operation, passes: 0, for_ever: true, kind });
    }

    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// What the volume says of itself from now on, whatever is written to it.
    pub fn set_space(&self, space: Space) {
        self.state.lock().space = space;
    }

    /// From now on the files have so much room in all: writes beyond are refused (`ENOSPC`), and what is left is told.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = Some(bytes);
    }

    /// How often somebody asked for the room that is left.
    #[must_use]
    pub fn space_questions(&self) -> u64 {
        self.state.lock().space_questions
    }

    /// Gives a directory a volume of its own, as far as [`FileSystem::volume`] tells.
    pub fn set_volume(&self, directory: &Path, volume: u64) {
        self.state.lock().volumes.push((directory.to_owned(), volume));
    }

    /// How many changing operations were done so far: the crash points of a workload.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.state.lock().mutations
    }

    /// How often an operation was tried.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.state.lock().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Fails everything once `mutations` changing operations were done, until the power cut itself.
    pub fn power_off_at(&self, mutations: u64) {
        self.state.lock().power_off_at = Some(mutations);
    }

    /// Takes the power away and gives it back. The seed decides what of the unsynced survives.
    pub fn power_cut(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let mut state = self.state.lock();
        state.generation += 1;
        state.faults.clear();
        state.power_off_at = None;
        state.locks.clear();
        let mut ids: Vec<u64> = state.nodes.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            match state.nodes.get_mut(&id) {
                Some(Node::File(file)) => file.lose_power(&mut random),
                Some(Node::Directory(directory)) => directory.lose_power(&mut random),
                None => {}
            }
        }
    }

    /// Kills the process: everything written stays, handles and locks are gone.
    pub fn kill_process(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.faults.clear();
        state.power_off_at = None;
        state.locks.clear();
    }

    /// The live bytes of a file.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        let id = state.find(path)?;
        Ok(state.file(id)?.live.clone())
    }

    /// Replaces a file's bytes, live and durable: damage done while nobody looks.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = match state.find(path) {
            Ok(id) => id,
            Err(_) => state.create(path, Node::File(FileNode::default()))?,
        };
        let file = state.file(id)?;
        *file = FileNode { live: bytes.clone(), durable: bytes, pending: Vec::new() };
        Ok(())
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Some(Node::Directory(directory)) = self.nodes.get(&at) else {
                return Err(Errno::NOTDIR.into());
            };
            let name = name.to_string_lossy();
            at = *directory.live.get(name.as_ref()).ok_or(io::Error::from(Errno::NOENT))?;
        }
        Ok(at)
    }

    fn parent(&mut self, path: &Path) -> io::Result<(&mut DirectoryNode, String)> {
        let name = path.file_name().ok_or(io::Error::from(Errno::INVAL))?.to_string_lossy().into_owned();
        let id = self.find(path.parent().unwrap_or(Path::new("/")))?;
        match self.nodes.get_mut(&id) {
            Some(Node::Directory(directory)) => Ok((directory, name)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn file(&mut self, id: u64) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Errno::ISDIR.into()),
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<u64> {
        let id = self.node_next;
        let (directory, name) = self.parent(path)?;
        directory.live.insert(name.clone(), id);
        directory.pending.push(NameChange::Link(name, id));
        self.node_next += 1;
        self.nodes.insert(id, node);
        Ok(id)
    }

    /// Counts the operation and says what is to go wrong with it.
    fn strike(&mut self, operation: Operation) -> io::Result<Option<FaultKind>> {
        *self.counts.entry(operation).or_default() += 1;
        if self.power_off_at.is_some_and(|at| self.mutations >= at) {
            return Err(Errno::IO.into());
        }
        self.mutations += 1;
        let mut struck = None;
        self.faults.retain_mut(|fault| {
            if struck.is_some() || fault.operation != operation {
                return true;
            }
            if fault.passes > 0 {
                fault.passes -= 1;
                return true;
            }
            struck = Some(fault.kind);
            fault.for_ever
        });
        Ok(struck)
    }

    /// Of the files that have a name.
    fn live_bytes(&self) -> u64 {
        let mut bytes = 0;
        let mut left = vec![ROOT];
        while let Some(id) = left.pop() {
            match self.nodes.get(&id) {
                Some(Node::File(file)) => bytes += file.live.len() as u64,
                Some(Node::Directory(directory)) => left.extend(directory.live.values()),
                None => {}
            }
        }
        bytes
    }

    /// What the capacity leaves.
    fn room(&self) -> Option<u64> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.live_bytes()))
    }

    fn strike_whole(&mut self, operation: Operation) -> io::Result<()> {
        whole(self.strike(operation)?)
    }
}

/// What becomes of an operation that is done or is not.
fn whole(fault: Option<FaultKind>) -> io::Result<()> {
    match fault {
        None | Some(FaultKind::ShortWrite(_)) => Ok(()),
        Some(FaultKind::Io) => Err(Errno::IO.into()),
        Some(FaultKind::NoSpace) => Err(Errno::NOSPC.into()),
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { position, bytes: written } => {
            let end = position + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*position..end].copy_from_slice(written);
        }
        Change::SetLength(length) => bytes.resize(*length, 0),
    }
}

impl FileNode {
    fn lose_power(&mut self, random: &mut SplitMix) {
        for change in std::mem::take(&mut self.pending) {
            match (random.below(5), &change) {
                (0 | 1, _) => apply(&mut self.durable, &change),
                (2, Change::Write { position, bytes }) => {
                    let torn = random.below(bytes.len() as u64 + 1) as usize;
                    apply(
                        &mut self.durable,
                        &Change::Write { position: *position, bytes: bytes[..torn].to_vec() },
                    );
                }
                (3, Change::Write { position, bytes }) => {
                    // The length reached the journal, some sectors did not reach the disk: they read as zeros.
                    let mut bytes = bytes.clone();
                    for sector in bytes.chunks_mut(SECTOR_BYTES) {
                        if random.below(2) == 0 {
                            sector.fill(0);
                        }
                    }
                    apply(&mut self.durable, &Change::Write { position: *position, bytes });
                }
                _ => {}
            }
        }
        self.live = self.durable.clone();
    }
}

impl DirectoryNode {
    fn lose_power(&mut self, random: &mut SplitMix) {
        let kept = random.below(self.pending.len() as u64 + 1) as usize;
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            change_name(&mut self.durable, change);
        }
        self.live = self.durable.clone();
    }
}

fn change_name(names: &mut BTreeMap<String, u64>, change: NameChange) {
    match change {
        NameChange::Link(name, id) => {
            names.insert(name, id);
        }
        NameChange::Unlink(name) => {
            names.remove(&name);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
    }
}

#[derive(Debug)]
struct FaultFile {
    state: Arc<Mutex<State>>,
    id: u64,
    generation: u64,
}

impl FaultFile {
    fn with<T>(&self, body: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.generation != self.generation {
            return Err(Errno::IO.into());
        }
        body(&mut state)
    }
}

impl File for FaultFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state| {
            let bytes = &state.file(self.id)?.live;
            let from = bytes.get((position as usize).min(bytes.len())..).unwrap_or_default();
            let length = from.len().min(buffer.len());
            buffer[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        self.with(|state| {
            let end = position + bytes.len() as u64;
            let grown = end.saturating_sub(state.file(self.id)?.live.len() as u64);
            let is_out_of_room = state.room().is_some_and(|room| grown > room);
            let fault = state.strike(Operation::Write)?.or(is_out_of_room.then_some(FaultKind::NoSpace));
            match fault {
                Some(FaultKind::Io) => return Err(Errno::IO.into()),
                Some(FaultKind::NoSpace) => bytes.truncate(bytes.len() / 2),
                Some(FaultKind::ShortWrite(length)) => bytes.truncate(length),
                None => {}
            }
            let written = bytes.len();
            let file = state.file(self.id)?;
            let change = Change::Write { position: position as usize, bytes };
            apply(&mut file.live, &change);
            file.pending.push(change);
            if fault == Some(FaultKind::NoSpace) { Err(Errno::NOSPC.into()) } else { Ok(written) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            // Without power nothing happens; only a sync that was tried and failed loses what it was to keep.
            let result = whole(state.strike(Operation::SyncData)?);
            let file = state.file(self.id)?;
            if result.is_ok() {
                for change in std::mem::take(&mut file.pending) {
                    apply(&mut file.durable, &change);
                }
            } else {
                file.pending.clear();
            }
            result
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(|state| {
            state.strike_whole(Operation::SetLength)?;
            let file = state.file(self.id)?;
            let change = Change::SetLength(length as usize);
            apply(&mut file.live, &change);
            file.pending.push(change);
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        self.with(|state| {
            let grown = length.saturating_sub(state.file(self.id)?.live.len() as u64);
            if state.room().is_some_and(|room| grown > room) { Err(Errno::NOSPC.into()) } else { Ok(()) }
        })?;
        self.set_len(length)?;
        Ok(true)
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.file(self.id)?.live.len() as u64))
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[derive(Debug)]
struct FaultLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    generation: u64,
}

impl FileLock for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.generation == self.generation {
            state.locks.remove(&self.path);
        }
    }
}

impl FileSystem for FaultFileSystem {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let id = match (state.find(path), how) {
            (Ok(id), _) => id,
            (Err(error), OpenFile::Read | OpenFile::Write) => return Err(error),
            (Err(_), OpenFile::Create | OpenFile::Truncate) => {
                state.strike_whole(Operation::Create)?;
                state.create(path, Node::File(FileNode::default()))?
            }
        };
        let file = state.file(id)?;
        if how == OpenFile::Truncate && !file.live.is_empty() {
            let change = Change::SetLength(0);
            apply(&mut file.live, &change);
            file.pending.push(change);
        }
        let generation = state.generation;
        Ok(Arc::new(FaultFile { state: Arc::clone(&self.state), id, generation }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(Errno::XDEV.into());
        }
        let mut state = self.state.lock();
        state.strike_whole(Operation::Rename)?;
        let (_, to) = state.parent(to)?;
        let (directory, from) = state.parent(from)?;
        let id = directory.live.remove(&from).ok_or(io::Error::from(Errno::NOENT))?;
        directory.live.insert(to.clone(), id);
        directory.pending.push(NameChange::Rename(from, to));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.strike_whole(Operation::Remove)?;
        let (directory, name) = state.parent(path)?;
        directory.live.remove(&name).ok_or(io::Error::from(Errno::NOENT))?;
        directory.pending.push(NameChange::Unlink(name));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut at = PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            at.push(name);
            if state.find(&at).is_err() {
                state.strike_whole(Operation::Create)?;
                state.create(&at, Node::Directory(DirectoryNode::default()))?;
            }
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state.lock();
        let id = state.find(path)?;
        let Some(Node::Directory(directory)) = state.nodes.get(&id) else {
            return Err(Errno::NOTDIR.into());
        };
        let is_directory = |id| matches!(state.nodes.get(id), Some(Node::Directory(_)));
        Ok(directory
            .live
            .iter()
            .map(|(name, id)| DirectoryEntry { name: name.clone(), is_directory: is_directory(id) })
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let result = whole(state.strike(Operation::SyncDirectory)?);
        let id = state.find(path)?;
        let Some(Node::Directory(directory)) = state.nodes.get_mut(&id) else {
            return Err(Errno::NOTDIR.into());
        };
        let pending = std::mem::take(&mut directory.pending);
        if result.is_ok() {
            for change in pending {
                change_name(&mut directory.durable, change);
            }
        }
        result
    }

    fn sync_volume(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.strike_whole(Operation::SyncData)?;
        for node in state.nodes.values_mut() {
            match node {
                Node::File(file) => {
                    file.pending.clear();
                    file.durable.clone_from(&file.live);
                }
                Node::Directory(directory) => {
                    directory.pending.clear();
                    directory.durable.clone_from(&directory.live);
                }
            }
        }
        Ok(())
    }

    fn file_length(&self, path: &Path) -> io::Result<Option<u64>> {
        let mut state = self.state.lock();
        match state.find(path) {
            Ok(id) => Ok(Some(state.file(id)?.live.len() as u64)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let mut state = self.state.lock();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let generation = state.generation;
        Ok(Box::new(FaultLock { state: Arc::clone(&self.state), path: path.to_owned(), generation }))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let mut state = self.state.lock();
        state.space_questions += 1;
        Ok(match (state.capacity, state.room()) {
            (Some(total_bytes), Some(usable_bytes)) => Space { total_bytes, usable_bytes },
            _ => state.space,
        })
    }

    fn volume(&self, path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        let own = state.volumes.iter().rev().find(|(directory, _)| path.starts_with(directory));
        Ok(own.map_or(0, |(_, volume)| *volume))
    }
}

/// A small generator whose whole state is its seed.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
