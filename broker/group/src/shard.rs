//! The coordinator of the groups on one partition of `__consumer_offsets`.

pub(crate) mod append;
mod consumer;
mod deletion;
mod expiration;
mod inspect;
mod join;
mod membership;
mod migration;
mod offset_commit;
mod offset_fetch;
mod refusal;
pub(crate) mod share;
mod slot;
mod streams;
mod summary;
mod sync;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex, ProducerId};

use crate::config::GroupConfig;
use crate::consumer::{self as consumer_group, MetadataSource, NoMetadata};
use crate::group::{ClassicGroup, Member};
use crate::offsets::{OffsetAndMetadata, OffsetStore};
use crate::open_transactions::OpenTransactions;
use crate::rebalance::Rebalance;
use crate::records::{
    ConsumerRecord, GroupMetadataValue, OffsetCommitValue, RecordError, RecordKey, Replayed, ShareRecord,
    StreamsRecord,
};
use crate::request::{EndTransactionRequest, InTransaction, Request, RequestToken};
use crate::response::Response;
use crate::timers::{TimerKey, Timers};
pub(crate) use offset_commit::CommitKind;

use append::{Appends, Completion, PendingAppend, Retired, append_error_to_response};
use consumer::{ConsumerGroups, Work};
use offset_fetch::WaitingFetches;
use share::ShareGroups;
use streams::StreamsGroups;
pub use summary::GroupSummary;

/// Names one append until its outcome is known, and tells its place in the log; a shard never uses one twice. Records that
/// were loaded have places too, before all appends.
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
    /// shard answers its clients itself after `offsets.commit.timeout.ms`. Outcomes may come in any order.
    Appended { append_id: AppendId, result: Result<(), ErrorCode> },
    /// Topics that were deleted: their committed offsets go.
    TopicsDeleted(Vec<String>),
    /// [`GroupShard::next_deadline_ms`] has come.
    Tick,
}

/// What an append is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendKind {
    /// Records of the coordinator's own.
    #[default]
    Records,
    /// Records that belong to a producer's transaction.
    InTransaction(InTransaction),
    /// The marker that ends a producer's transaction; there are no records.
    Marker(EndTransactionRequest),
}

impl AppendKind {
    fn producer_id(self) -> Option<ProducerId> {
        match self {
            Self::Records => None,
            Self::InTransaction(transaction) => Some(transaction.producer_id),
            Self::Marker(marker) => Some(marker.producer_id),
        }
    }
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer a request.
    Reply { token: RequestToken, response: Response },
    /// Append these records to the shard's partition as one batch, with acks=all, as leader of `leader_epoch`,
    /// behind all earlier ones of this shard; then tell by [`Input::Appended`].
    Append {
        append_id: AppendId,
        leader_epoch: LeaderEpoch,
        kind: AppendKind,
        records: Vec<CoordinatorRecord>,
    },
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
/// - `Input::Tick` when `next_deadline_ms` has come (late does no harm beyond the delay, early none at all);
/// - `unload` when the broker no longer leads the partition.
///
/// Committed offsets change only when the append that carries them is committed, by the code that also loads
/// them. Who belongs to a group is memory, as in Kafka: each generation is written once its leader has assigned
/// it, and a new coordinator goes on from there.
#[derive(Debug)]
pub struct GroupShard {
    config: Arc<GroupConfig>,
    state: ShardState,
    pub(crate) groups: BTreeMap<Arc<str>, ClassicGroup>,
    /// No id is in two of them.
    pub(crate) consumer_groups: ConsumerGroups,
    pub(crate) share_groups: ShareGroups,
    pub(crate) streams_groups: StreamsGroups,
    metadata: Arc<dyn MetadataSource>,
    offsets: OffsetStore,
    open_transactions: OpenTransactions,
    timers: Timers,
    appends: Appends,
    waiting_fetches: BTreeMap<Arc<str>, WaitingFetches>,
    deleted_while_loading: BTreeSet<String>,
}

impl GroupShard {
    /// An inactive shard of a cluster without topics.
    #[must_use]
    pub fn new(config: Arc<GroupConfig>) -> Self {
        Self::with_metadata(config, Arc::new(NoMetadata))
    }

    /// An inactive shard that asks `metadata` of the cluster's topics.
    #[must_use]
    pub fn with_metadata(config: Arc<GroupConfig>, metadata: Arc<dyn MetadataSource>) -> Self {
        Self {
            config,
            state: ShardState::Inactive,
            groups: BTreeMap::new(),
            consumer_groups: ConsumerGroups::default(),
            share_groups: ShareGroups::default(),
            streams_groups: StreamsGroups::default(),
            metadata,
            offsets: OffsetStore::default(),
            open_transactions: OpenTransactions::default(),
            timers: Timers::default(),
            appends: Appends::default(),
            waiting_fetches: BTreeMap::new(),
            deleted_while_loading: BTreeSet::new(),
        }
    }

    /// Whether the shard may answer, and as leader of which epoch.
    #[must_use]
    pub fn state(&self) -> ShardState {
        self.state
    }

    /// How many groups there are, for a gauge.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
            + self.consumer_groups.by_id.len()
            + self.share_groups.by_id.len()
            + self.streams_groups.by_id.len()
    }

    /// Starts to load as the leader of `leader_epoch`; whatever was there is forgotten. What clients still wait
    /// for is answered with NOT_COORDINATOR.
    pub fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        let outputs = self.unload();
        self.appends.leader_epoch = leader_epoch;
        self.state = ShardState::Loading { leader_epoch };
        outputs
    }

    /// Takes in one committed record while loading, in the order of the log. Records of kinds that this
    /// coordinator does not keep are skipped and said so.
    ///
    /// # Errors
    /// A record that is no record of its kind. Nothing has changed then; Kafka fails the load, so should the shell.
    ///
    /// # Panics
    /// If the shard is not loading.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Replayed, RecordError> {
        assert!(matches!(self.state, ShardState::Loading { .. }), "records are replayed while loading");
        match RecordKey::decode(key)? {
            RecordKey::Group { group_id } => {
                match value {
                    Some(value) => {
                        let group_id: Arc<str> = group_id.into();
                        let value = GroupMetadataValue::decode(value)?;
                        let group = ClassicGroup::from_record(Arc::clone(&group_id), &value)?;
                        self.groups.insert(group_id, group);
                    }
                    None => {
                        self.groups.remove(group_id);
                    }
                }
                Ok(Replayed::Group)
            }
            RecordKey::Offset { group_id, topic, partition } => {
                let place = self.appends.next_place();
                self.replay_offset((group_id, topic, partition), value, place)?;
                Ok(Replayed::Offset)
            }
            RecordKey::ConsumerGroup { kind, group_id, name } => {
                self.consumer_groups.replay_record(group_id, &ConsumerRecord::decode(kind, name, value)?);
                Ok(Replayed::ConsumerGroup)
            }
            RecordKey::ShareGroup { kind, group_id, member_id } => {
                self.share_groups.replay_record(group_id, &ShareRecord::decode(kind, member_id, value)?);
                Ok(Replayed::ShareGroup)
            }
            RecordKey::StreamsGroup { kind, group_id, member_id } => {
                self.streams_groups.replay_record(group_id, &StreamsRecord::decode(kind, member_id, value)?);
                Ok(Replayed::StreamsGroup)
            }
            RecordKey::Other { version } => Ok(Replayed::Skipped(version)),
        }
    }

    /// The same for a record of a producer's transaction.
    ///
    /// # Errors
    /// As [`Self::replay`].
    ///
    /// # Panics
    /// If the shard is not loading.
    pub fn replay_in_transaction(
        &mut self,
        producer_id: ProducerId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Replayed, RecordError> {
        match (RecordKey::decode(key)?, value) {
            (RecordKey::Offset { group_id, topic, partition }, Some(value)) => {
                let place = self.appends.next_place();
                let offset = OffsetAndMetadata::new(&OffsetCommitValue::decode(value)?, true, place);
                self.open_transactions.put(producer_id, (group_id, topic, partition), offset);
                Ok(Replayed::Offset)
            }
            // Nothing else is ever written in a transaction.
            _ => self.replay(key, value),
        }
    }

    /// Takes in the marker that ends a producer's transaction, while loading.
    pub fn replay_marker(&mut self, producer_id: ProducerId, is_commit: bool) {
        let place = self.appends.next_place();
        self.end_transaction(producer_id, is_commit, place);
    }

    /// All was replayed: the shard is active. Members found get a fresh session.
    ///
    /// # Panics
    /// If the shard was not loading.
    pub fn finish_load(&mut self, now_ms: i64) -> Vec<Output> {
        let ShardState::Loading { leader_epoch } = self.state else {
            panic!("a load ends that never began");
        };
        self.state = ShardState::Active { leader_epoch };
        self.finish_load_of_consumer_groups(now_ms);
        self.finish_load_of_share_groups(now_ms);
        self.finish_load_of_streams_groups(now_ms);
        // Offsets without a group are those of a simple one.
        let with_offsets = self.offsets.groups().map(|(group_id, _)| group_id);
        for group_id in with_offsets.chain(self.open_transactions.groups()) {
            let has_group = self.groups.contains_key(group_id)
                || self.consumer_groups.by_id.contains_key(group_id)
                || self.streams_groups.by_id.contains_key(group_id);
            if !has_group {
                self.groups.insert(Arc::clone(group_id), ClassicGroup::new(Arc::clone(group_id), now_ms));
            }
        }
        let interval_ms = self.config.offsets_retention_check_interval_ms.max(1);
        self.timers.schedule(TimerKey::Expiration, now_ms.saturating_add(interval_ms));
        let mut out = Vec::new();
        let with_members: Vec<Arc<str>> =
            self.groups.values().filter(|g| g.member_count() > 0).map(|g| Arc::clone(&g.group_id)).collect();
        for group_id in with_members {
            let Some(mut rebalance) = self.rebalance(&group_id, now_ms, &mut out) else { continue };
            let member_ids: Vec<Arc<str>> =
                rebalance.group.members().map(|m| Arc::clone(&m.member_id)).collect();
            for member_id in &member_ids {
                rebalance.renew_session(member_id);
            }
            if member_ids.len() > rebalance.config.group_max_size || rebalance.group.was_never_led {
                // The bound is smaller now: members get the chance to commit, then some are sent away. Or nobody has
                // assigned what members of another protocol had.
                rebalance.prepare_rebalance();
            }
        }
        let deleted: Vec<String> = std::mem::take(&mut self.deleted_while_loading).into_iter().collect();
        self.topics_deleted(&deleted, now_ms, &mut out);
        self.share_topics_deleted(now_ms, &mut out);
        out
    }

    /// The broker no longer leads the partition: everything is forgotten, every waiting request is answered with
    /// NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Output> {
        self.state = ShardState::Inactive;
        let mut out = Vec::new();
        let error = ErrorCode::NotCoordinator;
        for append in self.appends.clear().into_values() {
            if let Some(Completion::Reply { token, response, .. }) = append.completion {
                out.push(Output::Reply { token, response: refusal::with_error(response, error) });
            }
        }
        for (group_id, waiting) in std::mem::take(&mut self.waiting_fetches) {
            out.extend(waiting.into_keys().map(|(_, token)| Output::Reply {
                token,
                response: offset_fetch::refused(&group_id, error),
            }));
        }
        for group in std::mem::take(&mut self.groups).values() {
            for member in group.members() {
                answer_parked(member, error, &mut out);
            }
        }
        self.consumer_groups.unload(error, &mut out);
        self.share_groups.unload(error, &mut out);
        self.streams_groups.unload(error, &mut out);
        self.deleted_while_loading.clear();
        self.offsets.clear();
        self.open_transactions.clear();
        self.timers.clear();
        out
    }

    /// The one door for everything that happens while the shard lives.
    pub fn handle(&mut self, input: Input, now_ms: i64) -> Vec<Output> {
        let mut out = Vec::new();
        let is_active = matches!(self.state, ShardState::Active { .. });
        match input {
            Input::Request { token, request } => self.request(token, *request, now_ms, &mut out),
            Input::Appended { append_id, result } if is_active => {
                self.appended(append_id, result, now_ms, &mut out);
            }
            Input::TopicsDeleted(topics) if is_active => {
                self.topics_deleted(&topics, now_ms, &mut out);
                self.share_topics_deleted(now_ms, &mut out);
            }
            Input::TopicsDeleted(topics) if matches!(self.state, ShardState::Loading { .. }) => {
                self.deleted_while_loading.extend(topics);
            }
            Input::Appended { .. } | Input::TopicsDeleted(_) | Input::Tick => {}
        }
        while let Some(key) = self.timers.pop_due(now_ms) {
            self.timer_fired(key, now_ms, &mut out);
        }
        out
    }

    /// When the next [`Input::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_deadline_ms()
    }

    fn request(&mut self, token: RequestToken, request: Request, now_ms: i64, out: &mut Vec<Output>) {
        if let Request::ConsumerGroupHeartbeat(request) = &request
            && let Err(refused) = consumer_group::check(&self.config, request)
        {
            return out.push(Output::Reply { token, response: consumer::response_of(refused) });
        }
        if let Request::ShareGroupHeartbeat(request) = &request
            && let Err(refused) = crate::share::check(&self.config, request)
        {
            return out.push(Output::Reply { token, response: share::response_of(refused) });
        }
        if let Request::StreamsGroupHeartbeat(request) = &request
            && let Err(refused) = crate::streams::check(&self.config, request)
        {
            return out.push(Output::Reply { token, response: streams::response_of(refused) });
        }
        let refused = match (refusal::check(&self.config, &request), self.state) {
            (Err(error), _) => Some(refusal::refused(&request, error)),
            (Ok(()), ShardState::Inactive) => Some(refusal::inactive(&request)),
            (Ok(()), ShardState::Loading { .. }) => Some(refusal::loading(&request)),
            (Ok(()), ShardState::Active { .. }) => {
                let is_full = self.appends.len() >= self.config.pending_appends_max;
                (is_full && refusal::may_append(&request))
                    .then(|| refusal::refused(&request, ErrorCode::CoordinatorNotAvailable))
            }
        };
        if let Some(response) = refused {
            return out.push(Output::Reply { token, response });
        }
        let Some(request) = self.ask_consumer_group(token, request, now_ms, out) else { return };
        match request {
            Request::Join(request) => self.join(token, request, now_ms, out),
            Request::Sync(request) => self.sync(token, request, now_ms, out),
            Request::Heartbeat(request) => self.heartbeat(token, &request, now_ms, out),
            Request::Leave(request) => self.leave(token, request, now_ms, out),
            Request::OffsetCommit(request) => self.offset_commit(token, &request, now_ms, out),
            Request::TxnOffsetCommit(request) => self.txn_offset_commit(token, &request, now_ms, out),
            Request::EndTransaction(request) => self.write_marker(token, request, now_ms, out),
            Request::OffsetFetch(request) => self.offset_fetch(token, request, now_ms, out),
            Request::OffsetDelete(request) => self.offset_delete(token, &request, now_ms, out),
            Request::DeleteGroups(group_ids) => self.delete_groups(token, &group_ids, now_ms, out),
            Request::DescribeGroups(request) => {
                out.push(Output::Reply { token, response: self.describe_groups(&request) });
            }
            Request::ConsumerGroupHeartbeat(request) => {
                self.consumer_group_heartbeat(token, request, now_ms, out);
            }
            Request::ConsumerGroupDescribe(group_ids) => {
                out.push(Output::Reply {
                    token,
                    response: self.describe_consumer_groups(&group_ids, now_ms),
                });
            }
            Request::ShareGroupHeartbeat(request) => self.share_group_heartbeat(token, request, now_ms, out),
            Request::ShareGroupDescribe(group_ids) => {
                out.push(Output::Reply { token, response: self.describe_share_groups(&group_ids, now_ms) });
            }
            Request::ViewShareOffsets(group_id) => {
                out.push(Output::Reply { token, response: self.view_share_offsets(&group_id) });
            }
            Request::StreamsGroupHeartbeat(request) => {
                self.streams_group_heartbeat(token, request, now_ms, out);
            }
            Request::StreamsGroupDescribe(group_ids) => {
                out.push(Output::Reply { token, response: self.describe_streams_groups(&group_ids, now_ms) });
            }
            Request::ShareOffsets(request) => self.share_offsets(token, request, now_ms, out),
            Request::ListGroups(request) => {
                out.push(Output::Reply { token, response: self.list_groups(&request) });
            }
        }
    }

    /// A group and all that its rebalance acts on; `None` if there is no such group.
    fn rebalance<'a>(
        &'a mut self,
        group_id: &str,
        now_ms: i64,
        out: &'a mut Vec<Output>,
    ) -> Option<Rebalance<'a>> {
        Some(Rebalance {
            config: &self.config,
            group: self.groups.get_mut(group_id)?,
            timers: &mut self.timers,
            appends: &mut self.appends,
            out,
            now_ms,
        })
    }

    fn append(&mut self, append: PendingAppend, now_ms: i64, out: &mut Vec<Output>) -> AppendId {
        let has_completion = append.completion.is_some();
        let append_id = self.appends.append_with(append, out);
        if has_completion {
            let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
            self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
        }
        append_id
    }

    fn appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if result.is_ok() && self.appends.hold(append_id) {
            return;
        }
        self.settle(append_id, result, now_ms, out);
        while let Some(held) = self.appends.next_free() {
            self.settle(held, Ok(()), now_ms, out);
        }
    }

    fn settle(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(append) = self.appends.settle(append_id) else { return };
        self.timers.cancel(&TimerKey::Append(append_id));
        match result {
            Ok(()) => self.apply_committed(append_id, &append),
            Err(_) => {
                for group in append.removed_groups {
                    let group_id = Arc::clone(&group.group_id);
                    self.groups.entry(Arc::clone(&group_id)).or_insert(group);
                    self.resume_classic_group(&group_id, now_ms, out);
                }
                match append.retired {
                    Some(Retired::Consumer(group)) => {
                        let group_id = Arc::clone(&group.group_id);
                        self.consumer_groups.put_back(&group_id, *group);
                    }
                    Some(Retired::Streams(group)) => {
                        let group_id = Arc::clone(&group.group_id);
                        self.streams_groups.put_back(&group_id, *group);
                    }
                    None => {}
                }
            }
        }
        self.appends.prune_overtaken();
        self.consumer_groups_appended(append_id, result, now_ms, out);
        self.share_groups_appended(append_id, result, now_ms, out);
        self.streams_groups_appended(append_id, result, now_ms, out);
        if let Some(completion) = append.completion {
            self.complete(completion, result.map_err(append_error_to_response), now_ms, out);
        }
        for group_id in &append.offsets_of {
            self.answer_waiting_fetches(group_id, out);
        }
    }

    /// The records are in the log for good: the offsets in them are what clients see from now on, or what a transaction
    /// will let them see.
    fn apply_committed(&mut self, append_id: AppendId, append: &PendingAppend) {
        if let AppendKind::Marker(EndTransactionRequest { producer_id, is_commit, .. }) = append.kind {
            return self.end_transaction(producer_id, is_commit, append_id);
        }
        if append.offsets_of.is_empty() {
            return;
        }
        for record in &append.records {
            let Ok(RecordKey::Offset { group_id, topic, partition }) = RecordKey::decode(&record.key) else {
                continue;
            };
            let key = (group_id, topic, partition);
            let value = record.value.as_deref();
            let replayed = match (append.kind, value) {
                (AppendKind::InTransaction(InTransaction { producer_id, .. }), Some(value)) => {
                    if self.appends.was_overtaken(append_id, &record.key) {
                        continue;
                    }
                    OffsetCommitValue::decode(value).map(|value| {
                        let offset = OffsetAndMetadata::new(&value, true, append_id);
                        self.open_transactions.put(producer_id, key, offset);
                    })
                }
                _ if self.appends.is_overtaken(append_id, &record.key) => continue,
                _ => self.replay_offset(key, value, append_id),
            };
            assert!(replayed.is_ok(), "the coordinator reads what it has written: {replayed:?}");
        }
    }

    /// Takes a committed offset, or its tombstone, into the store: the live path and a load run this code.
    fn replay_offset(
        &mut self,
        key: (&str, &str, PartitionIndex),
        value: Option<&[u8]>,
        place: AppendId,
    ) -> Result<(), RecordError> {
        match value {
            Some(value) => self.offsets.put(key, &OffsetCommitValue::decode(value)?, place),
            None => {
                self.offsets.remove(key, place);
                self.open_transactions.remove(key, place);
            }
        }
        Ok(())
    }

    /// A marker stands in the log: the offsets of the transaction before it count from now on, or never. The live path
    /// and a load run this code.
    fn end_transaction(&mut self, producer_id: ProducerId, is_commit: bool, place: AppendId) {
        for (group_id, topics) in self.open_transactions.end(producer_id, place) {
            let offsets = topics.into_iter().flat_map(|(topic, partitions)| {
                partitions.into_iter().map(move |(partition, offset)| (Arc::clone(&topic), partition, offset))
            });
            for (topic, partition, offset) in offsets.filter(|_| is_commit) {
                self.offsets.put_ended((&group_id, &topic, partition), offset);
            }
        }
    }

    /// Whether transactions commit offsets of the group.
    fn commits_in_transactions(&self, group_id: &str) -> bool {
        let mut committed =
            self.offsets.of_group(group_id).into_iter().flatten().flat_map(|(_, of)| of.values());
        self.open_transactions.contains_group(group_id) || committed.any(|offset| offset.is_transactional)
    }

    /// Whether offsets of the group are committed, on their way, or in a transaction.
    fn has_offsets(&self, group_id: &str) -> bool {
        self.offsets.of_group(group_id).is_some()
            || self.appends.last_offsets_append(group_id).is_some()
            || self.open_transactions.contains_group(group_id)
    }

    fn complete(
        &mut self,
        completion: Completion,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        match completion {
            Completion::NewGroup { group_id } => {
                if let Err(error) = result {
                    self.new_group_failed(&group_id, error, out);
                }
            }
            Completion::Assignment { group_id, generation_id, assignments } => {
                self.assignment_written(&group_id, generation_id, &assignments, result, now_ms, out);
            }
            Completion::StaticMember(replaced) => self.static_member_written(*replaced, result, now_ms, out),
            Completion::Reply { token, response, simple_group } => {
                let response = match result {
                    Ok(()) => response,
                    Err(error) => {
                        self.remove_group_without_use(simple_group.as_deref());
                        refusal::with_error(response, error)
                    }
                };
                out.push(Output::Reply { token, response });
            }
        }
    }

    /// The first record of a group could not be written: the group never was, unless it has had a generation.
    fn new_group_failed(&mut self, group_id: &Arc<str>, error: ErrorCode, out: &mut Vec<Output>) {
        if self.groups.get(group_id).is_none_or(|group| group.generation_id.0 > 0) {
            return;
        }
        let Some(group) = self.groups.remove(group_id) else { return };
        let session_of = |member_id: &Arc<str>| TimerKey::Session {
            group_id: Arc::clone(group_id),
            member_id: Arc::clone(member_id),
        };
        self.timers.cancel(&TimerKey::Join { group_id: Arc::clone(group_id) });
        for member_id in &group.pending_join {
            self.timers.cancel(&session_of(member_id));
        }
        for member in group.members() {
            self.timers.cancel(&session_of(&member.member_id));
            answer_parked(member, error, out);
        }
        if self.has_offsets(group_id) {
            // Somebody has committed for it meanwhile: that much of it stays.
            let timestamp_ms = group.state_timestamp().map_or(0, |timestamp| timestamp.0);
            self.groups.insert(Arc::clone(group_id), ClassicGroup::new(Arc::clone(group_id), timestamp_ms));
        }
    }

    fn timer_fired(&mut self, key: TimerKey, now_ms: i64, out: &mut Vec<Output>) {
        match key {
            TimerKey::Session { group_id, member_id }
                if self.consumer_groups.by_id.contains_key(&group_id) =>
            {
                self.member_overdue(&group_id, Work::SessionEnds(member_id), now_ms, out);
            }
            TimerKey::Session { group_id, member_id } if self.share_groups.by_id.contains_key(&group_id) => {
                self.share_session_ended(&group_id, member_id, now_ms, out);
            }
            TimerKey::Session { group_id, member_id }
                if self.streams_groups.by_id.contains_key(&group_id) =>
            {
                let work = streams::Work::SessionEnds(member_id);
                self.streams_group_timer(&group_id, work, now_ms, out);
            }
            TimerKey::Revocation { group_id, member_id }
                if self.streams_groups.by_id.contains_key(&group_id) =>
            {
                let work = streams::Work::RevocationEnds(member_id);
                self.streams_group_timer(&group_id, work, now_ms, out);
            }
            TimerKey::InitialDelay { group_id } => {
                self.streams_group_timer(&group_id, streams::Work::InitialDelayEnds, now_ms, out);
            }
            TimerKey::Revocation { group_id, member_id } => {
                self.member_overdue(&group_id, Work::RevocationEnds(member_id), now_ms, out);
            }
            TimerKey::Rejoin { group_id, member_id } => {
                self.member_overdue(&group_id, Work::RejoinEnds(member_id), now_ms, out);
            }
            TimerKey::Session { group_id, member_id } => {
                if let Some(mut rebalance) = self.rebalance(&group_id, now_ms, out) {
                    rebalance.session_expired(&member_id);
                }
            }
            TimerKey::Join { group_id } => {
                if let Some(mut rebalance) = self.rebalance(&group_id, now_ms, out) {
                    rebalance.join_timer_fired();
                }
            }
            TimerKey::Sync { group_id } => {
                if let Some(mut rebalance) = self.rebalance(&group_id, now_ms, out) {
                    rebalance.sync_timer_fired();
                }
            }
            TimerKey::Append(append_id) => {
                // The records may come to be committed yet: only who waits is told.
                if let Some(completion) = self.appends.take_completion(append_id) {
                    let error = append_error_to_response(ErrorCode::RequestTimedOut);
                    self.complete(completion, Err(error), now_ms, out);
                }
                self.consumer_groups.overdue(append_id, out);
                self.share_groups.overdue(append_id, out);
                self.streams_groups.overdue(append_id, out);
            }
            TimerKey::Fetch { group_id, until, token } => self.fetch_timed_out(&group_id, until, token, out),
            TimerKey::Expiration => self.expire_offsets(now_ms, out),
        }
    }
}

fn answer_parked(member: &Member, error: ErrorCode, out: &mut Vec<Output>) {
    if let Some(token) = member.awaiting_join {
        out.push(Output::Reply { token, response: crate::rebalance::join_refused(error, &member.member_id) });
    }
    if let Some(token) = member.awaiting_sync {
        out.push(Output::Reply { token, response: crate::rebalance::sync_refused(error) });
    }
}
