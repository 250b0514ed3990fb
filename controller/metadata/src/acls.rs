//! Access control entries: who may do what from where, and who may not. The image keeps them by id, as the log has them,
//! and by what they are about, as questions need them.

mod audit;
mod authorizer;
mod filter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use moldau_model::{Operation, PatternType, Permission, Principal, ResourceType, Uuid};

pub use audit::{AUDIT_TARGET, AuditLine, DENIALS_PER_SECOND_MAX, shortened};
pub use authorizer::{AuthorizerSettings, Caller, Resource};
pub use filter::{AclFilter, AclFilterCodes, PatternFilter};

use crate::{SortedMap, records};

/// Stands for every resource of a type, every host and every name of a user.
pub const WILDCARD: &str = "*";

/// The most entries that there may be. Each is a record in every snapshot and some hundred bytes on every node; Kafka has no
/// bound, and installations with tens of thousands of entries are known.
pub const ACLS_MAX: usize = 200_000;

/// The longest name, principal or host of an entry. Distinguished names of certificates are the longest that are real.
pub const ACL_TEXT_BYTES_MAX: usize = 4096;

const RESOURCE_TYPES: usize = ResourceType::ALL_OF_THEM.len();

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    pub resource_type: ResourceType,
    pub pattern_type: PatternType,
    pub resource_name: Arc<str>,
    pub principal: Principal,
    /// An address, or `*` for all.
    pub host: Arc<str>,
    pub operation: Operation,
    pub permission: Permission,
}

impl Acl {
    /// Whether both are about the same resources.
    fn is_of_pattern_of(&self, other: &Self) -> bool {
        let pattern = |acl: &Self| (acl.resource_type, acl.pattern_type);
        pattern(self) == pattern(other) && self.resource_name == other.resource_name
    }

    fn pattern_of_principal(&self) -> PatternOfPrincipal {
        (self.principal.clone(), self.pattern_type, Arc::clone(&self.resource_name))
    }

    /// The record that puts it into the log.
    #[must_use]
    pub fn to_record(&self, id: Uuid) -> records::AccessControlEntry {
        records::AccessControlEntry {
            id: id.as_bytes().to_vec(),
            resource_type: i32::from(self.resource_type.code()),
            resource_name: self.resource_name.to_string(),
            pattern_type: i32::from(self.pattern_type.code()),
            principal: self.principal.to_string(),
            host: self.host.to_string(),
            operation: i32::from(self.operation.code()),
            permission: i32::from(self.permission.code()),
        }
    }

    fn from_record(record: &records::AccessControlEntry) -> Result<Self, String> {
        fn known<T>(what: &str, code: i32, read: fn(i8) -> Option<T>) -> Result<T, String> {
            i8::try_from(code).ok().and_then(read).ok_or_else(|| format!("{what} {code} is unknown"))
        }
        Ok(Self {
            resource_type: known("resource type", record.resource_type, ResourceType::from_code)?,
            pattern_type: known("pattern type", record.pattern_type, PatternType::from_code)?,
            resource_name: record.resource_name.as_str().into(),
            principal: record.principal.parse().map_err(|error| format!("{error}"))?,
            host: record.host.as_str().into(),
            operation: known("operation", record.operation, Operation::from_code)?,
            permission: known("permission", record.permission, Permission::from_code)?,
        })
    }
}

/// What an entry says, under its resources and its principal.
#[derive(Clone, Debug)]
struct Rule {
    id: Uuid,
    host: HostPattern,
    operation: Operation,
    permission: Permission,
}

/// From where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    Address(IpAddr),
    /// A text that is no address, which nobody comes from. Kafka takes it, too.
    Nowhere,
}

impl HostPattern {
    fn new(text: &str) -> Self {
        if text == WILDCARD {
            return Self::Any;
        }
        text.parse::<IpAddr>().map_or(Self::Nowhere, |address| Self::Address(address.to_canonical()))
    }

    fn matches(self, host: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Address(address) => address == host,
            Self::Nowhere => false,
        }
    }
}

/// All rules of one pattern, by principal.
type PatternRules = BTreeMap<Principal, Vec<Rule>>;
/// Patterns by name.
type Patterns = SortedMap<Arc<str>, Arc<PatternRules>>;

/// The patterns of one type of resource.
#[derive(Clone, Debug, Default)]
struct TypePatterns {
    literal: Patterns,
    prefixed: Patterns,
    /// How many prefixes there are of which length: a name is looked up once for each length, however many prefixes there
    /// are.
    prefix_lengths: Arc<BTreeMap<usize, usize>>,
    /// The patterns that speak of a principal: what asks for some resource of the type reads these alone.
    by_principal: SortedMap<PatternOfPrincipal, ()>,
}

type PatternOfPrincipal = (Principal, PatternType, Arc<str>);

impl TypePatterns {
    /// The patterns with rules for this principal, and all of their rules.
    fn of_principal<'a>(
        &'a self,
        principal: &'a Principal,
    ) -> impl Iterator<Item = (PatternType, &'a Arc<str>, &'a PatternRules)> {
        let first = (principal.clone(), PatternType::Literal, Arc::from(""));
        let from = self.by_principal.iter_from(&first);
        let of_principal = from.take_while(move |((of, ..), ())| of == principal);
        of_principal.filter_map(|((_, pattern_type, name), ())| {
            let patterns = match pattern_type {
                PatternType::Literal => &self.literal,
                PatternType::Prefixed => &self.prefixed,
            };
            patterns.get(&**name).map(|rules| (*pattern_type, name, &**rules))
        })
    }
}

/// All entries.
#[derive(Clone, Debug, Default)]
pub struct AclsImage {
    pub(crate) by_id: SortedMap<Uuid, Arc<Acl>>,
    by_type: [TypePatterns; RESOURCE_TYPES],
}

/// The rest is made of these.
impl PartialEq for AclsImage {
    fn eq(&self, other: &Self) -> bool {
        self.by_id == other.by_id
    }
}

impl Eq for AclsImage {}

impl AclsImage {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every entry, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &Arc<Acl>)> {
        self.by_id.iter()
    }

    #[must_use]
    pub fn contains_id(&self, id: &Uuid) -> bool {
        self.by_id.contains_key(id)
    }

    /// Whether there is an entry that says the very same.
    #[must_use]
    pub fn contains(&self, acl: &Acl) -> bool {
        let rules = self.patterns(acl.resource_type, acl.pattern_type).get(&*acl.resource_name);
        let rules = rules.and_then(|rules| rules.get(&acl.principal));
        rules.into_iter().flatten().any(|rule| self.by_id.get(&rule.id).is_some_and(|other| **other == *acl))
    }

    fn patterns(&self, resource_type: ResourceType, pattern_type: PatternType) -> &Patterns {
        let of_type = &self.by_type[index(resource_type)];
        match pattern_type {
            PatternType::Literal => &of_type.literal,
            PatternType::Prefixed => &of_type.prefixed,
        }
    }

    /// The rules that are about this resource, pattern by pattern.
    fn rules_about<'a>(
        &'a self,
        resource_type: ResourceType,
        name: &'a str,
    ) -> impl Iterator<Item = &'a PatternRules> + 'a {
        let of_type = &self.by_type[index(resource_type)];
        // A name that is the wildcard itself must not be looked up twice.
        let wildcard = (name != WILDCARD).then(|| of_type.literal.get(WILDCARD)).flatten();
        let literal = [of_type.literal.get(name), wildcard].into_iter().flatten();
        let prefixes = of_type.prefix_lengths.range(..=name.len());
        let prefixed = prefixes.filter_map(move |(length, _)| of_type.prefixed.get(name.get(..*length)?));
        literal.chain(prefixed).map(|rules| &**rules)
    }

    pub(crate) fn replay_entry(&mut self, record: &records::AccessControlEntry) -> Result<(), String> {
        let id = id(&record.id)?;
        let acl = Acl::from_record(record)?;
        if self.by_id.contains_key(&id) {
            return Err(format!("access control entry {id} exists"));
        }
        let rule = Rule {
            id,
            host: HostPattern::new(&acl.host),
            operation: acl.operation,
            permission: acl.permission,
        };
        let of_type = &mut self.by_type[index(acl.resource_type)];
        of_type.by_principal.insert(acl.pattern_of_principal(), ());
        let (patterns, is_prefix) = match acl.pattern_type {
            PatternType::Literal => (&mut of_type.literal, false),
            PatternType::Prefixed => (&mut of_type.prefixed, true),
        };
        if let Some(rules) = patterns.get_mut(&*acl.resource_name) {
            Arc::make_mut(rules).entry(acl.principal.clone()).or_default().push(rule);
        } else {
            let rules = BTreeMap::from([(acl.principal.clone(), vec![rule])]);
            patterns.insert(Arc::clone(&acl.resource_name), Arc::new(rules));
            if is_prefix {
                let lengths = Arc::make_mut(&mut of_type.prefix_lengths);
                *lengths.entry(acl.resource_name.len()).or_default() += 1;
            }
        }
        self.by_id.insert(id, Arc::new(acl));
        Ok(())
    }

    pub(crate) fn replay_removal(
        &mut self,
        record: &records::RemoveAccessControlEntry,
    ) -> Result<(), String> {
        let id = id(&record.id)?;
        let acl = self.by_id.remove(&id).ok_or_else(|| format!("access control entry {id} is unknown"))?;
        let of_type = &mut self.by_type[index(acl.resource_type)];
        let (patterns, is_prefix) = match acl.pattern_type {
            PatternType::Literal => (&mut of_type.literal, false),
            PatternType::Prefixed => (&mut of_type.prefixed, true),
        };
        let Some(of_pattern) = patterns.get_mut(&*acl.resource_name) else { return Ok(()) };
        // This entry alone goes: what others say of the same resource stays.
        let of_pattern = Arc::make_mut(of_pattern);
        if let Some(rules) = of_pattern.get_mut(&acl.principal) {
            rules.retain(|rule| rule.id != id);
            if rules.is_empty() {
                of_pattern.remove(&acl.principal);
                of_type.by_principal.remove(&acl.pattern_of_principal());
            }
        }
        if !of_pattern.is_empty() {
            return Ok(());
        }
        patterns.remove(&*acl.resource_name);
        if is_prefix {
            let lengths = Arc::make_mut(&mut of_type.prefix_lengths);
            let length = acl.resource_name.len();
            if let Some(count) = lengths.get_mut(&length) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&length);
                }
            }
        }
        Ok(())
    }
}

/// The place of a type in [`AclsImage::by_type`].
const fn index(resource_type: ResourceType) -> usize {
    (resource_type.code() - ResourceType::Topic.code()) as usize
}

fn id(bytes: &[u8]) -> Result<Uuid, String> {
    let bytes = bytes.try_into().map_err(|_| format!("an id of {} bytes", bytes.len()))?;
    Ok(Uuid::from_bytes(bytes))
}
