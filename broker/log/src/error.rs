//! What can go wrong, one variant for each thing a caller acts on, and the error code Kafka has for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};
use moldau_record::BatchError;

/// One record that made the broker refuse its batch (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's number inside the request's records, from zero.
    pub batch_index: i32,
    pub message: String,
}

/// Why nothing was appended. No variant leaves a byte in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("corrupt batch: {0}")]
    Corrupt(#[from] BatchError),
    #[error("{message}")]
    InvalidRecord { message: String, record_errors: Vec<RecordError> },
    #[error("codec {id} is none of Kafka's")]
    UnsupportedCompression { id: i16 },
    #[error("batch of {size_bytes} bytes is larger than max.message.bytes {max_bytes}")]
    MessageTooLarge { size_bytes: usize, max_bytes: u32 },
    #[error("batches of {size_bytes} bytes are larger than segment.bytes {max_bytes}")]
    RecordListTooLarge { size_bytes: usize, max_bytes: u32 },
    /// The text is Kafka's: producers see it.
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamp { record_errors: Vec<RecordError> },
    #[error("a client may not set the broker's timestamp type")]
    TimestampTypeFromClient,
    #[error("sequence {received} of producer {producer_id} does not follow {expected_after}")]
    OutOfOrderSequence { producer_id: ProducerId, received: i32, expected_after: i32 },
    #[error("epoch {received} of producer {producer_id} is older than {current}")]
    InvalidProducerEpoch { producer_id: ProducerId, received: ProducerEpoch, current: ProducerEpoch },
    #[error("producer {producer_id} wrote outside of its open transaction")]
    InvalidTxnState { producer_id: ProducerId },
    #[error("the transaction of producer {producer_id} is not known to be open")]
    TransactionNotVerified { producer_id: ProducerId },
    #[error("coordinator epoch {received} is older than {current}")]
    TransactionCoordinatorFenced { received: i32, current: i32 },
    #[error("leader epoch {received} is older than the log's {latest}")]
    FencedLeaderEpoch { received: LeaderEpoch, latest: LeaderEpoch },
    #[error("batch at offset {received} does not follow the log's end {log_end_offset}")]
    OffsetsOutOfOrder { received: Offset, log_end_offset: Offset },
    #[error("the log directory is offline: {reason}")]
    Offline { reason: Arc<str> },
    #[error("the write failed and was taken back: {0}")]
    Io(#[from] io::Error),
}

impl AppendError {
    /// What a Produce response says for it.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Corrupt(_) => ErrorCode::CorruptMessage,
            Self::InvalidRecord { .. } => ErrorCode::InvalidRecord,
            Self::UnsupportedCompression { .. } => ErrorCode::UnsupportedCompressionType,
            Self::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::RecordListTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::InvalidTimestamp { .. } | Self::TimestampTypeFromClient => ErrorCode::InvalidTimestamp,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::InvalidTxnState { .. } | Self::TransactionNotVerified { .. } => ErrorCode::InvalidTxnState,
            Self::TransactionCoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            Self::FencedLeaderEpoch { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OffsetsOutOfOrder { .. } => ErrorCode::UnknownServerError,
            Self::Offline { .. } | Self::Io(_) => ErrorCode::KafkaStorageError,
        }
    }

    /// Whether there was no room for it: the disk is full, or a quota used up.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let is_full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io(error) if is_full(error.kind()))
    }

    /// The records at fault, where single records are.
    #[must_use]
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::InvalidRecord { record_errors, .. } | Self::InvalidTimestamp { record_errors } => {
                record_errors
            }
            _ => &[],
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside of {log_start_offset} to {log_end_offset}")]
    OffsetOutOfRange { offset: Offset, log_start_offset: Offset, log_end_offset: Offset },
    #[error("the segment at offset {base_offset} is corrupt at byte {position}")]
    CorruptSegment { base_offset: Offset, position: u64 },
    #[error("the log directory is offline: {reason}")]
    Offline { reason: Arc<str> },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ReadError {
    /// What a Fetch or ListOffsets response says for it.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::CorruptSegment { .. } => ErrorCode::CorruptMessage,
            Self::Offline { .. } | Self::Io(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Why a log or a log directory could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is locked by another process")]
    Locked { path: PathBuf },
    #[error("{path} belongs to topic id {found}, not {expected}")]
    InconsistentTopicId { path: PathBuf, found: TopicId, expected: TopicId },
    #[error("{path}: {message}")]
    Corrupt { path: PathBuf, message: String },
    #[error("offset {offset} is outside of {log_start_offset} to {upper}")]
    OffsetOutOfRange { offset: Offset, log_start_offset: Offset, upper: Offset },
    #[error("{one} and {other} are the same partition")]
    Duplicate { one: PathBuf, other: PathBuf },
    #[error("the log directory is offline: {reason}")]
    Offline { reason: Arc<str> },
}

impl LogError {
    /// What a response says for it.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::InconsistentTopicId { .. } => ErrorCode::InconsistentTopicId,
            Self::Io { .. }
            | Self::Locked { .. }
            | Self::Corrupt { .. }
            | Self::Duplicate { .. }
            | Self::Offline { .. } => ErrorCode::KafkaStorageError,
        }
    }

    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }
}
