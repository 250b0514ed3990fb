//! A shard, its clock, its log and its partitions. Every output is checked: a token is answered once, and by its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};

use crate::*;

/// A producer as its client knows it.
pub(super) type Producer = (i64, i16);

pub(super) fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

pub(super) fn init(transactional_id: &str, expected: Option<Producer>) -> Request {
    Request::InitProducerId(InitProducerIdRequest {
        transactional_id: transactional_id.into(),
        transaction_timeout_ms: 60_000,
        expected: expected.map(|(id, epoch)| (ProducerId(id), ProducerEpoch(epoch))),
    })
}

pub(super) fn add_request(
    transactional_id: &str,
    (id, epoch): Producer,
    partitions: &[i32],
    version: i16,
) -> AddPartitionsRequest {
    AddPartitionsRequest {
        transactional_id: transactional_id.into(),
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        partitions: partitions.iter().map(|index| partition(*index)).collect(),
        transaction_version: version,
    }
}

pub(super) fn end_request(
    transactional_id: &str,
    (id, epoch): Producer,
    is_commit: bool,
    version: i16,
) -> Request {
    Request::EndTransaction(EndTransactionRequest {
        transactional_id: transactional_id.into(),
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        is_commit,
        transaction_version: version,
    })
}

pub(super) struct Harness {
    pub(super) shard: TransactionShard,
    pub(super) now_ms: i64,
    /// Whether appends are committed at once.
    pub(super) auto_commit: bool,
    /// Whether producer ids come at once.
    pub(super) auto_allocate: bool,
    pub(super) leader_epoch: i32,
    next_token: u64,
    next_producer_id: i64,
    unanswered: BTreeSet<RequestToken>,
    replies: BTreeMap<RequestToken, Response>,
    /// The partition's log, and what is being written to it.
    pub(super) log: Vec<CoordinatorRecord>,
    pub(super) pending: BTreeMap<AppendId, Vec<CoordinatorRecord>>,
    pub(super) allocations: Vec<AllocationId>,
    /// Markers that were asked for and not told as written, in their order.
    pub(super) markers: Vec<TransactionMarkers>,
}

impl Harness {
    /// An active shard of a cluster with `transaction.version` 2.
    pub(super) fn new() -> Self {
        Self::with(TransactionConfig::default(), 2)
    }

    pub(super) fn with(config: TransactionConfig, transaction_version: i16) -> Self {
        let mut harness = Self::inactive(config, transaction_version);
        harness.fail_over();
        harness
    }

    /// One whose requests wait for the step before them. Others are told at once to come again.
    pub(super) fn waiting() -> Self {
        let mut harness = Self::of(TransactionConfig::default(), 2);
        harness.fail_over();
        harness
    }

    pub(super) fn inactive(config: TransactionConfig, transaction_version: i16) -> Self {
        Self::of(TransactionConfig { busy_wait_ms: 0, ..config }, transaction_version)
    }

    /// An inactive shard with this very configuration.
    pub(super) fn of(config: TransactionConfig, transaction_version: i16) -> Self {
        Self {
            shard: TransactionShard::new(Arc::new(config), transaction_version),
            now_ms: 1_000_000,
            auto_commit: true,
            auto_allocate: true,
            leader_epoch: 0,
            next_token: 0,
            next_producer_id: 1_000,
            unanswered: BTreeSet::new(),
            replies: BTreeMap::new(),
            log: Vec::new(),
            pending: BTreeMap::new(),
            allocations: Vec::new(),
            markers: Vec::new(),
        }
    }

    /// Another coordinator takes over and reads what was committed; of the appends under way the first `kept` have come to
    /// be committed, though nobody was told.
    pub(super) fn fail_over_keeping(&mut self, kept: usize) {
        let pending = std::mem::take(&mut self.pending);
        self.log.extend(pending.into_values().take(kept).flatten());
        self.fail_over();
    }

    pub(super) fn fail_over(&mut self) {
        self.begin_load();
        for record in self.log.clone() {
            self.shard.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let outputs = self.shard.finish_load(self.now_ms);
        self.take(outputs);
    }

    pub(super) fn begin_load(&mut self) {
        self.leader_epoch += 1;
        self.pending.clear();
        self.allocations.clear();
        // What an older leadership asked for is nobody's business any more.
        self.markers.clear();
        let outputs = self.shard.begin_load(LeaderEpoch(self.leader_epoch));
        self.take(outputs);
    }

    pub(super) fn handle(&mut self, input: Input) {
        let outputs = self.shard.handle(input, self.now_ms);
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    assert!(self.unanswered.remove(&token), "{token:?} is answered once: {response:?}");
                    self.replies.insert(token, response);
                }
                Output::Append { append_id, leader_epoch, records } => {
                    assert_eq!(leader_epoch, LeaderEpoch(self.leader_epoch));
                    self.pending.insert(append_id, records);
                    if self.auto_commit {
                        self.settle(append_id, Ok(()));
                    }
                }
                Output::AllocateProducerId { allocation_id } => {
                    self.allocations.push(allocation_id);
                    if self.auto_allocate {
                        self.allocate(Ok(()));
                    }
                }
                Output::WriteMarkers(markers) => {
                    assert_eq!(markers.coordinator_epoch, LeaderEpoch(self.leader_epoch));
                    assert!(!markers.partitions.is_empty());
                    self.markers.push(markers);
                }
            }
        }
    }

    /// The outcome of an append. A refused one is not in the log.
    pub(super) fn settle(&mut self, append_id: AppendId, result: Result<(), ErrorCode>) {
        let records = self.pending.remove(&append_id).expect("the append is under way");
        if result.is_ok() {
            self.log.extend(records);
        }
        self.handle(Input::Appended { append_id, result });
    }

    /// The outcome of the oldest append.
    pub(super) fn settle_first(&mut self, result: Result<(), ErrorCode>) {
        let append_id = *self.pending.first_key_value().expect("an append is under way").0;
        self.settle(append_id, result);
    }

    /// The outcome of the oldest wish for a producer id.
    pub(super) fn allocate(&mut self, result: Result<(), ErrorCode>) {
        let allocation_id = self.allocations.remove(0);
        self.next_producer_id += 1;
        let result = result.map(|()| ProducerId(self.next_producer_id));
        self.handle(Input::ProducerIdAllocated { allocation_id, result });
    }

    /// The partitions of the oldest markers have them. Returns the markers.
    pub(super) fn write_markers(&mut self) -> TransactionMarkers {
        let markers = self.markers.remove(0);
        self.written(&markers, &markers.partitions);
        markers
    }

    pub(super) fn written(&mut self, markers: &TransactionMarkers, partitions: &[TopicPartition]) {
        self.handle(Input::MarkersWritten {
            transactional_id: Arc::clone(&markers.transactional_id),
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            partitions: partitions.to_vec(),
        });
    }

    pub(super) fn advance(&mut self, duration_ms: i64) {
        self.now_ms += duration_ms;
        self.handle(Input::Tick);
    }

    pub(super) fn send(&mut self, request: Request) -> RequestToken {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.unanswered.insert(token);
        self.handle(Input::Request { token, request: Box::new(request) });
        token
    }

    pub(super) fn try_answer(&mut self, token: RequestToken) -> Option<Response> {
        self.replies.remove(&token)
    }

    pub(super) fn is_waiting(&self, token: RequestToken) -> bool {
        self.unanswered.contains(&token)
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    pub(super) fn ask(&mut self, request: Request) -> Response {
        let token = self.send(request);
        self.try_answer(token).expect("the request is answered at once")
    }

    /// The answer to InitProducerId or EndTxn.
    pub(super) fn ask_producer(&mut self, request: Request) -> Result<Producer, ErrorCode> {
        producer(&self.ask(request))
    }

    pub(super) fn init(&mut self, id: &str) -> Result<Producer, ErrorCode> {
        self.ask_producer(init(id, None))
    }

    pub(super) fn init_expecting(&mut self, id: &str, expected: Producer) -> Result<Producer, ErrorCode> {
        self.ask_producer(init(id, Some(expected)))
    }

    /// Adds partitions as a broker does for a producer of transactions version 2.
    pub(super) fn add(&mut self, id: &str, producer: Producer, partitions: &[i32]) -> ErrorCode {
        let response = self.ask(Request::AddPartitions(add_request(id, producer, partitions, 2)));
        code(&response)
    }

    pub(super) fn end(
        &mut self,
        id: &str,
        producer: Producer,
        is_commit: bool,
    ) -> Result<Producer, ErrorCode> {
        self.ask_producer(end_request(id, producer, is_commit, 2))
    }

    /// EndTxn of a producer that knows no version 2.
    pub(super) fn end_v1(&mut self, id: &str, producer: Producer, is_commit: bool) -> ErrorCode {
        match self.ask_producer(end_request(id, producer, is_commit, 0)) {
            Ok(after) => {
                assert_eq!(after, producer, "its epoch is its own");
                ErrorCode::None
            }
            Err(error) => error,
        }
    }

    pub(super) fn describe(&mut self, id: &str) -> DescribedTransaction {
        match self.ask(Request::DescribeTransaction(id.into())) {
            Response::DescribeTransaction(described) => described,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, id: &str) -> Option<TransactionState> {
        self.describe(id).state
    }
}

pub(super) fn producer(response: &Response) -> Result<Producer, ErrorCode> {
    match response {
        Response::InitProducerId(response) | Response::EndTransaction(response) => match response.error {
            ErrorCode::None => Ok((response.producer_id.0, response.producer_epoch.0)),
            error => Err(error),
        },
        other => panic!("{other:?}"),
    }
}

/// The one code of an answer to AddPartitionsToTxn.
pub(super) fn code(response: &Response) -> ErrorCode {
    match response {
        Response::AddPartitions(response) | Response::VerifyPartitions(response) => {
            let codes: BTreeSet<ErrorCode> = response.partitions.iter().map(|(_, code)| *code).collect();
            assert_eq!(codes.len(), 1, "{response:?}");
            response.partitions[0].1
        }
        other => panic!("{other:?}"),
    }
}

impl Harness {
    /// What a partition learns when it verifies, before it takes a write.
    pub(super) fn shard_knows_open(&mut self, id: &str, producer: Producer, index: i32) -> bool {
        let response = self.ask(Request::VerifyPartitions(add_request(id, producer, &[index], 0)));
        code(&response).is_none()
    }
}
