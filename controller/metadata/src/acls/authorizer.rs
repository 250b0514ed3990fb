//! The decision: what the entries, and the settings around them, say to one question.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use moldau_model::{CLUSTER_RESOURCE_NAME, Operation, PatternType, Permission, Principal, ResourceType};

use super::{AclsImage, PatternRules, Rule, WILDCARD, index};

/// What entries for everybody say they are for.
static EVERY_USER: LazyLock<Principal> = LazyLock::new(|| Principal::user(WILDCARD));

/// The one authorizer that there is, by the name of Kafka's.
const CLASS_NAME: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// A thing that is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    pub resource_type: ResourceType,
    pub name: &'a str,
}

impl<'a> Resource<'a> {
    pub const CLUSTER: Resource<'static> =
        Resource { resource_type: ResourceType::Cluster, name: CLUSTER_RESOURCE_NAME };

    #[must_use]
    pub const fn topic(name: &'a str) -> Self {
        Self { resource_type: ResourceType::Topic, name }
    }

    #[must_use]
    pub const fn group(name: &'a str) -> Self {
        Self { resource_type: ResourceType::Group, name }
    }

    #[must_use]
    pub const fn transactional_id(name: &'a str) -> Self {
        Self { resource_type: ResourceType::TransactionalId, name }
    }

    #[must_use]
    pub const fn user(name: &'a str) -> Self {
        Self { resource_type: ResourceType::User, name }
    }

    #[must_use]
    pub const fn delegation_token(name: &'a str) -> Self {
        Self { resource_type: ResourceType::DelegationToken, name }
    }
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

/// What an authorizer is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizerSettings {
    /// `super.users`: they may do everything, whatever is denied.
    pub super_users: BTreeSet<Principal>,
    /// `allow.everyone.if.no.acl.found`: what no entry is about is free.
    pub allows_without_acl: bool,
}

impl AuthorizerSettings {
    /// The settings in Kafka's names. `None` without `authorizer.class.name`: everybody may do everything.
    ///
    /// # Errors
    /// The setting that is wrong, and why.
    pub fn from_settings(
        settings: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, (&'static str, String)> {
        let text = |name: &str| settings.get(name).map_or("", |text| text.trim());
        match text("authorizer.class.name") {
            "" => return Ok(None),
            CLASS_NAME => {}
            other => {
                let problem = format!("{other} is not there, {CLASS_NAME} is the authorizer that is");
                return Err(("authorizer.class.name", problem));
            }
        }
        let named = text("super.users").split(';').map(str::trim).filter(|user| !user.is_empty());
        let super_users: Result<BTreeSet<Principal>, _> = named.map(str::parse).collect();
        Ok(Some(Self {
            super_users: super_users.map_err(|error| ("super.users", error.to_string()))?,
            allows_without_acl: text("allow.everyone.if.no.acl.found").eq_ignore_ascii_case("true"),
        }))
    }

    /// Whether the caller may do this. What is denied is denied, whatever else allows it; what is allowed implies what
    /// Kafka says it does; and what nobody speaks of is denied.
    #[must_use]
    pub fn authorize(
        &self,
        acls: &AclsImage,
        caller: &Caller<'_>,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        if self.super_users.contains(caller.principal) {
            return true;
        }
        let (mut is_spoken_of, mut is_allowed) = (false, false);
        for of_pattern in acls.rules_about(resource.resource_type, resource.name) {
            is_spoken_of = true;
            for rule in rules_for(of_pattern, caller.principal) {
                if !rule.host.matches(caller.host) {
                    continue;
                }
                match rule.permission {
                    Permission::Deny if denies(rule.operation, operation) => return false,
                    Permission::Allow if rule.operation.implies(operation) => is_allowed = true,
                    _ => {}
                }
            }
        }
        is_allowed || (!is_spoken_of && self.allows_without_acl)
    }

    /// Whether the caller may do this to some resource of the type, whichever that is.
    #[must_use]
    pub fn authorize_by_resource_type(
        &self,
        acls: &AclsImage,
        caller: &Caller<'_>,
        operation: Operation,
        resource_type: ResourceType,
    ) -> bool {
        // A name that nobody has: what Kafka tries, so that super users come through whatever is denied.
        let any_name = Resource { resource_type, name: "hardcode" };
        if self.authorize(acls, caller, operation, any_name) {
            return true;
        }
        let of_type = &acls.by_type[index(resource_type)];
        // Implied operations do not count here, in Kafka neither.
        let says = |rules: &PatternRules, permission: Permission| {
            rules_for(rules, caller.principal).any(|rule| {
                rule.permission == permission
                    && rule.host.matches(caller.host)
                    && denies(rule.operation, operation)
            })
        };
        let of_every = of_type.literal.get(WILDCARD);
        if of_every.is_some_and(|rules| says(rules, Permission::Deny)) {
            return false;
        }
        if of_every.is_some_and(|rules| says(rules, Permission::Allow)) {
            return true;
        }
        let denied_by_prefix = |name: &str| {
            let prefixes = of_type.prefix_lengths.range(..=name.len());
            prefixes
                .filter_map(|(length, _)| of_type.prefixed.get(name.get(..*length)?))
                .any(|rules| says(rules, Permission::Deny))
        };
        // Whoever makes idempotent producers asks this each time: it costs what there is about the caller, and not what there is.
        let own = of_type.of_principal(caller.principal);
        own.chain(of_type.of_principal(&EVERY_USER)).any(|(pattern_type, name, rules)| {
            let is_denied_itself = pattern_type == PatternType::Literal && says(rules, Permission::Deny);
            says(rules, Permission::Allow) && !is_denied_itself && !denied_by_prefix(name)
        })
    }

    /// The operations that the caller may do, as the bit field that describes them (KIP-430).
    #[must_use]
    pub fn authorized_operations(
        &self,
        acls: &AclsImage,
        caller: &Caller<'_>,
        resource: Resource<'_>,
    ) -> i32 {
        let allowed = resource.resource_type.operations().iter().copied();
        let allowed = allowed.filter(|operation| self.authorize(acls, caller, *operation, resource));
        allowed.fold(0, |field, operation| field | 1 << operation.code())
    }
}

/// The rules for the principal itself and for everybody.
fn rules_for<'a>(rules: &'a PatternRules, principal: &Principal) -> impl Iterator<Item = &'a Rule> {
    let everybody = (*principal != *EVERY_USER).then(|| rules.get(&*EVERY_USER)).flatten();
    rules.get(principal).into_iter().chain(everybody).flatten()
}

/// Whether a rule of this operation that denies is about the one that is wanted: it implies nothing.
fn denies(rule: Operation, wanted: Operation) -> bool {
    rule == Operation::All || rule == wanted
}
