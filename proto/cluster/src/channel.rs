//! The one way from a broker to the controllers.

use async_trait::async_trait;

use crate::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerError, ControllerStatistics, Forward,
    Forwarded, Heartbeat, HeartbeatReply, MetadataWatch, ProducerIdBlock, QuorumDescription, RegisterBroker,
    RegisteredBroker, WatchMetadata,
};

/// A controller, as a broker sees it. Every call that changes something returns after the change is committed and
/// applied on the controller; the broker itself sees it once its watch delivers it.
///
/// Dropping a returned future does not take the request back.
#[async_trait]
pub trait ControllerChannel: Send + Sync {
    /// Registers a new incarnation (KIP-631). Demotes what the broker's last incarnation led.
    ///
    /// # Errors
    /// `Kafka(DUPLICATE_BROKER_REGISTRATION)` while another live incarnation holds the id, `Kafka(INCONSISTENT_CLUSTER_ID)`,
    /// `Kafka(INVALID_REGISTRATION)`, or the channel's own.
    async fn register_broker(&self, request: RegisterBroker) -> Result<RegisteredBroker, ControllerError>;

    /// Keeps the broker's session alive, and reports what the controller decided about it.
    ///
    /// # Errors
    /// `Kafka(STALE_BROKER_EPOCH)` if another incarnation registered since; `Kafka(BROKER_ID_NOT_REGISTERED)`; or the
    /// channel's own.
    async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError>;

    /// Takes a block of producer ids that was never given out before (KIP-730).
    ///
    /// # Errors
    /// `Kafka(STALE_BROKER_EPOCH)`, `Kafka(BROKER_ID_NOT_REGISTERED)`, or the channel's own.
    async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError>;

    /// Proposes ISR changes; each partition has its own result.
    ///
    /// # Errors
    /// `Kafka(STALE_BROKER_EPOCH)`, `Kafka(BROKER_ID_NOT_REGISTERED)`, or the channel's own.
    async fn alter_partition(&self, request: AlterPartition) -> Result<AlterPartitionReply, ControllerError>;

    /// Streams the committed metadata. Any controller serves it, from what it has applied.
    ///
    /// # Errors
    /// `Kafka(INCONSISTENT_CLUSTER_ID)`, or the channel's own.
    async fn watch_metadata(&self, request: WatchMetadata) -> Result<MetadataWatch, ControllerError>;

    /// The state of the metadata quorum.
    ///
    /// # Errors
    /// The channel's own.
    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError>;

    /// Carries out a Kafka admin request for a client. Errors within Kafka's protocol are in the reply's body.
    ///
    /// # Errors
    /// `Kafka(UNSUPPORTED_VERSION)` for an API or version the controller does not serve, `Kafka(INVALID_REQUEST)` for a
    /// body that does not decode, or the channel's own.
    async fn forward(&self, request: Forward) -> Result<Forwarded, ControllerError>;

    /// The controller in the same process, if there is one.
    fn local_statistics(&self) -> Option<ControllerStatistics> {
        None
    }
}
