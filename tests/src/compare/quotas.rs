//! Client quotas, and credentials of users: altered, described, refused. The limits are too high for anybody to feel them, and are taken back.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

/// Types with names; `None` is the default.
type Entity<'a> = &'a [(&'a str, Option<&'a str>)];
/// Keys with limits; `None` removes.
type Operations<'a> = &'a [(&'a str, Option<f64>)];

fn alter(entries: &[(Entity<'_>, Operations<'_>)], validate_only: bool) -> RequestKind {
    let entry = |(entity, operations): &(Entity<'_>, Operations<'_>)| {
        let part = |(kind, name): &(&str, Option<&str>)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
        };
        let operation = |(key, value): &(&str, Option<f64>)| {
            OpData::default()
                .with_key(text(key))
                .with_value(value.unwrap_or_default())
                .with_remove(value.is_none())
        };
        EntryData::default()
            .with_entity(entity.iter().map(part).collect())
            .with_ops(operations.iter().map(operation).collect())
    };
    let entries = entries.iter().map(entry).collect();
    RequestKind::AlterClientQuotas(
        m::AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(validate_only),
    )
}

fn describe(components: &[(&str, i8, Option<&str>)], strict: bool) -> RequestKind {
    let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(*match_type)
            .with_match(name.map(text))
    };
    let components = components.iter().map(component).collect();
    RequestKind::DescribeClientQuotas(
        m::DescribeClientQuotasRequest::default().with_components(components).with_strict(strict),
    )
}

fn credentials(users: Option<&[&str]>) -> RequestKind {
    use m::describe_user_scram_credentials_request::UserName;
    let users =
        users.map(|users| users.iter().map(|user| UserName::default().with_name(text(user))).collect());
    RequestKind::DescribeUserScramCredentials(
        m::DescribeUserScramCredentialsRequest::default().with_users(users),
    )
}

/// One credential to be made: user, mechanism and iterations. Nobody logs in by it.
type Upsertion<'a> = (&'a str, i8, i32);

fn alter_credentials(deletions: &[(&str, i8)], upsertions: &[Upsertion<'_>]) -> RequestKind {
    use m::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
    let deletion = |(user, mechanism): &(&str, i8)| {
        ScramCredentialDeletion::default().with_name(text(user)).with_mechanism(*mechanism)
    };
    let upsertion = |(user, mechanism, iterations): &Upsertion<'_>| {
        ScramCredentialUpsertion::default()
            .with_name(text(user))
            .with_mechanism(*mechanism)
            .with_iterations(*iterations)
            .with_salt(vec![1; 20].into())
            .with_salted_password(vec![2; 32].into())
    };
    RequestKind::AlterUserScramCredentials(
        m::AlterUserScramCredentialsRequest::default()
            .with_deletions(deletions.iter().map(deletion).collect())
            .with_upsertions(upsertions.iter().map(upsertion).collect()),
    )
}

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

/// Every entity that the cases give a quota, with each of its keys.
const SET: &[(Entity<'static>, Operations<'static>)] = &[
    (&[("user", Some("alice"))], &[("producer_byte_rate", Some(1e12)), ("request_percentage", Some(1e6))]),
    (&[("user", Some("alice")), ("client-id", Some("c"))], &[("consumer_byte_rate", Some(1e12))]),
    (&[("user", Some("alice")), ("client-id", None)], &[("consumer_byte_rate", Some(2e12))]),
    (&[("user", None)], &[("controller_mutation_rate", Some(1e9))]),
    (&[("client-id", Some("c"))], &[("producer_byte_rate", Some(3e12))]),
    (&[("client-id", None)], &[("request_percentage", Some(2.5e6))]),
    (&[("ip", Some("10.1.2.3"))], &[("connection_creation_rate", Some(1e9))]),
    (&[("ip", None)], &[("connection_creation_rate", Some(2e9))]),
];

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        AlterClientQuotas, AlterUserScramCredentials, DescribeClientQuotas, DescribeUserScramCredentials,
    };
    vec![
        Case::new("client quotas of nobody", DescribeClientQuotas, 0, 1, |_, _| describe(&[], false)),
        Case::new("alter client quotas, validate only", AlterClientQuotas, 0, 1, |_, _| alter(SET, true)),
        Case::new("client quotas that were only validated", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[], false)
        }),
        Case::new("alter client quotas", AlterClientQuotas, 0, 1, |_, _| alter(SET, false)),
        Case::new("alter no client quotas", AlterClientQuotas, 0, 1, |_, _| alter(&[], false)),
        Case::new("client quotas of all", DescribeClientQuotas, 0, 1, |_, _| describe(&[], false)),
        Case::new("client quotas of nobody at all, strictly", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[], true)
        }),
        Case::new("client quotas of a user", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, Some("alice"))], false)
        }),
        Case::new("client quotas of a user alone", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, Some("alice"))], true)
        }),
        Case::new("client quotas of the default user", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", DEFAULT, None)], true)
        }),
        Case::new("client quotas of any user with a client id", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", SPECIFIED, None), ("client-id", SPECIFIED, None)], true)
        }),
        Case::new("client quotas of addresses", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("ip", SPECIFIED, None)], true)
        }),
        Case::new("client quotas by an empty type", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("", EXACT, Some("a"))], false)
        }),
        Case::new("client quotas by an unknown type", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("group", EXACT, Some("a"))], false)
        }),
        Case::new("client quotas by one type twice", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, Some("a")), ("user", DEFAULT, None)], false)
        }),
        Case::new("client quotas by an address and a user", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, Some("a")), ("ip", DEFAULT, None)], false)
        }),
        Case::new("client quotas by no name", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, None)], false)
        }),
        Case::new("client quotas by the default's name", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", DEFAULT, Some("a"))], false)
        }),
        Case::new("client quotas by any name and one", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", SPECIFIED, Some("a"))], false)
        }),
        Case::new("client quotas by a match that is none", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", 3, None)], false)
        }),
        Case::new("alter client quotas that may not be", AlterClientQuotas, 0, 1, |_, _| {
            alter(
                &[
                    (&[], &[("producer_byte_rate", Some(1.0))]),
                    (&[("group", Some("g"))], &[("producer_byte_rate", Some(1.0))]),
                    (&[("user", Some(""))], &[("producer_byte_rate", Some(1.0))]),
                    (&[("client-id", Some(""))], &[("producer_byte_rate", Some(1.0))]),
                    (&[("ip", Some("10.0.0.1")), ("user", None)], &[("connection_creation_rate", Some(1.0))]),
                    (&[("ip", Some("no.such.host.invalid"))], &[("connection_creation_rate", Some(1.0))]),
                    (&[("user", Some("a"))], &[("no_such_rate", Some(1.0))]),
                    (&[("user", Some("b"))], &[("connection_creation_rate", Some(1.0))]),
                    (&[("ip", Some("10.0.0.2"))], &[("producer_byte_rate", Some(1.0))]),
                    (&[("user", Some("c"))], &[("producer_byte_rate", Some(0.0))]),
                    (&[("user", Some("d"))], &[("producer_byte_rate", Some(-5.0))]),
                    (&[("user", Some("e"))], &[("consumer_byte_rate", Some(1.5))]),
                    (&[("user", Some("f"))], &[("consumer_byte_rate", Some(1e30))]),
                    (&[("ip", Some("10.0.0.3"))], &[("connection_creation_rate", Some(1e10))]),
                    (
                        &[("user", Some("g"))],
                        &[("request_percentage", Some(1.0)), ("request_percentage", None)],
                    ),
                    (&[("user", Some("h")), ("client-id", None)], &[("request_percentage", None)]),
                    (&[("user", Some("i"))], &[("no_such_rate", None)]),
                ],
                false,
            )
        }),
        Case::new("alter one client's quotas twice", AlterClientQuotas, 0, 1, |_, _| {
            alter(
                &[
                    (&[("user", Some("twice")), ("client-id", None)], &[("request_percentage", Some(5e6))]),
                    (&[("user", Some("twice")), ("client-id", None)], &[("request_percentage", Some(6e6))]),
                ],
                false,
            )
        }),
        Case::new("client quotas of who came twice", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[("user", EXACT, Some("twice"))], false)
        }),
        Case::new("take client quotas back", AlterClientQuotas, 0, 1, |_, _| {
            let removed: Vec<(Entity<'_>, Vec<(&str, Option<f64>)>)> = SET
                .iter()
                .map(|(entity, operations)| {
                    (*entity, operations.iter().map(|(key, _)| (*key, None)).collect())
                })
                .collect();
            let mut entries: Vec<(Entity<'_>, Operations<'_>)> =
                removed.iter().map(|(entity, operations)| (*entity, operations.as_slice())).collect();
            entries.push((&[("user", Some("twice")), ("client-id", None)], &[("request_percentage", None)]));
            alter(&entries, false)
        }),
        Case::new("credentials of all users", DescribeUserScramCredentials, 0, 0, |_, _| credentials(None)),
        Case::new("credentials of no users", DescribeUserScramCredentials, 0, 0, |_, _| {
            credentials(Some(&[]))
        }),
        Case::new("credentials of users that have none", DescribeUserScramCredentials, 0, 0, |_, _| {
            credentials(Some(&["alice", "bob", "alice", ""]))
        }),
        Case::new("make credentials", AlterUserScramCredentials, 0, 0, |_, _| {
            alter_credentials(&[], &[("alice", 1, 4096), ("bob", 2, 16384)])
        }),
        Case::new("credentials of users that have some", DescribeUserScramCredentials, 0, 0, |_, _| {
            credentials(Some(&["alice", "bob", "carol"]))
        }),
        Case::new("alter credentials that cannot be", AlterUserScramCredentials, 0, 0, |_, _| {
            alter_credentials(
                &[("nobody", 1), ("alice", 2), ("bob", 0), ("twice", 1)],
                &[
                    ("", 1, 4096),
                    ("few", 1, 4095),
                    ("many", 1, 16385),
                    ("strange", 3, 4096),
                    ("twice", 1, 4096),
                ],
            )
        }),
        Case::new("delete credentials", AlterUserScramCredentials, 0, 0, |_, _| {
            alter_credentials(&[("alice", 1), ("bob", 2)], &[])
        }),
        Case::new("credentials of all users, afterwards", DescribeUserScramCredentials, 0, 0, |_, _| {
            credentials(None)
        }),
        Case::new("client quotas of nobody any more", DescribeClientQuotas, 0, 1, |_, _| {
            describe(&[], false)
        }),
    ]
}
