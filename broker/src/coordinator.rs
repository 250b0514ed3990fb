//! The shell around the group coordinator: one [`GroupShard`] for each partition of `__consumer_offsets` that this
//! broker leads, its clock, its log and its clients.
//!
//! A shard lives under its own lock, held for one decision at a time and never over an await. Whatever it decides is
//! carried out in order under that lock: an append is written there, so that two appends of one shard reach the log in
//! the order they were decided in, and is waited for outside.

mod clock;
mod election;
mod slot;
mod store;
mod ticks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use moldau_group::{GroupConfig, Request, Response, ShardState, partition_for_group};
use moldau_model::{ErrorCode, PartitionIndex};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};

pub use store::{AppendOutcome, LoadError, OffsetsStore, ReplayRecord};

use clock::CoordinatorClock;
use election::Loads;
use slot::Slot;

/// The topic that holds committed offsets and groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Requests that one shard has not answered yet. A member waits with one request at a time, so this is a bound on members
/// that wait together, far above what one shard is meant for.
const UNANSWERED_MAX: usize = 100_000;

/// Partitions that are loaded at the same time: each is a thread, and reads five megabytes at a time.
const LOADERS_MAX: usize = 4;

/// The coordinators of this broker's share of the groups.
pub struct GroupCoordinator {
    config: Arc<GroupConfig>,
    store: Arc<dyn OffsetsStore>,
    clock: CoordinatorClock,
    slots: RwLock<BTreeMap<PartitionIndex, Arc<Slot>>>,
    loads: Mutex<Loads>,
    /// Partitions of `__consumer_offsets`; until it exists, what it will be created with.
    partition_count: AtomicI32,
    /// When the ticking task looks next, in the clock's milliseconds.
    next_tick_ms: AtomicI64,
    tick_sooner: Notify,
    /// Counts shards that became active or went, for those who wait for one.
    activity: watch::Sender<u64>,
    is_stopped: AtomicBool,
}

/// A request's answer, once there is one.
pub type Answer = oneshot::Receiver<Response>;

impl GroupCoordinator {
    /// A coordinator that leads nothing yet, and the task that lets time pass for it. `partition_count` is
    /// `offsets.topic.num.partitions`.
    #[must_use]
    pub fn start(config: GroupConfig, partition_count: i32, store: Arc<dyn OffsetsStore>) -> Arc<Self> {
        let coordinator = Arc::new(Self {
            config: Arc::new(config),
            store,
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

    /// The partition of `__consumer_offsets` that a group belongs to.
    #[must_use]
    pub fn partition_for(&self, group_id: &str) -> PartitionIndex {
        partition_for_group(group_id, self.partition_count.load(Ordering::Relaxed))
    }

    /// Hands a request to the coordinator of its group. The request has taken its place among the group's when this
    /// returns; its answer may take as long as a rebalance.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker does not coordinate the group, `COORDINATOR_NOT_AVAILABLE` where it is
    /// stopping or too many wait already.
    pub fn submit(self: &Arc<Self>, group_id: &str, request: Request) -> Result<Answer, ErrorCode> {
        self.submit_to(self.partition_for(group_id), request)
    }

    /// Hands a request to the coordinator of one partition's groups.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_to(
        self: &Arc<Self>,
        partition: PartitionIndex,
        request: Request,
    ) -> Result<Answer, ErrorCode> {
        if self.is_stopped.load(Ordering::Acquire) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let slot = self.slot(partition).ok_or(ErrorCode::NotCoordinator)?;
        slot.request(self, request)
    }

    /// The partitions whose groups this broker coordinates, the loading ones too.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionIndex> {
        self.slots.read().keys().copied().collect()
    }

    /// Waits until the partition's groups are loaded. False if this broker does not lead it, or not within `limit`.
    pub async fn wait_active(&self, partition: PartitionIndex, limit: Duration) -> bool {
        let mut activity = self.activity.subscribe();
        let is_active =
            || self.slot(partition).is_some_and(|slot| matches!(slot.state(), ShardState::Active { .. }));
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

    fn slot(&self, partition: PartitionIndex) -> Option<Arc<Slot>> {
        self.slots.read().get(&partition).cloned()
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
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
