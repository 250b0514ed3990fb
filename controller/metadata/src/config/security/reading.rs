//! Settings of TLS and SASL as they are written, made into what they mean.

mod oauth;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    ClientAuth, JaasEntry, KeyStore, ListenerSecurity, Login, LoginModule, PeerSecurity, PemSource,
    SaslMechanism, SaslSettings, Secret, TlsSettings, parse_jaas,
};
use crate::SecurityProtocol;
use crate::config::definitions::broker_definition;
use crate::config::value::as_list;
use oauth::{file_of_url, tokens};

/// What may stand for a mechanism.
const KNOWN_MECHANISMS: &str = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are";

/// What is wrong with a setting: its name, and a sentence that repeats no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SecurityProblem {
    pub key: String,
    pub problem: String,
}

fn problem(key: &str, problem: impl std::fmt::Display) -> SecurityProblem {
    SecurityProblem { key: key.to_owned(), problem: problem.to_string() }
}

/// Looks settings up for one listener and mechanism; the more special name goes before the general one.
struct Lookup<'a> {
    settings: &'a BTreeMap<String, String>,
    /// `listener.name.NAME.`, or nothing for a client.
    prefix: Option<String>,
    /// Whether what is not set takes a broker's default.
    has_broker_defaults: bool,
}

impl<'a> Lookup<'a> {
    fn of_listener(settings: &'a BTreeMap<String, String>, name: &str) -> Self {
        let prefix = Some(format!("listener.name.{}.", name.to_ascii_lowercase()));
        Self { settings, prefix, has_broker_defaults: true }
    }

    fn exact(&self, key: &str) -> Option<(String, &'a str)> {
        let text = self.settings.get(key)?.trim();
        (!text.is_empty()).then(|| (key.to_owned(), text))
    }

    /// The name under which the setting was found, and what it says.
    fn find(&self, mechanism: Option<SaslMechanism>, key: &str) -> Option<(String, &'a str)> {
        let of_mechanism =
            mechanism.map(|mechanism| format!("{}.{key}", mechanism.name().to_ascii_lowercase()));
        let prefixed = |key: &str| self.prefix.as_ref().map(|prefix| format!("{prefix}{key}"));
        let names =
            [of_mechanism.as_deref().and_then(prefixed), of_mechanism, prefixed(key), Some(key.to_owned())];
        names.into_iter().flatten().find_map(|name| self.exact(&name))
    }

    /// The value in force; a default where nothing is set.
    fn text(&self, key: &str) -> &'a str {
        let default = || {
            let definition = broker_definition(key).filter(|_| self.has_broker_defaults);
            definition.and_then(|definition| definition.default.text()).unwrap_or_default()
        };
        self.find(None, key).map_or_else(default, |(_, text)| text)
    }

    /// Whether the listener's own name says it.
    fn own(&self, key: &str) -> Option<(String, &'a str)> {
        self.prefix.as_ref().and_then(|prefix| self.exact(&format!("{prefix}{key}")))
    }

    fn jaas(&self, mechanism: SaslMechanism) -> Result<Option<(String, JaasEntry)>, SecurityProblem> {
        let Some((key, text)) = self.find(Some(mechanism), "sasl.jaas.config") else { return Ok(None) };
        // The general name is a client's; of a server Kafka ignores it.
        if self.prefix.is_some() && key == "sasl.jaas.config" {
            return Ok(None);
        }
        let entry = parse_jaas(text).map_err(|error| problem(&key, error))?;
        let expected = match mechanism {
            SaslMechanism::Plain => LoginModule::Plain,
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => LoginModule::Scram,
            SaslMechanism::OauthBearer => LoginModule::OauthBearer,
        };
        if entry.module != expected {
            return Err(problem(&key, format!("the login module is not one of {}", mechanism.name())));
        }
        Ok(Some((key, entry)))
    }

    fn login(&self, mechanism: SaslMechanism) -> Result<Login, SecurityProblem> {
        let key = || match &self.prefix {
            Some(prefix) => {
                format!("{prefix}{}.sasl.jaas.config", mechanism.name().to_ascii_lowercase())
            }
            None => "sasl.jaas.config".to_owned(),
        };
        let Some((key, entry)) = self.jaas(mechanism)? else {
            return Err(problem(
                &key(),
                format!("has to tell username and password for {}", mechanism.name()),
            ));
        };
        let option = |name: &str| {
            let missing = || problem(&key, format!("the login module needs the option {name}"));
            let option = entry.options.get(name).cloned().ok_or_else(missing)?;
            if option.expose().is_empty() {
                return Err(problem(&key, format!("the login module's {name} is empty")));
            }
            Ok(option)
        };
        let (user, password) = (option("username")?.expose().to_owned(), option("password")?);
        let by_token =
            entry.options.get("tokenauth").is_some_and(|it| it.expose().eq_ignore_ascii_case("true"));
        if by_token && self.prefix.is_some() {
            return Err(problem(&key, "nodes do not log in by delegation tokens, which end"));
        }
        Ok(Login { mechanism, user, password, token_file: None, by_token })
    }

    /// A client's login by a token out of a file.
    fn token_login(&self) -> Result<Login, SecurityProblem> {
        let mechanism = SaslMechanism::OauthBearer;
        self.jaas(mechanism)?;
        let key = "sasl.oauthbearer.token.endpoint.url";
        let (key, url) = self
            .find(None, key)
            .ok_or_else(|| problem(key, "OAUTHBEARER needs a token, as file:/path of one"))?;
        let token_file = Some(file_of_url(&key, url)?);
        Ok(Login { mechanism, user: String::new(), password: Secret::default(), token_file, by_token: false })
    }

    /// `is_server`: without a certificate of its own it is none.
    fn tls(&self, protocol: SecurityProtocol, is_server: bool) -> Result<TlsSettings, SecurityProblem> {
        let key_store = self.key_store()?;
        if is_server && key_store.is_none() {
            let text = format!("a listener of {} needs a certificate and its key", protocol.name());
            return Err(problem("ssl.keystore.location", text));
        }
        // As in Kafka, SASL tells who a client is; a certificate besides is asked for only where the listener's own name does.
        let found = if protocol == SecurityProtocol::SaslSsl {
            self.own("ssl.client.auth")
        } else {
            self.find(None, "ssl.client.auth")
        };
        let client_auth = match &found {
            None => ClientAuth::None,
            // A value that is none must not leave the door open.
            Some((key, text)) => match text.trim().to_ascii_lowercase().as_str() {
                "required" => ClientAuth::Required,
                "requested" => ClientAuth::Requested,
                "none" => ClientAuth::None,
                _ => return Err(problem(key, format!("{text} is none of none, requested, required"))),
            },
        };
        let trust_store = self.trust_store()?;
        if is_server && client_auth != ClientAuth::None && trust_store.is_none() {
            let text = "ssl.client.auth asks clients for certificates, and nothing tells whom to trust";
            return Err(problem("ssl.truststore.location", text));
        }
        let protocols = match as_list(self.text("ssl.enabled.protocols")) {
            none if none.is_empty() => vec!["TLSv1.2", "TLSv1.3"],
            some => some,
        };
        if let Some(unknown) = protocols.iter().find(|name| !["TLSv1.2", "TLSv1.3"].contains(*name)) {
            let text = format!("{unknown} is not spoken here; TLSv1.2 and TLSv1.3 are");
            return Err(problem("ssl.enabled.protocols", text));
        }
        let identification = "ssl.endpoint.identification.algorithm";
        let own =
            self.prefix.as_ref().and_then(|prefix| self.settings.get(&format!("{prefix}{identification}")));
        // An empty one is no default, but the wish not to look.
        let algorithm = own.or_else(|| self.settings.get(identification)).map_or("https", |text| text.trim());
        Ok(TlsSettings {
            key_store,
            trust_store,
            client_auth,
            allows_1_2: protocols.contains(&"TLSv1.2"),
            allows_1_3: protocols.contains(&"TLSv1.3"),
            cipher_suites: as_list(self.text("ssl.cipher.suites")).into_iter().map(str::to_owned).collect(),
            checks_host_name: !algorithm.is_empty(),
            principal_rules: match self.text("ssl.principal.mapping.rules") {
                "" => "DEFAULT".to_owned(),
                rules => rules.to_owned(),
            },
        })
    }

    fn key_store(&self) -> Result<Option<KeyStore>, SecurityProblem> {
        self.check_store_type("ssl.keystore.type")?;
        if let Some((key, _)) = self.find(None, "ssl.key.password") {
            let text = "an encrypted key is not read; decrypt it (openssl pkcs8 -in KEY -out FILE) and let the \
                        file's permissions keep it";
            return Err(problem(&key, text));
        }
        let location = self.find(None, "ssl.keystore.location");
        let (chain, key) =
            (self.find(None, "ssl.keystore.certificate.chain"), self.find(None, "ssl.keystore.key"));
        match (location, chain, key) {
            (Some((_, path)), None, None) => {
                let file = PemSource::File(PathBuf::from(path));
                Ok(Some(KeyStore { certificates: file.clone(), key: file }))
            }
            (None, Some((_, chain)), Some((_, key))) => Ok(Some(KeyStore {
                certificates: PemSource::Text(pem_text(chain)),
                key: PemSource::Text(pem_text(key)),
            })),
            (None, None, None) => Ok(None),
            (Some((name, _)), _, _) => Err(problem(
                &name,
                "stands beside ssl.keystore.key or ssl.keystore.certificate.chain; one of the two",
            )),
            (None, Some((name, _)), None) => Err(problem(&name, "needs ssl.keystore.key beside it")),
            (None, None, Some((name, _))) => {
                Err(problem(&name, "needs ssl.keystore.certificate.chain beside it"))
            }
        }
    }

    fn trust_store(&self) -> Result<Option<PemSource>, SecurityProblem> {
        self.check_store_type("ssl.truststore.type")?;
        match (self.find(None, "ssl.truststore.location"), self.find(None, "ssl.truststore.certificates")) {
            (Some((_, path)), None) => Ok(Some(PemSource::File(PathBuf::from(path)))),
            (None, Some((_, text))) => Ok(Some(PemSource::Text(pem_text(text)))),
            (None, None) => Ok(None),
            (Some((name, _)), Some(_)) => {
                Err(problem(&name, "stands beside ssl.truststore.certificates; one of the two"))
            }
        }
    }

    fn check_store_type(&self, key: &str) -> Result<(), SecurityProblem> {
        match self.find(None, key) {
            Some((name, kind)) if !kind.eq_ignore_ascii_case("PEM") => Err(problem(
                &name,
                format!(
                    "{kind} is not read; make PEM of it (a PKCS12 store by openssl pkcs12 -nodes, a JKS one by keytool \
                     -importkeystore -deststoretype PKCS12 first) and set {key}=PEM"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// PEM in one line of a properties file has its line breaks written out, or blanks in their place.
fn pem_text(text: &str) -> Secret {
    let text = text.replace("\\n", "\n");
    if text.contains('\n') {
        return Secret::new(text);
    }
    // `-----BEGIN CERTIFICATE----- MIIB... -----END CERTIFICATE-----`: the markers alone have blanks inside.
    let text = text.replace("----- ", "-----\n").replace(" -----END", "\n-----END");
    Secret::new(text.replace("-----END CERTIFICATE----- ", "-----END CERTIFICATE-----\n"))
}

/// What a listener's settings say.
pub(in crate::config) fn listener_security(
    settings: &BTreeMap<String, String>,
    name: &str,
    protocol: SecurityProtocol,
) -> Result<ListenerSecurity, SecurityProblem> {
    let lookup = Lookup::of_listener(settings, name);
    let tls = protocol.has_tls().then(|| lookup.tls(protocol, true)).transpose()?;
    let sasl = protocol.has_sasl().then(|| sasl(&lookup, name)).transpose()?;
    Ok(ListenerSecurity { protocol, tls, sasl })
}

fn sasl(lookup: &Lookup<'_>, name: &str) -> Result<SaslSettings, SecurityProblem> {
    let key = "sasl.enabled.mechanisms";
    let (found, text) = lookup.find(None, key).unwrap_or_else(|| (key.to_owned(), lookup.text(key)));
    let mut sasl = SaslSettings::default();
    for text in as_list(text) {
        let Some(mechanism) = SaslMechanism::from_name(text) else {
            let why = match text {
                "GSSAPI" => "GSSAPI (Kerberos), Kafka's default, is not spoken here",
                _ => "this mechanism is not known",
            };
            let problem_text = format!("listener {name}: {why}; {}", KNOWN_MECHANISMS);
            return Err(problem(&found, problem_text));
        };
        sasl.mechanisms.push(mechanism);
        let reauthentication = lookup.find(Some(mechanism), "connections.max.reauth.ms");
        let ms = reauthentication.map_or(Ok(0), |(key, text)| {
            text.parse().map_err(|_| problem(&key, format!("{text} is not a number of milliseconds")))
        })?;
        sasl.reauthentication_ms.insert(mechanism, ms);
        let entry = lookup.jaas(mechanism)?;
        if mechanism == SaslMechanism::OauthBearer {
            sasl.tokens = Some(tokens(lookup, entry.as_ref())?);
        }
        if mechanism == SaslMechanism::Plain {
            let Some((key, entry)) = entry else {
                let key = format!("listener.name.{}.plain.sasl.jaas.config", name.to_ascii_lowercase());
                return Err(problem(
                    &key,
                    "PLAIN needs the users that it lets in, as user_NAME=\"password\"",
                ));
            };
            let users = entry.options.into_iter();
            sasl.plain_users = users
                .filter_map(|(option, password)| Some((option.strip_prefix("user_")?.to_owned(), password)))
                .collect();
            if sasl.plain_users.values().any(|password| password.expose().is_empty()) {
                return Err(problem(&key, "a user's password is empty"));
            }
        }
    }
    Ok(sasl)
}

/// How a listener of this name and protocol is dialled from another node of the cluster.
pub(in crate::config) fn peer_security(
    settings: &BTreeMap<String, String>,
    name: &str,
    protocol: SecurityProtocol,
    mechanism_key: &str,
) -> Result<PeerSecurity, SecurityProblem> {
    let lookup = Lookup::of_listener(settings, name);
    let tls = protocol.has_tls().then(|| lookup.tls(protocol, false)).transpose()?;
    let login = protocol.has_sasl().then(|| login(&lookup, mechanism_key)).transpose()?;
    Ok(PeerSecurity { tls, login })
}

fn login(lookup: &Lookup<'_>, mechanism_key: &str) -> Result<Login, SecurityProblem> {
    let text = lookup.text(mechanism_key);
    let mechanism = SaslMechanism::from_name(text).ok_or_else(|| {
        let text = if text.is_empty() { "GSSAPI" } else { text };
        problem(mechanism_key, format!("{text} is not spoken here; {KNOWN_MECHANISMS}"))
    })?;
    if mechanism != SaslMechanism::OauthBearer {
        return lookup.login(mechanism);
    }
    if lookup.prefix.is_some() {
        let text = "nodes do not log in at one another by tokens yet; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are for them";
        return Err(problem(mechanism_key, text));
    }
    lookup.token_login()
}

/// What a client's properties say: `security.protocol`, `ssl.*`, `sasl.*`.
///
/// # Errors
/// The first thing that is wrong.
pub fn client_security(
    settings: &BTreeMap<String, String>,
) -> Result<(SecurityProtocol, PeerSecurity), SecurityProblem> {
    let lookup = Lookup { settings, prefix: None, has_broker_defaults: false };
    let protocol = match lookup.text("security.protocol") {
        "" => SecurityProtocol::Plaintext,
        name => SecurityProtocol::from_name(&name.to_ascii_uppercase())
            .ok_or_else(|| problem("security.protocol", format!("{name} is not a security protocol")))?,
    };
    let tls = protocol.has_tls().then(|| lookup.tls(protocol, false)).transpose()?;
    let login = protocol.has_sasl().then(|| login(&lookup, "sasl.mechanism")).transpose()?;
    Ok((protocol, PeerSecurity { tls, login }))
}

#[cfg(test)]
mod tests;
