//! The controller in this process, and the cluster if it is the active one.

use moldau_cluster::ControllerStatistics;

use super::exposition::{Exposition, Labels};
use crate::metrics::definitions::Metric;

pub(super) fn put(out: &mut Exposition, statistics: &ControllerStatistics) {
    out.put(Metric::ActiveControllerCount, u8::from(statistics.is_active));
    if let Some(cluster) = statistics.cluster {
        out.put(Metric::ActiveBrokerCount, cluster.active_brokers);
        out.put(Metric::FencedBrokerCount, cluster.fenced_brokers);
        out.put(Metric::GlobalTopicCount, cluster.topics);
        out.put(Metric::GlobalPartitionCount, cluster.partitions);
        out.put(Metric::OfflinePartitionsCount, cluster.offline_partitions);
        out.put(Metric::PreferredReplicaImbalanceCount, cluster.imbalanced_partitions);
    }
    out.put(Metric::RaftCurrentLeader, statistics.leader_id);
    out.put(Metric::RaftCurrentEpoch, statistics.epoch);
    out.put_for(Metric::RaftCurrentState, &Labels::of("current_state", statistics.state), 1);
    out.put(Metric::RaftHighWatermark, statistics.applied_end);
    out.put(Metric::RaftLogEndOffset, statistics.log_end);
    let seconds = statistics.leaderless.as_secs_f64();
    out.sum_and_count(Metric::ElectionSeconds, &Labels::none(), seconds, statistics.elections);
}
