//! The groups of a shard, for metrics: who is there, and how far they have read.

use std::sync::Arc;

use moldau_model::{Offset, PartitionIndex};

use super::GroupShard;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    pub group_id: Arc<str>,
    /// As ListGroups names it: classic, consumer, share or streams.
    pub group_type: &'static str,
    /// As ListGroups names it.
    pub state: String,
    pub members: usize,
    /// The committed offsets, by topic and partition.
    pub offsets: Vec<(Arc<str>, PartitionIndex, Offset)>,
}

impl GroupShard {
    /// All groups with their committed offsets, by type and id. Offsets of no group are those of a classic one without
    /// members, as in Kafka, where a commit makes that group.
    #[must_use]
    pub fn summaries(&self) -> Vec<GroupSummary> {
        let of = |group_id: &Arc<str>, group_type, state: &str, members| GroupSummary {
            group_id: Arc::clone(group_id),
            group_type,
            state: state.to_owned(),
            members,
            offsets: self.committed(group_id),
        };
        let classic = self.groups.values();
        let classic =
            classic.map(|group| of(&group.group_id, "classic", group.state().name(), group.member_count()));
        let consumer = self.consumer_groups.written();
        let consumer =
            consumer.map(|group| of(&group.group_id, "consumer", group.state().name(), group.member_count()));
        let share = self.share_groups.written();
        let share = share.map(|group| of(&group.group_id, "share", group.state(), group.member_count()));
        let streams = self.streams_groups.written();
        let streams =
            streams.map(|group| of(&group.group_id, "streams", group.state(), group.member_count()));
        classic.chain(consumer).chain(share).chain(streams).collect()
    }

    fn committed(&self, group_id: &str) -> Vec<(Arc<str>, PartitionIndex, Offset)> {
        let topics = self.offsets.of_group(group_id).into_iter().flatten();
        let all = topics.flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(index, committed)| (Arc::clone(topic), *index, committed.offset))
        });
        all.collect()
    }
}
