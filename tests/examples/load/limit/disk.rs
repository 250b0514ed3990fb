//! The files that frames go to, and what a sync of them takes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::{PIECE, Probe};
use crate::Result;

const SYNCS: usize = 200;
const FILES: usize = 1000;
const TOUCHED_MORE_MB: usize = 256;

/// Where frames go.
pub(super) struct Disk {
    pub(super) files: Vec<File>,
    journal: Option<File>,
    /// Of transactions' steps, where the load has any.
    pub(super) transactions: Option<File>,
    /// To the first file.
    pub(super) written_bytes: usize,
}

impl Disk {
    /// Empty files, and memory for what will be in them that was touched just before, as it is before each load of a broker.
    pub(super) fn create(probe: &Probe<'_>, has_journal: bool) -> Result<Self> {
        Self::remove(probe)?;
        touch_memory(probe.directory, probe.total_mb)?;
        let open = |name: &str| open(probe.directory, name);
        let files =
            (0..probe.files).map(|n| open(&format!("limit-{n}.log"))).collect::<std::io::Result<_>>()?;
        let journal = if has_journal { Some(open("limit-journal")?) } else { None };
        let transactions = if probe.is_transactional { Some(open("limit-transactions")?) } else { None };
        Ok(Self { files, journal, transactions, written_bytes: 0 })
    }

    pub(super) fn remove(probe: &Probe<'_>) -> Result<()> {
        let files = (0..probe.files).map(|n| format!("limit-{n}.log"));
        for name in files.chain(["limit-journal".to_owned(), "limit-transactions".to_owned()]) {
            match std::fs::remove_file(probe.directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.write_all(bytes)?;
        }
        let piece_bytes = bytes.len().div_ceil(self.files.len());
        self.written_bytes += piece_bytes;
        for (piece, file) in bytes.chunks(piece_bytes).zip(&mut self.files) {
            std::hint::black_box(crc32c::crc32c(piece));
            file.write_all(piece)?;
        }
        Ok(())
    }

    /// A journal is no place to stay, for its room is needed again: what has been answered for by its syncs alone is synced where it
    /// belongs, once for all of it.
    pub(super) fn settle(&self) -> std::io::Result<()> {
        if self.journal.is_some() { sync_all(&self.files) } else { Ok(()) }
    }

    /// What has to be synced before an answer.
    pub(super) fn to_sync(&self) -> std::io::Result<Vec<File>> {
        match &self.journal {
            Some(journal) => Ok(vec![journal.try_clone()?]),
            None => self.files.iter().map(File::try_clone).collect(),
        }
    }
}

/// An empty file.
pub(super) fn open(directory: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).open(directory.join(name))
}

/// A virtual machine's memory is the host's until it is touched: see `touch_memory` of tests/bench/systems.py, which does the same
/// before a broker's load.
pub(super) fn touch_memory(directory: &Path, megabytes: usize) -> Result<()> {
    let path = directory.join("limit-touched");
    let mut file = File::create(&path)?;
    let piece = vec![1; PIECE];
    for _ in 0..megabytes + TOUCHED_MORE_MB {
        file.write_all(&piece)?;
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(())
}

pub(super) fn sync_all(files: &[File]) -> std::io::Result<()> {
    files.iter().try_for_each(File::sync_data)
}

/// Milliseconds of a sync after a small append: the median, and the one in a hundred.
pub(super) fn syncs(file: &mut File) -> Result<(f64, f64)> {
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[7; 4096])?;
        let started = Instant::now();
        file.sync_data()?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

/// Milliseconds until a thousand files, each with a little more in it, are all durable: a round of as many partitions.
pub(super) fn dirty_files(directory: &Path) -> Result<f64> {
    let path = |number: usize| directory.join(format!("limit-{number}"));
    let mut files =
        (0..FILES).map(|number| File::create(path(number))).collect::<std::io::Result<Vec<_>>>()?;
    let mut best = f64::MAX;
    for _ in 0..3 {
        for file in &mut files {
            file.write_all(&[7; 1024])?;
        }
        let started = Instant::now();
        for file in &files {
            file.sync_data()?;
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e3);
    }
    for number in 0..FILES {
        std::fs::remove_file(path(number))?;
    }
    Ok(best)
}
