//! Settings: described, altered the old way and the new, refused.

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;
use super::admin::text;

fn resource(
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> m::describe_configs_request::DescribeConfigsResource {
    m::describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|k| text(k)).collect()))
}

fn describe_configs(resources: Vec<m::describe_configs_request::DescribeConfigsResource>) -> RequestKind {
    RequestKind::DescribeConfigs(
        m::DescribeConfigsRequest::default().with_resources(resources).with_include_synonyms(true),
    )
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

fn alter(changes: &[(&str, &str, i8, Option<&str>)], validate_only: bool) -> RequestKind {
    let changes: Vec<_> =
        changes.iter().map(|(name, key, op, value)| (TOPIC, *name, *key, *op, *value)).collect();
    alter_all(&changes, validate_only)
}

/// Kind, name, key, operation, value.
type Change<'a> = (i8, &'a str, &'a str, i8, Option<&'a str>);

fn alter_all(changes: &[Change<'_>], validate_only: bool) -> RequestKind {
    use m::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let resources = changes
        .iter()
        .map(|(kind, name, key, operation, value)| {
            AlterConfigsResource::default()
                .with_resource_type(*kind)
                .with_resource_name(text(name))
                .with_configs(vec![
                    AlterableConfig::default()
                        .with_name(text(key))
                        .with_config_operation(*operation)
                        .with_value(value.map(text)),
                ])
        })
        .collect();
    RequestKind::IncrementalAlterConfigs(
        m::IncrementalAlterConfigsRequest::default()
            .with_resources(resources)
            .with_validate_only(validate_only),
    )
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{AlterConfigs, DescribeConfigs, IncrementalAlterConfigs, ListConfigResources};
    vec![
        Case::new("incremental alter configs", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(&[("configured", "segment.bytes", 0, Some("2097152"))], false)
        }),
        Case::new("incremental alter configs that may not be", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(
                &[
                    ("configured", "segment.bytes", 0, Some("-1")),
                    ("data", "no.such.key", 0, Some("1")),
                    ("nope", "retention.ms", 0, Some("1")),
                    ("two", "retention.ms", 2, Some("1")),
                    ("records", "retention.ms", 0, None),
                ],
                false,
            )
        }),
        Case::new("incremental alter configs: append and delete", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(
                &[
                    ("two", "cleanup.policy", 2, Some("compact")),
                    ("configured", "retention.ms", 1, None),
                    ("group", "cleanup.policy", 3, Some("delete")),
                ],
                true,
            )
        }),
        Case::new("alter configs", AlterConfigs, 0, 2, |_, _| {
            use m::alter_configs_request::{AlterConfigsResource, AlterableConfig};
            let set = |name: &str, key: &str, value: Option<&str>| {
                AlterConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(text(name))
                    .with_configs(vec![
                        AlterableConfig::default().with_name(text(key)).with_value(value.map(text)),
                    ])
            };
            RequestKind::AlterConfigs(m::AlterConfigsRequest::default().with_resources(vec![
                set("configured", "retention.ms", Some("70000")),
                set("data", "retention.ms", Some("soon")),
                set("nope", "retention.ms", Some("1")),
            ]))
        }),
        Case::new("describe a topic's configs", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![
                resource(TOPIC, "configured", None),
                resource(TOPIC, "data", Some(&["cleanup.policy", "min.insync.replicas", "no.such.key"])),
                resource(TOPIC, "nope", None),
                resource(TOPIC, "a b", None),
            ])
        }),
        Case::new("describe a broker's configs", DescribeConfigs, 1, 4, |_, _| {
            const KEYS: &[&str] = &[
                "num.partitions",
                "auto.create.topics.enable",
                "log.retention.hours",
                "log.segment.bytes",
                "message.max.bytes",
                "group.max.session.timeout.ms",
                "offsets.topic.num.partitions",
                "num.io.threads",
                "compression.type",
                "unclean.leader.election.enable",
                "node.id",
            ];
            describe_configs(vec![
                resource(BROKER, "1", Some(KEYS)),
                resource(BROKER, "9", None),
                resource(BROKER, "x", None),
            ])
        }),
        Case::new("list config resources", ListConfigResources, 0, 1, |_, _| {
            RequestKind::ListConfigResources(m::ListConfigResourcesRequest::default())
        }),
        Case::new("incremental alter configs with an operation that is none", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(&[("group", "retention.ms", 9, Some("1"))], false)
        })
        .ignoring(
            &["error_code", "error_message"],
            "Apache Kafka 4.3.0 answers UNKNOWN_SERVER_ERROR (a null pointer in its controller); INVALID_REQUEST names \
             what is wrong",
        ),
        Case::new("alter what concerns tiered storage alone", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(
                &[
                    ("data", "local.retention.ms", 0, Some("1000")),
                    ("two", "local.retention.bytes", 0, Some("-3")),
                    ("group", "remote.log.copy.disable", 0, Some("true")),
                    ("records", "remote.log.delete.on.disable", 0, Some("true")),
                    ("small", "local.retention.bytes", 0, Some("1000000000")),
                    ("compacted", "remote.storage.enable", 0, Some("true")),
                ],
                true,
            )
        }),
        Case::new("alter a broker's configs", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[
                    (BROKER, "1", "log.retention.ms", 0, Some("70000000")),
                    (BROKER, "", "log.cleaner.threads", 0, Some("2")),
                ],
                false,
            )
        }),
        Case::new("describe a broker's altered configs", DescribeConfigs, 1, 4, |_, _| {
            const KEYS: &[&str] =
                &["log.retention.ms", "log.cleaner.threads", "log.retention.hours", "log.retention.minutes"];
            describe_configs(vec![
                resource(BROKER, "1", Some(KEYS)),
                resource(BROKER, "", None),
                resource(TOPIC, "data", Some(&["retention.ms"])),
            ])
        }),
        Case::new("take a broker's configs back", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[(BROKER, "1", "log.retention.ms", 1, None), (BROKER, "", "log.cleaner.threads", 1, None)],
                false,
            )
        }),
        Case::new("alter a broker's configs that may not be", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[
                    (BROKER, "1", "log.dirs", 0, Some("/elsewhere")),
                    (BROKER, "9", "log.retention.ms", 0, Some("1")),
                    (BROKER, "x", "log.retention.ms", 0, Some("1")),
                    (BROKER, "-5", "log.retention.ms", 0, Some("1")),
                    (BROKER, "", "advertised.listeners", 0, Some("PLAINTEXT://h:1")),
                ],
                true,
            )
        }),
        Case::new("alter a broker's config to what it cannot be", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(&[(BROKER, "1", "log.cleaner.threads", 0, Some("many"))], true)
        }),
        Case::new("alter a broker's config that is unknown", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(&[(BROKER, "1", "no.such.key", 0, Some("1"))], true)
        }),
        Case::new("alter a broker's part of the cluster's settings", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[(BROKER, "1", "min.insync.replicas", 0, Some("2")), (BROKER, "", "min.insync.replicas", 1, None)],
                true,
            )
        }),
        Case::new("alter all brokers' number of replicas in sync", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(&[(BROKER, "", "min.insync.replicas", 0, Some("1"))], false)
        }),
        Case::new("alter a group's configs", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[
                    (GROUP, "g", "consumer.session.timeout.ms", 0, Some("50000")),
                    (GROUP, "h", "consumer.session.timeout.ms", 0, Some("1")),
                    (GROUP, "i", "consumer.heartbeat.interval.ms", 0, Some("1")),
                    (GROUP, "j", "consumer.session.timeout.ms", 0, Some("999999999")),
                    (GROUP, "k", "no.such.key", 0, Some("1")),
                    (GROUP, "l", "share.auto.offset.reset", 0, Some("never")),
                    (GROUP, "m", "share.session.timeout.ms", 0, Some("1")),
                    (GROUP, "n", "share.heartbeat.interval.ms", 0, Some("1")),
                    (GROUP, "o", "share.record.lock.duration.ms", 0, Some("1")),
                    (GROUP, "p", "streams.session.timeout.ms", 0, Some("1")),
                    (GROUP, "q", "streams.heartbeat.interval.ms", 0, Some("1")),
                    (GROUP, "r", "streams.num.standby.replicas", 0, Some("9")),
                    (GROUP, "", "consumer.session.timeout.ms", 0, Some("50000")),
                ],
                false,
            )
        }),
        Case::new("alter a client metrics subscription", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[
                    (CLIENT_METRICS, "c", "interval.ms", 0, Some("200")),
                    (CLIENT_METRICS, "d", "interval.ms", 0, Some("1")),
                    (CLIENT_METRICS, "e", "match", 0, Some("client_id=a,nonsense")),
                    (CLIENT_METRICS, "f", "match", 0, Some("odd_key=.*")),
                    (CLIENT_METRICS, "i", "match", 0, Some("client_id=(")),
                    (CLIENT_METRICS, "g", "no.such.key", 0, Some("1")),
                    (CLIENT_METRICS, "h", "metrics", 2, Some("org.apache.kafka")),
                    (CLIENT_METRICS, "", "interval.ms", 0, Some("200")),
                ],
                false,
            )
        }),
        Case::new("alter what there is not", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter_all(
                &[
                    (77, "x", "a", 0, Some("1")),
                    (TOPIC, "", "retention.ms", 0, Some("1")),
                    (TOPIC, "a b", "retention.ms", 0, Some("1")),
                ],
                false,
            )
        }),
        Case::new("alter a topic's configs that contradict", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(
                &[
                    ("data", "min.compaction.lag.ms", 0, Some("9223372036854775807")),
                    ("two", "remote.storage.enable", 0, Some("true")),
                    ("group", "cleanup.policy", 0, Some("")),
                    ("records", "compression.type", 0, Some("brotli")),
                    ("offsets", "compression.gzip.level", 0, Some("77")),
                    ("small", "min.insync.replicas", 0, Some("0")),
                    ("compacted", "min.cleanable.dirty.ratio", 0, Some("2")),
                    ("stamped", "preallocate", 0, Some("perhaps")),
                    ("configured", "local.retention.ms", 0, Some("9999999999999")),
                ],
                true,
            )
        }),
        Case::new("alter a resource twice", IncrementalAlterConfigs, 0, 1, |_, _| {
            alter(&[("data", "retention.ms", 0, Some("1")), ("data", "segment.ms", 0, Some("1"))], true)
        }),
        Case::new("alter configs the old way: other kinds", AlterConfigs, 0, 2, |_, _| {
            use m::alter_configs_request::{AlterConfigsResource, AlterableConfig};
            let set = |kind, name: &str, key: &str, value: Option<&str>| {
                AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(
                    vec![AlterableConfig::default().with_name(text(key)).with_value(value.map(text))],
                )
            };
            RequestKind::AlterConfigs(
                m::AlterConfigsRequest::default()
                    .with_resources(vec![
                        set(BROKER, "9", "log.retention.ms", Some("1")),
                        set(BROKER, "1", "log.dirs", Some("/elsewhere")),
                        set(77, "x", "a", Some("1")),
                        set(TOPIC, "two", "no.such.key", Some("1")),
                        set(TOPIC, "group", "retention.ms", None),
                        set(GROUP, "s", "consumer.session.timeout.ms", Some("50000")),
                        set(CLIENT_METRICS, "t", "interval.ms", Some("1")),
                    ])
                    .with_validate_only(true),
            )
        }),
        Case::new("describe groups' and subscriptions' configs", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![
                resource(GROUP, "g", None),
                resource(GROUP, "unset", None),
                resource(GROUP, "", None),
                resource(CLIENT_METRICS, "c", None),
                resource(CLIENT_METRICS, "unset", None),
                resource(CLIENT_METRICS, "", None),
            ])
        }),
        Case::new("describe what there is not", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![resource(TOPIC, "", None), resource(LOGGER, "9", None), resource(LOGGER, "", None)])
        }),
        Case::new("describe a kind that there is not", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![resource(77, "x", None), resource(TOPIC, "data", None)])
        }),
        Case::new("describe the group coordinator's topic", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![resource(TOPIC, "__consumer_offsets", None)])
        }),
        Case::new("describe all of a broker's configs", DescribeConfigs, 1, 4, |_, _| {
            describe_configs(vec![resource(BROKER, "1", None)])
        }),
        Case::new("describe configs without synonyms", DescribeConfigs, 1, 4, |_, _| {
            RequestKind::DescribeConfigs(
                m::DescribeConfigsRequest::default().with_resources(vec![
                    resource(TOPIC, "configured", None),
                    resource(TOPIC, "data", Some(&[])),
                ]),
            )
        }),
        Case::new("list config resources of some types", ListConfigResources, 1, 1, |_, _| {
            RequestKind::ListConfigResources(
                m::ListConfigResourcesRequest::default().with_resource_types(vec![GROUP, CLIENT_METRICS]),
            )
        }),
        Case::new("list config resources of a type that is none", ListConfigResources, 1, 1, |_, _| {
            RequestKind::ListConfigResources(
                m::ListConfigResourcesRequest::default().with_resource_types(vec![77, GROUP]),
            )
        }),
    ]
}
