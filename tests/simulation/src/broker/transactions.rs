//! The transaction coordinator, and what brokers ask each other for transactions: the real shard over the replicated
//! partition of `__transaction_state`; questions of partitions' leaders to it, and its markers for them.

use std::collections::BTreeMap;
use std::rc::Rc;

use moldau_group::{AppendKind, EndTransactionRequest, OffsetCommitRequest, TxnOffsetCommitRequest};
use moldau_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, VerificationGuard};
use moldau_txn::{
    AddPartitionsRequest, AllocationId, AppendId, Input, Output, Request, RequestToken, Response, ShardState,
    TransactionMarkers, TransactionShard,
};

use super::{Broker, Waiter, Waiting, Whom};
use crate::bug::Bug;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::log::{InTransaction, NO_SEQUENCE, NewBatch, Sequenced};
use crate::message::{Correlation, FromBroker, Message, NO_CONNECTION, Node, OfTransaction, Part, ToBroker};
use crate::topology::{OFFSETS_PART, TRANSACTIONS_PART};

/// The longest that a load takes to begin.
const LOAD_MS_MAX: i64 = 80;
/// Another broker that takes longer is asked again, or given up.
const PEER_MS: i64 = 300;
const MARKER_RETRY_MS: i64 = 40;

/// What the coordinator's process has.
#[derive(Debug)]
pub(super) struct Transactions {
    shard: TransactionShard,
    /// Of the load or the activity under way.
    epoch: Option<i32>,
    loaded_to: Option<i64>,
    inputs: std::collections::VecDeque<Input>,
    tokens: BTreeMap<RequestToken, (Node, Correlation)>,
    next_token: u64,
    tick_at: i64,
    /// Under numbers of their own, what is on its way.
    markers: BTreeMap<u64, TransactionMarkers>,
    /// What other brokers were asked.
    asked: BTreeMap<Correlation, PeerAsked>,
    /// Of producers about whom the coordinator is asked; whatever is written of them in a partition takes theirs away.
    guards: BTreeMap<(Part, i64), u64>,
    /// The transaction in which a producer last sent offsets here.
    offsets_of: BTreeMap<(i64, i16), u64>,
}

/// What waits for the coordinator's word.
#[derive(Debug)]
struct Held {
    whom: (Node, Correlation),
    of: OfTransaction,
    guard: u64,
    what: HeldWhat,
}

#[derive(Debug)]
enum HeldWhat {
    Batch(Part, Box<NewBatch>),
    Offsets(Box<OffsetCommitRequest>),
}

#[derive(Debug)]
enum PeerAsked {
    Verification(Held),
    Marker { number: u64, part: Part },
}

impl Transactions {
    pub(super) fn new() -> Self {
        let config = moldau_txn::TransactionConfig {
            abort_timed_out_interval_ms: 200,
            append_timeout_ms: 1_000,
            completion_retry_ms: 50,
            ..moldau_txn::TransactionConfig::default()
        };
        Self {
            shard: TransactionShard::new(config.into(), 2),
            epoch: None,
            loaded_to: None,
            inputs: std::collections::VecDeque::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            tick_at: i64::MAX,
            markers: BTreeMap::new(),
            asked: BTreeMap::new(),
            guards: BTreeMap::new(),
            offsets_of: BTreeMap::new(),
        }
    }
}

impl Broker {
    // ---- the coordinator ----

    pub(super) fn elected_transactions(&mut self, core: &mut Core, epoch: i32) {
        let transactions = &mut self.process.transactions;
        if transactions.epoch == Some(epoch) {
            return;
        }
        transactions.epoch = Some(epoch);
        transactions.loaded_to = None;
        transactions.markers.clear();
        let outputs = transactions.shard.begin_load(LeaderEpoch(epoch));
        self.carry_out_transactions(core, outputs);
        let delay = core.random.between(1, LOAD_MS_MAX);
        self.timer(core, delay, Timer::TransactionLoad { leader_epoch: epoch });
    }

    pub(super) fn resigned_transactions(&mut self, core: &mut Core) {
        let transactions = &mut self.process.transactions;
        if transactions.epoch.take().is_some() {
            transactions.loaded_to = None;
            transactions.markers.clear();
            let outputs = transactions.shard.unload();
            self.carry_out_transactions(core, outputs);
        }
    }

    pub(super) fn load_transactions(&mut self, core: &mut Core, leader_epoch: i32) {
        let leads = self.leads(TRANSACTIONS_PART) == Some(leader_epoch);
        let transactions = &mut self.process.transactions;
        let is_loading = matches!(transactions.shard.state(), ShardState::Loading { .. });
        if transactions.epoch != Some(leader_epoch)
            || !is_loading
            || transactions.loaded_to.is_some()
            || !leads
        {
            return;
        }
        let log = &self.disk.logs[TRANSACTIONS_PART.0];
        for batch in log.from(0) {
            for record in batch.content.transactions.iter().flat_map(|records| records.iter()) {
                let replayed = transactions.shard.replay(&record.key, record.value.as_deref());
                replayed.expect("the coordinator reads what coordinators wrote");
            }
        }
        transactions.loaded_to = Some(log.end());
        self.loaded_transactions_committed(core);
    }

    /// As with groups: answers, and markers, begin once all that was loaded is committed.
    pub(super) fn loaded_transactions_committed(&mut self, core: &mut Core) {
        let Some(end) = self.process.transactions.loaded_to else { return };
        let Some(hosted) = self.process.hosted.get(&TRANSACTIONS_PART) else { return };
        if hosted.replica.high_watermark().0 < end {
            return;
        }
        self.process.transactions.loaded_to = None;
        core.coverage.note(Happened::TransactionsLoaded);
        let outputs = self.process.transactions.shard.finish_load(core.now);
        self.carry_out_transactions(core, outputs);
    }

    pub(super) fn transaction_request(
        &mut self,
        core: &mut Core,
        from: Node,
        correlation: Correlation,
        request: Request,
    ) {
        let transactions = &mut self.process.transactions;
        if transactions.epoch.is_none() {
            return self.answer_error(core, from, correlation, TRANSACTIONS_PART, ErrorCode::NotCoordinator);
        }
        transactions.next_token += 1;
        let token = RequestToken(transactions.next_token);
        transactions.tokens.insert(token, (from, correlation));
        self.handle_transaction_input(core, Input::Request { token, request: Box::new(request) });
    }

    fn handle_transaction_input(&mut self, core: &mut Core, input: Input) {
        let outputs = self.process.transactions.shard.handle(input, core.now);
        self.carry_out_transactions(core, outputs);
    }

    fn carry_out_transactions(&mut self, core: &mut Core, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    if let Some((to, correlation)) = self.process.transactions.tokens.remove(&token) {
                        self.answer(core, to, correlation, FromBroker::Transaction(response));
                    }
                }
                Output::Append { append_id, leader_epoch, records } => {
                    let (id, count) = (core.unique(), records.len() as i32);
                    let transactions = Some(Rc::new(records));
                    let batch = NewBatch { id, count, transactions, ..NewBatch::default() };
                    match self.append(core, TRANSACTIONS_PART, Some(leader_epoch.0), batch, true) {
                        Ok(appended) => {
                            let whom = Whom::TransactionCoordinator { append_id };
                            self.wait(core, TRANSACTIONS_PART, Waiting { required: appended.end, whom });
                        }
                        Err(code) => self.transactions_appended(append_id, Err(code)),
                    }
                }
                Output::AllocateProducerId { allocation_id } => {
                    self.want_producer_id(core, Waiter::Coordinator(allocation_id));
                }
                Output::WriteMarkers(markers) => self.send_markers(core, markers),
            }
        }
        self.schedule_transaction_tick(core);
    }

    pub(super) fn transactions_appended(&mut self, append_id: AppendId, result: Result<(), ErrorCode>) {
        self.process.transactions.inputs.push_back(Input::Appended { append_id, result });
    }

    pub(super) fn producer_id_allocated(&mut self, allocation_id: AllocationId, id: Result<i64, ErrorCode>) {
        let result = id.map(ProducerId);
        self.process.transactions.inputs.push_back(Input::ProducerIdAllocated { allocation_id, result });
    }

    pub(super) fn drain_transaction_inputs(&mut self, core: &mut Core) {
        while let Some(input) = self.process.transactions.inputs.pop_front() {
            self.handle_transaction_input(core, input);
        }
    }

    fn schedule_transaction_tick(&mut self, core: &mut Core) {
        let Some(deadline) = self.process.transactions.shard.next_deadline_ms() else { return };
        if deadline < self.process.transactions.tick_at {
            self.process.transactions.tick_at = deadline;
            self.timer(core, (deadline - core.now).max(0), Timer::TransactionTick);
        }
    }

    pub(super) fn transaction_tick(&mut self, core: &mut Core) {
        self.process.transactions.tick_at = i64::MAX;
        self.handle_transaction_input(core, Input::Tick);
    }

    // ---- its markers ----

    fn send_markers(&mut self, core: &mut Core, markers: TransactionMarkers) {
        let number = core.unique();
        let parts: Vec<Part> = markers.partitions.iter().filter_map(Part::of).collect();
        self.process.transactions.markers.insert(number, markers);
        for part in parts {
            self.send_marker(core, number, part);
            if core.has(Bug::CompleteBeforeMarkers) {
                self.marker_written(number, part);
            }
        }
    }

    /// Also when it is sent again: unless the coordinator is another one by now.
    pub(super) fn send_marker(&mut self, core: &mut Core, number: u64, part: Part) {
        let Some(markers) = self.process.transactions.markers.get(&number) else { return };
        let leader = part.find(&self.process.image).map(|(_, partition)| partition);
        let Some(leader) =
            leader.filter(|partition| partition.has_leader()).map(|partition| partition.leader)
        else {
            return self.timer(core, MARKER_RETRY_MS, Timer::Marker { number, part });
        };
        let producer = (markers.producer_id.0, markers.producer_epoch.0);
        let marker = InTransaction::Marker {
            is_commit: markers.is_commit,
            coordinator_epoch: markers.coordinator_epoch.0,
            transaction_version: markers.transaction_version,
        };
        let request = ToBroker::Marker { part, producer, marker };
        self.ask_peer(core, leader.0, request, PeerAsked::Marker { number, part });
    }

    fn marker_written(&mut self, number: u64, part: Part) {
        let Some(markers) = self.process.transactions.markers.get(&number) else { return };
        self.process.transactions.inputs.push_back(Input::MarkersWritten {
            transactional_id: markers.transactional_id.clone(),
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            partitions: vec![part.topic_partition()],
        });
    }

    fn marker_answered(&mut self, core: &mut Core, (number, part): (u64, Part), code: ErrorCode) {
        let version = self.process.transactions.markers.get(&number).map_or(0, |m| m.transaction_version);
        match code {
            ErrorCode::None => self.marker_written(number, part),
            // The epoch is the marker's own: it has been there.
            ErrorCode::InvalidProducerEpoch if version >= 2 => self.marker_written(number, part),
            // A later coordinator's, or a later producer's, has been there.
            ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => {}
            _ => {
                core.coverage.note(Happened::MarkerSentAgain);
                self.timer(core, MARKER_RETRY_MS, Timer::Marker { number, part });
            }
        }
    }

    /// A coordinator ends a producer's transaction in a partition that this broker leads.
    pub(super) fn write_marker(
        &mut self,
        core: &mut Core,
        (from, correlation): (Node, Correlation),
        part: Part,
        (producer_id, producer_epoch): (i64, i16),
        marker: InTransaction,
    ) {
        if part == OFFSETS_PART
            && let InTransaction::Marker { is_commit, coordinator_epoch, transaction_version } = marker
        {
            let request = EndTransactionRequest {
                producer_id: ProducerId(producer_id),
                producer_epoch: ProducerEpoch(producer_epoch),
                coordinator_epoch,
                is_commit,
                transaction_version: transaction_version as i8,
            };
            let request = moldau_group::Request::EndTransaction(request);
            return self.group_request(core, from, correlation, request);
        }
        if core.has(Bug::RefuseMarkerThatIsThere)
            && self.disk.logs[part.0].knows_epoch((producer_id, producer_epoch))
            && matches!(marker, InTransaction::Marker { transaction_version: 2.., .. })
        {
            return self.answer_error(core, from, correlation, part, ErrorCode::InvalidProducerEpoch);
        }
        let by = Sequenced { producer_id, producer_epoch, base_sequence: NO_SEQUENCE };
        let batch = NewBatch {
            id: core.unique(),
            count: 1,
            sequenced: Some(by),
            in_transaction: Some(marker),
            ..NewBatch::default()
        };
        match self.append(core, part, None, batch, true) {
            Ok(appended) => {
                let whom = Whom::Peer { to: from, correlation };
                self.wait(core, part, Waiting { required: appended.end, whom });
            }
            Err(code) => self.answer_error(core, from, correlation, part, code),
        }
    }

    // ---- questions to the coordinator ----

    /// Whether the batch has to wait until the coordinator has been asked; then it does.
    pub(super) fn holds(
        &mut self,
        core: &mut Core,
        whom: (Node, Correlation),
        part: Part,
        of: OfTransaction,
        batch: &NewBatch,
    ) -> bool {
        let is_asked_for = self.leads(part).is_some()
            && !self.disk.logs[part.0].is_in_transaction(of.producer)
            && !(core.has(Bug::NoVerification) && of.version < 2);
        if is_asked_for {
            self.verify(core, whom, part, of, HeldWhat::Batch(part, Box::new(batch.clone())));
        }
        is_asked_for
    }

    pub(super) fn transaction_offsets(
        &mut self,
        core: &mut Core,
        whom: (Node, Correlation),
        request: Box<OffsetCommitRequest>,
        of: OfTransaction,
    ) {
        if self.leads(OFFSETS_PART).is_none() {
            return self.answer_error(core, whom.0, whom.1, OFFSETS_PART, ErrorCode::NotCoordinator);
        }
        self.verify(core, whom, OFFSETS_PART, of, HeldWhat::Offsets(request));
    }

    fn verify(
        &mut self,
        core: &mut Core,
        whom: (Node, Correlation),
        part: Part,
        of: OfTransaction,
        what: HeldWhat,
    ) {
        let coordinator = TRANSACTIONS_PART.find(&self.process.image).map(|(_, partition)| partition.leader);
        let Some(coordinator) = coordinator.filter(|leader| leader.0 > 0) else {
            return self.answer_error(core, whom.0, whom.1, part, ErrorCode::NotEnoughReplicas);
        };
        let guard = core.unique();
        let guard = *self.process.transactions.guards.entry((part, of.producer.0)).or_insert(guard);
        let question = AddPartitionsRequest {
            transactional_id: of.transactional_id.to_owned(),
            producer_id: ProducerId(of.producer.0),
            producer_epoch: ProducerEpoch(of.producer.1),
            partitions: vec![part.topic_partition()],
            transaction_version: of.version,
        };
        let request = match of.version {
            2.. => Request::AddPartitions(question),
            _ => Request::VerifyPartitions(question),
        };
        let request = ToBroker::Transaction { request, connection: NO_CONNECTION };
        self.ask_peer(core, coordinator.0, request, PeerAsked::Verification(Held { whom, of, guard, what }));
    }

    fn verified(&mut self, core: &mut Core, held: Held, code: ErrorCode) {
        let Held { whom: (to, correlation), of, guard, what } = held;
        let part = match &what {
            HeldWhat::Batch(part, _) => *part,
            HeldWhat::Offsets(_) => OFFSETS_PART,
        };
        let is_guarded = self.process.transactions.guards.get(&(part, of.producer.0)) == Some(&guard);
        let code = match code {
            // Something was written of the producer meanwhile: the answer may be about an earlier transaction.
            ErrorCode::None if !is_guarded => ErrorCode::NotEnoughReplicas,
            code => code,
        };
        if code != ErrorCode::None {
            core.coverage.note(Happened::LateBatchRefused);
            return self.answer_error(core, to, correlation, part, code);
        }
        match what {
            HeldWhat::Batch(part, batch) => self.produce_now(core, (to, correlation), part, *batch, true),
            HeldWhat::Offsets(commit) => {
                self.process.transactions.offsets_of.insert(of.producer, of.number);
                let transaction = moldau_group::InTransaction {
                    producer_id: ProducerId(of.producer.0),
                    producer_epoch: ProducerEpoch(of.producer.1),
                    needs_verification: true,
                    verification: Some(VerificationGuard(guard)),
                };
                let request = TxnOffsetCommitRequest { transaction, commit: *commit };
                let request = moldau_group::Request::TxnOffsetCommit(request);
                self.group_request(core, to, correlation, request);
            }
        }
    }

    /// What a group's coordinator writes in a transaction, or to end one; `None` if it may not any more.
    pub(super) fn in_transaction(
        &self,
        kind: AppendKind,
    ) -> Option<(Option<Sequenced>, Option<InTransaction>)> {
        let by = |id: ProducerId, epoch: ProducerEpoch| {
            Some(Sequenced { producer_id: id.0, producer_epoch: epoch.0, base_sequence: NO_SEQUENCE })
        };
        match kind {
            AppendKind::Records => Some((None, None)),
            AppendKind::InTransaction(transaction) => {
                let producer = (transaction.producer_id.0, transaction.producer_epoch.0);
                let guard = self.process.transactions.guards.get(&(OFFSETS_PART, producer.0));
                let is_guarded = transaction.verification == guard.copied().map(VerificationGuard);
                if !is_guarded && !self.disk.logs[OFFSETS_PART.0].is_in_transaction(producer) {
                    return None;
                }
                let number = self.process.transactions.offsets_of.get(&producer).copied().unwrap_or(0);
                let records = InTransaction::Records { transaction: number };
                Some((by(transaction.producer_id, transaction.producer_epoch), Some(records)))
            }
            AppendKind::Marker(marker) => {
                let end = InTransaction::Marker {
                    is_commit: marker.is_commit,
                    coordinator_epoch: marker.coordinator_epoch,
                    transaction_version: i16::from(marker.transaction_version),
                };
                Some((by(marker.producer_id, marker.producer_epoch), Some(end)))
            }
        }
    }

    /// Something of a producer's transaction is in the log.
    pub(super) fn written_in_transaction(&mut self, part: Part, batch: &NewBatch) {
        if let (Some(by), Some(_)) = (batch.sequenced, batch.in_transaction) {
            self.process.transactions.guards.remove(&(part, by.producer_id));
        }
    }

    // ---- other brokers ----

    /// Whether another broker's answer is still waited for.
    pub(crate) fn waits_for(&self, correlation: Correlation) -> bool {
        self.is_up && self.process.transactions.asked.contains_key(&correlation)
    }

    fn ask_peer(&mut self, core: &mut Core, broker: i32, request: ToBroker, asked: PeerAsked) {
        let correlation = core.correlation();
        self.process.transactions.asked.insert(correlation, asked);
        self.send(core, Node::Broker(broker), Message::ToBroker(correlation, request));
        self.timer(core, PEER_MS, Timer::PeerTimeout(correlation));
    }

    pub(super) fn peer_answered(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        let Some(asked) = self.process.transactions.asked.remove(&correlation) else { return };
        let code = match answer {
            FromBroker::Produced => ErrorCode::None,
            FromBroker::Group { response: moldau_group::Response::EndTransaction(code), .. } => code,
            FromBroker::Transaction(Response::AddPartitions(answer) | Response::VerifyPartitions(answer)) => {
                answer.partitions[0].1
            }
            FromBroker::Error { code, .. } => code,
            answer => unreachable!("a broker is answered {answer:?}"),
        };
        self.settle_peer(core, asked, code);
    }

    pub(super) fn peer_timed_out(&mut self, core: &mut Core, correlation: Correlation) {
        if let Some(asked) = self.process.transactions.asked.remove(&correlation) {
            self.settle_peer(core, asked, ErrorCode::NetworkException);
        }
    }

    fn settle_peer(&mut self, core: &mut Core, asked: PeerAsked, code: ErrorCode) {
        match asked {
            PeerAsked::Marker { number, part } => self.marker_answered(core, (number, part), code),
            PeerAsked::Verification(held) => {
                let code = match code {
                    ErrorCode::ConcurrentTransactions
                    | ErrorCode::NetworkException
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
                    code => code,
                };
                self.verified(core, held, code);
            }
        }
    }
}
