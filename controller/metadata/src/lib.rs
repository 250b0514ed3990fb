//! The cluster's metadata: the records of the metadata log, the immutable image that their replay makes, and the
//! difference between two images. Controller and brokers share it. Pure: no clock, no randomness, no I/O.
//!
//! One Raft entry is one [`MetadataBatch`]. [`MetadataImage::replay`] is the only way to change an image: live, after
//! a restart and from a snapshot the same code runs.

mod acls;
mod broker;
mod client_quotas;
mod codec;
pub mod config;
mod configs;
mod delegation_tokens;
mod delta;
mod image;
mod partition;
mod record;
mod replay;
mod scram;
mod snapshot;
mod sorted_map;
mod topic;

pub use acls::{
    ACL_TEXT_BYTES_MAX, ACLS_MAX, AUDIT_TARGET, Acl, AclFilter, AclFilterCodes, AclsImage, AuditLine,
    AuthorizerSettings, Caller, DENIALS_PER_SECOND_MAX, PatternFilter, Resource, WILDCARD, shortened,
};
pub use broker::{BrokerRegistration, Listener, SecurityProtocol, SupportedFeatureRange};
pub use client_quotas::{
    AppliedQuota, ClientQuotasImage, QuotaEntity, QuotaEntityType, QuotaKey, QuotaName, QuotaValue,
    QuotaValues,
};
pub use codec::{BATCH_BYTES_MAX, DecodeError, decode_batch, encode_batch, encoded_batch_length};
pub use configs::{ConfigResource, ConfigResourceType, ConfigsImage, ResourceConfigs};
pub use delegation_tokens::{
    DELEGATION_TOKENS_MAX, DELEGATION_TOKENS_PER_OWNER_MAX, DelegationToken, DelegationTokensImage,
    TOKEN_RENEWERS_MAX, TOKEN_TEXT_BYTES_MAX,
};
pub use delta::{BrokerDelta, ConfigDelta, MetadataDelta, PartitionDelta, TopicDelta};
pub use image::{MetadataImage, MetadataPosition};
pub use partition::PartitionRegistration;
pub use record::{LeaderRecoveryState, MetadataBatch, MetadataRecord, RecordKind, records};
pub use replay::ReplayError;
pub use scram::{ScramCredential, ScramImage, ScramMechanism};
pub use sorted_map::SortedMap;
pub use topic::{TopicImage, TopicsImage};
