//! Tables over the decisions on tokens.

use std::net::{IpAddr, Ipv4Addr};

use moldau_metadata::{Acl, AuditLine, AuthorizerSettings};
use moldau_model::{PatternType, Permission, ResourceType};

use super::super::testing::Cluster;
use super::super::{Asker, Audit, create_acls};
use super::*;

const DAY_MS: i64 = 86_400_000;
const NOW: TimestampMs = TimestampMs(1_000);

#[derive(Debug)]
struct Deaf;

impl Audit for Deaf {
    fn tell(&self, _: &AuditLine<'_>) {}
}

fn user(name: &str) -> Principal {
    Principal::user(name)
}

fn wanted(max_lifetime_ms: i64) -> NewDelegationToken {
    NewDelegationToken {
        owner: user("alice"),
        requester: user("alice"),
        renewers: vec![user("bob")],
        max_lifetime_ms,
    }
}

fn cluster(settings: &[(&str, &str)]) -> Cluster {
    Cluster::with(1, &[], settings)
}

fn create(cluster: &mut Cluster, wanted: &NewDelegationToken) -> Result<Arc<DelegationToken>, ErrorCode> {
    let created = cluster.decide(|image, inputs| create_delegation_token(image, wanted, NOW, inputs));
    created.map_err(|error| error.code)
}

#[test]
fn a_token_lives_as_long_as_it_was_asked_for_and_the_settings_allow() {
    for (settings, asked, max, end) in [
        (&[][..], -1, 7 * DAY_MS, DAY_MS),
        (&[], 0, 7 * DAY_MS, DAY_MS),
        (&[], 5_000, 5_000, 5_000),
        (&[], 2 * DAY_MS, 2 * DAY_MS, DAY_MS),
        (&[], i64::MAX, 7 * DAY_MS, DAY_MS),
        (&[("delegation.token.max.lifetime.ms", "100")], -1, 100, 100),
        (&[("delegation.token.expiry.time.ms", "100")], -1, 7 * DAY_MS, 100),
        (&[("delegation.token.max.lifetime.ms", "9223372036854775807")], i64::MAX, i64::MAX - NOW.0, DAY_MS),
    ] {
        let mut cluster = cluster(settings);
        let token = create(&mut cluster, &wanted(asked)).unwrap();
        assert_eq!(token.issued_at, NOW);
        assert_eq!((token.max_timestamp.0 - NOW.0, token.expires_at.0 - NOW.0), (max, end), "{settings:?}");
        assert_eq!(cluster.image.delegation_tokens().get(&token.id), Some(&token));
        assert_eq!(token.id.len(), 22);
    }
}

#[test]
fn there_are_no_more_tokens_than_there_may_be() {
    let mut cluster = cluster(&[]);
    let token = create(&mut cluster, &wanted(-1)).unwrap();
    let put = |cluster: &mut Cluster, count: usize, owner: fn(usize) -> String| {
        let tokens = (1..count).map(|number| DelegationToken {
            id: format!("{number}").into(),
            owner: user(&owner(number)),
            ..(*token).clone()
        });
        let records = tokens.map(|token| token.to_record().into()).collect();
        cluster.commit(records);
    };
    put(&mut cluster, DELEGATION_TOKENS_PER_OWNER_MAX, |_| "alice".to_owned());
    assert_eq!(create(&mut cluster, &wanted(-1)), Err(ErrorCode::PolicyViolation));
    let of_bob = NewDelegationToken { owner: user("bob"), ..wanted(-1) };
    assert!(create(&mut cluster, &of_bob).is_ok());
    put(&mut cluster, DELEGATION_TOKENS_MAX, |number| format!("u{number}"));
    assert_eq!(create(&mut cluster, &of_bob), Err(ErrorCode::PolicyViolation));
}

#[test]
fn a_token_is_no_larger_than_it_may_be() {
    let mut cluster = cluster(&[]);
    let long = user(&"x".repeat(TOKEN_TEXT_BYTES_MAX));
    for wanted in [
        NewDelegationToken { renewers: vec![user("bob"); TOKEN_RENEWERS_MAX + 1], ..wanted(-1) },
        NewDelegationToken { renewers: vec![long.clone()], ..wanted(-1) },
        NewDelegationToken { owner: long, ..wanted(-1) },
    ] {
        assert_eq!(create(&mut cluster, &wanted), Err(ErrorCode::PolicyViolation));
    }
}

#[test]
fn who_may_have_tokens_of_whom() {
    let group = Principal::new("Group", "g");
    let mut cluster = cluster(&[]);
    let entry = |name: &str| {
        Ok(Acl {
            resource_type: ResourceType::User,
            pattern_type: PatternType::Literal,
            resource_name: name.into(),
            principal: user("service"),
            host: "*".into(),
            operation: Operation::CreateTokens,
            permission: Permission::Allow,
        })
    };
    let entries = [entry("User:alice"), entry("Group:g")];
    cluster.decide(|image, inputs| create_acls(image, &entries, inputs)).unwrap();
    let settings = AuthorizerSettings::default();
    let failed = Err(ErrorCode::DelegationTokenAuthorizationFailed);
    let kind = Err(ErrorCode::InvalidPrincipalType);
    for (requester, owner, renewer, expected) in [
        ("alice", user("alice"), user("bob"), Ok(())),
        ("service", user("alice"), user("bob"), Ok(())),
        ("service", user("carol"), user("bob"), failed),
        ("alice", user("service"), user("bob"), failed),
        ("alice", user("service"), group.clone(), failed),
        ("alice", user("alice"), group.clone(), kind),
        ("service", group, user("bob"), kind),
    ] {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let asker = Asker { principal: user(requester), host, request: "CreateDelegationToken" };
        let access = Access::new(Some(&settings), cluster.image.acls(), &asker, &Deaf);
        let requester = user(requester);
        let wanted = NewDelegationToken { owner, requester, renewers: vec![renewer], max_lifetime_ms: -1 };
        assert_eq!(wanted.check(&access).map_err(|error| error.code), expected, "{wanted:?}");
    }
}

#[test]
fn without_a_secret_there_are_no_tokens() {
    for (secret, expected) in [(None, false), (Some(""), false), (Some(" "), false), (Some("s"), true)] {
        let settings: Vec<(&str, &str)> =
            secret.map(|secret| ("delegation.token.secret.key", secret)).into_iter().collect();
        let cluster = cluster(&settings);
        assert_eq!(check_tokens_enabled(&cluster.settings).is_ok(), expected, "{secret:?}");
        assert_eq!(cluster.settings.token_check_interval().is_some(), expected);
    }
}

type Ended = Result<i64, ErrorCode>;

/// A token that ends at 2,000 and can be renewed up to 3,000, its end after the change, and whether it is there.
fn ended(
    change: impl FnOnce(&MetadataImage, &str, &Settings) -> Result<Decision<TimestampMs>, ApiError>,
) -> (Ended, Option<i64>) {
    let mut cluster = cluster(&[("delegation.token.expiry.time.ms", "500")]);
    let token = DelegationToken {
        id: "t".into(),
        owner: user("alice"),
        requester: user("carol"),
        renewers: vec![user("bob")],
        issued_at: NOW,
        max_timestamp: TimestampMs(3_000),
        expires_at: TimestampMs(2_000),
    };
    cluster.commit(vec![token.to_record().into()]);
    let answer = change(&cluster.image, "t", &cluster.settings).map_err(|error| error.code);
    let answer = answer.map(|Decision { records, response }| {
        cluster.commit(records);
        response.0
    });
    (answer, cluster.image.delegation_tokens().get("t").map(|token| token.expires_at.0))
}

#[test]
fn tokens_are_renewed_by_owner_and_renewers_until_they_are_over() {
    use ErrorCode::{DelegationTokenExpired as Expired, DelegationTokenOwnerMismatch as Mismatch};
    for (asker, period_ms, now, expected) in [
        ("alice", -1, 1_800, Ok(2_300)),
        ("bob", -1, 1_800, Ok(2_300)),
        ("alice", 0, 1_800, Ok(2_300)),
        ("alice", 100, 1_800, Ok(1_900)),
        ("alice", 9_000, 1_800, Ok(2_300)),
        ("alice", i64::MAX, 2_000, Ok(2_500)),
        ("alice", -1, 2_001, Err(Expired)),
        ("carol", -1, 2_001, Err(Expired)),
        ("carol", -1, 1_800, Err(Mismatch)),
    ] {
        let now = TimestampMs(now);
        let (answer, end) = ended(|image, id, settings| {
            renew_delegation_token(image, Some(id), &user(asker), period_ms, now, settings)
        });
        assert_eq!(answer, expected, "{asker} {period_ms} {now:?}");
        assert_eq!(end, Some(expected.unwrap_or(2_000)));
    }
    let none = |image: &MetadataImage, _: &str, settings: &Settings| {
        renew_delegation_token(image, None, &user("alice"), -1, NOW, settings)
    };
    assert_eq!(ended(none).0, Err(ErrorCode::DelegationTokenNotFound));
}

#[test]
fn no_token_is_renewed_beyond_its_last_day() {
    let mut cluster = cluster(&[]);
    let token = create(&mut cluster, &wanted(1_000)).unwrap();
    let renewed = cluster.decide(|image, inputs| {
        renew_delegation_token(image, Some(&token.id), &user("bob"), -1, TimestampMs(1_500), inputs.settings)
    });
    assert_eq!(renewed.unwrap(), TimestampMs(2_000));
}

#[test]
fn tokens_are_ended_by_owner_and_renewers_later_or_at_once() {
    use ErrorCode::{DelegationTokenExpired as Expired, DelegationTokenOwnerMismatch as Mismatch};
    for (asker, period_ms, now, expected, end) in [
        ("alice", 0, 1_800, Ok(1_800), Some(1_800)),
        ("bob", 700, 1_800, Ok(2_500), Some(2_500)),
        ("alice", i64::MAX, 1_800, Ok(3_000), Some(3_000)),
        ("alice", -1, 1_800, Ok(1_800), None),
        ("bob", i64::MIN, 5_000, Ok(5_000), None),
        ("alice", 1, 2_001, Err(Expired), Some(2_000)),
        ("carol", 1, 2_001, Err(Mismatch), Some(2_000)),
        ("carol", -1, 1_800, Err(Mismatch), Some(2_000)),
    ] {
        let now = TimestampMs(now);
        let (answer, left) =
            ended(|image, id, _| expire_delegation_token(image, Some(id), &user(asker), period_ms, now));
        assert_eq!((answer, left), (expected, end), "{asker} {period_ms} {now:?}");
    }
    let none = |image: &MetadataImage, _: &str, _: &Settings| {
        expire_delegation_token(image, Some("u"), &user("alice"), -1, NOW)
    };
    assert_eq!(ended(none).0, Err(ErrorCode::DelegationTokenNotFound));
}

#[test]
fn what_is_over_is_removed_and_nothing_else() {
    let mut cluster = cluster(&[]);
    let short = create(&mut cluster, &wanted(10)).unwrap();
    let long = create(&mut cluster, &wanted(20)).unwrap();
    let left = |cluster: &Cluster, at: i64| remove_expired_tokens(&cluster.image, TimestampMs(NOW.0 + at));
    assert!(left(&cluster, 10).is_empty());
    let records = left(&cluster, 11);
    cluster.commit(records);
    assert_eq!(cluster.image.delegation_tokens().get(&short.id), None);
    assert!(cluster.image.delegation_tokens().get(&long.id).is_some());
    let records = left(&cluster, 21);
    cluster.commit(records);
    assert!(cluster.image.delegation_tokens().is_empty());
}
