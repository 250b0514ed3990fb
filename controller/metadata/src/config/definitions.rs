//! The tables: one row per setting, in the order of their names, one table per kind of resource.

mod broker_coordinators;
mod broker_log;
mod broker_network;
mod broker_security;
mod broker_server;
mod group;
mod own;
mod topic;

pub use group::{CLIENT_METRICS, GROUP};
pub use own::{DYNAMIC_ONLY, OWN};
pub use topic::TOPIC;

/// The type of a setting's value, by Kafka's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ConfigType {
    /// Kafka's name, as in the message `Not a number of type LONG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The number by which DescribeConfigs (version 3 and later) names the type.
    #[must_use]
    pub const fn wire_code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// What a setting holds where nobody set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// It has to be set (or this program derives it).
    Required,
    /// Nothing: Kafka's null.
    Null,
    Value(&'static str),
}

impl DefaultValue {
    /// The text, if there is one.
    #[must_use]
    pub const fn text(self) -> Option<&'static str> {
        match self {
            Self::Value(text) => Some(text),
            Self::Required | Self::Null => None,
        }
    }
}

/// What values a setting takes, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValidValues {
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number within, both ends included.
    Between(i64, i64),
    /// A fraction within, both ends included.
    Fraction(f64, f64),
    /// `compression.gzip.level`: 1 to 9, or -1 for zlib's own choice.
    GzipLevel,
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of these, none of them twice. An empty list is taken.
    ListOf(&'static [&'static str]),
    /// A list of these, none of them twice, and at least one.
    NonEmptyListOf(&'static [&'static str]),
    /// A list, no element twice or blank.
    DistinctList,
    /// A list, no element twice or blank, and at least one.
    NonEmptyDistinctList,
    NonEmptyString,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// `earliest`, `latest`, or `by_duration:` and an ISO-8601 duration.
    OffsetReset,
    /// `id@host:port`, separated by commas.
    QuorumVoters,
    /// `host:port`, separated by commas.
    BootstrapServers,
}

/// How much a user should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// When a broker setting may change (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only by a restart.
    ReadOnly,
    /// While the broker runs, for one broker.
    PerBroker,
    /// While the broker runs, for one broker or for all.
    ClusterWide,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigDefinition {
    pub name: &'static str,
    pub config_type: ConfigType,
    pub default: DefaultValue,
    pub valid: ValidValues,
    pub importance: Importance,
    pub update_mode: UpdateMode,
    /// Not shown to clients unless it was set.
    pub is_internal: bool,
    /// One or two sentences, in our own words.
    pub doc: &'static str,
}

impl ConfigDefinition {
    /// Whether clients must not see the value.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.config_type, ConfigType::Password)
    }
}

/// Turns rows `"name": Type = default, valid values, importance, update mode, "doc";` into a table. A row that starts with
/// `internal` is one that Kafka keeps to itself.
macro_rules! definitions {
    (@internal) => { false };
    (@internal internal) => { true };
    (@default null) => { $crate::config::definitions::DefaultValue::Null };
    (@default required) => { $crate::config::definitions::DefaultValue::Required };
    (@default $text:literal) => { $crate::config::definitions::DefaultValue::Value($text) };
    (@valid $valid:ident) => { $crate::config::definitions::ValidValues::$valid };
    (@valid $valid:ident $arguments:tt) => { $crate::config::definitions::ValidValues::$valid $arguments };
    ($(#[$meta:meta])* $vis:vis $table:ident { $(
        $($internal:ident)? $name:literal: $kind:ident = $default:tt, $valid:ident $(($($argument:expr),*))?,
        $importance:ident, $mode:ident, $doc:literal;
    )* }) => {
        $(#[$meta])*
        $vis const $table: &[$crate::config::definitions::ConfigDefinition] = &[$(
            $crate::config::definitions::ConfigDefinition {
                name: $name,
                config_type: $crate::config::definitions::ConfigType::$kind,
                default: definitions!(@default $default),
                valid: definitions!(@valid $valid $(($($argument),*))?),
                importance: $crate::config::definitions::Importance::$importance,
                update_mode: $crate::config::definitions::UpdateMode::$mode,
                is_internal: definitions!(@internal $($internal)?),
                doc: $doc,
            },
        )*];
    };
}
pub(crate) use definitions;

/// The tables that together hold every setting of a broker or controller.
pub const BROKER_TABLES: &[&[ConfigDefinition]] = &[
    broker_server::SERVER,
    broker_network::NETWORK,
    broker_log::LOG,
    broker_coordinators::COORDINATORS,
    broker_security::SECURITY,
    OWN,
];

/// Every setting of a broker or controller, ours included.
pub fn broker() -> impl Iterator<Item = &'static ConfigDefinition> {
    BROKER_TABLES.iter().flat_map(|table| table.iter())
}

fn find(table: &'static [ConfigDefinition], name: &str) -> Option<&'static ConfigDefinition> {
    table.iter().find(|definition| definition.name == name)
}

/// The broker setting of this name.
#[must_use]
pub fn broker_definition(name: &str) -> Option<&'static ConfigDefinition> {
    BROKER_TABLES.iter().find_map(|table| find(table, name))
}

/// The broker setting of this name, or one of the few that exist only as a dynamic setting.
#[must_use]
pub fn dynamic_broker_definition(name: &str) -> Option<&'static ConfigDefinition> {
    find(DYNAMIC_ONLY, name).or_else(|| broker_definition(name))
}

/// The topic setting of this name.
#[must_use]
pub fn topic_definition(name: &str) -> Option<&'static ConfigDefinition> {
    find(TOPIC, name)
}

/// The group setting of this name.
#[must_use]
pub fn group_definition(name: &str) -> Option<&'static ConfigDefinition> {
    find(GROUP, name)
}

/// The client-metrics setting of this name (KIP-714).
#[must_use]
pub fn client_metrics_definition(name: &str) -> Option<&'static ConfigDefinition> {
    find(CLIENT_METRICS, name)
}
