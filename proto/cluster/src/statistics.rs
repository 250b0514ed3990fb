//! What a controller tells of itself to who runs in its process: for metrics.

use std::time::Duration;

use moldau_model::{BrokerId, LeaderEpoch, Offset};

/// One controller, as it sees itself and its quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerStatistics {
    /// The active controller as this one knows; [`BrokerId::NONE`] during an election.
    pub leader_id: BrokerId,
    /// The quorum's term.
    pub epoch: LeaderEpoch,
    /// Kafka's name of what this controller is: leader, follower, observer or unattached.
    pub state: &'static str,
    /// Whether it decides.
    pub is_active: bool,
    /// The end, exclusive, of what it has applied.
    pub applied_end: Offset,
    /// The end, exclusive, of its log.
    pub log_end: Offset,
    /// How many times it knew no leader and then found one.
    pub elections: u64,
    /// How long that took, all together.
    pub leaderless: Duration,
    /// The cluster, which the active controller alone speaks for.
    pub cluster: Option<ClusterStatistics>,
}

/// The cluster, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatistics {
    pub active_brokers: usize,
    pub fenced_brokers: usize,
    pub topics: usize,
    pub partitions: usize,
    /// Partitions that nobody leads.
    pub offline_partitions: usize,
    /// Partitions that are led by another replica than the preferred one.
    pub imbalanced_partitions: usize,
}
