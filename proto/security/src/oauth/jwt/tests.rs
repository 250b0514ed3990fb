//! Tokens that are taken, and all the ways in which one is not.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use serde_json::json;

use moldau_metadata::config::security::KeysPlace;

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS / 1000;

struct Provider {
    pair: EcdsaKeyPair,
    name: &'static str,
    curve: &'static str,
}

impl Provider {
    fn new(name: &'static str) -> Self {
        let (algorithm, curve): (&'static EcdsaSigningAlgorithm, _) = match name {
            "ES384" => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            _ => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        };
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { pair, name, curve }
    }

    fn key(&self) -> Value {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": self.curve, "kid": "k", "use": "sig", "x": encode(x), "y": encode(y) })
    }

    fn keys(&self) -> KeySet {
        KeySet::parse(json!({ "keys": [self.key()] }).to_string().as_bytes(), "here").unwrap()
    }

    fn signed_under(&self, header: &Value, claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn signed(&self, claims: &Value) -> String {
        self.signed_under(&json!({ "alg": self.name, "kid": "k" }), &claims.to_string())
    }
}

fn verify(
    token: &str,
    keys: &KeySet,
    settings: &TokenSettings,
    now_ms: i64,
) -> Result<VerifiedToken, TokenRefusal> {
    super::verify(token, keys, settings, now_ms, |_| {})
}

fn settings() -> TokenSettings {
    TokenSettings {
        keys: KeysPlace::File("jwks.json".into()),
        audiences: Vec::new(),
        issuer: None,
        subject_claim: "sub".to_owned(),
        scope_claim: "scope".to_owned(),
        clock_skew_seconds: 30,
    }
}

fn claims() -> Value {
    json!({ "sub": "alice", "iat": NOW - 10, "exp": NOW + 60, "scope": "a b", "aud": ["x", "kafka"], "iss": "idp" })
}

/// `claims` with one of them changed; null takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
    claims
}

#[test]
fn a_token_of_the_provider_says_who_it_is_and_for_how_long() {
    for name in ["ES256", "ES384"] {
        let provider = Provider::new(name);
        let expected = VerifiedToken { user: "alice".to_owned(), expires_in: Duration::from_secs(60) };
        assert_eq!(verify(&provider.signed(&claims()), &provider.keys(), &settings(), NOW_MS), Ok(expected));
    }
}

#[test]
fn a_key_of_edwards_signs_by_its_own_algorithm_alone() {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
    let keys = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes(), "here").unwrap();
    let signed = |algorithm: &str| {
        let header = json!({ "alg": algorithm, "kid": "k" }).to_string();
        let [header, claims] = [header, claims().to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = format!("{header}.{claims}");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())))
    };
    for algorithm in ["EdDSA", "Ed25519"] {
        assert_eq!(verify(&signed(algorithm), &keys, &settings(), NOW_MS).unwrap().user, "alice");
    }
    for algorithm in ["ES256", "RS256"] {
        assert_eq!(verify(&signed(algorithm), &keys, &settings(), NOW_MS), Err(TokenRefusal::Signature));
    }
    let (message, _) = signed("EdDSA").rsplit_once('.').map(|(m, s)| (m.to_owned(), s.to_owned())).unwrap();
    assert_eq!(verify(&format!("{message}."), &keys, &settings(), NOW_MS), Err(TokenRefusal::Signature));
}

#[test]
fn only_the_providers_signature_counts() {
    let provider = Provider::new("ES256");
    let keys = provider.keys();
    let refused = |token: &str| verify(token, &keys, &settings(), NOW_MS).unwrap_err();
    let good = provider.signed(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let unsigned = |algorithm: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm }).to_string());
        format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()))
    };
    for algorithm in ["none", "None", "HS256", "ES512", "Ed448", ""] {
        assert_eq!(refused(&format!("{}.", unsigned(algorithm))), TokenRefusal::Algorithm, "{algorithm}");
        assert_eq!(refused(&format!("{}.{signature}", unsigned(algorithm))), TokenRefusal::Algorithm);
    }
    // Another provider's; none; another algorithm's name over the same key; another key's name; another message.
    assert_eq!(refused(&Provider::new("ES256").signed(&claims())), TokenRefusal::Signature);
    assert_eq!(refused(&format!("{message}.")), TokenRefusal::Signature);
    for header in [
        json!({ "alg": "ES384", "kid": "k" }),
        json!({ "alg": "RS256", "kid": "k" }),
        json!({ "alg": "EdDSA", "kid": "k" }),
        json!({ "alg": "ES256", "kid": "other" }),
    ] {
        let token = provider.signed_under(&header, &claims().to_string());
        assert_eq!(refused(&token), TokenRefusal::Signature, "{header}");
    }
    let (header, _) = message.split_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(with("sub", json!("admin")).to_string());
    assert_eq!(refused(&format!("{header}.{forged}.{signature}")), TokenRefusal::Signature);
    let critical = json!({ "alg": "ES256", "crit": ["b64"], "b64": false });
    assert_eq!(refused(&provider.signed_under(&critical, &claims().to_string())), TokenRefusal::Critical);
    let without_id = provider.signed_under(&json!({ "alg": "ES256" }), &claims().to_string());
    assert!(verify(&without_id, &keys, &settings(), NOW_MS).is_ok());
}

#[test]
fn a_key_that_is_not_there_is_told_and_no_other() {
    let provider = Provider::new("ES256");
    for (header, expected) in [
        (json!({ "alg": "ES256", "kid": "k" }), None),
        (json!({ "alg": "ES256" }), None),
        (json!({ "alg": "none", "kid": "new" }), None),
        (json!({ "alg": "ES256", "kid": "new" }), Some("new")),
    ] {
        let (mut told, token) = (None, provider.signed_under(&header, &claims().to_string()));
        let missing = |key_id: &str| told = Some(key_id.to_owned());
        let found = super::verify(&token, &provider.keys(), &settings(), NOW_MS, missing);
        assert_eq!((told.as_deref(), header["kid"] == "new"), (expected, found.is_err()));
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let provider = Provider::new("ES256");
    let keys = provider.keys();
    let good = provider.signed(&claims());
    let huge = provider.signed(&with("more", json!("x".repeat(TOKEN_BYTES_MAX))));
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}="),
        &good.replace('.', "_"),
        &huge,
        &"a".repeat(1 << 20),
    ] {
        let refused = verify(token, &keys, &settings(), NOW_MS).unwrap_err();
        assert_eq!(refused, TokenRefusal::Malformed, "{}", &token[..token.len().min(40)]);
    }
    for claims in ["[]", "null", "{", &"[".repeat(5000), "{\"sub\":\"alice\""] {
        let token = provider.signed_under(&json!({ "alg": "ES256" }), claims);
        assert_eq!(verify(&token, &keys, &settings(), NOW_MS), Err(TokenRefusal::Claims));
    }
}

#[test]
fn claims_are_held_against_the_settings_and_the_clock() {
    let provider = Provider::new("ES256");
    let keys = provider.keys();
    let settings =
        TokenSettings { audiences: vec!["kafka".to_owned()], issuer: Some("idp".to_owned()), ..settings() };
    for (name, value, expected) in [
        ("aud", json!("kafka"), None),
        ("aud", json!(["kafkas"]), Some(TokenRefusal::Audience)),
        ("aud", json!([7]), Some(TokenRefusal::Audience)),
        ("aud", Value::Null, Some(TokenRefusal::Audience)),
        ("iss", json!("other"), Some(TokenRefusal::Issuer)),
        ("iss", Value::Null, Some(TokenRefusal::Issuer)),
        ("exp", json!(NOW - 29), None),
        ("exp", json!(NOW - 30), Some(TokenRefusal::Times)),
        ("exp", json!(f64::MAX), Some(TokenRefusal::NoClaim("exp"))),
        ("exp", json!(i64::MAX), Some(TokenRefusal::NoClaim("exp"))),
        ("exp", json!("tomorrow"), Some(TokenRefusal::NoClaim("exp"))),
        ("exp", Value::Null, Some(TokenRefusal::NoClaim("exp"))),
        ("iat", Value::Null, Some(TokenRefusal::NoClaim("iat"))),
        ("iat", json!(NOW + 61), Some(TokenRefusal::Times)),
        ("nbf", json!(NOW + 30), None),
        ("nbf", json!(NOW + 31), Some(TokenRefusal::NotYet)),
        ("nbf", json!(NOW as f64 + 0.5), None),
        ("sub", json!(" "), Some(TokenRefusal::NoClaim("for the subject"))),
        ("sub", json!(7), Some(TokenRefusal::NoClaim("for the subject"))),
        ("sub", json!("x".repeat(5000)), Some(TokenRefusal::NoClaim("for the subject"))),
        ("scope", json!(["a", "b"]), None),
        ("scope", Value::Null, None),
        ("scope", json!([7]), Some(TokenRefusal::NoClaim("for the scope"))),
    ] {
        // The beginning of a token lies before its end, whatever else.
        let mut claims = with(name, value);
        if name == "exp" && claims["exp"] == json!(NOW - 29) {
            claims["iat"] = json!(NOW - 100);
        }
        let found = verify(&provider.signed(&claims), &keys, &settings, NOW_MS);
        assert_eq!(found.clone().err(), expected, "{claims}: {found:?}");
    }
    // Clocks may differ where a token is shown; its session ends with the token, and so at once.
    let late = json!({ "sub": "alice", "iat": NOW - 100, "exp": NOW - 30, "aud": "kafka", "iss": "idp" });
    let found = verify(&provider.signed(&late), &keys, &settings, NOW_MS - 1).unwrap();
    assert_eq!(found.expires_in, Duration::ZERO);
    let expired = json!({ "sub": "alice", "iat": NOW - 100, "exp": NOW - 30, "aud": "kafka", "iss": "idp" });
    let found = verify(&provider.signed(&expired), &keys, &settings, NOW_MS);
    assert_eq!(found, Err(TokenRefusal::Expired));
    let named = TokenSettings { subject_claim: "client_id".to_owned(), ..settings };
    let token = provider.signed(&with("client_id", json!("robot")));
    assert_eq!(verify(&token, &keys, &named, NOW_MS).unwrap().user, "robot");
}
