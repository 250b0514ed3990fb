//! The words every crate shares: ids, offsets, epochs, principals and what they may do, Kafka's error codes. No behaviour
//! beyond what a number of its kind allows: an offset may be counted on, two offsets may be subtracted, and nothing else
//! compiles.

mod access;
mod error_code;
mod id;
mod number;
mod principal;
mod topic;

pub use access::{CLUSTER_RESOURCE_NAME, Operation, PatternType, Permission, ResourceType};
pub use error_code::ErrorCode;
pub use id::{ParseUuidError, TopicId, Uuid};
pub use number::{
    BrokerEpoch, BrokerId, GenerationId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerEpoch,
    ProducerId, TimestampMs, VerificationGuard,
};
pub use principal::{ParsePrincipalError, Principal};
pub use topic::{InvalidTopicName, TopicIdPartition, TopicPartition, validate_topic_name};
