//! One node with an authorizer, in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::protocol::{Encodable, StrBytes};
use moldau_broker::{BrokerHandle, BrokerOptions};
use moldau_cluster::{ControllerChannel, Forward};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions};
use moldau_log::RealFileSystem;
use moldau_metadata::config::BrokerConfig;
use moldau_model::{BrokerId, Operation, PatternType, Permission, Principal, ResourceType, Uuid};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{ADMIN, EVERYBODY};

const LIMIT: Duration = Duration::from_secs(60);
const CREATE_ACLS: i16 = 30;
const CREATE_ACLS_VERSION: i16 = 3;

pub(crate) struct Node {
    _directory: TempDir,
    runtime: Runtime,
    controller: ControllerHandle,
    broker: Option<BrokerHandle>,
}

impl Node {
    /// One where everybody who comes from [`ADMIN`] may do everything.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metadata = directory.path().join("metadata");
        std::fs::create_dir_all(&metadata).unwrap();
        let (logs, metadata_text) = (directory.path().join("logs"), metadata.display().to_string());
        let logs = logs.display().to_string();
        let all = [
            ("node.id", "1"),
            ("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:9"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@127.0.0.1:9"),
            ("log.dirs", logs.as_str()),
            ("metadata.log.dir", metadata_text.as_str()),
            ("http.listener", "off"),
            ("offsets.topic.num.partitions", "1"),
            ("transaction.state.log.num.partitions", "1"),
            ("share.coordinator.state.topic.num.partitions", "1"),
            ("auto.create.topics.enable", "false"),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ];
        let all = all.iter().chain(settings);
        let settings: BTreeMap<_, _> = all.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut options =
            ControllerOptions::new(BrokerId(1), "a-cluster".to_owned(), metadata, Uuid::from_bytes([5; 16]));
        options.settings = settings.clone();
        let controller = runtime.block_on(Controller::start(options, runtime.handle())).unwrap();
        let options = BrokerOptions {
            config: BrokerConfig::from_settings(settings).unwrap(),
            cluster_id: "a-cluster".to_owned(),
            incarnation_id: Uuid::from_bytes([7; 16]),
            failed_log_dirs: Vec::new(),
        };
        let channel = Arc::new(controller.clone());
        let broker = runtime.block_on(async {
            let broker = BrokerHandle::start_on(Arc::new(RealFileSystem), options, channel).await.unwrap();
            tokio::time::timeout(LIMIT, broker.wait_ready()).await.unwrap().unwrap();
            broker
        });
        let node = Self { _directory: directory, runtime, controller, broker: Some(broker) };
        node.let_the_administrator_in();
        node
    }

    /// In the node's own name, for nobody else may do anything yet.
    fn let_the_administrator_in(&self) {
        let everything = [
            (ResourceType::Topic, "*"),
            (ResourceType::Group, "*"),
            (ResourceType::TransactionalId, "*"),
            (ResourceType::Cluster, moldau_model::CLUSTER_RESOURCE_NAME),
        ];
        let creations = everything.map(|(resource_type, name)| {
            AclCreation::default()
                .with_resource_type(resource_type.code())
                .with_resource_name(StrBytes::from_static_str(name))
                .with_resource_pattern_type(PatternType::Literal.code())
                .with_principal(StrBytes::from_static_str(EVERYBODY))
                .with_host(StrBytes::from_static_str(ADMIN))
                .with_operation(Operation::All.code())
                .with_permission_type(Permission::Allow.code())
        });
        let mut body = BytesMut::new();
        let request = CreateAclsRequest::default().with_creations(creations.into());
        request.encode(&mut body, CREATE_ACLS_VERSION).unwrap();
        let forward = Forward {
            broker_id: BrokerId(1),
            api_key: CREATE_ACLS,
            api_version: CREATE_ACLS_VERSION,
            body: body.freeze(),
            principal: Principal::node(BrokerId(1)).to_string(),
            client_host: String::new(),
            client_id: None,
            listener: "PLAINTEXT".to_owned(),
        };
        let control = Arc::clone(&self.broker.as_ref().unwrap().broker().control);
        self.runtime.block_on(async {
            let forwarded = self.controller.forward(forward).await.unwrap();
            assert!(control.metadata.wait_for_offset(forwarded.metadata_offset, LIMIT).await);
        });
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.as_ref().unwrap().addresses()[0].address
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            drop(self.runtime.block_on(broker.stop()));
        }
        self.runtime.block_on(self.controller.shutdown());
    }
}
