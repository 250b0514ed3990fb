//! What the group coordinator sees of the cluster's metadata: the newest image, and when its topics last changed.

use std::sync::Arc;

use moldau_group::{CoordinatorMetadata, GroupOverrides, MetadataSource, TopicSummary};
use moldau_metadata::{ConfigResource, MetadataDelta, MetadataImage};
use moldau_model::{PartitionIndex, TopicId};
use parking_lot::RwLock;

/// The metadata of the moment, for all shards of a broker.
#[derive(Debug, Default)]
pub(super) struct GroupMetadata {
    view: RwLock<Arc<View>>,
}

/// The metadata of one moment.
#[derive(Debug, Default)]
struct View {
    image: MetadataImage,
    /// The position of the last change that assignments rest on; another broker that reads the same log has the same.
    version: i64,
}

impl GroupMetadata {
    /// Takes a new image. The cost follows what has changed.
    pub(super) fn update(&self, image: &MetadataImage) {
        let mut view = self.view.write();
        let delta = MetadataDelta::between(&view.image, image);
        let version = if matters(&delta) { image.position().offset.0 } else { view.version };
        *view = Arc::new(View { image: image.clone(), version });
    }
}

/// Whether topics, their partitions, or the racks of replicas have changed. Leaders and ISRs do not count.
fn matters(delta: &MetadataDelta) -> bool {
    let is_new_or_moved = |topic: &moldau_metadata::TopicDelta| {
        topic.partitions.values().any(|partition| {
            partition.before.as_ref().is_none_or(|before| before.replicas != partition.after.replicas)
        })
    };
    let has_other_rack = |broker: &moldau_metadata::BrokerDelta| {
        let rack = |broker: &Option<Arc<moldau_metadata::BrokerRegistration>>| {
            broker.as_ref().and_then(|broker| broker.rack.clone())
        };
        rack(&broker.before) != rack(&broker.after)
    };
    !delta.deleted_topics.is_empty()
        || delta.topics.values().any(is_new_or_moved)
        || delta.brokers.values().any(has_other_rack)
}

impl MetadataSource for GroupMetadata {
    fn current(&self) -> Arc<dyn CoordinatorMetadata> {
        let view: Arc<View> = Arc::clone(&self.view.read());
        view
    }
}

impl CoordinatorMetadata for View {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<TopicSummary> {
        let topic = self.image.topics().by_name(name)?;
        Some(TopicSummary { topic_id: topic.id(), partition_count: topic.partition_count() })
    }

    fn topic_name(&self, topic_id: TopicId) -> Option<Arc<str>> {
        self.image.topics().by_id(topic_id).map(|topic| Arc::clone(topic.name()))
    }

    fn for_each_topic_name(&self, each: &mut dyn FnMut(&Arc<str>)) {
        for topic in self.image.topics().iter() {
            each(topic.name());
        }
    }

    fn partition_racks(&self, topic: &str, partition: PartitionIndex) -> Vec<Arc<str>> {
        let topic = self.image.topics().by_name(topic);
        let replicas = topic.and_then(|topic| topic.partition(partition)).map(|found| &found.replicas);
        let brokers = replicas.into_iter().flatten().filter_map(|replica| self.image.broker(*replica));
        brokers.filter_map(|broker| broker.rack.clone()).collect()
    }

    fn group_overrides(&self, group_id: &str) -> GroupOverrides {
        let Some(own) = self.image.configs().of(&ConfigResource::group(group_id)) else {
            return GroupOverrides::default();
        };
        let number = |name: &str| own.get(name).and_then(|value| value.trim().parse().ok());
        GroupOverrides {
            session_timeout_ms: number("consumer.session.timeout.ms"),
            heartbeat_interval_ms: number("consumer.heartbeat.interval.ms"),
            assignment_interval_ms: number("consumer.assignment.interval.ms"),
            share_session_timeout_ms: number("share.session.timeout.ms"),
            share_heartbeat_interval_ms: number("share.heartbeat.interval.ms"),
            share_assignment_interval_ms: number("share.assignment.interval.ms"),
            streams_session_timeout_ms: number("streams.session.timeout.ms"),
            streams_heartbeat_interval_ms: number("streams.heartbeat.interval.ms"),
            streams_assignment_interval_ms: number("streams.assignment.interval.ms"),
            streams_initial_rebalance_delay_ms: number("streams.initial.rebalance.delay.ms"),
            streams_standby_replicas: number("streams.num.standby.replicas"),
        }
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataRecord, records};
    use moldau_model::{LeaderEpoch, Offset};

    use super::*;

    fn partition(index: i32, leader: i32) -> MetadataRecord {
        records::Partition {
            topic_id: vec![7; 16],
            partition_index: index,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            leader,
            directories: vec![vec![0; 16]; 2],
            ..records::Partition::default()
        }
        .into()
    }

    #[test]
    fn the_version_grows_with_topics_and_partitions_and_not_with_leaders() {
        let metadata = GroupMetadata::default();
        let mut image = MetadataImage::empty();
        let topic = records::Topic { name: "t".into(), topic_id: vec![7; 16] };
        let elected = records::PartitionChange {
            topic_id: vec![7; 16],
            leader: Some(2),
            ..records::PartitionChange::default()
        };
        let removed = records::RemoveTopic { topic_id: vec![7; 16] };
        let steps: [(Vec<MetadataRecord>, i64, Option<i32>); 4] = [
            (vec![topic.into(), partition(0, 1)], 1, Some(1)),
            (vec![elected.into()], 1, Some(1)),
            (vec![partition(1, 1)], 3, Some(2)),
            (vec![removed.into()], 4, None),
        ];
        for (at, (records, version, partition_count)) in steps.into_iter().enumerate() {
            image = image.replay(&records.into(), Offset(at as i64 + 1), LeaderEpoch(1)).unwrap().0;
            metadata.update(&image);
            let view = metadata.current();
            assert_eq!(view.version(), version);
            assert_eq!(view.topic("t").map(|topic| topic.partition_count), partition_count);
        }
    }
}
