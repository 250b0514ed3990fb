//! What the control-plane APIs share: the metadata, the way to the controllers, the coordinators, the settings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use moldau_cluster::{ControllerChannel, ReplicaDirectory};
use moldau_group::{
    Assignor, ConsumerGroupConfig, GroupConfig, MigrationPolicy, ShareGroupConfig, StreamsGroupConfig,
};
use moldau_metadata::config::security::delegation_token_secret;
use moldau_metadata::config::{BrokerConfig, BrokerSettings};
use moldau_metadata::{ConfigResource, MetadataDelta, MetadataImage};
use moldau_model::{BrokerId, Uuid};
use moldau_security::delegation::TokenKey;
use moldau_txn::TransactionConfig;

use crate::authorize::Authorizer;
use crate::clock;
use crate::coordinator::{GroupCoordinator, OffsetsStore, ShareStateCoordinator, TransactionCoordinator};
use crate::departures::Departures;
use crate::lifecycle::MetadataPublisher;
use crate::metadata_cache::MetadataCache;
use crate::quotas::ClientQuotas;
use crate::telemetry::Telemetry;

/// How long an answer waits for the broker's own image to show what the controller has committed.
pub(crate) const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

/// The control plane of one broker.
pub struct ControlPlane {
    pub node_id: BrokerId,
    pub cluster_id: Arc<str>,
    pub config: BrokerConfig,
    pub metadata: Arc<MetadataCache>,
    pub channel: Arc<dyn ControllerChannel>,
    pub coordinator: Arc<GroupCoordinator>,
    pub transactions: Arc<TransactionCoordinator>,
    pub share_state: Arc<ShareStateCoordinator>,
    pub departures: Arc<Departures>,
    pub quotas: Arc<ClientQuotas>,
    pub telemetry: Arc<Telemetry>,
    /// Who decides what clients may do; `None` if everybody may do everything.
    pub authorizer: Option<Arc<Authorizer>>,
    /// What delegation tokens are made of; `None` where there are none.
    pub token_key: Option<TokenKey>,
}

impl ControlPlane {
    /// Whether what this broker coordinates may be coordinated by another one already, of which it has not heard: the controllers
    /// have not answered it for a session.
    #[must_use]
    pub fn may_be_replaced(&self) -> bool {
        let session = Duration::from_millis(self.config.session_timeout_ms.max(0).unsigned_abs().into());
        self.metadata.may_be_counted_out(clock::monotonic(), session)
    }

    /// The control plane of a broker that has not seen any metadata. Needs a tokio runtime: the coordinator's clock ticks
    /// from here on.
    #[expect(clippy::too_many_arguments, reason = "one for each of its parts")]
    #[must_use]
    pub fn new(
        node_id: BrokerId,
        cluster_id: impl Into<Arc<str>>,
        config: BrokerConfig,
        metadata: Arc<MetadataCache>,
        channel: Arc<dyn ControllerChannel>,
        store: Arc<dyn OffsetsStore>,
        transactions: Arc<TransactionCoordinator>,
        share_state: Arc<ShareStateCoordinator>,
    ) -> Self {
        let partition_count = config.offsets_topic.partition_count;
        let coordinator = GroupCoordinator::start(group_config(&config), partition_count, store);
        let (cluster_id, departures, telemetry) = (cluster_id.into(), Arc::default(), Arc::default());
        let authorizer = Authorizer::new(&config, Arc::clone(&metadata)).map(Arc::new);
        let token_key = delegation_token_secret(&config.settings).map(|secret| TokenKey::new(&secret));
        let quotas = Arc::new(ClientQuotas::new(&config.settings, Arc::clone(&metadata)));
        Self {
            node_id,
            cluster_id,
            config,
            metadata,
            channel,
            coordinator,
            transactions,
            share_state,
            departures,
            quotas,
            telemetry,
            authorizer,
            token_key,
        }
    }

    /// The newest metadata.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.metadata.image()
    }

    /// The settings in force on this broker, as `image` has them.
    #[must_use]
    pub fn settings<'a>(&'a self, image: &'a MetadataImage) -> BrokerSettings<'a> {
        let configs = image.configs();
        BrokerSettings {
            statics: &self.config.settings,
            of_this_broker: configs.of(&ConfigResource::broker(self.node_id)).map(|configs| &**configs),
            of_all_brokers: configs.of(&ConfigResource::default_broker()).map(|configs| &**configs),
        }
    }

    /// The broker that clients are told is the controller. Any broker forwards what only the controller can do, so this one
    /// names itself; the controllers' own addresses are none of the clients' business.
    #[must_use]
    pub fn controller_for_clients(&self, image: &MetadataImage) -> BrokerId {
        if image.is_alive_broker(self.node_id) {
            return self.node_id;
        }
        image.alive_brokers().next().map_or(BrokerId::NONE, |broker| broker.id)
    }
}

/// Also with `group.initial.rebalance.delay.ms=0` members that come at once are one generation, as they are in Kafka, whose
/// coordinator takes what is queued before a timer of no time. Alone in the first generation, the first one would keep all others
/// waiting until its next heartbeat.
const INITIAL_REBALANCE_DELAY_MS_MIN: i32 = 20;

/// The coordinator's settings, out of the broker's.
fn group_config(config: &BrokerConfig) -> GroupConfig {
    GroupConfig {
        min_session_timeout_ms: config.group.session_timeout_ms_min,
        max_session_timeout_ms: config.group.session_timeout_ms_max,
        initial_rebalance_delay_ms: config
            .group
            .initial_rebalance_delay_ms
            .max(INITIAL_REBALANCE_DELAY_MS_MIN),
        initial_rebalance_quiet_ms: config
            .group
            .initial_rebalance_quiet_ms
            .max(INITIAL_REBALANCE_DELAY_MS_MIN),
        group_max_size: usize::try_from(config.group.size_max).unwrap_or(usize::MAX),
        offset_metadata_bytes_max: usize::try_from(config.offsets_topic.metadata_bytes_max).unwrap_or(0),
        offsets_retention_ms: config.offsets_topic.retention_ms,
        offsets_retention_check_interval_ms: config.offsets_topic.retention_check_interval_ms,
        offset_commit_timeout_ms: i64::from(config.offsets_topic.commit_timeout_ms),
        consumer: ConsumerGroupConfig {
            session_timeout_ms: config.group.consumer_session_timeout_ms,
            heartbeat_interval_ms: config.group.consumer_heartbeat_interval_ms,
            assignment_interval_ms: config.group.consumer_assignment_interval_ms,
            regex_refresh_interval_ms: i64::from(config.group.consumer_regex_refresh_interval_ms),
            size_max: usize::try_from(config.group.consumer_size_max).unwrap_or(usize::MAX),
            assignors: config
                .group
                .consumer_assignors
                .iter()
                .filter_map(|name| Assignor::from_name(name))
                .collect(),
            migration: MigrationPolicy::from_name(&config.group.consumer_migration_policy)
                .unwrap_or(MigrationPolicy::BIDIRECTIONAL),
            ..ConsumerGroupConfig::default()
        },
        share: ShareGroupConfig {
            session_timeout_ms: config.group.share.session_timeout_ms,
            heartbeat_interval_ms: config.group.share.heartbeat_interval_ms,
            assignment_interval_ms: config.group.share.assignment_interval_ms,
            size_max: usize::try_from(config.group.share.size_max).unwrap_or(usize::MAX),
            initialize_retry_interval_ms: i64::from(config.group.share.initialize_retry_interval_ms),
            ..ShareGroupConfig::default()
        },
        streams: StreamsGroupConfig {
            session_timeout_ms: config.group.streams.session_timeout_ms,
            heartbeat_interval_ms: config.group.streams.heartbeat_interval_ms,
            assignment_interval_ms: config.group.streams.assignment_interval_ms,
            initial_rebalance_delay_ms: config.group.streams.initial_rebalance_delay_ms,
            standby_replicas: config.group.streams.standby_replicas,
            size_max: usize::try_from(config.group.streams.size_max).unwrap_or(usize::MAX),
            ..StreamsGroupConfig::default()
        },
        ..GroupConfig::default()
    }
}

/// The transaction coordinator's settings, out of the broker's.
#[must_use]
pub fn transaction_config(config: &BrokerConfig) -> TransactionConfig {
    TransactionConfig {
        transaction_timeout_ms_max: config.transaction.timeout_ms_max,
        transactional_id_expiration_ms: i64::from(config.transaction.transactional_id_expiration_ms),
        abort_timed_out_interval_ms: i64::from(config.transaction.abort_timed_out_interval_ms),
        remove_expired_interval_ms: i64::from(config.transaction.remove_expired_interval_ms),
        ..TransactionConfig::default()
    }
}

/// What the replicas do with new metadata: they come first, before clients see it.
#[async_trait]
pub trait ReplicaPublisher: Send + Sync {
    /// Becomes leader and follower, creates and deletes logs. May take as long as the disk does.
    async fn apply(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>);

    /// Whether metadata knows of this start of the broker. Before that it leads nothing, whatever metadata says.
    fn is_registered(&self, image: &MetadataImage) -> bool;

    /// The log directories that failed since the start.
    fn offline_log_dirs(&self) -> Vec<Uuid>;

    /// The log directories that have no room left.
    fn full_log_dirs(&self) -> Vec<Uuid>;

    /// The log directories that are to get no new replicas.
    fn cordoned_log_dirs(&self) -> Vec<Uuid>;

    /// Where replicas are that `image` has elsewhere.
    fn replica_directories(&self, image: &MetadataImage) -> Vec<ReplicaDirectory>;
}

/// All that follows the metadata on one broker: replicas, then clients' view, then coordinators.
pub struct BrokerPublisher {
    node_id: BrokerId,
    replicas: Arc<dyn ReplicaPublisher>,
    coordinator: Arc<GroupCoordinator>,
    transactions: Arc<TransactionCoordinator>,
    share_state: Arc<ShareStateCoordinator>,
    departures: Arc<Departures>,
    quotas: Arc<ClientQuotas>,
    telemetry: Arc<Telemetry>,
}

impl BrokerPublisher {
    /// One for the parts of `control`.
    #[must_use]
    pub fn new(control: &ControlPlane, replicas: Arc<dyn ReplicaPublisher>) -> Self {
        Self {
            node_id: control.node_id,
            replicas,
            coordinator: Arc::clone(&control.coordinator),
            transactions: Arc::clone(&control.transactions),
            share_state: Arc::clone(&control.share_state),
            departures: Arc::clone(&control.departures),
            quotas: Arc::clone(&control.quotas),
            telemetry: Arc::clone(&control.telemetry),
        }
    }
}

#[async_trait]
impl MetadataPublisher for BrokerPublisher {
    async fn before_swap(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.departures.apply(delta, Instant::now());
        self.replicas.apply(delta, image).await;
    }

    async fn after_swap(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        if !delta.client_quotas.is_empty() {
            self.quotas.apply(image);
        }
        self.telemetry.apply(delta, image);
        // What the broker led before it was started again, the registration takes from it: it must not be loaded, nor
        // written to, in the old epoch.
        if self.replicas.is_registered(image) {
            self.coordinator.apply(self.node_id, delta, image);
            self.transactions.apply(self.node_id, delta, image);
            self.share_state.apply(self.node_id, delta, image);
        }
    }

    fn offline_log_dirs(&self) -> Vec<Uuid> {
        self.replicas.offline_log_dirs()
    }

    fn full_log_dirs(&self) -> Vec<Uuid> {
        self.replicas.full_log_dirs()
    }

    fn cordoned_log_dirs(&self) -> Vec<Uuid> {
        self.replicas.cordoned_log_dirs()
    }

    fn replica_directories(&self, image: &MetadataImage) -> Vec<ReplicaDirectory> {
        self.replicas.replica_directories(image)
    }
}
