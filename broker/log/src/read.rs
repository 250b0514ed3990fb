//! What a read gives: a place in a file, to be read or sent after the partition's lock is gone.

use std::io;
use std::sync::Arc;

use moldau_model::Offset;

use crate::File;

/// `length` bytes of `file` from `position` on. The file stays open for as long as the slice lives, and readable also
/// after its segment was deleted.
#[derive(Clone, Debug)]
pub struct FileSlice {
    pub file: Arc<dyn File>,
    pub position: u64,
    pub length: usize,
}

impl FileSlice {
    /// Copies the slice's bytes out.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}

/// The answer to one read.
#[derive(Clone, Debug)]
pub struct LogRead {
    /// Batches in order. The first may begin before the offset asked for, the last may be cut by the byte limit where
    /// finding its start would have cost a read. `None` where there is nothing below the upper bound.
    pub slice: Option<FileSlice>,
    pub log_start_offset: Offset,
    pub log_end_offset: Offset,
}

impl LogRead {
    /// How many bytes the slice holds.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.slice.as_ref().map_or(0, |slice| slice.length)
    }
}
