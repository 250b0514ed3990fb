//! Who is to hold a partition, while its replicas are being moved (KIP-455).
//!
//! A reassignment lists the target's replicas first and those to be removed behind them, so that the partition is held by
//! both until the target is in sync. Then the old ones go, in the change that found it complete.

use moldau_metadata::PartitionRegistration;
use moldau_model::{BrokerId, Uuid};

/// The replicas of a partition with their log directories, and which of them come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The preferred leader first; each with its log directory.
    replicas: Vec<(BrokerId, Uuid)>,
    pub(super) adding: Vec<BrokerId>,
    pub(super) removing: Vec<BrokerId>,
}

impl Assignment {
    /// As the partition is held now.
    pub(super) fn of(partition: &PartitionRegistration) -> Self {
        Self {
            replicas: partition.replicas.iter().map(|id| (*id, partition.directory(*id))).collect(),
            adding: partition.adding_replicas.clone(),
            removing: partition.removing_replicas.clone(),
        }
    }

    /// On the way from what `partition` has to `target`, of which `new_directory` tells the log directories of newcomers. A
    /// reassignment under way is superseded: whoever holds the partition now, it counts as the start.
    pub(super) fn towards(
        partition: &PartitionRegistration,
        target: &[BrokerId],
        new_directory: impl Fn(BrokerId) -> Uuid,
    ) -> Self {
        let removing = without(&partition.replicas, target);
        let adding = without(target, &partition.replicas);
        let directory = |id: &BrokerId| {
            if adding.contains(id) { (*id, new_directory(*id)) } else { (*id, partition.directory(*id)) }
        };
        let replicas = target.iter().chain(&removing).map(directory).collect();
        Self { replicas, adding, removing }
    }

    /// Back to before the reassignment under way.
    pub(super) fn reverted(partition: &PartitionRegistration) -> Self {
        let mut assignment = Self::of(partition);
        assignment.replicas.retain(|(id, _)| !partition.adding_replicas.contains(id));
        assignment.adding.clear();
        assignment.removing.clear();
        assignment
    }

    /// The replica is in another log directory than before.
    pub(super) fn relocate(&mut self, id: BrokerId, directory: Uuid) {
        for replica in self.replicas.iter_mut().filter(|(replica, _)| *replica == id) {
            replica.1 = directory;
        }
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.replicas.iter().map(|(id, _)| *id)
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.replicas.iter().map(|(_, directory)| *directory)
    }

    pub(super) fn contains(&self, id: BrokerId) -> bool {
        self.replicas().any(|replica| replica == id)
    }

    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Ends the reassignment if `isr` allows it: the whole target is in sync, as Kafka asks. With fewer, a move could take
    /// away the replicas that `min.insync.replicas` counts on. The replicas that were to go leave both. Says whether it did.
    pub(super) fn complete(&mut self, isr: &mut Vec<BrokerId>) -> bool {
        if self.adding.is_empty() && self.removing.is_empty() {
            return false;
        }
        let target: Vec<BrokerId> = self.replicas().filter(|id| !self.removing.contains(id)).collect();
        if target.is_empty() || !target.iter().all(|id| isr.contains(id)) {
            return false;
        }
        let staying = without(isr, &self.removing);
        *isr = staying;
        self.replicas.retain(|(id, _)| !self.removing.contains(id));
        self.adding.clear();
        self.removing.clear();
        true
    }
}

fn without(all: &[BrokerId], taken: &[BrokerId]) -> Vec<BrokerId> {
    all.iter().copied().filter(|id| !taken.contains(id)).collect()
}
