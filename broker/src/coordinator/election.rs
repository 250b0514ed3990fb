//! Shards come and go with the leaderships of their partitions.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{BrokerId, LeaderEpoch, PartitionIndex};
use std::sync::atomic::Ordering;

use super::shard::Shard;
use super::slot::Slot;
use super::{Coordinator, LOADERS_MAX};

/// Leaderships whose partitions are still to be read, and how many threads do that. Bounded by the partitions of the topic,
/// times the elections that come while one waits.
pub(super) struct Loads<S: Shard> {
    waiting: VecDeque<(Arc<Slot<S>>, LeaderEpoch)>,
    loaders: usize,
}

impl<S: Shard> Default for Loads<S> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), loaders: 0 }
    }
}

impl<S: Shard> Coordinator<S> {
    /// Follows a metadata change of the broker `node_id`. Loads are started, not waited for.
    pub fn apply(self: &Arc<Self>, node_id: BrokerId, delta: &MetadataDelta, image: &MetadataImage) {
        if let Some(topic) = image.topics().by_name(S::TOPIC) {
            self.partition_count.store(topic.partition_count().max(1), Ordering::Relaxed);
        }
        // Made anew in the same step it is another topic, whatever its leader epochs are.
        if delta.deleted_topics.values().any(|topic| &**topic.name() == S::TOPIC) {
            for partition in self.partitions() {
                self.resigned(partition);
            }
        }
        let input = S::follow(&self.settings, delta, image);
        for topic in delta.topics.values().filter(|topic| &**topic.topic.name() == S::TOPIC) {
            for (partition, change) in &topic.partitions {
                if change.after.leader == node_id {
                    self.elected(*partition, change.after.leader_epoch);
                } else {
                    self.resigned(*partition);
                }
            }
        }
        if let Some(input) = input {
            for slot in self.slots() {
                slot.handle(self, input.clone());
            }
        }
    }

    /// This broker leads the partition from `leader_epoch` on: what it coordinates is loaded.
    pub(super) fn elected(self: &Arc<Self>, partition: PartitionIndex, leader_epoch: LeaderEpoch) {
        if self.is_stopped.load(Ordering::Acquire) {
            return;
        }
        let slot = {
            let mut slots = self.slots.write();
            let slot = slots.entry(partition).or_insert_with(|| Arc::new(Slot::new(self, partition)));
            Arc::clone(slot)
        };
        // Other changes of the partition, of its ISR for one, keep the leadership.
        if slot.leader_epoch() == leader_epoch {
            return;
        }
        slot.begin_load(self, leader_epoch);
        let mut loads = self.loads.lock();
        loads.waiting.push_back((slot, leader_epoch));
        if loads.loaders < LOADERS_MAX {
            loads.loaders += 1;
            let coordinator = Arc::clone(self);
            tokio::task::spawn_blocking(move || coordinator.load_waiting());
        }
    }

    /// Loads what waits until nothing does. Blocks.
    fn load_waiting(self: &Arc<Self>) {
        loop {
            let mut loads = self.loads.lock();
            let Some((slot, leader_epoch)) = loads.waiting.pop_front() else {
                loads.loaders -= 1;
                return;
            };
            drop(loads);
            // An election that was overtaken while it waited is not worth a read.
            if slot.leader_epoch() == leader_epoch {
                self.load(&slot, leader_epoch);
            }
        }
    }

    /// Reads the partition into its shard. Blocks.
    fn load(self: &Arc<Self>, slot: &Arc<Slot<S>>, leader_epoch: LeaderEpoch) {
        let partition = slot.partition();
        let mut count = 0u64;
        let loaded = self.store.load(partition, leader_epoch, &mut |offset, loaded| {
            count += 1;
            slot.replay(leader_epoch, offset, loaded)
        });
        match loaded {
            Ok(end) => {
                tracing::debug!(topic = S::TOPIC, %partition, records = count, "partition read");
                let committed = self.store.committed(partition, leader_epoch, end);
                self.finish_once_committed(slot, leader_epoch, committed);
            }
            Err(error) => {
                // As in Kafka, a partition that cannot be read has no coordinator until it is led anew.
                tracing::error!(topic = S::TOPIC, %partition, %error, "cannot load the coordinator's partition");
                if slot.leader_epoch() == leader_epoch {
                    self.resigned(partition);
                }
            }
        }
        self.note_activity();
    }

    /// Serves once all that was read is committed: before that another leader could still come that lacks some of it, and
    /// what was told, a committed offset for one, would go back.
    fn finish_once_committed(
        self: &Arc<Self>,
        slot: &Arc<Slot<S>>,
        leader_epoch: LeaderEpoch,
        mut committed: BoxFuture<'static, bool>,
    ) {
        match (&mut committed).now_or_never() {
            Some(true) => {
                slot.finish_load(self, leader_epoch);
            }
            Some(false) => {}
            None => {
                let (coordinator, slot) = (Arc::clone(self), Arc::clone(slot));
                tokio::spawn(async move {
                    if committed.await && slot.finish_load(&coordinator, leader_epoch) {
                        coordinator.note_activity();
                    }
                });
            }
        }
    }

    /// This broker does not lead the partition any more.
    pub(super) fn resigned(self: &Arc<Self>, partition: PartitionIndex) {
        let slot = self.slots.write().remove(&partition);
        if let Some(slot) = slot {
            slot.unload(self);
            self.note_activity();
        }
    }
}
