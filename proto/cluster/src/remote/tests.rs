//! The search for the active controller, over controllers that are told what to answer.

use std::collections::VecDeque;

use moldau_model::Offset;

use super::*;

/// Answers heartbeats by what it was told, and then always as the active controller.
#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<ControllerError>>,
    asked: Mutex<usize>,
}

impl Told {
    fn answering(answers: impl IntoIterator<Item = ControllerError>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() })
    }
}

#[async_trait]
impl ControllerChannel for Told {
    async fn heartbeat(&self, _: Heartbeat) -> Result<HeartbeatReply, ControllerError> {
        *self.asked.lock() += 1;
        match self.answers.lock().pop_front() {
            Some(error) => Err(error),
            None => Ok(HeartbeatReply {
                is_caught_up: true,
                is_fenced: false,
                should_shut_down: false,
                metadata_offset: Offset(7),
            }),
        }
    }

    async fn register_broker(&self, _: RegisterBroker) -> Result<RegisteredBroker, ControllerError> {
        unreachable!("not asked")
    }
    async fn allocate_producer_ids(
        &self,
        _: AllocateProducerIds,
    ) -> Result<ProducerIdBlock, ControllerError> {
        unreachable!("not asked")
    }
    async fn alter_partition(&self, _: AlterPartition) -> Result<AlterPartitionReply, ControllerError> {
        unreachable!("not asked")
    }
    async fn watch_metadata(&self, _: WatchMetadata) -> Result<MetadataWatch, ControllerError> {
        unreachable!("not asked")
    }
    async fn describe_quorum(&self) -> Result<QuorumDescription, ControllerError> {
        unreachable!("not asked")
    }
    async fn forward(&self, _: Forward) -> Result<Forwarded, ControllerError> {
        unreachable!("not asked")
    }
}

fn channel(nodes: &[Arc<Told>]) -> RemoteControllerChannel {
    let credentials = Credentials {
        node_id: BrokerId(9),
        cluster_id: Some("a".to_owned()),
        directory_id: moldau_model::Uuid::ZERO,
        secret: None,
        dialer: std::sync::Arc::new(moldau_security::link::Dialer::plain()),
    };
    let node = |(id, told): (usize, &Arc<Told>)| Node {
        node_id: Some(BrokerId(id as i32)),
        address: format!("node-{id}:1"),
        way: Way::Local(told.clone()),
    };
    let nodes = nodes.iter().enumerate().map(node).collect();
    let state = Mutex::new(State { nodes, current: 0, attended: None });
    RemoteControllerChannel { controllers: Arc::new(Controllers { credentials, state }) }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        broker_id: BrokerId(9),
        broker_epoch: BrokerEpoch(1),
        metadata_offset: Offset(1),
        want_fence: false,
        want_shutdown: false,
        offline_log_dirs: Vec::new(),
        full_log_dirs: Vec::new(),
        cordoned_log_dirs: Vec::new(),
        replica_directories: Vec::new(),
    }
}

fn not_controller(leader: Option<(i32, &str)>) -> ControllerError {
    let hint = |(id, address): (i32, &str)| LeaderHint { node_id: BrokerId(id), address: address.to_owned() };
    ControllerError::NotController { leader: leader.map(hint) }
}

fn asked(nodes: &[Arc<Told>]) -> Vec<usize> {
    nodes.iter().map(|told| *told.asked.lock()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once_and_whoever_answered_is_asked_first() {
    let nodes = [Told::answering([not_controller(Some((2, "")))]), Told::answering([]), Told::answering([])];
    let channel = channel(&nodes);
    channel.heartbeat(heartbeat()).await.unwrap();
    channel.heartbeat(heartbeat()).await.unwrap();
    assert_eq!(asked(&nodes), [1, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_until_one_leads() {
    let silent = || (0..5).map(|_| not_controller(None));
    let stopping = (0..3).map(|_| ControllerError::Stopping);
    let nodes = [Told::answering(silent()), Told::answering(stopping), Told::answering(silent())];
    let channel = channel(&nodes);
    channel.heartbeat(heartbeat()).await.unwrap();
    assert_eq!(asked(&nodes), [4, 4, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_search_without_an_end_is_given_up() {
    let never = || Told::answering((0..1_000_000).map(|_| not_controller(Some((7, "")))));
    let nodes = [never(), never()];
    let begin = Instant::now();
    let error = channel(&nodes).heartbeat(heartbeat()).await.unwrap_err();
    assert!(matches!(error, ControllerError::NotController { .. }), "{error}");
    assert!(begin.elapsed() <= HEARTBEAT_LIMIT);
    let total: usize = asked(&nodes).iter().sum();
    assert!(total < 1000, "{total} requests in {HEARTBEAT_LIMIT:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_active_controller_refuses_is_refused() {
    let refusal = ControllerError::Kafka(ErrorCode::StaleBrokerEpoch);
    let nodes = [Told::answering([refusal.clone()]), Told::answering([])];
    assert_eq!(channel(&nodes).heartbeat(heartbeat()).await, Err(refusal));
    assert_eq!(asked(&nodes), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn two_that_name_one_another_are_not_asked_without_a_pause() {
    let nodes = [
        Told::answering((0..20).map(|_| not_controller(Some((1, ""))))),
        Told::answering((0..20).map(|_| not_controller(Some((0, ""))))),
    ];
    let begin = Instant::now();
    channel(&nodes).heartbeat(heartbeat()).await.unwrap();
    assert!(begin.elapsed() >= ROUND_PAUSE * 20, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_of_another_cluster_does_not_speak_for_this_one() {
    let stranger = || Told::answering((0..9).map(|_| ErrorCode::InconsistentClusterId.into()));
    let nodes = [stranger(), Told::answering([not_controller(None)]), Told::answering([])];
    channel(&nodes).heartbeat(heartbeat()).await.unwrap();
    assert_eq!(asked(&nodes), [1, 1, 1]);
    let nodes = [stranger(), stranger()];
    let refused = channel(&nodes).heartbeat(heartbeat()).await;
    assert_eq!(refused, Err(ErrorCode::InconsistentClusterId.into()));
    assert_eq!(asked(&nodes), [1, 1]);
}
