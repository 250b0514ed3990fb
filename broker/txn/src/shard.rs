//! The coordinator of the transactional ids of one partition of `__transaction_state`.

mod append;
mod busy;
mod inspect;
mod request;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use crate::config::TransactionConfig;
use crate::records::{RecordError, RecordKey, Replayed, decode_key, decode_value};
use crate::request::{Request, RequestToken};
use crate::response::Response;
use crate::state::TransactionState;
use crate::timers::{Deadline, Timers};
use crate::transaction::Transaction;
use append::{Appends, Completion};
use busy::Waiting;
use request::{Parked, refused};

/// Names one append until its outcome is known; a shard never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// Names one wish for a producer id until it is answered; a shard never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(pub u64);

/// A record for `__transaction_state`; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// The end of one transaction, to be written into its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMarkers {
    pub transactional_id: Arc<str>,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// The coordinator's own epoch: partitions refuse markers of an older leadership.
    pub coordinator_epoch: LeaderEpoch,
    pub is_commit: bool,
    /// 2 where the epoch is one that the producer has not written with.
    pub transaction_version: i16,
    pub partitions: Vec<TopicPartition>,
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client's request. It is answered exactly once, now or later, by a [`Output::Reply`].
    Request { token: RequestToken, request: Box<Request> },
    /// The outcome of an [`Output::Append`]: `Ok` once its records are committed (below the high watermark of an
    /// acks=all append), an error if they are *not* in the log. While the outcome is unknown, say nothing: the shard
    /// answers its clients itself after `request.timeout.ms`. Outcomes may come in any order.
    Appended { append_id: AppendId, result: Result<(), ErrorCode> },
    /// The outcome of an [`Output::AllocateProducerId`].
    ProducerIdAllocated { allocation_id: AllocationId, result: Result<ProducerId, ErrorCode> },
    /// These partitions have the marker of an [`Output::WriteMarkers`], or need none since they were deleted. To be told
    /// until all of them have, in as many parts as it takes.
    MarkersWritten {
        transactional_id: Arc<str>,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        partitions: Vec<TopicPartition>,
    },
    /// The cluster's `transaction.version` from now on.
    TransactionVersion(i16),
    /// [`TransactionShard::next_deadline_ms`] has come.
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
    /// Get a producer id that no producer has; then tell by [`Input::ProducerIdAllocated`].
    AllocateProducerId { allocation_id: AllocationId },
    /// Write the markers, and go on trying for as long as this broker leads in their epoch; tell by
    /// [`Input::MarkersWritten`]. What is not told is asked for again by the next leader.
    WriteMarkers(TransactionMarkers),
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

/// One transactional id.
#[derive(Debug)]
struct Entry {
    /// What is committed; while markers are written, less the partitions that have theirs.
    current: Transaction,
    /// The step that is being written. There is one at a time.
    pending: Option<AppendId>,
}

impl Entry {
    /// Whether a step is being written, or markers are.
    fn is_busy(&self) -> bool {
        self.pending.is_some() || self.current.state.is_ending()
    }
}

/// The coordinator of the transactional ids of one partition: pure, without clock or I/O.
///
/// How it is driven:
/// - `begin_load`, then `replay` for every record of the partition up to its end, then `finish_load`;
/// - `handle` for everything that happens; its outputs are to be carried out in their order;
/// - `Input::Tick` when `next_deadline_ms` has come (late does no harm beyond the delay, early none at all);
/// - `unload` when the broker no longer leads the partition.
///
/// What is known of an id changes only when the append that carries it is committed. Markers go out after the record
/// that decides the outcome, and its last record after the markers: a new coordinator that finds a decided outcome
/// writes the markers once more, which partitions take as often as they come.
#[derive(Debug)]
pub struct TransactionShard {
    config: Arc<TransactionConfig>,
    state: ShardState,
    transaction_version: i16,
    entries: BTreeMap<Arc<str>, Entry>,
    timers: Timers,
    appends: Appends,
    parked: BTreeMap<AllocationId, Parked>,
    next_allocation_id: u64,
    /// By id, in their order, what waits for the step before it.
    waiting: BTreeMap<Arc<str>, VecDeque<Waiting>>,
}

impl TransactionShard {
    /// An inactive shard; `transaction_version` is the cluster's.
    #[must_use]
    pub fn new(config: Arc<TransactionConfig>, transaction_version: i16) -> Self {
        Self {
            config,
            state: ShardState::Inactive,
            transaction_version,
            entries: BTreeMap::new(),
            timers: Timers::default(),
            appends: Appends::default(),
            parked: BTreeMap::new(),
            next_allocation_id: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Whether the shard may answer, and as leader of which epoch.
    #[must_use]
    pub fn state(&self) -> ShardState {
        self.state
    }

    /// How many transactional ids there are, for a gauge.
    #[must_use]
    pub fn transactional_id_count(&self) -> usize {
        self.entries.len()
    }

    /// Starts to load as the leader of `leader_epoch`; whatever was there is forgotten. What clients still wait for is
    /// answered with NOT_COORDINATOR.
    pub fn begin_load(&mut self, leader_epoch: LeaderEpoch) -> Vec<Output> {
        let out = self.unload();
        self.state = ShardState::Loading { leader_epoch };
        out
    }

    /// Takes in one committed record while loading, in the order of the log. Records of kinds that this coordinator does
    /// not know are skipped and said so.
    ///
    /// # Errors
    /// A record that is no record of its kind. Nothing has changed then.
    ///
    /// # Panics
    /// If the shard is not loading.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Replayed, RecordError> {
        assert!(matches!(self.state, ShardState::Loading { .. }), "records are replayed while loading");
        let transactional_id = match decode_key(key)? {
            RecordKey::Transaction { transactional_id } => transactional_id,
            RecordKey::Other { version } => return Ok(Replayed::Skipped(version)),
        };
        match value {
            Some(value) => {
                let entry = Entry { current: decode_value(value)?, pending: None };
                self.entries.insert(transactional_id.into(), entry);
            }
            None => {
                self.entries.remove(transactional_id);
            }
        }
        Ok(Replayed::Transaction)
    }

    /// All was replayed: the shard is active. Outcomes that were decided are carried on with.
    ///
    /// # Panics
    /// If the shard was not loading.
    pub fn finish_load(&mut self, now_ms: i64) -> Vec<Output> {
        let ShardState::Loading { leader_epoch } = self.state else {
            panic!("a load ends that never began");
        };
        self.state = ShardState::Active { leader_epoch };
        self.schedule_scan(Deadline::TimedOutTransactions, now_ms);
        self.schedule_scan(Deadline::ExpiredIds, now_ms);
        let ending = self.entries.iter().filter(|(_, entry)| entry.current.state.is_ending());
        let ending: Vec<Arc<str>> = ending.map(|(id, _)| Arc::clone(id)).collect();
        let mut out = Vec::new();
        for transactional_id in ending {
            self.write_markers(&transactional_id, now_ms, &mut out);
        }
        out
    }

    /// The broker no longer leads the partition: everything is forgotten, every waiting request is answered with
    /// NOT_COORDINATOR.
    pub fn unload(&mut self) -> Vec<Output> {
        self.state = ShardState::Inactive;
        let mut out = Vec::new();
        let error = ErrorCode::NotCoordinator;
        out.extend(self.appends.clear().into_iter().filter_map(|waiting| waiting.refused_if_reply(error)));
        for parked in std::mem::take(&mut self.parked).into_values() {
            if let Parked::Request { token, request } = parked {
                out.push(Output::Reply { token, response: refused(&request, error) });
            }
        }
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            out.push(waiting.refused(error));
        }
        self.entries.clear();
        self.timers.clear();
        out
    }

    /// The one door for everything that happens while the shard lives.
    pub fn handle(&mut self, input: Input, now_ms: i64) -> Vec<Output> {
        let mut out = Vec::new();
        let is_active = matches!(self.state, ShardState::Active { .. });
        match input {
            Input::Request { token, request } => self.request(token, *request, now_ms, &mut out),
            Input::TransactionVersion(version) => self.transaction_version = version,
            Input::Appended { append_id, result } if is_active => {
                self.appended(append_id, result, now_ms, &mut out);
            }
            Input::ProducerIdAllocated { allocation_id, result } if is_active => {
                self.allocated(allocation_id, result, now_ms, &mut out);
            }
            Input::MarkersWritten { transactional_id, producer_id, producer_epoch, partitions }
                if is_active =>
            {
                let producer = (producer_id, producer_epoch);
                self.markers_written(&transactional_id, producer, &partitions, now_ms, &mut out);
            }
            Input::Appended { .. }
            | Input::ProducerIdAllocated { .. }
            | Input::MarkersWritten { .. }
            | Input::Tick => {}
        }
        while let Some(deadline) = self.timers.pop_due(now_ms) {
            self.deadline_came(deadline, now_ms, &mut out);
        }
        out
    }

    /// When the next [`Input::Tick`] is due; `None` while nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_deadline_ms()
    }

    fn leader_epoch(&self) -> LeaderEpoch {
        match self.state {
            ShardState::Inactive => LeaderEpoch::NONE,
            ShardState::Loading { leader_epoch } | ShardState::Active { leader_epoch } => leader_epoch,
        }
    }

    /// An outcome is decided, and its record committed: the partitions are to be told.
    fn write_markers(&mut self, transactional_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let coordinator_epoch = self.leader_epoch();
        let Some(entry) = self.entries.get(transactional_id) else { return };
        let current = &entry.current;
        if current.partitions.is_empty() {
            return self.complete(transactional_id, now_ms, out);
        }
        out.push(Output::WriteMarkers(TransactionMarkers {
            transactional_id: Arc::clone(transactional_id),
            producer_id: current.producer_id,
            producer_epoch: current.producer_epoch,
            coordinator_epoch,
            is_commit: current.state == TransactionState::PrepareCommit,
            transaction_version: current.client_version,
            partitions: current.partitions.iter().cloned().collect(),
        }));
    }

    fn markers_written(
        &mut self,
        transactional_id: &Arc<str>,
        producer: (ProducerId, ProducerEpoch),
        partitions: &[TopicPartition],
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get_mut(transactional_id) else { return };
        let current = &mut entry.current;
        // What is told of an earlier transaction comes too late to say anything of this one.
        if !current.state.is_ending() || (current.producer_id, current.producer_epoch) != producer {
            return;
        }
        for partition in partitions {
            current.partitions.remove(partition);
        }
        self.complete(transactional_id, now_ms, out);
    }

    /// Writes the end of a transaction all of whose partitions have their marker.
    fn complete(&mut self, transactional_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get(transactional_id) else { return };
        let current = &entry.current;
        if !current.state.is_ending() || !current.partitions.is_empty() || entry.pending.is_some() {
            return;
        }
        let next = current.completed(TimestampMs(now_ms));
        self.append_step(transactional_id, next, Completion::Markers, now_ms, out);
    }
}
