//! The cleaned file takes the place of the segments it was made from. Stages, and what a start after a crash makes of
//! them:
//!
//! ```text
//! (a) <base>.log.cleaned, being written or whole     removed: the old segments are all there
//! (b) <base>.log.swap, whole and durable             goes on: old segments in its range are removed, it is renamed
//! (c) the old segments renamed to .deleted           the same
//! (d) <base>.log                                     done
//! ```
//! The cleaned segment's indexes are made from it at the end; an index found beside a `.swap` is an old one.

use std::io;
use std::sync::Arc;

use moldau_model::{Offset, TimestampMs};

use crate::batch_header::{HeaderWalk, WALK_BUFFER_BYTES};
use crate::file_cache::{FileKind, Storage, segment_path};
use crate::file_system::OpenFile;
use crate::segment::Segment;
use crate::{File, PartitionLog, RecoveryReport};

const CLEANED: &str = "log.cleaned";
const SWAP: &str = "log.swap";

impl PartitionLog {
    pub(super) fn discard_cleaned(&self, base: Offset) {
        discard_cleaned(self.storage(), base);
    }

    /// Stages (b) to (d).
    pub(super) fn swap_in(&mut self, first: usize, count: usize, now: TimestampMs) -> io::Result<()> {
        let storage = Arc::clone(self.storage());
        let file_system = &storage.file_system;
        let Some(base) = self.segments().get(first).map(Segment::base_offset) else { return Ok(()) };
        let swap = segment_path(self.directory(), base, SWAP);
        file_system.rename(&segment_path(self.directory(), base, CLEANED), &swap)?;
        file_system.sync_dir(self.directory())?;
        for _ in 0..count {
            if let Some(old) = self.segments_mut().remove(first) {
                self.delete_cleaned_away(&old, now)?;
            }
        }
        file_system.rename(&swap, &segment_path(self.directory(), base, FileKind::Log.suffix()))?;
        file_system.sync_dir(self.directory())?;
        let mut cleaned = Segment::load(&storage, base, self.config(), now)?.segment;
        for file in cleaned.finish_indexes()? {
            // Below the recovery point nothing is scanned: a torn index would be believed.
            file.sync_data()?;
        }
        self.segments_mut().insert(first, cleaned);
        Ok(())
    }
}

pub(super) fn create_cleaned(storage: &Storage, base: Offset) -> io::Result<Arc<dyn File>> {
    storage.file_system.open(&segment_path(&storage.directory, base, CLEANED), OpenFile::Truncate)
}

pub(super) fn discard_cleaned(storage: &Storage, base: Offset) {
    let path = segment_path(&storage.directory, base, CLEANED);
    if let Err(error) = storage.file_system.remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "not removed, the next start does it");
    }
}

/// Ends what a crash interrupted. Takes and returns the names in the directory.
pub(crate) fn finish_swaps(
    storage: &Storage,
    names: Vec<String>,
    report: &mut RecoveryReport,
) -> io::Result<Vec<String>> {
    let bases: Vec<Offset> = names.iter().filter_map(|name| base_of(name, SWAP)).collect();
    if bases.is_empty() {
        return Ok(names);
    }
    let file_system = &storage.file_system;
    for base in bases {
        let swap = segment_path(&storage.directory, base, SWAP);
        let end = end_offset(storage, base)?;
        for name in &names {
            let replaced = ["log", "index", "timeindex"].iter().any(|suffix| {
                base_of(name, suffix).is_some_and(|old| old == base || (old > base && old < end))
            });
            if replaced {
                match file_system.remove_file(&storage.directory.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        file_system.rename(&swap, &segment_path(&storage.directory, base, FileKind::Log.suffix()))?;
        report.notes.push(format!("compaction of segment {base} was interrupted and is finished"));
    }
    file_system.sync_dir(&storage.directory)?;
    Ok(file_system.read_dir(&storage.directory)?.into_iter().map(|entry| entry.name).collect())
}

fn base_of(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    if digits.len() != 20 {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// Behind the last batch of a `.swap`. A later segment that began below it was made into it.
fn end_offset(storage: &Storage, base: Offset) -> io::Result<Offset> {
    let file = storage.file_system.open(&segment_path(&storage.directory, base, SWAP), OpenFile::Read)?;
    let mut walk = HeaderWalk::new(&*file, 0, file.length()?, WALK_BUFFER_BYTES);
    let mut end = base;
    while let Ok(Some((_, header))) = walk.next() {
        end = header.next_offset();
    }
    Ok(end)
}
