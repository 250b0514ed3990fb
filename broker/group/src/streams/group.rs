//! The state of a streams group: what its records say, and what follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member::{CurrentTasks, LEAVE_EPOCH, StreamsMember, StreamsMemberState};
use super::tasks::StreamsAssignment;
use super::topology::StreamsTopology;
use crate::records::StreamsRecord;

/// The group epoch, and that of the target assignment, of a group that nothing was written of. The first member makes it
/// two.
const FIRST_EPOCH: i32 = 1;
/// No topology's.
pub(crate) const NO_TOPOLOGY_EPOCH: i32 = -1;

/// One streams group. Only [`StreamsGroup::apply`] changes it. A clone shares members, targets and the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsGroup {
    pub(crate) group_id: Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
    /// Of the topology whose topics were found to be as it needs them; -1 for none.
    pub(crate) validated_topology_epoch: i32,
    /// The settings that the last epoch was begun with.
    pub(crate) assignment_configs: BTreeMap<String, String>,
    pub(crate) target_epoch: i32,
    /// When the target was computed; zero if that is not known.
    pub(crate) target_timestamp_ms: i64,
    pub(crate) topology: Option<Arc<StreamsTopology>>,
    members: BTreeMap<Arc<str>, Arc<StreamsMember>>,
    targets: BTreeMap<Arc<str>, Arc<StreamsAssignment>>,
}

impl StreamsGroup {
    pub(crate) fn new(group_id: Arc<str>) -> Self {
        Self {
            group_id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            validated_topology_epoch: NO_TOPOLOGY_EPOCH,
            assignment_configs: BTreeMap::new(),
            target_epoch: FIRST_EPOCH,
            target_timestamp_ms: 0,
            topology: None,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }

    /// Takes a record in. A tombstone of the group itself is the shard's to act on.
    pub(crate) fn apply(&mut self, record: &StreamsRecord) {
        match record {
            StreamsRecord::Epoch(Some(epoch)) => {
                self.epoch = epoch.epoch;
                self.metadata_hash = epoch.metadata_hash;
                self.validated_topology_epoch = epoch.validated_topology_epoch;
                self.assignment_configs.clone_from(&epoch.assignment_configs);
            }
            StreamsRecord::Epoch(None) => {}
            StreamsRecord::Topology(topology) => self.topology.clone_from(topology),
            StreamsRecord::Member { member_id, metadata: Some(metadata) } => {
                self.update(member_id, |member| member.metadata = metadata.clone());
            }
            StreamsRecord::Member { member_id, metadata: None } => {
                self.members.remove(member_id);
            }
            StreamsRecord::TargetEpoch(target) => {
                self.target_epoch = target.map_or(LEAVE_EPOCH, |target| target.epoch);
                self.target_timestamp_ms = target.map_or(0, |target| target.timestamp_ms);
            }
            StreamsRecord::TargetMember { member_id, target: Some(target) } => {
                self.targets.insert(Arc::clone(member_id), Arc::new(target.clone()));
            }
            StreamsRecord::TargetMember { member_id, target: None } => {
                self.targets.remove(member_id);
            }
            StreamsRecord::CurrentAssignment { member_id, current: Some(current) } => {
                self.update(member_id, |member| member.current = current.clone());
            }
            StreamsRecord::CurrentAssignment { member_id, current: None } => {
                if self.members.contains_key(member_id) {
                    self.update(member_id, |member| {
                        member.current = CurrentTasks {
                            member_epoch: LEAVE_EPOCH,
                            previous_member_epoch: LEAVE_EPOCH,
                            ..CurrentTasks::default()
                        };
                    });
                }
            }
        }
    }

    /// Changes a member, which is made if it is not there.
    fn update(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut StreamsMember)) {
        let member = self.members.entry(Arc::clone(member_id)).or_default();
        change(Arc::make_mut(member));
    }

    /// By Kafka's name.
    pub(crate) fn state(&self) -> &'static str {
        let is_unready =
            self.topology.as_ref().is_none_or(|topology| topology.epoch != self.validated_topology_epoch);
        let is_on_the_way = |member: &Arc<StreamsMember>| !member.current.is_reconciled_to(self.target_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if is_unready {
            "NotReady"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().any(is_on_the_way) {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Arc<StreamsMember>> {
        self.members.get(member_id)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<StreamsMember>)> {
        self.members.iter()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Members that have been told to give up tasks, and how long each may take.
    pub(crate) fn revoking_members(&self) -> impl Iterator<Item = (&Arc<str>, i32)> {
        let revoking =
            self.members.iter().filter(|(_, m)| m.current.state == StreamsMemberState::UnrevokedTasks);
        revoking.map(|(member_id, member)| (member_id, member.metadata.rebalance_timeout_ms))
    }

    pub(crate) fn target(&self, member_id: &str) -> Option<&Arc<StreamsAssignment>> {
        self.targets.get(member_id)
    }

    /// Bytes of what all members said of themselves.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.members.values().map(|member| member.metadata.bytes()).sum()
    }

    /// Whether the application reads the topic, while it runs.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        !self.is_empty() && self.topology.as_ref().is_some_and(|own| own.reader_of(topic).is_some())
    }

    /// Removes all that is written of an empty group.
    pub(crate) fn tombstones(&self) -> Vec<StreamsRecord> {
        vec![StreamsRecord::TargetEpoch(None), StreamsRecord::Epoch(None), StreamsRecord::Topology(None)]
    }
}

/// Removes all that is written of a member.
pub(crate) fn member_tombstones(member_id: &Arc<str>) -> [StreamsRecord; 3] {
    let member_id = || Arc::clone(member_id);
    [
        StreamsRecord::CurrentAssignment { member_id: member_id(), current: None },
        StreamsRecord::TargetMember { member_id: member_id(), target: None },
        StreamsRecord::Member { member_id: member_id(), metadata: None },
    ]
}
