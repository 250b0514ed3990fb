//! What a coordinator needs of the log of a partition of its topic.

use bytes::Bytes;
use futures::future::BoxFuture;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerId};

pub use moldau_group::AppendKind;

/// A record of a coordinator's topic; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Durable on every in-sync replica, from this offset on: below the high watermark.
    Committed(Offset),
    /// Not in the log, and it never will be.
    Refused(ErrorCode),
    /// Written, and not known to be committed: the leadership or the broker ended first.
    Unknown,
}

/// Why a partition cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the partition is not led by this broker any more")]
    NotLeader,
    #[error("cannot read the partition: {0}")]
    Read(String),
    #[error("record at offset {offset}: {source}")]
    Record { offset: i64, source: Box<dyn std::error::Error + Send + Sync> },
}

/// What a load finds in the log.
#[derive(Clone, Copy, Debug)]
pub enum Loaded<'a> {
    Record {
        key: &'a [u8],
        value: Option<&'a [u8]>,
        /// Whose transaction it belongs to, if any.
        in_transaction_of: Option<ProducerId>,
    },
    /// The end of a producer's transaction.
    Marker { producer_id: ProducerId, is_commit: bool },
}

/// Takes in what stands at an offset; an error ends the load.
pub type ReplayRecord<'a> = dyn FnMut(i64, Loaded<'_>) -> Result<(), LoadError> + 'a;

/// The logs of one coordinator's topic, as far as this broker leads them.
pub trait OffsetsStore: Send + Sync {
    /// Reads all records with a key, and the ends of transactions, from the log's start to its end at the time of the call,
    /// which it returns. Blocks; runs on a thread of its own.
    ///
    /// # Errors
    /// What the log, or `replay`, says.
    fn load(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        replay: &mut ReplayRecord<'_>,
    ) -> Result<Offset, LoadError>;

    /// Ends when the log is committed up to `end`: `true`. `false` once this broker does not lead in `leader_epoch` any
    /// more. What a load has read above the high watermark may be taken back by another leader until then.
    fn committed(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        end: Offset,
    ) -> BoxFuture<'static, bool>;

    /// Appends the records, or the marker, as one batch, with acks=all, if this broker still leads in `leader_epoch`. It is written when
    /// this returns: two calls, one after the other, stand in the log in that order. The future ends when its fate is
    /// known. Does not block beyond a write to the page cache.
    fn append(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        kind: AppendKind,
        records: &[CoordinatorRecord],
    ) -> BoxFuture<'static, AppendOutcome>;
}
