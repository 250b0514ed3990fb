//! Dialling a listener that is protected: TLS, then SASL, then whatever is spoken there.

mod blocking;
mod gate;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use moldau_metadata::config::security::{Login, PeerSecurity, Secret};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::sasl::{ClientStep, SaslClient};
use crate::scram::NONCE_BYTES;
use crate::tls::{TlsError, client_config};
use crate::{Reloaded, Reloading};

pub use blocking::BlockingLink;
pub use gate::{Gate, GateError, GateLimits, GateLink};

/// TLS and SASL together have so long: round trips, and a password that is stretched once.
const SECURE_LIMIT: Duration = Duration::from_secs(10);
/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// No answer of authentication is longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A connection, encrypted or not.
pub enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// How peers are dialled.
pub struct Dialer {
    tls: Option<Reloading<ClientConfig>>,
    login: Option<Login>,
    random: fn(&mut [u8]) -> io::Result<()>,
}

/// What it logs in by is not shown.
impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("is_plain", &self.is_plain()).finish_non_exhaustive()
    }
}

fn ring_random(bytes: &mut [u8]) -> io::Result<()> {
    use ring::rand::SecureRandom as _;
    ring::rand::SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("no random numbers"))
}

impl Dialer {
    /// Reads the files of TLS.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(peer: &PeerSecurity) -> Result<Self, TlsError> {
        let tls = peer.tls.clone().map(|settings| Reloading::new(settings, client_config)).transpose()?;
        Ok(Self { tls, login: peer.login.clone(), random: ring_random })
    }

    /// For peers that are not protected.
    #[must_use]
    pub fn plain() -> Self {
        Self { tls: None, login: None, random: ring_random }
    }

    /// Whether there is neither TLS nor SASL.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.login.is_none()
    }

    /// Looks whether files of TLS have changed. Blocks on files.
    pub fn look_again(&self) -> Reloaded {
        self.tls.as_ref().map_or(Reloaded::Unchanged, Reloading::look_again)
    }

    /// Connects to `host` and makes that one that is encrypted and authenticated.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Link> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await?;
        stream.set_nodelay(true)?;
        self.secure(stream, host).await
    }

    /// Makes a connection to `host` one that is encrypted and authenticated.
    ///
    /// # Errors
    /// Why it is not; `PermissionDenied` where the peer does not let this node in.
    pub async fn secure(&self, stream: TcpStream, host: &str) -> io::Result<Link> {
        Ok(self.begin_session(stream, host).await?.0)
    }

    /// As [`Self::secure`]; tells besides for how long the peer lets this node in, where that has an end.
    ///
    /// # Errors
    /// As of [`Self::secure`].
    pub async fn begin_session(&self, stream: TcpStream, host: &str) -> io::Result<(Link, Option<Duration>)> {
        if self.is_plain() {
            return Ok((Link::Plain(stream), None));
        }
        tokio::time::timeout(SECURE_LIMIT, async {
            let mut link = self.encrypt(stream, host).await?;
            let lifetime = self.authenticate(&mut link).await?;
            Ok((link, lifetime))
        })
        .await?
    }

    /// Authenticates again on a link on which no answer is awaited (KIP-368).
    ///
    /// # Errors
    /// As of [`Self::secure`]; the link is of no use then.
    pub async fn renew_session(&self, link: &mut Link) -> io::Result<Option<Duration>> {
        tokio::time::timeout(SECURE_LIMIT, self.authenticate(link)).await?
    }

    async fn encrypt(&self, stream: TcpStream, host: &str) -> io::Result<Link> {
        let Some(tls) = &self.tls else { return Ok(Link::Plain(stream)) };
        let connector = TlsConnector::from(tls.current());
        Ok(Link::Tls(Box::new(connector.connect(server_name(host)?, stream).await?)))
    }

    async fn authenticate(&self, link: &mut Link) -> io::Result<Option<Duration>> {
        let Some(mut sasl) = self.sasl()? else { return Ok(None) };
        let mut frame = sasl.begin();
        loop {
            link.write_all(&frame).await?;
            link.flush().await?;
            let size = answer_size(link.read_u32().await?)?;
            let mut answer = vec![0; size];
            link.read_exact(&mut answer).await?;
            match sasl.handle(&answer).map_err(denied)? {
                ClientStep::Send(next) => frame = next,
                ClientStep::Done { lifetime_ms } => {
                    let lifetime = u64::try_from(lifetime_ms).unwrap_or(0);
                    return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
                }
            }
        }
    }

    fn sasl(&self) -> io::Result<Option<SaslClient>> {
        let Some(login) = &self.login else { return Ok(None) };
        let mut nonce = [0; NONCE_BYTES];
        (self.random)(&mut nonce)?;
        let mut login = login.clone();
        if let Some(path) = &login.token_file {
            login.password = token(path)?;
        }
        Ok(Some(SaslClient::new(login, &nonce)))
    }

    fn tls_config(&self) -> Option<Arc<ClientConfig>> {
        self.tls.as_ref().map(Reloading::current)
    }
}

/// A token out of its file. A short read of a local file; the tools that have such a login have no runtime to be kept waiting.
fn token(path: &Path) -> io::Result<Secret> {
    use io::Read as _;
    let mut text = String::new();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
        .map_err(named)?;
    let token = text.trim();
    // What separates a message's parts must not be part of one.
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(named(io::Error::new(io::ErrorKind::InvalidData, "there is no token in it")));
    }
    Ok(Secret::new(token))
}

fn denied(error: crate::sasl::SaslClientError) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, error.to_string())
}

fn answer_size(size: u32) -> io::Result<usize> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= ANSWER_BYTES_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to SASL that is none"))
}

pub(crate) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
