//! Which partition is followed by which fetcher. Metadata alone moves them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::config::{BrokerConfig, FlushPolicy};
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, TopicIdPartition};
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::fetcher::Fetcher;
use super::fetcher_thread::FetcherThread;
use super::inbox::{Assignment, Endpoint, Inbox};
use super::throttles::Throttles;
use crate::departures::Departures;
use crate::replica_manager::Partition;

/// How long fetchers get to take in what they have fetched when the broker stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What all fetchers of a broker have in common.
#[derive(Clone, Debug)]
pub struct FetcherSettings {
    pub broker_id: BrokerId,
    /// `inter.broker.listener.name`.
    pub listener: String,
    /// `num.replica.fetchers`: how many there are for each leader.
    pub fetcher_count: usize,
    /// `replica.fetch.wait.max.ms`.
    pub wait_max_ms: i32,
    /// `replica.fetch.min.bytes`.
    pub bytes_min: i32,
    /// `replica.fetch.max.bytes`, of one partition.
    pub bytes_max: i32,
    /// `replica.fetch.response.max.bytes`.
    pub response_bytes_max: usize,
    /// `replica.fetch.backoff.ms`.
    pub backoff_max: Duration,
    pub throttles: Arc<Throttles>,
    /// How leaders are dialled.
    pub dialer: Arc<Dialer>,
    /// Fetchers may wait for the disk: there is one, what stands still with it stands still in any case, and what is not durable
    /// does not count.
    pub(super) syncs_itself: bool,
    pub(super) response_limit: Duration,
}

impl FetcherSettings {
    #[must_use]
    pub fn of(config: &BrokerConfig, throttles: Arc<Throttles>, dialer: Arc<Dialer>) -> Self {
        let replication = &config.replication;
        Self {
            broker_id: config.node_id,
            listener: config.inter_broker_listener_name.clone(),
            fetcher_count: usize::try_from(replication.fetcher_count).unwrap_or(1).max(1),
            wait_max_ms: replication.fetch_wait_max_ms,
            bytes_min: replication.fetch_bytes_min,
            bytes_max: replication.fetch_bytes_max,
            response_bytes_max: usize::try_from(replication.fetch_response_bytes_max).unwrap_or(0),
            backoff_max: Duration::from_millis(u64::try_from(replication.fetch_backoff_ms).unwrap_or(0)),
            throttles,
            dialer,
            syncs_itself: config.log_dirs.len() == 1 && config.flush_policy == FlushPolicy::OnAck,
            response_limit: Self::response_limit(
                replication.fetch_wait_max_ms,
                replication.socket_timeout_ms,
            ),
        }
    }
}

/// A partition whose role changed: whom it follows now, if anybody.
pub(crate) struct FollowChange {
    pub(crate) id: TopicIdPartition,
    pub(crate) follows: Option<(Arc<Partition>, BrokerId, LeaderEpoch)>,
}

type FetcherKey = (BrokerId, usize);

struct Running {
    inbox: Arc<Inbox>,
    thread: FetcherThread,
    partitions: usize,
}

struct Followed {
    key: FetcherKey,
    partition: Arc<Partition>,
    leader_epoch: LeaderEpoch,
}

#[derive(Default)]
struct State {
    fetchers: BTreeMap<FetcherKey, Running>,
    followed: HashMap<TopicIdPartition, Followed>,
    is_stopped: bool,
}

/// All fetchers of a broker.
pub struct FetcherManager {
    settings: Arc<FetcherSettings>,
    broker_epoch: watch::Receiver<BrokerEpoch>,
    departures: Arc<Departures>,
    state: Mutex<State>,
}

impl FetcherManager {
    /// No fetcher yet. `broker_epoch` is what this broker fetches under, -1 until it is registered.
    #[must_use]
    pub fn new(
        settings: FetcherSettings,
        broker_epoch: watch::Receiver<BrokerEpoch>,
        departures: Arc<Departures>,
    ) -> Self {
        Self { settings: Arc::new(settings), broker_epoch, departures, state: Mutex::default() }
    }

    /// Follows what metadata changed. Needs a tokio runtime.
    pub(crate) fn apply(&self, changes: Vec<FollowChange>, delta: &MetadataDelta, image: &MetadataImage) {
        let mut state = self.state.lock();
        if state.is_stopped {
            return;
        }
        for FollowChange { id, follows } in changes {
            let target = follows.map(|(partition, leader, leader_epoch)| {
                ((leader, self.fetcher_index(id)), Assignment { partition, leader_epoch })
            });
            let key = target.as_ref().map(|(key, _)| *key);
            state.unfollow(id, key);
            if let Some((key, assignment)) = target {
                self.follow(&mut state, key, id, assignment, image);
            }
        }
        for (&(leader, _), running) in &state.fetchers {
            if delta.brokers.contains_key(&leader) {
                running.inbox.set_endpoint(self.endpoint(image, leader));
            }
        }
        state.fetchers.retain(|_, running| {
            if running.partitions == 0 {
                running.inbox.close();
            }
            running.partitions > 0
        });
    }

    fn fetcher_index(&self, id: TopicIdPartition) -> usize {
        let bytes = id.topic_id.as_bytes();
        let topic =
            bytes.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let partition = usize::try_from(id.partition.0).unwrap_or(0);
        topic.wrapping_add(partition) % self.settings.fetcher_count
    }

    fn endpoint(&self, image: &MetadataImage, leader: BrokerId) -> Option<Endpoint> {
        let broker = image.broker(leader)?;
        let listener = broker.listener(&self.settings.listener)?;
        Some(Endpoint {
            host: Arc::clone(&listener.host),
            port: listener.port,
            broker_epoch: broker.epoch,
            dialer: Arc::clone(&self.settings.dialer),
        })
    }

    fn follow(
        &self,
        state: &mut State,
        key: FetcherKey,
        id: TopicIdPartition,
        assignment: Assignment,
        image: &MetadataImage,
    ) {
        let running = state.fetchers.entry(key).or_insert_with(|| {
            let inbox = Arc::new(Inbox::default());
            inbox.set_endpoint(self.endpoint(image, key.0));
            let settings = Arc::clone(&self.settings);
            let fetcher = Fetcher::new(
                key.0,
                settings,
                Arc::clone(&inbox),
                self.broker_epoch.clone(),
                Arc::clone(&self.departures),
            );
            Running {
                inbox,
                thread: FetcherThread::start(format!("fetcher-{}-{}", key.0, key.1), |has_thread| {
                    fetcher.run(has_thread)
                }),
                partitions: 0,
            }
        });
        let Assignment { partition, leader_epoch } = assignment.clone();
        let followed = Followed { key, partition, leader_epoch };
        match state.followed.insert(id, followed) {
            // Another ISR or the like: the fetcher has nothing to do with it.
            Some(before) if before.leader_epoch == leader_epoch => return,
            Some(_) => {}
            None => running.partitions += 1,
        }
        assignment.partition.set_fetcher(Some(Arc::clone(&running.inbox)));
        running.inbox.assign(id, Some(assignment));
    }

    /// Ends all fetchers. Nothing is appended to any follower after this, but by one that the disk holds up for longer than it is
    /// waited for.
    pub(crate) async fn stop(&self) {
        let fetchers = {
            let mut state = self.state.lock();
            state.is_stopped = true;
            std::mem::take(&mut state.fetchers)
        };
        for running in fetchers.values() {
            running.inbox.close();
        }
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        for mut running in fetchers.into_values() {
            if tokio::time::timeout_at(deadline, running.thread.ended()).await.is_err() {
                running.thread.abort();
            }
        }
    }
}

impl State {
    /// Takes the partition from its fetcher, unless that one is to go on with it.
    fn unfollow(&mut self, id: TopicIdPartition, next: Option<FetcherKey>) {
        let Some(followed) = self.followed.get(&id) else { return };
        if Some(followed.key) == next {
            return;
        }
        followed.partition.set_fetcher(None);
        if let Some(running) = self.fetchers.get_mut(&followed.key) {
            running.inbox.assign(id, None);
            running.partitions -= 1;
        }
        self.followed.remove(&id);
    }
}

impl Drop for FetcherManager {
    fn drop(&mut self) {
        for running in std::mem::take(&mut self.state.get_mut().fetchers).into_values() {
            running.inbox.close();
            running.thread.abort();
        }
    }
}
