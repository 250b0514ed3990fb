//! A whole controller through its public face: what it acknowledged is there, whatever happens to it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "controller/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of a quorum")]
mod harness;
#[path = "controller/kill.rs"]
mod kill;
#[path = "controller/tokens.rs"]
mod tokens;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{Broker, create_topic, create_topics, forward, options, runtime, start, start_with};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use moldau_cluster::{
    AlterPartition, AlterPartitionRequest, ControllerChannel, ControllerError, IsrMember,
    LeaderRecoveryState, MetadataEvent, MetadataPosition, WatchMetadata,
};
use moldau_controller::{Controller, QuorumVoter, StartError};
use moldau_metadata::{MetadataImage, decode_batch};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, Uuid};

/// Applies events as a broker does, until `done` holds.
async fn watch_until(
    controller: &moldau_controller::ControllerHandle,
    done: impl Fn(&MetadataImage) -> bool,
) -> MetadataImage {
    let request = WatchMetadata { cluster_id: harness::CLUSTER.to_owned(), after: None };
    let mut events = controller.watch_metadata(request).await.unwrap();
    let mut image = MetadataImage::empty();
    loop {
        let event = events.recv().await.expect("the controller runs");
        let MetadataPosition { offset, epoch } = event.position();
        image = match event {
            MetadataEvent::Snapshot { records, .. } => {
                MetadataImage::from_snapshot([&decode_batch(&records).unwrap()], offset, epoch).unwrap()
            }
            MetadataEvent::Batch { records, .. } => {
                image.replay_image(&decode_batch(&records).unwrap(), offset, epoch).unwrap()
            }
        };
        if done(&image) {
            return image;
        }
    }
}

#[test]
fn a_broker_registers_fenced_and_is_let_in_once_it_has_caught_up() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        let mut broker = Broker::register(&controller, 1).await;
        let image = watch_until(&controller, |image| image.broker(BrokerId(1)).is_some()).await;
        assert!(image.broker(BrokerId(1)).unwrap().fenced);
        assert_eq!(image.cluster_id().map(|id| &**id), Some(harness::CLUSTER));
        assert_eq!(image.feature_level("metadata.version"), 30);
        let behind = broker.heartbeat(&controller, Offset(broker.epoch.0 - 1)).await.unwrap();
        assert!(behind.is_fenced && !behind.is_caught_up);
        let there = broker.heartbeat(&controller, Offset(broker.epoch.0)).await.unwrap();
        assert!(!there.is_fenced && there.is_caught_up);
        watch_until(&controller, |image| image.is_active_broker(BrokerId(1))).await;

        // Another process under the same id has to wait, the same one may repeat itself, a stranger is refused.
        let other = Broker::try_register(&controller, 1, Uuid::from_bytes([9; 16]), harness::CLUSTER).await;
        assert_eq!(other.err(), Some(ControllerError::Kafka(ErrorCode::DuplicateBrokerRegistration)));
        // Has it waited for longer than a session lasts, the one that has the id lives, and it is told where.
        let mut waiting = Broker::registration(1, Uuid::from_bytes([9; 16]), harness::CLUSTER);
        for (waited_ms, is_certain) in [(harness::SESSION_MS - 1, false), (harness::SESSION_MS, true)] {
            waiting.waited_ms = waited_ms;
            let error = controller.register_broker(waiting.clone()).await.unwrap_err();
            let lives = ControllerError::BrokerLives { address: "PLAINTEXT://localhost:9092".to_owned() };
            assert_eq!(error == lives, is_certain, "{waited_ms}: {error}");
            assert_eq!(error.error_code(), ErrorCode::DuplicateBrokerRegistration);
        }
        let again = Broker::try_register(&controller, 1, broker.incarnation, harness::CLUSTER).await.unwrap();
        assert_eq!(again.epoch, broker.epoch);
        let stranger = Broker::try_register(&controller, 2, broker.incarnation, "another").await;
        assert_eq!(stranger.err(), Some(ControllerError::Kafka(ErrorCode::InconsistentClusterId)));
        broker.epoch = BrokerEpoch(broker.epoch.0 + 1);
        let stale = broker.heartbeat(&controller, Offset(9)).await;
        assert_eq!(stale.err(), Some(ControllerError::Kafka(ErrorCode::StaleBrokerEpoch)));
        controller.shutdown().await;
    });
}

/// Two brokers and a topic with the replicas 1 and 2; 1 was gone for a while and is in the ISR again, 2 leads.
async fn leadership_moved(
    controller: &moldau_controller::ControllerHandle,
) -> Vec<tokio::task::JoinHandle<()>> {
    let beating = |broker: &Broker| {
        let (controller, beat) = (controller.clone(), broker.beat(Offset(1_000_000)));
        tokio::spawn(async move {
            while controller.heartbeat(beat.clone()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    // It says nothing more after this.
    Broker::join(controller, 1).await;
    let second = Broker::join(controller, 2).await;
    let mut beats = vec![beating(&second)];
    let assignment = CreatableReplicaAssignment::default()
        .with_broker_ids(vec![kafka_protocol::messages::BrokerId(1), kafka_protocol::messages::BrokerId(2)]);
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("moved")))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment]);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let (created, _) = forward(controller, 7, &request).await.unwrap();
    assert_eq!(created.topics[0].error_code, 0, "{created:?}");
    let image = watch_until(controller, |image| leader_of(image) == Some(BrokerId(2))).await;
    let first = Broker::join(controller, 1).await;
    beats.push(beating(&first));
    let topic = image.topics().by_name("moved").unwrap();
    let partition = topic.partition(PartitionIndex(0)).unwrap();
    let member = |broker: &Broker| IsrMember { broker_id: broker.id, broker_epoch: broker.epoch };
    let request = AlterPartition {
        broker_id: second.id,
        broker_epoch: second.epoch,
        partitions: vec![AlterPartitionRequest {
            topic_id: topic.id(),
            partition: PartitionIndex(0),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: vec![member(&second), member(&first)],
            leader_recovery_state: LeaderRecoveryState::Recovered,
        }],
    };
    controller.alter_partition(request).await.unwrap().partitions[0].as_ref().unwrap();
    beats
}

fn leader_of(image: &MetadataImage) -> Option<BrokerId> {
    let topic = image.topics().by_name("moved")?;
    topic.partition(PartitionIndex(0)).map(|partition| partition.leader)
}

#[test]
fn leadership_goes_back_to_the_preferred_replica() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        options.broker_session_timeout = Duration::from_millis(500);
        options.settings = [("leader.imbalance.check.interval.seconds".to_owned(), "1".to_owned())].into();
        let controller = start_with(options).await;
        let beats = leadership_moved(&controller).await;
        let back = watch_until(&controller, |image| leader_of(image) == Some(BrokerId(1)));
        tokio::time::timeout(Duration::from_secs(30), back).await.expect("leadership goes back");
        beats.iter().for_each(tokio::task::JoinHandle::abort);
        controller.shutdown().await;
    });
}

#[test]
fn topics_are_created_altered_and_deleted_and_a_restart_knows() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        let broker = Broker::join(&controller, 1).await;
        let (created, offset) = create_topic(&controller, "pageview", 3).await;
        assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (0, 3, 1));
        let image = watch_until(&controller, |image| image.position().offset >= offset).await;
        let topic = image.topics().by_name("pageview").unwrap();
        let partition = topic.partition(PartitionIndex(0)).unwrap();
        assert_eq!((partition.leader, partition.leader_epoch), (BrokerId(1), LeaderEpoch(0)));
        let (again, _) = create_topic(&controller, "pageview", 3).await;
        assert_eq!(again.error_code, ErrorCode::TopicAlreadyExists.code());

        let isr = |partition_epoch| AlterPartition {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            partitions: vec![AlterPartitionRequest {
                topic_id: topic.id(),
                partition: PartitionIndex(0),
                leader_epoch: partition.leader_epoch,
                partition_epoch,
                new_isr: vec![IsrMember { broker_id: broker.id, broker_epoch: broker.epoch }],
                leader_recovery_state: LeaderRecoveryState::Recovered,
            }],
        };
        let reply = controller.alter_partition(isr(partition.partition_epoch)).await.unwrap();
        assert_eq!(reply.partitions[0].as_ref().unwrap().isr, [BrokerId(1)]);
        let later = controller.alter_partition(isr(partition.partition_epoch.next())).await.unwrap();
        assert_eq!(later.partitions[0], Err(ErrorCode::NotController));
        controller.shutdown().await;
        assert_eq!(controller.heartbeat(broker.beat(Offset(1))).await, Err(ControllerError::Stopping));

        let controller = start(directory.path()).await;
        let image = watch_until(&controller, |_| true).await;
        let topic_id = image.topics().by_name("pageview").unwrap().id();
        let delete = DeleteTopicsRequest::default().with_topics(vec![
            DeleteTopicState::default().with_topic_id(uuid::Uuid::from_bytes(*topic_id.as_bytes())),
            DeleteTopicState::default().with_name(Some(TopicName(StrBytes::from_static_str("unknown")))),
        ]);
        let (deleted, offset) = forward::<DeleteTopicsRequest>(&controller, 6, &delete).await.unwrap();
        let deleted: DeleteTopicsResponse = deleted;
        let codes: BTreeSet<i16> = deleted.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, BTreeSet::from([0, ErrorCode::UnknownTopicOrPartition.code()]));
        let image = watch_until(&controller, |image| image.position().offset >= offset).await;
        assert!(image.topics().by_name("pageview").is_none());
        controller.shutdown().await;
    });
}

#[test]
fn what_arrives_together_is_decided_one_after_another() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        Broker::join(&controller, 1).await;
        let requests = (0..300).map(|number| {
            let controller = controller.clone();
            tokio::spawn(async move { create_topic(&controller, &format!("topic{}", number % 100), 1).await })
        });
        let mut created = 0;
        for request in requests.collect::<Vec<_>>() {
            let (result, _) = request.await.unwrap();
            match ErrorCode::from_code(result.error_code) {
                ErrorCode::None => created += 1,
                code => assert_eq!(code, ErrorCode::TopicAlreadyExists),
            }
        }
        assert_eq!(created, 100);
        let image = watch_until(&controller, |_| true).await;
        assert_eq!(image.topics().iter().count(), 100);
        controller.shutdown().await;
    });
}

#[test]
fn producer_ids_are_unique_over_fifty_restarts() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut seen = BTreeSet::new();
        for restart in 0..50 {
            let controller = start(directory.path()).await;
            let broker = Broker::register(&controller, 1).await;
            for _ in 0..3 {
                let block = controller.allocate_producer_ids(broker.producer_ids()).await.unwrap();
                for id in block.first.0..block.first.0 + i64::from(block.count) {
                    assert!(seen.insert(id), "producer id {id} was given out twice, restart {restart}");
                }
            }
            controller.shutdown().await;
        }
        assert_eq!(seen.len(), 150_000);
    });
}

#[test]
fn a_watch_resumes_where_it_was_and_starts_over_where_it_cannot() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        Broker::join(&controller, 1).await;
        let watch = |after| {
            let controller = controller.clone();
            async move {
                let request = WatchMetadata { cluster_id: harness::CLUSTER.to_owned(), after };
                controller.watch_metadata(request).await.unwrap()
            }
        };
        let mut events = watch(None).await;
        let first = events.recv().await.unwrap();
        assert!(matches!(first, MetadataEvent::Snapshot { .. }));
        let mut at = first.position();
        create_topic(&controller, "a", 1).await;
        at = match events.recv().await.unwrap() {
            MetadataEvent::Batch { position, .. } if position.offset > at.offset => position,
            event => panic!("{event:?} after {at:?}"),
        };
        drop(events);
        create_topic(&controller, "b", 1).await;
        create_topic(&controller, "c", 1).await;

        let mut events = watch(Some(at)).await;
        for name in ["b", "c"] {
            let event = events.recv().await.unwrap();
            let MetadataEvent::Batch { records, position } = event else { panic!("{event:?}") };
            assert_eq!(position.offset, at.offset.plus(1));
            assert!(format!("{:?}", decode_batch(&records).unwrap()).contains(name));
            at = position;
        }
        // The same offset in another epoch is a place in another history.
        let elsewhere = MetadataPosition { epoch: LeaderEpoch(77), ..at };
        assert!(matches!(watch(Some(elsewhere)).await.recv().await, Some(MetadataEvent::Snapshot { .. })));
        let refused =
            controller.watch_metadata(WatchMetadata { cluster_id: "x".to_owned(), after: None }).await;
        assert_eq!(refused.err(), Some(ControllerError::Kafka(ErrorCode::InconsistentClusterId)));
        controller.shutdown().await;
        assert!(events.recv().await.is_none(), "a watch ends with its controller");
    });
}

#[test]
fn a_silent_broker_is_fenced_and_its_partitions_lose_their_leader() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        options.broker_session_timeout = Duration::from_millis(300);
        let controller = start_with(options).await;
        Broker::join(&controller, 1).await;
        create_topic(&controller, "a", 1).await;
        let image =
            watch_until(&controller, |image| image.broker(BrokerId(1)).is_some_and(|b| b.fenced)).await;
        let topic = image.topics().by_name("a").unwrap();
        let partition = topic.partition(PartitionIndex(0)).unwrap();
        assert_eq!((partition.leader, partition.leader_epoch), (BrokerId::NONE, LeaderEpoch(1)));
        controller.shutdown().await;
    });
}

#[test]
fn a_new_incarnation_leads_nothing_until_it_is_given_a_new_epoch() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        Broker::join(&controller, 1).await;
        create_topic(&controller, "a", 1).await;
        controller.shutdown().await;

        // At once, well within the session timeout: the controller's own restart makes no broker wait.
        let controller = start(directory.path()).await;
        let leader = |image: &MetadataImage| {
            let partition = image.topics().by_name("a").unwrap().partition(PartitionIndex(0)).unwrap();
            (partition.leader, partition.leader_epoch)
        };
        assert_eq!(leader(&watch_until(&controller, |_| true).await), (BrokerId(1), LeaderEpoch(0)));
        let broker = Broker::register(&controller, 1).await;
        assert_eq!(leader(&watch_until(&controller, |_| true).await), (BrokerId::NONE, LeaderEpoch(1)));
        broker.heartbeat(&controller, Offset(broker.epoch.0)).await.unwrap();
        assert_eq!(leader(&watch_until(&controller, |_| true).await), (BrokerId(1), LeaderEpoch(2)));
        controller.shutdown().await;
    });
}

#[test]
fn the_quorum_describes_itself() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        options.voters = vec![QuorumVoter { node_id: BrokerId(1), host: "localhost".to_owned(), port: 9093 }];
        let controller = start_with(options).await;
        let (_, offset) = create_topics(&controller, &[], 1).await;
        let quorum = controller.describe_quorum().await.unwrap();
        assert_eq!((quorum.leader_id, quorum.leader_epoch), (BrokerId(1), LeaderEpoch(1)));
        assert!(quorum.high_watermark > offset, "{quorum:?}");
        assert_eq!(quorum.voters.len(), 1);
        assert_eq!(quorum.voters[0].directory_id, harness::DIRECTORY);
        assert_eq!(quorum.voters[0].log_end_offset, quorum.high_watermark);
        controller.shutdown().await;
    });
}

#[test]
fn a_quorum_without_this_node_is_refused_in_one_line() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let voter = |id| QuorumVoter { node_id: BrokerId(id), host: "h".to_owned(), port: 9093 };
        let mut options = options(directory.path());
        options.voters = vec![voter(2), voter(3), voter(4)];
        let handle = tokio::runtime::Handle::current();
        let error = Controller::start(options, &handle).await.unwrap_err();
        assert!(matches!(error, StartError::NotAVoter { .. }));
        assert_eq!(error.to_string(), "controller.quorum.voters names 2,3,4, but node.id is 1");
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            0,
            "nothing is written before the check"
        );
    });
}

#[test]
fn hostile_forwards_are_refused_and_harm_nothing() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        for (api_key, version, body, code) in [
            (19, 7, &b"\xff\xff\xff\xff\x0f"[..], ErrorCode::InvalidRequest),
            (19, 7, b"", ErrorCode::InvalidRequest),
            (19, 99, b"", ErrorCode::UnsupportedVersion),
            (0, 9, b"", ErrorCode::UnsupportedVersion),
            (999, 0, b"", ErrorCode::UnsupportedVersion),
        ] {
            let error = controller.forward(harness::raw(api_key, version, body.to_vec())).await.unwrap_err();
            assert_eq!(error, ControllerError::Kafka(code), "{api_key} {version}");
        }
        controller.shutdown().await;
    });
}

/// The lines of the audit log, of all tests of this process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_begun_is_carried_out_and_told_where_the_asker_has_gone() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_env_filter("moldau.audit=info").with_writer(move || writer.clone()).init();
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let controller = start(directory.path()).await;
        Broker::join(&controller, 1).await;
        for n in 0..50 {
            let name = format!("given-up-{n}");
            let mut asked = Box::pin(create_topic(&controller, &name, 1));
            assert!(futures::poll!(&mut asked).is_pending());
        }
        watch_until(&controller, |image| image.topics().iter().count() == 50).await;
        let told = || {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            (0..50).all(|n| text.contains(&format!("topic given-up-{n}\"")))
        };
        let all_told = async {
            while !told() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_told).await.unwrap();
        controller.shutdown().await;
    });
}
