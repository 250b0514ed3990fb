//! One partition on this broker: its log, its replica state, and who waits for either, under one lock.
//!
//! Nothing awaits under the lock, and nothing in it waits for the disk's platters: appends go to the page cache, syncs run
//! with a ticket outside. A panic under the lock stops the process: going on could lose records.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use moldau_log::{LogError, PartitionLog, RecoveryReport};
use moldau_metadata::config::{FlushPolicy, TopicConfig};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition, TopicPartition, Uuid};
use moldau_replica::{LogEnds, MinIsr, PartitionRegistration, Replica, Role, RoleChange};
use parking_lot::{Mutex, MutexGuard};

use super::log_config::log_config;
use super::moving::{FutureLog, Moving};
use super::throttled::Throttled;
use super::wake::Wake;
use crate::clock;
use crate::fetch_session::{Change, SessionWatch};
use crate::log_dirs::LogDir;
use crate::metrics::{TopicTraffic, Traffic};
use crate::purgatory::{DelayedOperation, FetchWaiter};
use crate::replication::{Inbox, IsrChanges, Throttles};

/// Appends below the high watermark of which the sizes are known one by one; beyond it they are counted together.
const SIZED_APPENDS_MAX: usize = 4096;

/// What all partitions of a broker have in common.
#[derive(Clone, Debug)]
pub struct PartitionSettings {
    pub broker_id: BrokerId,
    /// This start of the process. A replica of it leads nothing before metadata knows of it.
    pub incarnation_id: Uuid,
    pub flush_policy: FlushPolicy,
    /// `replica.lag.time.max.ms`.
    pub lag_ms_max: i64,
    /// `transaction.state...`: `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    pub throttles: Arc<Throttles>,
    /// What is written to topics and read from them.
    pub traffic: Arc<Traffic>,
}

/// A partition that this broker holds a replica of.
pub struct Partition {
    id: TopicIdPartition,
    topic_partition: TopicPartition,
    /// Changes, under the lock, when the log has moved to another directory.
    dir: ArcSwap<LogDir>,
    pub(super) settings: PartitionSettings,
    pub(super) isr_changes: Arc<IsrChanges>,
    pub(super) throttled: Throttled,
    /// Shared with the topic's other partitions.
    pub(super) traffic: Arc<TopicTraffic>,
    state: Mutex<State>,
    /// A copy for those who need no more than a look.
    high_watermark: AtomicI64,
    /// The metadata offset of the image that its role is from.
    metadata_offset: AtomicI64,
    /// It is queued for a sync, held by a plug, or being synced.
    pub(super) is_sync_pending: AtomicBool,
}

/// What the lock protects.
pub(super) struct State {
    /// `None` once the partition was deleted.
    pub(super) log: Option<PartitionLog>,
    /// The copy that is to take the log's place.
    pub(super) moving: Option<Moving>,
    pub(super) replica: Replica,
    pub(super) config: Arc<TopicConfig>,
    /// Appends that wait for the high watermark, in the log's order.
    pub(super) produces: VecDeque<Waiting>,
    /// Deletions that wait for the low watermark.
    pub(super) deletions: Vec<Waiting>,
    /// Clients' fetches, which see up to the high watermark.
    pub(super) fetches: Vec<Arc<FetchWaiter>>,
    /// Those that see no further than to the last stable offset, and where that was when it was looked at last.
    pub(super) committed_fetches: Vec<Arc<FetchWaiter>>,
    pub(super) last_stable_offset: Offset,
    /// Followers' fetches, which see up to the log's end.
    pub(super) replica_fetches: Vec<Arc<FetchWaiter>>,
    /// Followers' sessions that have looked here, and what they call it.
    pub(super) watches: Vec<(Weak<SessionWatch>, TopicIdPartition)>,
    /// On a follower, the fetcher that wants to know how much is durable.
    pub(super) fetcher: Option<Arc<Inbox>>,
    /// Ends and sizes of what was appended and is not below the high watermark yet: so a parked fetch learns how many
    /// bytes a step of the high watermark is worth, without a look into the log.
    pub(super) sized_appends: VecDeque<(Offset, i64)>,
    /// Under `flush.policy=interval`: when the oldest record that is not synced was appended, in monotonic time.
    pub(super) dirty_since_ms: Option<i64>,
}

/// One slot of an operation, which is done when a watermark has come so far.
pub(super) struct Waiting {
    pub(super) required: Offset,
    pub(super) operation: Arc<DelayedOperation>,
    pub(super) slot: usize,
}

/// The lock. A panic while it is held aborts, because the state may be half changed.
pub(super) struct StateGuard<'a> {
    guard: MutexGuard<'a, State>,
    was_panicking: bool,
}

impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.guard
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.guard
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        if !self.was_panicking && std::thread::panicking() {
            tracing::error!("an invariant of a partition is broken, the process stops");
            std::process::abort();
        }
    }
}

/// Says what opening a log did: for whoever runs the node only where records were cut off or something was wrong.
fn log_recovery(partition: &TopicPartition, report: &RecoveryReport) {
    let RecoveryReport { segments_scanned, bytes_truncated, segments_removed, indexes_rebuilt, notes } =
        report;
    if report.has_mended() {
        let notes = notes.join("; ");
        tracing::info!(
            %partition, segments_scanned, bytes_truncated, segments_removed, indexes_rebuilt, notes, "recovered a log"
        );
    } else if *segments_scanned > 0 {
        tracing::debug!(%partition, segments_scanned, indexes_rebuilt, "recovered a log");
    }
}

impl Partition {
    /// Opens the partition's log in `dir`, or declares it: [`Partition::make_log`] makes its files. It has no role until
    /// metadata gives it one.
    pub(crate) fn open(
        dir: Arc<LogDir>,
        topic_partition: TopicPartition,
        id: TopicIdPartition,
        config: Arc<TopicConfig>,
        settings: PartitionSettings,
        isr_changes: Arc<IsrChanges>,
    ) -> Result<Arc<Self>, LogError> {
        let now = clock::now();
        let log_config = log_config(&config, &settings);
        let (log, report) =
            dir.log.open_or_declare_partition(&topic_partition, id.topic_id, log_config, now)?;
        log_recovery(&topic_partition, &report);
        let ends = log_ends(&log, settings.flush_policy);
        let checkpoint = dir.log.high_watermark_checkpoint(&topic_partition).unwrap_or(ends.log_start);
        let min_isr = usize::try_from(config.min_insync_replicas).unwrap_or(1);
        let replica = Replica::new(settings.broker_id, ends, checkpoint, min_isr, settings.lag_ms_max);
        dir.partition_count.fetch_add(1, Ordering::Relaxed);
        let traffic = settings.traffic.of(&topic_partition.topic);
        let throttled = Throttled::new(&config, id.partition, settings.broker_id);
        Ok(Arc::new(Self {
            id,
            topic_partition,
            dir: ArcSwap::new(dir),
            high_watermark: AtomicI64::new(replica.high_watermark().0),
            metadata_offset: AtomicI64::new(Offset::NONE.0),
            settings,
            isr_changes,
            throttled,
            traffic,
            state: Mutex::new(State {
                log: Some(log),
                moving: None,
                replica,
                config,
                produces: VecDeque::new(),
                deletions: Vec::new(),
                fetches: Vec::new(),
                committed_fetches: Vec::new(),
                last_stable_offset: Offset::NONE,
                replica_fetches: Vec::new(),
                watches: Vec::new(),
                fetcher: None,
                sized_appends: VecDeque::new(),
                dirty_since_ms: None,
            }),
            is_sync_pending: AtomicBool::new(false),
        }))
    }

    /// Makes the files of a log that was only declared. Blocks on the disk, under the lock as an append that needs them
    /// would.
    ///
    /// # Errors
    /// The file system's; the next append tries again.
    pub(super) fn make_log(&self) -> Result<(), LogError> {
        match &mut self.lock().log {
            Some(log) => log.make(),
            None => Ok(()),
        }
    }

    /// The log directory that holds the log now.
    #[must_use]
    pub fn dir(&self) -> Arc<LogDir> {
        self.dir.load_full()
    }

    /// Whether that directory is usable.
    pub(crate) fn is_dir_online(&self) -> bool {
        self.dir.load().is_online()
    }

    /// The caller has put a log of that directory in the place of the one before.
    pub(super) fn set_dir(&self, dir: Arc<LogDir>) {
        dir.partition_count.fetch_add(1, Ordering::Relaxed);
        self.dir.swap(dir).partition_count.fetch_sub(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn id(&self) -> TopicIdPartition {
        self.id
    }

    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// What is written to its topic and read from it on this broker.
    #[must_use]
    pub fn traffic(&self) -> &TopicTraffic {
        &self.traffic
    }

    /// The end, exclusive, of what consumers may read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// What this replica is to its partition now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.lock().replica.role()
    }

    /// The epoch in which this replica leads, if it does.
    #[must_use]
    pub fn leader_epoch_if_leader(&self) -> Option<LeaderEpoch> {
        match self.role() {
            Role::Leader { leader_epoch } => Some(leader_epoch),
            Role::None | Role::Follower { .. } => None,
        }
    }

    pub(super) fn lock(&self) -> StateGuard<'_> {
        let guard = self.state.lock();
        StateGuard { guard, was_panicking: std::thread::panicking() }
    }

    /// The next registration is from the image at this offset. What older ones say of brokers does not count from now on.
    pub(super) fn note_metadata_offset(&self, offset: Offset) {
        self.metadata_offset.store(offset.0, Ordering::Release);
    }

    pub(super) fn metadata_offset(&self) -> Offset {
        Offset(self.metadata_offset.load(Ordering::Acquire))
    }

    /// Committed metadata of the partition. Waiting requests of a leadership that ended are told so.
    pub(crate) fn handle_registration(&self, registration: &PartitionRegistration) -> RoleChange {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let (change, output) = state.replica.handle_registration(registration, clock::monotonic());
        match change {
            RoleChange::BecameLeader => {
                if let Some(log) = &mut state.log {
                    log.assign_leader_epoch(registration.leader_epoch);
                }
                // The same replica leading on keeps its log, so a produce that waits goes on waiting.
                state.wake_fetches(&mut wake);
            }
            RoleChange::BecameFollower => {
                state.fail_operations(ErrorCode::NotLeaderOrFollower, &mut wake);
                state.wake_fetches(&mut wake);
            }
            // An ISR that is too small now moves no high watermark (KIP-966), and whoever waits for that waits on, as with
            // Apache Kafka: most come back in time, and a client that is told to try again what is written may write it
            // twice, should it take another producer epoch meanwhile.
            RoleChange::LeaderUpdated => state.mark_watches(Change::News, &mut wake),
            RoleChange::Stale | RoleChange::FollowerUpdated => {}
        }
        state.complete_deletions(&mut wake);
        if output.high_watermark.is_some() {
            self.publish_high_watermark(state, &mut wake);
        }
        drop(guard);
        wake.fire();
        change
    }

    /// The topic's settings changed.
    pub(crate) fn update_config(&self, config: Arc<TopicConfig>) {
        self.throttled.update(&config, self.id.partition, self.settings.broker_id);
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let log_config = log_config(&config, &self.settings);
        let copy = state.moving.as_ref().map(|moving| Arc::clone(&moving.future));
        if let Some(log) = &mut state.log {
            log.update_config(log_config.clone());
        }
        let min_isr = usize::try_from(config.min_insync_replicas).unwrap_or(1);
        state.config = config;
        let output = state.replica.handle_limits(min_isr, self.settings.lag_ms_max, clock::monotonic());
        if output.high_watermark.is_some() {
            self.publish_high_watermark(state, &mut wake);
        }
        drop(guard);
        wake.fire();
        // Its lock may wait for the disk: not under the partition's.
        if let Some(copy) = copy {
            copy.update_config(log_config);
        }
    }

    /// Takes the log out, and the directory it is in: the partition is deleted, or was moved to other brokers. Also a copy that
    /// was on its way.
    pub(crate) fn take_log(
        &self,
        outcome: ErrorCode,
    ) -> (Option<(PartitionLog, Arc<LogDir>)>, Option<Arc<FutureLog>>) {
        let mut wake = Wake::default();
        let mut state = self.lock();
        let dir = self.dir();
        let log = state.log.take();
        let future = state.moving.take().map(|moving| moving.future);
        state.fail_operations(outcome, &mut wake);
        state.wake_fetches(&mut wake);
        drop(state);
        if log.is_some() {
            dir.partition_count.fetch_sub(1, Ordering::Relaxed);
        }
        wake.fire();
        (log.map(|log| (log, dir)), future)
    }

    /// The log directory is offline: whoever waits is told, and nothing is taken any more.
    pub(crate) fn poison(&self, reason: &Arc<str>) {
        let mut wake = Wake::default();
        let mut state = self.lock();
        if let Some(log) = &mut state.log {
            log.poison(Arc::clone(reason));
        }
        state.fail_operations(ErrorCode::KafkaStorageError, &mut wake);
        state.wake_fetches(&mut wake);
        drop(state);
        wake.fire();
    }

    /// Tells the replica of the log's ends, and everybody of the high watermark if that moved it.
    pub(super) fn after_log_change(&self, state: &mut State, wake: &mut Wake) {
        let Some(log) = &state.log else { return };
        let ends = log_ends(log, self.settings.flush_policy);
        if ends.log_start != state.replica.log_ends().log_start {
            state.tell_replica_fetches(wake);
        }
        if state.replica.handle_log_ends(ends, clock::monotonic()).is_some() {
            self.publish_high_watermark(state, wake);
        }
    }

    /// Tells everybody where the high watermark is now.
    pub(super) fn publish_high_watermark(&self, state: &mut State, wake: &mut Wake) {
        let high_watermark = state.replica.high_watermark();
        self.store_high_watermark(high_watermark);
        let outcome = match state.replica.min_isr() {
            Some(MinIsr::TooFew { .. }) => ErrorCode::NotEnoughReplicasAfterAppend,
            Some(MinIsr::Enough) | None => ErrorCode::None,
        };
        while state.produces.front().is_some_and(|waiting| waiting.required <= high_watermark) {
            if let Some(waiting) = state.produces.pop_front() {
                wake.operations.push((waiting.operation, waiting.slot, outcome));
            }
        }
        let mut bytes = 0;
        while state.sized_appends.front().is_some_and(|(end, _)| *end <= high_watermark) {
            bytes += state.sized_appends.pop_front().map_or(0, |(_, size)| size);
        }
        // A step that is not accounted for still is a step: it must not be slept through.
        let bytes = bytes.max(1);
        state.fetches.retain(|fetch| {
            let is_due = fetch.add_bytes(bytes);
            if is_due {
                wake.fetches.push(Arc::clone(fetch));
            }
            !is_due
        });
        state.wake_committed_fetches(wake);
        state.tell_replica_fetches(wake);
    }

    /// The high watermark, as those see it who do not take the lock.
    pub(super) fn store_high_watermark(&self, high_watermark: Offset) {
        self.high_watermark.store(high_watermark.0, Ordering::Release);
    }
}

impl State {
    pub(super) fn note_append(&mut self, end: Offset, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.sized_appends.len() >= SIZED_APPENDS_MAX
            && let Some(last) = self.sized_appends.back_mut()
        {
            *last = (end, last.1.saturating_add(bytes));
            return;
        }
        self.sized_appends.push_back((end, bytes));
    }

    /// The high watermark moved: perhaps over the end of a transaction, and the last stable offset with it.
    fn wake_committed_fetches(&mut self, wake: &mut Wake) {
        let high_watermark = self.replica.high_watermark();
        let Some(log) = &mut self.log else { return };
        log.note_high_watermark(high_watermark);
        let last_stable_offset = log.last_stable_offset(high_watermark);
        if last_stable_offset != self.last_stable_offset {
            self.last_stable_offset = last_stable_offset;
            wake.fetches.append(&mut self.committed_fetches);
        }
    }

    /// The sessions of followers look here at their next look.
    pub(super) fn mark_watches(&mut self, change: Change, wake: &mut Wake) {
        self.watches.retain(|(watch, id)| {
            let watch = watch.upgrade();
            wake.marks.extend(watch.iter().map(|watch| (Arc::clone(watch), *id, change)));
            watch.is_some()
        });
    }

    /// Followers are to hear of something beside records.
    fn tell_replica_fetches(&mut self, wake: &mut Wake) {
        wake.news.extend(self.replica_fetches.iter().cloned());
        self.mark_watches(Change::News, wake);
    }

    /// A follower's session looks here, and hears of what changes from now on.
    pub(super) fn add_watch(&mut self, watch: &Arc<SessionWatch>, id: TopicIdPartition) {
        if !self.watches.iter().any(|(other, _)| std::ptr::eq(other.as_ptr(), Arc::as_ptr(watch))) {
            self.watches.retain(|(other, _)| other.strong_count() > 0);
            self.watches.push((Arc::downgrade(watch), id));
        }
    }

    /// The log's end moved by so many bytes: followers may have them before they are durable here.
    pub(super) fn wake_replica_fetches(&mut self, bytes: usize, wake: &mut Wake) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.replica_fetches.retain(|fetch| {
            let is_due = fetch.add_bytes(bytes);
            if is_due {
                wake.fetches.push(Arc::clone(fetch));
            }
            !is_due
        });
        self.mark_watches(Change::Records, wake);
    }

    pub(super) fn fail_produces(&mut self, outcome: ErrorCode, wake: &mut Wake) {
        let failed = self.produces.drain(..).map(|waiting| (waiting.operation, waiting.slot, outcome));
        wake.operations.extend(failed);
    }

    /// Nobody who waits here gets what was waited for.
    pub(super) fn fail_operations(&mut self, outcome: ErrorCode, wake: &mut Wake) {
        self.fail_produces(outcome, wake);
        let failed = self.deletions.drain(..).map(|waiting| (waiting.operation, waiting.slot, outcome));
        wake.operations.extend(failed);
    }

    /// The ISR's log starts may have moved, or the ISR: deletions that all of it has followed are done.
    pub(super) fn complete_deletions(&mut self, wake: &mut Wake) {
        let Some(low_watermark) = self.replica.low_watermark().filter(|_| !self.deletions.is_empty()) else {
            return;
        };
        self.deletions.retain(|waiting| {
            let is_done = waiting.required <= low_watermark;
            if is_done {
                wake.operations.push((Arc::clone(&waiting.operation), waiting.slot, ErrorCode::None));
            }
            !is_done
        });
    }

    pub(super) fn wake_fetches(&mut self, wake: &mut Wake) {
        wake.fetches.append(&mut self.fetches);
        wake.fetches.append(&mut self.committed_fetches);
        wake.fetches.append(&mut self.replica_fetches);
        self.mark_watches(Change::Records, wake);
    }
}

/// The log's ends as the replica counts them: see [`LogEnds`].
pub(super) fn log_ends(log: &PartitionLog, policy: FlushPolicy) -> LogEnds {
    let log_end = log.log_end_offset();
    LogEnds {
        log_start: log.log_start_offset(),
        durable_end: match policy {
            FlushPolicy::OnAck => log.durable_end_offset(),
            FlushPolicy::Interval => log_end,
        },
        log_end,
    }
}
