//! What the shell needs of a shard, whatever it coordinates.

use std::error::Error;
use std::sync::Arc;

use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::{AppendKind, CoordinatorRecord, Loaded};

/// The pure coordinator of one partition of its topic. Inputs and outputs are its own; what all kinds have in common is
/// made and taken apart here.
pub trait Shard: Sized + Send + 'static {
    /// What all shards of a broker share.
    type Settings: Send + Sync + 'static;
    type Request: Send + 'static;
    type Response: Send + 'static;
    type Input: Clone + Send + 'static;
    type Output;
    /// What it wants done beyond answers and records.
    type Wish: Send + 'static;

    /// The topic whose partitions hold what is coordinated.
    const TOPIC: &'static str;

    /// An inactive shard.
    fn new(settings: &Arc<Self::Settings>) -> Self;

    /// The partition that holds a group, or a transactional id.
    fn partition_for(id: &str, partition_count: i32) -> PartitionIndex;

    fn is_active(&self) -> bool;
    fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Self::Output>;

    /// Takes in one record, or marker, of a load, which stands at this offset.
    ///
    /// # Errors
    /// A record that is none of its kind.
    fn replay(&mut self, offset: Offset, loaded: Loaded<'_>) -> Result<(), Box<dyn Error + Send + Sync>>;

    fn finish_load(&mut self, now_ms: i64) -> Vec<Self::Output>;
    fn unload(&mut self) -> Vec<Self::Output>;
    fn handle(&mut self, input: Self::Input, now_ms: i64) -> Vec<Self::Output>;
    fn next_deadline_ms(&self) -> Option<i64>;

    fn request(token: u64, request: Self::Request) -> Self::Input;
    /// What became of an append; its first offset once it is committed.
    fn appended(append_id: u64, result: Result<Offset, ErrorCode>) -> Self::Input;
    fn tick() -> Self::Input;

    /// What new metadata means to every shard, if anything.
    fn follow(settings: &Self::Settings, delta: &MetadataDelta, image: &MetadataImage)
    -> Option<Self::Input>;

    /// What an output asks for.
    fn effect(output: Self::Output) -> Effect<Self>;
}

/// What the shell is to do.
pub enum Effect<S: Shard> {
    Reply { token: u64, response: S::Response },
    Append { append_id: u64, leader_epoch: LeaderEpoch, kind: AppendKind, records: Vec<CoordinatorRecord> },
    Wish(S::Wish),
}
