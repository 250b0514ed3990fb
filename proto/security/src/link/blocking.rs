//! The same for tools, which have no runtime.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConnection, StreamOwned};

use super::{Dialer, answer_size, denied, server_name};
use crate::sasl::ClientStep;

/// A connection, encrypted or not. Its socket's timeouts bound every read and write.
pub enum BlockingLink {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl BlockingLink {
    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Dialer {
    /// Makes a connection to `host` one that is encrypted and authenticated, within the socket's timeouts.
    ///
    /// # Errors
    /// Why it is not; `PermissionDenied` where the peer does not let this tool in.
    pub fn secure_blocking(&self, mut stream: TcpStream, host: &str) -> io::Result<BlockingLink> {
        let mut link = match self.tls_config() {
            None => BlockingLink::Plain(stream),
            Some(config) => {
                let connection = ClientConnection::new(Arc::clone(&config), server_name(host)?);
                let mut connection = connection.map_err(io::Error::other)?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut stream)?;
                }
                BlockingLink::Tls(Box::new(StreamOwned::new(connection, stream)))
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

impl Read for BlockingLink {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for BlockingLink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
