//! What a broker and the controllers say to one another: the [`ControllerChannel`], its requests and replies.
//!
//! The types are plain data. Within one process the channel is a function call; between processes each type is one
//! protobuf message of the services in [`rpc`], and [`RemoteControllerChannel`] finds the controller to ask.

mod channel;
mod error;
mod forward;
mod lifecycle;
mod partition;
mod producer_ids;
mod quorum;
mod remote;
pub mod rpc;
mod statistics;
mod watch;

pub use channel::ControllerChannel;
pub use error::{ControllerError, LeaderHint};
pub use forward::{Forward, Forwarded};
pub use lifecycle::{
    BrokerListener, FeatureRange, Heartbeat, HeartbeatReply, KRAFT_VERSION, RECORDS_VERSION, RegisterBroker,
    RegisteredBroker, ReplicaDirectory, SUPPORTED_FEATURES,
};
pub use partition::{
    AlterPartition, AlterPartitionReply, AlterPartitionRequest, AlteredPartition, IsrMember,
    LeaderRecoveryState,
};
pub use producer_ids::{AllocateProducerIds, ProducerIdBlock};
pub use quorum::{QuorumDescription, QuorumNode, QuorumReplica};
pub use remote::{ControllerAddress, LocalController, RemoteControllerChannel, identify};
pub use statistics::{ClusterStatistics, ControllerStatistics};
pub use watch::{MetadataEvent, MetadataPosition, MetadataWatch, WatchMetadata};
