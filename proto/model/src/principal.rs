//! Who asks for something.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::BrokerId;

/// The one kind of principal that Kafka itself makes.
const USER: &str = "User";
/// Nodes of the cluster, for what they ask of one another on their own. No authentication of clients gives this kind.
const NODE: &str = "Node";

/// Who somebody is after authentication, for example `User:alice`. Access control entries, quotas and logs name it so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

impl Principal {
    #[must_use]
    pub fn new(kind: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }

    /// A principal of the kind `User`.
    #[must_use]
    pub fn user(name: impl Into<Arc<str>>) -> Self {
        Self::new(USER, name)
    }

    /// A node of the cluster itself.
    #[must_use]
    pub fn node(id: BrokerId) -> Self {
        Self::new(NODE, id.to_string())
    }

    /// Who has not said who it is: what a listener without authentication makes of everybody.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::user("ANONYMOUS")
    }

    /// Whether the text, `kind:name`, is this principal.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        text.split_once(':').is_some_and(|(kind, name)| kind == &*self.kind && name == &*self.name)
    }

    /// Whether it is a node of the cluster.
    #[must_use]
    pub fn is_node(&self) -> bool {
        &*self.kind == NODE
    }

    /// Whether it is a user.
    #[must_use]
    pub fn is_user(&self) -> bool {
        &*self.kind == USER
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

/// A text that names no principal. The message is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePrincipalError(String);

impl fmt::Display for ParsePrincipalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a string in format principalType:principalName but got {}", self.0)
    }
}

impl std::error::Error for ParsePrincipalError {}

impl FromStr for Principal {
    type Err = ParsePrincipalError;

    /// Reads `kind:name`. The name may have further colons, and may be empty.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once(':').ok_or_else(|| ParsePrincipalError(text.to_owned()))?;
        Ok(Self::new(kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_is_written() {
        for text in ["User:alice", "User:CN=a:b,O=c", "Group:", "User:*"] {
            let principal: Principal = text.parse().unwrap();
            assert_eq!(principal.to_string(), text);
            assert!(principal.is(text));
        }
        assert_eq!(Principal::anonymous().to_string(), "User:ANONYMOUS");
        assert!(!Principal::user("alice").is("User:bob"));
        let error = "alice".parse::<Principal>().unwrap_err().to_string();
        assert_eq!(error, "expected a string in format principalType:principalName but got alice");
    }
}
