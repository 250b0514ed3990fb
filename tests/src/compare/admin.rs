//! Topics, configurations, and what describes the cluster.

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{self as m, ApiKey, BrokerId, RequestKind, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{Case, Peer};

pub(super) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

pub(super) fn topic(s: &str) -> TopicName {
    TopicName(text(s))
}

fn create(topics: Vec<CreatableTopic>, validate_only: bool) -> RequestKind {
    RequestKind::CreateTopics(
        m::CreateTopicsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(10_000)
            .with_validate_only(validate_only),
    )
}

fn new_topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor)
}

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text))
}

fn assignment(partition: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment::default()
        .with_partition_index(partition)
        .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
}

fn metadata(names: Option<&[&str]>, version: i16) -> RequestKind {
    let topics = names.map(|names| {
        names
            .iter()
            .map(|name| m::metadata_request::MetadataRequestTopic::default().with_name(Some(topic(name))))
            .collect()
    });
    let request = m::MetadataRequest::default().with_topics(topics);
    RequestKind::Metadata(if version >= 4 { request.with_allow_auto_topic_creation(false) } else { request })
}

/// The topics that later cases use, and every way in which making one goes wrong.
pub(super) fn topics() -> Vec<Case> {
    use ApiKey::{CreatePartitions, CreateTopics, Metadata};
    vec![
        Case::new("ground: topics", CreateTopics, 7, 7, |_, _| {
            let mut topics: Vec<_> = ["data", "two", "group", "records", "offsets"]
                .iter()
                .map(|name| new_topic(name, if *name == "two" { 2 } else { 1 }, 1))
                .collect();
            topics.push(
                new_topic("configured", 1, 1).with_configs(vec![config("retention.ms", Some("60000"))]),
            );
            create(topics, false)
        }),
        Case::new("ground: metadata", Metadata, 12, 12, |_, v| {
            metadata(Some(&["data", "two", "group", "records", "offsets", "configured"]), v)
        }),
        Case::new("create topics", CreateTopics, 2, 7, |_, v| {
            create(vec![new_topic(&format!("made-{v}"), 3, 1)], false)
        }),
        Case::new("create topics with defaults", CreateTopics, 4, 7, |_, v| {
            create(vec![new_topic(&format!("defaults-{v}"), -1, -1)], false)
        }),
        Case::new("create topics, validate only", CreateTopics, 2, 7, |_, _| {
            create(vec![new_topic("validated", 3, 1)], true)
        }),
        Case::new("create topics that may not be", CreateTopics, 2, 7, |_, _| {
            create(
                vec![
                    new_topic("data", 1, 1),
                    new_topic("", 1, 1),
                    new_topic("..", 1, 1),
                    new_topic("a b", 1, 1),
                    new_topic("too-many-replicas", 1, 9),
                    new_topic("no-partitions", 0, 1),
                    new_topic("negative-replicas", 1, -2),
                    new_topic("bad-config", 1, 1).with_configs(vec![config("retention.ms", Some("soon"))]),
                    new_topic("unknown-config", 1, 1).with_configs(vec![config("no.such.key", Some("1"))]),
                    new_topic("null-config", 1, 1).with_configs(vec![config("retention.ms", None)]),
                    new_topic("both", 2, 1).with_assignments(vec![assignment(0, &[1])]),
                    new_topic("unknown-broker", -1, -1).with_assignments(vec![assignment(0, &[7])]),
                    new_topic("twice-the-broker", -1, -1).with_assignments(vec![assignment(0, &[1, 1])]),
                    new_topic("gap", -1, -1).with_assignments(vec![assignment(1, &[1])]),
                    new_topic("same", 1, 1),
                    new_topic("same", 1, 1),
                ],
                false,
            )
        }),
        Case::new("create topics by assignment", CreateTopics, 2, 7, |_, v| {
            create(
                vec![new_topic(&format!("assigned-{v}"), -1, -1).with_assignments(vec![assignment(0, &[1])])],
                false,
            )
        }),
        Case::new("create partitions", CreatePartitions, 0, 3, |_, v| {
            let wish = |name: &str, count| {
                m::create_partitions_request::CreatePartitionsTopic::default()
                    .with_name(topic(name))
                    .with_count(count)
                    .with_assignments(None)
            };
            let made = format!("made-{}", v + 2);
            RequestKind::CreatePartitions(
                m::CreatePartitionsRequest::default()
                    .with_topics(vec![
                        wish(&made, 5),
                        wish("two", 1),
                        wish("data", 1),
                        wish("nope", 2),
                        wish("data", 0),
                    ])
                    .with_timeout_ms(10_000),
            )
        }),
        Case::new("metadata of all topics", Metadata, 1, 13, |_, v| metadata(None, v)),
        Case::new("metadata of all topics, the oldest way", Metadata, 0, 0, |_, v| metadata(Some(&[]), v)),
        Case::new("metadata of no topics", Metadata, 1, 13, |_, v| metadata(Some(&[]), v)),
        Case::new("metadata of some topics", Metadata, 4, 13, |_, v| {
            metadata(Some(&["two", "nope", "a b"]), v)
        }),
        Case::new("metadata by id", Metadata, 12, 13, |peer, _| {
            let ids = [peer.topic_id("two"), peer.topic_id("nope")];
            let topics = ids.map(|id| {
                m::metadata_request::MetadataRequestTopic::default().with_name(None).with_topic_id(id)
            });
            RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(topics.to_vec())))
        }),
        Case::new("metadata with authorized operations", Metadata, 8, 13, |_, v| {
            let RequestKind::Metadata(request) = metadata(Some(&["two"]), v) else {
                unreachable!("built above")
            };
            let request = request.with_include_topic_authorized_operations(true);
            RequestKind::Metadata(if v <= 10 {
                request.with_include_cluster_authorized_operations(true)
            } else {
                request
            })
        }),
    ]
}

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

fn alter(changes: &[(&str, &str, i8, Option<&str>)], validate_only: bool) -> RequestKind {
    use m::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let resources = changes
        .iter()
        .map(|(name, key, operation, value)| {
            AlterConfigsResource::default()
                .with_resource_type(TOPIC)
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
pub(super) fn cluster() -> Vec<Case> {
    use ApiKey::{
        AlterConfigs, DescribeCluster, DescribeConfigs, DescribeLogDirs, DescribeQuorum,
        DescribeTopicPartitions, IncrementalAlterConfigs, ListConfigResources,
    };
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
                    ("group", "retention.ms", 9, Some("1")),
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
        Case::new("describe the cluster", DescribeCluster, 0, 2, |_, _| {
            RequestKind::DescribeCluster(
                m::DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
            )
        }),
        Case::new("describe topic partitions", DescribeTopicPartitions, 0, 0, |_, _| {
            let wish = |name: &str| {
                m::describe_topic_partitions_request::TopicRequest::default().with_name(topic(name))
            };
            RequestKind::DescribeTopicPartitions(
                m::DescribeTopicPartitionsRequest::default()
                    .with_topics(vec![wish("two"), wish("nope"), wish("data")])
                    .with_response_partition_limit(2),
            )
        }),
        Case::new("describe the quorum", DescribeQuorum, 0, 2, |_, _| {
            use m::describe_quorum_request::{PartitionData, TopicData};
            RequestKind::DescribeQuorum(m::DescribeQuorumRequest::default().with_topics(vec![
                TopicData::default()
                    .with_topic_name(topic("__cluster_metadata"))
                    .with_partitions(vec![PartitionData::default()]),
            ]))
        })
        .ignoring(&[
            "high_watermark",
            "log_end_offset",
            "last_fetch_timestamp",
            "last_caught_up_timestamp",
            "leader_epoch",
            "replica_directory_id",
            "port",
        ]),
        Case::new("describe log directories", DescribeLogDirs, 1, 4, |_, _| {
            RequestKind::DescribeLogDirs(m::DescribeLogDirsRequest::default().with_topics(Some(vec![
                m::describe_log_dirs_request::DescribableLogDirTopic::default()
                    .with_topic(topic("data"))
                    .with_partitions(vec![0]),
            ])))
        })
        .ignoring(&["log_dir", "total_bytes", "usable_bytes"]),
    ]
}

/// What ends topics comes last.
pub(super) fn endings() -> Vec<Case> {
    vec![
        Case::new("delete topics by name", ApiKey::DeleteTopics, 1, 5, |_, v| {
            RequestKind::DeleteTopics(
                m::DeleteTopicsRequest::default()
                    .with_topic_names(vec![topic(&format!("made-{}", v + 1)), topic("nope")])
                    .with_timeout_ms(10_000),
            )
        })
        .in_any_order(),
        Case::new("delete topics by id", ApiKey::DeleteTopics, 6, 6, |peer, _| {
            let state = |name: Option<&str>, id| {
                m::delete_topics_request::DeleteTopicState::default()
                    .with_name(name.map(topic))
                    .with_topic_id(id)
            };
            RequestKind::DeleteTopics(
                m::DeleteTopicsRequest::default()
                    .with_topics(vec![
                        state(None, peer.topic_id("made-7")),
                        state(None, peer.topic_id("nope")),
                        state(Some("nope"), uuid::Uuid::nil()),
                    ])
                    .with_timeout_ms(10_000),
            )
        })
        .in_any_order(),
    ]
}

/// Whether the peer has taken in the topics that the cases start from; both systems answer before every broker has.
#[must_use]
pub fn is_ready(peer: &mut Peer) -> bool {
    peer.call(ApiKey::Metadata, 4, &metadata(Some(&["data"]), 4)).is_ok()
}
