//! One partition's state: who holds it, who is in sync, who leads.

use moldau_model::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, Uuid};

use crate::{LeaderRecoveryState, records};

/// A partition, after KRaft's `PartitionRegistration`.
/// `isr` and `elr` are disjoint subsets of `replicas`; `leader` is in `isr` or is [`BrokerId::NONE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// The first one is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    pub isr: Vec<BrokerId>,
    /// The eligible leader replicas: out of sync, yet with every committed record (KIP-966).
    pub elr: Vec<BrokerId>,
    /// The ELR members that were lost to unclean restarts: the last resort before an unclean election.
    pub last_known_elr: Vec<BrokerId>,
    pub adding_replicas: Vec<BrokerId>,
    pub removing_replicas: Vec<BrokerId>,
    pub leader: BrokerId,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

impl PartitionRegistration {
    /// The replica that leads when all are well: the first one.
    #[must_use]
    pub fn preferred_replica(&self) -> BrokerId {
        self.replicas.first().copied().unwrap_or(BrokerId::NONE)
    }

    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.leader != BrokerId::NONE
    }

    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// The log directory that `broker` was given, or [`Uuid::ZERO`] (unassigned).
    #[must_use]
    pub fn directory(&self, broker: BrokerId) -> Uuid {
        let place = self.replicas.iter().position(|replica| *replica == broker);
        place.and_then(|place| self.directories.get(place)).copied().unwrap_or(Uuid::ZERO)
    }

    /// Holds the type's promises, or stops the process: metadata that breaks them would lose records later.
    pub fn assert_invariants(&self) {
        let inside = |set: &[BrokerId], all: &[BrokerId]| set.iter().all(|id| all.contains(id));
        let unique = |set: &[BrokerId]| set.iter().enumerate().all(|(i, id)| !set[..i].contains(id));
        assert!(
            !self.replicas.is_empty() && unique(&self.replicas),
            "replicas are none or repeated: {self:?}"
        );
        assert!(
            inside(&self.isr, &self.replicas) && unique(&self.isr),
            "isr is no subset of replicas: {self:?}"
        );
        assert!(
            inside(&self.elr, &self.replicas) && unique(&self.elr),
            "elr is no subset of replicas: {self:?}"
        );
        assert!(!self.elr.iter().any(|id| self.isr.contains(id)), "elr and isr overlap: {self:?}");
        assert!(!self.has_leader() || self.isr.contains(&self.leader), "leader is not in the isr: {self:?}");
        assert!(
            !(self.isr.is_empty() && self.elr.is_empty() && self.last_known_elr.is_empty()),
            "nobody is left who may lead: {self:?}"
        );
        assert!(self.leader_epoch.0 >= 0 && self.partition_epoch.0 >= 0, "an epoch is negative: {self:?}");
    }

    /// The partition as the record that replays into it.
    #[must_use]
    pub fn to_record(&self, topic_id: TopicId, partition: PartitionIndex) -> records::Partition {
        let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        records::Partition {
            partition_index: partition.0,
            topic_id: topic_id.as_bytes().to_vec(),
            replicas: ids(&self.replicas),
            isr: ids(&self.isr),
            adding_replicas: ids(&self.adding_replicas),
            removing_replicas: ids(&self.removing_replicas),
            leader: self.leader.0,
            leader_recovery_state: self.leader_recovery_state.into(),
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch.0,
            directories: self.directories.iter().map(|id| id.as_bytes().to_vec()).collect(),
            eligible_leader_replicas: ids(&self.elr),
            last_known_eligible_leader_replicas: ids(&self.last_known_elr),
        }
    }
}
