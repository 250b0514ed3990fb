//! A broker's life as the controller sees it (KIP-631): it registers and is fenced, follows the metadata until it has
//! caught up, is unfenced, sends heartbeats, and moves its leaderships away before it stops.
//!
//! Two tasks: one applies metadata events in their order, the other registers and sends heartbeats. Both end when the
//! [`Lifecycle`] is stopped or dropped. A heartbeat carries the offset that was applied, so a fenced broker sends one at
//! every step forward instead of waiting for the interval.

mod heartbeat;
mod watch_metadata;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moldau_cluster::{BrokerListener, ControllerChannel, FeatureRange, ReplicaDirectory};
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{BrokerEpoch, BrokerId, Uuid};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metadata_cache::MetadataCache;

/// What a broker tells of itself when it registers.
#[derive(Clone, Debug)]
pub struct LifecycleOptions {
    pub broker_id: BrokerId,
    pub cluster_id: String,
    /// Random, new at each start of the process.
    pub incarnation_id: Uuid,
    /// The advertised listeners.
    pub listeners: Vec<BrokerListener>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    /// The log directories that are online.
    pub log_dirs: Vec<Uuid>,
    /// Of the incarnation before, if it stopped cleanly; else `BrokerEpoch(-1)`.
    pub previous_broker_epoch: BrokerEpoch,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// Changes when the controller is to hear of the log directories before the next heartbeat is due.
    pub log_dirs_changed: watch::Receiver<u64>,
}

/// Where a broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// Not registered yet.
    Starting,
    /// Registered, and not yet (or no longer) told to clients.
    Fenced,
    /// Serving.
    Running,
    /// Its leaderships are being moved away.
    ShuttingDown,
    /// The controller has let it go: it may stop.
    Stopped,
    /// The controller does not take it: another incarnation registered, or it belongs to another cluster. It has to stop.
    Refused(moldau_model::ErrorCode),
}

/// Who acts on new metadata. Called for one image after the other, in their order.
#[async_trait]
pub trait MetadataPublisher: Send + Sync {
    /// Brings the broker to what `image` says. What clients are told changes after this has returned.
    async fn before_swap(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>);

    /// Acts on what clients can see already: the group coordinators come and go with their partitions.
    async fn after_swap(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>);

    /// The log directories that failed since the start.
    fn offline_log_dirs(&self) -> Vec<Uuid>;

    /// The log directories that have no room left.
    fn full_log_dirs(&self) -> Vec<Uuid>;

    /// The log directories that are to get no new replicas.
    fn cordoned_log_dirs(&self) -> Vec<Uuid>;

    /// Where replicas of this broker are that `image` has elsewhere. Some of them, where there are many.
    fn replica_directories(&self, image: &MetadataImage) -> Vec<ReplicaDirectory>;
}

/// The running tasks of a broker's life.
pub struct Lifecycle {
    state: watch::Receiver<BrokerState>,
    broker_epoch: watch::Receiver<BrokerEpoch>,
    wants_shutdown: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Lifecycle {
    /// Starts to follow the metadata and to register. Returns at once. `broker_epoch` is told the epoch of each
    /// registration.
    #[must_use]
    pub fn start(
        options: LifecycleOptions,
        channel: Arc<dyn ControllerChannel>,
        cache: Arc<MetadataCache>,
        publisher: Arc<dyn MetadataPublisher>,
        broker_epoch: watch::Sender<BrokerEpoch>,
    ) -> Self {
        let (state_sender, state) = watch::channel(BrokerState::Starting);
        let epoch_sender = broker_epoch;
        let broker_epoch = epoch_sender.subscribe();
        let (wants_shutdown, shutdown_wanted) = watch::channel(false);
        let follow = watch_metadata::follow(
            options.cluster_id.clone(),
            Arc::clone(&channel),
            Arc::clone(&cache),
            Arc::clone(&publisher),
        );
        let heartbeats = heartbeat::Heartbeats {
            options,
            channel,
            cache,
            publisher,
            state: state_sender,
            broker_epoch: epoch_sender,
            shutdown_wanted,
        };
        let tasks = vec![tokio::spawn(follow), tokio::spawn(heartbeats.run())];
        Self { state, broker_epoch, wants_shutdown, tasks }
    }

    /// Where the broker stands.
    #[must_use]
    pub fn state(&self) -> BrokerState {
        *self.state.borrow()
    }

    /// Tells of every change of [`Self::state`].
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// What the broker signs its requests to the controller with; `-1` before it is registered.
    #[must_use]
    pub fn broker_epoch(&self) -> BrokerEpoch {
        *self.broker_epoch.borrow()
    }

    /// The same, to be held by who signs requests.
    #[must_use]
    pub fn watch_broker_epoch(&self) -> watch::Receiver<BrokerEpoch> {
        self.broker_epoch.clone()
    }

    /// Waits until the broker serves. Gives the state it ended in where it will never.
    ///
    /// # Errors
    /// `Refused` and `Stopped`.
    pub async fn wait_unfenced(&self) -> Result<(), BrokerState> {
        let mut state = self.state.clone();
        let ended = |state: &BrokerState| {
            matches!(state, BrokerState::Running | BrokerState::Refused(_) | BrokerState::Stopped)
        };
        match state.wait_for(ended).await.map(|state| *state) {
            Ok(BrokerState::Running) => Ok(()),
            Ok(other) => Err(other),
            Err(_) => Err(BrokerState::Stopped),
        }
    }

    /// Asks the controller to move this broker's leaderships away, and waits until it did or `limit` has passed. True if
    /// it did: the shutdown is a clean one.
    pub async fn controlled_shutdown(&self, limit: Duration) -> bool {
        self.wants_shutdown.send_replace(true);
        let mut state = self.state.clone();
        let stopped = state.wait_for(|state| matches!(state, BrokerState::Stopped | BrokerState::Refused(_)));
        match tokio::time::timeout(limit, stopped).await {
            Ok(Ok(state)) => *state == BrokerState::Stopped,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Ends both tasks. No metadata is applied after this.
    pub async fn stop(mut self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks.drain(..) {
            // An aborted task ends with an error that says so.
            let _ = task.await;
        }
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
