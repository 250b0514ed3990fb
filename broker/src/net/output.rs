//! Responses on their way out: chunks of memory by one vectored write, ranges of files by sendfile.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Buf;
use moldau_log::FileSlice;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::transport::{TlsTransport, Transport};
use crate::response::{Chunk, ResponseFrame};

/// Slices given to one vectored write.
const SLICES_MAX: usize = 64;
/// What one sendfile call may move, so that one connection does not hold its worker for long.
const SENDFILE_BYTES_MAX: usize = 1024 * 1024;
/// Pieces in which a file that is not the kernel's is read.
const READ_BYTES_MAX: usize = 64 * 1024;
/// With this many chunks to send, no further request is served: each may keep a file open.
const CHUNKS_MAX: usize = 1024;

pub(super) struct Output {
    chunks: VecDeque<Chunk>,
}

impl Default for Output {
    /// Room for one: most answers are of one chunk.
    fn default() -> Self {
        Self { chunks: VecDeque::with_capacity(1) }
    }
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The memory that what is still to be sent holds.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::memory_bytes).sum()
    }

    pub(super) fn has_many_chunks(&self) -> bool {
        self.chunks.len() >= CHUNKS_MAX
    }

    /// Queues a response; `false` if it is none, and the connection has to end.
    pub(super) fn push(&mut self, frame: ResponseFrame) -> bool {
        let chunks = frame.into_chunks();
        let is_response = !chunks.is_empty();
        self.chunks.extend(chunks);
        is_response
    }

    /// Writes what the socket takes now; whether it took anything. Whether anything is left shows [`Output::is_empty`].
    pub(super) fn write(&mut self, transport: &Transport) -> io::Result<bool> {
        let stream = match transport {
            Transport::Plain(stream) => stream,
            Transport::Tls(tls) => return self.write_encrypted(tls),
        };
        let mut has_written = false;
        while let Some(first) = self.chunks.front_mut() {
            let written = match first {
                Chunk::Bytes(bytes) if bytes.is_empty() => {
                    self.chunks.pop_front();
                    continue;
                }
                Chunk::File(slice) if slice.length == 0 => {
                    self.chunks.pop_front();
                    continue;
                }
                Chunk::File(slice) => send_file(stream, slice),
                Chunk::Bytes(_) => self.write_bytes(stream),
            };
            match written {
                Ok(()) => has_written = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(has_written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(has_written)
    }

    /// The same where the kernel cannot send files, for it does not encrypt.
    fn write_encrypted(&mut self, tls: &TlsTransport) -> io::Result<bool> {
        let mut has_written = false;
        loop {
            match tls.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(has_written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            match self.chunks.front_mut() {
                None => return Ok(has_written),
                Some(Chunk::Bytes(bytes)) => {
                    let taken = tls.encrypt(bytes)?;
                    bytes.advance(taken);
                    if bytes.is_empty() {
                        self.chunks.pop_front();
                    }
                }
                Some(Chunk::File(slice)) if slice.length == 0 => drop(self.chunks.pop_front()),
                Some(Chunk::File(slice)) => {
                    let mut buffer = vec![0; slice.length.min(READ_BYTES_MAX)];
                    let read = slice.file.read_at(&mut buffer, slice.position)?;
                    let taken = tls.encrypt(buffer.get(..read).unwrap_or_default())?;
                    note_sent(slice, taken)?;
                }
            }
            has_written = true;
        }
    }

    fn write_bytes(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        let mut file_follows = false;
        for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
            match chunk {
                Chunk::Bytes(bytes) => *slot = IoSlice::new(bytes),
                Chunk::File(_) => {
                    file_follows = true;
                    break;
                }
            }
            count += 1;
        }
        let written = match (&slices[..count], file_follows) {
            // The bytes before a file's range travel in one segment with it.
            ([only], true) => stream.try_io(Interest::WRITABLE, || {
                Ok(rustix::net::send(stream, only, SendFlags::MORE | SendFlags::NOSIGNAL)?)
            })?,
            (slices, _) => stream.try_write_vectored(slices)?,
        };
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(Chunk::Bytes(bytes)) = self.chunks.front_mut() else { return };
            if written < bytes.len() {
                bytes.advance(written);
                return;
            }
            written -= bytes.len();
            self.chunks.pop_front();
        }
    }
}

fn send_file(stream: &TcpStream, slice: &mut FileSlice) -> io::Result<()> {
    let sent = match slice.file.as_fd() {
        Some(file) => stream.try_io(Interest::WRITABLE, || {
            let mut position = slice.position;
            let count = slice.length.min(SENDFILE_BYTES_MAX);
            Ok(rustix::fs::sendfile(stream, file, Some(&mut position), count)?)
        })?,
        None => {
            let mut buffer = vec![0; slice.length.min(READ_BYTES_MAX)];
            let read = slice.file.read_at(&mut buffer, slice.position)?;
            stream.try_write(buffer.get(..read).unwrap_or_default())?
        }
    };
    note_sent(slice, sent)
}

fn note_sent(slice: &mut FileSlice, sent: usize) -> io::Result<()> {
    if sent == 0 {
        // The response's size is on its way already: only closing the connection tells the client.
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "a log segment became shorter while it was sent",
        ));
    }
    slice.position += sent as u64;
    slice.length -= sent;
    Ok(())
}
