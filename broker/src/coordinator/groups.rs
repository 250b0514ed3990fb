//! Groups, in the shell that coordinators share.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use moldau_group::{
    AppendId, GroupConfig, GroupShard, GroupSummary, Input, MetadataSource, Output, Request, RequestToken,
    Response, ShardState, partition_for_group,
};
use moldau_metadata::{MetadataDelta, MetadataImage};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::group_metadata::GroupMetadata;
use super::{CoordinatorRecord, Effect, GroupCoordinator, Loaded, OffsetsStore, Shard};

/// The topic that holds committed offsets and groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl GroupCoordinator {
    /// A coordinator that leads nothing yet, and the task that lets time pass for it. `partition_count` is
    /// `offsets.topic.num.partitions`.
    #[must_use]
    pub fn start(config: GroupConfig, partition_count: i32, store: Arc<dyn OffsetsStore>) -> Arc<Self> {
        let settings = GroupSettings { config: Arc::new(config), metadata: Arc::default() };
        Self::start_with(settings, partition_count, store, Box::new(|_, _, _, wish| match wish {}))
    }

    /// The groups that this broker coordinates, of partitions that are loaded.
    #[must_use]
    pub fn summaries(&self) -> Vec<GroupSummary> {
        let of_slot =
            |shard: &GroupShard| if Shard::is_active(shard) { shard.summaries() } else { Vec::new() };
        self.slots().iter().flat_map(|slot| slot.look(of_slot)).collect()
    }
}

/// What all shards share.
pub struct GroupSettings {
    config: Arc<GroupConfig>,
    metadata: Arc<GroupMetadata>,
}

impl Shard for GroupShard {
    type Settings = GroupSettings;
    type Request = Request;
    type Response = Response;
    type Input = Input;
    type Output = Output;
    type Wish = Infallible;

    const TOPIC: &'static str = OFFSETS_TOPIC;

    fn new(settings: &Arc<GroupSettings>) -> Self {
        let metadata: Arc<dyn MetadataSource> = Arc::<GroupMetadata>::clone(&settings.metadata);
        Self::with_metadata(Arc::clone(&settings.config), metadata)
    }

    fn partition_for(id: &str, partition_count: i32) -> PartitionIndex {
        partition_for_group(id, partition_count)
    }

    fn is_active(&self) -> bool {
        matches!(self.state(), ShardState::Active { .. })
    }

    fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        self.begin_load(leader_epoch)
    }

    fn replay(&mut self, _: Offset, loaded: Loaded<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        match loaded {
            Loaded::Record { key, value, in_transaction_of: None } => drop(self.replay(key, value)?),
            Loaded::Record { key, value, in_transaction_of: Some(producer_id) } => {
                self.replay_in_transaction(producer_id, key, value)?;
            }
            Loaded::Marker { producer_id, is_commit } => self.replay_marker(producer_id, is_commit),
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

    fn follow(settings: &GroupSettings, delta: &MetadataDelta, image: &MetadataImage) -> Option<Input> {
        settings.metadata.update(image);
        // Of one that was made anew in the same step the offsets are told apart by its id.
        let names = delta.deleted_topics.values().map(|topic| topic.name());
        let gone = names.filter(|name| image.topics().by_name(name).is_none());
        let deleted: Vec<String> = gone.map(ToString::to_string).collect();
        (!deleted.is_empty()).then_some(Input::TopicsDeleted(deleted))
    }

    fn effect(output: Output) -> Effect<Self> {
        match output {
            Output::Reply { token, response } => Effect::Reply { token: token.0, response },
            Output::Append { append_id, leader_epoch, kind, records } => {
                let records = records.into_iter();
                let records =
                    records.map(|record| CoordinatorRecord { key: record.key, value: record.value });
                Effect::Append { append_id: append_id.0, leader_epoch, kind, records: records.collect() }
            }
        }
    }
}
