//! The shell over a log in memory, and over metadata of a few records.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::future::BoxFuture;
use moldau_group::{
    GroupConfig, JoinGroupProtocol, JoinGroupRequest, OffsetCommitPartition, OffsetCommitRequest,
    OffsetCommitTopic, OffsetFetchRequest, Request, Response,
};
use moldau_metadata::{MetadataDelta, MetadataImage, MetadataRecord, records};
use moldau_model::{BrokerId, GenerationId, LeaderEpoch, Offset, TopicId, Uuid};
use parking_lot::Mutex;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const EPOCH: LeaderEpoch = LeaderEpoch(3);

/// Logs in memory. What an append comes to is decided by `outcome`; while `gate` is false, nothing is decided.
struct MemoryStore {
    logs: Mutex<HashMap<PartitionIndex, Vec<CoordinatorRecord>>>,
    outcome: Mutex<AppendOutcome>,
    gate: watch::Sender<bool>,
    /// Whether what the log has is committed.
    committed: watch::Sender<bool>,
    broken: AtomicBool,
    /// Loads under way, and the most there ever were.
    loading: AtomicUsize,
    loading_max: AtomicUsize,
    loads: AtomicUsize,
}

impl MemoryStore {
    fn new(is_open: bool) -> Arc<Self> {
        Arc::new(Self {
            logs: Mutex::default(),
            outcome: Mutex::new(AppendOutcome::Committed(Offset::ZERO)),
            gate: watch::Sender::new(is_open),
            committed: watch::Sender::new(true),
            broken: AtomicBool::new(false),
            loading: AtomicUsize::new(0),
            loading_max: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
        })
    }
}

impl OffsetsStore for MemoryStore {
    fn load(
        &self,
        partition: PartitionIndex,
        _: LeaderEpoch,
        replay: &mut ReplayRecord<'_>,
    ) -> Result<Offset, LoadError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(LoadError::Read("the disk is gone".into()));
        }
        self.loads.fetch_add(1, Ordering::SeqCst);
        let loading = self.loading.fetch_add(1, Ordering::SeqCst) + 1;
        self.loading_max.fetch_max(loading, Ordering::SeqCst);
        // Long enough for others to come in, if they were let.
        std::thread::sleep(Duration::from_millis(2));
        self.loading.fetch_sub(1, Ordering::SeqCst);
        let records = self.logs.lock().get(&partition).cloned().unwrap_or_default();
        for (offset, record) in records.iter().enumerate() {
            let (key, value) = (&record.key[..], record.value.as_deref());
            replay(offset as i64, Loaded::Record { key, value, in_transaction_of: None })?;
        }
        Ok(Offset(records.len() as i64))
    }

    fn committed(&self, _: PartitionIndex, _: LeaderEpoch, _: Offset) -> BoxFuture<'static, bool> {
        let mut committed = self.committed.subscribe();
        Box::pin(async move { committed.wait_for(|committed| *committed).await.is_ok() })
    }

    fn append(
        &self,
        partition: PartitionIndex,
        _: LeaderEpoch,
        _: AppendKind,
        records: &[CoordinatorRecord],
    ) -> BoxFuture<'static, AppendOutcome> {
        let outcome = *self.outcome.lock();
        if outcome != AppendOutcome::Refused(ErrorCode::NotLeaderOrFollower) {
            self.logs.lock().entry(partition).or_default().extend_from_slice(records);
        }
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            match gate.wait_for(|is_open| *is_open).await {
                Ok(_) => outcome,
                Err(_) => AppendOutcome::Unknown,
            }
        })
    }
}

fn commit(group_id: &str, offset: i64) -> Request {
    let partition = OffsetCommitPartition {
        partition: PartitionIndex(0),
        committed_offset: Offset(offset),
        committed_leader_epoch: LeaderEpoch::NONE,
        metadata: None,
    };
    let topic =
        OffsetCommitTopic { name: "pageview".into(), topic_id: TopicId::ZERO, partitions: vec![partition] };
    Request::OffsetCommit(OffsetCommitRequest {
        api_version: 8,
        group_id: group_id.into(),
        generation_id: GenerationId(-1),
        member_id: String::new(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![topic],
    })
}

fn fetch(group_id: &str) -> Request {
    Request::OffsetFetch(OffsetFetchRequest {
        group_id: group_id.into(),
        member_id: None,
        member_epoch: -1,
        topics: None,
        require_stable: false,
        may_be_replaced: false,
    })
}

fn join(group_id: &str) -> Request {
    Request::Join(JoinGroupRequest {
        api_version: 3,
        group_id: group_id.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: String::new(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol { name: "range".into(), metadata: Bytes::from_static(b"x") }],
        reason: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        new_member_uuid: Uuid::ONE,
    })
}

async fn led(store: &Arc<MemoryStore>, group_id: &str) -> (Arc<GroupCoordinator>, PartitionIndex) {
    let store: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(store);
    let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
    let coordinator = GroupCoordinator::start(config, 50, store);
    let partition = coordinator.partition_for(group_id);
    coordinator.elected(partition, EPOCH);
    assert!(coordinator.wait_active(partition, LIMIT).await);
    (coordinator, partition)
}

async fn answer(answer: Result<Answer<GroupShard>, ErrorCode>) -> Response {
    tokio::time::timeout(LIMIT, answer.unwrap()).await.unwrap().unwrap()
}

fn committed_code(response: &Response) -> ErrorCode {
    let Response::OffsetCommit(committed) = response else { panic!("{response:?}") };
    committed.topics[0].partitions[0].error
}

fn fetched_offset(response: &Response) -> i64 {
    let Response::OffsetFetch(fetched) = response else { panic!("{response:?}") };
    fetched.topics[0].partitions[0].committed_offset.0
}

#[tokio::test]
async fn a_group_of_another_broker_is_sent_there() {
    let store = MemoryStore::new(true);
    let (coordinator, partition) = led(&store, "here").await;
    let elsewhere = (0..).map(|i| format!("g{i}")).find(|id| coordinator.partition_for(id) != partition);
    let refused = coordinator.submit(&elsewhere.unwrap(), join("g")).unwrap_err();
    assert_eq!(refused, ErrorCode::NotCoordinator);
    coordinator.stop();
    let refused = coordinator.submit("here", join("here")).unwrap_err();
    assert_eq!(refused, ErrorCode::CoordinatorNotAvailable);
}

#[tokio::test]
async fn a_commit_is_answered_when_its_record_is_committed_and_not_before() {
    let store = MemoryStore::new(false);
    let (coordinator, _) = led(&store, "group").await;
    let mut waiting = coordinator.submit("group", commit("group", 7)).unwrap();
    tokio::task::yield_now().await;
    assert!(waiting.try_recv().is_err(), "answered before the append's fate was known");
    store.gate.send_replace(true);
    assert_eq!(committed_code(&answer(Ok(waiting)).await), ErrorCode::None);
    assert_eq!(fetched_offset(&answer(coordinator.submit("group", fetch("group"))).await), 7);
}

#[tokio::test]
async fn a_commit_that_is_not_in_the_log_is_an_error_and_leaves_nothing() {
    let store = MemoryStore::new(true);
    let (coordinator, _) = led(&store, "group").await;
    assert_eq!(
        committed_code(&answer(coordinator.submit("group", commit("group", 1))).await),
        ErrorCode::None
    );
    *store.outcome.lock() = AppendOutcome::Refused(ErrorCode::NotLeaderOrFollower);
    let refused = committed_code(&answer(coordinator.submit("group", commit("group", 2))).await);
    assert!(!refused.is_none());
    assert_eq!(fetched_offset(&answer(coordinator.submit("group", fetch("group"))).await), 1);
}

#[tokio::test]
async fn a_new_leadership_reads_what_the_last_one_wrote() {
    let store = MemoryStore::new(true);
    let (coordinator, partition) = led(&store, "group").await;
    for offset in 1..=20 {
        answer(coordinator.submit("group", commit("group", offset))).await;
    }
    coordinator.resigned(partition);
    assert_eq!(coordinator.submit("group", fetch("group")).unwrap_err(), ErrorCode::NotCoordinator);
    coordinator.elected(partition, EPOCH.next());
    assert!(coordinator.wait_active(partition, LIMIT).await);
    assert_eq!(fetched_offset(&answer(coordinator.submit("group", fetch("group"))).await), 20);
}

#[tokio::test]
async fn what_was_read_is_not_told_before_it_is_committed() {
    let store = MemoryStore::new(true);
    let (coordinator, partition) = led(&store, "group").await;
    answer(coordinator.submit("group", commit("group", 7))).await;
    coordinator.resigned(partition);
    store.committed.send_replace(false);
    let reads = store.loads.load(Ordering::SeqCst);
    coordinator.elected(partition, EPOCH.next());
    // The read comes to its end, and must not be the end of the load.
    while store.loads.load(Ordering::SeqCst) == reads {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!coordinator.wait_active(partition, Duration::from_millis(100)).await);
    store.committed.send_replace(true);
    assert!(coordinator.wait_active(partition, LIMIT).await);
    assert_eq!(fetched_offset(&answer(coordinator.submit("group", fetch("group"))).await), 7);
}

#[tokio::test]
async fn who_waits_is_told_when_the_leadership_ends() {
    let store = MemoryStore::new(false);
    let (coordinator, partition) = led(&store, "group").await;
    let waiting = coordinator.submit("group", commit("group", 1));
    coordinator.resigned(partition);
    let told = tokio::time::timeout(LIMIT, waiting.unwrap()).await.unwrap();
    // A closed channel is answered with NOT_COORDINATOR by the API; the shard may as well have said it itself.
    if let Ok(response) = told {
        assert_eq!(committed_code(&response), ErrorCode::NotCoordinator);
    }
}

#[tokio::test]
async fn the_outcome_of_an_older_leaderships_append_is_nobodys_business() {
    let store = MemoryStore::new(false);
    let (coordinator, partition) = led(&store, "group").await;
    drop(coordinator.submit("group", commit("group", 1)));
    coordinator.elected(partition, EPOCH.next());
    assert!(coordinator.wait_active(partition, LIMIT).await);
    store.gate.send_replace(true);
    // The append's task runs now; the shard of the new leadership must neither panic nor take it for its own.
    tokio::task::yield_now().await;
    assert_eq!(fetched_offset(&answer(coordinator.submit("group", fetch("group"))).await), 1);
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_has_no_coordinator() {
    let store = MemoryStore::new(true);
    store.broken.store(true, Ordering::SeqCst);
    let shared: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(&store);
    let coordinator = GroupCoordinator::start(GroupConfig::default(), 50, shared);
    let partition = coordinator.partition_for("group");
    let mut activity = coordinator.activity.subscribe();
    coordinator.elected(partition, EPOCH);
    tokio::time::timeout(LIMIT, activity.wait_for(|count| *count > 0)).await.unwrap().unwrap();
    assert_eq!(coordinator.submit("group", fetch("group")).unwrap_err(), ErrorCode::NotCoordinator);
}

#[tokio::test]
async fn time_passes_for_groups_without_a_request() {
    let store = MemoryStore::new(true);
    let shared: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(&store);
    // The first rebalance ends by the passing of time alone.
    let config = GroupConfig { initial_rebalance_delay_ms: 20, ..GroupConfig::default() };
    let coordinator = GroupCoordinator::start(config, 50, shared);
    let partition = coordinator.partition_for("group");
    coordinator.elected(partition, EPOCH);
    assert!(coordinator.wait_active(partition, LIMIT).await);
    let response = answer(coordinator.submit("group", join("group"))).await;
    let Response::Join(joined) = response else { panic!("{response:?}") };
    assert_eq!((joined.error, joined.generation_id), (ErrorCode::None, GenerationId(1)));
}

#[tokio::test]
async fn many_partitions_are_loaded_a_few_at_a_time_and_all_of_them() {
    let store = MemoryStore::new(true);
    let shared: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(&store);
    let coordinator = GroupCoordinator::start(GroupConfig::default(), 50, shared);
    for partition in 0..50 {
        coordinator.elected(PartitionIndex(partition), EPOCH);
        // An ISR that changes is no new leadership.
        coordinator.elected(PartitionIndex(partition), EPOCH);
    }
    for partition in 0..50 {
        assert!(coordinator.wait_active(PartitionIndex(partition), LIMIT).await, "{partition}");
    }
    assert_eq!(store.loads.load(Ordering::SeqCst), 50);
    assert!(store.loading_max.load(Ordering::SeqCst) <= LOADERS_MAX);
    coordinator.elected(PartitionIndex(7), EPOCH.next());
    assert!(coordinator.wait_active(PartitionIndex(7), LIMIT).await, "loaders come again");
}

#[tokio::test]
async fn an_append_whose_fate_stays_unknown_is_answered_in_time() {
    let store = MemoryStore::new(true);
    *store.outcome.lock() = AppendOutcome::Unknown;
    let shared: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(&store);
    let config = GroupConfig { offset_commit_timeout_ms: 20, ..GroupConfig::default() };
    let coordinator = GroupCoordinator::start(config, 50, shared);
    let partition = coordinator.partition_for("group");
    coordinator.elected(partition, EPOCH);
    assert!(coordinator.wait_active(partition, LIMIT).await);
    let told = committed_code(&answer(coordinator.submit("group", commit("group", 1))).await);
    assert_eq!(told, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(fetched_offset_if_any(&answer(coordinator.submit("group", fetch("group"))).await), None);
}

fn fetched_offset_if_any(response: &Response) -> Option<i64> {
    let Response::OffsetFetch(fetched) = response else { panic!("{response:?}") };
    fetched.topics.first().map(|topic| topic.partitions[0].committed_offset.0)
}

const NODE: BrokerId = BrokerId(1);

/// Metadata that is changed record by record, and a coordinator that follows it.
struct Followed {
    image: MetadataImage,
    offset: i64,
    coordinator: Arc<GroupCoordinator>,
}

impl Followed {
    fn new(store: &Arc<MemoryStore>) -> Self {
        let shared: Arc<dyn OffsetsStore> = Arc::<MemoryStore>::clone(store);
        let coordinator = GroupCoordinator::start(GroupConfig::default(), 1, shared);
        Self { image: MetadataImage::empty(), offset: 0, coordinator }
    }

    fn replay(&mut self, records: Vec<MetadataRecord>) -> MetadataDelta {
        self.offset += 1;
        let (image, delta) = self.image.replay(&records.into(), Offset(self.offset), LeaderEpoch(1)).unwrap();
        self.image = image;
        delta
    }

    fn change(&mut self, records: Vec<MetadataRecord>) {
        let delta = self.replay(records);
        self.coordinator.apply(NODE, &delta, &self.image);
    }

    async fn offset_of(&self, group_id: &str) -> Option<i64> {
        fetched_offset_if_any(&answer(self.coordinator.submit(group_id, fetch(group_id))).await)
    }
}

fn topic(name: &str, id: u8) -> MetadataRecord {
    records::Topic { name: name.into(), topic_id: vec![id; 16] }.into()
}

fn led_by(id: u8, leader: BrokerId, leader_epoch: i32) -> MetadataRecord {
    records::Partition {
        topic_id: vec![id; 16],
        replicas: vec![1, 2],
        isr: vec![1, 2],
        leader: leader.0,
        leader_epoch,
        directories: vec![vec![0; 16]; 2],
        ..records::Partition::default()
    }
    .into()
}

fn removed(id: u8) -> MetadataRecord {
    records::RemoveTopic { topic_id: vec![id; 16] }.into()
}

#[tokio::test]
async fn shards_come_and_go_with_the_leaderships_of_their_partitions() {
    let store = MemoryStore::new(true);
    let mut followed = Followed::new(&store);
    followed.change(vec![topic(OFFSETS_TOPIC, 9), led_by(9, BrokerId(2), 0)]);
    assert_eq!(followed.coordinator.submit("g", fetch("g")).unwrap_err(), ErrorCode::NotCoordinator);
    let elected = records::PartitionChange {
        topic_id: vec![9; 16],
        leader: Some(NODE.0),
        ..records::PartitionChange::default()
    };
    followed.change(vec![elected.clone().into()]);
    assert!(followed.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
    assert_eq!(
        committed_code(&answer(followed.coordinator.submit("g", commit("g", 5))).await),
        ErrorCode::None
    );
    assert_eq!(followed.offset_of("g").await, Some(5));
    followed.change(vec![records::PartitionChange { leader: Some(2), ..elected }.into()]);
    assert_eq!(followed.coordinator.submit("g", fetch("g")).unwrap_err(), ErrorCode::NotCoordinator);
}

#[tokio::test]
async fn a_deleted_topics_offsets_go_and_those_of_a_topic_made_anew_stay() {
    let store = MemoryStore::new(true);
    let mut followed = Followed::new(&store);
    followed.change(vec![topic(OFFSETS_TOPIC, 9), led_by(9, NODE, 0), topic("pageview", 3)]);
    assert!(followed.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
    answer(followed.coordinator.submit("g", commit("g", 5))).await;
    followed.change(vec![removed(3), topic("pageview", 4)]);
    assert_eq!(followed.offset_of("g").await, Some(5), "the id tells whose it is");
    followed.change(vec![removed(4)]);
    // The tombstone is appended at once, and applied when its append's task has run.
    for _ in 0..1_000 {
        if followed.offset_of("g").await.is_none() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the offset is still there");
}

#[tokio::test]
async fn groups_do_not_outlive_their_topic_even_if_it_is_made_anew_with_the_same_epoch() {
    let store = MemoryStore::new(true);
    let mut followed = Followed::new(&store);
    followed.change(vec![topic(OFFSETS_TOPIC, 9), led_by(9, NODE, 0)]);
    assert!(followed.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
    answer(followed.coordinator.submit("g", commit("g", 5))).await;
    // Another topic's log is empty.
    store.logs.lock().clear();
    followed.change(vec![removed(9), topic(OFFSETS_TOPIC, 8), led_by(8, NODE, 0)]);
    assert!(followed.coordinator.wait_active(PartitionIndex(0), LIMIT).await);
    assert_eq!(followed.offset_of("g").await, None);
}
