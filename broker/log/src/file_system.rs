//! The only door to the disk. What a trait's method promises is what the power cut in the tests takes back.
//!
//! Two things survive a loss of power: bytes of a file after its [`File::sync_data`], and a name in a directory after
//! [`FileSystem::sync_dir`] of that directory. Everything else may be there, be gone, or be there in part.

#[cfg(any(test, feature = "test-support"))]
mod fault;
mod real;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

#[cfg(any(test, feature = "test-support"))]
pub use fault::{FaultFileSystem, FaultKind, Operation};
pub use real::RealFileSystem;

/// An open file. All positions are absolute, so one handle serves any number of readers.
pub trait File: Send + Sync + Debug {
    /// Reads at most `buffer.len()` bytes; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes the buffers one behind the other in one system call; may write less than all.
    fn write_vectored_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<usize>;

    /// Returns once the file's bytes and its length are on stable storage. Never to be repeated after it failed.
    fn sync_data(&self) -> io::Result<()>;

    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes the file so long and has the disk set aside what it will take; whether it can do that.
    fn allocate(&self, length: u64) -> io::Result<bool> {
        self.set_len(length)?;
        Ok(false)
    }

    fn length(&self) -> io::Result<u64>;

    /// The descriptor, for sendfile; `None` where the file is not the kernel's.
    fn as_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Fills the buffer or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut position: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of the buffer. After an error any prefix of it may have been written.
    fn write_all_at(&self, mut buffer: &[u8], mut position: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.write_vectored_at(&[IoSlice::new(buffer)], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    buffer = buffer.get(written..).unwrap_or_default();
                    position += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How [`FileSystem::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFile {
    /// For reading; the file is there.
    Read,
    /// For reading and writing; the file is there.
    Write,
    /// For reading and writing; made if it is not there.
    Create,
    /// For reading and writing; empty, whatever was there before.
    Truncate,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: String,
    pub is_directory: bool,
}

/// The bytes of the volume that holds a directory (KIP-827).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub usable_bytes: u64,
}

/// Held for as long as this process owns the locked file.
pub trait FileLock: Send + Sync + Debug {}

/// A tree of files.
pub trait FileSystem: Send + Sync + Debug {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Arc<dyn File>>;

    /// Replaces `to` at once, so that `to` is at any time either file. Both lie in one directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order. Names that are not UTF-8 are none of ours and are left out.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// Returns once the directory's names are on stable storage.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns once everything written so far to the volume that holds `path` is on stable storage, names included.
    fn sync_volume(&self, path: &Path) -> io::Result<()>;

    /// The file's length, or `None` if there is no such file.
    fn file_length(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Takes the lock of a file, which is made if need be; `WouldBlock` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FileLock>>;

    fn space(&self, path: &Path) -> io::Result<Space>;

    /// A number that paths on one volume have in common, and those on different ones have not.
    fn volume(&self, path: &Path) -> io::Result<u64>;

    /// The whole of a small file.
    fn read_small(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenFile::Read)?;
        let length = file.length()?;
        if length > bytes_max as u64 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is larger than expected"));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Gives `path` new content such that a loss of power leaves the old or the new: write beside it, sync, rename,
    /// sync the directory.
    fn replace_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = Path::new(&beside);
        let file = self.open(beside, OpenFile::Truncate)?;
        file.write_all_at(content, 0)?;
        file.sync_data()?;
        self.rename(beside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}
