//! The state of share partitions, in the shell that coordinators share.

use std::error::Error;
use std::sync::Arc;

use moldau_metadata::config::ShareSettings;
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use moldau_share::{
    AppendId, Input, Output, Request, RequestToken, Response, ShardState, ShareStateConfig, ShareStateShard,
    state_partition_of,
};

use super::{AppendKind, Coordinator, CoordinatorRecord, Effect, Loaded, OffsetsStore, Shard, Wishes};

/// The topic that holds the state of share partitions.
pub const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// The coordinators of this broker's part of the share partitions.
pub type ShareStateCoordinator = Coordinator<ShareStateShard>;

impl ShareStateCoordinator {
    /// A coordinator that leads nothing yet, and the task that lets time pass for it.
    #[must_use]
    pub fn start(
        settings: &ShareSettings,
        store: Arc<dyn OffsetsStore>,
        wishes: Wishes<ShareStateShard>,
    ) -> Arc<Self> {
        let config = ShareStateConfig {
            updates_per_snapshot: u32::try_from(settings.updates_per_snapshot).unwrap_or(0),
            write_timeout_ms: i64::from(settings.write_timeout_ms),
            prune_interval_ms: i64::from(settings.prune_interval_ms),
            cold_snapshot_interval_ms: i64::from(settings.cold_snapshot_interval_ms),
            ..ShareStateConfig::default()
        };
        let partition_count = settings.state_partition_count;
        Self::start_with(config, partition_count, store, wishes)
    }
}

impl Shard for ShareStateShard {
    type Settings = ShareStateConfig;
    type Request = Request;
    type Response = Response;
    type Input = Input;
    type Output = Output;
    /// Records before this offset are not needed any more.
    type Wish = Offset;

    const TOPIC: &'static str = SHARE_STATE_TOPIC;

    fn new(settings: &Arc<ShareStateConfig>) -> Self {
        Self::new(Arc::clone(settings))
    }

    fn partition_for(id: &str, partition_count: i32) -> PartitionIndex {
        state_partition_of(id, partition_count)
    }

    fn is_active(&self) -> bool {
        matches!(self.state(), ShardState::Active { .. })
    }

    fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        self.begin_load(leader_epoch)
    }

    fn replay(&mut self, offset: Offset, loaded: Loaded<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        // Nobody writes to this topic in transactions.
        if let Loaded::Record { key, value, .. } = loaded {
            self.replay(offset, key, value)?;
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
        Input::Appended { append_id: AppendId(append_id), result }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn follow(_: &ShareStateConfig, delta: &MetadataDelta, _: &MetadataImage) -> Option<Input> {
        let deleted = || delta.deleted_topics.keys().copied().collect();
        (!delta.deleted_topics.is_empty()).then(|| Input::TopicsDeleted(Arc::new(deleted())))
    }

    fn effect(output: Output) -> Effect<Self> {
        match output {
            Output::Reply { token, response } => Effect::Reply { token: token.0, response },
            Output::Prune { before } => Effect::Wish(before),
            Output::Append { append_id, leader_epoch, records } => {
                let records = records.into_iter();
                let records =
                    records.map(|record| CoordinatorRecord { key: record.key, value: record.value });
                let kind = AppendKind::Records;
                Effect::Append { append_id: append_id.0, leader_epoch, kind, records: records.collect() }
            }
        }
    }
}
