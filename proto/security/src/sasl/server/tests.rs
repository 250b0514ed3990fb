//! Who gets in by which frames, and who does not.

use std::collections::BTreeMap;

use moldau_metadata::config::security::{Login, Secret};

use super::super::wire::{authenticate_request, handshake_request};
use super::super::{ClientStep, SaslClient, SaslClientError};
use super::*;
use crate::oauth::bearer_message;
use crate::scram::credential;

struct Users;

impl CredentialStore for Users {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential> {
        (user == "alice").then(|| credential(mechanism, "pencil", vec![1; 12], 4096))
    }

    fn delegation_token(&self, id: &str) -> Option<DelegationLogin> {
        let (owner, password) = ("alice".to_owned(), Secret::new("hmac"));
        (id == "T").then_some(DelegationLogin { owner, password, expires_in: T(50_000) })
    }

    fn token(&self, token: &str) -> Result<VerifiedToken, TokenRefusal> {
        match token {
            "pencil" => Ok(VerifiedToken { user: "alice".to_owned(), expires_in: T(90_000) }),
            "late" => Ok(VerifiedToken { user: "alice".to_owned(), expires_in: T(0) }),
            _ => Err(TokenRefusal::Signature),
        }
    }
}

const T: fn(u64) -> Duration = Duration::from_millis;

fn authenticator(reauthentication_ms: i64) -> Authenticator {
    let settings = SaslSettings {
        mechanisms: SaslMechanism::ALL.to_vec(),
        plain_users: BTreeMap::from([
            ("alice".to_owned(), Secret::new("pencil")),
            ("bob".to_owned(), Secret::new("eraser")),
        ]),
        tokens: None,
        reauthentication_ms: SaslMechanism::ALL.map(|mechanism| (mechanism, reauthentication_ms)).into(),
    };
    Authenticator::new(Arc::new(SaslServer::new(settings, vec![5; 32])))
}

fn take(authenticator: &mut Authenticator, frame: &[u8], now: Duration) -> Step {
    authenticator.handle(frame, now, &Users, &mut || Some([9; NONCE_BYTES]))
}

/// A whole frame, as clients send it, to a server that has no size prefix in its way.
fn bare(frame: &[u8]) -> &[u8] {
    &frame[4..]
}

fn login(mechanism: SaslMechanism, user: &str, password: &str) -> Login {
    let (user, password) = (user.to_owned(), Secret::new(password));
    Login { mechanism, user, password, token_file: None, by_token: false }
}

/// Has a client log in; what either side says of it.
fn log_in(
    server: &mut Authenticator,
    login: Login,
    now: Duration,
) -> Result<(Option<Arc<str>>, i64), SaslClientError> {
    let mut client = SaslClient::new(login, &[3; NONCE_BYTES]);
    let mut frame = client.begin();
    let mut found = None;
    loop {
        let answer = match take(server, bare(&frame), now) {
            Step::Answer(answer) => answer,
            Step::Authenticated { user, answer, .. } => {
                found = Some(user);
                answer
            }
            Step::Refused { answer: Some(answer), .. } => answer,
            step => panic!("{step:?}"),
        };
        match client.handle(bare(&answer))? {
            ClientStep::Send(next) => frame = next,
            ClientStep::Done { lifetime_ms } => return Ok((found, lifetime_ms)),
        }
    }
}

/// A request of any key and version, with nothing behind its header.
fn request(api_key: i16, version: i16) -> Vec<u8> {
    [&api_key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &(-1i16).to_be_bytes()].concat()
}

#[test]
fn every_mechanism_of_passwords_lets_the_right_one_in() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let mut server = authenticator(0);
        let (user, lifetime_ms) = log_in(&mut server, login(mechanism, "alice", "pencil"), T(0)).unwrap();
        assert_eq!((user.as_deref(), lifetime_ms), (Some("alice"), 0));
        assert_eq!(take(&mut server, &request(3, 12), T(1)), Step::Pass);
        for (user, password) in [("alice", "wrong"), ("nobody", "pencil")] {
            let mut server = authenticator(0);
            let Err(SaslClientError::Refused(told)) =
                log_in(&mut server, login(mechanism, user, password), T(0))
            else {
                panic!("{user} got in")
            };
            let expected = match mechanism {
                SaslMechanism::Plain => "Authentication failed: Invalid username or password".to_owned(),
                scram => format!(
                    "Authentication failed during authentication due to invalid credentials with SASL mechanism {}",
                    scram.name()
                ),
            };
            assert_eq!(told, expected);
            assert!(!server.is_authenticated());
            let after = take(&mut server, &request(18, 3), T(1));
            assert!(matches!(after, Step::Refused { .. }), "a refused connection is over");
        }
    }
}

/// Each state, how it is reached, and for each kind of frame whether it is passed on (`P`), answered (`A`) or ends the
/// connection (`X`).
#[test]
fn in_each_state_only_what_belongs_there_is_taken() {
    let handshake = |name: &str| handshake_request(1, name)[4..].to_vec();
    let frames = [
        ("ApiVersions", request(18, 3)),
        ("ApiVersions of no known version", request(18, 99)),
        ("SaslHandshake", handshake("SCRAM-SHA-256")),
        ("SaslHandshake of no mechanism", handshake("GSSAPI")),
        ("SaslAuthenticate", authenticate_request(1, b"n,,n=alice,r=abc")[4..].to_vec()),
        ("Metadata", request(3, 12)),
        ("Produce", request(0, 9)),
        ("no key", request(9999, 0)),
        ("garbage", vec![1]),
        ("nothing", Vec::new()),
    ];
    let versions: &[Vec<u8>] = &[request(18, 3)];
    let unknown: &[Vec<u8>] = &[request(18, 99)];
    let begun: &[Vec<u8>] = &[handshake("SCRAM-SHA-256")];
    let half: &[Vec<u8>] =
        &[handshake("SCRAM-SHA-256"), authenticate_request(1, b"n,,n=alice,r=abc")[4..].to_vec()];
    let plain: &[Vec<u8>] = &[handshake("PLAIN"), authenticate_request(1, b"\0alice\0pencil")[4..].to_vec()];
    let failed: &[Vec<u8>] = &[handshake("PLAIN"), authenticate_request(1, b"\0alice\0x")[4..].to_vec()];
    for (state, path, expected) in [
        ("at first", &[][..], "PPAXXXXXXX"),
        ("versions are told", versions, "XXAXXXXXXX"),
        ("no versions were told", unknown, "PPAXXXXXXX"),
        ("handshake is done", begun, "XXXXAXXXXX"),
        ("exchange has begun", half, "XXXXXXXXXX"),
        ("authenticated", plain, "PPAXPPPPPP"),
        ("refused", failed, "XXXXXXXXXX"),
    ] {
        for ((name, frame), expected) in frames.iter().zip(expected.chars()) {
            let mut server = authenticator(0);
            for frame in path {
                take(&mut server, frame, T(0));
            }
            let found = match take(&mut server, frame, T(0)) {
                Step::Pass => 'P',
                Step::Answer(_) | Step::Authenticated { .. } => 'A',
                Step::Refused { .. } => 'X',
            };
            assert_eq!(found, expected, "{name} when {state}");
        }
    }
}

#[test]
fn a_mechanism_that_is_not_offered_is_answered_with_those_that_are() {
    let mut settings = SaslSettings::default();
    settings.mechanisms.push(SaslMechanism::ScramSha512);
    let mut server = Authenticator::new(Arc::new(SaslServer::new(settings, Vec::new())));
    let error = log_in(&mut server, login(SaslMechanism::Plain, "alice", "pencil"), T(0)).unwrap_err();
    assert_eq!(error.to_string(), "the server does not offer PLAIN, but SCRAM-SHA-512");
}

#[test]
fn messages_without_a_header_follow_on_a_handshake_of_version_0() {
    let mut server = authenticator(0);
    let mut handshake = request(17, 0);
    handshake.extend(5i16.to_be_bytes());
    handshake.extend(b"PLAIN");
    assert!(matches!(take(&mut server, &handshake, T(0)), Step::Answer(_)));
    let step = take(&mut server, b"\0alice\0pencil", T(0));
    assert_eq!(step, Step::Authenticated { user: "alice".into(), by_token: false, answer: Vec::new() });
}

#[test]
fn a_flexible_authenticate_is_read_and_answered_as_one() {
    let mut server = authenticator(0);
    take(&mut server, bare(&handshake_request(1, "PLAIN")), T(0));
    let mut frame = request(36, 2);
    frame.extend([0, 14]);
    frame.extend(b"\0alice\0pencil");
    frame.push(0);
    let Step::Authenticated { answer, .. } = take(&mut server, &frame, T(0)) else { panic!() };
    // Correlation id, tags, no error, no message, an empty token, the lifetime, tags.
    assert_eq!(bare(&answer), [&[0, 0, 0, 7, 0, 0, 0, 0, 1][..], &[0; 8], &[0]].concat());
}

#[test]
fn a_session_ends_unless_its_user_authenticates_again() {
    let alice = || login(SaslMechanism::ScramSha256, "alice", "pencil");
    let mut server = authenticator(10_000);
    assert_eq!(log_in(&mut server, alice(), T(0)).unwrap().1, 10_000);
    assert_eq!(take(&mut server, &request(3, 12), T(9_999)), Step::Pass);
    log_in(&mut server, alice(), T(9_999)).unwrap();
    assert_eq!(take(&mut server, &request(3, 12), T(19_000)), Step::Pass);
    assert!(
        server.is_request(&request(3, 12), || T(19_998)) && !server.is_request(&request(3, 12), || T(19_999))
    );
    assert!(
        !server.is_request(&request(17, 1), || T(19_998)),
        "it may be the beginning of another authentication"
    );
    let expired = take(&mut server, &request(3, 12), T(20_000));
    assert_eq!(expired, Step::Refused { refusal: Refusal::Expired, answer: None });
    assert!(!server.is_request(&request(3, 12), || T(0)), "a refusal stays one");
    let mut server = authenticator(0);
    assert!(!server.is_request(&request(3, 12), || T(0)));
    log_in(&mut server, alice(), T(0)).unwrap();
    assert!(server.is_request(&request(3, 12), || panic!("the clock of a session without an end")));
}

#[test]
fn a_token_lets_its_user_in_for_as_long_as_it_is_good() {
    let token = |token: &str| login(SaslMechanism::OauthBearer, "", token);
    let mut server = authenticator(0);
    let (user, lifetime_ms) = log_in(&mut server, token("pencil"), T(1_000)).unwrap();
    assert_eq!((user.as_deref(), lifetime_ms), (Some("alice"), 90_000));
    assert_eq!(take(&mut server, &request(3, 12), T(90_999)), Step::Pass);
    log_in(&mut server, token("pencil"), T(90_999)).unwrap();
    assert_eq!(take(&mut server, &request(3, 12), T(91_001)), Step::Pass);
    let expired = take(&mut server, &request(3, 12), T(200_000));
    assert_eq!(expired, Step::Refused { refusal: Refusal::Expired, answer: None });
    // The setting may end it sooner; and what is good for no time is good for none, and not for ever.
    assert_eq!(log_in(&mut authenticator(5_000), token("pencil"), T(0)).unwrap().1, 5_000);
    let mut server = authenticator(0);
    log_in(&mut server, token("late"), T(0)).unwrap();
    assert!(matches!(take(&mut server, &request(3, 12), T(0)), Step::Refused { .. }));
}

#[test]
fn a_token_that_is_refused_is_told_as_rfc_7628_has_it_and_then_as_kafka_does() {
    let mut server = authenticator(0);
    let refused = log_in(&mut server, login(SaslMechanism::OauthBearer, "", "forged"), T(0)).unwrap_err();
    assert_eq!(refused.to_string(), r#"{"status":"invalid_token"}"#);
    let first = |message: &[u8]| {
        let mut server = authenticator(0);
        take(&mut server, bare(&handshake_request(1, "OAUTHBEARER")), T(0));
        (take(&mut server, bare(&authenticate_request(2, message)), T(0)), server)
    };
    let (step, mut server) = first(&bearer_message("forged"));
    assert!(matches!(step, Step::Answer(_)));
    // It is over: a better token comes too late.
    let step = take(&mut server, bare(&authenticate_request(3, &bearer_message("pencil"))), T(0));
    assert!(matches!(step, Step::Refused { .. }) && !server.is_authenticated());
    for message in
        [&b""[..], b"\x01", b"n,,\x01auth=Basic pencil\x01\x01", b"n,a=bob,\x01auth=Bearer pencil\x01\x01"]
    {
        let (step, server) = first(message);
        assert!(matches!(step, Step::Refused { answer: Some(_), .. }), "{step:?}");
        assert!(!server.is_authenticated());
    }
}

#[test]
fn nobody_becomes_another_by_authenticating_again() {
    let plain = |user: &str, password: &str| login(SaslMechanism::Plain, user, password);
    let mut server = authenticator(10_000);
    log_in(&mut server, plain("alice", "pencil"), T(0)).unwrap();
    let refused = log_in(&mut server, plain("bob", "eraser"), T(5_000)).unwrap_err();
    assert!(refused.to_string().starts_with("Cannot change principals"), "{refused}");
    let mut server = authenticator(10_000);
    log_in(&mut server, plain("alice", "pencil"), T(0)).unwrap();
    let refused =
        log_in(&mut server, login(SaslMechanism::ScramSha256, "alice", "pencil"), T(5_000)).unwrap_err();
    assert!(refused.to_string().contains("re-authentication of mechanism 'PLAIN'"), "{refused}");
}

#[test]
fn who_authenticates_again_and_again_is_a_request_like_any_other() {
    let alice = || login(SaslMechanism::Plain, "alice", "pencil");
    let mut server = authenticator(0);
    log_in(&mut server, alice(), T(0)).unwrap();
    log_in(&mut server, alice(), T(100)).unwrap();
    let handshake = handshake_request(1, "PLAIN");
    assert_eq!(take(&mut server, bare(&handshake), T(1_000)), Step::Pass);
    assert!(matches!(take(&mut server, bare(&handshake), T(1_200)), Step::Answer(_)));
}

proptest::proptest! {
    #[test]
    fn no_frame_makes_anybody_of_a_stranger(frames in proptest::collection::vec(
        proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64), 0..8)) {
        let mut server = authenticator(0);
        take(&mut server, bare(&handshake_request(1, "SCRAM-SHA-256")), T(0));
        for frame in frames {
            take(&mut server, &frame, T(0));
        }
        assert!(!server.is_authenticated());
    }
}

#[test]
fn a_delegation_token_lets_its_owner_in_until_it_is_over() {
    for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let by_token = |id: &str, password: &str| Login { by_token: true, ..login(mechanism, id, password) };
        let mut server = authenticator(0);
        let (user, lifetime_ms) = log_in(&mut server, by_token("T", "hmac"), T(1_000)).unwrap();
        assert_eq!((user.as_deref(), lifetime_ms), (Some("alice"), 50_000));
        assert_eq!(take(&mut server, &request(3, 12), T(50_999)), Step::Pass);
        let late = take(&mut server, &request(3, 12), T(51_000));
        assert_eq!(late, Step::Refused { refusal: Refusal::Expired, answer: None });
        let (_, lifetime_ms) = log_in(&mut authenticator(9_000), by_token("T", "hmac"), T(0)).unwrap();
        assert_eq!(lifetime_ms, 9_000, "the setting's is shorter");
        // A token is no user, a user no token, and what one does not know one does not get in by.
        for refused in [
            by_token("T", "pencil"),
            by_token("U", "hmac"),
            by_token("alice", "pencil"),
            login(mechanism, "T", "hmac"),
        ] {
            let told = log_in(&mut authenticator(0), refused, T(0)).unwrap_err();
            assert!(told.to_string().contains("due to invalid credentials"), "{told}");
        }
    }
}

#[test]
fn a_token_that_ends_within_its_login_lets_nobody_in() {
    let mechanism = SaslMechanism::ScramSha256;
    let mut server = authenticator(0);
    let login = Login { by_token: true, ..login(mechanism, "T", "hmac") };
    let mut client = SaslClient::new(login, &[3; NONCE_BYTES]);
    let handshake = client.begin();
    let mut frame = handshake;
    for now in [T(0), T(1)] {
        let Step::Answer(answer) = take(&mut server, bare(&frame), now) else { panic!() };
        let ClientStep::Send(next) = client.handle(bare(&answer)).unwrap() else { panic!() };
        frame = next;
    }
    let step = take(&mut server, bare(&frame), T(50_001));
    let Step::Refused { refusal: Refusal::Credentials(why), .. } = step else { panic!("{step:?}") };
    assert_eq!(why, "the delegation token has expired");
}
