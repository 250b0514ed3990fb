//! What requests make of a streams group before it is written.

use std::borrow::Cow;
use std::sync::Arc;

use super::configure::ConfiguredTopology;
use super::group::StreamsGroup;
use crate::consumer::{Context, TimerChange};
use crate::records::StreamsRecord;

/// What is known of a streams group beyond its records; a new coordinator begins without it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamsMemory {
    /// The group's topology with the numbers that it had when they were last looked at.
    pub(crate) configured: Option<Arc<ConfiguredTopology>>,
    /// Who wants the whole application to shut down.
    pub(crate) shutdown_requested_by: Option<Arc<str>>,
    /// Grows when a member's tasks change that has an endpoint.
    pub(crate) endpoint_epoch: i32,
    /// The first members of the group wait for more.
    pub(crate) is_initial_delay_running: bool,
}

/// A streams group with the changes that one or several requests make to it, and those as records.
#[derive(Debug)]
pub(crate) struct StreamsDraft<'a> {
    group: Cow<'a, StreamsGroup>,
    pub(crate) records: Vec<StreamsRecord>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) memory: StreamsMemory,
    /// The topics that the group needs may have changed since its hash was computed.
    pub(crate) is_metadata_stale: bool,
    /// Whether the log has anything of the group.
    pub(crate) is_written: bool,
    /// How long the first members are to wait for more, if they begin to.
    pub(crate) initial_delay_ms: Option<i64>,
}

impl<'a> StreamsDraft<'a> {
    pub(crate) fn new(
        group: &'a StreamsGroup,
        memory: StreamsMemory,
        is_metadata_stale: bool,
        is_written: bool,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            records: Vec::new(),
            timers: Vec::new(),
            memory,
            is_metadata_stale,
            is_written,
            initial_delay_ms: None,
        }
    }

    pub(crate) fn group(&self) -> &StreamsGroup {
        &self.group
    }

    /// Writes a record: the draft's group is changed by it, as the real one will be.
    pub(crate) fn write(&mut self, record: StreamsRecord) {
        self.group.to_mut().apply(&record);
        self.records.push(record);
    }

    pub(crate) fn into_group(self) -> StreamsGroup {
        self.group.into_owned()
    }
}

impl Context<'_> {
    pub(crate) fn streams_session_timeout_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).streams_session_timeout_ms;
        i64::from(own.unwrap_or(self.config.streams.session_timeout_ms))
    }

    pub(crate) fn streams_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        let own = self.metadata.group_overrides(group_id).streams_heartbeat_interval_ms;
        own.unwrap_or(self.config.streams.heartbeat_interval_ms)
    }

    pub(crate) fn streams_assignment_interval_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).streams_assignment_interval_ms;
        i64::from(own.unwrap_or(self.config.streams.assignment_interval_ms))
    }

    pub(crate) fn streams_initial_delay_ms(&self, group_id: &str) -> i64 {
        let own = self.metadata.group_overrides(group_id).streams_initial_rebalance_delay_ms;
        i64::from(own.unwrap_or(self.config.streams.initial_rebalance_delay_ms))
    }

    pub(crate) fn streams_standby_replicas(&self, group_id: &str) -> i32 {
        let own = self.metadata.group_overrides(group_id).streams_standby_replicas;
        own.unwrap_or(self.config.streams.standby_replicas)
    }
}
