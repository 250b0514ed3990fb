//! How listeners and the links between nodes are protected: TLS and SASL, by Kafka's names, with Kafka's rules of which
//! name goes before which: `listener.name.NAME.MECHANISM.key`, `listener.name.NAME.key`, `key`.
//!
//! What stands here was read out of settings. Files are looked at by whoever makes TLS of it.

mod jaas;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::SecurityProtocol;

pub use jaas::{JaasEntry, JaasError, LoginModule, parse_jaas};
pub use reading::{SecurityProblem, client_security};
pub(super) use reading::{listener_security, peer_security};

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Arc<str>);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Whoever asks sees to it that it goes nowhere.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// A way to authenticate by SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OauthBearer,
}

impl SaslMechanism {
    pub const ALL: [Self; 4] = [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OauthBearer];

    /// The name on the wire and in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// Keys and certificates in PEM: in a file, or in the setting itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemSource {
    File(PathBuf),
    Text(Secret),
}

/// What a TLS server or client shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStore {
    /// Holds the certificates.
    pub certificates: PemSource,
    /// Holds the private key; the same file where the setting names one.
    pub key: PemSource,
}

/// `ssl.client.auth`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    Requested,
    Required,
}

/// One side's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub key_store: Option<KeyStore>,
    pub trust_store: Option<PemSource>,
    pub client_auth: ClientAuth,
    /// `ssl.enabled.protocols` has TLSv1.2.
    pub allows_1_2: bool,
    /// `ssl.enabled.protocols` has TLSv1.3.
    pub allows_1_3: bool,
    /// `ssl.cipher.suites`, by Java's names; empty: all that are known.
    pub cipher_suites: Vec<String>,
    /// Whether a server's certificate has to name the host that was dialled.
    pub checks_host_name: bool,
    /// `ssl.principal.mapping.rules`.
    pub principal_rules: String,
}

/// With what somebody authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub mechanism: SaslMechanism,
    /// Nobody for OAUTHBEARER: its token says who it is.
    pub user: String,
    /// OAUTHBEARER's token, once its file was read.
    pub password: Secret,
    /// Holds OAUTHBEARER's token, and is read for each login: tokens are renewed by whoever writes it.
    pub token_file: Option<PathBuf>,
    /// The user is the id of a delegation token, and the password what its holder shows.
    pub by_token: bool,
}

/// How tokens of OAUTHBEARER are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// `sasl.oauthbearer.jwks.endpoint.url`.
    pub keys: KeysPlace,
    /// `sasl.oauthbearer.expected.audience`; empty: whatever it is.
    pub audiences: Vec<String>,
    /// `sasl.oauthbearer.expected.issuer`.
    pub issuer: Option<String>,
    /// `sasl.oauthbearer.sub.claim.name`.
    pub subject_claim: String,
    /// `sasl.oauthbearer.scope.claim.name`.
    pub scope_claim: String,
    /// `sasl.oauthbearer.clock.skew.seconds`.
    pub clock_skew_seconds: i32,
}

/// Where an identity provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysPlace {
    File(PathBuf),
    Endpoint(Box<KeysEndpoint>),
}

/// Where keys are fetched by HTTPS, and how often.
#[derive(Clone, PartialEq, Eq)]
pub struct KeysEndpoint {
    /// A name or an address; one of IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    /// Begins with a slash. What stands behind a question mark may be a secret.
    pub path_and_query: String,
    /// Whom to believe: the `ssl.*` among the options of the login module, as in Kafka.
    pub tls: TlsSettings,
    /// `sasl.oauthbearer.jwks.endpoint.refresh.ms`.
    pub refresh: Duration,
    /// `sasl.oauthbearer.jwks.endpoint.retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
}

/// A listener's SASL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslSettings {
    /// `sasl.enabled.mechanisms`, as clients are told of them.
    pub mechanisms: Vec<SaslMechanism>,
    /// The users of PLAIN: `user_NAME="password"`.
    pub plain_users: BTreeMap<String, Secret>,
    /// Where OAUTHBEARER is enabled.
    pub tokens: Option<TokenSettings>,
    /// `connections.max.reauth.ms`, by mechanism; 0 or less: for ever.
    pub reauthentication_ms: BTreeMap<SaslMechanism, i64>,
}

/// One listener's protection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerSecurity {
    pub protocol: SecurityProtocol,
    /// Where the protocol is SSL or `SASL_SSL`.
    pub tls: Option<TlsSettings>,
    /// Where the protocol is `SASL_PLAINTEXT` or `SASL_SSL`.
    pub sasl: Option<SaslSettings>,
}

/// How somebody dials a listener that is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSecurity {
    pub tls: Option<TlsSettings>,
    pub login: Option<Login>,
}

/// All of a node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecuritySettings {
    /// By the listener's name, the controller's too.
    pub listeners: BTreeMap<String, ListenerSecurity>,
    /// How this broker dials others.
    pub inter_broker: PeerSecurity,
    /// How this node dials controllers.
    pub controller: PeerSecurity,
    /// `connection.failed.authentication.delay.ms`.
    pub failed_delay_ms: i32,
    /// `sasl.server.max.receive.size`.
    pub unauthenticated_frame_bytes_max: i32,
    /// `connections.authentication.timeout.ms`.
    pub authentication_timeout_ms: i32,
    /// `max.unauthenticated.connections`.
    pub unauthenticated_max: i32,
    /// `max.unauthenticated.connections.per.ip`.
    pub unauthenticated_per_address_max: i32,
}

impl KeysEndpoint {
    /// Host and port as they stand in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }
}

/// Without what stands behind the question mark.
impl fmt::Display for KeysEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "https://{}{path}", self.authority())
    }
}

impl fmt::Debug for KeysEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeysEndpoint({self})")
    }
}

/// `delegation.token.secret.key`; `None` where it is not set or empty: there are no delegation tokens then.
#[must_use]
pub fn delegation_token_secret(settings: &BTreeMap<String, String>) -> Option<Secret> {
    let secret = settings.get("delegation.token.secret.key").map(|text| text.trim());
    secret.filter(|secret| !secret.is_empty()).map(Secret::new)
}

impl SecurityProtocol {
    /// Whether connections are encrypted.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients authenticate by SASL.
    #[must_use]
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl TlsSettings {
    /// The files it is read from, to be watched for changes.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let stores = self.key_store.iter().flat_map(|store| [&store.certificates, &store.key]);
        let file = |source: &PemSource| match source {
            PemSource::File(path) => Some(path.clone()),
            PemSource::Text(_) => None,
        };
        stores.chain(&self.trust_store).filter_map(file).collect()
    }
}
