//! A disk in memory whose syncs of records can be held back, and whose power can be cut.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use moldau_log::file_system::{DirectoryEntry, FaultFileSystem, FileLock, OpenFile, Space};
use moldau_log::{File, FileSystem};

/// Clones share the one disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: FaultFileSystem,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_held: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut is_held = self.is_held.lock().unwrap();
        while *is_held {
            is_held = self.opened.wait(is_held).unwrap();
        }
    }
}

impl Disk {
    /// From now on no sync of a log segment ends before [`Disk::release_syncs`].
    pub(crate) fn hold_syncs(&self) {
        *self.gate.is_held.lock().unwrap() = true;
    }

    pub(crate) fn release_syncs(&self) {
        *self.gate.is_held.lock().unwrap() = false;
        self.gate.opened.notify_all();
    }

    /// All bytes of a partition's segments, in their order.
    pub(crate) fn log_bytes(&self, directory: &Path) -> Vec<u8> {
        let Ok(entries) = self.files.read_dir(directory) else { return Vec::new() };
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.retain(|name| name.ends_with(".log"));
        names.sort();
        names.iter().flat_map(|name| self.files.bytes(&directory.join(name)).unwrap()).collect()
    }
}

#[derive(Debug)]
struct Gated {
    file: Arc<dyn File>,
    gate: Option<Arc<Gate>>,
}

impl File for Gated {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.file.write_vectored_at(buffers, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.file.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_fd()
    }
}

impl FileSystem for Disk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        // A log's segments, and the journal by which they become durable.
        let is_segment = path.extension().is_some_and(|extension| extension == "log");
        let is_journal =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("moldau-journal"));
        let gate = (is_segment || is_journal).then(|| Arc::clone(&self.gate));
        Ok(Arc::new(Gated { file: self.files.open(path, how)?, gate }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.files.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.files.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.files.sync_dir(path)
    }

    fn sync_volume(&self, path: &Path) -> io::Result<()> {
        self.files.sync_volume(path)
    }

    fn file_length(&self, path: &Path) -> io::Result<Option<u64>> {
        self.files.file_length(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        self.files.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.files.space(path)
    }

    fn volume(&self, path: &Path) -> io::Result<u64> {
        self.files.volume(path)
    }
}
