//! The records of `__consumer_offsets`, byte for byte Kafka's.
//!
//! A key opens with its version, and that says what the record is: 0 and 1 a committed offset, 2 a classic
//! group, 3 to 8 and 16 a consumer group (KIP-848), 10 to 15 a share group (KIP-932), 17 and 19 to 23 a streams group
//! (KIP-1071), others the groups of later protocols. A value opens with a version of its own. Source: the record definitions
//! of Apache Kafka 4.3's group coordinator.

mod consumer_group;
mod consumer_protocol;
mod group_metadata;
mod key;
mod offset_commit;
mod share_group;
mod streams_group;
mod wire;

pub(crate) use consumer_group::{ConsumerRecord, GroupEpoch, ResolvedRegex, TargetEpoch};
pub(crate) use consumer_protocol::{
    NamedPartitions, Subscription, decode_assignment, encode_assignment, subscribed_topics,
    subscription_version,
};
pub(crate) use group_metadata::{GroupMetadataValue, MemberMetadata};
pub(crate) use key::{RecordKey, group_key, offset_key};
pub(crate) use offset_commit::OffsetCommitValue;
pub(crate) use share_group::ShareRecord;
pub(crate) use streams_group::{StreamsEpoch, StreamsRecord};
pub(crate) use wire::STRING_BYTES_MAX;

/// What [`GroupShard::replay`](crate::GroupShard::replay) made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A committed offset, or its tombstone.
    Offset,
    /// A classic group's metadata, or its tombstone.
    Group,
    /// Something of a consumer group, or its tombstone.
    ConsumerGroup,
    /// Something of a share group, or its tombstone.
    ShareGroup,
    /// Something of a streams group, or its tombstone.
    StreamsGroup,
    /// A record of a kind this coordinator does not keep; the number is the key's version.
    Skipped(i16),
}

/// Why bytes are no record of `__consumer_offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the {field} of a coordinator record is cut short")]
    Truncated { field: &'static str },
    #[error("the {field} of a coordinator record is invalid")]
    Invalid { field: &'static str },
    #[error(
        "a coordinator record of key version {key_version} has a value of unknown version {value_version}"
    )]
    UnknownValueVersion { key_version: i16, value_version: i16 },
}
