//! Markers on their way to leaders that are scripts: what a leader says, and what the coordinator makes of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use moldau_metadata::{MetadataImage, MetadataRecord, records};
use moldau_model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use moldau_txn::{
    AddPartitionsRequest, DescribedTransaction, EndTransactionRequest, InitProducerIdRequest, Request,
    Response, TransactionConfig, TransactionState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::api::marker_request::{self, Asked};
use crate::coordinator::{
    AppendKind, AppendOutcome, CoordinatorRecord, LoadError, Loaded, OffsetsStore, ReplayRecord,
    TRANSACTION_TOPIC,
};

const LIMIT: Duration = Duration::from_secs(30);
const NODE: BrokerId = BrokerId(1);
const STATE_TOPIC: u8 = 9;
const TOPIC: u8 = 3;

/// A log in memory: what is appended is committed.
#[derive(Default)]
struct MemoryLog(Mutex<Vec<CoordinatorRecord>>);

impl OffsetsStore for MemoryLog {
    fn load(
        &self,
        _: PartitionIndex,
        _: LeaderEpoch,
        replay: &mut ReplayRecord<'_>,
    ) -> Result<Offset, LoadError> {
        let records = self.0.lock().clone();
        for (offset, record) in records.iter().enumerate() {
            let (key, value) = (&record.key[..], record.value.as_deref());
            replay(offset as i64, Loaded::Record { key, value, in_transaction_of: None })?;
        }
        Ok(Offset(records.len() as i64))
    }

    fn committed(&self, _: PartitionIndex, _: LeaderEpoch, _: Offset) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn append(
        &self,
        _: PartitionIndex,
        _: LeaderEpoch,
        _: AppendKind,
        records: &[CoordinatorRecord],
    ) -> BoxFuture<'static, AppendOutcome> {
        self.0.lock().extend_from_slice(records);
        Box::pin(std::future::ready(AppendOutcome::Committed(Offset::ZERO)))
    }
}

/// What a leader does with one marker of one partition.
#[derive(Clone, Copy)]
enum Says {
    Code(ErrorCode),
    /// The connection ends, the answer with it.
    HangsUp,
}

/// A leader that follows a script, for each partition it is asked about, and says NONE after it.
#[derive(Default)]
struct Script {
    scripted: Mutex<BTreeMap<i32, VecDeque<Says>>>,
    /// The partitions, with epochs of the producer and the coordinator, as they were asked for.
    asked: Mutex<Vec<Asked>>,
}

async fn serve(listener: TcpListener, script: Arc<Script>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_one(stream, Arc::clone(&script)));
    }
}

async fn serve_one(mut stream: TcpStream, script: Arc<Script>) {
    while let Ok(size) = stream.read_i32().await {
        let mut frame = vec![0; size as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let mut hangs_up = false;
        let answer = marker_request::answer(Bytes::from(frame), |asked| {
            script.asked.lock().push(asked);
            match script.scripted.lock().get_mut(&asked.0).and_then(VecDeque::pop_front) {
                Some(Says::Code(code)) => code,
                Some(Says::HangsUp) => {
                    hangs_up = true;
                    ErrorCode::None
                }
                None => ErrorCode::None,
            }
        });
        if hangs_up {
            return;
        }
        stream.write_all(&answer).await.unwrap();
    }
}

impl Script {
    fn with(lines: &[(i32, &[Says])]) -> Arc<Self> {
        let scripted = lines.iter().map(|(partition, says)| (*partition, says.iter().copied().collect()));
        Arc::new(Self { scripted: Mutex::new(scripted.collect()), asked: Mutex::default() })
    }

    fn times_asked(&self, partition: i32) -> usize {
        self.asked.lock().iter().filter(|asked| asked.0 == partition).count()
    }
}

/// A coordinator of the one partition of `__transaction_state`, its metadata, and leaders.
struct World {
    metadata: Arc<MetadataCache>,
    offset: i64,
    coordinator: Arc<TransactionCoordinator>,
}

impl World {
    /// Leaders follow their scripts; the topic has three partitions, all led by the first broker.
    async fn new(scripts: &[&Arc<Script>]) -> Self {
        let metadata = Arc::new(MetadataCache::default());
        let sender = MarkerSender::new(Arc::clone(&metadata), "INSIDE", Arc::new(Dialer::plain()));
        let wishes: Wishes<TransactionShard> =
            Box::new(move |coordinator, partition, leader_epoch, wish| match wish {
                TransactionWish::ProducerId(allocation_id) => {
                    let coordinator = Arc::clone(coordinator);
                    tokio::spawn(async move {
                        let result = Ok(ProducerId(4_000));
                        let input = Input::ProducerIdAllocated { allocation_id, result };
                        coordinator.tell(partition, leader_epoch, input);
                    });
                }
                TransactionWish::Markers(markers) => {
                    sender.send(&Parcel::new(coordinator, partition, markers));
                }
            });
        let coordinator = TransactionCoordinator::start(
            TransactionConfig::default(),
            1,
            Arc::new(MemoryLog::default()),
            wishes,
        );
        let mut world = Self { metadata, offset: 0, coordinator };
        for (at, script) in scripts.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(serve(listener, Arc::clone(script)));
            world.register(BrokerId(at as i32 + 1), port);
        }
        let mut topics = vec![topic(TRANSACTION_TOPIC, STATE_TOPIC), led_by(STATE_TOPIC, 0, NODE)];
        topics.push(topic("t", TOPIC));
        topics.extend((0..3).map(|partition| led_by(TOPIC, partition, NODE)));
        world.change(topics);
        assert!(world.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
        world
    }

    fn register(&mut self, id: BrokerId, port: u16) {
        let listener = records::BrokerListener {
            name: "INSIDE".into(),
            host: "127.0.0.1".into(),
            port: u32::from(port),
            ..records::BrokerListener::default()
        };
        let broker = records::RegisterBroker {
            broker_id: id.0,
            incarnation_id: vec![id.0 as u8; 16],
            broker_epoch: self.offset + 1,
            listeners: vec![listener],
            ..records::RegisterBroker::default()
        };
        self.change(vec![broker.into()]);
    }

    fn change(&mut self, records: Vec<MetadataRecord>) {
        self.offset += 1;
        let before: Arc<MetadataImage> = self.metadata.image();
        let (image, delta) = before.replay(&records.into(), Offset(self.offset), LeaderEpoch(1)).unwrap();
        let image = Arc::new(image);
        self.metadata.replace(Arc::clone(&image));
        self.coordinator.apply(NODE, &delta, &image);
    }

    async fn ask(&self, request: Request) -> Response {
        let answer = self.coordinator.submit("x", request).unwrap();
        tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap()
    }

    /// Commits a transaction of these partitions; markers are on their way when this returns.
    async fn commit(&self, partitions: &[i32]) {
        let init = InitProducerIdRequest {
            transactional_id: "x".into(),
            transaction_timeout_ms: 60_000,
            expected: None,
        };
        let Response::InitProducerId(producer) = self.ask(Request::InitProducerId(init)).await else {
            panic!("another answer")
        };
        assert_eq!(producer.error, ErrorCode::None);
        let (producer_id, producer_epoch) = (producer.producer_id, producer.producer_epoch);
        let add = AddPartitionsRequest {
            transactional_id: "x".into(),
            producer_id,
            producer_epoch,
            partitions: partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect(),
            transaction_version: 2,
        };
        self.ask(Request::AddPartitions(add)).await;
        let end = EndTransactionRequest {
            transactional_id: "x".into(),
            producer_id,
            producer_epoch,
            is_commit: true,
            transaction_version: 2,
        };
        let ended = self.ask(Request::EndTransaction(end)).await;
        let Response::EndTransaction(ended) = ended else { panic!("another answer") };
        assert_eq!((ended.error, ended.producer_epoch), (ErrorCode::None, ProducerEpoch(1)));
    }

    async fn describe(&self) -> DescribedTransaction {
        match self.ask(Request::DescribeTransaction("x".into())).await {
            Response::DescribeTransaction(described) => described,
            other => panic!("{other:?}"),
        }
    }

    async fn wait_complete(&self) {
        let complete = async {
            while self.describe().await.state != Some(TransactionState::CompleteCommit) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, complete).await.expect("all markers are written");
    }
}

fn topic(name: &str, id: u8) -> MetadataRecord {
    records::Topic { name: name.into(), topic_id: vec![id; 16] }.into()
}

fn led_by(id: u8, partition_index: i32, leader: BrokerId) -> MetadataRecord {
    records::Partition {
        partition_index,
        topic_id: vec![id; 16],
        replicas: vec![1, 2],
        isr: vec![1, 2],
        leader: leader.0,
        directories: vec![vec![0; 16]; 2],
        ..records::Partition::default()
    }
    .into()
}

fn elected(id: u8, partition_index: i32, leader: BrokerId) -> MetadataRecord {
    records::PartitionChange {
        topic_id: vec![id; 16],
        partition_index,
        leader: Some(leader.0),
        ..records::PartitionChange::default()
    }
    .into()
}

#[tokio::test]
async fn markers_are_sent_until_every_partition_has_its_own() {
    let script = Script::with(&[
        (1, &[Says::Code(ErrorCode::NotLeaderOrFollower), Says::HangsUp]),
        (2, &[Says::Code(ErrorCode::NotEnoughReplicas); 3]),
    ]);
    let world = World::new(&[&script]).await;
    world.commit(&[0, 1, 2]).await;
    world.wait_complete().await;
    assert!(script.times_asked(1) >= 3 && script.times_asked(2) >= 4);
    assert!(script.asked.lock().iter().all(|(_, epoch, coordinator_epoch, is_commit)| {
        (*epoch, *coordinator_epoch, *is_commit) == (1, 0, true)
    }));
}

#[tokio::test]
async fn markers_follow_the_leadership_of_their_partition() {
    let never = [Says::Code(ErrorCode::NotLeaderOrFollower); 10_000];
    let (old, new) = (Script::with(&[(0, &never)]), Script::with(&[]));
    let mut world = World::new(&[&old, &new]).await;
    world.commit(&[0, 1]).await;
    world.change(vec![elected(TOPIC, 0, BrokerId::NONE)]);
    assert_eq!(world.describe().await.state, Some(TransactionState::PrepareCommit), "nobody leads it");
    world.change(vec![elected(TOPIC, 0, BrokerId(2))]);
    world.wait_complete().await;
    assert_eq!((new.times_asked(0), new.times_asked(1)), (1, 0));
}

#[tokio::test]
async fn a_partition_that_was_deleted_holds_no_transaction_up() {
    let never = [Says::Code(ErrorCode::UnknownTopicOrPartition); 10_000];
    let script = Script::with(&[(0, &never)]);
    let mut world = World::new(&[&script]).await;
    world.commit(&[0]).await;
    world.change(vec![records::RemoveTopic { topic_id: vec![TOPIC; 16] }.into()]);
    world.wait_complete().await;
}

#[tokio::test]
async fn the_next_coordinator_writes_what_the_last_one_could_not_and_in_its_own_epoch() {
    let never = [Says::Code(ErrorCode::NotEnoughReplicas); 10_000];
    let script = Script::with(&[(0, &never)]);
    let mut world = World::new(&[&script, &Script::with(&[])]).await;
    world.commit(&[0]).await;
    world.change(vec![elected(STATE_TOPIC, 0, BrokerId(2))]);
    script.scripted.lock().clear();
    script.asked.lock().clear();
    world.change(vec![elected(STATE_TOPIC, 0, NODE)]);
    assert!(world.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
    world.wait_complete().await;
    let asked = script.asked.lock().clone();
    let last = asked.last().copied();
    assert_eq!(last.map(|(_, epoch, coordinator_epoch, _)| (epoch, coordinator_epoch)), Some((1, 2)));
}
