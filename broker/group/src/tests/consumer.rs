//! The promises of consumer groups (KIP-848).

mod administration;
mod assignors;
mod lifecycle;
mod migration;
mod mixed_model;
pub(super) mod model;
mod offsets;
mod reconciliation;
mod records;
mod refusals;
mod regular_expressions;
mod static_members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use moldau_model::{PartitionIndex, TopicId};

use super::harness::Harness;
use crate::*;

/// A cluster's topics, as a test has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    pub(super) by_name: BTreeMap<Arc<str>, TopicSummary>,
    pub(super) racks: Vec<Arc<str>>,
    pub(super) version: i64,
    pub(super) overrides: GroupOverrides,
}

/// The topics of this moment.
#[derive(Debug, Default)]
pub(super) struct ChangingTopics(pub(super) Mutex<Arc<Topics>>);

impl MetadataSource for ChangingTopics {
    fn current(&self) -> Arc<dyn CoordinatorMetadata> {
        let topics: Arc<Topics> = Arc::clone(&self.0.lock().unwrap());
        topics
    }
}

/// The id of a topic of this name, the same in every test.
pub(super) fn topic_id(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    TopicId::from_bytes(bytes)
}

impl Topics {
    pub(super) fn of(topics: &[(&str, i32)]) -> Self {
        let summary =
            |name: &str, partition_count| TopicSummary { topic_id: topic_id(name), partition_count };
        let by_name = topics.iter().map(|(name, count)| (Arc::from(*name), summary(name, *count))).collect();
        Self { by_name, ..Self::default() }
    }
}

impl CoordinatorMetadata for Topics {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<TopicSummary> {
        self.by_name.get(name).copied()
    }

    fn topic_name(&self, topic_id: TopicId) -> Option<Arc<str>> {
        self.by_name.iter().find(|(_, topic)| topic.topic_id == topic_id).map(|(name, _)| Arc::clone(name))
    }

    fn for_each_topic_name(&self, each: &mut dyn FnMut(&Arc<str>)) {
        self.by_name.keys().for_each(each);
    }

    fn partition_racks(&self, _: &str, partition: PartitionIndex) -> Vec<Arc<str>> {
        if partition.0 == 0 { self.racks.clone() } else { Vec::new() }
    }

    fn group_overrides(&self, _: &str) -> GroupOverrides {
        self.overrides
    }
}

/// A heartbeat that says nothing but that the member is there.
pub(super) fn beat(group_id: &str, member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        api_version: 1,
        group_id: group_id.into(),
        member_id: member_id.into(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: -1,
        subscribed_topic_names: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        topic_partitions: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        new_member_uuid: moldau_model::Uuid::ONE,
        visible_topics: TopicFilter::default(),
    }
}

/// A heartbeat that joins.
pub(super) fn joining(group_id: &str, member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(topics.iter().map(ToString::to_string).collect()),
        topic_partitions: Some(Vec::new()),
        ..beat(group_id, member_id, 0)
    }
}

/// A heartbeat that says what the member has.
pub(super) fn having(
    group_id: &str,
    member_id: &str,
    member_epoch: i32,
    owned: &[(&str, &[i32])],
) -> ConsumerGroupHeartbeatRequest {
    let partitions = owned.iter().map(|(topic, partitions)| TopicPartitions {
        topic_id: topic_id(topic),
        partitions: partitions.iter().copied().map(PartitionIndex).collect(),
    });
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(partitions.collect()),
        ..beat(group_id, member_id, member_epoch)
    }
}

/// The partitions that an answer tells of, as `topic-partition`; `None` if it tells of none.
pub(super) fn told(response: &ConsumerGroupHeartbeatResponse) -> Option<BTreeSet<String>> {
    let name = |topic_id: TopicId| {
        String::from_utf8(topic_id.as_bytes().iter().copied().filter(|byte| *byte != 0).collect()).unwrap()
    };
    let assignment = response.assignment.as_ref()?;
    let of_topic = |topic: &TopicPartitions| {
        let name = name(topic.topic_id);
        topic.partitions.iter().map(move |p| format!("{name}-{}", p.0)).collect::<Vec<_>>()
    };
    Some(assignment.iter().flat_map(of_topic).collect())
}

pub(super) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A shard whose groups may be assigned anew at any time, in a cluster with these topics.
pub(super) fn cluster(topics: &[(&str, i32)]) -> Harness {
    let consumer = ConsumerGroupConfig { assignment_interval_ms: 0, ..ConsumerGroupConfig::default() };
    with_config(topics, GroupConfig { consumer, initial_rebalance_delay_ms: 1, ..GroupConfig::default() })
}

pub(super) fn with_config(topics: &[(&str, i32)], config: GroupConfig) -> Harness {
    let mut h = Harness::with_config(config);
    h.change_topics(&Topics::of(topics));
    h
}

impl Harness {
    pub(super) fn change_topics(&mut self, topics: &Topics) {
        let mut known = self.topics.0.lock().unwrap();
        let version = known.version + 1;
        *known = Arc::new(Topics { version, ..topics.clone() });
    }

    pub(super) fn send_beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> RequestToken {
        self.send(Request::ConsumerGroupHeartbeat(Box::new(request)))
    }

    pub(super) fn heard(&mut self, token: RequestToken) -> ConsumerGroupHeartbeatResponse {
        match self.answer(token) {
            Response::ConsumerGroupHeartbeat(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let token = self.send_beat(request);
        self.heard(token)
    }

    pub(super) fn describe_consumer_group(&mut self, group_id: &str) -> DescribedConsumerGroup {
        match self.call(Request::ConsumerGroupDescribe(vec![group_id.into()])) {
            Response::ConsumerGroupDescribe(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }
}
