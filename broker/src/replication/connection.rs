//! A follower's connection to a leader's inter-broker listener: frames out, frames in.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use moldau_kafka::{SIZE_PREFIX_BYTES, frame_size};
use moldau_security::link::{Dialer, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::inbox::Endpoint;

/// A peer that is there accepts within this time; one that is not is tried again.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Requests are small: a peer that takes none of one for so long is stuck.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// What is asked of the socket at once where nothing is known of the frame yet.
const READ_BYTES: usize = 64 * 1024;

/// A session is renewed before it ends: the request that comes next may wait for its answer.
fn renewal(lifetime: Duration) -> Instant {
    Instant::now() + lifetime.mul_f64(0.8)
}

pub(crate) struct LeaderConnection {
    link: Link,
    dialer: Arc<Dialer>,
    /// When this broker has to say again who it is, if ever.
    renew_at: Option<Instant>,
    /// Requests that are not answered yet.
    awaited: u32,
    received: BytesMut,
    frame_bytes_max: usize,
}

impl LeaderConnection {
    /// Connects, and says who this broker is where it is asked. A frame of the leader's larger than `frame_bytes_max` ends the connection.
    pub(crate) async fn open(endpoint: &Endpoint, frame_bytes_max: usize) -> io::Result<Self> {
        let connect = TcpStream::connect((&*endpoint.host, endpoint.port));
        let stream = tokio::time::timeout(CONNECT_LIMIT, connect).await??;
        stream.set_nodelay(true)?;
        let (link, lifetime) = endpoint.dialer.begin_session(stream, &endpoint.host).await?;
        let (dialer, renew_at) = (Arc::clone(&endpoint.dialer), lifetime.map(renewal));
        Ok(Self { link, dialer, renew_at, awaited: 0, received: BytesMut::new(), frame_bytes_max })
    }

    /// The same socket, to look whether it is open.
    pub(crate) fn watched(&self) -> io::Result<std::net::TcpStream> {
        Ok(self.link.socket().as_fd().try_clone_to_owned()?.into())
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let send = async {
            if self.awaited == 0 && self.renew_at.is_some_and(|renew_at| renew_at <= Instant::now()) {
                self.renew_at = self.dialer.renew_session(&mut self.link).await?.map(renewal);
            }
            self.awaited += 1;
            self.link.write_all(frame).await?;
            self.link.flush().await
        };
        tokio::time::timeout(SEND_LIMIT, send).await?
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
                        self.awaited = self.awaited.saturating_sub(1);
                        self.received.advance(SIZE_PREFIX_BYTES);
                        return Ok(self.received.split_to(size).freeze());
                    }
                }
            };
            self.received.reserve(missing);
            if self.link.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
