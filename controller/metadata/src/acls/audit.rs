//! One line of the audit log, in the words of Kafka's authorizer, so that what reads those reads these.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use moldau_model::{Operation, Principal, ResourceType};

use super::Resource;

/// The target of these lines; Kafka's name of the logger.
pub const AUDIT_TARGET: &str = "kafka.authorizer.logger";

/// How many denials a node tells a second. Whoever asks for what is denied asks again, thousands of times a second if need
/// be: that must not fill the disk.
pub const DENIALS_PER_SECOND_MAX: u32 = 20;

/// What a line shows of a name. Names that clients make up may be as long as a request.
const NAME_CHARACTERS_MAX: usize = 256;

/// The beginning of a name that is too long for a line.
#[must_use]
pub fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(NAME_CHARACTERS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", name.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(name),
    }
}

/// Who wanted what, and whether it was let.
#[derive(Clone, Copy, Debug)]
pub struct AuditLine<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
    pub operation: Operation,
    pub resource: Resource<'a>,
    /// Kafka's name of the request.
    pub request: &'a str,
    pub is_allowed: bool,
}

impl fmt::Display for AuditLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are the asker's to choose: none may begin a line of its own.
        let principal = self.principal.to_string();
        write!(
            f,
            "Principal = {} is {} operation = {} from host = {} on resource = {}:LITERAL:{} for request = {} with \
             resourceRefCount = 1",
            shortened(&principal).escape_debug(),
            if self.is_allowed { "Allowed" } else { "Denied" },
            self.operation,
            self.host,
            type_name(self.resource.resource_type),
            shortened(self.resource.name).escape_debug(),
            self.request
        )
    }
}

/// As Kafka's audit log writes them.
const fn type_name(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Topic => "Topic",
        ResourceType::Group => "Group",
        ResourceType::Cluster => "Cluster",
        ResourceType::TransactionalId => "TransactionalId",
        ResourceType::DelegationToken => "DelegationToken",
        ResourceType::User => "User",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_more_than_the_beginning_of_a_name_into_a_line() {
        let name = "\u{1}\u{e9}".repeat(500_000);
        let principal = format!("User:{name}").parse().unwrap();
        let resource = Resource::topic(&name);
        let operation = Operation::Read;
        let host = [127, 0, 0, 1].into();
        let line = AuditLine {
            principal: &principal,
            host,
            operation,
            resource,
            request: "Fetch",
            is_allowed: false,
        };
        assert!(line.to_string().len() < 4096);
        let just = "é".repeat(NAME_CHARACTERS_MAX);
        assert_eq!(shortened(&just), just);
        assert_eq!(shortened(&format!("{just}x")), format!("{just}…"));
    }

    #[test]
    fn a_line_reads_as_kafkas_and_stays_one_line() {
        let principal = "User:bob\n".parse().unwrap();
        let line = AuditLine {
            principal: &principal,
            host: [127, 0, 0, 1].into(),
            operation: Operation::DescribeConfigs,
            resource: Resource::topic("riv\ners"),
            request: "DescribeConfigs",
            is_allowed: false,
        };
        assert_eq!(
            line.to_string(),
            "Principal = User:bob\\n is Denied operation = DESCRIBE_CONFIGS from host = 127.0.0.1 on resource = \
             Topic:LITERAL:riv\\ners for request = DescribeConfigs with resourceRefCount = 1"
        );
    }
}
