//! Topics and their partitions, by name and by id.

use std::sync::Arc;

use moldau_model::{BrokerId, PartitionIndex, TopicId};

use crate::{PartitionRegistration, SortedMap};

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    name: Arc<str>,
    id: TopicId,
    pub(crate) partitions: SortedMap<PartitionIndex, Arc<PartitionRegistration>>,
}

impl TopicImage {
    pub(crate) fn new(name: Arc<str>, id: TopicId) -> Self {
        Self { name, id, partitions: SortedMap::default() }
    }

    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    #[must_use]
    pub const fn id(&self) -> TopicId {
        self.id
    }

    #[must_use]
    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    #[must_use]
    pub fn partition(&self, partition: PartitionIndex) -> Option<&Arc<PartitionRegistration>> {
        self.partitions.get(&partition)
    }

    /// The partitions, by number.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Arc<PartitionRegistration>)> {
        self.partitions.iter().map(|(index, partition)| (*index, partition))
    }
}

/// All topics. A change of one copies neither the others nor their partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsImage {
    pub(crate) by_id: SortedMap<TopicId, Arc<TopicImage>>,
    pub(crate) ids: SortedMap<Arc<str>, TopicId>,
    pub(crate) partition_count: usize,
}

impl TopicsImage {
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_id.get(self.ids.get(name)?)
    }

    #[must_use]
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// The topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.ids.iter().filter_map(|(_, id)| self.by_id.get(id))
    }

    /// The topics whose names come at or after `name`, in the order of their names (DescribeTopicPartitions' cursor).
    pub fn iter_from(&self, name: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.ids.iter_from(name).filter_map(|(_, id)| self.by_id.get(id))
    }

    /// The partition, if topic and partition exist.
    #[must_use]
    pub fn partition(&self, id: TopicId, partition: PartitionIndex) -> Option<&Arc<PartitionRegistration>> {
        self.by_id(id)?.partition(partition)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Partitions of all topics.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The partitions that `broker` holds a replica of, topic by topic.
    pub fn partitions_of(
        &self,
        broker: BrokerId,
    ) -> impl Iterator<Item = (&Arc<TopicImage>, PartitionIndex, &Arc<PartitionRegistration>)> {
        self.iter().flat_map(move |topic| {
            let held = topic.partitions().filter(move |(_, partition)| partition.replicas.contains(&broker));
            held.map(move |(index, partition)| (topic, index, partition))
        })
    }
}
