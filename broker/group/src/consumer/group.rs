//! The state of a consumer group: what its records say, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::assignor::Assignor;
use super::member::{Assignment, ConsumerMember, CurrentAssignment, LEAVE_EPOCH, MemberState};
use super::metadata::CoordinatorMetadata;
use crate::records::{ConsumerRecord, ResolvedRegex};
use crate::request::JoinGroupProtocol;

/// The group epoch, and that of the target assignment, of a group that nothing was written of. The first member makes it
/// two.
const FIRST_EPOCH: i32 = 1;

/// The states of a consumer group, which follow from its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerGroupState {
    Empty,
    /// The target assignment is behind the group epoch.
    Assigning,
    /// Members are on their way to their targets.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// One consumer group. Only [`ConsumerGroup::apply`] changes it.
///
/// `owners` holds exactly the partitions that members' current assignments have, and each has one owner. A clone shares
/// members and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerGroup {
    pub(crate) group_id: Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) target_epoch: i32,
    /// When the target was computed; zero if that is not known.
    pub(crate) target_timestamp_ms: i64,
    members: BTreeMap<Arc<str>, Arc<ConsumerMember>>,
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    targets: BTreeMap<Arc<str>, Arc<Assignment>>,
    regexes: BTreeMap<Arc<str>, Arc<ResolvedRegex>>,
    owners: BTreeMap<(TopicId, PartitionIndex), Arc<str>>,
    /// Members that speak the classic protocol.
    classic_members: usize,
    /// Kafka before 4.1 kept the subscribed topics' metadata in a record, which is to go.
    pub(crate) has_subscription_metadata: bool,
}

impl ConsumerGroup {
    pub(crate) fn new(group_id: Arc<str>) -> Self {
        Self {
            group_id,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            target_epoch: FIRST_EPOCH,
            target_timestamp_ms: 0,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            owners: BTreeMap::new(),
            classic_members: 0,
            has_subscription_metadata: false,
        }
    }

    /// Takes a record in. A tombstone of the group itself is the shard's to act on.
    pub(crate) fn apply(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch(Some(epoch)) => {
                self.epoch = epoch.epoch;
                self.metadata_hash = epoch.metadata_hash;
            }
            ConsumerRecord::Epoch(None) => {}
            ConsumerRecord::SubscriptionMetadata { is_present } => {
                self.has_subscription_metadata = *is_present;
            }
            ConsumerRecord::Member { member_id, metadata: Some(metadata) } => {
                self.update(member_id, |member| member.metadata = metadata.clone());
            }
            ConsumerRecord::Member { member_id, metadata: None } => self.remove(member_id),
            ConsumerRecord::TargetEpoch(target) => {
                self.target_epoch = target.map_or(LEAVE_EPOCH, |target| target.epoch);
                self.target_timestamp_ms = target.map_or(0, |target| target.timestamp_ms);
            }
            ConsumerRecord::TargetMember { member_id, target: Some(target) } => {
                self.targets.insert(Arc::clone(member_id), Arc::new(target.clone()));
            }
            ConsumerRecord::TargetMember { member_id, target: None } => {
                self.targets.remove(member_id);
            }
            ConsumerRecord::CurrentAssignment { member_id, current: Some(current) } => {
                self.update(member_id, |member| member.current = current.clone());
            }
            ConsumerRecord::CurrentAssignment { member_id, current: None } => {
                if self.members.contains_key(member_id) {
                    self.update(member_id, |member| {
                        member.current = CurrentAssignment {
                            member_epoch: LEAVE_EPOCH,
                            previous_member_epoch: LEAVE_EPOCH,
                            ..CurrentAssignment::default()
                        };
                    });
                }
            }
            ConsumerRecord::Regex { regex, resolved: Some(resolved) } => {
                self.regexes.insert(Arc::clone(regex), Arc::new(resolved.clone()));
            }
            ConsumerRecord::Regex { regex, resolved: None } => {
                self.regexes.remove(regex);
            }
        }
    }

    /// Changes a member, which is made if it is not there; owners and static members follow.
    fn update(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut ConsumerMember)) {
        let mut member = self.members.get(member_id).map(|member| (**member).clone()).unwrap_or_default();
        self.disown(member_id, &member);
        self.classic_members -= usize::from(member.uses_classic_protocol());
        change(&mut member);
        self.classic_members += usize::from(member.uses_classic_protocol());
        for partition in member.current.owned() {
            self.owners.insert(partition, Arc::clone(member_id));
        }
        if let Some(instance_id) = &member.metadata.instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(member_id));
        }
        self.members.insert(Arc::clone(member_id), Arc::new(member));
    }

    fn remove(&mut self, member_id: &Arc<str>) {
        let Some(member) = self.members.remove(member_id) else { return };
        self.disown(member_id, &member);
        self.classic_members -= usize::from(member.uses_classic_protocol());
        if let Some(instance_id) = &member.metadata.instance_id
            && self.static_members.get(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn disown(&mut self, member_id: &Arc<str>, member: &ConsumerMember) {
        for partition in member.current.owned() {
            if self.owners.get(&partition) == Some(member_id) {
                self.owners.remove(&partition);
            }
        }
    }

    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().any(|member| !member.current.is_reconciled_to(self.target_epoch)) {
            ConsumerGroupState::Reconciling
        } else {
            ConsumerGroupState::Stable
        }
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Arc<ConsumerMember>> {
        self.members.get(member_id)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ConsumerMember>)> {
        self.members.iter()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Members that speak the consumer protocol.
    pub(crate) fn consumer_member_count(&self) -> usize {
        self.members.len() - self.classic_members
    }

    /// Whether a member with these protocols has one in common with all that speak the classic protocol.
    pub(crate) fn supports_classic_protocols(&self, protocols: &[JoinGroupProtocol]) -> bool {
        let classic = || self.members.values().filter_map(|member| member.metadata.classic.as_ref());
        protocols.iter().any(|protocol| {
            classic().all(|member| member.protocols.iter().any(|other| other.name == protocol.name))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn static_member_id(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    pub(crate) fn target(&self, member_id: &str) -> Option<&Arc<Assignment>> {
        self.targets.get(member_id)
    }

    /// Who has a partition, or has not said yet that it gave it up.
    pub(crate) fn owner(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<&Arc<str>> {
        self.owners.get(&(topic_id, partition))
    }

    pub(crate) fn regexes(&self) -> &BTreeMap<Arc<str>, Arc<ResolvedRegex>> {
        &self.regexes
    }

    /// The regular expressions that members subscribe to.
    pub(crate) fn subscribed_regexes(&self) -> BTreeSet<Arc<str>> {
        self.members.values().filter_map(|member| member.metadata.regex().cloned()).collect()
    }

    /// The topics that members subscribe to by name, or by a regular expression.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        let mut topics: BTreeSet<Arc<str>> =
            self.members.values().flat_map(|member| member.metadata.topic_names.iter().cloned()).collect();
        topics.extend(self.regexes.values().flat_map(|resolved| resolved.topics.iter().cloned()));
        topics
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.metadata.topic_names.contains(topic))
            || self.regexes.values().any(|resolved| resolved.topics.contains(topic))
    }

    /// The ids of those topics that a member subscribes to and that exist.
    pub(crate) fn subscribed_topic_ids(
        &self,
        member: &ConsumerMember,
        metadata: &dyn CoordinatorMetadata,
    ) -> BTreeSet<TopicId> {
        let by_regex = member.metadata.regex().and_then(|regex| self.regexes.get(regex));
        let names = member.metadata.topic_names.iter().chain(by_regex.into_iter().flat_map(|r| &r.topics));
        names.filter_map(|name| metadata.topic(name)).map(|topic| topic.topic_id).collect()
    }

    /// The assignor that most members ask for; of two the one that is configured first.
    pub(crate) fn preferred_assignor(&self, configured: &[Assignor]) -> Assignor {
        let votes = |assignor: &Assignor| {
            let asks = |member: &&Arc<ConsumerMember>| {
                member.metadata.server_assignor.as_deref() == Some(assignor.name())
            };
            self.members.values().filter(asks).count()
        };
        let default = configured.first().copied().unwrap_or(Assignor::Uniform);
        configured.iter().rev().copied().max_by_key(votes).unwrap_or(default)
    }

    /// Bytes of what all members said, for the bound on it.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.members.values().map(|member| member.metadata.bytes()).sum()
    }

    /// Members that have to give something up, and until when they may take.
    pub(crate) fn revoking_members(&self) -> impl Iterator<Item = (&Arc<str>, i32)> {
        let is_revoking = |member: &ConsumerMember| member.current.state == MemberState::UnrevokedPartitions;
        self.members
            .iter()
            .filter(move |(_, member)| is_revoking(member))
            .map(|(member_id, member)| (member_id, member.metadata.rebalance_timeout_ms))
    }

    /// The records that remove the group, in an order that leaves nothing behind it.
    pub(crate) fn tombstones(&self) -> Vec<ConsumerRecord> {
        let mut records = Vec::new();
        let member_ids: BTreeSet<&Arc<str>> = self.members.keys().chain(self.targets.keys()).collect();
        for member_id in member_ids {
            records.extend(member_tombstones(member_id));
        }
        records.push(ConsumerRecord::TargetEpoch(None));
        let of_regex = |regex: &Arc<str>| ConsumerRecord::Regex { regex: Arc::clone(regex), resolved: None };
        records.extend(self.regexes.keys().map(of_regex));
        records.push(ConsumerRecord::SubscriptionMetadata { is_present: false });
        records.push(ConsumerRecord::Epoch(None));
        records
    }

    /// The invariants of the type, for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let owned: BTreeMap<(TopicId, PartitionIndex), Arc<str>> = self
            .members
            .iter()
            .flat_map(|(id, member)| member.current.owned().map(move |partition| (partition, Arc::clone(id))))
            .collect();
        assert_eq!(owned, self.owners, "each partition has the owner that members' assignments say");
        let count: usize = self.members.values().map(|member| member.current.owned().count()).sum();
        assert_eq!(count, self.owners.len(), "no partition is owned twice");
        for (instance_id, member_id) in &self.static_members {
            assert_eq!(self.members[member_id].metadata.instance_id.as_ref(), Some(instance_id));
        }
        let classic = self.members.values().filter(|member| member.uses_classic_protocol()).count();
        assert_eq!(classic, self.classic_members);
        assert!(self.targets.keys().all(|id| self.members.contains_key(id)), "targets are of members");
        let mut targets = BTreeSet::new();
        for (topic_id, partitions) in self.targets.values().flat_map(|target| target.iter()) {
            for partition in partitions {
                assert!(targets.insert((*topic_id, *partition)), "a partition is in one target");
            }
        }
    }
}

/// The records that remove a member.
pub(super) fn member_tombstones(member_id: &Arc<str>) -> [ConsumerRecord; 3] {
    [
        ConsumerRecord::CurrentAssignment { member_id: Arc::clone(member_id), current: None },
        ConsumerRecord::TargetMember { member_id: Arc::clone(member_id), target: None },
        ConsumerRecord::Member { member_id: Arc::clone(member_id), metadata: None },
    ]
}
