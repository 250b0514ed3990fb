//! Share groups (KIP-932) below the group: what a share partition is, and where its state is kept; sans-IO.
//!
//! A [`SharePartition`] is one partition as one share group reads it. It lives with the partition's leader, hands records to
//! members for a while, and knows which were accepted. What has to outlive the leader it gives out as [`StateWrite`]s.
//!
//! A [`ShareStateShard`] is the other end: the share coordinator of one partition of `__share_group_state`. It takes
//! [`Input`]s with the time they came at and gives [`Output`]s, and answers nothing before the records that it rests on are
//! committed.

mod batch;
mod key;
mod partition;
mod records;
mod session;
mod shard;

#[cfg(test)]
mod tests;

pub use batch::{DeliveryState, StateBatch, combine};
pub use key::{SharePartitionKey, state_partition_of};
pub use partition::{
    AckOutcome, AckToken, AcknowledgeType, Acknowledgement, AcquireMode, Acquired, FetchedBatch, Limits,
    SharePartition, StateWrite,
};
pub use records::{RecordError, Replayed};
pub use session::{SessionError, SessionKey, ShareSessions};
pub use shard::{
    AppendId, CoordinatorRecord, Input, Output, ReadState, Refusal, Request, RequestToken, Response,
    ShardState, ShareStateConfig, ShareStateShard, StateSummary,
};

/// The start offset of a share partition that nobody has read yet: where it starts is decided by who reads it first.
pub const START_OFFSET_UNKNOWN: i64 = -1;
/// The number of deliveries that are done, where it is not known.
pub const DELIVERY_COMPLETE_COUNT_UNKNOWN: i32 = -1;
