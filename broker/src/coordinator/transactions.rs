//! Transactions, in the shell that coordinators share.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};

use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use moldau_txn::{
    AllocationId, AppendId, Input, Output, Request, RequestToken, Response, ShardState, TransactionConfig,
    TransactionMarkers, TransactionShard, partition_for_transactional_id,
};

use super::{AppendKind, Coordinator, CoordinatorRecord, Effect, Loaded, OffsetsStore, Shard, Wishes};

/// The topic that holds transactional ids and what became of their transactions.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";
/// The feature that tells which transactions the cluster has.
const TRANSACTION_VERSION: &str = "transaction.version";

/// The coordinators of this broker's share of the transactional ids.
pub type TransactionCoordinator = Coordinator<TransactionShard>;

/// What all shards of transactions share.
pub struct TransactionSettings {
    config: Arc<TransactionConfig>,
    /// The finalized level of `transaction.version`.
    transaction_version: AtomicI16,
}

/// What a shard wants beyond answers and records.
pub enum TransactionWish {
    ProducerId(AllocationId),
    Markers(TransactionMarkers),
}

impl TransactionCoordinator {
    /// A coordinator that leads nothing yet, and the task that lets time pass for it. `partition_count` is
    /// `transaction.state.log.num.partitions`.
    #[must_use]
    pub fn start(
        config: TransactionConfig,
        partition_count: i32,
        store: Arc<dyn OffsetsStore>,
        wishes: Wishes<TransactionShard>,
    ) -> Arc<Self> {
        let settings =
            TransactionSettings { config: Arc::new(config), transaction_version: AtomicI16::new(0) };
        Self::start_with(settings, partition_count, store, wishes)
    }
}

impl Shard for TransactionShard {
    type Settings = TransactionSettings;
    type Request = Request;
    type Response = Response;
    type Input = Input;
    type Output = Output;
    type Wish = TransactionWish;

    const TOPIC: &'static str = TRANSACTION_TOPIC;

    fn new(settings: &Arc<TransactionSettings>) -> Self {
        Self::new(Arc::clone(&settings.config), settings.transaction_version.load(Ordering::Relaxed))
    }

    fn partition_for(id: &str, partition_count: i32) -> PartitionIndex {
        partition_for_transactional_id(id, partition_count)
    }

    fn is_active(&self) -> bool {
        matches!(self.state(), ShardState::Active { .. })
    }

    fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        self.begin_load(leader_epoch)
    }

    fn replay(&mut self, _: Offset, loaded: Loaded<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        // Nobody writes to this topic in transactions.
        if let Loaded::Record { key, value, .. } = loaded {
            self.replay(key, value)?;
        }
        Ok(())
    }

    fn finish_load(&mut self, now_ms: i64) -> Vec<Output> {
        self.finish_load(now_ms)
    }

    fn unload(&mut self) -> Vec<Output> {
        self.unload()
    }

    fn handle(&mut self, input: Input, now_ms: i64) -> Vec<Output> {
        self.handle(input, now_ms)
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.next_deadline_ms()
    }

    fn request(token: u64, request: Request) -> Input {
        Input::Request { token: RequestToken(token), request: Box::new(request) }
    }

    fn appended(append_id: u64, result: Result<Offset, ErrorCode>) -> Input {
        Input::Appended { append_id: AppendId(append_id), result: result.map(drop) }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn follow(settings: &TransactionSettings, _: &MetadataDelta, image: &MetadataImage) -> Option<Input> {
        let level = image.feature_level(TRANSACTION_VERSION);
        let before = settings.transaction_version.swap(level, Ordering::Relaxed);
        (before != level).then_some(Input::TransactionVersion(level))
    }

    fn effect(output: Output) -> Effect<Self> {
        match output {
            Output::Reply { token, response } => Effect::Reply { token: token.0, response },
            Output::Append { append_id, leader_epoch, records } => {
                let records = records.into_iter();
                let records =
                    records.map(|record| CoordinatorRecord { key: record.key, value: record.value });
                let kind = AppendKind::Records;
                Effect::Append { append_id: append_id.0, leader_epoch, kind, records: records.collect() }
            }
            Output::AllocateProducerId { allocation_id } => {
                Effect::Wish(TransactionWish::ProducerId(allocation_id))
            }
            Output::WriteMarkers(markers) => Effect::Wish(TransactionWish::Markers(markers)),
        }
    }
}
