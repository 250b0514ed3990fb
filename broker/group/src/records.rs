//! The records of `__consumer_offsets`, byte for byte Kafka's.

/// What [`GroupShard::replay`](crate::GroupShard::replay) made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A committed offset, or its tombstone.
    Offset,
    /// A classic group's metadata, or its tombstone.
    Group,
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
