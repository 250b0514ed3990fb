//! The coordinator of the groups on one partition of `__consumer_offsets`.

use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, LeaderEpoch};

use crate::config::GroupConfig;
use crate::records::{RecordError, Replayed};
use crate::request::{Request, RequestToken};
use crate::response::Response;

/// Names one append until its outcome is known; a shard never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// A record for `__consumer_offsets`; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client's request. It is answered exactly once, now or later, by a [`Output::Reply`].
    Request { token: RequestToken, request: Box<Request> },
    /// The outcome of an [`Output::Append`]: `Ok` once its records are committed (below the high watermark of an
    /// acks=all append), an error if they are *not* in the log. While the outcome is unknown, say nothing: the
    /// shard answers its clients itself after `offset.commit.timeout.ms`.
    Appended { append_id: AppendId, result: Result<(), ErrorCode> },
    /// Topics that were deleted: their committed offsets go.
    TopicsDeleted(Vec<String>),
    /// [`GroupShard::next_deadline_ms`] has come.
    Tick,
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer a request.
    Reply { token: RequestToken, response: Response },
    /// Append these records to the shard's partition as one batch, with acks=all, as leader of `leader_epoch`,
    /// behind all earlier ones of this shard; then tell by [`Input::Appended`].
    Append { append_id: AppendId, leader_epoch: LeaderEpoch, records: Vec<CoordinatorRecord> },
}

/// Whether a shard may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// Not the coordinator: NOT_COORDINATOR.
    Inactive,
    /// Reading its partition: COORDINATOR_LOAD_IN_PROGRESS.
    Loading { leader_epoch: LeaderEpoch },
    /// The coordinator.
    Active { leader_epoch: LeaderEpoch },
}

/// The coordinator of the groups on one partition of `__consumer_offsets`: pure, without clock or I/O.
///
/// How it is driven:
/// - `begin_load`, then `replay` for every record of the partition up to its end, then `finish_load`;
/// - `handle` for everything that happens; its outputs are to be carried out in their order;
/// - `Input::Tick` when `next_deadline_ms` has come (early or late does no harm beyond the delay);
/// - `unload` when the broker no longer leads the partition.
#[derive(Debug)]
pub struct GroupShard {
    #[expect(dead_code)]
    config: Arc<GroupConfig>,
}

impl GroupShard {
    /// An inactive shard.
    #[must_use]
    pub fn new(config: Arc<GroupConfig>) -> Self {
        Self { config }
    }

    #[must_use]
    pub fn state(&self) -> ShardState {
        unreachable!("under construction")
    }

    /// Starts to load as the leader of `leader_epoch`; whatever was there is forgotten. What clients still wait
    /// for is answered with NOT_COORDINATOR.
    pub fn begin_load(&mut self, _leader_epoch: LeaderEpoch) -> Vec<Output> {
        unreachable!("under construction")
    }

    /// Takes in one committed record while loading, in the order of the log. Records of kinds that this
    /// coordinator does not keep (KIP-848 and later ones) are skipped and said so.
    ///
    /// # Errors
    /// A record that is no record of its kind. Nothing has changed then; Kafka fails the load, so should the shell.
    pub fn replay(&mut self, _key: &[u8], _value: Option<&[u8]>) -> Result<Replayed, RecordError> {
        unreachable!("under construction")
    }

    /// All was replayed: the shard is active. Members found get a fresh session.
    pub fn finish_load(&mut self, _now_ms: i64) -> Vec<Output> {
        unreachable!("under construction")
    }

    /// The broker no longer leads the partition: everything is forgotten, every waiting request is answered with
    /// NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Output> {
        unreachable!("under construction")
    }

    /// The one door for everything that happens while the shard lives.
    pub fn handle(&mut self, _input: Input, _now_ms: i64) -> Vec<Output> {
        unreachable!("under construction")
    }

    /// When the next [`Input::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        unreachable!("under construction")
    }
}
