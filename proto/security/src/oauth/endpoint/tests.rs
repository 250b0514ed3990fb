//! What becomes of keys that were fetched, and of those that could not be.

use std::time::Duration;

use moldau_metadata::config::security::{ClientAuth, TlsSettings};

use super::*;

pub(super) fn endpoint() -> KeysEndpoint {
    KeysEndpoint {
        host: "idp".to_owned(),
        port: 8443,
        path_and_query: "/keys?secret=x".to_owned(),
        tls: TlsSettings {
            key_store: None,
            trust_store: None,
            client_auth: ClientAuth::None,
            allows_1_2: true,
            allows_1_3: true,
            cipher_suites: Vec::new(),
            checks_host_name: true,
            principal_rules: "DEFAULT".to_owned(),
        },
        refresh: Duration::from_secs(3600),
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(10),
    }
}

fn keys(id: &str) -> KeySet {
    let point = "A".repeat(43);
    let json =
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{id}","x":"{point}","y":"{point}"}}]}}"#);
    KeySet::parse(json.as_bytes(), "here").unwrap()
}

#[test]
fn keys_stay_while_others_cannot_be_had_and_that_is_told_once() {
    let mut state = State {
        current: Arc::default(),
        schedule: Schedule::new(&endpoint()),
        news: Reloaded::Unchanged,
        last_told: None,
        is_wanted: true,
    };
    let mut news_of = |outcome: Result<KeySet, KeysError>| {
        state.take(outcome, Duration::from_secs(1));
        let kept = ["a", "b"].map(|id| state.current.has_id(id));
        (std::mem::replace(&mut state.news, Reloaded::Unchanged), kept)
    };
    let refused =
        |status| Err(KeysError::Fetch { place: endpoint().to_string(), source: FetchError::Status(status) });
    assert!(matches!(news_of(Ok(keys("a"))), (Reloaded::Changed, [true, false])));
    assert!(matches!(news_of(Ok(keys("a"))), (Reloaded::Unchanged, [true, false])));
    let (told, kept) = news_of(refused(503));
    let Reloaded::Refused(told) = told else { panic!("{told:?}") };
    assert_eq!(
        told.to_string(),
        "cannot fetch https://idp:8443/keys: it answers 503, and 200 alone is taken"
    );
    assert_eq!(kept, [true, false]);
    assert!(matches!(news_of(refused(503)), (Reloaded::Unchanged, [true, false])));
    assert!(matches!(news_of(refused(404)), (Reloaded::Refused(_), [true, false])));
    assert!(matches!(news_of(KeySet::parse(b"{}", "here")), (Reloaded::Refused(_), [true, false])));
    assert!(matches!(news_of(Ok(keys("a"))), (Reloaded::Changed, [true, false])), "they are there again");
    assert!(matches!(news_of(Ok(keys("b"))), (Reloaded::Changed, [false, true])));
}
