//! The committed offsets of a shard's groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

use crate::records::OffsetCommitValue;
use crate::shard::AppendId;

/// A committed offset, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetAndMetadata {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Mostly empty, which takes no allocation.
    pub(crate) metadata: Box<str>,
    pub(crate) commit_timestamp: TimestampMs,
    pub(crate) expire_timestamp: Option<TimestampMs>,
    /// Zero where the commit did not know it.
    pub(crate) topic_id: TopicId,
    /// Whether a transaction committed it.
    pub(crate) is_transactional: bool,
    /// Where its record stands in the log, compared with others: a transaction may end after a later commit.
    pub(crate) place: AppendId,
}

impl OffsetAndMetadata {
    /// Whether the offset outlived its use. A client's own retention time goes before the broker's.
    pub(crate) fn is_expired(&self, base: TimestampMs, now_ms: i64, retention_ms: i64) -> bool {
        match self.expire_timestamp {
            Some(expire_timestamp) => now_ms >= expire_timestamp.0,
            None => now_ms.saturating_sub(base.0) >= retention_ms,
        }
    }

    /// Whether the offset was committed for another topic of the same name.
    pub(crate) fn is_of_another_topic(&self, topic_id: TopicId) -> bool {
        !self.topic_id.is_zero() && !topic_id.is_zero() && self.topic_id != topic_id
    }

    pub(crate) fn new(value: &OffsetCommitValue<'_>, is_transactional: bool, place: AppendId) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: value.expire_timestamp,
            topic_id: value.topic_id,
            is_transactional,
            place,
        }
    }

    fn update(&mut self, value: &OffsetCommitValue<'_>, place: AppendId) {
        self.offset = value.offset;
        self.leader_epoch = value.leader_epoch;
        if *self.metadata != *value.metadata {
            self.metadata = value.metadata.into();
        }
        self.commit_timestamp = value.commit_timestamp;
        self.expire_timestamp = value.expire_timestamp;
        self.topic_id = value.topic_id;
        self.is_transactional = false;
        self.place = place;
    }
}

/// One group's offsets by topic and partition.
pub(crate) type GroupOffsets = BTreeMap<Arc<str>, BTreeMap<PartitionIndex, OffsetAndMetadata>>;

/// All committed offsets. Only `put` and `remove` change them, and only a committed record calls those.
#[derive(Debug, Default)]
pub(crate) struct OffsetStore {
    by_group: BTreeMap<Arc<str>, GroupOffsets>,
}

impl OffsetStore {
    /// Keeps a committed offset, unless the log has a later one. Where the key is known nothing is allocated: a load of
    /// a million commits of ten keys is a million updates in place.
    pub(crate) fn put(
        &mut self,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        value: &OffsetCommitValue<'_>,
        place: AppendId,
    ) {
        match self.by_group.get_mut(group_id).and_then(|topics| topics.get_mut(topic)?.get_mut(&partition)) {
            Some(offset) if offset.place > place => {}
            Some(offset) => offset.update(value, place),
            None => self.insert((group_id, topic, partition), OffsetAndMetadata::new(value, false, place)),
        }
    }

    /// The same for an offset of a transaction that is committed now.
    pub(crate) fn put_ended(
        &mut self,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        ended: OffsetAndMetadata,
    ) {
        let known = self.get(group_id, topic, partition);
        if known.is_none_or(|known| known.place < ended.place) {
            self.insert((group_id, topic, partition), ended);
        }
    }

    fn insert(
        &mut self,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        offset: OffsetAndMetadata,
    ) {
        if !self.by_group.contains_key(group_id) {
            self.by_group.insert(group_id.into(), GroupOffsets::new());
        }
        let Some(topics) = self.by_group.get_mut(group_id) else { return };
        match topics.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, offset)),
            None => drop(topics.insert(topic.into(), BTreeMap::from([(partition, offset)]))),
        }
    }

    /// Removes what the log has of the key before `place`.
    pub(crate) fn remove(
        &mut self,
        (group_id, topic, partition): (&str, &str, PartitionIndex),
        place: AppendId,
    ) {
        let Some(topics) = self.by_group.get_mut(group_id) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        if partitions.get(&partition).is_some_and(|known| known.place > place) {
            return;
        }
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.by_group.remove(group_id);
        }
    }

    pub(crate) fn get(
        &self,
        group_id: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&OffsetAndMetadata> {
        self.by_group.get(group_id)?.get(topic)?.get(&partition)
    }

    pub(crate) fn of_group(&self, group_id: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group_id)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &GroupOffsets)> {
        self.by_group.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.by_group.clear();
    }
}
