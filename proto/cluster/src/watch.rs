//! How a broker learns the metadata: a snapshot where needed, then every committed batch in order.

use bytes::Bytes;
use moldau_model::{LeaderEpoch, Offset};
use tokio::sync::mpsc;

/// A place in the metadata log: the offset of one batch, and the epoch of the leader that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataPosition {
    /// The batch's offset in the metadata log (its Raft index).
    pub offset: Offset,
    /// The Raft term in which it was written.
    pub epoch: LeaderEpoch,
}

/// Asks for all that comes after `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchMetadata {
    /// The id of the cluster the asking broker belongs to, as its text: an operator may have chosen one that is no
    /// canonical id. Another one is refused with `INCONSISTENT_CLUSTER_ID`.
    pub cluster_id: String,
    /// The last position applied; `None` asks for everything. The answer starts with a snapshot if the batches
    /// after it are no longer kept, or if the position is not one of the log's.
    pub after: Option<MetadataPosition>,
}

/// What was committed.
#[derive(Clone, Debug)]
pub enum MetadataEvent {
    /// Replaces all that the watcher knew.
    Snapshot {
        /// The last position the snapshot contains.
        position: MetadataPosition,
        /// The records, encoded as one metadata batch.
        records: Bytes,
    },
    /// Follows on the event before it. Offsets grow but leave gaps: Raft has entries of its own.
    Batch {
        /// The batch's position.
        position: MetadataPosition,
        /// The records, encoded as one metadata batch; may be empty, which only moves the position.
        records: Bytes,
    },
}

impl MetadataEvent {
    /// Where the watcher stands once it applied the event.
    #[must_use]
    pub const fn position(&self) -> MetadataPosition {
        match self {
            Self::Snapshot { position, .. } | Self::Batch { position, .. } => *position,
        }
    }
}

/// The events. The channel is bounded: a watcher that does not keep up is dropped, its channel then ends, and it asks
/// again with the last position it applied. The channel also ends when the controller stops.
pub type MetadataWatch = mpsc::Receiver<MetadataEvent>;
