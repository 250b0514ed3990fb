//! The index and the decision, held against a list that is read from end to end.

use std::net::IpAddr;

use moldau_model::{LeaderEpoch, Offset, Operation, PatternType, Permission, Principal, ResourceType, Uuid};
use proptest::prelude::*;

use super::{Acl, AclFilter, AuthorizerSettings, Caller, Resource, WILDCARD};
use crate::{MetadataBatch, MetadataDelta, MetadataImage, MetadataRecord, records};

const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "::1"];
const PRINCIPALS: [&str; 3] = ["User:alice", "User:bob", "Role:alice"];
/// Few and nested, so that patterns meet.
const NAMES: [&str; 7] = ["a", "ab", "abc", "b", "*", "é", "éa"];
const OPERATIONS: [Operation; 7] = [
    Operation::All,
    Operation::Read,
    Operation::Write,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// All there is to decide, without any index.
#[derive(Default)]
struct Naive(Vec<(Uuid, Acl)>);

impl Naive {
    fn is_about(acl: &Acl, resource: Resource<'_>) -> bool {
        acl.resource_type == resource.resource_type
            && match acl.pattern_type {
                PatternType::Literal => {
                    &*acl.resource_name == WILDCARD || &*acl.resource_name == resource.name
                }
                PatternType::Prefixed => resource.name.starts_with(&*acl.resource_name),
            }
    }

    fn is_for(acl: &Acl, caller: &Caller<'_>) -> bool {
        (acl.principal == *caller.principal || acl.principal.to_string() == "User:*")
            && (&*acl.host == "*" || acl.host.parse::<IpAddr>().is_ok_and(|host| host == caller.host))
    }

    fn authorize(
        &self,
        settings: &AuthorizerSettings,
        caller: &Caller<'_>,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        if settings.super_users.contains(caller.principal) {
            return true;
        }
        let about: Vec<&Acl> =
            self.0.iter().map(|(_, acl)| acl).filter(|acl| Self::is_about(acl, resource)).collect();
        if about.is_empty() {
            return settings.allows_without_acl;
        }
        let mine: Vec<&Acl> = about.into_iter().filter(|acl| Self::is_for(acl, caller)).collect();
        let is_denied = mine.iter().any(|acl| {
            acl.permission == Permission::Deny
                && (acl.operation == operation || acl.operation == Operation::All)
        });
        !is_denied
            && mine.iter().any(|acl| acl.permission == Permission::Allow && acl.operation.implies(operation))
    }

    fn authorize_by_resource_type(
        &self,
        settings: &AuthorizerSettings,
        caller: &Caller<'_>,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        if self.authorize(settings, caller, operation, Resource { resource_type, name: "hardcode" }) {
            return true;
        }
        let says = |acl: &&Acl, permission| {
            acl.permission == permission && [operation, Operation::All].contains(&acl.operation)
        };
        let of_type = self.0.iter().map(|(_, acl)| acl).filter(|acl| acl.resource_type == resource_type);
        let mine: Vec<&Acl> = of_type.filter(|acl| Self::is_for(acl, caller)).collect();
        let denied: Vec<&Acl> = mine.iter().copied().filter(|acl| says(acl, Permission::Deny)).collect();
        let is_every =
            |acl: &&Acl| acl.pattern_type == PatternType::Literal && &*acl.resource_name == WILDCARD;
        if denied.iter().any(is_every) {
            return false;
        }
        let hides = |denied: &Acl, allowed: &Acl| match denied.pattern_type {
            PatternType::Prefixed => allowed.resource_name.starts_with(&*denied.resource_name),
            PatternType::Literal => {
                allowed.pattern_type == PatternType::Literal && allowed.resource_name == denied.resource_name
            }
        };
        let mut allowed = mine.into_iter().filter(|acl| says(acl, Permission::Allow));
        allowed.any(|allowed| is_every(&allowed) || !denied.iter().any(|denied| hides(denied, allowed)))
    }
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    (0..values.len()).prop_map(move |at| values[at])
}

fn any_acl() -> impl Strategy<Value = Acl> {
    (
        one_of(&[ResourceType::Topic, ResourceType::Topic, ResourceType::Group]),
        one_of(&[PatternType::Literal, PatternType::Prefixed]),
        one_of(&NAMES),
        one_of(&["User:alice", "User:bob", "User:*", "Role:alice"]),
        one_of(&["*", "*", "10.0.0.1", "0:0:0:0:0:0:0:1", "a-host"]),
        one_of(&OPERATIONS),
        one_of(&[Permission::Allow, Permission::Allow, Permission::Deny]),
    )
        .prop_map(|(resource_type, pattern_type, name, principal, host, operation, permission)| Acl {
            resource_type,
            pattern_type,
            resource_name: name.into(),
            principal: principal.parse().unwrap(),
            host: host.into(),
            operation,
            permission,
        })
}

#[derive(Clone, Debug)]
enum Edit {
    Add(Acl),
    Remove(usize),
}

fn any_edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        3 => any_acl().prop_map(Edit::Add),
        2 => any::<usize>().prop_map(Edit::Remove),
    ];
    prop::collection::vec(edit, 1..24)
}

fn id(number: usize) -> Uuid {
    Uuid::from_bytes((number as u128 + 1).to_be_bytes())
}

fn replay(image: &MetadataImage, record: impl Into<MetadataRecord>) -> MetadataImage {
    let batch = MetadataBatch { records: vec![record.into()] };
    let offset = Offset(image.position().offset.0 + 1);
    let (after, delta) = image.replay(&batch, offset, LeaderEpoch(1)).unwrap();
    assert!(!delta.is_empty(), "an entry that came or went is a change");
    after
}

fn hold_against(image: &MetadataImage, naive: &Naive, settings: &AuthorizerSettings) {
    for principal in PRINCIPALS {
        let principal: Principal = principal.parse().unwrap();
        for host in HOSTS {
            let caller = Caller { principal: &principal, host: host.parse().unwrap() };
            for operation in OPERATIONS.into_iter().skip(1) {
                for resource_type in [ResourceType::Topic, ResourceType::Group] {
                    assert_eq!(
                        settings.authorize_by_resource_type(image.acls(), &caller, operation, resource_type),
                        naive.authorize_by_resource_type(settings, &caller, operation, resource_type),
                        "{principal} from {host}: {operation} on some {resource_type:?}"
                    );
                }
                for name in NAMES {
                    for resource in [Resource::topic(name), Resource::group(name)] {
                        assert_eq!(
                            settings.authorize(image.acls(), &caller, operation, resource),
                            naive.authorize(settings, &caller, operation, resource),
                            "{principal} from {host}: {operation} on {resource:?}"
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_comes_and_goes_the_answer_is_that_of_a_plain_list(edits in any_edits(), allows in any::<bool>()) {
        let settings = AuthorizerSettings { allows_without_acl: allows, ..AuthorizerSettings::default() };
        let mut image = MetadataImage::empty();
        let mut naive = Naive::default();
        for (number, edit) in edits.into_iter().enumerate() {
            match edit {
                Edit::Add(acl) => {
                    prop_assert_eq!(image.acls().contains(&acl), naive.0.iter().any(|(_, known)| *known == acl));
                    image = replay(&image, acl.to_record(id(number)));
                    prop_assert!(image.acls().contains(&acl));
                    naive.0.push((id(number), acl));
                }
                Edit::Remove(at) if !naive.0.is_empty() => {
                    let (id, _) = naive.0.remove(at % naive.0.len());
                    image = replay(&image, records::RemoveAccessControlEntry { id: id.as_bytes().to_vec() });
                }
                Edit::Remove(_) => {}
            }
        }
        hold_against(&image, &naive, &settings);
        // A node that starts from a snapshot answers the same.
        let batch = MetadataBatch { records: image.to_snapshot_records() };
        let loaded = MetadataImage::from_snapshot([&batch], image.position().offset, LeaderEpoch(1)).unwrap();
        prop_assert!(MetadataDelta::between(&image, &loaded).is_empty());
        hold_against(&loaded, &naive, &settings);
        // An empty image again is one without patterns.
        for (id, _) in naive.0 {
            image = replay(&image, records::RemoveAccessControlEntry { id: id.as_bytes().to_vec() });
        }
        hold_against(&image, &Naive::default(), &settings);
    }
}

fn image(entries: &[(ResourceType, PatternType, &str, &str, Operation, Permission)]) -> MetadataImage {
    entries.iter().enumerate().fold(MetadataImage::empty(), |image, (number, entry)| {
        let (resource_type, pattern_type, name, principal, operation, permission) = *entry;
        let acl = Acl {
            resource_type,
            pattern_type,
            resource_name: name.into(),
            principal: principal.parse().unwrap(),
            host: "*".into(),
            operation,
            permission,
        };
        replay(&image, acl.to_record(id(number)))
    })
}

#[test]
fn a_super_user_may_do_what_is_denied() {
    use {Operation::*, PatternType::*, Permission::*, ResourceType::*};
    let image = image(&[(Topic, Literal, "*", "User:*", All, Deny)]);
    let settings = AuthorizerSettings {
        super_users: ["User:root".parse().unwrap()].into(),
        ..AuthorizerSettings::default()
    };
    let may = |name: &str| {
        let principal = name.parse().unwrap();
        let caller = Caller { principal: &principal, host: "10.0.0.1".parse().unwrap() };
        settings.authorize(image.acls(), &caller, Read, Resource::topic("t"))
    };
    assert!(may("User:root"));
    assert!(!may("User:rooty") && !may("Group:root"));
}

#[test]
fn some_resource_of_a_type_is_found_unless_all_that_is_allowed_is_denied() {
    use {Operation::*, PatternType::*, Permission::*, ResourceType::*};
    let alice = "User:alice";
    for (expected, entries) in [
        (false, &[][..]),
        (true, &[(Topic, Literal, "t", alice, Write, Allow)]),
        (true, &[(Topic, Prefixed, "t", "User:*", All, Allow)]),
        (false, &[(Topic, Literal, "t", alice, Read, Allow)]),
        (false, &[(Group, Literal, "t", alice, Write, Allow)]),
        (false, &[(Topic, Literal, "t", "User:bob", Write, Allow)]),
        (false, &[(Topic, Literal, "t", alice, Write, Allow), (Topic, Literal, "t", "User:*", Write, Deny)]),
        (false, &[(Topic, Literal, "tt", alice, Write, Allow), (Topic, Prefixed, "t", alice, Write, Deny)]),
        (true, &[(Topic, Prefixed, "t", alice, Write, Allow), (Topic, Prefixed, "tt", alice, Write, Deny)]),
        (true, &[(Topic, Prefixed, "t", alice, Write, Allow), (Topic, Literal, "t", alice, Write, Deny)]),
        (false, &[(Topic, Literal, "*", alice, Write, Deny), (Topic, Literal, "t", alice, Write, Allow)]),
        (
            true,
            &[(Topic, Literal, "*", alice, Write, Allow), (Topic, Literal, "hardcode", alice, Write, Deny)],
        ),
    ] {
        let image = image(entries);
        let principal = alice.parse().unwrap();
        let caller = Caller { principal: &principal, host: "10.0.0.1".parse().unwrap() };
        let settings = AuthorizerSettings::default();
        let found = settings.authorize_by_resource_type(image.acls(), &caller, Write, Topic);
        assert_eq!(found, expected, "{entries:?}");
    }
}

#[test]
fn settings_are_read_in_kafkas_names() {
    let read = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AuthorizerSettings::from_settings(&settings)
    };
    let class = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    assert_eq!(read(&[("super.users", "no principal")]), Ok(None), "without an authorizer nobody reads it");
    let settings = read(&[
        class,
        ("super.users", "User:CN=a,O=b; User:bob;"),
        ("allow.everyone.if.no.acl.found", "TRUE"),
    ]);
    let settings = settings.unwrap().unwrap();
    assert!(settings.allows_without_acl);
    let users: Vec<String> = settings.super_users.iter().map(ToString::to_string).collect();
    assert_eq!(users, ["User:CN=a,O=b", "User:bob"]);
    let (name, problem) = read(&[class, ("super.users", "bob")]).unwrap_err();
    assert_eq!((name, problem.contains("principalType:principalName")), ("super.users", true));
    let (name, problem) =
        read(&[("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer")]).unwrap_err();
    assert_eq!(
        (name, problem.contains("StandardAuthorizer is the authorizer")),
        ("authorizer.class.name", true)
    );
}

#[test]
fn an_entry_that_cannot_be_understood_does_not_replay() {
    let acl = Acl {
        resource_type: ResourceType::Topic,
        pattern_type: PatternType::Literal,
        resource_name: "t".into(),
        principal: Principal::user("alice"),
        host: "*".into(),
        operation: Operation::Read,
        permission: Permission::Allow,
    };
    let good = acl.to_record(id(0));
    let mut image = super::AclsImage::default();
    for wrong in [
        records::AccessControlEntry { operation: 1, ..good.clone() },
        records::AccessControlEntry { permission: 9, ..good.clone() },
        records::AccessControlEntry { resource_type: 300, ..good.clone() },
        records::AccessControlEntry { principal: "alice".into(), ..good.clone() },
        records::AccessControlEntry { id: vec![1], ..good.clone() },
    ] {
        assert!(image.replay_entry(&wrong).is_err());
    }
    image.replay_entry(&good).unwrap();
    assert!(image.replay_entry(&good).is_err(), "an id is used once");
    let filter = AclFilter::default();
    assert_eq!(image.matching(&filter).count(), 1);
    let removal = records::RemoveAccessControlEntry { id: id(1).as_bytes().to_vec() };
    assert!(image.replay_removal(&removal).is_err(), "nobody can take away what is not there");
}
