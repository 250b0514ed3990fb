//! The share coordinator of one partition of `__share_group_state`.

mod decide;
mod request;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, TopicId};

use crate::key::SharePartitionKey;
use crate::records::{self, Decoded, RecordError, Replayed, ShareRecord, Snapshot};
use decide::{Decision, decide};
use upkeep::Upkeep;

pub use request::{ReadState, Refusal, Request, RequestToken, Response, StateSummary};

/// Settings of the share coordinator, one set for all shards of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareStateConfig {
    /// `share.coordinator.snapshot.update.records.per.snapshot`: updates that follow a snapshot before the next one.
    /// Default: 500.
    pub updates_per_snapshot: u32,
    /// `share.coordinator.write.timeout.ms`: how long an answer waits for its record. Default: 5000.
    pub write_timeout_ms: i64,
    /// Requests of one share partition that wait for the record of the one before them; COORDINATOR_NOT_AVAILABLE beyond.
    /// A share partition's leader writes one state at a time. Default: 1000.
    pub waiting_per_key_max: usize,
    /// Share partitions on one shard; one more is refused with COORDINATOR_NOT_AVAILABLE. Kafka has no such bound.
    /// Default: 100,000.
    pub keys_max: usize,
    /// State batches that one share partition may have: `group.share.partition.max.record.locks` may be 10,000 at most, and a
    /// batch is at least one record. Default: 20,000.
    pub batches_max: usize,
    /// `share.coordinator.state.topic.prune.interval.ms`: how often the shell is told which records nobody needs any more.
    /// Default: five minutes.
    pub prune_interval_ms: i64,
    /// `share.coordinator.cold.partition.snapshot.interval.ms`: a snapshot that is older is written anew, so that it does not
    /// keep what others have written since. Default: five minutes.
    pub cold_snapshot_interval_ms: i64,
}

impl Default for ShareStateConfig {
    fn default() -> Self {
        Self {
            updates_per_snapshot: 500,
            write_timeout_ms: 5_000,
            waiting_per_key_max: 1_000,
            keys_max: 100_000,
            batches_max: 20_000,
            prune_interval_ms: 300_000,
            cold_snapshot_interval_ms: 300_000,
        }
    }
}

/// Topics deleted during one load that are remembered. Of others the state stays, a record each, until their group deletes it.
const DELETED_WHILE_LOADING_MAX: usize = 10_000;

/// Names one append until its outcome is known; a shard never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// A record for `__share_group_state`; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A broker's request. It is answered exactly once, now or later, by a [`Output::Reply`].
    Request { token: RequestToken, request: Box<Request> },
    /// The outcome of an [`Output::Append`]: the first offset once its records are committed, an error if they are *not* in the
    /// log.
    /// While the outcome is unknown, say nothing: the shard answers itself after `share.coordinator.write.timeout.ms`.
    Appended { append_id: AppendId, result: Result<Offset, ErrorCode> },
    /// Topics that were deleted: what is known of them goes. What this broker's metadata does not have may be there all the
    /// same, and be known to the one that asked.
    TopicsDeleted(Arc<BTreeSet<TopicId>>),
    /// [`ShareStateShard::next_deadline_ms`] has come.
    Tick,
}

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer a request.
    Reply { token: RequestToken, response: Response },
    /// Append these records to the shard's partition as one batch, with acks=all, as leader of `leader_epoch`, behind all
    /// earlier ones of this shard; then tell by [`Input::Appended`].
    Append { append_id: AppendId, leader_epoch: LeaderEpoch, records: Vec<CoordinatorRecord> },
    /// Nothing before this offset is needed any more: delete it, or do not. It is committed up to there.
    Prune { before: Offset },
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

/// One share partition.
#[derive(Debug, Default)]
struct Entry {
    /// As the log has it.
    known: Option<Known>,
    /// The record that is being written. There is one at a time.
    pending: Option<Pending>,
    waiting: VecDeque<(RequestToken, Request)>,
    /// Its topic was deleted while a record was being written: it goes after that.
    is_doomed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    snapshot: Snapshot,
    /// Where the log has the snapshot: all that is known is there and behind.
    snapshot_offset: Offset,
    /// Updates since the last snapshot.
    updates: u32,
}

#[derive(Debug)]
struct Pending {
    append_id: AppendId,
    /// Its offset is this or a later one.
    not_before: Offset,
    /// `None` takes the share partition out.
    record: Option<ShareRecord>,
    /// Gone once the broker was told that it takes too long.
    reply: Option<(RequestToken, Response)>,
}

/// The share coordinator of one partition of `__share_group_state`: pure, without clock or I/O.
///
/// How it is driven:
/// - `begin_load`, then `replay` for every record of the partition up to its end, then `finish_load` once all of it is
///   committed;
/// - `handle` for everything that happens; its outputs are to be carried out in their order;
/// - `Input::Tick` when `next_deadline_ms` has come;
/// - `unload` when the broker no longer leads the partition.
///
/// What is known of a share partition changes only when the record that says so is committed, by the code that also loads it.
#[derive(Debug)]
pub struct ShareStateShard {
    config: Arc<ShareStateConfig>,
    state: ShardState,
    entries: BTreeMap<SharePartitionKey, Entry>,
    /// Each with its deadline.
    appends: BTreeMap<AppendId, (SharePartitionKey, i64)>,
    deadlines: BTreeSet<(i64, AppendId)>,
    /// What the load that is under way may bring back.
    deleted_while_loading: BTreeSet<TopicId>,
    next_append_id: u64,
    upkeep: Upkeep,
}

impl ShareStateShard {
    /// An inactive shard.
    #[must_use]
    pub fn new(config: Arc<ShareStateConfig>) -> Self {
        Self {
            config,
            state: ShardState::Inactive,
            entries: BTreeMap::new(),
            appends: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deleted_while_loading: BTreeSet::new(),
            next_append_id: 0,
            upkeep: Upkeep::default(),
        }
    }

    /// Whether the shard may answer, and as leader of which epoch.
    #[must_use]
    pub fn state(&self) -> ShardState {
        self.state
    }

    /// How many share partitions there are, for a gauge.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.entries.len()
    }

    /// Starts to load as the leader of `leader_epoch`; whatever was there is forgotten. Who still waits is answered with
    /// NOT_COORDINATOR.
    pub fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        let out = self.unload();
        self.state = ShardState::Loading { leader_epoch };
        out
    }

    /// Takes in one committed record while loading, in the order of the log. Records of kinds that this coordinator does not
    /// know are skipped and said so.
    ///
    /// # Errors
    /// A record that is no record of its kind. Nothing has changed then.
    ///
    /// # Panics
    /// If the shard is not loading.
    pub fn replay(
        &mut self,
        offset: Offset,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Replayed, RecordError> {
        assert!(matches!(self.state, ShardState::Loading { .. }), "records are replayed while loading");
        self.upkeep.note_record(offset);
        let (key, record) = match records::decode(key, value)? {
            Decoded::Other(version) => return Ok(Replayed::Skipped(version)),
            Decoded::Nothing => return Ok(Replayed::Tombstone),
            Decoded::Tombstone(key) => (key, None),
            Decoded::Record(key, record) => (key, Some(record)),
        };
        let replayed = match &record {
            None => Replayed::Tombstone,
            Some(ShareRecord::Snapshot(_)) => Replayed::Snapshot,
            Some(ShareRecord::Update(_)) => Replayed::Update,
        };
        let entry = self.entries.entry(key.clone()).or_default();
        entry.known = applied(entry.known.take(), record, offset);
        self.forget_unknown(&key);
        Ok(replayed)
    }

    /// All was replayed: the shard is active.
    ///
    /// # Panics
    /// If the shard was not loading.
    pub fn finish_load(&mut self, now_ms: i64) -> Vec<Output> {
        let ShardState::Loading { leader_epoch } = self.state else {
            panic!("a load ends that never began");
        };
        self.state = ShardState::Active { leader_epoch };
        self.upkeep.begin(&self.config, now_ms);
        let mut out = Vec::new();
        let deleted = std::mem::take(&mut self.deleted_while_loading);
        self.topics_deleted(&deleted, now_ms, &mut out);
        out
    }

    /// The broker no longer leads the partition: everything is forgotten, every waiting request is answered with
    /// NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Output> {
        self.state = ShardState::Inactive;
        let mut out = Vec::new();
        let error = ErrorCode::NotCoordinator;
        for entry in std::mem::take(&mut self.entries).into_values() {
            let reply = entry.pending.and_then(|pending| pending.reply);
            out.extend(reply.map(|(token, response)| refuse(token, response.refused(error))));
            out.extend(entry.waiting.iter().map(|(token, request)| refuse(*token, request.refused(error))));
        }
        self.appends.clear();
        self.deadlines.clear();
        self.deleted_while_loading.clear();
        self.upkeep = Upkeep::default();
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
            Input::TopicsDeleted(topics) if is_active => self.topics_deleted(&topics, now_ms, &mut out),
            Input::TopicsDeleted(topics) if matches!(self.state, ShardState::Loading { .. }) => {
                let room = DELETED_WHILE_LOADING_MAX.saturating_sub(self.deleted_while_loading.len());
                self.deleted_while_loading.extend(topics.iter().take(room));
            }
            Input::Appended { .. } | Input::TopicsDeleted(_) | Input::Tick => {}
        }
        self.tell_overdue(now_ms, &mut out);
        self.keep_up(now_ms, &mut out);
        out
    }

    /// When the next [`Input::Tick`] is due; `None` while the shard is not active.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let write_deadline_ms = self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms);
        write_deadline_ms.into_iter().chain(self.upkeep.next_ms()).min()
    }

    fn request(&mut self, token: RequestToken, request: Request, now_ms: i64, out: &mut Vec<Output>) {
        let refused = match self.state {
            ShardState::Inactive => Some(ErrorCode::NotCoordinator),
            ShardState::Loading { .. } => Some(ErrorCode::CoordinatorLoadInProgress),
            ShardState::Active { .. } => request.check(&self.config).err(),
        };
        if let Some(error) = refused {
            return out.push(refuse(token, request.refused(error)));
        }
        let key = request.key().clone();
        let is_full = self.entries.len() >= self.config.keys_max && !self.entries.contains_key(&key);
        let entry = self.entries.entry(key.clone()).or_default();
        if is_full || entry.waiting.len() >= self.config.waiting_per_key_max {
            out.push(refuse(token, request.refused(ErrorCode::CoordinatorNotAvailable)));
        } else {
            entry.waiting.push_back((token, request));
        }
        self.run(&key, now_ms, out);
    }

    /// Decides on what waits for a share partition, until that needs a record.
    fn run(&mut self, key: &SharePartitionKey, now_ms: i64, out: &mut Vec<Output>) {
        while let Some(entry) = self.entries.get_mut(key)
            && entry.pending.is_none()
            && let Some((token, request)) = entry.waiting.pop_front()
        {
            match decide(&self.config, entry.known.as_ref(), &request, now_ms) {
                Decision::Answer(response) => out.push(Output::Reply { token, response }),
                Decision::Write(record, response) => {
                    self.append(key, record, Some((token, response)), now_ms, out);
                }
            }
        }
        self.forget_unknown(key);
    }

    fn append(
        &mut self,
        key: &SharePartitionKey,
        record: Option<ShareRecord>,
        reply: Option<(RequestToken, Response)>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let not_before = self.committed_end();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let ShardState::Active { leader_epoch } = self.state else { return };
        let append_id = AppendId(self.next_append_id);
        self.next_append_id += 1;
        let written = match &record {
            Some(record) => {
                let (key, value) = records::encode(key, record);
                CoordinatorRecord { key, value: Some(value) }
            }
            None => CoordinatorRecord { key: records::tombstone_key(key), value: None },
        };
        out.push(Output::Append { append_id, leader_epoch, records: vec![written] });
        entry.pending = Some(Pending { append_id, not_before, record, reply });
        let deadline_ms = now_ms.saturating_add(self.config.write_timeout_ms);
        self.appends.insert(append_id, (key.clone(), deadline_ms));
        self.deadlines.insert((deadline_ms, append_id));
    }

    fn appended(
        &mut self,
        append_id: AppendId,
        result: Result<Offset, ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some((key, deadline_ms)) = self.appends.remove(&append_id) else { return };
        if let Ok(offset) = result {
            self.upkeep.note_record(offset);
        }
        self.deadlines.remove(&(deadline_ms, append_id));
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(pending) = entry.pending.take_if(|pending| pending.append_id == append_id) else { return };
        if let Ok(offset) = result {
            entry.known = applied(entry.known.take(), pending.record, offset);
        }
        if let Some((token, response)) = pending.reply {
            let response = match result {
                Ok(_) => response,
                Err(error) => response.refused(append_error_to_response(error)),
            };
            out.push(Output::Reply { token, response });
        }
        if result.is_ok()
            && let Some(entry) = self.entries.get_mut(&key)
            && std::mem::take(&mut entry.is_doomed)
            && entry.known.is_some()
        {
            self.append(&key, None, None, now_ms, out);
        }
        self.run(&key, now_ms, out);
    }

    /// Appends that take too long: whoever waits for them, or behind them, is told. Their records may come to be committed
    /// yet, so that nothing else is decided before that is known.
    fn tell_overdue(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        while let Some((deadline_ms, append_id)) = self.deadlines.first().copied()
            && deadline_ms <= now_ms
        {
            self.deadlines.pop_first();
            let Some(entry) = self.appends.get(&append_id).and_then(|(key, _)| self.entries.get_mut(key))
            else {
                continue;
            };
            let error = ErrorCode::CoordinatorNotAvailable;
            let reply = entry.pending.as_mut().and_then(|pending| pending.reply.take());
            out.extend(reply.map(|(token, response)| refuse(token, response.refused(error))));
            let waiting = entry.waiting.drain(..);
            out.extend(waiting.map(|(token, request)| refuse(token, request.refused(error))));
        }
    }

    fn topics_deleted(&mut self, topics: &BTreeSet<TopicId>, now_ms: i64, out: &mut Vec<Output>) {
        let mut gone = Vec::new();
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| topics.contains(&key.topic_id)) {
            if entry.pending.is_some() {
                entry.is_doomed = true;
            } else if entry.known.is_some() {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.append(&key, None, None, now_ms, out);
        }
    }

    fn forget_unknown(&mut self, key: &SharePartitionKey) {
        let is_unknown = self.entries.get(key).is_some_and(|entry| {
            entry.known.is_none() && entry.pending.is_none() && entry.waiting.is_empty()
        });
        if is_unknown {
            self.entries.remove(key);
        }
    }
}

/// What is known once the record is in the log. An update without a snapshot tells of nothing that could be served.
fn applied(known: Option<Known>, record: Option<ShareRecord>, offset: Offset) -> Option<Known> {
    match (known, record) {
        (Some(mut known), Some(ShareRecord::Update(update))) => {
            known.snapshot.apply(&update);
            known.updates += 1;
            Some(known)
        }
        (known, Some(ShareRecord::Snapshot(mut snapshot))) => {
            let leader_epoch = known.map_or(snapshot.leader_epoch, |known| known.snapshot.leader_epoch);
            snapshot.leader_epoch = snapshot.leader_epoch.max(leader_epoch);
            Some(Known { snapshot, snapshot_offset: offset, updates: 0 })
        }
        (_, None) | (None, Some(ShareRecord::Update(_))) => None,
    }
}

fn refuse(token: RequestToken, response: Response) -> Output {
    Output::Reply { token, response }
}

/// What a broker is told where the record could not be written.
fn append_error_to_response(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
