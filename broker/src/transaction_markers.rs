//! Tells partitions how transactions ended: WriteTxnMarkers to their leaders, this broker among them, until all have said
//! yes or the coordinator is another one.
//!
//! ```text
//! shard ── markers ──> MarkerSender: by leader ──> Queue ──> Lane (a connection) ──> leader
//!   ^                        ^                                 │
//!   │                        └──── after a pause: what cannot be written yet
//!   └───────────────────────────── what is written
//! ```
//! Every transaction that ends is in here once, in as many parts as it has leaders: what is held is bounded by the
//! transactional ids of the shards.

mod batch;
mod lane;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicPartition};
use moldau_security::link::Dialer;
use moldau_txn::{Input, TransactionMarkers, TransactionShard};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::coordinator::{TransactionCoordinator, TransactionWish, Wishes};
use crate::metadata_cache::MetadataCache;
use crate::producer_ids::ProducerIds;
use crate::replication::Endpoint;
pub(crate) use batch::{NO_SEQUENCE, marker_batch};
use lane::Lane;
use queue::Queue;

/// Connections to one leader. A request waits for the slowest of its partitions; the others' go by the next lane.
const LANES_PER_BROKER: usize = 4;
/// Pause before markers that could not be written are routed again; it doubles with each time in a row.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A partition without a leader for long is not worth more than this; one whose leader has died has another one sooner.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Markers on their way, and whose they are.
#[derive(Clone)]
pub(crate) struct Parcel {
    coordinator: Weak<TransactionCoordinator>,
    /// The partition of `__transaction_state` that the transaction belongs to.
    state_partition: PartitionIndex,
    markers: TransactionMarkers,
    /// How often it was sent in vain.
    attempts: u32,
}

impl Parcel {
    fn new(
        coordinator: &Arc<TransactionCoordinator>,
        state_partition: PartitionIndex,
        markers: TransactionMarkers,
    ) -> Self {
        Self { coordinator: Arc::downgrade(coordinator), state_partition, markers, attempts: 0 }
    }

    fn with_partitions(&self, partitions: Vec<TopicPartition>) -> Self {
        let markers = TransactionMarkers { partitions, ..self.markers.clone() };
        Self { coordinator: Weak::clone(&self.coordinator), markers, ..*self }
    }

    /// Whether the coordinator that decided is still the one.
    fn is_current(&self) -> bool {
        let coordinator = self.coordinator.upgrade();
        coordinator.is_some_and(|coordinator| {
            coordinator.leads(self.state_partition, self.markers.coordinator_epoch)
        })
    }

    /// These partitions need no marker any more.
    fn written(&self, partitions: Vec<TopicPartition>) {
        let Some(coordinator) = self.coordinator.upgrade() else { return };
        let input = Input::MarkersWritten {
            transactional_id: Arc::clone(&self.markers.transactional_id),
            producer_id: self.markers.producer_id,
            producer_epoch: self.markers.producer_epoch,
            partitions,
        };
        coordinator.tell(self.state_partition, self.markers.coordinator_epoch, input);
    }
}

/// Finds the leaders, and keeps their queues.
pub struct MarkerSender {
    metadata: Arc<MetadataCache>,
    /// `inter.broker.listener.name`.
    listener: String,
    dialer: Arc<Dialer>,
    brokers: Mutex<BTreeMap<BrokerId, Destination>>,
}

struct Destination {
    queue: Arc<Queue>,
    lanes: Vec<JoinHandle<()>>,
}

impl Drop for Destination {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.abort();
        }
    }
}

impl MarkerSender {
    #[must_use]
    pub fn new(metadata: Arc<MetadataCache>, listener: impl Into<String>, dialer: Arc<Dialer>) -> Arc<Self> {
        Arc::new(Self { metadata, listener: listener.into(), dialer, brokers: Mutex::default() })
    }

    /// Sends markers to the partitions' leaders. Needs a tokio runtime; does not wait.
    fn send(self: &Arc<Self>, parcel: &Parcel) {
        let image = self.metadata.image();
        let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        let (mut deleted, mut without_leader) = (Vec::new(), Vec::new());
        for at in &parcel.markers.partitions {
            match image.partition_by_name(&at.topic, at.partition).map(|(_, partition)| partition.leader) {
                // It was there when it came into the transaction, and this broker's metadata is no older.
                None => deleted.push(at.clone()),
                Some(leader) if image.is_alive_broker(leader) => {
                    by_leader.entry(leader).or_default().push(at.clone());
                }
                Some(_) => without_leader.push(at.clone()),
            }
        }
        for (leader, partitions) in by_leader {
            self.queue(leader).push(parcel.with_partitions(partitions));
        }
        if !without_leader.is_empty() {
            self.send_later(parcel.with_partitions(without_leader));
        }
        if !deleted.is_empty() {
            // The shard that asks holds its lock.
            let parcel = parcel.clone();
            tokio::spawn(async move { parcel.written(deleted) });
        }
    }

    /// Sends after a pause, if it is still this coordinator's business then.
    fn send_later(self: &Arc<Self>, mut parcel: Parcel) {
        let sender = Arc::downgrade(self);
        let pause = RETRY_PAUSE.saturating_mul(2u32.saturating_pow(parcel.attempts)).min(RETRY_PAUSE_MAX);
        parcel.attempts = parcel.attempts.saturating_add(1);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(sender) = sender.upgrade()
                && parcel.is_current()
            {
                sender.send(&parcel);
            }
        });
    }

    fn queue(self: &Arc<Self>, leader: BrokerId) -> Arc<Queue> {
        let mut brokers = self.brokers.lock();
        let destination = brokers.entry(leader).or_insert_with(|| {
            let queue = Arc::new(Queue::default());
            let lanes = (0..LANES_PER_BROKER).map(|_| {
                let lane = Lane::new(leader, Arc::downgrade(self), Arc::clone(&queue));
                tokio::spawn(lane.run())
            });
            Destination { lanes: lanes.collect(), queue }
        });
        Arc::clone(&destination.queue)
    }

    /// Where the leader listens to other brokers.
    fn endpoint(&self, leader: BrokerId) -> Option<Endpoint> {
        let image = self.metadata.image();
        let broker = image.broker(leader)?;
        let listener = broker.listener(&self.listener)?;
        Some(Endpoint {
            host: Arc::clone(&listener.host),
            port: listener.port,
            broker_epoch: broker.epoch,
            dialer: Arc::clone(&self.dialer),
        })
    }
}

/// Fulfils what shards of transactions wish for: producer ids, and markers.
#[must_use]
pub fn wishes(
    producer_ids: Arc<ProducerIds>,
    broker_epoch: watch::Receiver<BrokerEpoch>,
    sender: Arc<MarkerSender>,
) -> Wishes<TransactionShard> {
    Box::new(move |coordinator: &Arc<TransactionCoordinator>, partition, leader_epoch: LeaderEpoch, wish| {
        match wish {
            TransactionWish::ProducerId(allocation_id) => {
                let (producer_ids, coordinator) = (Arc::clone(&producer_ids), Arc::clone(coordinator));
                let broker_epoch = *broker_epoch.borrow();
                tokio::spawn(async move {
                    let result = producer_ids.next(broker_epoch).await;
                    let input = Input::ProducerIdAllocated { allocation_id, result };
                    coordinator.tell(partition, leader_epoch, input);
                });
            }
            TransactionWish::Markers(markers) => {
                sender.send(&Parcel::new(coordinator, partition, markers));
            }
        }
    })
}
