//! A controller to talk to, and a broker that talks.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::{Decodable, Request, StrBytes};
use moldau_cluster::{
    AllocateProducerIds, BrokerListener, ControllerChannel, ControllerError, FeatureRange, Forward,
    Heartbeat, HeartbeatReply, RegisterBroker,
};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions};
use moldau_model::{BrokerEpoch, BrokerId, Offset, Uuid};

pub(crate) const CLUSTER: &str = "a-cluster";
/// `broker.session.timeout.ms`.
pub(crate) const SESSION_MS: i64 = 9000;
pub(crate) const DIRECTORY: Uuid = Uuid::from_bytes([5; 16]);

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn options(path: &Path) -> ControllerOptions {
    ControllerOptions::new(BrokerId(1), CLUSTER.to_owned(), path.to_owned(), DIRECTORY)
}

pub(crate) async fn start(path: &Path) -> ControllerHandle {
    start_with(options(path)).await
}

pub(crate) async fn start_with(options: ControllerOptions) -> ControllerHandle {
    Controller::start(options, &tokio::runtime::Handle::current()).await.unwrap()
}

pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) epoch: BrokerEpoch,
    pub(crate) incarnation: Uuid,
}

impl Broker {
    /// Registers a new incarnation.
    pub(crate) async fn register(controller: &dyn ControllerChannel, id: i32) -> Self {
        let mut incarnation = [0; 16];
        getrandom::fill(&mut incarnation).unwrap();
        Self::try_register(controller, id, Uuid::from_random_bytes(incarnation), CLUSTER).await.unwrap()
    }

    /// Registers a new incarnation whose listener has this port of the loopback.
    /// Registers a broker that others find at `port`, and clients at another one.
    pub(crate) async fn register_at(
        controller: &dyn ControllerChannel,
        id: i32,
        port: u16,
        port_for_clients: Option<u16>,
    ) -> Self {
        let mut incarnation = [0; 16];
        getrandom::fill(&mut incarnation).unwrap();
        let mut request = Self::registration(id, Uuid::from_random_bytes(incarnation), CLUSTER);
        request.listeners[0].host = "127.0.0.1".to_owned();
        request.listeners[0].port = port;
        if let Some(port) = port_for_clients {
            let (name, host) = ("OUTSIDE".to_owned(), "127.0.0.1".to_owned());
            request.listeners.push(BrokerListener { name, host, port, security_protocol: 0 });
        }
        Self::try_register_as(controller, request).await.unwrap()
    }

    /// Registers a new incarnation and gets it unfenced.
    pub(crate) async fn join(controller: &dyn ControllerChannel, id: i32) -> Self {
        let broker = Self::register(controller, id).await;
        assert!(!broker.heartbeat(controller, Offset(broker.epoch.0)).await.unwrap().is_fenced);
        broker
    }

    pub(crate) async fn try_register(
        controller: &dyn ControllerChannel,
        id: i32,
        incarnation: Uuid,
        cluster_id: &str,
    ) -> Result<Self, ControllerError> {
        Self::try_register_as(controller, Self::registration(id, incarnation, cluster_id)).await
    }

    pub(crate) fn registration(id: i32, incarnation: Uuid, cluster_id: &str) -> RegisterBroker {
        RegisterBroker {
            broker_id: BrokerId(id),
            cluster_id: cluster_id.to_owned(),
            incarnation_id: incarnation,
            listeners: vec![BrokerListener {
                name: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security_protocol: 0,
            }],
            features: FeatureRange::supported(),
            rack: None,
            log_dirs: vec![Uuid::from_bytes([id as u8 + 100; 16])],
            previous_broker_epoch: BrokerEpoch(-1),
            waited_ms: 0,
        }
    }

    async fn try_register_as(
        controller: &dyn ControllerChannel,
        request: RegisterBroker,
    ) -> Result<Self, ControllerError> {
        let (id, incarnation) = (request.broker_id, request.incarnation_id);
        let registered = controller.register_broker(request).await?;
        Ok(Self { id, epoch: registered.broker_epoch, incarnation })
    }

    pub(crate) const fn beat(&self, metadata_offset: Offset) -> Heartbeat {
        Heartbeat {
            broker_id: self.id,
            broker_epoch: self.epoch,
            metadata_offset,
            want_fence: false,
            want_shutdown: false,
            offline_log_dirs: Vec::new(),
            full_log_dirs: Vec::new(),
            cordoned_log_dirs: Vec::new(),
            replica_directories: Vec::new(),
        }
    }

    pub(crate) async fn heartbeat(
        &self,
        controller: &dyn ControllerChannel,
        metadata_offset: Offset,
    ) -> Result<HeartbeatReply, ControllerError> {
        controller.heartbeat(self.beat(metadata_offset)).await
    }

    pub(crate) const fn producer_ids(&self) -> AllocateProducerIds {
        AllocateProducerIds { broker_id: self.id, broker_epoch: self.epoch }
    }
}

pub(crate) fn raw(api_key: i16, api_version: i16, body: Vec<u8>) -> Forward {
    Forward {
        broker_id: BrokerId::NONE,
        api_key,
        api_version,
        body: Bytes::from(body),
        principal: "User:ANONYMOUS".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        client_id: None,
        listener: "PLAINTEXT".to_owned(),
    }
}

pub(crate) async fn forward<R: Request>(
    controller: &dyn ControllerChannel,
    version: i16,
    request: &R,
) -> Result<(R::Response, Offset), ControllerError> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    let forwarded = controller.forward(raw(R::KEY, version, body.to_vec())).await?;
    let mut body = forwarded.body;
    let response = R::Response::decode(&mut body, version).unwrap();
    assert!(body.is_empty());
    Ok((response, forwarded.metadata_offset))
}

pub(crate) async fn create_topics(
    controller: &dyn ControllerChannel,
    names: &[&str],
    partitions: i32,
) -> (Vec<CreatableTopicResult>, Offset) {
    let topic = |name: &&str| {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string((*name).to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default().with_topics(names.iter().map(topic).collect());
    let (response, offset) = forward(controller, 7, &request).await.unwrap();
    (response.topics, offset)
}

pub(crate) async fn create_topic(
    controller: &dyn ControllerChannel,
    name: &str,
    partitions: i32,
) -> (CreatableTopicResult, Offset) {
    let (mut topics, offset) = create_topics(controller, &[name], partitions).await;
    (topics.remove(0), offset)
}
