//! Offsets that were committed in transactions which have not ended (KIP-98): nobody is told of them until the marker
//! comes that commits the transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, ProducerId};

use crate::offsets::{GroupOffsets, OffsetAndMetadata};
use crate::shard::AppendId;

/// By producer, of which each has one transaction at a time. Only committed records change it.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    by_producer: BTreeMap<ProducerId, BTreeMap<Arc<str>, GroupOffsets>>,
    producers_of: BTreeMap<Arc<str>, BTreeSet<ProducerId>>,
}

impl OpenTransactions {
    /// Keeps an offset, unless a later one of the same transaction is there.
    pub(crate) fn put(
        &mut self,
        producer_id: ProducerId,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        offset: OffsetAndMetadata,
    ) {
        let group_id: Arc<str> = match self.producers_of.get_key_value(group_id) {
            Some((known, _)) => Arc::clone(known),
            None => group_id.into(),
        };
        self.producers_of.entry(Arc::clone(&group_id)).or_default().insert(producer_id);
        let topics = self.by_producer.entry(producer_id).or_default().entry(group_id).or_default();
        let partitions = topics.entry(topic.into()).or_default();
        if partitions.get(&partition).is_none_or(|known| known.place <= offset.place) {
            partitions.insert(partition, offset);
        }
    }

    /// A tombstone at `place` takes away what the log has of the key before it, in whichever transaction.
    pub(crate) fn remove(
        &mut self,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        place: AppendId,
    ) {
        let producers: Vec<ProducerId> =
            self.producers_of.get(group_id).into_iter().flatten().copied().collect();
        for producer_id in producers {
            let Some(topics) =
                self.by_producer.get_mut(&producer_id).and_then(|groups| groups.get_mut(group_id))
            else {
                continue;
            };
            if let Some(partitions) = topics.get_mut(topic) {
                if partitions.get(&partition).is_some_and(|known| known.place < place) {
                    partitions.remove(&partition);
                }
                if partitions.is_empty() {
                    topics.remove(topic);
                }
            }
            self.forget_if_empty(producer_id, group_id);
        }
    }

    /// The producer's transaction ends by a marker at `place`: takes out the offsets that the log has before it.
    pub(crate) fn end(&mut self, producer_id: ProducerId, place: AppendId) -> Vec<(Arc<str>, GroupOffsets)> {
        let group_ids = self.groups_of(producer_id);
        let mut ended = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let Some(topics) =
                self.by_producer.get_mut(&producer_id).and_then(|groups| groups.get_mut(&group_id))
            else {
                continue;
            };
            let mut taken = GroupOffsets::new();
            for (topic, partitions) in topics.iter_mut() {
                let of_topic: BTreeMap<_, _> =
                    partitions.extract_if(.., |_, offset| offset.place < place).collect();
                if !of_topic.is_empty() {
                    taken.insert(Arc::clone(topic), of_topic);
                }
            }
            topics.retain(|_, partitions| !partitions.is_empty());
            ended.push((Arc::clone(&group_id), taken));
            self.forget_if_empty(producer_id, &group_id);
        }
        ended
    }

    /// Whether a transaction that has not ended commits an offset of the partition.
    pub(crate) fn contains(&self, group_id: &str, topic: &str, partition: PartitionIndex) -> bool {
        self.of_group(group_id)
            .any(|topics| topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition)))
    }

    pub(crate) fn contains_group(&self, group_id: &str) -> bool {
        self.producers_of.contains_key(group_id)
    }

    /// The group's offsets, transaction by transaction.
    pub(crate) fn of_group(&self, group_id: &str) -> impl Iterator<Item = &GroupOffsets> {
        let producers = self.producers_of.get_key_value(group_id);
        producers.into_iter().flat_map(|(group_id, producers)| {
            producers.iter().filter_map(|id| self.by_producer.get(id)?.get(group_id))
        })
    }

    /// The groups whose offsets the producer's transaction commits.
    pub(crate) fn groups_of(&self, producer_id: ProducerId) -> Vec<Arc<str>> {
        self.by_producer.get(&producer_id).into_iter().flat_map(|groups| groups.keys().cloned()).collect()
    }

    /// All groups with offsets in open transactions.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.producers_of.keys()
    }

    pub(crate) fn clear(&mut self) {
        self.by_producer.clear();
        self.producers_of.clear();
    }

    fn forget_if_empty(&mut self, producer_id: ProducerId, group_id: &str) {
        let Some(groups) = self.by_producer.get_mut(&producer_id) else { return };
        if groups.get(group_id).is_none_or(|topics| !topics.is_empty()) {
            return;
        }
        groups.remove(group_id);
        if groups.is_empty() {
            self.by_producer.remove(&producer_id);
        }
        if let Some(producers) = self.producers_of.get_mut(group_id) {
            producers.remove(&producer_id);
            if producers.is_empty() {
                self.producers_of.remove(group_id);
            }
        }
    }
}
