//! Starting and stopping a controller, and the channel to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use moldau_cluster::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerChannel, ControllerError,
    ControllerStatistics, Forward, Forwarded, Heartbeat, HeartbeatReply, MetadataWatch, ProducerIdBlock,
    QuorumDescription, RegisterBroker, RegisteredBroker, WatchMetadata,
};
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerId, Offset};
use moldau_security::delegation::{TokenFinder, TokenKey};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::applied::Applied;
use crate::audit::AuditLog;
use crate::event_loop::{EventLoop, Founding};
use crate::listener::Server;
use crate::manage::Settings;
use crate::raft::{RaftNode, RaftNodeOptions};
use crate::service::{CARRIED_OUT_MAX, Service};
use crate::{ControllerOptions, StartError};

/// Brings controllers up.
#[derive(Debug)]
pub struct Controller;

impl Controller {
    /// Starts a controller that nobody else has to reach: see [`Self::start_on`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: ControllerOptions, runtime: &Handle) -> Result<ControllerHandle, StartError> {
        Self::start_on(options, Vec::new(), runtime).await
    }

    /// Starts a controller on `runtime`, which needs tokio's timers; other nodes and tools reach it by `listeners`, which
    /// are bound already. One that is the whole quorum leads when this returns: what was acknowledged before is applied,
    /// and requests are served. One of several returns at once, and finds the others while it runs.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running after an error.
    pub async fn start_on(
        options: ControllerOptions,
        listeners: Vec<std::net::TcpListener>,
        runtime: &Handle,
    ) -> Result<ControllerHandle, StartError> {
        let voters = voters(&options)?;
        let started = runtime.spawn(start(options, voters, listeners));
        started.await.map_err(|error| StartError::Raft(error.to_string()))?
    }
}

/// The quorum's members and their addresses. Where neither they nor anybody to ask is named, this node is the whole quorum.
fn voters(options: &ControllerOptions) -> Result<BTreeMap<u64, String>, StartError> {
    let node_id = options.node_id;
    let id =
        |id: BrokerId| u64::try_from(id.0).map_err(|_| StartError::Raft(format!("node.id {id} is negative")));
    if options.voters.is_empty() {
        let own = BTreeMap::from([(id(node_id)?, options.advertised_address.clone())]);
        return Ok(if options.bootstrap_servers.is_empty() { own } else { BTreeMap::new() });
    }
    if !options.voters.iter().any(|voter| voter.node_id == node_id) {
        let voters: Vec<String> = options.voters.iter().map(|voter| voter.node_id.to_string()).collect();
        return Err(StartError::NotAVoter { voters: voters.join(","), node_id });
    }
    options.voters.iter().map(|voter| Ok((id(voter.node_id)?, voter.address()))).collect()
}

/// By what the others reach this node: what it says, or what they have in their configuration.
fn address(options: &ControllerOptions, voters: &BTreeMap<u64, String>) -> String {
    if !options.advertised_address.is_empty() {
        return options.advertised_address.clone();
    }
    let named = u64::try_from(options.node_id.0).ok().and_then(|id| voters.get(&id));
    named.cloned().unwrap_or_default()
}

async fn start(
    options: ControllerOptions,
    voters: BTreeMap<u64, String>,
    listeners: Vec<std::net::TcpListener>,
) -> Result<ControllerHandle, StartError> {
    let inter_broker_listener = options.inter_broker_listener();
    let applied = Arc::new(Applied::default());
    let address = address(&options, &voters);
    let node_options = RaftNodeOptions {
        node_id: options.node_id,
        cluster_id: options.cluster_id.clone(),
        metadata_log_dir: options.metadata_log_dir,
        directory_id: options.directory_id,
        address,
        voters,
        servers: options.bootstrap_servers,
        auto_join: options.auto_join,
        secret: options.secret.clone(),
        dialer: Arc::clone(&options.security.dialer),
        raft: options.raft,
    };
    let node = Arc::new(RaftNode::start(node_options, applied.clone()).await?);
    let (requests, queue) = mpsc::channel(options.request_queue_length.max(1));
    let (stop, stopped) = watch::channel(false);
    let active = Arc::new(watch::channel(false).0);
    let settings = Settings::new(options.node_id, options.settings);
    let authorizer = settings.authorizer().cloned();
    let tokens = settings.token_secret().map(|secret| TokenFinder::new(TokenKey::new(&secret)));
    let audit = Arc::new(AuditLog::default());
    let event_loop = EventLoop::new(
        node.clone(),
        applied.clone(),
        settings,
        Arc::clone(&audit),
        options.broker_session_timeout,
        Founding { cluster_id: options.cluster_id.clone(), records: options.initial_records },
        active.clone(),
    );
    let event_loop = tokio::spawn(event_loop.run(queue, stopped.clone()));
    let is_alone = node.is_alone();
    let service = Arc::new(Service {
        node_id: options.node_id,
        cluster_id: options.cluster_id,
        listener_name: options.listener_name,
        inter_broker_listener,
        authorizer,
        audit,
        tokens,
        node,
        applied,
        requests,
        active,
        stop,
        carrying_out: Arc::new(Semaphore::new(CARRIED_OUT_MAX)),
    });
    let handle = ControllerHandle {
        service,
        tasks: Arc::new(tokio::sync::Mutex::new(Some(Tasks { event_loop, server: None }))),
    };
    match Server::start(&handle, listeners, options.secret.as_deref(), options.security, stopped) {
        Ok(server) => {
            if let Some(tasks) = handle.tasks.lock().await.as_mut() {
                tasks.server = Some(server);
            }
        }
        Err(error) => {
            handle.shutdown().await;
            return Err(StartError::Listener(error));
        }
    }
    if is_alone && !handle.service.wait_active().await {
        handle.shutdown().await;
        return Err(StartError::Raft("this controller did not become the active one".to_owned()));
    }
    Ok(handle)
}

/// What ends with the controller.
struct Tasks {
    event_loop: JoinHandle<()>,
    server: Option<Server>,
}

/// A running controller. A clone is the same controller; dropping all of them does not stop it, `shutdown` does.
#[derive(Clone)]
pub struct ControllerHandle {
    pub(crate) service: Arc<Service>,
    tasks: Arc<tokio::sync::Mutex<Option<Tasks>>>,
}

impl fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerHandle").field("node_id", &self.service.node_id).finish_non_exhaustive()
    }
}

impl ControllerHandle {
    /// Stops the controller. An active one of several first hands over to another. Requests under way get `Stopping`, watches end, the metadata log is closed and its lock
    /// released. Calling it again waits for the same end.
    pub async fn shutdown(&self) {
        self.service.node.hand_over().await;
        self.service.stop.send_replace(true);
        self.service.active.send_replace(false);
        // The lock makes a second caller wait for the first.
        let mut tasks = self.tasks.lock().await;
        let Some(Tasks { event_loop, server }) = tasks.take() else { return };
        if let Err(error) = event_loop.await {
            tracing::error!(%error, "the controller's event loop had failed");
        }
        self.service.node.end_tasks();
        if let Some(server) = server {
            server.stopped().await;
        }
        self.service.node.shutdown().await;
    }

    /// The newest metadata that this controller has applied.
    #[must_use]
    pub fn image(&self) -> MetadataImage {
        self.service.applied.image()
    }

    /// Tells of every change of the last applied offset.
    #[must_use]
    pub fn watch_applied(&self) -> watch::Receiver<Offset> {
        self.service.applied.subscribe()
    }

    /// Whether this node knows who leads the quorum.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.service.node.quorum_state().leader.is_some()
    }

    /// Whether this controller is the active one.
    #[must_use]
    pub fn is_active(&self) -> bool {
        *self.service.active.borrow()
    }

    /// Waits until the controller has failed, for example because its metadata log could not be synced, and says why.
    /// The process should stop then. Never returns after a `shutdown`.
    pub async fn failed(&self) -> String {
        tokio::select! {
            reason = self.service.node.failed() => reason,
            () = self.service.requests.closed() => {
                if *self.service.stop.borrow() {
                    std::future::pending::<()>().await;
                }
                "the controller's event loop has failed".to_owned()
            }
        }
    }
}

#[async_trait]
impl ControllerChannel for ControllerHandle {
    async fn register_broker(&self, request: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        self.service.register_broker(request).await
    }

    async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        self.service.heartbeat(request).await
    }

    async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        self.service.allocate_producer_ids(request).await
    }

    async fn alter_partition(&self, request: AlterPartition) -> Result<AlterPartitionReply, ControllerError> {
        self.service.alter_partition(request).await
    }

    async fn watch_metadata(&self, request: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        self.service.watch_metadata(&request)
    }

    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        self.service.describe_quorum()
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, ControllerError> {
        self.service.forward(request).await
    }

    fn local_statistics(&self) -> Option<ControllerStatistics> {
        Some(self.service.statistics())
    }
}
