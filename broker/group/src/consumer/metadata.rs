//! What the coordinator has to know of the cluster's topics, and the hash by which it sees that they changed.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};
use twox_hash::XxHash3_64;

/// A topic as assignments see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSummary {
    pub topic_id: TopicId,
    pub partition_count: i32,
}

/// What a group's own settings say; `None` where the broker's go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: Option<i32>,
    /// `share.session.timeout.ms`.
    pub share_session_timeout_ms: Option<i32>,
    /// `share.heartbeat.interval.ms`.
    pub share_heartbeat_interval_ms: Option<i32>,
    /// `share.assignment.interval.ms`.
    pub share_assignment_interval_ms: Option<i32>,
    /// `streams.session.timeout.ms`.
    pub streams_session_timeout_ms: Option<i32>,
    /// `streams.heartbeat.interval.ms`.
    pub streams_heartbeat_interval_ms: Option<i32>,
    /// `streams.assignment.interval.ms`.
    pub streams_assignment_interval_ms: Option<i32>,
    /// `streams.initial.rebalance.delay.ms`.
    pub streams_initial_rebalance_delay_ms: Option<i32>,
    /// `streams.num.standby.replicas`.
    pub streams_standby_replicas: Option<i32>,
}

/// The cluster's metadata as the group coordinator sees it, at one moment.
pub trait CoordinatorMetadata: Debug + Send + Sync {
    /// Grows when topics come, change or go, so that it tells whether they may have.
    fn version(&self) -> i64;
    fn topic(&self, name: &str) -> Option<TopicSummary>;
    fn topic_name(&self, topic_id: TopicId) -> Option<Arc<str>>;
    /// Every topic's name.
    fn for_each_topic_name(&self, each: &mut dyn FnMut(&Arc<str>));
    /// The racks of a partition's replicas, in any order, unknown ones left out.
    fn partition_racks(&self, topic: &str, partition: PartitionIndex) -> Vec<Arc<str>>;
    fn group_overrides(&self, group_id: &str) -> GroupOverrides;
}

/// Where the metadata of this moment comes from. A decision asks once.
pub trait MetadataSource: Debug + Send + Sync {
    fn current(&self) -> Arc<dyn CoordinatorMetadata>;
}

/// A cluster without topics: what a coordinator knows before it is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetadata;

impl MetadataSource for NoMetadata {
    fn current(&self) -> Arc<dyn CoordinatorMetadata> {
        Arc::new(Self)
    }
}

impl CoordinatorMetadata for NoMetadata {
    fn version(&self) -> i64 {
        -1
    }

    fn topic(&self, _: &str) -> Option<TopicSummary> {
        None
    }

    fn topic_name(&self, _: TopicId) -> Option<Arc<str>> {
        None
    }

    fn for_each_topic_name(&self, _: &mut dyn FnMut(&Arc<str>)) {}

    fn partition_racks(&self, _: &str, _: PartitionIndex) -> Vec<Arc<str>> {
        Vec::new()
    }

    fn group_overrides(&self, _: &str) -> GroupOverrides {
        GroupOverrides::default()
    }
}

/// The hash of all that an assignment of these topics rests on, as Kafka has it in its records (KIP-1101): zero for none.
/// Topics that do not exist do not count.
pub(crate) fn metadata_hash(topics: &BTreeSet<Arc<str>>, metadata: &dyn CoordinatorMetadata) -> i64 {
    let mut hashes = Vec::new();
    for name in topics {
        if let Some(topic) = metadata.topic(name) {
            hashes.extend_from_slice(&topic_hash(name, topic, metadata).to_le_bytes());
        }
    }
    if hashes.is_empty() { 0 } else { XxHash3_64::oneshot(&hashes) as i64 }
}

/// Kafka hashes numbers with their lowest byte first, and a text as UTF-16 followed by its length.
fn topic_hash(name: &str, topic: TopicSummary, metadata: &dyn CoordinatorMetadata) -> u64 {
    const MAGIC: u8 = 0;
    let mut bytes = vec![MAGIC];
    for half in topic.topic_id.as_bytes().chunks(8) {
        bytes.extend(half.iter().rev());
    }
    put_text(&mut bytes, name);
    bytes.extend_from_slice(&topic.partition_count.to_le_bytes());
    for partition in 0..topic.partition_count {
        bytes.extend_from_slice(&partition.to_le_bytes());
        let mut racks = metadata.partition_racks(name, PartitionIndex(partition));
        racks.sort_unstable();
        for rack in racks {
            bytes.extend_from_slice(&utf16_units(&rack).to_le_bytes());
            put_text(&mut bytes, &rack);
        }
    }
    XxHash3_64::oneshot(&bytes)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.extend_from_slice(&utf16_units(text).to_le_bytes());
}

fn utf16_units(text: &str) -> i32 {
    text.encode_utf16().count() as i32
}
