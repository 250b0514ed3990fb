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

pub(super) fn metadata(names: Option<&[&str]>, version: i16) -> RequestKind {
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn topics() -> Vec<Case> {
    use ApiKey::{CreatePartitions, CreateTopics, Metadata};
    vec![
        Case::new("ground: topics", CreateTopics, 7, 7, |_, _| {
            let mut topics: Vec<_> = ["data", "two", "group", "records", "offsets"]
                .iter()
                .map(|name| new_topic(name, if *name == "two" { 2 } else { 1 }, 1))
                .collect();
            for (name, key, value) in [
                ("configured", "retention.ms", "60000"),
                ("small", "max.message.bytes", "500"),
                ("compacted", "cleanup.policy", "compact"),
                ("stamped", "message.timestamp.type", "LogAppendTime"),
                ("odd", "retention.ms", "-1"),
                ("unpacked", "compression.type", "uncompressed"),
                ("packed", "compression.type", "zstd"),
                ("punctual", "message.timestamp.before.max.ms", "7200000"),
            ] {
                topics.push(new_topic(name, 1, 1).with_configs(vec![config(key, Some(value))]));
            }
            create(topics, false)
        }),
        Case::new("ground: metadata", Metadata, 12, 12, |_, v| {
            let plain = ["data", "two", "group", "records", "offsets"];
            let configured =
                ["configured", "small", "compacted", "stamped", "odd", "unpacked", "packed", "punctual"];
            metadata(Some(&[plain.as_slice(), &configured].concat()), v)
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
        Case::new("create topics with long and hidden names", CreateTopics, 2, 7, |_, _| {
            let long = "x".repeat(250);
            create(
                vec![
                    new_topic(&long, 1, 1),
                    new_topic("two.parts", 1, 1),
                    new_topic("two_parts", 1, 1),
                    new_topic("__consumer_offset", 1, 1),
                    new_topic("no-brokers", -1, -1).with_assignments(vec![assignment(0, &[])]),
                    new_topic("uneven", -1, -1)
                        .with_assignments(vec![assignment(0, &[1]), assignment(1, &[1, 1])]),
                    new_topic("same-partition", -1, -1)
                        .with_assignments(vec![assignment(0, &[1]), assignment(0, &[1])]),
                    new_topic("same-config", 1, 1).with_configs(vec![
                        config("retention.ms", Some("1")),
                        config("retention.ms", Some("2")),
                    ]),
                ],
                true,
            )
        }),
        Case::new("create a topic of too many partitions", CreateTopics, 2, 7, |_, _| {
            create(vec![new_topic("too-many-partitions", 10_001, 1)], true)
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
        Case::new("create partitions that may not be", CreatePartitions, 0, 3, |_, v| {
            use m::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
            let wish = |name: &str, count, brokers: &[&[i32]]| {
                let assignments = brokers.iter().map(|ids| {
                    CreatePartitionsAssignment::default()
                        .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
                });
                CreatePartitionsTopic::default()
                    .with_name(topic(name))
                    .with_count(count)
                    .with_assignments(Some(assignments.collect()))
            };
            RequestKind::CreatePartitions(
                m::CreatePartitionsRequest::default()
                    .with_topics(vec![
                        wish("two", 3, &[&[7]]),
                        wish("records", 3, &[&[1]]),
                        wish("offsets", 2, &[&[1, 1]]),
                        wish("group", 2, &[&[]]),
                        wish("small", 2, &[&[1]]),
                        wish("stamped", 2, &[&[1], &[1]]),
                        wish("compacted", i32::MAX, &[]),
                        wish("a b", 2, &[&[1]]),
                    ])
                    .with_validate_only(v % 2 == 0)
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
        Case::new("metadata by name and id", Metadata, 12, 13, |peer, _| {
            let both = m::metadata_request::MetadataRequestTopic::default()
                .with_name(Some(topic("two")))
                .with_topic_id(peer.topic_id("two"));
            RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(vec![both])))
        }),
        Case::new("metadata of neither name nor id", Metadata, 12, 13, |_, _| {
            let neither = m::metadata_request::MetadataRequestTopic::default().with_name(None);
            RequestKind::Metadata(m::MetadataRequest::default().with_topics(Some(vec![neither])))
        })
        .ignoring(
            &["error_code"],
            "Apache Kafka answers UNKNOWN_SERVER_ERROR; INVALID_REQUEST names what is wrong",
        ),
        Case::new("metadata of a nameless topic", Metadata, 0, 13, |_, v| metadata(Some(&[""]), v)),
        Case::new("metadata of a topic named twice", Metadata, 0, 13, |_, v| {
            metadata(Some(&["two", "two"]), v)
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

fn from_cursor(names: &[&str], from: &str, partition: i32, limit: i32) -> RequestKind {
    use m::describe_topic_partitions_request::{Cursor, TopicRequest};
    let topics = names.iter().map(|name| TopicRequest::default().with_name(topic(name)));
    let cursor = Cursor::default().with_topic_name(topic(from)).with_partition_index(partition);
    RequestKind::DescribeTopicPartitions(
        m::DescribeTopicPartitionsRequest::default()
            .with_topics(topics.collect())
            .with_response_partition_limit(limit)
            .with_cursor(Some(cursor)),
    )
}

pub(super) fn cluster() -> Vec<Case> {
    use ApiKey::{DescribeCluster, DescribeLogDirs, DescribeQuorum, DescribeTopicPartitions};
    vec![
        Case::new("describe the cluster", DescribeCluster, 0, 2, |_, _| {
            RequestKind::DescribeCluster(
                m::DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
            )
        }),
        Case::new("describe the cluster's controllers", DescribeCluster, 1, 2, |_, _| {
            RequestKind::DescribeCluster(m::DescribeClusterRequest::default().with_endpoint_type(2))
        }),
        Case::new("describe the cluster from an end that is none", DescribeCluster, 1, 2, |_, _| {
            RequestKind::DescribeCluster(m::DescribeClusterRequest::default().with_endpoint_type(7))
        }),
        Case::new("describe the cluster with the fenced", DescribeCluster, 2, 2, |_, _| {
            RequestKind::DescribeCluster(
                m::DescribeClusterRequest::default().with_include_fenced_brokers(true),
            )
        }),
        Case::new("describe topic partitions, all of them", DescribeTopicPartitions, 0, 0, |_, _| {
            RequestKind::DescribeTopicPartitions(m::DescribeTopicPartitionsRequest::default())
        }),
        Case::new("describe topic partitions from a cursor", DescribeTopicPartitions, 0, 0, |_, _| {
            from_cursor(&["records", "two", "made-3", "nope", "a b"], "records", 0, 3)
        }),
        Case::new("describe topic partitions from within a topic", DescribeTopicPartitions, 0, 0, |_, _| {
            from_cursor(&["two"], "two", 1, 10)
        }),
        Case::new("describe topic partitions from behind a topic", DescribeTopicPartitions, 0, 0, |_, _| {
            from_cursor(&["two"], "two", 9, 10)
        }),
        Case::new("describe topic partitions from nowhere", DescribeTopicPartitions, 0, 0, |_, _| {
            from_cursor(&["two"], "two", -1, 10)
        }),
        Case::new("describe topic partitions from before all", DescribeTopicPartitions, 0, 0, |_, _| {
            from_cursor(&["two", "data"], "aaa", 0, 10)
        }),
        Case::new("describe no topic partitions", DescribeTopicPartitions, 0, 0, |_, _| {
            RequestKind::DescribeTopicPartitions(
                m::DescribeTopicPartitionsRequest::default()
                    .with_topics(vec![
                        m::describe_topic_partitions_request::TopicRequest::default().with_name(topic("two")),
                    ])
                    .with_response_partition_limit(0),
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
        }),
        Case::new("describe a quorum that is none", DescribeQuorum, 0, 2, |_, _| {
            use m::describe_quorum_request::{PartitionData, TopicData};
            RequestKind::DescribeQuorum(m::DescribeQuorumRequest::default().with_topics(vec![
                TopicData::default()
                    .with_topic_name(topic("data"))
                    .with_partitions(vec![PartitionData::default()]),
            ]))
        }),
        Case::new("describe another partition of the quorum", DescribeQuorum, 0, 2, |_, _| {
            use m::describe_quorum_request::{PartitionData, TopicData};
            RequestKind::DescribeQuorum(m::DescribeQuorumRequest::default().with_topics(vec![
                TopicData::default()
                    .with_topic_name(topic("__cluster_metadata"))
                    .with_partitions(vec![PartitionData::default().with_partition_index(3)]),
            ]))
        }),
        Case::new("describe log directories of what is not there", DescribeLogDirs, 1, 4, |_, _| {
            RequestKind::DescribeLogDirs(m::DescribeLogDirsRequest::default().with_topics(Some(vec![
                m::describe_log_dirs_request::DescribableLogDirTopic::default()
                    .with_topic(topic("nope"))
                    .with_partitions(vec![0]),
                m::describe_log_dirs_request::DescribableLogDirTopic::default()
                    .with_topic(topic("records"))
                    .with_partitions(vec![0, 9]),
            ])))
        }),
        Case::new("describe log directories of nothing", DescribeLogDirs, 1, 4, |_, _| {
            RequestKind::DescribeLogDirs(m::DescribeLogDirsRequest::default().with_topics(Some(vec![])))
        }),
        Case::new("describe log directories", DescribeLogDirs, 1, 4, |_, _| {
            RequestKind::DescribeLogDirs(m::DescribeLogDirsRequest::default().with_topics(Some(vec![
                m::describe_log_dirs_request::DescribableLogDirTopic::default()
                    .with_topic(topic("data"))
                    .with_partitions(vec![0]),
            ])))
        }),
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
        }),
        Case::new("delete topics that are named oddly", ApiKey::DeleteTopics, 1, 5, |_, _| {
            let names = ["nope", "nope", "", "a b", "never"];
            RequestKind::DeleteTopics(
                m::DeleteTopicsRequest::default()
                    .with_topic_names(names.iter().map(|name| topic(name)).collect())
                    .with_timeout_ms(10_000),
            )
        }),
        Case::new("delete topics by both, by neither, twice", ApiKey::DeleteTopics, 6, 6, |peer, _| {
            let state = |name: Option<&str>, id| {
                m::delete_topics_request::DeleteTopicState::default()
                    .with_name(name.map(topic))
                    .with_topic_id(id)
            };
            let id = peer.topic_id("data");
            RequestKind::DeleteTopics(
                m::DeleteTopicsRequest::default()
                    .with_topics(vec![
                        state(Some("two"), peer.topic_id("two")),
                        state(None, uuid::Uuid::nil()),
                        state(Some("nope"), uuid::Uuid::nil()),
                        state(Some("nope"), uuid::Uuid::nil()),
                        state(None, id),
                        state(None, id),
                    ])
                    .with_timeout_ms(10_000),
            )
        }),
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
        }),
    ]
}

/// Whether the peer has taken in the topics that the cases start from; both systems answer before every broker has.
#[must_use]
pub fn is_ready(peer: &mut Peer) -> bool {
    peer.call(ApiKey::Metadata, 4, &metadata(Some(&["data"]), 4)).is_ok()
}
