//! How one member comes to its target: it gives up what is not in it, and gets what nobody else has any more.

use std::collections::BTreeSet;

use moldau_model::{PartitionIndex, TopicId};

use super::member::{Assignment, CurrentAssignment, MemberState, OwnedPartitions};
use crate::request::TopicPartitions;

/// What a member's next step depends on.
pub(crate) struct Reconciliation<'a> {
    pub(crate) current: &'a CurrentAssignment,
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Assignment,
    /// The topics that the member subscribes to now: others are given up whatever the target says.
    pub(crate) subscribed: &'a BTreeSet<TopicId>,
    pub(crate) has_subscription_changed: bool,
    /// What the member says it has; `None` if it says nothing.
    pub(crate) reported: Option<&'a [TopicPartitions]>,
    /// It joins anew: it has nothing, and nothing that it was told before counts.
    pub(crate) is_joining: bool,
    /// Whether somebody else has the partition.
    pub(crate) is_owned_by_another: &'a dyn Fn(TopicId, PartitionIndex) -> bool,
}

impl Reconciliation<'_> {
    /// The member's assignment after this step.
    pub(crate) fn next(&self) -> CurrentAssignment {
        let current = self.current;
        match current.state {
            MemberState::Stable if current.member_epoch == self.target_epoch => {
                self.within_subscription_if_changed()
            }
            MemberState::UnrevokedPartitions if self.still_has(&current.pending_revocation) => {
                self.within_subscription_if_changed()
            }
            MemberState::Stable
            | MemberState::UnrevokedPartitions
            | MemberState::UnreleasedPartitions
            // A member in a state of a later version was let in only with nothing in its hands.
            | MemberState::Unknown => self.towards_target(),
        }
    }

    /// Whether partitions that are to go have to be asked for. A member that does not name them may have been told of them
    /// and be about to take them, so that only its next heartbeat says that it has none. (Kafka lets them go at once, and
    /// for a moment two members may read them.)
    fn has_to_ask_for(&self, partitions: &OwnedPartitions) -> bool {
        !partitions.is_empty() && (!self.is_joining || self.still_has(partitions))
    }

    /// A member that says nothing of its partitions has them all.
    fn still_has(&self, partitions: &OwnedPartitions) -> bool {
        let Some(reported) = self.reported else { return !partitions.is_empty() };
        reported.iter().any(|topic| {
            let revoked = partitions.get(&topic.topic_id);
            revoked.is_some_and(|revoked| topic.partitions.iter().any(|p| revoked.contains_key(p)))
        })
    }

    fn within_subscription_if_changed(&self) -> CurrentAssignment {
        let current = self.current;
        let is_within = || current.assigned.keys().all(|topic_id| self.subscribed.contains(topic_id));
        if !self.has_subscription_changed || is_within() {
            return current.clone();
        }
        let (assigned, dropped): (OwnedPartitions, OwnedPartitions) = current
            .assigned
            .clone()
            .into_iter()
            .partition(|(topic_id, _)| self.subscribed.contains(topic_id));
        let mut pending_revocation = current.pending_revocation.clone();
        for (topic_id, partitions) in dropped {
            pending_revocation.entry(topic_id).or_default().extend(partitions);
        }
        let is_revoking = self.has_to_ask_for(&pending_revocation);
        CurrentAssignment {
            member_epoch: current.member_epoch,
            previous_member_epoch: current.member_epoch,
            state: if is_revoking { MemberState::UnrevokedPartitions } else { current.state },
            assigned,
            pending_revocation: if is_revoking {
                pending_revocation
            } else {
                current.pending_revocation.clone()
            },
        }
    }

    fn towards_target(&self) -> CurrentAssignment {
        let current = self.current;
        let is_target = |topic_id: TopicId, partition: PartitionIndex| {
            self.subscribed.contains(&topic_id)
                && self.target.get(&topic_id).is_some_and(|partitions| partitions.contains(&partition))
        };
        let mut assigned = OwnedPartitions::new();
        let mut pending_revocation = OwnedPartitions::new();
        for (topic_id, partitions) in &current.assigned {
            for (partition, epoch) in partitions {
                let kept =
                    if is_target(*topic_id, *partition) { &mut assigned } else { &mut pending_revocation };
                kept.entry(*topic_id).or_default().insert(*partition, *epoch);
            }
        }
        if self.has_to_ask_for(&pending_revocation) {
            return CurrentAssignment {
                // It stays where it is until it has given up.
                member_epoch: current.member_epoch,
                previous_member_epoch: current.member_epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation,
            };
        }
        let mut state = MemberState::Stable;
        for (topic_id, partitions) in self.target {
            for partition in partitions.iter().filter(|partition| is_target(*topic_id, **partition)) {
                let has = assigned.get(topic_id).is_some_and(|partitions| partitions.contains_key(partition));
                if has {
                    continue;
                }
                if (self.is_owned_by_another)(*topic_id, *partition) {
                    state = MemberState::UnreleasedPartitions;
                } else {
                    assigned.entry(*topic_id).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        CurrentAssignment {
            member_epoch: self.target_epoch,
            previous_member_epoch: current.member_epoch,
            state,
            assigned,
            pending_revocation: OwnedPartitions::new(),
        }
    }
}
