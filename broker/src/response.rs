//! A response on its way to the socket: size prefix, header and body as chunks, none of them copied again.

use bytes::{Bytes, BytesMut};
use moldau_kafka::ApiKey;
use moldau_log::FileSlice;

use crate::api::RequestContext;
use crate::trace::RequestTrace;

/// What stands before a response's body: size, correlation id, and where the header is flexible a byte for no tags.
const HEADER_BYTES: usize = 8;

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
    /// For how long nothing more is read from the connection once this is on its way.
    throttle_ms: i32,
    /// The request's trace, which ends when the chunks are taken.
    trace: Option<Box<RequestTrace>>,
}

impl ResponseFrame {
    /// A response that is already one buffer: size, header, body.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self::from_chunks(vec![Chunk::Bytes(bytes.into())])
    }

    /// The chunks in the order they are sent; the first one starts with the size.
    #[must_use]
    pub fn from_chunks(chunks: Vec<Chunk>) -> Self {
        Self { chunks, throttle_ms: 0, trace: None }
    }

    /// An answer that could not be made: the connection ends in its place.
    #[must_use]
    pub fn unanswerable() -> Self {
        Self::from_chunks(Vec::new())
    }

    /// For how many milliseconds the client has to wait.
    #[must_use]
    pub const fn throttle_ms(&self) -> i32 {
        self.throttle_ms
    }

    /// The same response to a request that is traced.
    #[must_use]
    pub(crate) fn traced(mut self, trace: Option<Box<RequestTrace>>) -> Self {
        self.trace = trace;
        self
    }

    /// A response that says itself how long its client has to wait.
    #[must_use]
    pub fn telling_throttle(mut self, throttle_ms: i32) -> Self {
        self.throttle_ms = throttle_ms;
        self
    }

    /// The same response, which tells the client how long it has to wait, if it has a place for that.
    #[must_use]
    pub fn throttled(mut self, context: &RequestContext, throttle_ms: i32) -> Self {
        self.throttle_ms = throttle_ms;
        let version = context.api_version;
        let Some(api_key) = ApiKey::from_code(context.api_key) else { return self };
        let Some(position) = moldau_kafka::throttle_time_position(api_key, version) else { return self };
        let begin = HEADER_BYTES + usize::from(api_key.response_header_version(version) >= 1) + position;
        if let Some(Chunk::Bytes(bytes)) = self.chunks.first_mut() {
            let mut told = BytesMut::from(std::mem::take(bytes));
            if let Some(field) = told.get_mut(begin..begin + 4) {
                field.copy_from_slice(&throttle_ms.to_be_bytes());
            }
            *bytes = told.freeze();
        }
        self
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
