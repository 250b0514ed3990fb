//! The cleaned file takes the place of the segments it was made from. Stages, and what a start after a crash makes of
//! them:
//!
//! ```text
//! (a) <base>.log.cleaned, being written or whole     removed: the old segments are all there
//! (b) <base>.log.swap, whole and durable             goes on: old segments in its range are removed, it is renamed
//! (c) the old segments renamed to .deleted           the same
//! (d) <base>.txnindex, durable                       the same
//! (e) <base>.log                                     done
//! ```
//! The cleaned segment's indexes are made from it at the end; an index found beside a `.log.swap` is an old one. But the
//! index of aborted transactions cannot be made from it: where one of the old segments has such a file, a new one is
//! written, with entries or without, and is a durable `.swap` before the log is one. Beside a `.log.swap` alone,
//! `<base>.txnindex` is the new one.

use std::io;
use std::sync::Arc;

use moldau_model::{Offset, TimestampMs};

use crate::batch_header::{HeaderWalk, WALK_BUFFER_BYTES};
use crate::file_cache::{FileKind, Storage, segment_path};
use crate::file_system::OpenFile;
use crate::index::IndexEntry;
use crate::segment::Segment;
use crate::{AbortedTransaction, File, PartitionLog, RecoveryReport};

const CLEANED: &str = "log.cleaned";
const SWAP: &str = "log.swap";
const ABORTED_CLEANED: &str = "txnindex.cleaned";
const ABORTED_SWAP: &str = "txnindex.swap";

impl PartitionLog {
    pub(super) fn discard_cleaned(&self, base: Offset) {
        discard_cleaned(self.storage(), base);
    }

    /// Stages (b) to (e).
    pub(super) fn swap_in(&mut self, first: usize, count: usize, now: TimestampMs) -> io::Result<()> {
        let storage = Arc::clone(self.storage());
        let file_system = &storage.file_system;
        let Some(base) = self.segments().get(first).map(Segment::base_offset) else { return Ok(()) };
        let swap = segment_path(&self.directory(), base, SWAP);
        let aborted = segment_path(&self.directory(), base, ABORTED_CLEANED);
        let aborted_swap = segment_path(&self.directory(), base, ABORTED_SWAP);
        let has_aborted = file_system.file_length(&aborted)?.is_some();
        if has_aborted {
            // Whoever finds the log's `.swap` is to find this one too.
            file_system.rename(&aborted, &aborted_swap)?;
            file_system.sync_dir(&self.directory())?;
        }
        file_system.rename(&segment_path(&self.directory(), base, CLEANED), &swap)?;
        file_system.sync_dir(&self.directory())?;
        for _ in 0..count {
            if let Some(old) = self.segments_mut().remove(first) {
                self.delete_cleaned_away(&old, now)?;
            }
        }
        if has_aborted {
            let index = segment_path(&self.directory(), base, FileKind::AbortedIndex.suffix());
            file_system.rename(&aborted_swap, &index)?;
            file_system.sync_dir(&self.directory())?;
        }
        file_system.rename(&swap, &segment_path(&self.directory(), base, FileKind::Log.suffix()))?;
        file_system.sync_dir(&self.directory())?;
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
    storage.file_system.open(&segment_path(&storage.directory(), base, CLEANED), OpenFile::Truncate)
}

/// Writes the new index of aborted transactions, durably, if one of the old segments has one.
pub(super) fn write_aborted(
    storage: &Storage,
    base: Offset,
    bases: &[Offset],
    aborted: &[AbortedTransaction],
) -> io::Result<()> {
    let mut is_wanted = !aborted.is_empty();
    for old in bases {
        let path = segment_path(&storage.directory(), *old, FileKind::AbortedIndex.suffix());
        is_wanted |= storage.file_system.file_length(&path)?.is_some();
    }
    if !is_wanted {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(aborted.len() * AbortedTransaction::BYTES);
    for transaction in aborted {
        transaction.encode(base, &mut bytes);
    }
    let path = segment_path(&storage.directory(), base, ABORTED_CLEANED);
    let file = storage.file_system.open(&path, OpenFile::Truncate)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

pub(super) fn discard_cleaned(storage: &Storage, base: Offset) {
    for suffix in [CLEANED, ABORTED_CLEANED] {
        let path = segment_path(&storage.directory(), base, suffix);
        match storage.file_system.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "not removed, the next start does it");
            }
            _ => {}
        }
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
        let swap = segment_path(&storage.directory(), base, SWAP);
        let end = end_offset(storage, base)?;
        let has_aborted = names.iter().any(|name| base_of(name, ABORTED_SWAP) == Some(base));
        for name in &names {
            if !has_aborted && base_of(name, FileKind::AbortedIndex.suffix()) == Some(base) {
                // It is the new one.
                continue;
            }
            let replaced = FileKind::OF_SEGMENT.map(FileKind::suffix).iter().any(|suffix| {
                base_of(name, suffix).is_some_and(|old| old == base || (old > base && old < end))
            });
            if replaced {
                match file_system.remove_file(&storage.directory().join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        if has_aborted {
            let index = segment_path(&storage.directory(), base, FileKind::AbortedIndex.suffix());
            file_system.rename(&segment_path(&storage.directory(), base, ABORTED_SWAP), &index)?;
            file_system.sync_dir(&storage.directory())?;
        }
        file_system.rename(&swap, &segment_path(&storage.directory(), base, FileKind::Log.suffix()))?;
        report.notes.push(format!("compaction of segment {base} was interrupted and is finished"));
    }
    file_system.sync_dir(&storage.directory())?;
    Ok(file_system.read_dir(&storage.directory())?.into_iter().map(|entry| entry.name).collect())
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
    let file = storage.file_system.open(&segment_path(&storage.directory(), base, SWAP), OpenFile::Read)?;
    let mut walk = HeaderWalk::new(&*file, 0, file.length()?, WALK_BUFFER_BYTES);
    let mut end = base;
    while let Ok(Some((_, header))) = walk.next() {
        end = header.next_offset();
    }
    Ok(end)
}
