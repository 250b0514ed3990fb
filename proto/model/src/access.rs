//! What may be done to what: Kafka's operations, kinds of resource, patterns and permissions, with their numbers and names.

macro_rules! codes {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $name:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i8)]
        pub enum $type { $($(#[$variant_doc])* $name = $code,)* }

        impl $type {
            /// All there are, by number.
            pub const ALL_OF_THEM: &'static [Self] = &[$(Self::$name,)*];

            /// Kafka's number.
            #[must_use]
            pub const fn code(self) -> i8 {
                self as i8
            }

            /// The one of this number. Numbers that only filters have (0, unknown, and 1, any) are none.
            #[must_use]
            pub const fn from_code(code: i8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Kafka's name, for example `DESCRIBE_CONFIGS`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The one of this name, in whatever case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL_OF_THEM.iter().copied().find(|known| known.name().eq_ignore_ascii_case(name))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

codes! {
    /// What somebody wants to do. `All` stands in entries alone, for every other one.
    Operation {
        All = 2, "ALL";
        Read = 3, "READ";
        Write = 4, "WRITE";
        Create = 5, "CREATE";
        Delete = 6, "DELETE";
        Alter = 7, "ALTER";
        Describe = 8, "DESCRIBE";
        ClusterAction = 9, "CLUSTER_ACTION";
        DescribeConfigs = 10, "DESCRIBE_CONFIGS";
        AlterConfigs = 11, "ALTER_CONFIGS";
        IdempotentWrite = 12, "IDEMPOTENT_WRITE";
        CreateTokens = 13, "CREATE_TOKENS";
        DescribeTokens = 14, "DESCRIBE_TOKENS";
        TwoPhaseCommit = 15, "TWO_PHASE_COMMIT";
    }
}

codes! {
    /// The kinds of things that are guarded.
    ResourceType {
        Topic = 2, "TOPIC";
        Group = 3, "GROUP";
        Cluster = 4, "CLUSTER";
        TransactionalId = 5, "TRANSACTIONAL_ID";
        DelegationToken = 6, "DELEGATION_TOKEN";
        User = 7, "USER";
    }
}

codes! {
    /// How an entry names its resources.
    PatternType {
        /// The one of this name; the name `*` stands for every one.
        Literal = 3, "LITERAL";
        /// All whose names begin so.
        Prefixed = 4, "PREFIXED";
    }
}

codes! {
    /// What an entry says to an operation.
    Permission {
        Deny = 2, "DENY";
        Allow = 3, "ALLOW";
    }
}

impl Operation {
    /// Whether who is allowed to do this is thereby allowed to do `wanted`. What is denied implies nothing.
    #[must_use]
    pub const fn implies(self, wanted: Self) -> bool {
        match self {
            Self::All => true,
            Self::Read | Self::Write | Self::Delete | Self::Alter if matches!(wanted, Self::Describe) => true,
            Self::AlterConfigs if matches!(wanted, Self::DescribeConfigs) => true,
            _ => self as i8 == wanted as i8,
        }
    }
}

impl ResourceType {
    /// The operations that Kafka knows on this kind of resource, `All` aside.
    #[must_use]
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            Self::Topic => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
            Self::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Self::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            Self::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }
}

/// The one cluster's name as a resource.
pub const CLUSTER_RESOURCE_NAME: &str = "kafka-cluster";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for operation in Operation::ALL_OF_THEM {
            assert_eq!(Operation::from_code(operation.code()), Some(*operation));
            assert_eq!(Operation::from_name(&operation.name().to_lowercase()), Some(*operation));
        }
        assert_eq!(Operation::from_code(1), None, "any operation is none");
        assert_eq!(ResourceType::from_code(8), None);
        assert_eq!(ResourceType::from_name("Transactional_Id"), Some(ResourceType::TransactionalId));
        assert_eq!(PatternType::from_code(2), None, "to match is asked by filters alone");
        assert_eq!(Permission::Deny.code(), 2);
    }

    #[test]
    fn who_may_read_write_delete_or_alter_may_describe() {
        use Operation::*;
        let implying = |wanted| {
            Operation::ALL_OF_THEM.iter().copied().filter(move |o| o.implies(wanted)).collect::<Vec<_>>()
        };
        assert_eq!(implying(Describe), [All, Read, Write, Delete, Alter, Describe]);
        assert_eq!(implying(DescribeConfigs), [All, DescribeConfigs, AlterConfigs]);
        assert_eq!(implying(Read), [All, Read]);
    }
}
