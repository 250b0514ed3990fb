//! The shell around the coordinators of groups, of transactions and of share partitions' state: one shard for each partition of their topic that this
//! broker leads, its clock, its log and its clients.
//!
//! A shard lives under its own lock, held for one decision at a time and never over an await. Whatever it decides is
//! carried out in order under that lock: an append is written there, so that two appends of one shard reach the log in
//! the order they were decided in, and is waited for outside.

mod clock;
mod election;
mod group_metadata;
mod groups;
mod shard;
mod share_state;
mod slot;
mod store;
mod ticks;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use moldau_group::GroupShard;
use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};

pub use groups::OFFSETS_TOPIC;
pub use shard::{Effect, Shard};
pub use share_state::{SHARE_STATE_TOPIC, ShareStateCoordinator};
pub use store::{
    AppendKind, AppendOutcome, CoordinatorRecord, LoadError, Loaded, OffsetsStore, ReplayRecord,
};
pub use transactions::{TRANSACTION_TOPIC, TransactionCoordinator, TransactionSettings, TransactionWish};

use clock::CoordinatorClock;
use election::Loads;
use slot::Slot;

/// Requests that one shard has not answered yet. A member waits with one request at a time, so this is a bound on members
/// that wait together, far above what one shard is meant for.
const UNANSWERED_MAX: usize = 100_000;

/// Partitions that are loaded at the same time: each is a thread, and reads five megabytes at a time.
const LOADERS_MAX: usize = 4;

/// The coordinators of this broker's share of the groups.
pub type GroupCoordinator = Coordinator<GroupShard>;

/// What fulfils the wishes of shards: with the coordinator, the partition and the leader epoch that it wishes in. It is
/// called under the shard's lock, and must neither wait nor call back.
pub type Wishes<S> =
    Box<dyn Fn(&Arc<Coordinator<S>>, PartitionIndex, LeaderEpoch, <S as Shard>::Wish) + Send + Sync>;

/// The coordinators of this broker's share of what one topic holds.
pub struct Coordinator<S: Shard> {
    settings: Arc<S::Settings>,
    store: Arc<dyn OffsetsStore>,
    wishes: Wishes<S>,
    clock: CoordinatorClock,
    slots: RwLock<BTreeMap<PartitionIndex, Arc<Slot<S>>>>,
    loads: Mutex<Loads<S>>,
    /// Partitions of the topic; until it exists, what it will be created with.
    partition_count: AtomicI32,
    /// When the ticking task looks next, in the clock's milliseconds.
    next_tick_ms: AtomicI64,
    tick_sooner: Notify,
    /// Counts shards that became active or went, for those who wait for one.
    activity: watch::Sender<u64>,
    is_stopped: AtomicBool,
}

/// A request's answer, once there is one.
pub type Answer<S> = oneshot::Receiver<<S as Shard>::Response>;

impl<S: Shard> Coordinator<S> {
    /// A coordinator that leads nothing yet, and the task that lets time pass for it. `partition_count` is what the topic
    /// will be created with.
    fn start_with(
        settings: S::Settings,
        partition_count: i32,
        store: Arc<dyn OffsetsStore>,
        wishes: Wishes<S>,
    ) -> Arc<Self> {
        let coordinator = Arc::new(Self {
            settings: Arc::new(settings),
            store,
            wishes,
            clock: CoordinatorClock::start(),
            slots: RwLock::default(),
            loads: Mutex::default(),
            partition_count: AtomicI32::new(partition_count.max(1)),
            next_tick_ms: AtomicI64::new(i64::MAX),
            tick_sooner: Notify::new(),
            activity: watch::Sender::new(0),
            is_stopped: AtomicBool::new(false),
        });
        tokio::spawn(ticks::run(Arc::downgrade(&coordinator)));
        coordinator
    }

    /// The partition of the topic that a group, or a transactional id, belongs to.
    #[must_use]
    pub fn partition_for(&self, id: &str) -> PartitionIndex {
        S::partition_for(id, self.partition_count.load(Ordering::Relaxed))
    }

    /// Hands a request to the coordinator of its group, or transactional id. The request has taken its place among the
    /// others of that when this returns; its answer may take as long as a rebalance.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker is not the coordinator, `COORDINATOR_NOT_AVAILABLE` where it is stopping or too
    /// many wait already.
    pub fn submit(self: &Arc<Self>, id: &str, request: S::Request) -> Result<Answer<S>, ErrorCode> {
        self.submit_to(self.partition_for(id), request)
    }

    /// Hands a request to the coordinator of one partition.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_to(
        self: &Arc<Self>,
        partition: PartitionIndex,
        request: S::Request,
    ) -> Result<Answer<S>, ErrorCode> {
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let slot = self.slot(partition).ok_or(ErrorCode::NotCoordinator)?;
        slot.request(self, request)
    }

    /// The partitions that this broker coordinates, the loading ones too.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionIndex> {
        self.slots.read().keys().copied().collect()
    }

    /// Waits until the partition is loaded. False if this broker does not lead it, or not within `limit`.
    pub async fn wait_active(&self, partition: PartitionIndex, limit: Duration) -> bool {
        let mut activity = self.activity.subscribe();
        let is_active = || self.slot(partition).is_some_and(|slot| slot.is_active());
        let wait = async {
            loop {
                activity.mark_unchanged();
                if is_active() {
                    return true;
                }
                if activity.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    /// Ends all shards: whoever waits is told that this is not the coordinator any more.
    pub fn stop(self: &Arc<Self>) {
        self.is_stopped.store(true, Ordering::Release);
        for partition in self.partitions() {
            self.resigned(partition);
        }
        self.tick_sooner.notify_one();
    }

    /// Tells the shard of a partition, if this broker leads it in that epoch still.
    pub(crate) fn tell(
        self: &Arc<Self>,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        input: S::Input,
    ) {
        if let Some(slot) = self.slot(partition) {
            slot.handle_in(self, leader_epoch, input);
        }
    }

    /// Whether this broker leads the partition in that epoch.
    pub(crate) fn leads(&self, partition: PartitionIndex, leader_epoch: LeaderEpoch) -> bool {
        self.slot(partition).is_some_and(|slot| slot.leader_epoch() == leader_epoch)
    }

    fn slot(&self, partition: PartitionIndex) -> Option<Arc<Slot<S>>> {
        self.slots.read().get(&partition).cloned()
    }

    fn slots(&self) -> Vec<Arc<Slot<S>>> {
        self.slots.read().values().cloned().collect()
    }

    fn note_activity(&self) {
        self.activity.send_modify(|count| *count += 1);
    }

    /// Makes the ticking task look at `deadline_ms` at the latest.
    fn tick_at(&self, deadline_ms: i64) {
        if deadline_ms < self.next_tick_ms.fetch_min(deadline_ms, Ordering::AcqRel) {
            self.tick_sooner.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
