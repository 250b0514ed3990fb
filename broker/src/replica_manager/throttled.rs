//! When a partition's replication is held back, and what of it counts against the broker's quotas.

use std::sync::atomic::{AtomicBool, Ordering};

use moldau_metadata::config::TopicConfig;
use moldau_model::{BrokerId, PartitionIndex};
use moldau_replica::Replica;

use super::partition::Partition;

/// Whether the topic's settings name this replica, as the one who sends and as the one who fetches.
#[derive(Debug, Default)]
pub(super) struct Throttled {
    as_leader: AtomicBool,
    as_follower: AtomicBool,
}

impl Throttled {
    pub(super) fn new(config: &TopicConfig, partition: PartitionIndex, broker: BrokerId) -> Self {
        let throttled = Self::default();
        throttled.update(config, partition, broker);
        throttled
    }

    pub(super) fn update(&self, config: &TopicConfig, partition: PartitionIndex, broker: BrokerId) {
        let as_leader = config.leader_throttled_replicas.contains(partition, broker);
        let as_follower = config.follower_throttled_replicas.contains(partition, broker);
        self.as_leader.store(as_leader, Ordering::Relaxed);
        self.as_follower.store(as_follower, Ordering::Relaxed);
    }
}

impl Partition {
    /// So many bytes went to a follower, in sync or not: all of them take their share of the network.
    pub(crate) fn count_sent_to_follower(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.traffic.replication_bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.throttled.as_leader.load(Ordering::Relaxed) {
            self.settings.throttles.leader.record(bytes);
        }
    }

    /// So many bytes came from the leader.
    pub(crate) fn count_fetched(&self, bytes: usize) {
        if bytes > 0 && self.throttled.as_follower.load(Ordering::Relaxed) {
            self.settings.throttles.follower.record(bytes);
        }
    }

    /// Whether this leader gives the follower no records now.
    pub(super) fn holds_back(&self, replica: &Replica, follower: BrokerId) -> bool {
        self.throttled.as_leader.load(Ordering::Relaxed)
            && replica.isr().is_some_and(|isr| !isr.contains(&follower))
            && self.settings.throttles.leader.is_exceeded()
    }

    /// Whether this replica is one that does not fetch while its broker's quota is exceeded.
    pub(crate) fn is_held_back(&self) -> bool {
        self.throttled.as_follower.load(Ordering::Relaxed) && self.lock().replica.is_lagging()
    }
}
