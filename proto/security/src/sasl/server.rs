//! The server's side of one connection: what may come when, and who it turns out to be.
//!
//! First may come ApiVersions, then SaslHandshake has to, then the mechanism's messages until the verdict, then requests.
//! A client that stays authenticates again from time to time, by another handshake among its requests (KIP-368).

use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::config::security::{SaslMechanism, SaslSettings};
use moldau_metadata::{ScramCredential, ScramMechanism};
use moldau_model::ErrorCode;

use super::plain;
use super::wire::{
    API_VERSIONS, AUTHENTICATE_VERSION_MAX, HANDSHAKE_VERSION_MAX, Header, Reader, SASL_AUTHENTICATE,
    SASL_HANDSHAKE, authenticate_response, handshake_response, header, raw,
};
use crate::delegation::{DelegationLogin, TokenCredentials};
use crate::oauth::{BearerMessage, INVALID_TOKEN, READ_THE_ERROR, TokenRefusal, VerifiedToken};
use crate::scram::{NONCE_BYTES, ScramServer};

/// Who authenticates again more often than this is refused, as by Kafka.
const REAUTHENTICATION_MIN: Duration = Duration::from_secs(1);

/// Where credentials are kept.
pub trait CredentialStore: Sync {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential>;

    /// The delegation token of this id, if it lets anybody in now.
    fn delegation_token(&self, _id: &str) -> Option<DelegationLogin> {
        None
    }

    /// Whose a token of OAUTHBEARER is.
    ///
    /// # Errors
    /// Why it is nobody's.
    fn token(&self, _token: &str) -> Result<VerifiedToken, TokenRefusal> {
        Err(TokenRefusal::NotEnabled)
    }
}

/// What all connections of a listener have in common.
#[derive(Debug)]
pub struct SaslServer {
    settings: SaslSettings,
    /// Chance of this process, for users that do not exist.
    secret: Vec<u8>,
    token_credentials: TokenCredentials,
}

impl SaslServer {
    #[must_use]
    pub fn new(settings: SaslSettings, secret: Vec<u8>) -> Self {
        Self { settings, secret, token_credentials: TokenCredentials::default() }
    }
}

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is a request, for those who serve requests.
    Pass,
    /// It is answered, with a whole frame.
    Answer(Vec<u8>),
    /// It is answered, and from now on the connection is this user's. `by_token`: by a delegation token.
    Authenticated { user: Arc<str>, by_token: bool, answer: Vec<u8> },
    /// The connection ends, once this is answered.
    Refused { refusal: Refusal, answer: Option<Vec<u8>> },
}

/// Why a connection ends; for the log, never for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a frame that is no request")]
    Malformed,
    #[error("a request with key {0} before authentication")]
    Unexpected(i16),
    #[error("SASL mechanism {0:?} is not enabled")]
    Mechanism(String),
    #[error("version {version} of key {api_key} is not served")]
    Version { api_key: i16, version: i16 },
    #[error("{0}")]
    Credentials(String),
    #[error("the session has expired without another authentication")]
    Expired,
    #[error("another authentication as {asked}, and not as {was}")]
    OtherPrincipal { was: String, asked: String },
    #[error("no random numbers")]
    NoRandom,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    Second,
    Last,
}

struct Exchange {
    mechanism: SaslMechanism,
    /// Messages come in SaslAuthenticate, and not as bare frames.
    is_framed: bool,
    /// SCRAM's, where it is that.
    scram: Option<ScramServer>,
    stage: Stage,
    /// SCRAM is spoken about a delegation token that is there.
    delegated: Option<Delegated>,
    /// OAUTHBEARER's token was refused, and the client is to say that it has read so.
    refused_token: Option<TokenRefusal>,
    /// It asked for another mechanism than the connection authenticated with; the first message is told so.
    is_other_mechanism: bool,
}

/// Whose a delegation token is, and its end by the clock of [`Authenticator::handle`].
struct Delegated {
    owner: String,
    expires_at: Duration,
}

/// How an exchange goes on after a message.
enum Evaluated {
    /// With another one, after this answer.
    Further(Vec<u8>),
    Known(Known),
}

struct Known {
    user: String,
    answer: Vec<u8>,
    /// How long what it showed is good for, where that has an end.
    expires_in: Option<Duration>,
    by_token: bool,
}

enum State {
    HandshakeOrVersions,
    Handshake,
    Exchange(Box<Exchange>),
    Authenticated,
    Failed,
}

struct Session {
    user: Arc<str>,
    mechanism: SaslMechanism,
    expires_at: Option<Duration>,
}

/// See the module.
pub struct Authenticator {
    server: Arc<SaslServer>,
    state: State,
    session: Option<Session>,
    reauthenticated_at: Option<Duration>,
}

impl Authenticator {
    #[must_use]
    pub const fn new(server: Arc<SaslServer>) -> Self {
        Self { server, state: State::HandshakeOrVersions, session: None, reauthenticated_at: None }
    }

    /// Whether the connection is somebody's. It stays so while it authenticates again.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.session.is_some()
    }

    /// When the session ends unless it is renewed, by the clock of [`Self::handle`].
    #[must_use]
    pub fn expires_at(&self) -> Option<Duration> {
        self.session.as_ref().and_then(|session| session.expires_at)
    }

    /// Whether a frame without its size is a request for those who serve requests, told without [`Self::handle`] and what that
    /// wants to know. `now` is asked only where the session has an end.
    pub fn is_request(&self, frame: &[u8], now: impl FnOnce() -> Duration) -> bool {
        matches!(&self.state, State::Authenticated)
            && Reader(frame).int16() != Some(SASL_HANDSHAKE)
            && self.expires_at().is_none_or(|expires_at| now() < expires_at)
    }

    /// Takes a frame without its size. `now` is any clock that only goes forward; `nonce` gives chance, if there is any.
    pub fn handle(
        &mut self,
        frame: &[u8],
        now: Duration,
        store: &dyn CredentialStore,
        nonce: &mut dyn FnMut() -> Option<[u8; NONCE_BYTES]>,
    ) -> Step {
        if matches!(&self.state, State::Authenticated) {
            return self.request(frame, now);
        }
        let step = match std::mem::replace(&mut self.state, State::Failed) {
            State::Exchange(exchange) => self.message(exchange, frame, now, store, nonce),
            State::Failed => Step::Refused { refusal: Refusal::Malformed, answer: None },
            state => self.first_requests(frame, matches!(state, State::HandshakeOrVersions)),
        };
        if matches!(step, Step::Refused { .. }) {
            self.state = State::Failed;
        }
        step
    }

    /// A request of somebody who is known.
    fn request(&mut self, frame: &[u8], now: Duration) -> Step {
        let api_key = Reader(frame).int16();
        let is_late = |since: Duration| now.saturating_sub(since) < REAUTHENTICATION_MIN;
        if api_key == Some(SASL_HANDSHAKE) && !self.reauthenticated_at.is_some_and(is_late) {
            self.reauthenticated_at = Some(now);
            let step = self.handshake_of(frame);
            if matches!(step, Step::Refused { .. }) {
                self.state = State::Failed;
            }
            return step;
        }
        let expires_at = self.session.as_ref().and_then(|session| session.expires_at);
        if expires_at.is_some_and(|expires_at| now >= expires_at) {
            self.state = State::Failed;
            return Step::Refused { refusal: Refusal::Expired, answer: None };
        }
        Step::Pass
    }

    fn first_requests(&mut self, frame: &[u8], may_ask_versions: bool) -> Step {
        let Some((header, _)) = header(frame) else {
            return Step::Refused { refusal: Refusal::Malformed, answer: None };
        };
        match header.api_key {
            API_VERSIONS if may_ask_versions => {
                // Who is told which versions there are may ask again in one of those.
                let is_understood = (0..=4).contains(&header.version);
                self.state = if is_understood { State::Handshake } else { State::HandshakeOrVersions };
                Step::Pass
            }
            SASL_HANDSHAKE => self.handshake_of(frame),
            other => Step::Refused { refusal: Refusal::Unexpected(other), answer: None },
        }
    }

    fn handshake_of(&mut self, frame: &[u8]) -> Step {
        let refused = |refusal| Step::Refused { refusal, answer: None };
        let Some((header, mut body)) = header(frame) else { return refused(Refusal::Malformed) };
        if !(0..=HANDSHAKE_VERSION_MAX).contains(&header.version) {
            return refused(Refusal::Version { api_key: header.api_key, version: header.version });
        }
        let Some(name) = body.string() else { return refused(Refusal::Malformed) };
        let enabled = &self.server.settings.mechanisms;
        let names: Vec<&str> = enabled.iter().map(|mechanism| mechanism.name()).collect();
        let asked = SaslMechanism::from_name(name).filter(|mechanism| enabled.contains(mechanism));
        let Some(mechanism) = asked else {
            let code = ErrorCode::UnsupportedSaslMechanism.code();
            return Step::Refused {
                refusal: Refusal::Mechanism(name.chars().take(64).collect()),
                answer: Some(handshake_response(header, code, &names)),
            };
        };
        let scram = match mechanism {
            SaslMechanism::Plain | SaslMechanism::OauthBearer => None,
            SaslMechanism::ScramSha256 => Some(ScramServer::new(ScramMechanism::Sha256)),
            SaslMechanism::ScramSha512 => Some(ScramServer::new(ScramMechanism::Sha512)),
        };
        self.state = State::Exchange(Box::new(Exchange {
            mechanism,
            is_framed: header.version >= 1,
            scram,
            stage: Stage::First,
            delegated: None,
            refused_token: None,
            is_other_mechanism: self.session.as_ref().is_some_and(|session| session.mechanism != mechanism),
        }));
        Step::Answer(handshake_response(header, ErrorCode::None.code(), &names))
    }

    fn message(
        &mut self,
        mut exchange: Box<Exchange>,
        frame: &[u8],
        now: Duration,
        store: &dyn CredentialStore,
        nonce: &mut dyn FnMut() -> Option<[u8; NONCE_BYTES]>,
    ) -> Step {
        let refused = |refusal| Step::Refused { refusal, answer: None };
        let (header, token) = if exchange.is_framed {
            let Some((header, mut body)) = header(frame) else { return refused(Refusal::Malformed) };
            if header.api_key != SASL_AUTHENTICATE {
                return refused(Refusal::Unexpected(header.api_key));
            }
            if !(0..=AUTHENTICATE_VERSION_MAX).contains(&header.version) {
                return refused(Refusal::Version { api_key: header.api_key, version: header.version });
            }
            let token = if header.version == AUTHENTICATE_VERSION_MAX {
                body.tagged_fields().and_then(|()| body.compact_bytes())
            } else {
                body.bytes()
            };
            let Some(token) = token else { return refused(Refusal::Malformed) };
            (Some(header), token)
        } else {
            (None, frame)
        };
        match self.evaluate(&mut exchange, token, now, store, nonce) {
            Ok(Evaluated::Further(answer)) => {
                let lifetime = 0;
                self.state = State::Exchange(exchange);
                Step::Answer(answered(header, &answer, lifetime))
            }
            Ok(Evaluated::Known(known)) => self.authenticated(exchange.mechanism, known, now, header),
            Err((refusal, told)) => {
                let code = ErrorCode::SaslAuthenticationFailed.code();
                let answer = header.map(|header| authenticate_response(header, code, Some(&told), &[], 0));
                Step::Refused { refusal, answer }
            }
        }
    }

    /// How the exchange goes on; or what is wrong, and what the client is told of it.
    fn evaluate(
        &self,
        exchange: &mut Exchange,
        token: &[u8],
        now: Duration,
        store: &dyn CredentialStore,
        nonce: &mut dyn FnMut() -> Option<[u8; NONCE_BYTES]>,
    ) -> Result<Evaluated, (Refusal, String)> {
        let again = if self.session.is_some() { "re-authentication" } else { "authentication" };
        let name = exchange.mechanism.name();
        if let Some(session) = self.session.as_ref().filter(|_| exchange.is_other_mechanism) {
            let told = format!(
                "SASL mechanism '{name}' requested by client is not supported for re-authentication of mechanism '{}'",
                session.mechanism.name()
            );
            return Err((Refusal::Credentials(told.clone()), told));
        }
        let refused = |why: String| {
            let told = format!(
                "Authentication failed during {again} due to invalid credentials with SASL mechanism {name}"
            );
            (Refusal::Credentials(why), told)
        };
        if exchange.mechanism == SaslMechanism::OauthBearer {
            return bearer(exchange, token, store);
        }
        let Some(scram) = &mut exchange.scram else {
            let user = plain::check(token, &self.server.settings.plain_users)
                .map_err(|told| (Refusal::Credentials(told.to_owned()), told.to_owned()))?;
            return Ok(known(user, Vec::new(), None));
        };
        let mechanism = match exchange.mechanism {
            SaslMechanism::ScramSha512 => ScramMechanism::Sha512,
            _ => ScramMechanism::Sha256,
        };
        match exchange.stage {
            Stage::First => {
                let Some(nonce) = nonce() else {
                    return Err((
                        Refusal::NoRandom,
                        ErrorCode::SaslAuthenticationFailed.message().to_owned(),
                    ));
                };
                exchange.stage = Stage::Second;
                let SaslServer { secret, token_credentials, .. } = &*self.server;
                let delegated = &mut exchange.delegated;
                let credential_of = |name: &str, is_token: bool| {
                    if !is_token {
                        return store.scram(mechanism, name);
                    }
                    let DelegationLogin { owner, password, expires_in } = store.delegation_token(name)?;
                    *delegated = Some(Delegated { owner, expires_at: now.saturating_add(expires_in) });
                    Some(token_credentials.of(mechanism, name, &password, secret))
                };
                let answer = scram.first(token, &nonce, secret, credential_of);
                Ok(Evaluated::Further(answer.map_err(|why| refused(why.to_string()))?))
            }
            Stage::Second => {
                exchange.stage = Stage::Last;
                let (user, answer) = scram.last(token).map_err(|why| refused(why.to_string()))?;
                let Some(Delegated { owner, expires_at }) = exchange.delegated.take() else {
                    return Ok(known(user, answer, None));
                };
                let expires_in = expires_at.saturating_sub(now);
                if expires_in.is_zero() {
                    return Err(refused("the delegation token has expired".to_owned()));
                }
                let expires_in = Some(expires_in);
                Ok(Evaluated::Known(Known { user: owner, answer, expires_in, by_token: true }))
            }
            Stage::Last => Err(refused("the exchange is over".to_owned())),
        }
    }

    fn authenticated(
        &mut self,
        mechanism: SaslMechanism,
        known: Known,
        now: Duration,
        header: Option<Header>,
    ) -> Step {
        let Known { user, answer, expires_in, by_token } = known;
        if let Some(session) = self.session.as_ref().filter(|session| *session.user != *user) {
            let told = format!(
                "Cannot change principals during re-authentication from User.{}: {} to User.{}: {user}",
                session.user, session.user, user
            );
            let code = ErrorCode::SaslAuthenticationFailed.code();
            let answer = header.map(|header| authenticate_response(header, code, Some(&told), &[], 0));
            let refusal = Refusal::OtherPrincipal { was: session.user.to_string(), asked: user };
            return Step::Refused { refusal, answer };
        }
        let lifetime_ms =
            self.server.settings.reauthentication_ms.get(&mechanism).copied().unwrap_or(0).max(0);
        let setting = (lifetime_ms > 0).then(|| Duration::from_millis(lifetime_ms.unsigned_abs()));
        // A session lives no longer than what it began with.
        let lifetime = [setting, expires_in].into_iter().flatten().min();
        let user: Arc<str> = user.into();
        let expires_at = lifetime.map(|lifetime| now.saturating_add(lifetime));
        let lifetime_ms = lifetime.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        self.session = Some(Session { user: Arc::clone(&user), mechanism, expires_at });
        self.state = State::Authenticated;
        Step::Authenticated { user, by_token, answer: answered(header, &answer, lifetime_ms) }
    }
}

/// A message of OAUTHBEARER. A token that is refused is answered with an error, as RFC 7628 has it; the client says that it has
/// read that, and only then is told in Kafka's way.
fn bearer(
    exchange: &mut Exchange,
    message: &[u8],
    store: &dyn CredentialStore,
) -> Result<Evaluated, (Refusal, String)> {
    if let Some(refusal) = exchange.refused_token.take() {
        let told = if message == READ_THE_ERROR { INVALID_TOKEN } else { "Invalid OAUTHBEARER message" };
        return Err((Refusal::Credentials(refusal.to_string()), told.to_owned()));
    }
    let refused = |told: &str| (Refusal::Credentials(told.to_owned()), told.to_owned());
    let message = BearerMessage::parse(message).map_err(refused)?;
    let token = match store.token(message.token) {
        Ok(token) => token,
        Err(refusal) => {
            exchange.refused_token = Some(refusal);
            return Ok(Evaluated::Further(INVALID_TOKEN.as_bytes().to_vec()));
        }
    };
    if message.authorization_id.is_some_and(|id| id != token.user) {
        return Err(refused(
            "Authentication failed: Client requested an authorization id that is different from the token's principal name",
        ));
    }
    Ok(known(token.user, Vec::new(), Some(token.expires_in)))
}

/// Somebody who has not shown a delegation token.
fn known(user: String, answer: Vec<u8>, expires_in: Option<Duration>) -> Evaluated {
    Evaluated::Known(Known { user, answer, expires_in, by_token: false })
}

/// A mechanism's message on its way to the client.
fn answered(header: Option<Header>, token: &[u8], lifetime_ms: i64) -> Vec<u8> {
    match header {
        Some(header) => authenticate_response(header, ErrorCode::None.code(), None, token, lifetime_ms),
        // An empty message is none where messages have no header.
        None if token.is_empty() => Vec::new(),
        None => raw(token),
    }
}

#[cfg(test)]
mod tests;
