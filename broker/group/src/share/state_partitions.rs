//! Which partitions of a share group have a state at the share coordinator: its ShareGroupStatePartitionMetadata record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateTopic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: BTreeSet<PartitionIndex>,
}

/// A partition is initializing until the share coordinator has said that it knows of it, and a topic is deleting until it has
/// said that it knows nothing of it any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatePartitions {
    pub(crate) initializing: BTreeMap<TopicId, StateTopic>,
    pub(crate) initialized: BTreeMap<TopicId, StateTopic>,
    pub(crate) deleting: BTreeMap<TopicId, Arc<str>>,
}

impl StatePartitions {
    /// Partitions are to be initialized. What was about to be deleted of them is not any more.
    pub(crate) fn begin_initializing(&mut self, topics: &BTreeMap<TopicId, StateTopic>) {
        for (topic_id, topic) in topics {
            self.deleting.remove(topic_id);
            add(&mut self.initializing, *topic_id, &topic.name, &topic.partitions);
        }
    }

    /// The share coordinator knows of these partitions. Those that were not to be initialized do not count: they were deleted
    /// meanwhile.
    pub(crate) fn note_initialized(&mut self, topic_id: TopicId, partitions: &BTreeSet<PartitionIndex>) {
        let Some(topic) = self.initializing.get_mut(&topic_id) else { return };
        let ready: BTreeSet<PartitionIndex> = topic.partitions.intersection(partitions).copied().collect();
        topic.partitions.retain(|partition| !partitions.contains(partition));
        let (name, is_over) = (Arc::clone(&topic.name), topic.partitions.is_empty());
        if is_over {
            self.initializing.remove(&topic_id);
        }
        if !ready.is_empty() {
            add(&mut self.initialized, topic_id, &name, &ready);
        }
    }

    /// What there is of a topic is to be deleted. Gives the partitions.
    pub(crate) fn begin_deleting(&mut self, topic_id: TopicId) -> Option<StateTopic> {
        let initialized = self.initialized.remove(&topic_id);
        let initializing = self.initializing.remove(&topic_id);
        let mut all = initialized.clone().or_else(|| initializing.clone())?;
        all.partitions.extend(initializing.into_iter().flat_map(|topic| topic.partitions));
        self.deleting.insert(topic_id, Arc::clone(&all.name));
        Some(all)
    }

    /// The topics that there is something of.
    pub(crate) fn topic_ids(&self) -> BTreeSet<TopicId> {
        let known = self.initialized.keys().chain(self.initializing.keys());
        known.chain(self.deleting.keys()).copied().collect()
    }

    pub(crate) fn is_initialized(&self, topic_id: TopicId, partition: PartitionIndex) -> bool {
        self.initialized.get(&topic_id).is_some_and(|topic| topic.partitions.contains(&partition))
    }

    pub(crate) fn is_initializing(&self, topic_id: TopicId, partition: PartitionIndex) -> bool {
        self.initializing.get(&topic_id).is_some_and(|topic| topic.partitions.contains(&partition))
    }

    /// Forgets a topic that is no more.
    pub(crate) fn forget(&mut self, topic_id: TopicId) {
        self.initializing.remove(&topic_id);
        self.initialized.remove(&topic_id);
        self.deleting.remove(&topic_id);
    }
}

fn add(
    topics: &mut BTreeMap<TopicId, StateTopic>,
    topic_id: TopicId,
    name: &Arc<str>,
    partitions: &BTreeSet<PartitionIndex>,
) {
    let new = || StateTopic { name: Arc::clone(name), partitions: BTreeSet::new() };
    topics.entry(topic_id).or_insert_with(new).partitions.extend(partitions);
}
