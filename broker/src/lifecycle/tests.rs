//! A broker's life against a controller that answers as each test wants.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use moldau_cluster::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, ControllerError, Forward, Forwarded, Heartbeat,
    HeartbeatReply, MetadataEvent, MetadataPosition, MetadataWatch, ProducerIdBlock, QuorumDescription,
    RegisterBroker, RegisteredBroker, WatchMetadata,
};
use moldau_metadata::{MetadataBatch, encode_batch};
use moldau_model::{ErrorCode, LeaderEpoch, Offset};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// A controller of a few lines: it unfences who has applied the registration's offset.
#[derive(Default)]
struct FakeController {
    registrations: AtomicI64,
    /// Registrations to refuse before one is taken, each with a code.
    refusals: Mutex<Vec<ErrorCode>>,
    /// Another broker lives by the id, as is certain after a wait of so long.
    lives_after_ms: Option<i64>,
    heartbeat_error: Mutex<Option<ErrorCode>>,
    may_shut_down: AtomicBool,
    /// The metadata offset of the last heartbeat, plus one: 0 before the first.
    last_heartbeat: watch::Sender<i64>,
    watches: Mutex<Vec<Option<MetadataPosition>>>,
    events: Mutex<Vec<Vec<MetadataEvent>>>,
    open: Mutex<Vec<mpsc::Sender<MetadataEvent>>>,
}

const REGISTRATION_OFFSET: i64 = 5;

#[async_trait]
impl ControllerChannel for FakeController {
    async fn register_broker(&self, request: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        match self.lives_after_ms {
            Some(limit) if request.waited_ms >= limit => {
                return Err(ControllerError::BrokerLives { address: "PLAINTEXT://b:9092".to_owned() });
            }
            Some(_) => return Err(ErrorCode::DuplicateBrokerRegistration.into()),
            None => {}
        }
        if let Some(code) = self.refusals.lock().pop() {
            return Err(code.into());
        }
        self.registrations.fetch_add(1, Ordering::SeqCst);
        Ok(RegisteredBroker { broker_epoch: BrokerEpoch(REGISTRATION_OFFSET) })
    }

    async fn heartbeat(&self, request: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        if let Some(code) = self.heartbeat_error.lock().take() {
            return Err(code.into());
        }
        self.last_heartbeat.send_replace(request.metadata_offset.0 + 1);
        let is_caught_up = request.metadata_offset.0 >= REGISTRATION_OFFSET;
        Ok(HeartbeatReply {
            is_caught_up,
            is_fenced: !is_caught_up,
            should_shut_down: request.want_shutdown && self.may_shut_down.load(Ordering::SeqCst),
            metadata_offset: Offset(REGISTRATION_OFFSET),
        })
    }

    async fn allocate_producer_ids(
        &self,
        _: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        Err(ControllerError::Stopping)
    }

    async fn alter_partition(&self, _: AlterPartition) -> Result<AlterPartitionReply, ControllerError> {
        Err(ControllerError::Stopping)
    }

    async fn watch_metadata(&self, request: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        self.watches.lock().push(request.after);
        let mut rounds = self.events.lock();
        if rounds.is_empty() {
            return Err(ControllerError::Timeout);
        }
        let (sender, receiver) = mpsc::channel(16);
        for event in rounds.remove(0) {
            sender.try_send(event).unwrap();
        }
        // The last round's channel stays open, as a live watch does; earlier ones end.
        if rounds.is_empty() {
            self.open.lock().push(sender);
        }
        Ok(receiver)
    }

    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        Err(ControllerError::Stopping)
    }

    async fn forward(&self, _: Forward) -> Result<Forwarded, ControllerError> {
        Err(ControllerError::Stopping)
    }
}

/// Notes the offsets it was called with.
#[derive(Default)]
struct Notes(Mutex<Vec<(&'static str, i64)>>);

#[async_trait]
impl MetadataPublisher for Notes {
    async fn before_swap(&self, _: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.0.lock().push(("before", image.position().offset.0));
    }

    async fn after_swap(&self, _: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.0.lock().push(("after", image.position().offset.0));
    }

    fn offline_log_dirs(&self) -> Vec<Uuid> {
        Vec::new()
    }

    fn full_log_dirs(&self) -> Vec<Uuid> {
        Vec::new()
    }

    fn cordoned_log_dirs(&self) -> Vec<Uuid> {
        Vec::new()
    }

    fn replica_directories(&self, _: &MetadataImage) -> Vec<ReplicaDirectory> {
        Vec::new()
    }
}

fn options() -> LifecycleOptions {
    LifecycleOptions {
        broker_id: BrokerId(1),
        cluster_id: "cluster".into(),
        incarnation_id: Uuid::ONE,
        listeners: Vec::new(),
        features: Vec::new(),
        rack: None,
        log_dirs: Vec::new(),
        previous_broker_epoch: BrokerEpoch(-1),
        // So long that only what wakes the loop by itself can make a test pass in time.
        heartbeat_interval: Duration::from_secs(3600),
        log_dirs_changed: watch::channel(0).1,
    }
}

fn batch(offset: i64) -> MetadataEvent {
    let position = MetadataPosition { offset: Offset(offset), epoch: LeaderEpoch(1) };
    MetadataEvent::Batch { position, records: encode_batch(&MetadataBatch::default()) }
}

fn snapshot(offset: i64) -> MetadataEvent {
    let position = MetadataPosition { offset: Offset(offset), epoch: LeaderEpoch(1) };
    MetadataEvent::Snapshot { position, records: encode_batch(&MetadataBatch::default()) }
}

struct Life {
    controller: Arc<FakeController>,
    cache: Arc<MetadataCache>,
    notes: Arc<Notes>,
    lifecycle: Lifecycle,
}

fn live(controller: FakeController) -> Life {
    let (controller, cache, notes) =
        (Arc::new(controller), Arc::new(MetadataCache::default()), Arc::new(Notes::default()));
    let channel: Arc<dyn ControllerChannel> = Arc::<FakeController>::clone(&controller);
    let publisher: Arc<dyn MetadataPublisher> = Arc::<Notes>::clone(&notes);
    let lifecycle = Lifecycle::start(
        options(),
        channel,
        Arc::clone(&cache),
        publisher,
        watch::Sender::new(BrokerEpoch(-1)),
    );
    Life { controller, cache, notes, lifecycle }
}

fn with_events(rounds: Vec<Vec<MetadataEvent>>) -> FakeController {
    FakeController { events: Mutex::new(rounds), ..FakeController::default() }
}

#[tokio::test]
async fn a_broker_is_unfenced_once_it_has_applied_its_registration() {
    let life = live(with_events(vec![vec![snapshot(3), batch(4), batch(5)]]));
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
    assert_eq!(life.lifecycle.broker_epoch(), BrokerEpoch(5));
    assert_eq!(life.cache.applied_offset(), Offset(5));
}

#[tokio::test]
async fn a_fenced_broker_tells_of_every_step_without_waiting_for_the_interval() {
    let life = live(with_events(vec![vec![snapshot(3)]]));
    let mut heartbeats = life.controller.last_heartbeat.subscribe();
    tokio::time::timeout(LIMIT, heartbeats.wait_for(|offset| *offset == 4)).await.unwrap().unwrap();
    let open = life.controller.open.lock()[0].clone();
    open.send(batch(5)).await.unwrap();
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
}

#[tokio::test]
async fn only_a_heartbeat_by_which_the_broker_is_in_service_counts_it_in() {
    let life = live(with_events(vec![vec![snapshot(3)]]));
    let may_be_out = || life.cache.may_be_counted_out(crate::clock::monotonic(), Duration::from_secs(3600));
    let mut heartbeats = life.controller.last_heartbeat.subscribe();
    tokio::time::timeout(LIMIT, heartbeats.wait_for(|offset| *offset == 4)).await.unwrap().unwrap();
    let open = life.controller.open.lock()[0].clone();
    open.send(batch(4)).await.unwrap();
    // The answer to the one before is taken in by then.
    tokio::time::timeout(LIMIT, heartbeats.wait_for(|offset| *offset == 5)).await.unwrap().unwrap();
    assert!(may_be_out(), "it is fenced");
    open.send(batch(5)).await.unwrap();
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
    assert!(!may_be_out());
}

#[tokio::test]
async fn events_reach_the_broker_before_its_clients_and_in_order() {
    let life = live(with_events(vec![vec![snapshot(3), batch(4), batch(9)]]));
    assert!(life.cache.wait_for_offset(Offset(9), LIMIT).await);
    life.lifecycle.stop().await;
    let notes = life.notes.0.lock().clone();
    assert_eq!(notes[..5], [("before", 3), ("after", 3), ("before", 4), ("after", 4), ("before", 9)]);
}

#[tokio::test]
async fn a_watch_that_ends_is_resumed_where_it_ended() {
    let life = live(with_events(vec![vec![snapshot(3), batch(4)], vec![batch(5)]]));
    assert!(life.cache.wait_for_offset(Offset(5), LIMIT).await);
    let watches = life.controller.watches.lock().clone();
    assert_eq!(watches[0], None);
    assert_eq!(watches[1].map(|position| position.offset), Some(Offset(4)));
}

#[tokio::test]
async fn an_event_that_does_not_decode_makes_the_broker_start_anew() {
    let position = MetadataPosition { offset: Offset(4), epoch: LeaderEpoch(1) };
    let garbage = MetadataEvent::Batch { position, records: vec![0xff; 9].into() };
    let life = live(with_events(vec![vec![snapshot(3), garbage], vec![snapshot(5)]]));
    assert!(life.cache.wait_for_offset(Offset(5), LIMIT).await);
    assert_eq!(life.controller.watches.lock()[..2], [None, None]);
}

#[tokio::test]
async fn a_registration_that_may_succeed_later_is_repeated() {
    let controller = with_events(vec![vec![snapshot(5)]]);
    controller.refusals.lock().extend([ErrorCode::DuplicateBrokerRegistration, ErrorCode::NotController]);
    let life = live(controller);
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_of_another_cluster_is_refused_for_good() {
    let controller = with_events(vec![vec![snapshot(5)]]);
    controller.refusals.lock().push(ErrorCode::InconsistentClusterId);
    let life = live(controller);
    let ended = tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap();
    assert_eq!(ended, Err(BrokerState::Refused(ErrorCode::InconsistentClusterId)));
}

#[tokio::test]
async fn a_broker_that_was_replaced_stops() {
    let controller = with_events(vec![vec![snapshot(5)]]);
    *controller.heartbeat_error.lock() = Some(ErrorCode::StaleBrokerEpoch);
    let life = live(controller);
    let ended = tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap();
    assert_eq!(ended, Err(BrokerState::Refused(ErrorCode::StaleBrokerEpoch)));
}

#[tokio::test]
async fn a_forgotten_broker_registers_again() {
    let controller = with_events(vec![vec![snapshot(5)]]);
    *controller.heartbeat_error.lock() = Some(ErrorCode::BrokerIdNotRegistered);
    let life = live(controller);
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
    assert_eq!(life.controller.registrations.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_controlled_shutdown_waits_for_the_controller() {
    let life = live(with_events(vec![vec![snapshot(5)]]));
    tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap().unwrap();
    assert!(!life.lifecycle.controlled_shutdown(Duration::from_millis(1)).await);
    life.controller.may_shut_down.store(true, Ordering::SeqCst);
    assert!(life.lifecycle.controlled_shutdown(LIMIT).await);
    assert_eq!(life.lifecycle.state(), BrokerState::Stopped);
}

#[tokio::test]
async fn who_has_waited_for_a_session_that_goes_on_ends() {
    let life = live(FakeController { lives_after_ms: Some(120), ..with_events(vec![vec![snapshot(3)]]) });
    let refused = tokio::time::timeout(LIMIT, life.lifecycle.wait_unfenced()).await.unwrap();
    assert_eq!(refused, Err(BrokerState::Refused(ErrorCode::DuplicateBrokerRegistration)));
}
