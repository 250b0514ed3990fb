//! What a broker and the controllers say to one another: the [`ControllerChannel`], its requests and replies.
//!
//! Today both roles live in one process and the channel is a function call. The types are plain data, each of which
//! becomes one protobuf message when the channel becomes a network service, so nothing here borrows, and nothing
//! here is a closure.

mod channel;
mod error;
mod forward;
mod lifecycle;
mod partition;
mod producer_ids;
mod quorum;
mod watch;

pub use channel::ControllerChannel;
pub use error::{ControllerError, LeaderHint};
pub use forward::{Forward, Forwarded};
pub use lifecycle::{
    BrokerListener, FeatureRange, Heartbeat, HeartbeatReply, RegisterBroker, RegisteredBroker,
    SUPPORTED_FEATURES,
};
pub use partition::{
    AlterPartition, AlterPartitionReply, AlterPartitionRequest, AlteredPartition, IsrMember,
    LeaderRecoveryState,
};
pub use producer_ids::{AllocateProducerIds, ProducerIdBlock};
pub use quorum::{QuorumDescription, QuorumNode, QuorumReplica};
pub use watch::{MetadataEvent, MetadataPosition, MetadataWatch, WatchMetadata};
