//! What requests make of a group before it is written.

use std::borrow::Cow;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::group::ConsumerGroup;
use super::metadata::CoordinatorMetadata;
use crate::GroupConfig;
use crate::records::ConsumerRecord;

/// A group of so many members is assigned once in `group.consumer.assignment.interval.ms`.
const WHOLE_INTERVAL_MEMBERS: usize = 500;

/// What decisions are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) config: &'a GroupConfig,
    pub(crate) metadata: &'a dyn CoordinatorMetadata,
    pub(crate) now_ms: i64,
}

impl Context<'_> {
    pub(crate) fn session_timeout_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).session_timeout_ms;
        i64::from(own.unwrap_or(self.config.consumer.session_timeout_ms))
    }

    pub(crate) fn heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        let own = self.metadata.group_overrides(group_id).heartbeat_interval_ms;
        own.unwrap_or(self.config.consumer.heartbeat_interval_ms)
    }

    /// Of a group of so many members. A small one costs little to assign, and is assigned sooner than the broker's setting
    /// says, in proportion; its own setting is kept to the letter.
    pub(crate) fn assignment_interval_ms(&self, group_id: &str, members: usize) -> i64 {
        if let Some(own) = self.metadata.group_overrides(group_id).assignment_interval_ms {
            return i64::from(own);
        }
        let setting_ms = i64::from(self.config.consumer.assignment_interval_ms);
        let members = i64::try_from(members.min(WHOLE_INTERVAL_MEMBERS)).unwrap_or_default();
        setting_ms.saturating_mul(members) / WHOLE_INTERVAL_MEMBERS as i64
    }

    pub(crate) fn share_session_timeout_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).share_session_timeout_ms;
        i64::from(own.unwrap_or(self.config.share.session_timeout_ms))
    }

    pub(crate) fn share_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        let own = self.metadata.group_overrides(group_id).share_heartbeat_interval_ms;
        own.unwrap_or(self.config.share.heartbeat_interval_ms)
    }

    pub(crate) fn share_assignment_interval_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).share_assignment_interval_ms;
        i64::from(own.unwrap_or(self.config.share.assignment_interval_ms))
    }
}

/// Why a request is refused, in the words that the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

/// A member's timer that is to run, or not to run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerChange {
    /// Its session starts anew.
    Session { member_id: Arc<str>, timeout_ms: i64 },
    /// It has that long to give up what it is to give up.
    Revocation { member_id: Arc<str>, timeout_ms: i64 },
    /// It has given up what it was to.
    RevocationEnds { member_id: Arc<str> },
    /// A member that speaks the classic protocol has that long to join again, or to ask for its assignment. Where one of
    /// both runs already, `moves` tells whether it begins anew.
    Rejoin { member_id: Arc<str>, timeout_ms: i64, moves: bool },
    /// It has done so.
    RejoinEnds { member_id: Arc<str> },
    /// It is gone.
    Ends { member_id: Arc<str> },
}

/// A group with the changes that one or several requests make to it, and those as records.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    group: Cow<'a, ConsumerGroup>,
    pub(crate) records: Vec<ConsumerRecord>,
    pub(crate) timers: Vec<TimerChange>,
    /// The topics that the group subscribes to may have changed since its hash was computed.
    pub(crate) is_metadata_stale: bool,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(group: &'a ConsumerGroup, is_metadata_stale: bool) -> Self {
        Self { group: Cow::Borrowed(group), records: Vec::new(), timers: Vec::new(), is_metadata_stale }
    }

    pub(crate) fn group(&self) -> &ConsumerGroup {
        &self.group
    }

    /// Writes a record: the draft's group is changed by it, as the real one will be.
    pub(crate) fn write(&mut self, record: ConsumerRecord) {
        self.group.to_mut().apply(&record);
        self.records.push(record);
    }

    pub(crate) fn into_group(self) -> ConsumerGroup {
        self.group.into_owned()
    }
}
