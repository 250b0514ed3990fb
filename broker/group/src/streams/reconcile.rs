//! A member's next step towards its target: first it gives up, then it gets what nobody else has.

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_model::PartitionIndex;

use super::group::StreamsGroup;
use super::member::{CurrentTasks, StreamsMemberState};
use super::tasks::{ActiveTasks, HeldTasks, StreamsAssignment, StreamsTasks, TaskId, contains};

/// The tasks that other members have, or have not said yet that they gave them up.
#[derive(Debug, Default)]
pub(crate) struct HeldByOthers {
    active: BTreeSet<TaskId>,
    /// In any role, by members of the same process: two of them must not share a state's folder.
    in_process: BTreeSet<TaskId>,
}

impl HeldByOthers {
    pub(crate) fn than(group: &StreamsGroup, member_id: &str, process_id: &str) -> Self {
        let mut held = Self::default();
        for (_, member) in group.members().filter(|(other, _)| ***other != *member_id) {
            let shares_process = *member.metadata.process_id == *process_id;
            for tasks in [&member.current.assigned, &member.current.pending_revocation] {
                for (subtopology, partitions) in &tasks.active {
                    let tasks = partitions.keys().map(|partition| (Arc::clone(subtopology), *partition));
                    held.active.extend(tasks);
                }
                let tasks = tasks.assignment();
                for (subtopology, partitions) in tasks.all().filter(|_| shares_process) {
                    let tasks = partitions.iter().map(|partition| (Arc::clone(subtopology), *partition));
                    held.in_process.extend(tasks);
                }
            }
        }
        held
    }
}

/// What a member's next step rests on.
#[derive(Debug)]
pub(crate) struct TaskReconciliation<'a> {
    pub(crate) current: &'a CurrentTasks,
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a StreamsAssignment,
    /// What it says it has; `None` if it says nothing.
    pub(crate) reported: Option<&'a StreamsAssignment>,
    /// It joins anew: it has nothing, and nothing that it was told before counts.
    pub(crate) is_joining: bool,
    pub(crate) held: &'a HeldByOthers,
}

impl TaskReconciliation<'_> {
    /// Where the member is after this step. `None` if it has to begin anew: its state is from a later version.
    pub(crate) fn next(&self) -> Option<CurrentTasks> {
        let current = self.current;
        match current.state {
            StreamsMemberState::Stable if current.member_epoch == self.target_epoch => Some(current.clone()),
            StreamsMemberState::Stable | StreamsMemberState::UnreleasedTasks => {
                Some(self.step(current.member_epoch))
            }
            StreamsMemberState::UnrevokedTasks => {
                let has_given_up =
                    self.reported.is_some_and(|reported| !reported.overlaps(&current.pending_revocation));
                // The next epoch tells the member that its giving up was seen.
                Some(if has_given_up { self.step(current.member_epoch + 1) } else { current.clone() })
            }
            StreamsMemberState::Unknown => {
                let has_nothing = self.reported.is_some_and(|reported| reported.all().next().is_none());
                has_nothing.then(|| self.step(self.target_epoch))
            }
        }
    }

    /// Whether tasks that are to go have to be asked for. A member that does not name them may have been told of them and be
    /// about to take them, so that only its next heartbeat says that it has none. (Kafka lets them go at once, and for a moment
    /// two members may have them.)
    fn has_to_ask_for(&self, tasks: &HeldTasks) -> bool {
        let still_has = || self.reported.is_none_or(|reported| reported.overlaps(tasks));
        !tasks.is_empty() && (!self.is_joining || still_has())
    }

    fn step(&self, member_epoch: i32) -> CurrentTasks {
        let assigned = &self.current.assigned;
        let (mut kept, mut given_up) = (HeldTasks::default(), HeldTasks::default());
        for (subtopology, partitions) in &assigned.active {
            for (partition, epoch) in partitions {
                let stays = contains(&self.target.active, subtopology, *partition);
                let side = if stays { &mut kept } else { &mut given_up };
                side.active.entry(Arc::clone(subtopology)).or_default().insert(*partition, *epoch);
            }
        }
        split(&assigned.standby, &self.target.standby, &mut kept.standby, &mut given_up.standby);
        split(&assigned.warmup, &self.target.warmup, &mut kept.warmup, &mut given_up.warmup);

        if self.has_to_ask_for(&given_up) {
            return CurrentTasks {
                member_epoch,
                previous_member_epoch: self.current.member_epoch,
                state: StreamsMemberState::UnrevokedTasks,
                assigned: kept,
                pending_revocation: given_up,
            };
        }
        let mut has_all = true;
        for (subtopology, partitions) in &self.target.active {
            for partition in partitions {
                if kept.assignment_epoch(subtopology, *partition).is_some() {
                    continue;
                }
                if self.is_held(subtopology, *partition, true) {
                    has_all = false;
                } else {
                    insert(&mut kept.active, subtopology, *partition, self.target_epoch);
                }
            }
        }
        has_all &= self.take(&self.target.standby, &mut kept.standby);
        has_all &= self.take(&self.target.warmup, &mut kept.warmup);
        let state = if has_all { StreamsMemberState::Stable } else { StreamsMemberState::UnreleasedTasks };
        CurrentTasks {
            member_epoch: self.target_epoch,
            previous_member_epoch: self.current.member_epoch,
            state,
            assigned: kept,
            pending_revocation: HeldTasks::default(),
        }
    }

    /// Takes what is free of a target's copies, and says whether that is all.
    fn take(&self, target: &StreamsTasks, kept: &mut StreamsTasks) -> bool {
        let mut has_all = true;
        for (subtopology, partitions) in target {
            for partition in partitions {
                if contains(kept, subtopology, *partition) {
                    continue;
                }
                if self.is_held(subtopology, *partition, false) {
                    has_all = false;
                } else {
                    kept.entry(Arc::clone(subtopology)).or_default().insert(*partition);
                }
            }
        }
        has_all
    }

    fn is_held(&self, subtopology: &Arc<str>, partition: PartitionIndex, is_active: bool) -> bool {
        let task = (Arc::clone(subtopology), partition);
        self.held.in_process.contains(&task) || (is_active && self.held.active.contains(&task))
    }
}

fn insert(tasks: &mut ActiveTasks, subtopology: &Arc<str>, partition: PartitionIndex, epoch: i32) {
    tasks.entry(Arc::clone(subtopology)).or_default().insert(partition, epoch);
}

fn split(
    assigned: &StreamsTasks,
    target: &StreamsTasks,
    kept: &mut StreamsTasks,
    given_up: &mut StreamsTasks,
) {
    for (subtopology, partitions) in assigned {
        for partition in partitions {
            let stays = contains(target, subtopology, *partition);
            let side = if stays { &mut *kept } else { &mut *given_up };
            side.entry(Arc::clone(subtopology)).or_default().insert(*partition);
        }
    }
}
