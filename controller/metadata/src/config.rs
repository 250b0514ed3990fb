//! Every setting by Kafka's name: what it may hold, what it holds where nobody set it, and what a set of them means.
//!
//! Three users share this module: the command line (parses `server.properties` and says what is wrong with it), the
//! broker (effective topic settings, DescribeConfigs) and the controller (validates alterations). It is pure: text in,
//! typed values or a message out. Names, defaults, ranges and messages are those of Apache Kafka 4.3; what differs stands
//! in [`DEVIATIONS`], what is ours alone in [`definitions::OWN`].

mod broker_config;
mod cleaner;
pub mod definitions;
mod effect;
mod effective;
mod listener;
pub mod security;
mod suggest;
mod synonyms;
mod topic_config;
mod value;

pub use broker_config::{
    BrokerConfig, ConfigProblem, ConnectionSettings, DEVIATIONS, Deviation, FlushPolicy, GroupSettings,
    HttpListener, OffsetsTopicSettings, ProcessRoles, QuorumVoter, ReplicationSettings, ShareSettings,
    StreamsSettings, TransactionSettings, UnknownSetting,
};
pub use cleaner::CleanerSettings;
pub use definitions::{ConfigDefinition, ConfigType, DefaultValue, Importance, UpdateMode, ValidValues};
pub use effect::{
    Effect, broker_effect, client_metrics_effect, group_effect, inheriting_topic_setting,
    is_heard_at_run_time, topic_effect,
};
pub use effective::{
    BrokerSettings, ConfigSource, DescribedConfig, Synonym, describe_broker, describe_broker_defaults,
    describe_client_metrics, describe_group, describe_topic, effective_topic_values,
};
pub use listener::{Listener, ListenerError, parse_listeners};
pub use suggest::nearest_name;
pub use synonyms::{broker_synonyms, group_broker_synonym, topic_broker_synonym};
pub use topic_config::{CompressionType, ThrottledReplicas, TimestampType, TopicConfig};
pub use value::{
    InvalidValue, as_list, check_cordoned_log_dirs, validate_client_match, validate_client_metrics_config,
    validate_dynamic_broker_config, validate_group_config, validate_group_configs, validate_topic_configs,
};
