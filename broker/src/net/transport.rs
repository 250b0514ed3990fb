//! A connection's bytes: the socket's own, or what TLS makes of them. A connection without TLS is the socket, and nothing
//! stands between.

use std::io::{self, BufRead as _, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use moldau_security::principal;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

/// See the module.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsTransport>),
}

/// A TLS session over a socket. All of it is used by one task; the lock is what lets that task wait for the socket's two
/// directions at once, and is never held meanwhile.
pub(super) struct TlsTransport {
    stream: TcpStream,
    session: Mutex<Session>,
}

struct Session {
    connection: ServerConnection,
    /// Decrypted bytes are there that nobody has read.
    has_plaintext: bool,
}

impl Transport {
    /// Waits until something may be read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(tls) if tls.session.lock().has_plaintext => Ok(()),
            Self::Tls(tls) => tls.stream.readable().await,
        }
    }

    /// Waits until something may be written.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.writable().await,
            Self::Tls(tls) => tls.stream.writable().await,
        }
    }

    /// Reads what is there, at most what the buffer has room for.
    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read_buf(buffer),
            Self::Tls(tls) => tls.try_read_buf(buffer),
        }
    }

    /// Blocks its thread until there is something to be read, for so long at most; whether there may be. The runtime is not asked: it
    /// looks at its sockets between tasks, and takes one that was found empty for empty until then. TLS is not waited for.
    pub(super) fn is_readable_within(&self, patience: Duration) -> bool {
        let Self::Plain(stream) = self else { return true };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut watched = [PollFd::new(stream, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&timeout)), Ok(ready) if ready > 0)
    }

    /// Whether bytes of TLS wait for the socket.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.session.lock().connection.wants_write(),
        }
    }
}

/// The socket as rustls reads and writes it: never waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl TlsTransport {
    /// Shakes hands. The caller bounds how long it takes.
    pub(super) async fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        loop {
            while connection.wants_write() {
                match connection.write_tls(&mut Socket(&stream)) {
                    Ok(_) => {}
                    Err(error) if would_block(&error) => stream.writable().await?,
                    Err(error) => return Err(error),
                }
            }
            if !connection.is_handshaking() {
                break;
            }
            stream.readable().await?;
            match connection.read_tls(&mut Socket(&stream)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if would_block(&error) => continue,
                Err(error) => return Err(error),
            }
            if let Err(error) = connection.process_new_packets() {
                // The peer is told, if its socket takes it at once.
                let _ = connection.write_tls(&mut Socket(&stream));
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        let mut session = Session { connection, has_plaintext: false };
        // A client's first request may have come with the end of the handshake.
        session.note_plaintext();
        Ok(Self { stream, session: Mutex::new(session) })
    }

    /// The subject of the client's certificate; `Ok(None)` where it showed none.
    pub(super) fn subject(&self) -> io::Result<Option<String>> {
        let session = self.session.lock();
        let certificates = session.connection.peer_certificates().unwrap_or_default();
        let Some(first) = certificates.first() else { return Ok(None) };
        let unreadable =
            || io::Error::new(io::ErrorKind::InvalidData, "the certificate's subject cannot be read");
        principal::subject(first).map(Some).ok_or_else(unreadable)
    }

    fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let session = &mut *self.session.lock();
        loop {
            match session.read_plaintext(buffer) {
                Err(error) if would_block(&error) => {}
                // An end without TLS's own word for it: of a frame that is cut off the reader takes notice itself.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            session.connection.read_tls(&mut Socket(&self.stream))?;
            let processed = session.connection.process_new_packets();
            // Tickets, new keys, or what was wrong. What the socket does not take now goes before the next answer.
            if let Err(error) = session.flush(&self.stream)
                && !would_block(&error)
            {
                return Err(error);
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Encrypts as many of these bytes as fit what waits for the socket. Some do once [`Self::flush`] has succeeded.
    pub(super) fn encrypt(&self, bytes: &[u8]) -> io::Result<usize> {
        self.session.lock().connection.writer().write(bytes)
    }

    /// Writes what is encrypted; `WouldBlock` where the socket does not take all of it.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.session.lock().flush(&self.stream)
    }
}

/// Says by TLS's own word that nothing more comes, if the socket takes it at once.
impl Drop for TlsTransport {
    fn drop(&mut self) {
        let session = self.session.get_mut();
        session.connection.send_close_notify();
        let _ = session.flush(&self.stream);
    }
}

impl Session {
    fn read_plaintext(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut reader = self.connection.reader();
        let decrypted = reader.fill_buf()?;
        let room = buffer.capacity() - buffer.len();
        let count = decrypted.len().min(room);
        buffer.extend_from_slice(&decrypted[..count]);
        reader.consume(count);
        self.note_plaintext();
        Ok(count)
    }

    fn note_plaintext(&mut self) {
        self.has_plaintext =
            matches!(self.connection.reader().fill_buf(), Ok(decrypted) if !decrypted.is_empty());
    }

    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Socket(stream))?;
        }
        Ok(())
    }
}
