//! Starting and stopping a controller, and the channel to it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use moldau_cluster::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerChannel, ControllerError, Forward,
    Forwarded, Heartbeat, HeartbeatReply, MetadataWatch, ProducerIdBlock, QuorumDescription, RegisterBroker,
    RegisteredBroker, WatchMetadata,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::applied::Applied;
use crate::event_loop::EventLoop;
use crate::manage::Settings;
use crate::raft::{RaftNode, RaftNodeOptions};
use crate::service::Service;
use crate::{ControllerOptions, StartError};

/// Brings controllers up.
#[derive(Debug)]
pub struct Controller;

impl Controller {
    /// Starts a controller on `runtime` and returns once it leads: what was acknowledged before is applied, and
    /// requests are served. The runtime needs tokio's timers.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running after an error.
    pub async fn start(options: ControllerOptions, runtime: &Handle) -> Result<ControllerHandle, StartError> {
        let address = check_voters(&options)?;
        runtime.spawn(start(options, address)).await.map_err(|error| StartError::Raft(error.to_string()))?
    }
}

/// This node's CONTROLLER listener, if the voters are named; refuses a quorum that this version cannot form.
fn check_voters(options: &ControllerOptions) -> Result<String, StartError> {
    match options.voters.as_slice() {
        [] => Ok(String::new()),
        [voter] if voter.node_id == options.node_id => Ok(format!("{}:{}", voter.host, voter.port)),
        [voter] => Err(StartError::NotAVoter { voter: voter.node_id, node_id: options.node_id }),
        voters => Err(StartError::ManyVoters { count: voters.len() }),
    }
}

async fn start(options: ControllerOptions, address: String) -> Result<ControllerHandle, StartError> {
    let applied = Arc::new(Applied::default());
    let node_options = RaftNodeOptions {
        node_id: options.node_id,
        cluster_id: options.cluster_id.clone(),
        metadata_log_dir: options.metadata_log_dir,
        directory_id: options.directory_id,
        address,
        raft: options.raft,
    };
    let node = Arc::new(RaftNode::start(node_options, applied.clone()).await?);
    let (requests, queue) = mpsc::channel(options.request_queue_length.max(1));
    let (stop, stopped) = watch::channel(false);
    let settings = Settings::new(options.node_id, options.settings);
    let event_loop = EventLoop::new(node.clone(), applied.clone(), settings, options.broker_session_timeout);
    let event_loop = tokio::spawn(event_loop.run(queue, stopped));
    let service = Service {
        node_id: options.node_id,
        cluster_id: options.cluster_id,
        directory_id: options.directory_id,
        listener_name: options.listener_name,
        node,
        applied,
        requests,
        stop,
    };
    let handle = ControllerHandle {
        service: Arc::new(service),
        event_loop: Arc::new(tokio::sync::Mutex::new(Some(event_loop))),
    };
    if let Err(error) = handle.service.bootstrap().await {
        handle.shutdown().await;
        return Err(StartError::Raft(error.to_string()));
    }
    Ok(handle)
}

/// A running controller. A clone is the same controller; dropping all of them does not stop it, `shutdown` does.
#[derive(Clone)]
pub struct ControllerHandle {
    service: Arc<Service>,
    event_loop: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerHandle").field("node_id", &self.service.node_id).finish_non_exhaustive()
    }
}

impl ControllerHandle {
    /// Stops the controller: requests under way get `Stopping`, watches end, the metadata log is closed and its lock
    /// released. Calling it again waits for the same end.
    pub async fn shutdown(&self) {
        self.service.stop.send_replace(true);
        // The lock makes a second caller wait for the first.
        let mut event_loop = self.event_loop.lock().await;
        let Some(task) = event_loop.take() else { return };
        if let Err(error) = task.await {
            tracing::error!(%error, "the controller's event loop had failed");
        }
        self.service.node.shutdown().await;
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
        Ok(self.service.describe_quorum())
    }

    async fn forward(&self, request: Forward) -> Result<Forwarded, ControllerError> {
        self.service.forward(request).await
    }
}
