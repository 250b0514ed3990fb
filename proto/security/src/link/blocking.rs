//! The same for tools, which have no runtime.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConnection, StreamOwned};

use super::{Dialer, answer_size, denied, server_name};
use crate::sasl::ClientStep;

/// A connection, encrypted or not, with one deadline for all that goes through it until another is set.
pub enum BlockingLink {
    Plain(BlockingSocket),
    Tls(Box<StreamOwned<ClientConnection, BlockingSocket>>),
}

/// A socket with a deadline. Its own timeouts begin anew with each byte: a server that sends one from time to time would
/// hold a tool for ever, also within one record of TLS.
pub struct BlockingSocket {
    stream: TcpStream,
    deadline: Instant,
}

impl BlockingLink {
    /// From now on nothing is waited for longer than until then.
    pub fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(socket) => socket.deadline = deadline,
            Self::Tls(stream) => stream.sock.deadline = deadline,
        }
    }
}

impl Dialer {
    /// Makes a connection to `host` one that is encrypted and authenticated, by `deadline`.
    ///
    /// # Errors
    /// Why it is not; `PermissionDenied` where the peer does not let this tool in.
    pub fn secure_blocking(
        &self,
        stream: TcpStream,
        host: &str,
        deadline: Instant,
    ) -> io::Result<BlockingLink> {
        let mut socket = BlockingSocket { stream, deadline };
        let mut link = match self.tls_config() {
            None => BlockingLink::Plain(socket),
            Some(config) => {
                let connection = ClientConnection::new(Arc::clone(&config), server_name(host)?);
                let mut connection = connection.map_err(io::Error::other)?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut socket)?;
                }
                BlockingLink::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        };
        let Some(mut sasl) = self.sasl()? else { return Ok(link) };
        let mut frame = sasl.begin();
        loop {
            link.write_all(&frame)?;
            link.flush()?;
            let mut size = [0; 4];
            link.read_exact(&mut size)?;
            let mut answer = vec![0; answer_size(u32::from_be_bytes(size))?];
            link.read_exact(&mut answer)?;
            match sasl.handle(&answer).map_err(denied)? {
                ClientStep::Send(next) => frame = next,
                ClientStep::Done { .. } => return Ok(link),
            }
        }
    }
}

impl BlockingSocket {
    /// The socket, which waits no longer than there is time left.
    fn timed(&mut self) -> io::Result<&mut TcpStream> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // Zero would mean "for ever" to the socket.
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))?;
        Ok(&mut self.stream)
    }
}

impl Read for BlockingSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.timed()?.read(buffer)
    }
}

impl Write for BlockingSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.timed()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for BlockingLink {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for BlockingLink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_sends_a_byte_from_time_to_time_is_not_waited_for_beyond_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let deadline = Instant::now() + Duration::from_millis(300);
        let trickle = std::thread::spawn(move || {
            while server.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut link = BlockingLink::Plain(BlockingSocket { stream, deadline });
        let error = link.read_exact(&mut [0; 4096]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        drop(link);
        trickle.join().unwrap();
    }
}
