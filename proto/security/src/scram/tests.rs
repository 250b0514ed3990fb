//! Whole exchanges, and what is no part of one.

use super::client::ServerRefused;
use super::message::{from_base64, to_base64};
use super::server::ScramRefusal;
use super::*;

const SECRET: &[u8] = b"this process's";
const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

fn known(mechanism: ScramMechanism) -> ScramCredential {
    credential(mechanism, "pencil", vec![1; 12], 4096)
}

/// An exchange of `user` and `password` with a server that knows `user` by `pencil`.
fn exchange(mechanism: ScramMechanism, user: &str, password: &str) -> Result<String, ScramRefusal> {
    let mut server = ScramServer::new(mechanism);
    let mut client = ScramClient::new(mechanism, user, password, &[3; NONCE_BYTES]);
    let answer = server.first(&client.first(), &NONCE, SECRET, |name, is_token| {
        (name == "a,user=1" && !is_token).then(|| known(mechanism))
    })?;
    let (name, last) = server.last(&client.last(&answer).unwrap())?;
    client.verify(&last).unwrap();
    Ok(name)
}

#[test]
fn who_knows_the_password_gets_in_and_nobody_else() {
    for mechanism in ScramMechanism::ALL {
        assert_eq!(exchange(mechanism, "a,user=1", "pencil"), Ok("a,user=1".to_owned()));
        for (user, password) in [("a,user=1", "Pencil"), ("a,user=1", ""), ("nobody", "pencil")] {
            assert_eq!(exchange(mechanism, user, password), Err(ScramRefusal::Credentials), "{user}");
        }
    }
}

/// RFC 7677, section 3.
#[test]
fn the_exchange_of_the_rfc_is_followed_to_the_letter() {
    let salt = from_base64("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let credential = credential(ScramMechanism::Sha256, "pencil", salt, 4096);
    let mut server = ScramServer::new(ScramMechanism::Sha256);
    server
        .first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", &NONCE, SECRET, |_, _| Some(credential.clone()))
        .unwrap();
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let message =
        format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}");
    let proof = from_base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
    let signature = sign(ScramMechanism::Sha256, &credential.stored_key, message.as_bytes());
    assert_eq!(hash(ScramMechanism::Sha256, &xor(&proof, &signature)), credential.stored_key);
    let server_signature = sign(ScramMechanism::Sha256, &credential.server_key, message.as_bytes());
    assert_eq!(to_base64(&server_signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn an_exchange_that_was_overheard_is_worth_nothing() {
    let mechanism = ScramMechanism::Sha512;
    let first = ScramClient::new(mechanism, "u", "pencil", &[3; NONCE_BYTES]);
    let mut overheard = ScramClient::new(mechanism, "u", "pencil", &[3; NONCE_BYTES]);
    let mut server = ScramServer::new(mechanism);
    let answer = server.first(&first.first(), &NONCE, SECRET, |_, _| Some(known(mechanism))).unwrap();
    let last = overheard.last(&answer).unwrap();
    assert!(server.last(&last).is_ok());
    assert_eq!(server.last(&last), Err(ScramRefusal::Malformed), "an exchange is over when it is over");
    let mut again = ScramServer::new(mechanism);
    again.first(&first.first(), &[8; NONCE_BYTES], SECRET, |_, _| Some(known(mechanism))).unwrap();
    assert_eq!(again.last(&last), Err(ScramRefusal::Nonce));
}

#[test]
fn messages_that_are_none_are_refused() {
    let mechanism = ScramMechanism::Sha256;
    for first in [
        "",
        "n,,",
        "n,,n=,r=abc",
        "n,,n=u",
        "n,,n=u,r=",
        "y,,n=u,r=abc",
        "p=tls-unique,,n=u,r=abc",
        "n,,n=a=b,r=abc",
        "n,u,n=u,r=abc",
        "n,,r=abc,n=u",
        "n,,n=u,r=a\u{0}c",
    ] {
        let mut server = ScramServer::new(mechanism);
        let result = server.first(first.as_bytes(), &NONCE, SECRET, |_, _| Some(known(mechanism)));
        assert_eq!(result, Err(ScramRefusal::Malformed), "{first}");
    }
    for last in ["", "c=biws", "c=biws,r=x", "c=*,r=x,p=AA==", "r=x,c=biws,p=AA==", "c=biws,r=x,p=%"] {
        let mut server = ScramServer::new(mechanism);
        server.first(b"n,,n=u,r=abc", &NONCE, SECRET, |_, _| Some(known(mechanism))).unwrap();
        assert_eq!(server.last(last.as_bytes()), Err(ScramRefusal::Malformed), "{last}");
    }
}

#[test]
fn nobody_acts_for_another_or_under_another_header() {
    let mechanism = ScramMechanism::Sha256;
    let take = |header: &str, binding: &str| {
        let mut server = ScramServer::new(mechanism);
        let mut client = ScramClient::new(mechanism, "u", "pencil", &[3; NONCE_BYTES]);
        let first = format!("{header}{}", client.first_bare_for_tests());
        let answer = server.first(first.as_bytes(), &NONCE, SECRET, |_, _| Some(known(mechanism))).unwrap();
        let last = String::from_utf8(client.last_bound(&answer, binding)).unwrap();
        server.last(last.as_bytes()).map(|(user, _)| user)
    };
    assert_eq!(take("n,,", "n,,"), Ok("u".to_owned()));
    assert_eq!(take("n,a=u,", "n,a=u,"), Ok("u".to_owned()));
    assert_eq!(take("n,a=admin,", "n,a=admin,"), Err(ScramRefusal::Credentials));
    assert_eq!(take("n,a=u,", "n,,"), Err(ScramRefusal::ChannelBinding));
}

#[test]
fn a_client_says_whether_its_name_is_a_tokens() {
    let mechanism = ScramMechanism::Sha512;
    let is_token = |first: &[u8]| {
        let mut asked = None;
        let credential_of = |name: &str, is_token: bool| {
            assert_eq!(name, "u");
            asked = Some(is_token);
            Some(known(mechanism))
        };
        ScramServer::new(mechanism).first(first, &NONCE, SECRET, credential_of).unwrap();
        asked.unwrap()
    };
    assert!(!is_token(b"n,,n=u,r=abc"));
    assert!(!is_token(b"n,,n=u,r=abc,tokenauth=false,x=y"));
    assert!(is_token(b"n,,n=u,r=abc,x=y,tokenauth=TRUE"));
    let client = || ScramClient::new(mechanism, "u", "pencil", &[3; NONCE_BYTES]);
    assert!(!is_token(&client().first()));
    assert!(is_token(&client().by_token().first()));
    let (mut client, mut server) = (client().by_token(), ScramServer::new(mechanism));
    let answer =
        server.first(&client.first(), &NONCE, SECRET, |_, is_token| is_token.then(|| known(mechanism)));
    let (name, last) = server.last(&client.last(&answer.unwrap()).unwrap()).unwrap();
    assert_eq!((name.as_str(), client.verify(&last)), ("u", Ok(())));
}

#[test]
fn a_user_that_is_not_there_looks_like_one_that_is() {
    let mechanism = ScramMechanism::Sha256;
    let ask = |user: &str| {
        let mut server = ScramServer::new(mechanism);
        let first = format!("n,,n={user},r=abc");
        String::from_utf8(server.first(first.as_bytes(), &NONCE, SECRET, |_, _| None).unwrap()).unwrap()
    };
    assert_eq!(ask("x"), ask("x"));
    assert_ne!(ask("x"), ask("y"));
    assert!(ask("x").ends_with(",i=4096"));
}

#[test]
fn a_client_believes_no_server_that_does_not_know_the_password() {
    let mechanism = ScramMechanism::Sha256;
    let mut client = ScramClient::new(mechanism, "u", "pencil", &[3; NONCE_BYTES]);
    let own = to_base64(&[3; NONCE_BYTES]);
    for (answer, error) in [
        ("".to_owned(), ServerRefused::Malformed),
        (format!("r={own},s=AAAA,i=4096"), ServerRefused::Nonce),
        ("r=other,s=AAAA,i=4096".to_owned(), ServerRefused::Nonce),
        (format!("r={own}x,s=AAAA,i=1"), ServerRefused::Iterations(1)),
        (format!("r={own}x,s=AAAA,i=2000000000"), ServerRefused::Iterations(2_000_000_000)),
    ] {
        assert_eq!(client.last(answer.as_bytes()), Err(error), "{answer}");
    }
    assert_eq!(client.verify(b"v="), Err(ServerRefused::Signature));
    client.last(format!("r={own}x,s=AAAA,i=4096").as_bytes()).unwrap();
    assert_eq!(client.verify(b"v=AAAA"), Err(ServerRefused::Signature));
    assert_eq!(client.verify(b"e=other-error"), Err(ServerRefused::Malformed));
}
