//! Connections of HTTP: so many, so many of one address, and each for as long as something goes out on it.
//!
//! One rule stands for deadlines of headers, bodies, idleness and readers: a connection to which nothing could be written for a while
//! ends. Who sends a request a byte at a time has no answer by then, who asks nothing gets none, and who does not read takes none.
//! What runs for longer says now and then that it is still there.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

use crate::net::{ConnectionBounds, ConnectionLimits, ConnectionPlace};

/// Connections at a time: 64 event streams, a few dozen browsers and scrapers. One more waits until another ends.
const CONNECTIONS_MAX: usize = 256;
/// Of one address, so that a single one does not take all from the probes of an orchestrator. One more is closed at once.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 192;
/// How long a connection may take from its start to its first answer: the longest call takes 28 seconds.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long nothing may be written after that: scrapers that come once a minute keep their connection.
const QUIET_MAX: Duration = Duration::from_secs(75);
/// After an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener with bounds, for [`axum::serve`].
pub struct BoundedListener {
    socket: TcpListener,
    limits: Arc<ConnectionLimits>,
}

impl BoundedListener {
    #[must_use]
    pub fn new(socket: TcpListener) -> Self {
        Self::with_bounds(socket, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX)
    }

    fn with_bounds(socket: TcpListener, all_max: usize, per_ip_max: usize) -> Self {
        let bounds = ConnectionBounds { all_max, per_ip_max, ..ConnectionBounds::default() };
        Self { socket, limits: Arc::new(ConnectionLimits::new(bounds)) }
    }
}

impl Listener for BoundedListener {
    type Io = Watched;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Watched, SocketAddr) {
        loop {
            self.limits.place_free().await;
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = self.limits.enter(peer.ip()) {
                        // Answers and events are written whole. A socket that cannot be told so is slower, and serves.
                        drop(stream.set_nodelay(true));
                        return (Watched::new(stream, place), peer);
                    }
                    tracing::debug!(%peer, "too many connections of HTTP, one more is closed");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of HTTP");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection that ends when nothing was written for too long.
pub struct Watched {
    stream: TcpStream,
    quiet: Pin<Box<Sleep>>,
    _place: ConnectionPlace,
}

impl Watched {
    fn new(stream: TcpStream, place: ConnectionPlace) -> Self {
        Self { stream, quiet: Box::pin(sleep(FIRST_ANSWER_MAX)), _place: place }
    }

    /// What `polled` says, or the end where that is to wait on and nothing was written for too long.
    fn or_end<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.quiet.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }

    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = polled {
            self.quiet.as_mut().reset(Instant::now() + QUIET_MAX);
        }
        self.or_end(context, polled)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Also where there is something to read: a byte now and then is not to go on for ever.
        if self.quiet.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.or_end(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_end(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A tick of the virtual clock.
    const SECOND: Duration = Duration::from_secs(1);

    async fn served(all_max: usize, per_ip_max: usize) -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = BoundedListener::with_bounds(socket, all_max, per_ip_max);
        let address = listener.local_addr().unwrap();
        let endless = || async {
            let piece = Ok::<_, io::Error>(Bytes::from(vec![b'x'; 1 << 20]));
            Body::from_stream(futures::stream::repeat_with(move || {
                piece.as_ref().map(Clone::clone).map_err(|_| io::Error::other("none"))
            }))
        };
        let routes = Router::new().route("/", get(|| async { "here" })).route("/endless", get(endless));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    /// Whether the server ends the connection, which it does not before `seconds`.
    async fn ends(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        // A reset is an end, too.
        tokio::time::timeout(SECOND * 600, stream.read_to_end(&mut rest)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_ends() {
        let mut stream = TcpStream::connect(served(10, 10).await).await.unwrap();
        assert!(ends(&mut stream).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_a_byte_at_a_time_does_not_keep_its_connection() {
        let mut stream = TcpStream::connect(served(10, 10).await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nX: ").await.unwrap();
        for _ in 0..600 {
            tokio::time::sleep(SECOND).await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
        panic!("the connection is still there after ten minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_does_not_keep_its_connection() {
        let address = served(1, 1).await;
        let mut lazy = TcpStream::connect(address).await.unwrap();
        lazy.write_all(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        // It has the only place; the next one gets it once it is thrown out.
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(SECOND * 600, next.read_to_string(&mut answer)).await;
        assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200"), "{read:?} {answer}");
    }

    #[tokio::test]
    async fn an_address_has_no_more_connections_than_it_may() {
        let address = served(3, 2).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 200");
            streams.push(stream);
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SECOND * 20, third.read_to_end(&mut rest)).await;
        assert!(read.is_ok() && rest.is_empty(), "{read:?}");
    }
}
