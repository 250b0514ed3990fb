//! Bytes of a batch, and back. The bytes are what Raft stores and what brokers are sent.

use bytes::Bytes;
use prost::Message;

use crate::{MetadataBatch, RecordKind, records};

/// The largest batch that may be proposed: the Raft log refuses longer entries.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Why bytes are not a batch that this version can replay. Whoever reads the metadata log must stop on either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no protobuf message of this schema.
    #[error("the metadata batch cannot be parsed: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a newer version. To skip it would be to miss, for example, that a broker was fenced.
    #[error("record {index} of the metadata batch is of a kind that this version does not know")]
    UnknownRecordKind { index: usize },
    /// A value of an enumeration that a newer version has added.
    #[error("record {index} of the metadata batch has {field} {value}, which this version does not know")]
    UnknownValue { index: usize, field: &'static str, value: i32 },
}

/// The batch's bytes: the same batch always has the same ones.
#[must_use]
pub fn encode_batch(batch: &MetadataBatch) -> Bytes {
    batch.encode_to_vec().into()
}

/// How many bytes [`encode_batch`] would give, without making them. To be held against [`BATCH_BYTES_MAX`].
#[must_use]
pub fn encoded_batch_length(batch: &MetadataBatch) -> usize {
    batch.encoded_len()
}

/// Reads a batch, and refuses what this version could not replay.
pub fn decode_batch(bytes: &[u8]) -> Result<MetadataBatch, DecodeError> {
    let batch = MetadataBatch::decode(bytes)?;
    for (index, record) in batch.records.iter().enumerate() {
        let recovery_state = match &record.kind {
            None => return Err(DecodeError::UnknownRecordKind { index }),
            Some(RecordKind::Partition(partition)) => partition.leader_recovery_state,
            Some(RecordKind::PartitionChange(change)) => change.leader_recovery_state.unwrap_or_default(),
            Some(_) => 0,
        };
        if records::LeaderRecoveryState::try_from(recovery_state).is_err() {
            return Err(DecodeError::UnknownValue {
                index,
                field: "leader_recovery_state",
                value: recovery_state,
            });
        }
    }
    Ok(batch)
}
