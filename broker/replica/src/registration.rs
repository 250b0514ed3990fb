//! The facts a replica is told: its partition's committed metadata, and the ends of its own log.

use moldau_model::{BrokerId, LeaderEpoch, Offset, PartitionEpoch};

/// A partition as the metadata has it. Every change of it raises the partition epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRegistration {
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// The replicas whose brokers are fenced or on their way down: the controller takes none of them into the ISR (KIP-841).
    pub absent: Vec<BrokerId>,
    /// `None` while the partition has no leader.
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

/// Where a log starts and ends: `log_start <= durable_end <= log_end`, ends exclusive. Under `flush.policy=interval` a
/// record counts as durable once it is written, so there the caller passes `durable_end == log_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    pub log_start: Offset,
    pub durable_end: Offset,
    pub log_end: Offset,
}

impl LogEnds {
    /// Asserts the order that every reader of these numbers relies on.
    pub(crate) fn check(&self) {
        assert!(
            self.log_start <= self.durable_end && self.durable_end <= self.log_end,
            "log ends out of order: start {} durable {} end {}",
            self.log_start,
            self.durable_end,
            self.log_end
        );
    }
}
