//! What is asked of a shard, and what it answers. One request is about one share partition: the shell takes requests apart.

use moldau_model::ErrorCode;

use super::ShareStateConfig;
use crate::batch::StateBatch;
use crate::key::SharePartitionKey;
use crate::records::STRING_BYTES_MAX;

/// Names one request until it is answered. The shell hands them out; no two unanswered requests share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// One request to one shard. That the share partition's topic exists is the shell's to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// InitializeShareGroupState: the group begins with the partition, or its offsets were altered.
    Initialize { key: SharePartitionKey, state_epoch: i32, start_offset: i64 },
    /// ReadShareGroupState: the partition has a new leader.
    Read { key: SharePartitionKey, leader_epoch: i32 },
    /// WriteShareGroupState.
    Write {
        key: SharePartitionKey,
        state_epoch: i32,
        leader_epoch: i32,
        /// Unknown: it stays.
        start_offset: i64,
        /// Unknown: it stays.
        delivery_complete_count: i32,
        batches: Vec<StateBatch>,
    },
    /// DeleteShareGroupState.
    Delete { key: SharePartitionKey },
    /// ReadShareGroupStateSummary.
    ReadSummary { key: SharePartitionKey },
}

/// The answer to one [`Request`], of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To all that change something.
    Changed(Result<(), Refusal>),
    Read(Result<ReadState, Refusal>),
    Summary(Result<StateSummary, Refusal>),
}

/// A code, with the words that Kafka says with it where they are not the code's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self { error, message: error.message().to_owned() }
    }
}

impl Refusal {
    pub(super) fn new(error: ErrorCode, message: &str) -> Self {
        Self { error, message: message.to_owned() }
    }
}

/// All that is known of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    pub state_epoch: i32,
    pub start_offset: i64,
    pub batches: Vec<StateBatch>,
}

/// Where a share partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    pub delivery_complete_count: i32,
}

impl Request {
    /// The share partition that it is about.
    #[must_use]
    pub fn key(&self) -> &SharePartitionKey {
        match self {
            Self::Initialize { key, .. }
            | Self::Read { key, .. }
            | Self::Write { key, .. }
            | Self::Delete { key }
            | Self::ReadSummary { key } => key,
        }
    }

    /// What could not be kept is refused before anything is made of it.
    pub(super) fn check(&self, config: &ShareStateConfig) -> Result<(), ErrorCode> {
        let is_named = (1..=STRING_BYTES_MAX).contains(&self.key().group_id.len());
        let is_sane = match self {
            Self::Write { batches, .. } => {
                batches.len() <= config.batches_max && batches.iter().all(StateBatch::is_valid)
            }
            _ => true,
        };
        if is_named && is_sane { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
    }

    /// Its kind of answer, saying `error`.
    #[must_use]
    pub fn refused(&self, error: ErrorCode) -> Response {
        self.refused_with(error.into())
    }

    /// The same, with words of its own.
    #[must_use]
    pub fn refused_with(&self, refusal: Refusal) -> Response {
        match self {
            Self::Initialize { .. } | Self::Write { .. } | Self::Delete { .. } => {
                Response::Changed(Err(refusal))
            }
            Self::Read { .. } => Response::Read(Err(refusal)),
            Self::ReadSummary { .. } => Response::Summary(Err(refusal)),
        }
    }
}

impl Response {
    /// The same kind of answer, saying `error`.
    pub(super) fn refused(&self, error: ErrorCode) -> Self {
        match self {
            Self::Changed(_) => Self::Changed(Err(error.into())),
            Self::Read(_) => Self::Read(Err(error.into())),
            Self::Summary(_) => Self::Summary(Err(error.into())),
        }
    }
}
