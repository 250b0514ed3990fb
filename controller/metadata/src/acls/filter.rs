//! Which entries somebody asks for, or wants removed.

use std::collections::BTreeSet;

use moldau_model::{Operation, PatternType, Permission, ResourceType};

use super::{Acl, AclsImage, WILDCARD};

/// Which patterns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatternFilter {
    #[default]
    Any,
    /// Those that the filter's name matches as a resource would.
    Match,
    Of(PatternType),
}

impl PatternFilter {
    const ANY: i8 = 1;
    const MATCH: i8 = 2;

    /// The one of Kafka's number.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            Self::ANY => Some(Self::Any),
            Self::MATCH => Some(Self::Match),
            _ => match PatternType::from_code(code) {
                Some(pattern_type) => Some(Self::Of(pattern_type)),
                None => None,
            },
        }
    }

    /// Kafka's number.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Any => Self::ANY,
            Self::Match => Self::MATCH,
            Self::Of(pattern_type) => pattern_type.code(),
        }
    }
}

/// What entries have to be; what is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclFilter {
    pub resource_type: Option<ResourceType>,
    pub resource_name: Option<String>,
    pub pattern: PatternFilter,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

/// The numbers of a filter, as requests have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclFilterCodes {
    pub resource_type: i8,
    pub pattern_type: i8,
    pub operation: i8,
    pub permission: i8,
}

impl AclFilter {
    /// A filter of Kafka's numbers, of which 1 is any. The texts are still to be set.
    ///
    /// # Errors
    /// Kafka's text for a number that it does not know.
    pub fn from_codes(codes: AclFilterCodes) -> Result<Self, &'static str> {
        /// Kafka's number of "any".
        const ANY: i8 = 1;
        const UNKNOWN_PATTERN: &str = "Unknown patternFilter.";
        const UNKNOWN_ENTRY: &str = "Unknown entryFilter.";
        fn any_or<T>(code: i8, known: Option<T>, problem: &'static str) -> Result<Option<T>, &'static str> {
            if known.is_none() && code != ANY { Err(problem) } else { Ok(known) }
        }
        let AclFilterCodes { resource_type, pattern_type, operation, permission } = codes;
        Ok(Self {
            resource_type: any_or(resource_type, ResourceType::from_code(resource_type), UNKNOWN_PATTERN)?,
            pattern: PatternFilter::from_code(pattern_type).ok_or(UNKNOWN_PATTERN)?,
            operation: any_or(operation, Operation::from_code(operation), UNKNOWN_ENTRY)?,
            permission: any_or(permission, Permission::from_code(permission), UNKNOWN_ENTRY)?,
            ..Self::default()
        })
    }

    #[must_use]
    pub fn matches(&self, acl: &Acl) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        self.resource_type.is_none_or(|wanted| wanted == acl.resource_type)
            && self.operation.is_none_or(|wanted| wanted == acl.operation)
            && self.permission.is_none_or(|wanted| wanted == acl.permission)
            && is(&self.host, &acl.host)
            && self.principal.as_deref().is_none_or(|wanted| acl.principal.is(wanted))
            && self.matches_pattern(acl)
    }

    fn matches_pattern(&self, acl: &Acl) -> bool {
        let name = self.resource_name.as_deref();
        let is_name = name.is_none_or(|name| name == &*acl.resource_name);
        match self.pattern {
            PatternFilter::Any => is_name,
            PatternFilter::Of(pattern_type) => pattern_type == acl.pattern_type && is_name,
            PatternFilter::Match => match acl.pattern_type {
                PatternType::Literal => is_name || &*acl.resource_name == WILDCARD,
                PatternType::Prefixed => name.is_none_or(|name| name.starts_with(&*acl.resource_name)),
            },
        }
    }
}

impl AclsImage {
    /// The entries that a filter asks for.
    pub fn matching<'a>(
        &'a self,
        filter: &'a AclFilter,
    ) -> impl Iterator<Item = (&'a moldau_model::Uuid, &'a Acl)> + 'a {
        self.iter().map(|(id, acl)| (id, &**acl)).filter(|(_, acl)| filter.matches(acl))
    }

    /// The same as DescribeAcls tells them: in order, once each, those of one pattern together; no group is empty.
    #[must_use]
    pub fn matching_by_pattern<'a>(&'a self, filter: &AclFilter) -> Vec<Vec<&'a Acl>> {
        let found: BTreeSet<&Acl> =
            self.iter().map(|(_, acl)| &**acl).filter(|acl| filter.matches(acl)).collect();
        let mut groups: Vec<Vec<&Acl>> = Vec::new();
        for acl in found {
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(|last| last.is_of_pattern_of(acl)) => group.push(acl),
                _ => groups.push(vec![acl]),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(pattern_type: PatternType, name: &str) -> Acl {
        Acl {
            resource_type: ResourceType::Topic,
            pattern_type,
            resource_name: name.into(),
            principal: "User:alice".parse().unwrap(),
            host: "*".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn entries_are_told_by_pattern_each_once() {
        let bob = Acl { principal: "User:bob".parse().unwrap(), ..acl(PatternType::Literal, "rivers") };
        let entries = [
            bob.clone(),
            acl(PatternType::Prefixed, "rivers"),
            acl(PatternType::Literal, "rivers"),
            bob,
            acl(PatternType::Literal, "lakes"),
        ];
        let mut image = AclsImage::default();
        for (number, entry) in (1u8..).zip(&entries) {
            image.replay_entry(&entry.to_record(moldau_model::Uuid::from_bytes([number; 16]))).unwrap();
        }
        let told = image.matching_by_pattern(&AclFilter::default());
        let told: Vec<_> = told.iter().map(|group| (&*group[0].resource_name, group.len())).collect();
        assert_eq!(told, [("lakes", 1), ("rivers", 2), ("rivers", 1)]);
    }

    #[test]
    fn a_filter_that_matches_finds_what_is_about_a_resource() {
        let acls = [
            acl(PatternType::Literal, "foobar"),
            acl(PatternType::Literal, "*"),
            acl(PatternType::Prefixed, "foo"),
            acl(PatternType::Literal, "foo"),
            acl(PatternType::Prefixed, "b"),
        ];
        let found = |pattern, name: Option<&str>| -> Vec<usize> {
            let filter =
                AclFilter { pattern, resource_name: name.map(str::to_owned), ..AclFilter::default() };
            (0..acls.len()).filter(|at| filter.matches(&acls[*at])).collect()
        };
        assert_eq!(found(PatternFilter::Match, Some("foobar")), [0, 1, 2]);
        assert_eq!(found(PatternFilter::Any, Some("foo")), [2, 3]);
        assert_eq!(found(PatternFilter::Of(PatternType::Prefixed), Some("foo")), [2]);
        assert_eq!(found(PatternFilter::Of(PatternType::Prefixed), None), [2, 4]);
        assert_eq!(found(PatternFilter::Match, None), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_filter_holds_all_that_it_says() {
        let acl = acl(PatternType::Literal, "t");
        let matches = |filter: AclFilter| filter.matches(&acl);
        assert!(matches(AclFilter::default()));
        assert!(matches(AclFilter { principal: Some("User:alice".into()), ..AclFilter::default() }));
        assert!(!matches(AclFilter { principal: Some("User:*".into()), ..AclFilter::default() }));
        assert!(!matches(AclFilter { host: Some("127.0.0.1".into()), ..AclFilter::default() }));
        assert!(!matches(AclFilter { operation: Some(Operation::All), ..AclFilter::default() }));
        assert!(!matches(AclFilter { permission: Some(Permission::Deny), ..AclFilter::default() }));
        assert!(!matches(AclFilter { resource_type: Some(ResourceType::Group), ..AclFilter::default() }));
    }
}
