//! Share groups (KIP-932): members read the same partitions together, and the coordinator says who reads which.
//!
//! As in consumer groups there are epochs of the group, of its target assignment and of its members, and all changes are
//! records. But nothing has to be given up before another gets it: a member takes its target at once. A partition is assigned
//! only once its state is initialized at the share coordinator; which partitions are is kept here, too, and told by whoever
//! asked the share coordinator.

mod assignor;
mod describe;
mod group;
mod heartbeat;
mod offsets;
mod state_partitions;

#[cfg(test)]
pub(crate) use assignor::assign;
pub(crate) use describe::{described, unknown as unknown_group};
pub(crate) use group::{ShareGroup, ShareMemberAssignment, ShareMemberMetadata};
pub(crate) use heartbeat::{check, fence_member, heartbeat, leave};
pub(crate) use offsets::{decide as decide_offsets, forget_deleted_topics, view as view_offsets};
pub(crate) use state_partitions::{StatePartitions, StateTopic};

use std::borrow::Cow;

use crate::consumer::TimerChange;
use crate::records::ShareRecord;

/// The one assignor.
pub(crate) const ASSIGNOR: &str = "simple";

/// A share group with the changes that one or several requests make to it, and those as records.
#[derive(Debug)]
pub(crate) struct ShareDraft<'a> {
    group: Cow<'a, ShareGroup>,
    pub(crate) records: Vec<ShareRecord>,
    pub(crate) timers: Vec<TimerChange>,
    /// The topics that the group subscribes to may have changed since its hash was computed.
    pub(crate) is_metadata_stale: bool,
    /// When the share coordinator was last to be told of partitions; `None` if that is not known.
    pub(crate) asked_to_initialize_ms: Option<i64>,
    /// Whether the log has anything of the group.
    pub(crate) is_written: bool,
}

impl<'a> ShareDraft<'a> {
    pub(crate) fn new(
        group: &'a ShareGroup,
        is_metadata_stale: bool,
        asked_to_initialize_ms: Option<i64>,
        is_written: bool,
    ) -> Self {
        let group = Cow::Borrowed(group);
        Self {
            group,
            records: Vec::new(),
            timers: Vec::new(),
            is_metadata_stale,
            asked_to_initialize_ms,
            is_written,
        }
    }

    pub(crate) fn group(&self) -> &ShareGroup {
        &self.group
    }

    /// Writes a record: the draft's group is changed by it, as the real one will be.
    pub(crate) fn write(&mut self, record: ShareRecord) {
        self.group.to_mut().apply(&record);
        self.records.push(record);
    }

    pub(crate) fn into_group(self) -> ShareGroup {
        self.group.into_owned()
    }
}
