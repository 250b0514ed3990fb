//! Tasks: a subtopology and one partition of its input topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::PartitionIndex;

/// Tasks as partitions by subtopology.
pub type StreamsTasks = BTreeMap<Arc<str>, BTreeSet<PartitionIndex>>;

/// Active tasks, each with the member epoch at which it was assigned: what tells a late commit from one of a member that still
/// has the task.
pub(crate) type ActiveTasks = BTreeMap<Arc<str>, BTreeMap<PartitionIndex, i32>>;

/// One task.
pub(crate) type TaskId = (Arc<str>, PartitionIndex);

/// What a member is to have, or says it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsAssignment {
    /// Process records, and own the state.
    pub active: StreamsTasks,
    /// Keep a copy of the state.
    pub standby: StreamsTasks,
    /// Catch up with the state, to become active. Kafka 4.3 assigns none.
    pub warmup: StreamsTasks,
}

/// What a member has by the coordinator's books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldTasks {
    pub(crate) active: ActiveTasks,
    pub(crate) standby: StreamsTasks,
    pub(crate) warmup: StreamsTasks,
}

impl HeldTasks {
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Without the epochs.
    pub(crate) fn assignment(&self) -> StreamsAssignment {
        let partitions = |(subtopology, partitions): (&Arc<str>, &BTreeMap<PartitionIndex, i32>)| {
            (Arc::clone(subtopology), partitions.keys().copied().collect())
        };
        StreamsAssignment {
            active: self.active.iter().map(partitions).collect(),
            standby: self.standby.clone(),
            warmup: self.warmup.clone(),
        }
    }

    /// The epoch at which an active task was assigned.
    pub(crate) fn assignment_epoch(&self, subtopology: &str, partition: PartitionIndex) -> Option<i32> {
        self.active.get(subtopology)?.get(&partition).copied()
    }
}

impl StreamsAssignment {
    /// Whether each of the tasks is one of `held`, in the same role.
    pub(crate) fn is_within(&self, held: &HeldTasks) -> bool {
        let all = |tasks: &StreamsTasks, is_held: &dyn Fn(&str, PartitionIndex) -> bool| {
            tasks.iter().all(|(subtopology, partitions)| partitions.iter().all(|p| is_held(subtopology, *p)))
        };
        all(&self.active, &|subtopology, p| held.assignment_epoch(subtopology, p).is_some())
            && all(&self.standby, &|subtopology, p| contains(&held.standby, subtopology, p))
            && all(&self.warmup, &|subtopology, p| contains(&held.warmup, subtopology, p))
    }

    /// Whether one of the tasks is one of `held`, in the same role.
    pub(crate) fn overlaps(&self, held: &HeldTasks) -> bool {
        let any = |tasks: &StreamsTasks, is_held: &dyn Fn(&str, PartitionIndex) -> bool| {
            tasks.iter().any(|(subtopology, partitions)| partitions.iter().any(|p| is_held(subtopology, *p)))
        };
        any(&self.active, &|subtopology, p| held.assignment_epoch(subtopology, p).is_some())
            || any(&self.standby, &|subtopology, p| contains(&held.standby, subtopology, p))
            || any(&self.warmup, &|subtopology, p| contains(&held.warmup, subtopology, p))
    }

    /// All of them, whatever the role.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeSet<PartitionIndex>)> {
        self.active.iter().chain(&self.standby).chain(&self.warmup)
    }
}

pub(crate) fn contains(tasks: &StreamsTasks, subtopology: &str, partition: PartitionIndex) -> bool {
    tasks.get(subtopology).is_some_and(|partitions| partitions.contains(&partition))
}
