//! A member of a consumer group: what it said of itself, and which partitions are its.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use crate::request::JoinGroupProtocol;

/// Partitions by topic.
pub(crate) type Assignment = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// Partitions by topic, each with the member epoch at which it was assigned: what tells a late commit from a member that
/// still reads the partition from one that lost it and got it back (KIP-1251).
pub(crate) type OwnedPartitions = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// The epoch of a member that left.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that left and will come back (KIP-345).
pub(crate) const STATIC_LEAVE_EPOCH: i32 = -2;

/// How far a member is on its way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has what it is to have.
    Stable,
    /// It has to give up partitions before it gets to the next epoch.
    UnrevokedPartitions,
    /// It is at the target's epoch, and partitions of its target still are somebody else's.
    UnreleasedPartitions,
    /// Written by a later version.
    Unknown,
}

impl MemberState {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// What a member that speaks the classic protocol is in a consumer group (KIP-848's migration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassicMember {
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<JoinGroupProtocol>,
}

/// What a member said of itself: its ConsumerGroupMemberMetadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerMemberMetadata {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) rack_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) topic_names: BTreeSet<Arc<str>>,
    /// Empty: none.
    pub(crate) topic_regex: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) server_assignor: Option<Arc<str>>,
    pub(crate) classic: Option<ClassicMember>,
}

impl Default for ConsumerMemberMetadata {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            topic_names: BTreeSet::new(),
            topic_regex: "".into(),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
        }
    }
}

impl ConsumerMemberMetadata {
    /// The regular expression it subscribes to.
    pub(crate) fn regex(&self) -> Option<&Arc<str>> {
        Some(&self.topic_regex).filter(|regex| !regex.is_empty())
    }

    /// The bytes that it keeps in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let protocols = self.classic.iter().flat_map(|classic| &classic.protocols);
        self.topic_regex.len()
            + self.topic_names.iter().map(|name| name.len()).sum::<usize>()
            + protocols.map(|protocol| protocol.name.len() + protocol.metadata.len()).sum::<usize>()
    }
}

/// Which partitions are a member's: its ConsumerGroupCurrentMemberAssignment record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentAssignment {
    pub(crate) member_epoch: i32,
    /// What the member may still say if the answer that told it of its epoch was lost.
    pub(crate) previous_member_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: OwnedPartitions,
    /// Still the member's until it says that it has given them up.
    pub(crate) pending_revocation: OwnedPartitions,
}

impl Default for CurrentAssignment {
    fn default() -> Self {
        Self {
            member_epoch: 0,
            previous_member_epoch: -1,
            state: MemberState::Stable,
            assigned: OwnedPartitions::new(),
            pending_revocation: OwnedPartitions::new(),
        }
    }
}

impl CurrentAssignment {
    /// Whether the member has reached the target of this epoch.
    pub(crate) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == target_epoch
    }

    /// All partitions that nobody else may have.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        self.assigned.iter().chain(&self.pending_revocation).flat_map(|(topic_id, partitions)| {
            partitions.keys().map(move |partition| (*topic_id, *partition))
        })
    }

    /// The epoch at which a partition of the member's was assigned to it.
    pub(crate) fn assignment_epoch(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<i32> {
        let of = |owned: &OwnedPartitions| owned.get(&topic_id)?.get(&partition).copied();
        of(&self.assigned).or_else(|| of(&self.pending_revocation))
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct ConsumerMember {
    pub(crate) metadata: ConsumerMemberMetadata,
    pub(crate) current: CurrentAssignment,
}

impl ConsumerMember {
    pub(crate) fn uses_classic_protocol(&self) -> bool {
        self.metadata.classic.is_some()
    }
}
