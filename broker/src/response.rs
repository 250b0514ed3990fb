//! A response on its way to the socket: size prefix, header and body as chunks, none of them copied again.

use std::sync::Arc;

use bytes::Bytes;
use std::fs::File;

/// Part of a file that goes to the socket as it is.
#[derive(Clone)]
pub struct FileRange {
    pub file: Arc<File>,
    pub position: u64,
    pub length: u64,
}

/// One piece of a response.
pub enum Chunk {
    Bytes(Bytes),
    File(FileRange),
}

/// A whole response, its four-byte size first. One vectored write sends it, unless it holds file ranges.
pub struct ResponseFrame {
    chunks: Vec<Chunk>,
}

impl ResponseFrame {
    /// A response that is already one buffer: size, header, body.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { chunks: vec![Chunk::Bytes(bytes)] }
    }

    /// The chunks in the order they are sent; the first one starts with the size.
    #[must_use]
    pub fn from_chunks(chunks: Vec<Chunk>) -> Self {
        Self { chunks }
    }

    #[must_use]
    pub fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }
}
