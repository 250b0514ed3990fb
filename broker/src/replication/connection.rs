//! A follower's connection to a leader's inter-broker listener: frames out, frames in.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use moldau_kafka::{SIZE_PREFIX_BYTES, frame_size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::inbox::Endpoint;

/// A peer that is there accepts within this time; one that is not is tried again.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Requests are small: a peer that takes none of one for so long is stuck.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// What is asked of the socket at once where nothing is known of the frame yet.
const READ_BYTES: usize = 64 * 1024;

pub(crate) struct LeaderConnection {
    stream: TcpStream,
    received: BytesMut,
    frame_bytes_max: usize,
}

impl LeaderConnection {
    /// Connects. A frame of the leader's larger than `frame_bytes_max` ends the connection.
    pub(crate) async fn open(endpoint: &Endpoint, frame_bytes_max: usize) -> io::Result<Self> {
        let connect = TcpStream::connect((&*endpoint.host, endpoint.port));
        let stream = tokio::time::timeout(CONNECT_LIMIT, connect).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: BytesMut::new(), frame_bytes_max })
    }

    /// The same socket, to look whether it is open.
    pub(crate) fn watched(&self) -> io::Result<std::net::TcpStream> {
        Ok(self.stream.as_fd().try_clone_to_owned()?.into())
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        tokio::time::timeout(SEND_LIMIT, self.stream.write_all(frame)).await?
    }

    /// The next frame without its size. May be dropped and called again: what has arrived is kept.
    pub(crate) async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            let missing = match self.received.first_chunk::<SIZE_PREFIX_BYTES>() {
                None => READ_BYTES,
                Some(prefix) => {
                    let size = frame_size(*prefix, self.frame_bytes_max).map_err(io::Error::other)?;
                    if let Some(missing) = (SIZE_PREFIX_BYTES + size).checked_sub(self.received.len())
                        && missing > 0
                    {
                        missing
                    } else {
                        self.received.advance(SIZE_PREFIX_BYTES);
                        return Ok(self.received.split_to(size).freeze());
                    }
                }
            };
            self.received.reserve(missing);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
