//! Starting and stopping a controller, and the channel to it.

use async_trait::async_trait;
use moldau_cluster::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerChannel, ControllerError, Forward,
    Forwarded, Heartbeat, HeartbeatReply, MetadataWatch, ProducerIdBlock, QuorumDescription, RegisterBroker,
    RegisteredBroker, WatchMetadata,
};
use tokio::runtime::Handle;

use crate::{ControllerOptions, StartError};

/// Brings controllers up.
#[derive(Debug)]
pub struct Controller;

impl Controller {
    /// Starts a controller on `runtime` and returns once it leads: what was acknowledged before is applied, and
    /// requests are served.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running after an error.
    pub async fn start(
        _options: ControllerOptions,
        _runtime: &Handle,
    ) -> Result<ControllerHandle, StartError> {
        todo!()
    }
}

/// A running controller. A clone is the same controller; dropping all of them does not stop it, `shutdown` does.
#[derive(Clone, Debug)]
pub struct ControllerHandle {}

impl ControllerHandle {
    /// Stops the controller: requests under way get `Stopping`, watches end, the metadata log is closed and its lock
    /// released. Calling it again waits for the same end.
    pub async fn shutdown(&self) {
        todo!()
    }

    /// Waits until the controller has failed, for example because its metadata log could not be synced, and says why.
    /// The process should stop then. Never returns after a `shutdown`.
    pub async fn failed(&self) -> String {
        todo!()
    }
}

#[async_trait]
impl ControllerChannel for ControllerHandle {
    async fn register_broker(&self, _request: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        todo!()
    }

    async fn heartbeat(&self, _request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        todo!()
    }

    async fn allocate_producer_ids(
        &self,
        _request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        todo!()
    }

    async fn alter_partition(
        &self,
        _request: AlterPartition,
    ) -> Result<AlterPartitionReply, ControllerError> {
        todo!()
    }

    async fn watch_metadata(&self, _request: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        todo!()
    }

    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        todo!()
    }

    async fn forward(&self, _request: Forward) -> Result<Forwarded, ControllerError> {
        todo!()
    }
}
