//! Producers with transactional ids on a cluster, as stock clients speak; and what readers of committed records make of
//! the answers they get.

use std::collections::{BTreeSet, HashMap};

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ProducerId as WireProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::Request;
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId};
use moldau_record::{BatchBuilder, Batches, ControlRecord, DecompressLimit};

use crate::cluster::Cluster;
use crate::harness::{Client, Settings, eventually};
use crate::requests::*;

/// For clusters of these tests: topics that transactions need are soon there, and racks tell followers apart.
pub(crate) const TRANSACTIONAL: Settings<'static> = &[
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "50"),
    ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
    ("broker.rack", "rack-{id}"),
];
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;

/// Which transactions a client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The client adds partitions, and its epoch stays.
    One,
    /// Brokers add partitions, and the epoch rises with each transaction (KIP-890).
    Two,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Two];

    fn of_request(self, one: i16, two: i16) -> i16 {
        if self == Self::One { one } else { two }
    }
}

/// One client process. A clone is a zombie, or a request that is late: it knows what the producer knew.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    id: &'static str,
    version: Version,
    timeout_ms: i32,
    pub(crate) producer: (i64, i16),
    sequences: HashMap<(String, i32), i32>,
}

/// Whoever is told so asks again, perhaps somebody else.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::ConcurrentTransactions
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NotEnoughReplicasAfterAppend
    )
}

/// The running coordinator of a key, as a running broker names it.
fn coordinator(cluster: &Cluster, key_type: i8, key: &str) -> i32 {
    let mut found = -1;
    eventually("there is a coordinator", || {
        let Some(id) = [1, 2, 3].into_iter().find(|id| cluster.is_running(*id)) else { return false };
        let request =
            FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(vec![text(key)]);
        let response = cluster.connect(id).call(4, &request);
        found = response.coordinators[0].node_id.0;
        response.coordinators[0].error_code == 0 && cluster.is_running(found)
    });
    found
}

pub(crate) fn transaction_coordinator(cluster: &Cluster, id: &str) -> i32 {
    coordinator(cluster, TRANSACTION_KEY, id)
}

pub(crate) fn group_coordinator(cluster: &Cluster, group: &str) -> i32 {
    coordinator(cluster, GROUP_KEY, group)
}

/// Asks whoever coordinates until the answer is one that lasts.
fn ask<T: Request>(
    cluster: &Cluster,
    (key_type, key): (i8, &str),
    version: i16,
    request: &T,
    code_of: impl Fn(&T::Response) -> ErrorCode,
) -> T::Response {
    let mut answer = None;
    eventually("the coordinator answers", || {
        let response = cluster.connect(coordinator(cluster, key_type, key)).call(version, request);
        let is_lasting = !is_passing(code_of(&response));
        answer = Some(response);
        is_lasting
    });
    answer.unwrap()
}

fn transactional_id(id: &'static str) -> TransactionalId {
    TransactionalId(text(id))
}

impl Producer {
    pub(crate) fn start(cluster: &Cluster, id: &'static str, version: Version) -> Self {
        Self::start_with_timeout(cluster, id, version, 60_000)
    }

    pub(crate) fn start_with_timeout(
        cluster: &Cluster,
        id: &'static str,
        version: Version,
        timeout_ms: i32,
    ) -> Self {
        let mut producer = Self { id, version, timeout_ms, producer: (-1, -1), sequences: HashMap::new() };
        assert_eq!(producer.init(cluster), ErrorCode::None);
        producer
    }

    /// InitProducerId: goes on with another epoch, or starts.
    pub(crate) fn init(&mut self, cluster: &Cluster) -> ErrorCode {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id(self.id)))
            .with_transaction_timeout_ms(self.timeout_ms)
            .with_producer_id(WireProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1);
        let response =
            ask(cluster, (TRANSACTION_KEY, self.id), 4, &request, |response| code(response.error_code));
        if response.error_code == 0 {
            self.producer = (response.producer_id.0, response.producer_epoch);
            self.sequences.clear();
        }
        code(response.error_code)
    }

    /// Writes one record in the transaction, which begins with it if none is open.
    pub(crate) fn write(&mut self, cluster: &Cluster, topic: &Topic, partition: i32, value: &[u8]) {
        assert_eq!(self.try_write(cluster, topic, partition, value), ErrorCode::None);
    }

    pub(crate) fn try_write(
        &mut self,
        cluster: &Cluster,
        topic: &Topic,
        partition: i32,
        value: &[u8],
    ) -> ErrorCode {
        if self.version == Version::One {
            let added = self.add_partition(cluster, topic, partition);
            if added != ErrorCode::None {
                return added;
            }
        }
        self.produce(cluster, topic, partition, value)
    }

    fn add_partition(&self, cluster: &Cluster, topic: &Topic, partition: i32) -> ErrorCode {
        let of_topic =
            AddPartitionsToTxnTopic::default().with_name(name(&topic.name)).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id(self.id))
            .with_v3_and_below_producer_id(WireProducerId(self.producer.0))
            .with_v3_and_below_producer_epoch(self.producer.1)
            .with_v3_and_below_topics(vec![of_topic]);
        let code_of = |response: &kafka_protocol::messages::AddPartitionsToTxnResponse| {
            code(response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)
        };
        code_of(&ask(cluster, (TRANSACTION_KEY, self.id), 3, &request, code_of))
    }

    /// A produce request, until it is answered for good. Of version 1 it is one that nobody has added the partition for.
    pub(crate) fn produce(
        &mut self,
        cluster: &Cluster,
        topic: &Topic,
        partition: i32,
        value: &[u8],
    ) -> ErrorCode {
        let sequence = self.sequences.entry((topic.name.clone(), partition)).or_default();
        let (id, epoch) = self.producer;
        let builder =
            BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), *sequence).transactional(true);
        let records = built(builder, &[value]);
        let version = self.version.of_request(11, 12);
        let request = produce_request(version, topic, partition, -1, records)
            .with_transactional_id(Some(transactional_id(self.id)));
        let mut told = ErrorCode::None;
        eventually("a leader answers", || {
            let leader = cluster.wait_for_leader(topic, partition);
            let response = cluster.connect(leader).call(version, &request);
            told = code(response.responses[0].partition_responses[0].error_code);
            !is_passing(told)
        });
        if told == ErrorCode::None {
            *sequence += 1;
        }
        told
    }

    /// The group's offset of partition 0, committed with the transaction.
    pub(crate) fn send_offset(
        &self,
        cluster: &Cluster,
        group: &'static str,
        topic: &Topic,
        offset: i64,
    ) -> ErrorCode {
        let (id, epoch) = (WireProducerId(self.producer.0), self.producer.1);
        if self.version == Version::One {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(transactional_id(self.id))
                .with_producer_id(id)
                .with_producer_epoch(epoch)
                .with_group_id(GroupId(text(group)));
            let response =
                ask(cluster, (TRANSACTION_KEY, self.id), 3, &request, |response| code(response.error_code));
            if response.error_code != 0 {
                return code(response.error_code);
            }
        }
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let of_topic = TxnOffsetCommitRequestTopic::default()
            .with_name(name(&topic.name))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id(self.id))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(id)
            .with_producer_epoch(epoch)
            .with_topics(vec![of_topic]);
        let version = self.version.of_request(3, 5);
        let code_of = |response: &kafka_protocol::messages::TxnOffsetCommitResponse| {
            code(response.topics[0].partitions[0].error_code)
        };
        code_of(&ask(cluster, (GROUP_KEY, group), version, &request, code_of))
    }

    pub(crate) fn end(&mut self, cluster: &Cluster, is_commit: bool) {
        assert_eq!(self.try_end(cluster, is_commit), ErrorCode::None);
    }

    /// EndTxn. From version 2 on the producer goes on with what the answer names.
    pub(crate) fn try_end(&mut self, cluster: &Cluster, is_commit: bool) -> ErrorCode {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id(self.id))
            .with_producer_id(WireProducerId(self.producer.0))
            .with_producer_epoch(self.producer.1)
            .with_committed(is_commit);
        let version = self.version.of_request(4, 5);
        let response =
            ask(cluster, (TRANSACTION_KEY, self.id), version, &request, |response| code(response.error_code));
        if response.error_code == 0 && self.version == Version::Two {
            self.producer = (response.producer_id.0, response.producer_epoch);
            self.sequences.clear();
        }
        code(response.error_code)
    }
}

/// What a reader of committed records gets from one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) last_stable_offset: i64,
    /// Producer id and first offset of what the answers name as aborted.
    pub(crate) aborted: BTreeSet<(i64, i64)>,
    pub(crate) values: Vec<String>,
}

/// Reads partition 0 from `offset` to its last stable offset, at this replica.
pub(crate) fn read_committed(cluster: &Cluster, id: i32, topic: &Topic, offset: i64) -> Committed {
    let mut client = cluster.connect(id);
    let mut found = Committed { last_stable_offset: -1, aborted: BTreeSet::new(), values: Vec::new() };
    let mut position = offset;
    while position > found.last_stable_offset || found.last_stable_offset != position {
        let data = fetch_committed(&mut client, topic, position, &format!("rack-{id}"));
        assert_eq!(data.error_code, 0, "{data:?}");
        let next = found.take(&data, position);
        if next == position {
            break;
        }
        position = next;
    }
    found
}

/// One answer to a fetch of committed records, at whichever replica is asked.
pub(crate) fn fetch_committed(client: &mut Client, topic: &Topic, offset: i64, rack: &str) -> PartitionData {
    let mut request = fetch_request(12, topic, &[from(0, offset)]).with_isolation_level(1);
    request.rack_id = text(rack);
    partitions(client.call(12, &request)).remove(0)
}

impl Committed {
    /// Takes in an answer as Kafka's consumer does, and says where the reader stands then.
    fn take(&mut self, data: &PartitionData, from: i64) -> i64 {
        self.last_stable_offset = data.last_stable_offset;
        let told = data.aborted_transactions.iter().flatten();
        let mut told: Vec<_> = told.map(|one| (one.first_offset, one.producer_id.0)).collect();
        self.aborted.extend(told.iter().map(|(first, producer)| (*producer, *first)));
        told.sort_unstable();
        let mut told = told.into_iter().peekable();
        let mut passed_over = BTreeSet::new();
        let mut position = from;
        for batch in Batches::new(&data.records.clone().unwrap_or_default()) {
            let batch = batch.unwrap();
            while let Some((_, producer)) = told.next_if(|(first, _)| *first <= batch.last_offset().0) {
                passed_over.insert(producer);
            }
            position = batch.next_offset().0;
            let producer = batch.producer_id().0;
            let is_passed_over = batch.is_transactional() && passed_over.contains(&producer);
            for record in batch.records(DecompressLimit(64 << 20)).unwrap().iter() {
                let record = record.unwrap();
                if batch.is_control() {
                    if let Ok(ControlRecord::Abort { .. }) = ControlRecord::parse(record.key, record.value) {
                        passed_over.remove(&producer);
                    }
                } else if !is_passed_over && record.offset.0 >= from {
                    let value = record.value.unwrap_or_default();
                    // Large ones are there to fill segments.
                    let shown = &value[..value.len().min(20)];
                    self.values.push(String::from_utf8_lossy(shown).into_owned());
                }
            }
        }
        position
    }
}
