//! The start: directories, listeners, control plane, registration, and only then clients.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moldau_cluster::{BrokerListener, ControllerChannel, FeatureRange, SUPPORTED_FEATURES};
use moldau_log::{FileSystem, LogError, RealFileSystem};
use moldau_metadata::config::{BrokerConfig, HttpListener, Listener};
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::BrokerEpoch;
use moldau_security::link::Dialer;
use tokio::sync::{mpsc, watch};

use super::security::Security;
use super::{Broker, BrokerHandle, Exporter, Life};
use crate::background::{Background, Schedule};
use crate::control::{BrokerPublisher, ControlPlane, transaction_config};
use crate::coordinator::{
    OFFSETS_TOPIC, SHARE_STATE_TOPIC, ShareStateCoordinator, TRANSACTION_TOPIC, TransactionCoordinator,
};
use crate::fetch_session::FetchSessionCache;
use crate::lifecycle::{Lifecycle, LifecycleOptions};
use crate::log_dirs::{LogDir, LogDirs, LogDirsError};
use crate::metadata_cache::MetadataCache;
use crate::metrics::Metrics;
use crate::net::{BoundListener, ConnectionBounds, ConnectionLimits, NetworkShared, ProtectionError};
use crate::options::{BoundAddress, BrokerOptions};
use crate::producer_ids::ProducerIds;
use crate::replica_manager::{PartitionSettings, ReplicaManager, ReplicaOffsetsStore};
use crate::replication::{FetcherManager, FetcherSettings, Replicas, Throttles};
use crate::request_memory::RequestMemory;
use crate::share::ShareService;
use crate::sync::{Syncer, Turns};
use crate::trace::{Trace, TraceSettings, Tracer};
use crate::transaction_markers::MarkerSender;
use crate::verification::{Patience, TransactionVerifier};
use crate::{http, net, replication, trace, transaction_markers};

/// Request bytes in memory over all connections where `queued.max.request.bytes` sets no bound, as Kafka's default does not.
const REQUEST_MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// Log files kept open that nobody is using; the rest are opened on demand.
const OPEN_FILES_MAX: usize = 2048;
/// The sync journal is no larger part of its volume: on a small one it would take room from records that they need more.
const JOURNAL_VOLUME_PARTS: u64 = 16;
/// Descriptors that connections leave to the logs, to listeners and to everything else.
const RESERVED_FILES: u64 = (OPEN_FILES_MAX + JOURNAL_PARTITIONS_MAX) as u64 + 512;
/// Partitions that a log directory's sync journal keeps open, where there are descriptors enough.
const JOURNAL_PARTITIONS_MAX: usize = 2048;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for listener {name}: {source}")]
    Listen { name: String, address: String, source: io::Error },
    #[error("max.connections.per.ip.overrides: {host} has no address: {source}")]
    Host { host: String, source: io::Error },
    #[error("cannot serve HTTP on {address}: {source}")]
    Http { address: SocketAddr, source: io::Error },
    #[error("listener {name}: {source}")]
    Protection { name: String, source: ProtectionError },
    #[error(transparent)]
    LogDirs(#[from] LogDirsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot open the log directories: {0}")]
    Panicked(String),
}

impl BrokerHandle {
    /// Starts a broker on the real file system; see [`BrokerHandle::start_on`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        options: BrokerOptions,
        channel: Arc<dyn ControllerChannel>,
    ) -> Result<Self, StartError> {
        Self::start_on(Arc::new(RealFileSystem), options, channel).await
    }

    /// As [`BrokerHandle::start`], and serves more over HTTP than a broker does by itself.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with_routes(
        options: BrokerOptions,
        channel: Arc<dyn ControllerChannel>,
        more: http::MoreRoutes,
    ) -> Result<Self, StartError> {
        Self::start_all(Arc::new(RealFileSystem), options, channel, more).await
    }

    /// Starts a broker. When this returns, it listens and is on its way to register; clients that connect are served as
    /// soon as the broker is unfenced, and wait in the listeners' queues until then.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_on(
        file_system: Arc<dyn FileSystem>,
        options: BrokerOptions,
        channel: Arc<dyn ControllerChannel>,
    ) -> Result<Self, StartError> {
        let none: http::MoreRoutes = Box::new(|_, _, _| axum::Router::new());
        Self::start_all(file_system, options, channel, none).await
    }

    async fn start_all(
        file_system: Arc<dyn FileSystem>,
        options: BrokerOptions,
        channel: Arc<dyn ControllerChannel>,
        more: http::MoreRoutes,
    ) -> Result<Self, StartError> {
        let config = &options.config;
        let per_ip_overrides = per_ip_overrides(config).await?;
        let (security, dialer) = Security::open(config).await?;
        let (listeners, addresses) = bind_listeners(config, &security).await?;
        let http_socket = bind_http(config).await?;
        let throttles = Arc::new(Throttles::new(&config.settings));
        let metrics = Arc::new(Metrics::new(addresses.iter().map(|address| address.name.as_str())));
        let replicas = open_replicas(file_system, &options, Arc::clone(&throttles), &metrics).await?;
        let syncers = start_syncers(&replicas)?;
        let metadata = Arc::new(MetadataCache::default());
        let store = ReplicaOffsetsStore::new(OFFSETS_TOPIC, Arc::clone(&replicas), Arc::clone(&metadata));
        let (broker_epoch, broker_epochs) = watch::channel(BrokerEpoch(-1));
        let producer_ids = Arc::new(ProducerIds::new(config.node_id, Arc::clone(&channel)));
        let transactions =
            start_transactions(config, &replicas, &metadata, &producer_ids, &broker_epochs, &dialer);
        let control = Arc::new(ControlPlane::new(
            config.node_id,
            options.cluster_id.as_str(),
            config.clone(),
            Arc::clone(&metadata),
            Arc::clone(&channel),
            Arc::new(store),
            transactions,
            start_share_state(config, &replicas, &metadata),
        ));
        let share = ShareService::start(Arc::clone(&control), Arc::clone(&replicas), Arc::clone(&dialer));
        let fetchers = Arc::new(FetcherManager::new(
            FetcherSettings::of(config, throttles, Arc::clone(&dialer)),
            broker_epochs.clone(),
            Arc::clone(&control.departures),
        ));
        let publisher = BrokerPublisher::new(
            &control,
            Arc::new(Replicas { manager: Arc::clone(&replicas), fetchers: Arc::clone(&fetchers) }),
        );
        let isr_changes = tokio::spawn(replication::run_isr_changes(
            Arc::clone(&replicas),
            Arc::clone(&channel),
            config.node_id,
            broker_epochs,
            config.replication.lag_time_max_ms,
        ));
        let lifecycle = Lifecycle::start(
            lifecycle_options(&options, &addresses, &replicas),
            Arc::clone(&channel),
            metadata,
            Arc::new(publisher),
            broker_epoch,
        );
        let background =
            Background::start(Arc::clone(&replicas), Schedule::of(config)).map_err(StartError::Thread)?;
        let (tracer, traces) = tracer(config).unzip();
        let life = Life { state: lifecycle.watch_state(), broker_epoch: lifecycle.watch_broker_epoch() };
        let broker = Arc::new(Broker {
            control,
            metrics,
            tracer,
            replica_manager: replicas,
            turns: Turns::default(),
            fetch_sessions: FetchSessionCache::new(usize::try_from(config.fetch_sessions_max).unwrap_or(0)),
            producer_ids,
            share,
            streams_topics: Arc::default(),
            transaction_verifier: verifier(config, &dialer),
            dialer,
            life: OnceLock::from(life),
            options,
        });
        let (stop, stopping) = watch::channel(false);
        let mut servers = vec![tokio::spawn(serve_when_ready(
            listeners,
            Arc::clone(&broker),
            Arc::clone(&fetchers),
            lifecycle.watch_state(),
            stopping.clone(),
            per_ip_overrides,
        ))];
        servers.push(tokio::spawn(security.keep_fresh(stopping.clone())));
        let exporter = start_exporter(broker.tracer.as_ref(), traces);
        let http_address = http_socket.as_ref().and_then(|socket| socket.local_addr().ok());
        if let Some(socket) = http_socket {
            let more = more(&broker, &addresses, stopping.clone());
            servers.push(tokio::spawn(serve_http(socket, Arc::clone(&broker), more, stopping)));
        }
        Ok(Self {
            broker,
            addresses,
            http_address,
            lifecycle,
            stop,
            servers,
            exporter,
            fetchers,
            isr_changes,
            background,
            syncers,
        })
    }
}

/// What traces requests, and the queue of what it traced. A collector that cannot be used is no reason not to serve.
fn tracer(config: &BrokerConfig) -> Option<(Arc<Tracer>, mpsc::Receiver<Trace>)> {
    match TraceSettings::of(&config.settings, config.node_id) {
        Ok(settings) => settings.map(Tracer::new),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}

/// The transaction coordinator, with what it needs: its log, producer ids, the way to the leaders of partitions.
fn start_transactions(
    config: &BrokerConfig,
    replicas: &Arc<ReplicaManager>,
    metadata: &Arc<MetadataCache>,
    producer_ids: &Arc<ProducerIds>,
    broker_epochs: &watch::Receiver<BrokerEpoch>,
    dialer: &Arc<Dialer>,
) -> Arc<TransactionCoordinator> {
    let store = ReplicaOffsetsStore::new(TRANSACTION_TOPIC, Arc::clone(replicas), Arc::clone(metadata));
    let sender = MarkerSender::new(
        Arc::clone(metadata),
        config.inter_broker_listener_name.as_str(),
        Arc::clone(dialer),
    );
    TransactionCoordinator::start(
        transaction_config(config),
        config.transaction.state_log_partition_count,
        Arc::new(store),
        transaction_markers::wishes(Arc::clone(producer_ids), broker_epochs.clone(), sender),
    )
}

/// The way to the coordinators of transactions.
fn verifier(config: &BrokerConfig, dialer: &Arc<Dialer>) -> TransactionVerifier {
    TransactionVerifier::new(config.node_id, config.inter_broker_listener_name.as_str())
        .with_patience(Patience::of(&config.settings))
        .with_dialer(Arc::clone(dialer))
}

/// The share coordinator, with its log.
fn start_share_state(
    config: &BrokerConfig,
    replicas: &Arc<ReplicaManager>,
    metadata: &Arc<MetadataCache>,
) -> Arc<ShareStateCoordinator> {
    let store = ReplicaOffsetsStore::new(SHARE_STATE_TOPIC, Arc::clone(replicas), Arc::clone(metadata));
    let wishes = crate::share::wishes(Arc::clone(replicas), Arc::clone(metadata));
    ShareStateCoordinator::start(&config.group.share, Arc::new(store), wishes)
}

async fn bind_listeners(
    config: &BrokerConfig,
    security: &Security,
) -> Result<(Vec<BoundListener>, Vec<BoundAddress>), StartError> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for listener in &config.listeners {
        let mut bound = bind_one(listener).await.map_err(|source| StartError::Listen {
            name: listener.name.clone(),
            address: format!("{}:{}", listener.host, listener.port),
            source,
        })?;
        bound.protection = security.listeners.get(&listener.name).cloned();
        let advertised = config.advertised_listeners.iter().find(|other| other.name == listener.name);
        let advertised = advertised.unwrap_or(listener);
        addresses.push(BoundAddress {
            name: listener.name.clone(),
            address: bound.address,
            advertised_host: advertised_host(&advertised.host),
            advertised_port: if advertised.port == 0 { bound.address.port() } else { advertised.port },
        });
        listeners.push(bound);
    }
    for listener in &mut listeners {
        listener.is_rated =
            *listener.name != *config.inter_broker_listener_name || config.listeners.len() == 1;
    }
    Ok((listeners, addresses))
}

/// `max.connections.per.ip.overrides`, by address: all that a name stands for.
async fn per_ip_overrides(config: &BrokerConfig) -> Result<HashMap<IpAddr, usize>, StartError> {
    let mut by_address = HashMap::new();
    for (host, count) in &config.connections.per_ip_overrides {
        let found = tokio::net::lookup_host((host.as_str(), 0)).await;
        let found = found.map_err(|source| StartError::Host { host: host.clone(), source })?;
        let count = usize::try_from(*count).unwrap_or(0);
        by_address.extend(found.map(|address| (address.ip().to_canonical(), count)));
    }
    Ok(by_address)
}

async fn bind_one(listener: &Listener) -> io::Result<BoundListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let found = tokio::net::lookup_host((listener.bind_host(), listener.port)).await?;
    for address in Listener::in_bind_order(found) {
        match net::bind(&listener.name, address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An empty host stands for this machine's name, as in Kafka.
fn advertised_host(host: &str) -> String {
    if !host.is_empty() {
        return host.to_owned();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn bind_http(config: &BrokerConfig) -> Result<Option<tokio::net::TcpListener>, StartError> {
    let HttpListener::At { address, chosen } = config.http_listener else { return Ok(None) };
    match tokio::net::TcpListener::bind(address).await {
        Ok(socket) => Ok(Some(socket)),
        Err(source) if chosen => Err(StartError::Http { address, source }),
        Err(error) => {
            tracing::warn!(%address, %error, "no HTTP: the default address cannot be used");
            Ok(None)
        }
    }
}

async fn open_replicas(
    file_system: Arc<dyn FileSystem>,
    options: &BrokerOptions,
    throttles: Arc<Throttles>,
    metrics: &Metrics,
) -> Result<Arc<ReplicaManager>, StartError> {
    let config = options.config.clone();
    let traffic = Arc::clone(&metrics.traffic);
    let cluster_id = options.cluster_id.clone();
    let incarnation_id = options.incarnation_id;
    let failed_log_dirs = options.failed_log_dirs.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let dirs = LogDirs::open(
            &file_system,
            &config.log_dirs,
            &failed_log_dirs,
            &cluster_id,
            config.node_id,
            OPEN_FILES_MAX,
        )?;
        for dir in dirs.iter() {
            if let Some(journal) = dir.log.journal() {
                let partitions_max = journal_partitions_max(files_max()) / config.log_dirs.len().max(1);
                let bytes_max = u64::try_from(config.flush_journal_bytes).unwrap_or(0);
                // Some volumes do not tell how large they are.
                let volume_bytes =
                    dir.log.space().ok().map(|space| space.total_bytes).filter(|bytes| *bytes > 0);
                let part_bytes = volume_bytes.map_or(u64::MAX, |bytes| bytes / JOURNAL_VOLUME_PARTS);
                journal.enable(bytes_max.min(part_bytes), partitions_max);
            }
        }
        if config.roles.controller {
            let reserve_bytes = u64::try_from(config.metadata_log_reserve_bytes).unwrap_or(0);
            dirs.keep_room_for_metadata(&*file_system, &config.metadata_log_dir, reserve_bytes);
        }
        let settings = PartitionSettings {
            broker_id: config.node_id,
            incarnation_id,
            flush_policy: config.flush_policy,
            lag_ms_max: config.replication.lag_time_max_ms,
            producer_id_expiration_ms: i64::from(config.transaction.producer_id_expiration_ms),
            throttles,
            traffic,
        };
        Ok::<_, StartError>(ReplicaManager::new(dirs, settings, config.settings)?)
    });
    let replicas = opened.await.map_err(|error| StartError::Panicked(error.to_string()))??;
    Ok(Arc::new(replicas))
}

fn start_syncers(replicas: &Arc<ReplicaManager>) -> Result<Vec<Syncer>, StartError> {
    let mut syncers = Vec::new();
    for dir in replicas.dirs().iter() {
        let failed = {
            let replicas = Arc::clone(replicas);
            Arc::new(move |dir: &LogDir| replicas.handle_offline_dir(dir))
        };
        syncers.push(Syncer::start(Arc::clone(dir), failed).map_err(StartError::Thread)?);
    }
    Ok(syncers)
}

fn lifecycle_options(
    options: &BrokerOptions,
    addresses: &[BoundAddress],
    replicas: &ReplicaManager,
) -> LifecycleOptions {
    let config = &options.config;
    let protocol_of = |name: &str| {
        let listener = config.listeners.iter().find(|listener| listener.name == name);
        listener.map_or(0, |listener| listener.protocol as i16)
    };
    let listeners = addresses.iter().map(|address| BrokerListener {
        name: address.name.clone(),
        host: address.advertised_host.clone(),
        port: address.advertised_port,
        security_protocol: protocol_of(&address.name),
    });
    let features = SUPPORTED_FEATURES
        .iter()
        .map(|&(name, min, max)| FeatureRange { name: name.to_owned(), min, max })
        .collect();
    LifecycleOptions {
        broker_id: config.node_id,
        cluster_id: options.cluster_id.clone(),
        incarnation_id: options.incarnation_id,
        listeners: listeners.collect(),
        features,
        rack: config.rack.clone(),
        log_dirs: replicas.dirs().online_ids(),
        previous_broker_epoch: replicas.dirs().previous_broker_epoch(),
        heartbeat_interval: Duration::from_millis(
            u64::try_from(config.heartbeat_interval_ms).unwrap_or(0).max(1),
        ),
        log_dirs_changed: replicas.dirs().watch_changes(),
    }
}

/// How long clients wait for the broker's own image to have it active. It is a matter of milliseconds, but on a busy machine.
const UNFENCED_LIMIT: Duration = Duration::from_secs(10);

/// Serves clients from the moment the controller sends them here.
async fn serve_when_ready(
    listeners: Vec<BoundListener>,
    broker: Arc<Broker>,
    fetchers: Arc<FetcherManager>,
    mut state: watch::Receiver<crate::lifecycle::BrokerState>,
    mut stop: watch::Receiver<bool>,
    per_ip_overrides: HashMap<IpAddr, usize>,
) {
    tokio::select! {
        ready = state.wait_for(|state| *state == crate::lifecycle::BrokerState::Running) => {
            if ready.is_err() {
                return;
            }
        }
        () = net::stopped(&mut stop) => return,
    }
    // The controller said so; this broker's own image may still have it fenced, and would tell clients of no broker at all.
    // A fresh librdkafka client that is told so asks for metadata only minutes later.
    let own_id = broker.options.config.node_id;
    let is_seen = |image: &MetadataImage| {
        broker.replica_manager.is_registered(image) && image.broker(own_id).is_some_and(|own| own.is_active())
    };
    tokio::select! {
        is_seen = broker.control.metadata.wait_until(UNFENCED_LIMIT, is_seen) => {
            if !is_seen {
                tracing::warn!("clients are served before this broker has seen that the cluster counts on it");
            }
        }
        () = net::stopped(&mut stop) => return,
    }
    // The image holds all that was committed before this registration: what it does not name is really gone.
    let replicas = Arc::clone(&broker.replica_manager);
    let image = broker.control.image();
    let strays = {
        let image = Arc::clone(&image);
        tokio::task::spawn_blocking(move || replicas.remove_strays(&image)).await
    };
    match strays {
        Ok(changes) => fetchers.apply(changes, &MetadataDelta::default(), &image),
        Err(error) => tracing::error!(%error, "removing stray logs failed"),
    }
    let shared = network_shared(broker, per_ip_overrides);
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(listener.serve(shared.clone(), stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

fn network_shared(broker: Arc<Broker>, per_ip_overrides: HashMap<IpAddr, usize>) -> NetworkShared {
    let config = &broker.options.config;
    let count = |value: i32| usize::try_from(value).unwrap_or(0);
    let memory = usize::try_from(config.queued_request_bytes_max).unwrap_or(REQUEST_MEMORY_BYTES);
    let memory = RequestMemory::new(memory, count(config.request_bytes_max));
    broker.metrics.watch_memory(memory.clone());
    let rate = config.connections.creation_rate_max;
    let limits = ConnectionLimits::new(ConnectionBounds {
        all_max: connections_max(count(config.connections.connections_max), files_max()),
        per_ip_max: count(config.connections.per_ip_max),
        per_ip_overrides,
        created_per_second_max: (rate < i32::MAX).then(|| f64::from(rate)),
    });
    NetworkShared { limits: Arc::new(limits), memory, broker }
}

/// Starts what takes traces to their collector. It stops behind the servers, whose last requests are traced, too.
fn start_exporter(tracer: Option<&Arc<Tracer>>, traces: Option<mpsc::Receiver<Trace>>) -> Option<Exporter> {
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(trace::export(Arc::clone(tracer?), traces?, stopping));
    Some(Exporter { stop, task })
}

async fn serve_http(
    socket: tokio::net::TcpListener,
    broker: Arc<Broker>,
    more: axum::Router,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = http::serve(socket, broker, more, stop).await {
        tracing::error!(%error, "HTTP ended");
    }
}

/// `max.connections`, or fewer where the process may not open that many files: a flood of connections must not keep a
/// log from rolling to its next segment.
fn connections_max(configured: usize, files_max: Option<u64>) -> usize {
    let Some(files_max) = files_max else { return configured };
    let room = files_max - RESERVED_FILES.min(files_max / 2);
    configured.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Descriptors that the process may have; `None` for any number.
fn files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// An eighth of the descriptors at most goes to what the sync journals have yet to sync.
fn journal_partitions_max(files_max: Option<u64>) -> usize {
    let share = files_max.map_or(usize::MAX, |files| usize::try_from(files / 8).unwrap_or(usize::MAX));
    share.min(JOURNAL_PARTITIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        for (configured, files_max, expected) in [
            (5, Some(1_000_000), 5),
            (1_000_000, Some(10_000), 10_000 - 4608),
            (1_000_000, Some(1024), 512),
            (1_000_000, None, 1_000_000),
            (0, Some(1024), 0),
        ] {
            assert_eq!(connections_max(configured, files_max), expected, "{configured} {files_max:?}");
        }
    }
}
