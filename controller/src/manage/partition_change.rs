//! The one place that chooses a partition's leader and ISR. Whatever happens, be it a broker's fencing or a leader's
//! request, comes here as a wish, and leaves as one record or as none.
//!
//! The order in which leaders are sought:
//! A. the ISR: nothing is lost;
//! B. where the ISR is empty, the eligible leader replicas: they hold every committed record (KIP-966);
//! C. where the topic allows it, any live replica: an unclean election, which may lose records.
//!
//! ISR and ELR together are never made empty: the last member stays, fenced or restarted uncleanly as it may be. No
//! other replica is known to have more, and what was acknowledged under `flush.policy=on-ack` is on its disk. So there
//! is nobody to be remembered in `last_known_elr`, where Kafka puts such a replica.
//!
//! A reassignment under way ends here too, in whatever change first finds its newcomers in sync.

use moldau_metadata::records::{BrokerIds, PartitionChange};
use moldau_metadata::{
    LeaderRecoveryState, MetadataImage, MetadataRecord, PartitionRegistration, TopicImage,
};
use moldau_model::{BrokerId, PartitionIndex, TopicId, Uuid};

use super::assignment::Assignment;
use super::settings::{ElectionRules, Settings};

/// A directory id that Kafka reserves: the replica's directory is lost.
const LOST_DIRECTORY: Uuid = Uuid::ONE;

/// How a leader is to be sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The preferred replica if possible, else the leader stays.
    Preferred,
    /// The leader stays if it can, else the first replica that may lead.
    Online,
    /// Like `Online`, and case C besides.
    Unclean,
}

/// A wish to change one partition.
pub(super) struct Wish<'a> {
    pub(super) topic_id: TopicId,
    pub(super) index: PartitionIndex,
    pub(super) partition: &'a PartitionRegistration,
    pub(super) rules: ElectionRules,
    pub(super) election: Election,
    /// Who is to hold the partition.
    pub(super) assignment: Assignment,
    /// The ISR as it should be, if nothing stands against it.
    pub(super) isr: Vec<BrokerId>,
    /// Replicas that came back without what they had: neither in sync nor eligible.
    pub(super) unclean_replicas: &'a [BrokerId],
    pub(super) recovery_state: LeaderRecoveryState,
    /// Whether this broker may lead now.
    pub(super) may_lead: &'a dyn Fn(BrokerId) -> bool,
}

/// Who was elected.
struct Elected {
    leader: BrokerId,
    /// Case C.
    unclean: bool,
}

impl<'a> Wish<'a> {
    /// The wish that nothing changes but what `election` may find.
    pub(super) fn new(
        topic: &TopicImage,
        index: PartitionIndex,
        partition: &'a PartitionRegistration,
        rules: ElectionRules,
        may_lead: &'a dyn Fn(BrokerId) -> bool,
    ) -> Self {
        Self {
            topic_id: topic.id(),
            index,
            partition,
            rules,
            election: if rules.unclean { Election::Unclean } else { Election::Online },
            assignment: Assignment::of(partition),
            isr: partition.isr.clone(),
            unclean_replicas: &[],
            recovery_state: partition.leader_recovery_state,
            may_lead,
        }
    }

    /// The record that comes closest to the wish; nothing if nothing changes.
    pub(super) fn record(&self) -> Option<PartitionChange> {
        let partition = self.partition;
        let mut assignment = self.assignment.clone();
        let mut wished = self.isr.clone();
        assignment.complete(&mut wished);
        let (mut isr, mut elr) = self.in_sync_and_eligible(&assignment, wished);
        let elected = self.elect(&assignment, &isr, &elr);
        let mut recovery_state = self.recovery_state;
        if elected.unclean {
            isr = vec![elected.leader];
            elr.clear();
            recovery_state = LeaderRecoveryState::Recovering;
        } else if elr.contains(&elected.leader) {
            elr.retain(|id| *id != elected.leader);
            isr = vec![elected.leader];
        }
        let has_leader = elected.leader != BrokerId::NONE;
        let last_known_elr = if has_leader { Vec::new() } else { partition.last_known_elr.clone() };
        let replicas: Vec<BrokerId> = assignment.replicas().collect();
        let directories: Vec<Uuid> = assignment.directories().collect();
        // A replica that is taken away must not count for the old leadership any more.
        let has_lost_replicas = partition.replicas.iter().any(|id| !replicas.contains(id));

        let change = PartitionChange {
            partition_index: self.index.0,
            topic_id: self.topic_id.as_bytes().to_vec(),
            replicas: changed(&partition.replicas, &replicas),
            directories: (directories != partition.directories).then(|| directories.as_slice().into()),
            adding_replicas: changed(&partition.adding_replicas, &assignment.adding),
            removing_replicas: changed(&partition.removing_replicas, &assignment.removing),
            isr: changed(&partition.isr, &isr),
            // A set leader raises the leader epoch, so that it is set only if there is a reason to.
            leader: (elected.leader != partition.leader || has_lost_replicas).then_some(elected.leader.0),
            leader_recovery_state: (recovery_state != partition.leader_recovery_state)
                .then_some(recovery_state.into()),
            eligible_leader_replicas: changed(&partition.elr, &elr),
            last_known_eligible_leader_replicas: changed(&partition.last_known_elr, &last_known_elr),
        };
        let nothing = PartitionChange {
            partition_index: change.partition_index,
            topic_id: change.topic_id.clone(),
            ..PartitionChange::default()
        };
        (change != nothing).then_some(change)
    }

    /// The ISR and the ELR as they come closest to the wish. In the ELR are those that leave a too small ISR, and those
    /// that left it before, but for the ones that may have lost what they had.
    fn in_sync_and_eligible(
        &self,
        assignment: &Assignment,
        isr: Vec<BrokerId>,
    ) -> (Vec<BrokerId>, Vec<BrokerId>) {
        let partition = self.partition;
        let isr_needed = self.rules.min_isr.min(assignment.len());
        if !isr.is_empty() && (!self.rules.elr || isr.len() >= isr_needed) {
            return (isr, Vec::new());
        }
        let mut elr = Vec::new();
        if self.rules.elr {
            elr.clone_from(&partition.elr);
            elr.extend(partition.isr.iter().filter(|id| !partition.elr.contains(id)));
            elr.retain(|id| {
                !isr.contains(id) && !self.unclean_replicas.contains(id) && assignment.contains(*id)
            });
        }
        if isr.is_empty() && elr.is_empty() {
            let held = |ids: &[BrokerId]| ids.iter().copied().filter(|id| assignment.contains(*id)).collect();
            return (held(&partition.isr), held(&partition.elr));
        }
        (isr, elr)
    }

    fn elect(&self, assignment: &Assignment, isr: &[BrokerId], elr: &[BrokerId]) -> Elected {
        let partition = self.partition;
        let candidates = if isr.is_empty() { elr } else { isr };
        let may_lead = |id: &BrokerId| (self.may_lead)(*id);
        let is_valid = |id: &BrokerId| candidates.contains(id) && may_lead(id);
        let preferred = assignment.replicas().next().filter(is_valid);
        if let Some(leader) = preferred.filter(|_| self.election == Election::Preferred) {
            return Elected { leader, unclean: false };
        }
        if is_valid(&partition.leader) {
            return Elected { leader: partition.leader, unclean: false };
        }
        if let Some(leader) = assignment.replicas().find(is_valid) {
            return Elected { leader, unclean: false };
        }
        match assignment.replicas().find(may_lead) {
            Some(leader) if self.election == Election::Unclean => Elected { leader, unclean: true },
            _ => Elected { leader: BrokerId::NONE, unclean: false },
        }
    }
}

fn changed(before: &[BrokerId], after: &[BrokerId]) -> Option<BrokerIds> {
    (before != after).then(|| after.into())
}

/// What happened to a broker, for all of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokerEvent {
    /// It leaves ISRs and leaderships: fenced, shutting down, or a new incarnation took its place.
    Leaves(BrokerId),
    /// It leaves the ELR besides: it may have lost what it had, or it is gone for good.
    LeavesUncleanly(BrokerId),
    /// It may lead from now on.
    MayLead(BrokerId),
}

/// The changes of all partitions that an event touches. The image still is the one before the event.
pub(super) fn changes(image: &MetadataImage, settings: &Settings, event: BrokerEvent) -> Vec<MetadataRecord> {
    let affected = |partition: &PartitionRegistration| match event {
        BrokerEvent::Leaves(id) => partition.isr.contains(&id),
        BrokerEvent::LeavesUncleanly(id) => partition.isr.contains(&id) || partition.elr.contains(&id),
        BrokerEvent::MayLead(id) => !partition.has_leader() && partition.replicas.contains(&id),
    };
    changes_of(image, settings, event, &affected)
}

/// Like [`changes`], for the partitions that `affected` picks.
pub(super) fn changes_of(
    image: &MetadataImage,
    settings: &Settings,
    event: BrokerEvent,
    affected: &dyn Fn(&PartitionRegistration) -> bool,
) -> Vec<MetadataRecord> {
    let mut rules = CachedRules::new(image, settings);
    let mut records = Vec::new();
    for topic in image.topics().iter() {
        for (index, partition) in topic.partitions().filter(|(_, partition)| affected(partition)) {
            let may_lead = |id: BrokerId| {
                let is_active = match event {
                    BrokerEvent::Leaves(left) | BrokerEvent::LeavesUncleanly(left) if left == id => false,
                    BrokerEvent::MayLead(added) if added == id => true,
                    _ => image.is_active_broker(id),
                };
                is_active && has_online_directory(image, partition, id)
            };
            let mut wish = Wish::new(topic, index, partition, rules.of(topic), &may_lead);
            let unclean;
            match event {
                BrokerEvent::Leaves(id) => wish.isr.retain(|member| *member != id),
                BrokerEvent::LeavesUncleanly(id) => {
                    wish.isr.retain(|member| *member != id);
                    unclean = [id];
                    wish.unclean_replicas = &unclean;
                }
                BrokerEvent::MayLead(_) => {}
            }
            records.extend(wish.record().map(MetadataRecord::from));
        }
    }
    records
}

/// Whether the replica's log directory is not known to have failed.
pub(super) fn has_online_directory(
    image: &MetadataImage,
    partition: &PartitionRegistration,
    broker: BrokerId,
) -> bool {
    let directory = partition.directory(broker);
    if directory == LOST_DIRECTORY {
        return false;
    }
    // Not assigned yet: the broker puts the replica into a directory that works.
    directory.is_zero() || image.broker(broker).is_some_and(|b| b.log_directories.contains(&directory))
}

/// The rules of each topic. Those of a topic without configs of its own, most of them, are found once.
pub(super) struct CachedRules<'a> {
    image: &'a MetadataImage,
    settings: &'a Settings,
    common: Option<ElectionRules>,
}

impl<'a> CachedRules<'a> {
    pub(super) const fn new(image: &'a MetadataImage, settings: &'a Settings) -> Self {
        Self { image, settings, common: None }
    }

    pub(super) fn of(&mut self, topic: &TopicImage) -> ElectionRules {
        let resource = moldau_metadata::ConfigResource::topic(std::sync::Arc::clone(topic.name()));
        if self.image.configs().of(&resource).is_some() {
            return self.settings.election_rules(self.image, topic.name());
        }
        *self.common.get_or_insert_with(|| self.settings.election_rules(self.image, topic.name()))
    }
}

#[cfg(test)]
mod tests;
