//! The state of a share group: what its records say, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::state_partitions::StatePartitions;
use crate::consumer::{Assignment, CoordinatorMetadata};
use crate::records::ShareRecord;

/// The epochs of a group that nothing was written of. The first member makes the group's two.
const FIRST_EPOCH: i32 = 1;
/// The epoch of a member, or of a target, that is gone.
const GONE_EPOCH: i32 = -1;

/// What a member said of itself: its ShareGroupMemberMetadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareMemberMetadata {
    pub(crate) rack_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) topic_names: BTreeSet<Arc<str>>,
}

impl Default for ShareMemberMetadata {
    fn default() -> Self {
        let (client_id, client_host) = ("".into(), "".into());
        Self { rack_id: None, client_id, client_host, topic_names: BTreeSet::new() }
    }
}

impl ShareMemberMetadata {
    /// The bytes that it keeps in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.topic_names.iter().map(|name| name.len()).sum()
    }
}

/// What a member reads: its ShareGroupCurrentMemberAssignment record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareMemberAssignment {
    pub(crate) member_epoch: i32,
    /// What the member may still say if the answer that told it of its epoch was lost.
    pub(crate) previous_member_epoch: i32,
    pub(crate) assigned: Assignment,
}

impl Default for ShareMemberAssignment {
    fn default() -> Self {
        Self { member_epoch: 0, previous_member_epoch: -1, assigned: Assignment::new() }
    }
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareMember {
    pub(crate) metadata: ShareMemberMetadata,
    pub(crate) current: ShareMemberAssignment,
}

/// One share group. Only [`ShareGroup::apply`] changes it. A clone shares members and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareGroup {
    pub(crate) group_id: Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) target_epoch: i32,
    /// When the target was computed; zero if that is not known.
    pub(crate) target_timestamp_ms: i64,
    pub(crate) state_partitions: StatePartitions,
    members: BTreeMap<Arc<str>, Arc<ShareMember>>,
    targets: BTreeMap<Arc<str>, Arc<Assignment>>,
}

impl ShareGroup {
    pub(crate) fn new(group_id: Arc<str>) -> Self {
        Self {
            group_id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            target_epoch: FIRST_EPOCH,
            target_timestamp_ms: 0,
            state_partitions: StatePartitions::default(),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }

    /// Takes a record in. A tombstone of the group itself is the shard's to act on.
    pub(crate) fn apply(&mut self, record: &ShareRecord) {
        match record {
            ShareRecord::Epoch(Some(epoch)) => {
                self.epoch = epoch.epoch;
                self.metadata_hash = epoch.metadata_hash;
            }
            ShareRecord::Epoch(None) => {}
            ShareRecord::Member { member_id, metadata: Some(metadata) } => {
                self.update(member_id, |member| member.metadata = metadata.clone());
            }
            ShareRecord::Member { member_id, metadata: None } => {
                self.members.remove(member_id);
            }
            ShareRecord::TargetEpoch(target) => {
                self.target_epoch = target.map_or(GONE_EPOCH, |target| target.epoch);
                self.target_timestamp_ms = target.map_or(0, |target| target.timestamp_ms);
            }
            ShareRecord::TargetMember { member_id, target: Some(target) } => {
                self.targets.insert(Arc::clone(member_id), Arc::new(target.clone()));
            }
            ShareRecord::TargetMember { member_id, target: None } => {
                self.targets.remove(member_id);
            }
            ShareRecord::CurrentAssignment { member_id, current: Some(current) } => {
                self.update(member_id, |member| member.current = current.clone());
            }
            ShareRecord::CurrentAssignment { member_id, current: None } => {
                if self.members.contains_key(member_id) {
                    self.update(member_id, |member| {
                        member.current = ShareMemberAssignment {
                            member_epoch: GONE_EPOCH,
                            previous_member_epoch: GONE_EPOCH,
                            assigned: Assignment::new(),
                        };
                    });
                }
            }
            ShareRecord::StatePartitions(partitions) => {
                self.state_partitions = partitions.clone().unwrap_or_default();
            }
        }
    }

    /// Changes a member, which is made if it is not there.
    fn update(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut ShareMember)) {
        let mut member = self.members.get(member_id).map(|member| (**member).clone()).unwrap_or_default();
        change(&mut member);
        self.members.insert(Arc::clone(member_id), Arc::new(member));
    }

    /// `Empty` or `Stable`: nothing lies between.
    pub(crate) fn state(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Arc<ShareMember>> {
        self.members.get(member_id)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ShareMember>)> {
        self.members.iter()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn target(&self, member_id: &str) -> Option<&Arc<Assignment>> {
        self.targets.get(member_id)
    }

    /// The topics that members subscribe to.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        self.members.values().flat_map(|member| member.metadata.topic_names.iter().cloned()).collect()
    }

    /// Bytes of what all members said, for the bound on it.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.members.values().map(|member| member.metadata.bytes()).sum()
    }

    /// The partitions of a topic that can be assigned.
    pub(crate) fn assignable(&self, topic_id: TopicId) -> BTreeSet<PartitionIndex> {
        let topic = self.state_partitions.initialized.get(&topic_id);
        topic.map(|topic| topic.partitions.clone()).unwrap_or_default()
    }

    /// Whether partitions of subscribed topics have become assignable, or not any more, since the target was computed.
    pub(crate) fn is_assignment_outdated(&self, metadata: &dyn CoordinatorMetadata) -> bool {
        if self.members.is_empty() {
            return false;
        }
        let mut targeted = Assignment::new();
        for (topic_id, partitions) in self.targets.values().flat_map(|target| target.iter()) {
            targeted.entry(*topic_id).or_default().extend(partitions);
        }
        let names = self.subscribed_topics();
        let topics = names.iter().filter_map(|name| metadata.topic(name));
        topics.into_iter().any(|topic| {
            let has = targeted.get(&topic.topic_id).cloned().unwrap_or_default();
            has != self.assignable(topic.topic_id)
        })
    }

    /// The records that remove the group, in an order that leaves nothing behind it.
    pub(crate) fn tombstones(&self) -> Vec<ShareRecord> {
        let member_ids: BTreeSet<&Arc<str>> = self.members.keys().chain(self.targets.keys()).collect();
        let mut records: Vec<ShareRecord> = member_ids.into_iter().flat_map(member_tombstones).collect();
        records.push(ShareRecord::TargetEpoch(None));
        records.push(ShareRecord::StatePartitions(None));
        records.push(ShareRecord::Epoch(None));
        records
    }

    /// The invariants of the type, for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert!(self.targets.keys().all(|id| self.members.contains_key(id)), "targets are of members");
        for (topic_id, topic) in &self.state_partitions.initialized {
            assert!(!topic.partitions.is_empty());
            assert!(
                !self.state_partitions.deleting.contains_key(topic_id),
                "what goes is not there any more"
            );
        }
    }
}

/// The records that remove a member.
pub(super) fn member_tombstones(member_id: &Arc<str>) -> [ShareRecord; 3] {
    [
        ShareRecord::CurrentAssignment { member_id: Arc::clone(member_id), current: None },
        ShareRecord::TargetMember { member_id: Arc::clone(member_id), target: None },
        ShareRecord::Member { member_id: Arc::clone(member_id), metadata: None },
    ]
}
