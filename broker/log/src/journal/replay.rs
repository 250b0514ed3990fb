//! After a crash: the journal's records go to their places again, are synced there, and the journal is gone. It comes before any
//! log of the directory is opened, and may be interrupted and begun anew at any point.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use moldau_model::{Offset, TopicId};

use super::HALF_NAMES;
use super::entry::{self, Entry, EntryKind, HALF_HEADER_BYTES, PREFIX_BYTES};
use crate::file_cache::{FileKind, segment_path};
use crate::file_system::OpenFile;
use crate::{File, FileSystem, partition_metadata};

/// What a replay did, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Of partitions that are gone, or whose segment was closed: nothing is missing.
    pub(crate) passed_over: u64,
}

/// One half that has a header, oldest generation first.
struct Half {
    file: Arc<dyn File>,
    generation: u64,
}

/// The active segment of a partition that has entries.
struct Target {
    file: Arc<dyn File>,
    base_offset: Offset,
    topic_id: TopicId,
    length: u64,
    is_changed: bool,
}

/// Writes again what the journal in `directory` holds, if there is one.
pub(crate) fn replay(file_system: &dyn FileSystem, directory: &Path) -> io::Result<Option<Replayed>> {
    let Some(halves) = open_halves(file_system, directory)? else { return Ok(None) };
    let mut voids: HashMap<String, u64> = HashMap::new();
    for half in &halves {
        half.for_each(|entry, _| {
            if entry.kind == EntryKind::Void {
                let valid_from = voids.entry(entry.directory.to_owned()).or_default();
                *valid_from = entry.incarnation.max(*valid_from);
            }
            Ok(())
        })?;
    }
    let mut targets: HashMap<String, Option<Target>> = HashMap::new();
    let mut replayed = Replayed::default();
    for half in &halves {
        half.for_each(|entry, data| {
            let is_void =
                voids.get(entry.directory).is_some_and(|valid_from| entry.incarnation < *valid_from);
            if entry.kind == EntryKind::Void || is_void {
                return Ok(());
            }
            if !targets.contains_key(entry.directory) {
                let target = find_target(file_system, directory, entry.directory)?;
                targets.insert(entry.directory.to_owned(), target);
            }
            let target = targets.get_mut(entry.directory).and_then(Option::as_mut);
            match target.filter(|target| target.takes(&entry)) {
                None => replayed.passed_over += 1,
                Some(target) => {
                    target.file.write_all_at(data, entry.position)?;
                    target.length = target.length.max(entry.position + data.len() as u64);
                    target.is_changed = true;
                    replayed.entries += 1;
                    replayed.bytes += data.len() as u64;
                }
            }
            Ok(())
        })?;
    }
    for target in targets.values().flatten().filter(|target| target.is_changed) {
        target.file.sync_data()?;
    }
    drop(halves);
    remove(file_system, directory)?;
    Ok(Some(replayed))
}

/// Takes the files away, durably and the older one first: what it has may be void by a note in the newer one.
pub(crate) fn remove(file_system: &dyn FileSystem, directory: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for name in HALF_NAMES {
        match file_system.open(&directory.join(name), OpenFile::Read) {
            Ok(file) => found.push((read_generation(&*file)?, name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    for (_, name) in found {
        file_system.remove_file(&directory.join(name))?;
        file_system.sync_dir(directory)?;
    }
    Ok(())
}

/// `None` if there is no whole header: it was never synced, and so nothing behind it was.
fn read_generation(file: &dyn File) -> io::Result<Option<u64>> {
    let mut header = [0; HALF_HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(entry::read_half_header(&header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` if there are no files.
fn open_halves(file_system: &dyn FileSystem, directory: &Path) -> io::Result<Option<Vec<Half>>> {
    let mut halves = Vec::new();
    let mut is_there = false;
    for name in HALF_NAMES {
        let path = directory.join(name);
        let file = match file_system.open(&path, OpenFile::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        is_there = true;
        if let Some(generation) = read_generation(&*file)? {
            halves.push(Half { file, generation });
        }
    }
    halves.sort_by_key(|half| half.generation);
    Ok(is_there.then_some(halves))
}

impl Half {
    fn for_each(&self, mut visit: impl FnMut(Entry<'_>, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let length = self.file.length()?;
        let mut position = HALF_HEADER_BYTES as u64;
        let mut bytes = Vec::new();
        while position + PREFIX_BYTES as u64 <= length {
            let mut prefix = [0; PREFIX_BYTES];
            self.file.read_exact_at(&mut prefix, position)?;
            let Some(rest_bytes) = entry::read_prefix(&prefix) else { break };
            let end = position + (PREFIX_BYTES + rest_bytes) as u64;
            if end > length {
                break;
            }
            bytes.clear();
            bytes.extend_from_slice(&prefix);
            bytes.resize(PREFIX_BYTES + rest_bytes, 0);
            self.file.read_exact_at(&mut bytes[PREFIX_BYTES..], position + PREFIX_BYTES as u64)?;
            let Some((entry, data)) = entry::read(&bytes, self.generation) else { break };
            visit(entry, data)?;
            position = end;
        }
        Ok(())
    }
}

impl Target {
    /// Only the active segment has records that it may lack; and nothing is missing before them.
    fn takes(&self, entry: &Entry<'_>) -> bool {
        if entry.base_offset != self.base_offset || entry.topic_id != self.topic_id {
            return false;
        }
        if entry.position > self.length {
            tracing::error!(
                directory = entry.directory,
                position = entry.position,
                length = self.length,
                "the sync journal has records behind the end of their segment; they are not written"
            );
            return false;
        }
        true
    }
}

/// `None` if the partition is gone, or was never whole.
fn find_target(file_system: &dyn FileSystem, directory: &Path, name: &str) -> io::Result<Option<Target>> {
    let directory = directory.join(name);
    let entries = match file_system.read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = directory.join(partition_metadata::FILE_NAME);
    let topic_id = match file_system.read_small(&metadata, partition_metadata::FILE_BYTES_MAX) {
        Ok(bytes) => partition_metadata::decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let suffix = format!(".{}", FileKind::Log.suffix());
    let bases = entries.iter().filter_map(|entry| entry.name.strip_suffix(&suffix)?.parse::<i64>().ok());
    let (Some(topic_id), Some(base)) = (topic_id, bases.max()) else { return Ok(None) };
    let path = segment_path(&directory, Offset(base), FileKind::Log.suffix());
    let file = file_system.open(&path, OpenFile::Write)?;
    let length = file.length()?;
    Ok(Some(Target { file, base_offset: Offset(base), topic_id, length, is_changed: false }))
}
