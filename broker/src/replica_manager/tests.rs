//! The broker's partitions over a disk in memory, and `__consumer_offsets` as the group coordinator sees it.

mod lone;
mod moving;
mod replication;
mod unopened;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use moldau_group::{EndTransactionRequest, InTransaction};
use moldau_log::FileSystem;
use moldau_log::file_system::{FaultFileSystem, FaultKind, Operation};
use moldau_metadata::{MetadataRecord, records};
use moldau_model::{Offset, ProducerEpoch, ProducerId};

use super::*;
use crate::coordinator::{
    AppendKind, AppendOutcome, CoordinatorRecord, LoadError, Loaded, OFFSETS_TOPIC, OffsetsStore,
};
use crate::metadata_cache::MetadataCache;

const NODE: BrokerId = BrokerId(1);
const PARTITIONS: i32 = 50;
const TOPIC_ID: [u8; 16] = [9; 16];
const INCARNATION: moldau_model::Uuid = moldau_model::Uuid::from_bytes([3; 16]);

struct Fixture {
    disk: FaultFileSystem,
    manager: Arc<ReplicaManager>,
    metadata: Arc<MetadataCache>,
    offset: i64,
}

impl Fixture {
    fn new() -> Self {
        Self::on(FaultFileSystem::new())
    }

    fn on(disk: FaultFileSystem) -> Self {
        Self::over(disk, &["/data"])
    }

    fn over(disk: FaultFileSystem, dirs: &[&str]) -> Self {
        let file_system: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
        let dirs = LogDirs::open(&file_system, &dirs, &[], "cluster", NODE, 100).unwrap();
        let settings = PartitionSettings {
            broker_id: NODE,
            incarnation_id: INCARNATION,
            flush_policy: FlushPolicy::OnAck,
            lag_ms_max: 30_000,
            producer_id_expiration_ms: 86_400_000,
            throttles: Arc::new(crate::replication::Throttles::new(&BTreeMap::new())),
            traffic: Arc::default(),
        };
        let manager = Arc::new(ReplicaManager::new(dirs, settings, BTreeMap::new()).unwrap());
        Self { disk, manager, metadata: Arc::new(MetadataCache::default()), offset: 0 }
    }

    fn change(&mut self, records: Vec<MetadataRecord>) {
        self.offset += 1;
        let before = self.metadata.image();
        let (image, delta) = before.replay(&records.into(), Offset(self.offset), LeaderEpoch(1)).unwrap();
        ReplicaManager::apply(&self.manager, &delta, &image);
        self.metadata.replace(Arc::new(image));
    }

    fn create(&mut self) {
        self.register(INCARNATION);
        self.create_topic();
    }

    fn register(&mut self, incarnation_id: moldau_model::Uuid) {
        let broker = records::RegisterBroker {
            broker_id: NODE.0,
            incarnation_id: incarnation_id.as_bytes().to_vec(),
            broker_epoch: self.offset + 1,
            ..records::RegisterBroker::default()
        };
        self.change(vec![broker.into()]);
    }

    fn create_topic(&mut self) {
        let mut records: Vec<MetadataRecord> =
            vec![records::Topic { name: OFFSETS_TOPIC.into(), topic_id: TOPIC_ID.to_vec() }.into()];
        records.extend((0..PARTITIONS).map(|partition_index| {
            MetadataRecord::from(records::Partition {
                partition_index,
                topic_id: TOPIC_ID.to_vec(),
                replicas: vec![NODE.0],
                isr: vec![NODE.0],
                leader: NODE.0,
                directories: vec![vec![0; 16]],
                ..records::Partition::default()
            })
        }));
        self.change(records);
    }

    fn remove(&mut self) {
        self.change(vec![records::RemoveTopic { topic_id: TOPIC_ID.to_vec() }.into()]);
    }

    fn partition(&self, partition: i32) -> Arc<Partition> {
        self.manager.by_name(&self.metadata.image(), OFFSETS_TOPIC, PartitionIndex(partition)).unwrap()
    }

    fn store(&self) -> ReplicaOffsetsStore {
        ReplicaOffsetsStore::new(OFFSETS_TOPIC, Arc::clone(&self.manager), Arc::clone(&self.metadata))
    }

    fn made(&self) -> usize {
        let entries = self.disk.read_dir(Path::new("/data")).unwrap();
        entries.iter().filter(|entry| entry.name.starts_with(OFFSETS_TOPIC)).count()
    }

    /// Appends one record, syncs it, and says what became of it.
    async fn append(&self, partition: i32, epoch: i32, value: &'static str) -> AppendOutcome {
        let record = CoordinatorRecord {
            key: Bytes::from_static(b"key"),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        self.append_as(AppendKind::Records, partition, epoch, &[record]).await
    }

    async fn append_as(
        &self,
        kind: AppendKind,
        partition: i32,
        epoch: i32,
        records: &[CoordinatorRecord],
    ) -> AppendOutcome {
        let outcome = self.store().append(PartitionIndex(partition), LeaderEpoch(epoch), kind, records);
        let hosted = self.partition(partition);
        if hosted.sync().is_err() {
            hosted.poison(&"the disk is gone".into());
        }
        outcome.await
    }

    /// Appends a record and leaves the sync to whoever takes it from the queue.
    fn append_only(&self, partition: i32) {
        let record =
            CoordinatorRecord { key: Bytes::from_static(b"key"), value: Some(Bytes::from_static(b"v")) };
        drop(self.store().append(PartitionIndex(partition), LeaderEpoch(0), AppendKind::Records, &[record]));
    }

    fn queued(&self, partition: i32) -> usize {
        self.partition(partition).dir().sync.len()
    }

    fn load(&self, partition: i32, epoch: i32) -> Result<Vec<(i64, String)>, LoadError> {
        let mut values = Vec::new();
        self.store().load(PartitionIndex(partition), LeaderEpoch(epoch), &mut |offset, loaded| {
            let Loaded::Record { key: b"key", value, in_transaction_of: None } = loaded else {
                panic!("{loaded:?}");
            };
            values.push((offset, String::from_utf8(value.unwrap().to_vec()).unwrap()));
            Ok(())
        })?;
        Ok(values)
    }
}

#[test]
fn a_topic_is_of_use_before_a_single_file_of_it_is_made() {
    let mut f = Fixture::new();
    let before = f.disk.mutations();
    f.create();
    assert_eq!((f.disk.mutations(), f.made()), (before, 0));
    assert!((0..PARTITIONS).all(|partition| f.partition(partition).leader_epoch_if_leader().is_some()));
    f.manager.make_logs();
    assert_eq!(f.made(), PARTITIONS as usize);
    let after = f.disk.mutations();
    f.manager.make_logs();
    assert_eq!(f.disk.mutations(), after, "made once");
}

#[test]
fn what_an_earlier_start_led_is_not_led_by_this_one() {
    let mut f = Fixture::new();
    f.register(moldau_model::Uuid::from_bytes([4; 16]));
    f.create_topic();
    assert_eq!(f.partition(0).leader_epoch_if_leader(), None);
    f.register(INCARNATION);
    // The registration's own batch takes the leaderships away; the next election is this start's.
    f.change(vec![
        records::PartitionChange {
            partition_index: 0,
            topic_id: TOPIC_ID.to_vec(),
            leader: Some(NODE.0),
            ..records::PartitionChange::default()
        }
        .into(),
    ]);
    assert_eq!(f.partition(0).leader_epoch_if_leader(), Some(LeaderEpoch(1)));
    assert_eq!(f.partition(1).leader_epoch_if_leader(), None);
}

#[tokio::test]
async fn who_appends_before_the_files_are_made_makes_its_own_and_loses_nothing() {
    let mut f = Fixture::new();
    f.create();
    assert!(matches!(f.append(7, 0, "first").await, AppendOutcome::Committed(_)));
    assert_eq!(f.made(), 1);
    f.manager.make_logs();
    assert!(matches!(f.append(7, 0, "second").await, AppendOutcome::Committed(_)));
    f.disk.power_cut(1);
    let mut again = Fixture::on(f.disk.clone());
    again.create();
    let expected = vec![(0, "first".to_owned()), (1, "second".to_owned())];
    assert_eq!(again.load(7, 0).unwrap(), expected);
    assert!(again.load(8, 0).unwrap().is_empty());
}

#[tokio::test]
async fn a_coordinator_learns_where_its_records_are_and_what_it_prunes_stays_gone() {
    let mut f = Fixture::new();
    f.create();
    f.manager.make_logs();
    for (offset, value) in [(0, "first"), (1, "second"), (2, "third")] {
        assert_eq!(f.append(7, 0, value).await, AppendOutcome::Committed(Offset(offset)));
    }
    let prune = |epoch: i32, before: i64| f.partition(7).prune(LeaderEpoch(epoch), Offset(before));
    assert_eq!(prune(1, 2), Err(ErrorCode::NotLeaderOrFollower), "another leadership's wish");
    assert_eq!(prune(0, 4), Err(ErrorCode::OffsetOutOfRange), "what is not committed");
    assert_eq!(prune(0, 2), Ok(()));
    f.manager.write_checkpoints(&f.partition(7).dir()).unwrap();
    assert_eq!(f.load(7, 0).unwrap(), [(2, "third".to_owned())]);
    f.disk.power_cut(1);
    let mut again = Fixture::on(f.disk.clone());
    again.create();
    assert_eq!(again.load(7, 0).unwrap(), [(2, "third".to_owned())]);
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_it_is_synced_takes_no_directory_offline() {
    let mut f = Fixture::new();
    f.create();
    f.manager.make_logs();
    f.append_only(7);
    let partition = f.partition(7);
    let dir = partition.dir();
    let begun = partition.lock().log.as_mut().and_then(|log| log.begin_sync());
    let ticket = begun.unwrap();
    f.remove();
    let result = ticket.run();
    assert_eq!(result.as_ref().unwrap_err().kind(), std::io::ErrorKind::NotFound, "its names are gone");
    assert!(partition.end_sync(dir, ticket, result).is_ok());
}

#[test]
fn a_topic_that_is_deleted_before_its_files_are_made_leaves_none() {
    let mut f = Fixture::new();
    let before = f.disk.mutations();
    f.create();
    f.remove();
    f.manager.make_logs();
    assert_eq!((f.disk.mutations(), f.made()), (before, 0));
}

#[tokio::test]
async fn files_that_could_not_be_made_are_made_by_the_first_append() {
    let mut f = Fixture::new();
    f.create();
    f.disk.fail_always(Operation::Create, FaultKind::Io);
    f.manager.make_logs();
    f.disk.clear_faults();
    assert!(matches!(f.append(3, 0, "value").await, AppendOutcome::Committed(_)));
    assert_eq!(f.load(3, 0).unwrap().len(), 1);
}

#[tokio::test]
async fn a_coordinator_appends_in_its_own_epoch_only() {
    let mut f = Fixture::new();
    f.create();
    for epoch in [-1, 1, 5] {
        let outcome = f.append(0, epoch, "stale").await;
        assert!(matches!(outcome, AppendOutcome::Refused(_)), "{epoch}: {outcome:?}");
    }
    assert!(matches!(f.append(0, 0, "good").await, AppendOutcome::Committed(_)));
    assert_eq!(f.load(0, 0).unwrap(), [(0, "good".to_owned())]);
    assert!(matches!(f.load(0, 1), Err(LoadError::NotLeader)));
}

#[tokio::test]
async fn a_sync_that_fails_leaves_the_fate_unknown_and_the_next_append_is_refused() {
    let mut f = Fixture::new();
    f.create();
    assert!(matches!(f.append(0, 0, "good").await, AppendOutcome::Committed(_)));
    f.disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    assert_eq!(f.append(0, 0, "doubtful").await, AppendOutcome::Unknown);
    let refused = f.append(0, 0, "late").await;
    assert_eq!(refused, AppendOutcome::Refused(ErrorCode::KafkaStorageError));
}

#[tokio::test]
async fn records_of_a_transaction_and_its_end_are_loaded_as_what_they_are() {
    let mut f = Fixture::new();
    f.create();
    let record = |value: &'static str| CoordinatorRecord {
        key: Bytes::from_static(b"key"),
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    let (producer_id, producer_epoch) = (ProducerId(7), ProducerEpoch(0));
    let (needs_verification, verification) = (true, None);
    let unasked = InTransaction { producer_id, producer_epoch, needs_verification, verification };
    let refused = f.append_as(AppendKind::InTransaction(unasked), 0, 0, &[record("unasked")]).await;
    assert_eq!(refused, AppendOutcome::Refused(ErrorCode::InvalidTxnState), "the coordinator was not asked");
    let verification = f.partition(0).begin_verification(producer_id, producer_epoch, -1, false).unwrap();
    let asked = AppendKind::InTransaction(InTransaction { verification, ..unasked });
    assert!(matches!(f.append_as(asked, 0, 0, &[record("in")]).await, AppendOutcome::Committed(_)));
    assert!(matches!(f.append(0, 0, "out").await, AppendOutcome::Committed(_)));
    let end = EndTransactionRequest {
        producer_id,
        producer_epoch,
        coordinator_epoch: 3,
        is_commit: true,
        transaction_version: 1,
    };
    assert!(matches!(f.append_as(AppendKind::Marker(end), 0, 0, &[]).await, AppendOutcome::Committed(_)));
    let late = EndTransactionRequest { coordinator_epoch: 2, ..end };
    let refused = f.append_as(AppendKind::Marker(late), 0, 0, &[]).await;
    assert_eq!(refused, AppendOutcome::Refused(ErrorCode::TransactionCoordinatorFenced));
    let mut found = Vec::new();
    let load = f.store().load(PartitionIndex(0), LeaderEpoch(0), &mut |offset, loaded| {
        found.push(match loaded {
            Loaded::Record { value, in_transaction_of, .. } => {
                (offset, String::from_utf8(value.unwrap().to_vec()).unwrap(), in_transaction_of)
            }
            Loaded::Marker { producer_id, is_commit } => {
                (offset, format!("commits: {is_commit}"), Some(producer_id))
            }
        });
        Ok(())
    });
    assert_eq!(load.unwrap(), Offset(3));
    let of_producer = Some(producer_id);
    assert_eq!(
        found,
        [
            (0, "in".to_owned(), of_producer),
            (1, "out".to_owned(), None),
            (2, "commits: true".to_owned(), of_producer)
        ]
    );
}

#[tokio::test]
async fn a_write_that_fails_is_refused_and_the_record_is_not_there() {
    let mut f = Fixture::new();
    f.create();
    assert!(matches!(f.append(0, 0, "good").await, AppendOutcome::Committed(_)));
    f.disk.fail_once(Operation::Write, 0, FaultKind::NoSpace);
    let refused = f.append(0, 0, "lost").await;
    assert!(matches!(refused, AppendOutcome::Refused(_)), "{refused:?}");
    assert_eq!(f.load(0, 0).unwrap(), [(0, "good".to_owned())]);
}

#[tokio::test]
async fn a_log_that_fails_in_an_append_is_told_of_by_its_next_sync() {
    let mut f = Fixture::new();
    f.create();
    assert!(matches!(f.append(0, 0, "good").await, AppendOutcome::Committed(_)));
    f.partition(0).sync().unwrap();
    f.disk.fail_once(Operation::Write, 0, FaultKind::NoSpace);
    f.disk.fail_once(Operation::SetLength, 0, FaultKind::Io);
    let record = CoordinatorRecord { key: Bytes::from_static(b"key"), value: None };
    let refused = f.store().append(PartitionIndex(0), LeaderEpoch(0), AppendKind::Records, &[record]).await;
    assert!(matches!(refused, AppendOutcome::Refused(_)), "{refused:?}");
    let error = f.partition(0).sync().unwrap_err();
    assert!(error.to_string().contains("could not be taken back"), "{error}");
}

#[test]
fn what_one_turn_appends_is_queued_once_a_partition_and_at_its_end() {
    let mut f = Fixture::new();
    f.create();
    let plug = crate::sync::plug_syncs();
    for partition in [0, 1, 0, 0] {
        f.append_only(partition);
    }
    drop(crate::sync::plug_syncs());
    assert_eq!(f.queued(0), 0, "an inner plug does not end the turn");
    drop(plug);
    assert_eq!(f.queued(0), 2);
    f.append_only(0);
    assert_eq!(f.queued(0), 2, "it is there already");
    f.append_only(2);
    assert_eq!(f.queued(0), 3, "without a plug at once");
}

#[test]
fn the_end_of_a_sync_finds_what_was_appended_during_it() {
    let mut f = Fixture::new();
    f.create();
    f.append_only(0);
    let hosted = f.partition(0);
    let ticket = hosted.lock().log.as_mut().unwrap().begin_sync().unwrap();
    f.append_only(0);
    assert_eq!(f.queued(0), 1, "an append during a sync queues nothing");
    assert!(ticket.run().is_ok());
    assert!(hosted.finish_sync(ticket), "and so the next one is due");
    assert!(!hosted.sync().unwrap(), "after which nothing is left");
    assert_eq!(hosted.lock().log.as_ref().unwrap().durable_end_offset(), Offset(2));
    f.append_only(0);
    assert_eq!(f.queued(0), 2, "and the next append queues it again");
}
