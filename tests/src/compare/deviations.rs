//! Where an answer may differ from Apache Kafka's, and why: the one table. `docs/COMPATIBILITY.md` shows it.

use kafka_protocol::messages::ApiKey;

/// What becomes of the fields before two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The field's value is each system's own.
    Ignored,
    /// The list's elements come in no particular order.
    AnyOrder,
    /// Elements of lists that only Moldau has; `fields` holds their names.
    ElementsOfOurs,
}

/// One row of the table.
#[derive(Debug)]
pub struct Deviation {
    /// Whose answers it concerns.
    pub apis: &'static [ApiKey],
    /// Fields by their Rust names, or for [`Treatment::ElementsOfOurs`] names of elements.
    pub fields: &'static [&'static str],
    pub treatment: Treatment,
    pub what: &'static str,
    pub why: &'static str,
}

/// All of them.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        apis: &[
            ApiKey::Metadata,
            ApiKey::CreateTopics,
            ApiKey::CreatePartitions,
            ApiKey::DeleteTopics,
            ApiKey::Produce,
            ApiKey::Fetch,
            ApiKey::ListOffsets,
            ApiKey::OffsetForLeaderEpoch,
            ApiKey::DeleteRecords,
            ApiKey::OffsetFetch,
            ApiKey::DescribeConfigs,
            ApiKey::AlterConfigs,
            ApiKey::IncrementalAlterConfigs,
            ApiKey::ListConfigResources,
            ApiKey::ListGroups,
            ApiKey::DeleteGroups,
            ApiKey::DescribeLogDirs,
            ApiKey::AlterReplicaLogDirs,
            ApiKey::DescribeGroups,
            ApiKey::ConsumerGroupDescribe,
            ApiKey::ShareGroupDescribe,
            ApiKey::DescribeShareGroupOffsets,
            ApiKey::AlterShareGroupOffsets,
            ApiKey::DeleteShareGroupOffsets,
            ApiKey::OffsetCommit,
            ApiKey::TxnOffsetCommit,
            ApiKey::OffsetDelete,
            ApiKey::ElectLeaders,
            ApiKey::AddPartitionsToTxn,
            ApiKey::DescribeTransactions,
            ApiKey::ListTransactions,
            ApiKey::AlterUserScramCredentials,
            ApiKey::DescribeUserScramCredentials,
        ],
        fields: &[
            "topics",
            "topic_results",
            "results_by_topic_v3_and_below",
            "transaction_states",
            "responses",
            "results",
            "configs",
            "config_resources",
            "groups",
            "replica_election_results",
        ],
        treatment: Treatment::AnyOrder,
        what: "the order of topics, groups, settings, resources and transactional ids within an answer",
        why: "Apache Kafka's is the order of a Java hash map and promised nowhere; Moldau keeps the request's order, \
              or sorts by name",
    },
    Deviation {
        apis: &[ApiKey::ConsumerGroupHeartbeat],
        fields: &["heartbeat_interval_ms"],
        treatment: Treatment::Ignored,
        what: "when members of consumer groups are to come again",
        why: "Apache Kafka tells its setting; Moldau tells a tenth of a second to half of one, by the size of the group, if that \
              is less, while partitions move or have just moved, so that a group settles in about a second instead of two \
              intervals",
    },
    Deviation {
        apis: &[ApiKey::ConsumerGroupDescribe],
        fields: &["members"],
        treatment: Treatment::AnyOrder,
        what: "the order of a consumer group's members within an answer",
        why: "Apache Kafka's is the order of a Java hash map; Moldau sorts by member id",
    },
    Deviation {
        apis: &[
            ApiKey::ListOffsets,
            ApiKey::DeleteRecords,
            ApiKey::OffsetCommit,
            ApiKey::TxnOffsetCommit,
            ApiKey::OffsetDelete,
        ],
        fields: &["partitions"],
        treatment: Treatment::AnyOrder,
        what: "the order of a topic's partitions within an answer",
        why: "Apache Kafka puts refused ones first in some versions and last in others; Moldau keeps the request's order",
    },
    Deviation {
        apis: &[ApiKey::DescribeClientQuotas, ApiKey::AlterClientQuotas],
        fields: &["entries", "entity", "values"],
        treatment: Treatment::AnyOrder,
        what: "the order of entities with quotas, of their types and of their keys",
        why: "Apache Kafka's is the order of a Java hash map and promised nowhere",
    },
    Deviation {
        apis: &[ApiKey::GetTelemetrySubscriptions],
        fields: &["client_instance_id", "subscription_id"],
        treatment: Treatment::Ignored,
        what: "the id that a client is given, and the number of what it is to push",
        why: "the one is random, the other a checksum of which nobody but the broker makes anything",
    },
    Deviation {
        apis: &[
            ApiKey::InitProducerId,
            ApiKey::DescribeProducers,
            ApiKey::EndTxn,
            ApiKey::DescribeTransactions,
            ApiKey::ListTransactions,
        ],
        fields: &["producer_id", "last_timestamp", "transaction_start_time_ms"],
        treatment: Treatment::Ignored,
        what: "producer ids, and the times of a producer's last write and of a transaction's begin",
        why: "each cluster hands out its own ids; the times are the clock's",
    },
    Deviation {
        apis: &[ApiKey::DescribeQuorum],
        fields: &[
            "high_watermark",
            "log_end_offset",
            "last_fetch_timestamp",
            "last_caught_up_timestamp",
            "leader_epoch",
            "replica_directory_id",
            "port",
        ],
        treatment: Treatment::Ignored,
        what: "offsets, epochs and times of the metadata quorum, and the controller's port",
        why: "each system's metadata log has entries of its own",
    },
    Deviation {
        apis: &[ApiKey::ApiVersions],
        fields: &["api_keys", "supported_features", "finalized_features", "finalized_features_epoch"],
        treatment: Treatment::Ignored,
        what: "the APIs and features that ApiVersions names",
        why: "it names what is served; docs/API_SUPPORT.md sets both lists side by side",
    },
    Deviation {
        apis: &[ApiKey::DescribeConfigs],
        fields: &[
            "cluster.secret",
            "connections.authentication.timeout.ms",
            "flush.journal.bytes",
            "flush.policy",
            "group.initial.rebalance.quiet.ms",
            "http.listener",
            "http.ui.allowed.hosts",
            "http.ui.readonly",
            "max.unauthenticated.connections",
            "max.unauthenticated.connections.per.ip",
            "metadata.log.reserve.bytes",
            "metrics.families",
            "metrics.series.max",
            "otel.bsp.schedule.delay",
            "otel.exporter.otlp.endpoint",
            "otel.exporter.otlp.headers",
            "otel.exporter.otlp.protocol",
            "otel.exporter.otlp.timeout",
            "otel.exporter.otlp.traces.endpoint",
            "otel.resource.attributes",
            "otel.sdk.disabled",
            "otel.service.name",
            "otel.traces.exporter",
            "otel.traces.sampler",
            "otel.traces.sampler.arg",
        ],
        treatment: Treatment::ElementsOfOurs,
        what: "some settings more among a broker's",
        why: "Kafka has none for what they do (docs/CONFIGURATION.md)",
    },
    Deviation {
        apis: &[ApiKey::DescribeConfigs],
        fields: &["allow.everyone.if.no.acl.found", "super.users"],
        treatment: Treatment::ElementsOfOurs,
        what: "the settings of the authorizer among a broker's",
        why: "Kafka's authorizer reads them itself, and tells those alone that are set",
    },
    Deviation {
        apis: &[ApiKey::DescribeConfigs],
        fields: &["controller.listener.names", "listeners", "log.dirs", "process.roles"],
        treatment: Treatment::ElementsOfOurs,
        what: "defaults of controller.listener.names, listeners, log.dirs, node.id and process.roles",
        why: "without any configuration Moldau is one node on this machine alone (docs/CONFIGURATION.md)",
    },
    Deviation {
        apis: &[ApiKey::DescribeLogDirs],
        fields: &["log_dir", "total_bytes", "usable_bytes"],
        treatment: Treatment::Ignored,
        what: "the folder's path, and the disk's size",
        why: "each system has a folder of its own",
    },
];

/// The rows that concern one API's answers.
#[must_use]
pub fn of(key: ApiKey) -> Vec<&'static Deviation> {
    DEVIATIONS.iter().filter(|deviation| deviation.apis.contains(&key)).collect()
}
