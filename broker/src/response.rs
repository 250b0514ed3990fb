//! A response on its way to the socket: size prefix, header and body as chunks, none of them copied again.

use bytes::Bytes;
use moldau_log::FileSlice;

/// One piece of a response.
#[derive(Debug)]
pub enum Chunk {
    Bytes(Bytes),
    /// Part of a log segment, sent by the kernel.
    File(FileSlice),
}

impl Chunk {
    /// The memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(_) => 0,
        }
    }
}

/// A whole response, its four-byte size first. One vectored write sends it, unless it holds file ranges.
#[derive(Debug)]
pub struct ResponseFrame {
    /// None at all: there is no way to answer, so the connection ends.
    chunks: Vec<Chunk>,
}

impl ResponseFrame {
    /// A response that is already one buffer: size, header, body.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { chunks: vec![Chunk::Bytes(bytes.into())] }
    }

    /// The chunks in the order they are sent; the first one starts with the size.
    #[must_use]
    pub fn from_chunks(chunks: Vec<Chunk>) -> Self {
        Self { chunks }
    }

    /// An answer that could not be made: the connection ends in its place.
    #[must_use]
    pub fn unanswerable() -> Self {
        Self { chunks: Vec::new() }
    }

    /// The memory it holds: what lies in files does not count.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    /// The chunks; none for an answer that could not be made.
    #[must_use]
    pub fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }
}
