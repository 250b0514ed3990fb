//! A producer with a transactional id: it writes to both partitions and commits an offset in its transactions. Now and then
//! it crashes and comes back, or sleeps for longer than its transaction may take; where two have the same id each fences
//! the other, and goes on all the same for as long as it does not know.

use std::collections::{BTreeMap, VecDeque};

use moldau_group::{
    OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic, OffsetFetchRequest, OffsetFetchTopic,
};
use moldau_model::{
    ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId,
};
use moldau_txn::{
    AddPartitionsRequest, EndTransactionRequest, InitProducerIdRequest, ProducerResponse, Request, Response,
};

use super::{KnownLeader, send};
use crate::core::Core;
use crate::coverage::Happened;
use crate::log::{InTransaction, NewBatch, Sequenced};
use crate::message::{Correlation, FromBroker, NO_CONNECTION, OfTransaction, Part, ToBroker};
use crate::topology::{DATA_PARTS, DATA_TOPIC, OFFSETS_PART, TRANSACTIONS_PART};

const REQUEST_MS: i64 = 500;
/// `transaction.timeout.ms`.
const TRANSACTION_MS: i32 = 2_500;
const SLEEP_MS: i64 = 4_000;
/// Transactions after the faults are over.
const LAST_COMMITS: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// AddPartitionsToTxn, which clients of version 2 leave to brokers.
    Add(Part),
    Write(Part, NewBatch),
    Offsets,
    End(bool),
    /// What the group's coordinator shows: at least what was committed before it is asked.
    Look,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transactor {
    client: usize,
    transactional_id: &'static str,
    version: i16,
    connection: u64,
    leaders: BTreeMap<Part, KnownLeader>,
    /// Whom its consumer asks, which finds the group's coordinator by itself, and keeps to it for as long as it answers.
    consumer: KnownLeader,
    producer: Option<(i64, i16)>,
    sequences: BTreeMap<Part, i32>,
    /// Of the transaction under way.
    number: u64,
    steps: VecDeque<Step>,
    outstanding: Option<(Correlation, i64, Part)>,
    next_at: i64,
    remaining: Option<u32>,
    has_seen_its_offset: bool,
    /// The offset that was committed when its coordinator was asked.
    committed_before: i64,
    /// A batch was not acknowledged: the next transaction is to have another epoch.
    has_given_up: bool,
}

impl Transactor {
    pub(crate) fn new(client: usize, transactional_id: &'static str, version: i16) -> Self {
        let parts = DATA_PARTS.into_iter().chain([OFFSETS_PART, TRANSACTIONS_PART]);
        Self {
            client,
            transactional_id,
            version,
            connection: 0,
            leaders: parts.map(|part| (part, KnownLeader::new())).collect(),
            consumer: KnownLeader::new(),
            producer: None,
            sequences: BTreeMap::new(),
            number: 0,
            steps: VecDeque::new(),
            outstanding: None,
            next_at: 0,
            remaining: None,
            has_seen_its_offset: false,
            committed_before: -1,
            has_given_up: false,
        }
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// What may come late and twice: with an epoch for each transaction nothing can be taken for a later one's.
    fn connection_or_none(&self) -> u64 {
        if self.version >= 2 { NO_CONNECTION } else { self.connection }
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if let Some((_, deadline, part)) = self.outstanding
            && core.now > deadline
        {
            self.connection += 1;
            self.outstanding = None;
            self.look_elsewhere(core, part);
            let is_writing = matches!(self.steps.front(), Some(Step::Write(..)));
            if is_writing && self.remaining.is_none() && core.random.per_mille(250) {
                // The batch may be under way for long, and come when the transaction has ended.
                self.has_given_up = true;
                self.steps = VecDeque::from([Step::End(false)]);
            }
        }
        if self.outstanding.is_some() || core.now < self.next_at {
            return;
        }
        self.next_at = core.now + core.random.between(5, 60);
        if self.remaining.is_none() && !self.steps.is_empty() {
            match core.random.below(200) {
                0..=2 => return self.crash(core),
                3 => {
                    self.next_at = core.now + SLEEP_MS;
                    return;
                }
                _ => {}
            }
        }
        let Some(producer) = self.producer else { return self.start(core) };
        if self.steps.is_empty() {
            self.plan(core, producer);
        }
        self.take_step(core, producer);
    }

    /// Another process goes on, which knows nothing.
    fn crash(&mut self, core: &mut Core) {
        core.coverage.note(Happened::TransactionAbandoned);
        self.start_over(core);
    }

    fn start_over(&mut self, core: &mut Core) {
        self.producer = None;
        self.has_given_up = false;
        self.steps.clear();
        self.sequences.clear();
        let longest = if self.remaining.is_some() { 800 } else { 2_000 };
        self.next_at = core.now + core.random.between(50, longest);
    }

    /// Whom the step under way asks.
    fn leader(&mut self, part: Part) -> Option<&mut KnownLeader> {
        if matches!(self.steps.front(), Some(Step::Look)) {
            return Some(&mut self.consumer);
        }
        self.leaders.get_mut(&part)
    }

    fn look_elsewhere(&mut self, core: &mut Core, part: Part) {
        if let Some(leader) = self.leader(part) {
            leader.look_elsewhere(core, None);
        }
    }

    fn ask(&mut self, core: &mut Core, part: Part, request: ToBroker) {
        let broker = self.leader(part).map_or(1, |leader| leader.broker);
        let correlation = send(core, self.client, broker, request);
        self.outstanding = Some((correlation, core.now + REQUEST_MS, part));
    }

    fn ask_coordinator(&mut self, core: &mut Core, request: Request) {
        let connection = self.connection_or_none();
        self.ask(core, TRANSACTIONS_PART, ToBroker::Transaction { request, connection });
    }

    fn start(&mut self, core: &mut Core) {
        let request = InitProducerIdRequest {
            transactional_id: self.transactional_id.to_owned(),
            transaction_timeout_ms: TRANSACTION_MS,
            expected: None,
        };
        // A second producer by one request would fence the first.
        let request =
            ToBroker::Transaction { request: Request::InitProducerId(request), connection: self.connection };
        self.ask(core, TRANSACTIONS_PART, request);
    }

    fn plan(&mut self, core: &mut Core, (producer_id, producer_epoch): (i64, i16)) {
        if self.remaining == Some(0) {
            self.steps.push_back(Step::Look);
            return;
        }
        self.number = core.unique();
        if core.random.per_mille(200) {
            self.steps.push_back(Step::Look);
        }
        let mut added = Vec::new();
        for _ in 0..core.random.between(1, 4) {
            let part = core.random.pick(&DATA_PARTS);
            if self.version < 2 && !added.contains(&part) {
                added.push(part);
                self.steps.push_back(Step::Add(part));
            }
            let count = core.random.between(1, 3) as i32;
            let next = self.sequences.entry(part).or_insert(0);
            let by = Sequenced { producer_id, producer_epoch, base_sequence: *next };
            *next += count;
            let in_transaction = Some(InTransaction::Records { transaction: self.number });
            let id = core.unique();
            let batch = NewBatch { id, count, sequenced: Some(by), in_transaction, ..NewBatch::default() };
            self.steps.push_back(Step::Write(part, batch));
        }
        if core.random.per_mille(400) {
            if self.version < 2 {
                self.steps.push_back(Step::Add(OFFSETS_PART));
            }
            self.steps.push_back(Step::Offsets);
        }
        let is_commit = self.remaining.is_some() || core.random.per_mille(700);
        self.steps.push_back(Step::End(is_commit));
    }

    fn take_step(&mut self, core: &mut Core, producer: (i64, i16)) {
        let Some(step) = self.steps.front().cloned() else { return };
        let (producer_id, producer_epoch) = (ProducerId(producer.0), ProducerEpoch(producer.1));
        let transactional_id = self.transactional_id.to_owned();
        let of = OfTransaction {
            transactional_id: self.transactional_id,
            producer,
            number: self.number,
            version: self.version,
        };
        match step {
            Step::Add(part) => {
                let partitions = vec![part.topic_partition()];
                let transaction_version = 0;
                self.ask_coordinator(
                    core,
                    Request::AddPartitions(AddPartitionsRequest {
                        transactional_id,
                        producer_id,
                        producer_epoch,
                        partitions,
                        transaction_version,
                    }),
                );
            }
            Step::Write(part, batch) => {
                self.ask(core, part, ToBroker::Produce { part, batch, is_acks_all: true, of: Some(of) });
            }
            Step::Offsets => {
                let request = Box::new(self.offsets());
                let connection = self.connection_or_none();
                self.ask(core, OFFSETS_PART, ToBroker::TransactionOffsets { request, of, connection });
            }
            Step::End(is_commit) => {
                core.invariants.transactions.asked(self.number, is_commit);
                self.ask_coordinator(
                    core,
                    Request::EndTransaction(EndTransactionRequest {
                        transactional_id,
                        producer_id,
                        producer_epoch,
                        is_commit,
                        transaction_version: self.version,
                    }),
                );
            }
            Step::Look => {
                let topic = OffsetFetchTopic {
                    name: DATA_TOPIC.to_owned(),
                    topic_id: TopicId::ZERO,
                    partitions: vec![PartitionIndex(0)],
                };
                let request = moldau_group::Request::OffsetFetch(OffsetFetchRequest {
                    group_id: transactional_id,
                    member_id: None,
                    member_epoch: -1,
                    topics: Some(vec![topic]),
                    require_stable: true,
                    may_be_replaced: false,
                });
                let connection = self.connection;
                self.committed_before = core.invariants.transactions.told_offset(self.transactional_id);
                self.ask(core, OFFSETS_PART, ToBroker::Group { request, connection });
            }
        }
    }

    /// The transaction's number is the offset that it commits.
    fn offsets(&self) -> OffsetCommitRequest {
        let committed = OffsetCommitPartition {
            partition: PartitionIndex(0),
            committed_offset: Offset(self.number as i64),
            committed_leader_epoch: LeaderEpoch::NONE,
            metadata: None,
        };
        OffsetCommitRequest {
            api_version: 5,
            group_id: self.transactional_id.to_owned(),
            generation_id: GenerationId(-1),
            member_id: String::new(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: vec![OffsetCommitTopic {
                name: DATA_TOPIC.to_owned(),
                topic_id: TopicId::ZERO,
                partitions: vec![committed],
            }],
        }
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        let Some((_, _, part)) = self.outstanding.take_if(|(asked, _, _)| *asked == correlation) else {
            return;
        };
        if let FromBroker::Error { code, hint } = &answer {
            if let (Some(leader), Some(known)) = (hint.leader, self.leader(part)) {
                known.broker = leader.0;
            } else {
                self.look_elsewhere(core, part);
            }
            return self.refused(core, *code, part);
        }
        if self.producer.is_none() {
            return match answer {
                FromBroker::Transaction(Response::InitProducerId(response)) => self.started(core, response),
                answer => unreachable!("a producer that starts is answered {answer:?}"),
            };
        }
        match (self.steps.front().cloned(), answer) {
            (Some(Step::Add(_)), FromBroker::Transaction(Response::AddPartitions(response))) => {
                self.settle(core, response.partitions[0].1, part);
            }
            (Some(Step::Write(part, batch)), FromBroker::Produced) => {
                core.invariants.transactions.acked(self.number, part, batch.id);
                self.steps.pop_front();
            }
            (Some(Step::Offsets), FromBroker::Group { response, .. }) => {
                let moldau_group::Response::OffsetCommit(response) = response else {
                    unreachable!("an offset commit is answered {response:?}")
                };
                let code = response.topics[0].partitions[0].error;
                if code.is_none() {
                    core.invariants.transactions.acked_offsets(self.number, self.transactional_id);
                }
                self.settle(core, code, part);
            }
            (Some(Step::End(is_commit)), FromBroker::Transaction(Response::EndTransaction(response))) => {
                self.ended(core, is_commit, response);
            }
            (Some(Step::Look), FromBroker::Group { response, leader_epoch }) => {
                self.looked(core, &response, leader_epoch);
            }
            (step, answer) => unreachable!("{step:?} is answered {answer:?}"),
        }
    }

    fn started(&mut self, core: &mut Core, response: ProducerResponse) {
        if !response.error.is_none() {
            return self.refused(core, response.error, TRANSACTIONS_PART);
        }
        let producer = (response.producer_id.0, response.producer_epoch.0);
        let verdict = core.invariants.transactions.given(producer);
        core.invariants.judge("transactions_are_whole", verdict);
        self.producer = Some(producer);
    }

    fn settle(&mut self, core: &mut Core, code: ErrorCode, part: Part) {
        if code.is_none() {
            self.steps.pop_front();
        } else {
            self.refused(core, code, part);
        }
    }

    fn refused(&mut self, core: &mut Core, code: ErrorCode, part: Part) {
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.look_elsewhere(core, part),
            ErrorCode::NotLeaderOrFollower
            | ErrorCode::NetworkException
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::ConcurrentTransactions
            | ErrorCode::UnstableOffsetCommit => {}
            ErrorCode::TransactionAbortable
            | ErrorCode::InvalidTxnState
            | ErrorCode::OutOfOrderSequenceNumber
                if !matches!(self.steps.front(), Some(Step::End(_)) | None) =>
            {
                // What was sent and not acknowledged may yet be written: its sequence is gone with this producer.
                self.start_over(core);
            }
            _ => {
                core.coverage.note(Happened::TransactionProducerFenced);
                self.start_over(core);
            }
        }
    }

    fn ended(&mut self, core: &mut Core, is_commit: bool, response: ProducerResponse) {
        if !response.error.is_none() {
            return self.refused(core, response.error, TRANSACTIONS_PART);
        }
        let verdict = core.invariants.transactions.told(self.number, is_commit);
        core.invariants.judge("transactions_are_whole", verdict);
        core.coverage.note(if is_commit {
            Happened::TransactionCommitted
        } else {
            Happened::TransactionAborted
        });
        if is_commit {
            self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(1));
        }
        if self.version >= 2 {
            self.producer = Some((response.producer_id.0, response.producer_epoch.0));
            self.sequences.clear();
        }
        self.steps.clear();
        if self.has_given_up {
            self.start_over(core);
        }
    }

    fn looked(&mut self, core: &mut Core, response: &moldau_group::Response, epoch: i32) {
        let moldau_group::Response::OffsetFetch(response) = response else {
            unreachable!("an offset fetch is answered {response:?}")
        };
        if !response.error.is_none() {
            return self.refused(core, response.error, OFFSETS_PART);
        }
        let found = &response.topics[0].partitions[0];
        if !found.error.is_none() {
            core.coverage.note(Happened::UnstableOffset);
            return self.refused(core, found.error, OFFSETS_PART);
        }
        let offset = found.committed_offset.0;
        let verdict = core.invariants.transactions.shown_offset(self.transactional_id, offset);
        core.invariants.judge("transactions_are_whole", verdict);
        core.invariants.shown_by_coordinator(epoch, offset, self.committed_before);
        if offset != -1 {
            core.coverage.note(Happened::TransactionOffsetsSeen);
        }
        self.has_seen_its_offset =
            offset == core.invariants.transactions.latest_offset(self.transactional_id);
        self.steps.pop_front();
    }

    pub(super) fn finish(&mut self) {
        self.remaining = Some(LAST_COMMITS);
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let is_done = self.remaining == Some(0) && self.has_seen_its_offset;
        (!is_done).then(|| format!("a producer of {} is not done: {self:?}", self.transactional_id))
    }
}
