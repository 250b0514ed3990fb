//! The cleaner of a running broker: on leaders and followers, within what it may use, and what it is told while it runs.

use std::sync::Arc;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use moldau_model::{ErrorCode, PartitionIndex, TimestampMs, TopicId, TopicIdPartition};
use moldau_record::BatchBuilder;

use crate::cluster::Cluster;
use crate::harness::{Client, Node, eventually};
use crate::requests::*;

const BROKER: i8 = 4;

const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "4000"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("file.delete.delay.ms", "0"),
];

fn keyed(keys: &[&str], value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for key in keys {
        let value = vec![b'v'; value_bytes];
        builder.append(TimestampMs(now_ms()), Some(key.as_bytes()), Some(&value), &[]).unwrap();
    }
    builder.build().unwrap()
}

fn id(topic: &Topic) -> TopicIdPartition {
    TopicIdPartition {
        topic_id: TopicId::from_random_bytes(*topic.id.as_bytes()),
        partition: PartitionIndex(0),
    }
}

fn size(broker: &Arc<moldau_broker::Broker>, topic: &Topic) -> u64 {
    let partition = broker.replica_manager.get(id(topic));
    partition.ok().and_then(|partition| partition.size_bytes()).unwrap_or(u64::MAX)
}

/// Many values of few keys.
fn fill(client: &mut Client, topic: &Topic) {
    for _ in 0..40 {
        produced(client, topic, keyed(&["a", "b"], 500));
    }
}

const FEW_SEGMENTS: u64 = 12_000;

#[test]
fn every_replica_compacts_its_own_log() {
    let cluster = Cluster::start(&[("log.cleaner.backoff.ms", "50")]);
    let topic = cluster.create_topic("t", 1, COMPACTED);
    let mut client = cluster.connect(cluster.wait_for_leader(&topic, 0));
    fill(&mut client, &topic);
    for broker in [1, 2, 3] {
        eventually("the replica is compacted", || size(cluster.broker(broker), &topic) < FEW_SEGMENTS);
    }
    assert_eq!(log_end(&mut client, &topic), 80);
}

fn set_limit(client: &mut Client, bytes_per_second: &str) {
    let config = AlterableConfig::default()
        .with_name(text("log.cleaner.io.max.bytes.per.second"))
        .with_config_operation(0)
        .with_value(Some(text(bytes_per_second)));
    let altered = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(""))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    let response = client.call(1, &request);
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
}

#[test]
fn a_pass_waits_for_its_share_of_the_disk_ends_with_the_broker_and_goes_on_when_the_limit_is_lifted() {
    let settings = [
        ("log.cleaner.backoff.ms", "50"),
        ("log.cleaner.io.max.bytes.per.second", "1"),
        ("log.cleaner.io.buffer.size", "1"),
        ("log.cleaner.threads", "2"),
    ];
    let mut node = Node::start(&settings);
    let mut client = node.connect();
    let [first, second] = ["a", "b"].map(|name| create_topic(&mut client, name, 1, COMPACTED));
    for topic in [&first, &second] {
        fill(&mut client, topic);
    }
    let full = size(node.broker(), &first);
    assert!(full > 40_000);
    // A pass that could not be broken off would hold the stop for hours.
    node.restart();
    assert_eq!(size(node.broker(), &first), full, "at a byte a second nothing was done");
    let mut client = node.connect();
    set_limit(&mut client, "1000000000");
    for topic in [&first, &second] {
        eventually("the limit is lifted", || size(node.broker(), topic) < FEW_SEGMENTS);
    }
}

#[test]
fn what_was_compacted_is_not_compacted_again_after_a_restart() {
    let mut node = Node::start(&[("log.cleaner.backoff.ms", "50")]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, COMPACTED);
    fill(&mut client, &topic);
    eventually("the log is compacted", || size(node.broker(), &topic) < FEW_SEGMENTS);
    let dirty = |node: &Node| {
        let partition = node.broker().replica_manager.get(id(&topic)).unwrap();
        partition.is_cleaning_due()
    };
    eventually("nothing is left to do", || !dirty(&node));
    for _ in 0..2 {
        node.crash_and_start();
        eventually("the partition is back", || node.broker().replica_manager.get(id(&topic)).is_ok());
        assert!(!dirty(&node), "its first dirty offset is known");
        node.restart();
        assert!(!dirty(&node));
    }
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key_whatever_the_batch_came_as() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    for codec in ["producer", "gzip", "uncompressed"] {
        let settings = [("cleanup.policy", "compact,delete"), ("compression.type", codec)];
        let topic = create_topic(&mut client, codec, 1, &settings);
        let mut builder = BatchBuilder::new().compression(moldau_record::Compression::Lz4);
        for key in [Some(&b"k"[..]), None, Some(b"l"), None] {
            builder.append(TimestampMs(now_ms()), key, Some(b"v"), &[]).unwrap();
        }
        let answer = produce(&mut client, 9, &topic, -1, builder.build().unwrap());
        assert_eq!(code(answer.error_code), ErrorCode::InvalidRecord, "{codec}");
        let at_fault: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(at_fault, [1, 3], "{codec}");
        assert_eq!(log_end(&mut client, &topic), 0);
    }
}
