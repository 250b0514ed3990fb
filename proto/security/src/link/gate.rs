//! The other side for listeners that serve several protocols on one port: TLS, SASL in Kafka's frames, and then whatever
//! the peer's first byte says.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moldau_metadata::config::security::{ClientAuth, ListenerSecurity, Login, TlsSettings};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::oauth::{KeysError, TokenVerifier};
use crate::sasl::{Authenticator, CredentialStore, OwnLogin, SaslServer, Step, WithOwnLogin};
use crate::scram::NONCE_BYTES;
use crate::tls::{TlsError, server_config};
use crate::{PrincipalRules, Reloaded, Reloading, RulesError, principal};

/// Bytes of chance that users that do not exist are made of, and in the salt of a login.
const SECRET_BYTES: usize = 32;
/// Not the secret: whoever begins to log in as a node is told the salt.
const SALT_BYTES: usize = 16;

/// Why a listener cannot be protected as it is asked to be.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("sasl.oauthbearer.jwks.endpoint.url: {0}")]
    Keys(#[from] KeysError),
    #[error("ssl.principal.mapping.rules: {0}")]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Random(#[from] io::Error),
}

/// How much a connection may take before it is somebody's.
#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    pub timeout: Duration,
    pub failed_delay: Duration,
    pub frame_bytes_max: usize,
}

/// One listener's.
pub struct Gate {
    tls: Option<Reloading<ServerConfig>>,
    rules: PrincipalRules,
    sasl: Option<Arc<SaslServer>>,
    own: Option<OwnLogin>,
    tokens: Option<TokenVerifier>,
    /// Who may speak as a node; `None`: whoever is let in.
    nodes: Option<BTreeSet<String>>,
    asks_for_certificates: bool,
    /// The shortest of its mechanisms' sessions; `None` where they live for ever.
    session_lifetime_min: Option<Duration>,
    limits: GateLimits,
    random: fn(&mut [u8]) -> io::Result<()>,
}

/// A connection that was let in.
pub struct GateLink {
    stream: Stream,
    /// Read already, and to be read again.
    ahead: Option<u8>,
    /// Who it is, where that was asked.
    user: Option<Arc<str>>,
    /// It is that by a delegation token.
    by_token: bool,
    /// Where it authenticated by SASL.
    session: Option<Session>,
}

/// A connection's SASL, which may go on among its requests (KIP-368).
struct Session {
    authenticator: Authenticator,
    begun: Instant,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Gate {
    /// Reads the files of TLS. `login` is what this node itself logs in by elsewhere; `super_users` are nodes besides.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(
        listener: &ListenerSecurity,
        login: Option<&Login>,
        super_users: BTreeSet<String>,
        limits: GateLimits,
    ) -> Result<Self, GateError> {
        let random = super::ring_random;
        let (mut secret, mut salt) = (vec![0; SECRET_BYTES], vec![0; SALT_BYTES]);
        random(&mut secret)?;
        random(&mut salt)?;
        let own = login.and_then(|login| OwnLogin::of(login, &salt));
        let asks = |tls: &TlsSettings| tls.client_auth == ClientAuth::Required;
        let asks_for_certificates = listener.tls.as_ref().is_some_and(asks);
        let nodes = match login.filter(|_| listener.sasl.is_some()) {
            Some(login) => Some(super_users.into_iter().chain([login.user.clone()]).collect()),
            None => Some(super_users).filter(|users| asks_for_certificates && !users.is_empty()),
        };
        let sasl = listener.sasl.clone();
        let tokens =
            sasl.as_ref().and_then(|sasl| sasl.tokens.clone()).map(TokenVerifier::open).transpose()?;
        let lifetimes = sasl.iter().flat_map(|sasl| sasl.reauthentication_ms.values());
        let lifetime_ms = lifetimes.copied().filter(|ms| *ms > 0).min();
        let rules = listener.tls.as_ref().map_or("DEFAULT", |tls| tls.principal_rules.as_str());
        Ok(Self {
            tls: listener.tls.clone().map(|tls| Reloading::new(tls, server_config)).transpose()?,
            rules: PrincipalRules::parse(rules)?,
            sasl: sasl.map(|sasl| Arc::new(SaslServer::new(sasl, secret))),
            own,
            tokens,
            nodes,
            asks_for_certificates,
            session_lifetime_min: lifetime_ms.map(|ms| Duration::from_millis(ms.unsigned_abs())),
            limits,
            random,
        })
    }

    /// Looks whether files of TLS have changed. Blocks on files.
    pub fn look_again(&self) -> Reloaded {
        self.tls.as_ref().map_or(Reloaded::Unchanged, Reloading::look_again)
    }

    /// The same of the keys of tokens.
    pub fn look_at_keys_again(&self) -> Reloaded<KeysError> {
        self.tokens.as_ref().map_or(Reloaded::Unchanged, TokenVerifier::look_again)
    }

    /// Whether whoever comes in has shown who it is.
    #[must_use]
    pub const fn authenticates(&self) -> bool {
        self.sasl.is_some() || self.asks_for_certificates
    }

    /// How long the shortest session lives; `None` where they live for ever.
    #[must_use]
    pub const fn session_lifetime_min(&self) -> Option<Duration> {
        self.session_lifetime_min
    }

    /// Whether this user may speak as a node of the cluster.
    #[must_use]
    pub fn is_node(&self, user: Option<&str>) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| user.is_some_and(|user| nodes.contains(user)))
    }

    /// Lets a connection in, or does not. `versions` answers ApiVersions, which may come before a client authenticates.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn accept(
        &self,
        stream: TcpStream,
        store: &dyn CredentialStore,
        versions: &(dyn Fn(&[u8]) -> Option<Vec<u8>> + Sync),
    ) -> io::Result<GateLink> {
        tokio::time::timeout(self.limits.timeout, self.accept_unbounded(stream, store, versions)).await?
    }

    async fn accept_unbounded(
        &self,
        stream: TcpStream,
        store: &dyn CredentialStore,
        versions: &(dyn Fn(&[u8]) -> Option<Vec<u8>> + Sync),
    ) -> io::Result<GateLink> {
        let mut link = match &self.tls {
            None => GateLink::plain(stream),
            Some(tls) => {
                let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
                let user = self.user_of(&stream)?;
                GateLink {
                    stream: Stream::Tls(Box::new(stream)),
                    ahead: None,
                    user,
                    by_token: false,
                    session: None,
                }
            }
        };
        if let Some(server) = &self.sasl {
            self.authenticate(&mut link, server, store, versions).await?;
        }
        Ok(link)
    }

    fn user_of(&self, stream: &TlsStream<TcpStream>) -> io::Result<Option<Arc<str>>> {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let Some(first) = certificates.first() else { return Ok(None) };
        let name = principal::subject(first).and_then(|subject| self.rules.apply(&subject));
        let unnamed =
            || io::Error::new(io::ErrorKind::PermissionDenied, "no rule names the certificate's subject");
        Ok(Some(name.ok_or_else(unnamed)?.into()))
    }

    async fn authenticate(
        &self,
        link: &mut GateLink,
        server: &Arc<SaslServer>,
        store: &dyn CredentialStore,
        versions: &(dyn Fn(&[u8]) -> Option<Vec<u8>> + Sync),
    ) -> io::Result<()> {
        let authenticator = Authenticator::new(Arc::clone(server));
        link.session = Some(Session { authenticator, begun: Instant::now() });
        while link.session.as_ref().is_some_and(|session| !session.authenticator.is_authenticated()) {
            let size = usize::try_from(link.read_u32().await?).unwrap_or(usize::MAX);
            if size > self.limits.frame_bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is too large"));
            }
            let mut frame = vec![0; size];
            link.read_exact(&mut frame).await?;
            if self.is_request(link, &frame, store).await? {
                link.write_all(&versions(&frame).ok_or(io::ErrorKind::InvalidData)?).await?;
                link.flush().await?;
            }
        }
        Ok(())
    }

    /// Whether a frame, without its size, is a request for those who serve requests; if not, it was one of authentication, and
    /// is answered.
    ///
    /// # Errors
    /// The connection ends: it is refused, or its session has ended.
    pub async fn is_request(
        &self,
        link: &mut GateLink,
        frame: &[u8],
        store: &dyn CredentialStore,
    ) -> io::Result<bool> {
        let Some(Session { authenticator, begun }) = &mut link.session else { return Ok(true) };
        if authenticator.is_request(frame, || begun.elapsed()) {
            return Ok(true);
        }
        let mut nonce = || {
            let mut nonce = [0; NONCE_BYTES];
            (self.random)(&mut nonce).ok().map(|()| nonce)
        };
        let store =
            WithOwnLogin { own: self.own.as_ref(), tokens: self.tokens.as_ref(), now_ms: now_ms(), store };
        let answer = match authenticator.handle(frame, begun.elapsed(), &store, &mut nonce) {
            Step::Pass => return Ok(true),
            Step::Answer(answer) => answer,
            Step::Authenticated { user, by_token, answer } => {
                link.user = Some(user);
                link.by_token = by_token;
                answer
            }
            Step::Refused { refusal, answer } => {
                // Who guesses passwords has to wait for each verdict.
                tokio::time::sleep(self.limits.failed_delay).await;
                if let Some(answer) = answer {
                    link.write_all(&answer).await?;
                    link.flush().await?;
                }
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string()));
            }
        };
        link.write_all(&answer).await?;
        link.flush().await?;
        Ok(false)
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl GateLink {
    /// A connection that nothing was asked of.
    #[must_use]
    pub const fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), ahead: None, user: None, by_token: false, session: None }
    }

    /// Who it is, where that was asked.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether a delegation token has said who it is.
    #[must_use]
    pub const fn is_by_token(&self) -> bool {
        self.by_token
    }

    /// When its session ends unless it is renewed.
    #[must_use]
    pub fn expires_at(&self) -> Option<Instant> {
        let session = self.session.as_ref()?;
        session.authenticator.expires_at().map(|at| session.begun + at)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The next byte, which is read again afterwards.
    ///
    /// # Errors
    /// The socket's.
    pub async fn first_byte(&mut self) -> io::Result<u8> {
        if let Some(ahead) = self.ahead {
            return Ok(ahead);
        }
        let byte = self.read_u8().await?;
        self.ahead = Some(byte);
        Ok(byte)
    }
}

impl AsyncRead for GateLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(byte) = self.ahead.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for GateLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
