//! The kernel's file system.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::{DirectoryEntry, File, FileLock, FileSystem, OpenFile, Space};

/// What a file that is to go loses at once.
const SHRINK_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// `std` and `rustix`; no state of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFileSystem;

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    sync_failure: SyncFailure,
}

/// The kernel tells of a failed write-back once for each descriptor, and the next sync says that all is well. Two threads sync
/// a file: whoever comes second has to hear of it too.
#[derive(Debug, Default)]
struct SyncFailure(Mutex<Option<i32>>);

impl SyncFailure {
    /// One after the other: of two at once the kernel could have told one and this have looked for the other before that is known.
    fn remember(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut failure = self.0.lock();
        if let Some(errno) = *failure {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let result = sync();
        *failure = result.as_ref().err().map(|error| error.raw_os_error().unwrap_or(EIO));
        result
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// The kernel drops the lock with the descriptor, also if the process is killed.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held, not read")] fs::File);

impl FileLock for RealLock {}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.file, buffers, position)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_failure.remember(|| self.file.sync_data())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<bool> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.file.set_len(length)?;
                Ok(false)
            }
            result => Ok(result.map(|()| true)?),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Gives up a large file's blocks piece by piece before it is unlinked. Given up all at once they hold up everybody's syncs: those
/// of a segment of 500 MB took 30 to 46 ms on our machines, in these steps 4 ms at most. Who still reads what is to go
/// finds the file's end.
fn shrink(path: &Path) {
    // What cannot be shrunk is unlinked as it is.
    let Ok(file) = fs::OpenOptions::new().write(true).open(path) else { return };
    let mut length = file.metadata().map_or(0, |metadata| metadata.len());
    while length > SHRINK_STEP_BYTES {
        length -= SHRINK_STEP_BYTES;
        if file.set_len(length).is_err() {
            return;
        }
    }
}

impl FileSystem for RealFileSystem {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            OpenFile::Read => &mut options,
            OpenFile::Write => options.write(true),
            OpenFile::Create => options.write(true).create(true),
            OpenFile::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile { file: options.open(path)?, sync_failure: SyncFailure::default() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        // Another file's end says something, should the process end in between.
        if path.extension().is_some_and(|extension| extension == "deleted") {
            shrink(path);
        }
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                shrink(&entry.path());
            }
        }
        fs::remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirectoryEntry { name, is_directory: entry.file_type()?.is_dir() });
            }
        }
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn sync_volume(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(fs::File::open(path)?)?)
    }

    fn file_length(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(Space {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }

    fn volume(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.dev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_gives_up_its_room_in_steps_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let length = 2 * SHRINK_STEP_BYTES + 1;
        let left_of = |path: &Path, remove: &dyn Fn()| {
            let file = fs::File::create(path).unwrap();
            file.set_len(length).unwrap();
            remove();
            assert!(!path.try_exists().unwrap());
            file.metadata().unwrap().len()
        };
        let deleted = folder.path().join("0.log.deleted");
        assert_eq!(left_of(&deleted, &|| RealFileSystem.remove_file(&deleted).unwrap()), 1);
        let segment = folder.path().join("0.log");
        assert_eq!(left_of(&segment, &|| RealFileSystem.remove_file(&segment).unwrap()), length);
        let directory = folder.path().join("t-0.0-delete");
        fs::create_dir(&directory).unwrap();
        let inside = directory.join("0.log");
        assert_eq!(left_of(&inside, &|| RealFileSystem.remove_dir_all(&directory).unwrap()), 1);
        assert!(!directory.try_exists().unwrap());
    }

    #[test]
    fn a_sync_that_failed_fails_for_whoever_comes_next_though_the_kernel_has_forgotten() {
        let failure = SyncFailure::default();
        failure.remember(|| Ok(())).unwrap();
        let no_space = rustix::io::Errno::NOSPC.raw_os_error();
        failure.remember(|| Err(io::Error::from_raw_os_error(no_space))).unwrap_err();
        let again = failure.remember(|| Ok(())).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(no_space));
    }
}
