//! What a listener asks of connections before it serves them: TLS, SASL, and that neither takes too long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::config::security::{ListenerSecurity, Login, SecuritySettings};
use moldau_model::Principal;
use moldau_security::oauth::{KeysError, TokenVerifier};
use moldau_security::sasl::{Authenticator, OwnLogin, SaslServer};
use moldau_security::tls::{TlsError, server_config};
use moldau_security::{Place, Places, PrincipalRules, Reloaded, Reloading, RulesError, Throttled};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::authentication::{Authentication, Known};
use super::frame_reader::SMALL_FRAME_BYTES;
use super::transport::{TlsTransport, Transport};

/// Of connections that are refused somebody is told this often; each is in the log at level debug.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Chance of this process that users that do not exist are made of.
const SECRET_BYTES: usize = 32;
/// Not the secret: whoever begins to log in as a broker is told the salt.
const SALT_BYTES: usize = 16;

/// Why a listener cannot be protected as it is asked to be.
#[derive(Debug, thiserror::Error)]
pub enum ProtectionError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("sasl.oauthbearer.jwks.endpoint.url: {0}")]
    Keys(#[from] KeysError),
    #[error("ssl.principal.mapping.rules: {0}")]
    Rules(#[from] RulesError),
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// One listener's.
pub struct Protection {
    tls: Option<Reloading<ServerConfig>>,
    rules: PrincipalRules,
    sasl: Option<Arc<SaslServer>>,
    own: Option<Arc<OwnLogin>>,
    tokens: Option<Arc<TokenVerifier>>,
    pub(super) limits: AuthenticationLimits,
    /// All listeners of a broker share it.
    unauthenticated: Arc<Places>,
    told: Throttled,
}

/// How much a connection may take of the broker before it is somebody's.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthenticationLimits {
    /// `connections.authentication.timeout.ms`.
    pub(super) timeout: Duration,
    /// `connection.failed.authentication.delay.ms`.
    pub(super) failed_delay: Duration,
    /// `sasl.server.max.receive.size`.
    pub(super) frame_bytes_max: usize,
}

/// A connection that may be served, and whose it is so far.
pub(super) struct Accepted {
    pub(super) transport: Transport,
    pub(super) principal: Principal,
    pub(super) authentication: Option<Box<Authentication>>,
}

impl Protection {
    /// Reads the files of TLS. `login` is what brokers log in by at this listener, where they do;
    /// `unauthenticated` bounds the connections that are on their way to be somebody's.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(
        listener: &ListenerSecurity,
        all: &SecuritySettings,
        login: Option<&Login>,
        unauthenticated: Arc<Places>,
    ) -> Result<Self, ProtectionError> {
        let rules = listener.tls.as_ref().map_or("DEFAULT", |tls| tls.principal_rules.as_str());
        let (mut secret, mut salt) = (vec![0; SECRET_BYTES], vec![0; SALT_BYTES]);
        getrandom::fill(&mut secret)?;
        getrandom::fill(&mut salt)?;
        let tokens = listener.sasl.as_ref().and_then(|sasl| sasl.tokens.clone());
        let tokens = tokens.map(TokenVerifier::open).transpose()?;
        let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Ok(Self {
            tls: listener.tls.clone().map(|tls| Reloading::new(tls, server_config)).transpose()?,
            rules: PrincipalRules::parse(rules)?,
            own: login.and_then(|login| OwnLogin::of(login, &salt)).map(Arc::new),
            tokens: tokens.map(Arc::new),
            sasl: listener.sasl.clone().map(|sasl| Arc::new(SaslServer::new(sasl, secret))),
            limits: AuthenticationLimits {
                timeout: ms(all.authentication_timeout_ms),
                failed_delay: ms(all.failed_delay_ms),
                frame_bytes_max: usize::try_from(all.unauthenticated_frame_bytes_max)
                    .unwrap_or(0)
                    .min(SMALL_FRAME_BYTES),
            },
            unauthenticated,
            told: Throttled::new(1, TOLD_EVERY),
        })
    }

    /// Looks whether files of TLS have changed. Blocks on files.
    #[must_use]
    pub fn look_again(&self) -> Reloaded {
        self.tls.as_ref().map_or(Reloaded::Unchanged, Reloading::look_again)
    }

    /// The same of the keys of tokens.
    #[must_use]
    pub fn look_at_keys_again(&self) -> Reloaded<KeysError> {
        self.tokens.as_ref().map_or(Reloaded::Unchanged, |tokens| tokens.look_again())
    }

    /// Shakes hands where there is TLS. What comes of it may have to authenticate yet.
    pub(super) async fn accept(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Accepted> {
        if self.tls.is_none() && self.sasl.is_none() {
            let transport = Transport::Plain(stream);
            return Ok(Accepted { transport, principal: Principal::anonymous(), authentication: None });
        }
        let place = self.unauthenticated.take(peer.ip()).map_err(io::Error::other)?;
        let deadline = tokio::time::Instant::now() + self.limits.timeout;
        let (transport, principal) = match &self.tls {
            None => (Transport::Plain(stream), Principal::anonymous()),
            Some(tls) => {
                let accepted =
                    tokio::time::timeout_at(deadline, TlsTransport::accept(stream, tls.current())).await;
                let tls = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                let principal = self.principal_of(&tls)?;
                (Transport::Tls(Box::new(tls)), principal)
            }
        };
        let authentication = self.authentication(place, deadline);
        Ok(Accepted { transport, principal, authentication })
    }

    fn authentication(&self, place: Place, deadline: tokio::time::Instant) -> Option<Box<Authentication>> {
        let server = self.sasl.as_ref()?;
        let authenticator = Authenticator::new(Arc::clone(server));
        let known = Known { own: self.own.clone(), tokens: self.tokens.clone() };
        Some(Box::new(Authentication::new(authenticator, known, place, deadline, self.limits)))
    }

    fn principal_of(&self, tls: &TlsTransport) -> io::Result<Principal> {
        let Some(subject) = tls.subject()? else { return Ok(Principal::anonymous()) };
        let unnamed = || {
            io::Error::other(format!(
                "no rule of ssl.principal.mapping.rules fits the certificate of {subject}"
            ))
        };
        self.rules.apply(&subject).map(Principal::user).ok_or_else(unnamed)
    }

    /// A connection was not let in.
    pub(super) fn tell_refused(&self, listener: &str, peer: SocketAddr, reason: &dyn std::fmt::Display) {
        tracing::debug!(listener, %peer, %reason, "a connection was not let in");
        if let Some(others) = self.told.take(std::time::Instant::now()) {
            tracing::info!(listener, %peer, %reason, others, "a connection was not let in");
        }
    }
}
