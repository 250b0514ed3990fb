//! A member of a streams group: what it said of itself, and which tasks are its.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::StreamsEndpoint;
use super::tasks::HeldTasks;

/// The epoch of a member that left.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// The topology's epoch of a member that has not said it.
pub(crate) const UNKNOWN_TOPOLOGY_EPOCH: i32 = -1;

/// How far a member is on its way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamsMemberState {
    /// It has what it is to have.
    Stable,
    /// It has to give up tasks before it gets to the next epoch.
    UnrevokedTasks,
    /// It is at the target's epoch, and tasks of its target still are somebody else's.
    UnreleasedTasks,
    /// Written by a later version.
    Unknown,
}

impl StreamsMemberState {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Stable => 1,
            Self::UnrevokedTasks => 2,
            Self::UnreleasedTasks => 3,
            Self::Unknown => 127,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Stable,
            2 => Self::UnrevokedTasks,
            3 => Self::UnreleasedTasks,
            _ => Self::Unknown,
        }
    }
}

/// What a member said of itself: its StreamsGroupMemberMetadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsMemberMetadata {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) rack_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) topology_epoch: i32,
    /// The application's instance; each of its threads is a member.
    pub(crate) process_id: Arc<str>,
    pub(crate) user_endpoint: Option<StreamsEndpoint>,
    pub(crate) client_tags: BTreeMap<String, String>,
}

impl Default for StreamsMemberMetadata {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            rebalance_timeout_ms: -1,
            topology_epoch: UNKNOWN_TOPOLOGY_EPOCH,
            process_id: "".into(),
            user_endpoint: None,
            client_tags: BTreeMap::new(),
        }
    }
}

impl StreamsMemberMetadata {
    /// Bytes that the coordinator keeps for it.
    pub(crate) fn bytes(&self) -> usize {
        let tags = self.client_tags.iter().map(|(name, value)| name.len() + value.len());
        let optional = [&self.instance_id, &self.rack_id].into_iter().flatten().map(|text| text.len());
        let endpoint = self.user_endpoint.iter().map(|endpoint| endpoint.host.len());
        let texts = [&self.client_id, &self.client_host, &self.process_id].into_iter().map(|text| text.len());
        tags.chain(optional).chain(endpoint).chain(texts).sum()
    }
}

/// Where a member is: its StreamsGroupCurrentMemberAssignment record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentTasks {
    pub(crate) member_epoch: i32,
    pub(crate) previous_member_epoch: i32,
    pub(crate) state: StreamsMemberState,
    pub(crate) assigned: HeldTasks,
    /// Still its, until it says that it gave them up.
    pub(crate) pending_revocation: HeldTasks,
}

impl Default for CurrentTasks {
    fn default() -> Self {
        Self {
            member_epoch: 0,
            previous_member_epoch: 0,
            state: StreamsMemberState::Stable,
            assigned: HeldTasks::default(),
            pending_revocation: HeldTasks::default(),
        }
    }
}

impl CurrentTasks {
    pub(crate) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == StreamsMemberState::Stable && self.member_epoch == target_epoch
    }
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamsMember {
    pub(crate) metadata: StreamsMemberMetadata,
    pub(crate) current: CurrentTasks,
}
