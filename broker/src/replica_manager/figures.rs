//! What one partition looks like at a moment, for metrics: all under one look, so that the figures fit together.

use moldau_model::{BrokerId, Offset};
use moldau_replica::Role;

use super::ReplicaManager;
use super::partition::Partition;
use crate::clock;

/// One replica here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionFigures {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) size_bytes: u64,
    /// Whether it leads.
    pub(crate) is_leader: bool,
    /// What the committed ISR has to have for acks=all.
    pub(crate) min_isr: usize,
    /// On a leader, each follower's.
    pub(crate) lags: Vec<FollowerLag>,
}

/// How far a follower is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FollowerLag {
    pub(crate) follower: BrokerId,
    pub(crate) records: u64,
    /// By the mean size of the log's records.
    pub(crate) bytes: u64,
    pub(crate) ms: i64,
}

impl Partition {
    /// `None` once it was deleted.
    pub(crate) fn figures(&self) -> Option<PartitionFigures> {
        let state = self.lock();
        let log = state.log.as_ref()?;
        let (log_start, log_end, size_bytes) =
            (log.log_start_offset(), log.log_end_offset(), log.size_bytes());
        let kept = u64::try_from(log_end.minus(log_start)).unwrap_or(0);
        let lags = state.replica.follower_lags(clock::monotonic()).map(|(follower, durable_end, ms)| {
            let records = u64::try_from(log_end.minus(durable_end.max(log_start))).unwrap_or(0);
            let bytes = bytes_of(records, kept, size_bytes);
            FollowerLag { follower, records, bytes, ms: if records == 0 { 0 } else { ms } }
        });
        Some(PartitionFigures {
            log_start,
            log_end,
            high_watermark: state.replica.high_watermark(),
            size_bytes,
            is_leader: matches!(state.replica.role(), Role::Leader { .. }),
            min_isr: usize::try_from(state.config.min_insync_replicas).unwrap_or(1),
            lags: lags.collect(),
        })
    }
}

/// So many of the log's records, in bytes.
fn bytes_of(records: u64, kept: u64, size_bytes: u64) -> u64 {
    let bytes = u128::from(size_bytes) * u128::from(records) / u128::from(kept.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl ReplicaManager {
    /// Replicas of this broker whose log directory failed.
    pub(crate) fn offline_count(&self) -> usize {
        let partitions = self.partitions.read();
        let is_offline = |hosted: &&super::Hosted| match hosted {
            super::Hosted::Online(partition) => !partition.is_dir_online(),
            super::Hosted::Offline => true,
        };
        partitions.values().filter(is_offline).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_lag_are_its_share_of_the_log() {
        assert_eq!(bytes_of(0, 0, 0), 0);
        assert_eq!(bytes_of(5, 10, 1000), 500);
        assert_eq!(bytes_of(u64::MAX, 1, u64::MAX), u64::MAX);
    }
}
