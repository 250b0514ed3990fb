//! Settings of TLS and SASL, read.

use std::time::Duration;

use super::oauth::TOKEN_VALIDATORS;
use super::*;
use crate::config::security::{KeysPlace, TokenSettings};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required";

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_listeners_own_name_goes_before_the_general_one() {
    let plain = format!("{PLAIN} username=\"a\" password=\"b\" user_a=\"b\" user_c=\"d\";");
    let all = settings(&[
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("listener.name.out.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("listener.name.out.plain.sasl.jaas.config", &plain),
        ("connections.max.reauth.ms", "1000"),
        ("listener.name.out.scram-sha-256.connections.max.reauth.ms", "2000"),
        ("ssl.keystore.location", "general.pem"),
        ("listener.name.out.ssl.keystore.location", "own.pem"),
        ("ssl.client.auth", "required"),
    ]);
    let out = listener_security(&all, "OUT", SecurityProtocol::SaslSsl).unwrap();
    let sasl = out.sasl.unwrap();
    assert_eq!(sasl.mechanisms, [SaslMechanism::Plain, SaslMechanism::ScramSha256]);
    assert_eq!(sasl.plain_users.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(sasl.reauthentication_ms.values().copied().collect::<Vec<_>>(), [1000, 2000]);
    let tls = out.tls.unwrap();
    assert_eq!(tls.files(), [PathBuf::from("own.pem")].into());
    // SASL says who a client is; the general setting does not ask for a certificate besides.
    assert_eq!(tls.client_auth, ClientAuth::None);
    let other = listener_security(&all, "OTHER", SecurityProtocol::SaslPlaintext).unwrap();
    assert_eq!(other.sasl.unwrap().mechanisms, [SaslMechanism::ScramSha512]);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refused = |pairs: &[(&str, &str)], protocol: SecurityProtocol| {
        listener_security(&settings(pairs), "OUT", protocol).unwrap_err().to_string()
    };
    use SecurityProtocol::{SaslPlaintext, Ssl};
    let store = ("ssl.keystore.location", "a.pem");
    for (pairs, protocol, expected) in [
        (&[][..], Ssl, "ssl.keystore.location: a listener of SSL needs a certificate"),
        (&[store, ("ssl.keystore.type", "JKS")], Ssl, "ssl.keystore.type: JKS is not read; make PEM"),
        (&[store, ("ssl.client.auth", "required")], Ssl, "ssl.truststore.location: ssl.client.auth asks"),
        (&[store, ("ssl.client.auth", "require")], Ssl, "ssl.client.auth: require is none of none,"),
        (
            &[store, ("listener.name.out.ssl.client.auth", "on")],
            Ssl,
            "listener.name.out.ssl.client.auth: on is none of none,",
        ),
        (
            &[store, ("listener.name.out.ssl.client.auth", "REQUIRED")],
            Ssl,
            "ssl.truststore.location: ssl.client.auth asks",
        ),
        (&[store, ("ssl.enabled.protocols", "TLSv1.1")], Ssl, "ssl.enabled.protocols: TLSv1.1 is not spoken"),
        (&[store, ("ssl.key.password", "hush")], Ssl, "ssl.key.password: an encrypted key is not read"),
        (&[], SaslPlaintext, "sasl.enabled.mechanisms: listener OUT: GSSAPI"),
        (
            &[("sasl.enabled.mechanisms", "PLAIN")],
            SaslPlaintext,
            "listener.name.out.plain.sasl.jaas.config: PLAIN needs the users",
        ),
        (
            &[
                ("sasl.enabled.mechanisms", "PLAIN"),
                ("listener.name.out.plain.sasl.jaas.config", "a.JndiLoginModule required hush=hush;"),
            ],
            SaslPlaintext,
            "listener.name.out.plain.sasl.jaas.config: login module a.JndiLoginModule is not known",
        ),
    ] {
        let text = refused(pairs, protocol);
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn nodes_log_in_at_one_another_as_the_listeners_login_says() {
    let scram = format!("{SCRAM} username=\"node\" password=\"hush\";");
    let all = settings(&[
        ("sasl.mechanism.inter.broker.protocol", "SCRAM-SHA-256"),
        ("listener.name.inside.scram-sha-256.sasl.jaas.config", &scram),
    ]);
    let key = "sasl.mechanism.inter.broker.protocol";
    let peer = peer_security(&all, "INSIDE", SecurityProtocol::SaslPlaintext, key).unwrap();
    let login = peer.login.unwrap();
    assert_eq!((login.user.as_str(), login.password.expose()), ("node", "hush"));
    assert!(!format!("{login:?}").contains("hush"));
    let empty = settings(&[
        ("sasl.mechanism.inter.broker.protocol", "SCRAM-SHA-256"),
        ("listener.name.inside.scram-sha-256.sasl.jaas.config", &scram.replace("hush", "")),
    ]);
    let error = peer_security(&empty, "INSIDE", SecurityProtocol::SaslPlaintext, key).unwrap_err();
    assert_eq!(error.to_string().split_once(": ").unwrap().1, "the login module's password is empty");
    let error = peer_security(&all, "OUT", SecurityProtocol::SaslPlaintext, key).unwrap_err();
    assert_eq!(error.key, "listener.name.out.scram-sha-256.sasl.jaas.config");
}

#[test]
fn a_clients_properties_are_read_as_kafkas_clients_read_them() {
    let plain = format!("{PLAIN} username=\"a\" password=\"b\";");
    let (protocol, peer) = client_security(&settings(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", &plain),
        ("ssl.truststore.location", "ca.pem"),
        ("ssl.truststore.type", "PEM"),
        ("ssl.endpoint.identification.algorithm", ""),
    ]))
    .unwrap();
    assert_eq!(protocol, SecurityProtocol::SaslSsl);
    assert_eq!(peer.login.unwrap().user, "a");
    assert!(!peer.tls.unwrap().checks_host_name);
    assert_eq!(client_security(&settings(&[])).unwrap().0, SecurityProtocol::Plaintext);
    let error = client_security(&settings(&[("security.protocol", "SASL_SSL")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sasl.mechanism: GSSAPI is not spoken here; PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are"
    );
}

#[test]
fn pem_in_one_line_gets_its_line_breaks_back() {
    let one = "-----BEGIN CERTIFICATE----- MIIB AQ== -----END CERTIFICATE----- -----BEGIN CERTIFICATE----- MIIC -----END CERTIFICATE-----";
    let text = pem_text(one);
    let lines: Vec<&str> = text.expose().lines().collect();
    assert_eq!(lines[..3], ["-----BEGIN CERTIFICATE-----", "MIIB AQ==", "-----END CERTIFICATE-----"]);
    assert_eq!(lines.len(), 6);
}

const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";

#[test]
fn a_listener_of_tokens_needs_the_providers_keys_and_takes_nothing_unsigned() {
    let enabled = ("sasl.enabled.mechanisms", "OAUTHBEARER");
    let keys = ("listener.name.out.sasl.oauthbearer.jwks.endpoint.url", "file:///etc/jwks.json");
    let read = |pairs: &[(&str, &str)]| {
        let all = settings(&[&[enabled][..], pairs].concat());
        listener_security(&all, "OUT", SecurityProtocol::SaslPlaintext)
    };
    let class = "listener.name.out.oauthbearer.sasl.server.callback.handler.class";
    let audience = ("sasl.oauthbearer.expected.audience", "kafka, other");
    let found = read(&[keys, audience, (class, TOKEN_VALIDATORS[1])]).unwrap().sasl.unwrap().tokens.unwrap();
    let expected = TokenSettings {
        keys: KeysPlace::File("/etc/jwks.json".into()),
        audiences: vec!["kafka".to_owned(), "other".to_owned()],
        issuer: None,
        subject_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        clock_skew_seconds: 30,
    };
    assert_eq!(found, expected);
    let jaas = "listener.name.out.oauthbearer.sasl.jaas.config";
    let unsecured = format!("{OAUTH} unsecuredLoginStringClaim_sub=\"a\";");
    for (pairs, expected) in [
        (&[][..], "sasl.oauthbearer.jwks.endpoint.url: OAUTHBEARER needs the provider's keys"),
        (
            &[(keys.0, "http://idp/keys")],
            "listener.name.out.sasl.oauthbearer.jwks.endpoint.url: only https:// and file:/path",
        ),
        (
            &[(keys.0, "file:keys.json")],
            "listener.name.out.sasl.oauthbearer.jwks.endpoint.url: is no file:/path",
        ),
        (
            &[keys, (class, "a.Handler")],
            "listener.name.out.oauthbearer.sasl.server.callback.handler.class: a.Handler",
        ),
        (
            &[keys, ("sasl.oauthbearer.clock.skew.seconds", "-1")],
            "sasl.oauthbearer.clock.skew.seconds: is no",
        ),
        (
            &[keys, (jaas, unsecured.as_str())],
            "listener.name.out.oauthbearer.sasl.jaas.config: unsecured tokens",
        ),
    ] {
        let refused = read(pairs).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[test]
fn keys_are_fetched_from_whom_the_login_module_says_to_believe() {
    let url = "https://idp.example.com/keys?secret=x";
    let jaas = format!(
        "{OAUTH} ssl.truststore.location=\"/ca.pem\" ssl.truststore.type=\"PEM\" \
                        ssl.endpoint.identification.algorithm=\"\";"
    );
    let read = |jaas: &str, refresh: &str| {
        let all = settings(&[
            ("sasl.enabled.mechanisms", "OAUTHBEARER"),
            ("ssl.truststore.location", "/of/clients.pem"),
            ("listener.name.out.oauthbearer.sasl.jaas.config", jaas),
            ("listener.name.out.sasl.oauthbearer.jwks.endpoint.url", url),
            ("listener.name.out.oauthbearer.sasl.oauthbearer.jwks.endpoint.refresh.ms", refresh),
        ]);
        listener_security(&all, "OUT", SecurityProtocol::SaslPlaintext)
    };
    let KeysPlace::Endpoint(endpoint) = read(&jaas, "7000").unwrap().sasl.unwrap().tokens.unwrap().keys
    else {
        panic!("no endpoint")
    };
    assert_eq!(endpoint.path_and_query, "/keys?secret=x");
    assert_eq!(format!("{endpoint} {endpoint:?}").matches("secret").count(), 0);
    assert_eq!(endpoint.tls.trust_store, Some(PemSource::File("/ca.pem".into())));
    assert!(endpoint.tls.checks_host_name, "whatever is set");
    let ms = Duration::from_millis;
    assert_eq!(
        (endpoint.refresh, endpoint.retry_backoff, endpoint.retry_backoff_max),
        (ms(7000), ms(100), ms(10_000))
    );
    let KeysPlace::Endpoint(endpoint) =
        read(&format!("{OAUTH};"), "3600000").unwrap().sasl.unwrap().tokens.unwrap().keys
    else {
        panic!("no endpoint")
    };
    assert_eq!(endpoint.tls.trust_store, None, "a listener's own trust is for its clients");
    let error = read(&jaas, "0").unwrap_err().to_string();
    assert!(error.contains("refresh.ms: 0 is no number"), "{error}");
    let error = read(&jaas.replace("\"PEM\"", "\"JKS\""), "1").unwrap_err().to_string();
    assert!(error.contains("oauthbearer.sasl.jaas.config: ssl.truststore.type: JKS"), "{error}");
}

#[test]
fn a_clients_token_comes_out_of_a_file_and_nodes_have_none() {
    let jaas = format!("{OAUTH};");
    let all = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.jaas.config", jaas.as_str()),
        ("sasl.oauthbearer.token.endpoint.url", "file:/run/token"),
    ];
    let login = client_security(&settings(&all)).unwrap().1.login.unwrap();
    assert_eq!(login.token_file, Some(PathBuf::from("/run/token")));
    let error = client_security(&settings(&all[..3])).unwrap_err().to_string();
    assert!(error.starts_with("sasl.oauthbearer.token.endpoint.url: OAUTHBEARER needs a token"), "{error}");
    let key = "sasl.mechanism.inter.broker.protocol";
    let nodes = settings(&[(key, "OAUTHBEARER")]);
    let error = peer_security(&nodes, "OUT", SecurityProtocol::SaslPlaintext, key).unwrap_err().to_string();
    assert!(error.contains("nodes do not log in"), "{error}");
}

#[test]
fn a_client_says_that_it_logs_in_by_a_delegation_token_and_a_node_does_not() {
    let jaas = |token: &str| {
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
        format!("{module} required username=\"id\" password=\"hmac\"{token};")
    };
    let mechanism = ("sasl.mechanism", "SCRAM-SHA-256");
    for (token, expected) in
        [("", false), (" tokenauth=true", true), (" tokenauth=\"TRUE\"", true), (" tokenauth=no", false)]
    {
        let jaas = jaas(token);
        let pairs = [("security.protocol", "SASL_PLAINTEXT"), mechanism, ("sasl.jaas.config", jaas.as_str())];
        let login = client_security(&settings(&pairs)).unwrap().1.login.unwrap();
        assert_eq!(login.by_token, expected, "{token}");
    }
    let key = "sasl.mechanism.inter.broker.protocol";
    let jaas = jaas(" tokenauth=true");
    let own = ("listener.name.out.scram-sha-256.sasl.jaas.config", jaas.as_str());
    let nodes = settings(&[(key, "SCRAM-SHA-256"), own]);
    let error = peer_security(&nodes, "OUT", SecurityProtocol::SaslPlaintext, key).unwrap_err().to_string();
    assert!(error.contains("nodes do not log in by delegation tokens"), "{error}");
}
