//! Assignors: who is to read what. Sticky ones keep what a member was to have where balance allows it.

mod range;
mod uniform;
mod uniform_mixed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::member::Assignment;

/// The assignors of `group.consumer.assignors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Every member gets as many partitions as the others, and keeps what it has.
    Uniform,
    /// Every topic's partitions go to its members in ranges, so that partitions of one number meet.
    Range,
}

impl Assignor {
    /// The assignor's name in settings and requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub(crate) fn assign(self, group: &GroupSubscriptions) -> BTreeMap<Arc<str>, Assignment> {
        if group.members.is_empty() {
            return BTreeMap::new();
        }
        match (self, group.is_homogeneous()) {
            (Self::Range, _) => range::assign(group),
            (Self::Uniform, true) => uniform::assign(group),
            (Self::Uniform, false) => uniform_mixed::assign(group),
        }
    }
}

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(crate) struct MemberSubscription {
    pub(crate) instance_id: Option<Arc<str>>,
    /// Topics that exist.
    pub(crate) topics: BTreeSet<TopicId>,
    /// What it was to have before.
    pub(crate) target: Arc<Assignment>,
}

/// A group as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupSubscriptions {
    pub(crate) members: BTreeMap<Arc<str>, MemberSubscription>,
    /// How many partitions the subscribed topics have.
    pub(crate) partition_counts: BTreeMap<TopicId, i32>,
}

impl GroupSubscriptions {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.values();
        let first = members.next();
        first.is_none_or(|first| members.all(|member| member.topics == first.topics))
    }

    fn partition_count(&self, topic_id: TopicId) -> i32 {
        self.partition_counts.get(&topic_id).copied().unwrap_or(0)
    }

    fn partitions(&self, topic_id: TopicId) -> impl Iterator<Item = PartitionIndex> + use<> {
        (0..self.partition_count(topic_id)).map(PartitionIndex)
    }

    /// What of its earlier target a member can keep: partitions that exist, of topics it subscribes to.
    fn kept(&self, member: &MemberSubscription) -> Assignment {
        let mut kept = Assignment::new();
        for (topic_id, partitions) in
            member.target.iter().filter(|(topic_id, _)| member.topics.contains(topic_id))
        {
            let exists = |partition: &&PartitionIndex| partition.0 < self.partition_count(*topic_id);
            let partitions: BTreeSet<PartitionIndex> = partitions.iter().filter(exists).copied().collect();
            if !partitions.is_empty() {
                kept.insert(*topic_id, partitions);
            }
        }
        kept
    }
}

fn count(assignment: &Assignment) -> usize {
    assignment.values().map(BTreeSet::len).sum()
}

fn take(assignment: &mut Assignment, topic_id: TopicId, partition: PartitionIndex) {
    if let Some(partitions) = assignment.get_mut(&topic_id) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            assignment.remove(&topic_id);
        }
    }
}
