//! Three brokers that share one controller, in one process, over loopback; each on a disk in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use moldau_broker::replica_manager::Partition;
use moldau_broker::{Broker, BrokerHandle, BrokerOptions};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions};
use moldau_log::FileSystem;
use moldau_metadata::config::BrokerConfig;
use moldau_metadata::{MetadataImage, PartitionRegistration};
use moldau_model::{BrokerId, PartitionIndex, TopicId, TopicIdPartition, Uuid};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::disk::Disk;
use crate::harness::{CLUSTER, Client, LIMIT, Settings, eventually, random_uuid, runtime};
use crate::requests::*;

/// A crashed broker is fenced after so long without a heartbeat.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Cluster {
    _directory: TempDir,
    control: Runtime,
    controller: ControllerHandle,
    members: Vec<Member>,
}

struct Member {
    id: i32,
    disk: Disk,
    settings: BTreeMap<String, String>,
    running: Option<Running>,
}

struct Running {
    data: Runtime,
    broker: BrokerHandle,
}

impl Cluster {
    pub(crate) fn start(settings: Settings<'_>) -> Self {
        // With RUST_LOG, a failing test's log is shown.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let directory = tempfile::tempdir().unwrap();
        let metadata = directory.path().join("metadata");
        std::fs::create_dir_all(&metadata).unwrap();
        let settings_of = |id: i32| -> BTreeMap<String, String> {
            let id_text = id.to_string();
            let all = [
                ("node.id", id_text.as_str()),
                ("process.roles", "broker"),
                ("listeners", "PLAINTEXT://127.0.0.1:0"),
                ("controller.listener.names", "CONTROLLER"),
                ("controller.quorum.voters", "9@127.0.0.1:9"),
                ("log.dirs", "/data"),
                ("http.listener", "off"),
                ("broker.heartbeat.interval.ms", "100"),
                ("offsets.topic.num.partitions", "3"),
                ("offsets.topic.replication.factor", "3"),
                ("group.initial.rebalance.delay.ms", "0"),
                ("replica.fetch.backoff.ms", "100"),
            ];
            let all = all.iter().chain(settings);
            all.map(|(key, value)| (key.to_string(), value.replace("{id}", &id_text))).collect()
        };
        let control = runtime(1);
        let mut options =
            ControllerOptions::new(BrokerId(1), CLUSTER.to_owned(), metadata, Uuid::from_bytes([5; 16]));
        options.settings = settings_of(1);
        options.broker_session_timeout = SESSION_TIMEOUT;
        let controller = control.block_on(Controller::start(options, control.handle())).unwrap();
        let member = |id: i32| Member { id, disk: Disk::default(), settings: settings_of(id), running: None };
        let members = [1, 2, 3].map(member).into();
        let mut cluster = Self { _directory: directory, control, controller, members };
        for id in [1, 2, 3] {
            cluster.start_broker(id);
        }
        eventually("every broker knows of every other", || {
            cluster.running().all(|broker| broker.control.image().alive_brokers().count() == 3)
        });
        cluster
    }

    fn member(&self, id: i32) -> &Member {
        self.members.iter().find(|member| member.id == id).unwrap()
    }

    fn member_mut(&mut self, id: i32) -> &mut Member {
        self.members.iter_mut().find(|member| member.id == id).unwrap()
    }

    pub(crate) fn start_broker(&mut self, id: i32) {
        let channel = Arc::new(self.controller.clone());
        let member = self.member_mut(id);
        let options = BrokerOptions {
            config: BrokerConfig::from_settings(member.settings.clone()).unwrap(),
            cluster_id: CLUSTER.to_owned(),
            incarnation_id: random_uuid(),
            failed_log_dirs: Vec::new(),
        };
        let file_system: Arc<dyn FileSystem> = Arc::new(member.disk.clone());
        let data = runtime(2);
        let broker = data.block_on(async {
            let broker = BrokerHandle::start_on(file_system, options, channel).await.unwrap();
            tokio::time::timeout(LIMIT, broker.wait_ready()).await.unwrap().unwrap();
            broker
        });
        member.running = Some(Running { data, broker });
    }

    /// A clean stop.
    pub(crate) fn stop(&mut self, id: i32) {
        let Running { data, broker } = self.member_mut(id).running.take().unwrap();
        data.block_on(broker.stop()).unwrap();
        drop(data);
    }

    /// The broker's tasks vanish, whatever they were at.
    pub(crate) fn kill(&mut self, id: i32) {
        self.kill_and(id, |_| {});
    }

    /// The same, with something that happens to the disk before any thread of the dying broker syncs what it has left.
    pub(crate) fn kill_and(&mut self, id: i32, cut: impl FnOnce(&Disk)) {
        let member = self.member_mut(id);
        let Running { data, broker } = member.running.take().unwrap();
        cut(&member.disk);
        member.disk.release_syncs();
        data.shutdown_timeout(LIMIT);
        drop(broker);
    }

    pub(crate) fn disk(&self, id: i32) -> &Disk {
        &self.member(id).disk
    }

    pub(crate) fn broker(&self, id: i32) -> &Arc<Broker> {
        self.member(id).running.as_ref().unwrap().broker.broker()
    }

    pub(crate) fn connect(&self, id: i32) -> Client {
        self.connect_to(id, "PLAINTEXT")
    }

    pub(crate) fn connect_to(&self, id: i32, listener: &str) -> Client {
        let addresses = self.member(id).running.as_ref().unwrap().broker.addresses();
        Client::connect(addresses.iter().find(|address| address.name == listener).unwrap().address)
    }

    pub(crate) fn is_running(&self, id: i32) -> bool {
        self.members.iter().any(|member| member.id == id && member.running.is_some())
    }

    fn running(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.members.iter().filter_map(|member| Some(member.running.as_ref()?.broker.broker()))
    }

    /// What the running brokers know, as the one that is furthest does.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.running()
            .map(|broker| broker.control.image())
            .max_by_key(|image| image.position().offset)
            .unwrap()
    }

    pub(crate) fn state(&self, topic: &Topic, partition: i32) -> Arc<PartitionRegistration> {
        Arc::clone(self.image().topics().partition(id_of(topic), PartitionIndex(partition)).unwrap())
    }

    pub(crate) fn leader(&self, topic: &Topic, partition: i32) -> i32 {
        self.state(topic, partition).leader.0
    }

    pub(crate) fn isr(&self, topic: &Topic, partition: i32) -> Vec<i32> {
        let mut isr: Vec<i32> = self.state(topic, partition).isr.iter().map(|id| id.0).collect();
        isr.sort_unstable();
        isr
    }

    /// The running brokers that do not lead the partition.
    pub(crate) fn followers(&self, topic: &Topic, partition: i32) -> Vec<i32> {
        let leader = self.leader(topic, partition);
        let running = self.members.iter().filter(|member| member.running.is_some());
        running.map(|member| member.id).filter(|id| *id != leader).collect()
    }

    pub(crate) fn replica(&self, id: i32, topic: &Topic, partition: i32) -> Arc<Partition> {
        let id_partition = TopicIdPartition { topic_id: id_of(topic), partition: PartitionIndex(partition) };
        self.broker(id).replica_manager.get(id_partition).unwrap()
    }

    pub(crate) fn high_watermark(&self, id: i32, topic: &Topic, partition: i32) -> i64 {
        self.replica(id, topic, partition).high_watermark().0
    }

    pub(crate) fn log_start(&self, id: i32, topic: &Topic, partition: i32) -> i64 {
        self.replica(id, topic, partition).log_bounds().unwrap().0.0
    }

    pub(crate) fn log_end(&self, id: i32, topic: &Topic, partition: i32) -> i64 {
        self.replica(id, topic, partition).log_bounds().unwrap().1.0
    }

    pub(crate) fn log(&self, id: i32, topic: &Topic, partition: i32) -> Vec<u8> {
        self.disk(id).log_bytes(&PathBuf::from(format!("/data/{}-{partition}", topic.name)))
    }

    /// A topic on all three brokers, once each of them has its replica and somebody leads.
    pub(crate) fn create_topic(&self, name_: &str, partitions: i32, configs: &[(&str, &str)]) -> Topic {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let wanted = CreatableTopic::default()
            .with_name(name(name_))
            .with_num_partitions(partitions)
            .with_replication_factor(3)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let id = self.members.iter().find(|member| member.running.is_some()).unwrap().id;
        let response = self.connect(id).call(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        let topic = Topic { name: name_.to_owned(), id: response.topics[0].topic_id };
        eventually("every broker knows the topic", || {
            self.running().all(|broker| broker.control.image().topics().by_name(name_).is_some())
        });
        topic
    }

    /// Waits for a leader among the running brokers that itself knows that it leads.
    pub(crate) fn wait_for_leader(&self, topic: &Topic, partition: i32) -> i32 {
        let mut found = -1;
        eventually("somebody leads", || {
            found = self.leader(topic, partition);
            self.is_running(found) && self.replica(found, topic, partition).leader_epoch_if_leader().is_some()
        });
        found
    }

    pub(crate) fn wait_for_isr(&self, topic: &Topic, partition: i32, isr: &[i32]) {
        let found = std::cell::RefCell::new(String::new());
        let is_so = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&format!("the ISR is {isr:?}"), || {
                let state = self.state(topic, partition);
                let bounds = [1, 2, 3]
                    .map(|id| self.is_running(id).then(|| self.replica(id, topic, partition).log_bounds()));
                *found.borrow_mut() = format!("{state:?} {bounds:?}");
                self.isr(topic, partition) == isr
            });
        }));
        if let Err(panic) = is_so {
            eprintln!("{}", found.borrow());
            std::panic::resume_unwind(panic);
        }
    }
}

fn id_of(topic: &Topic) -> TopicId {
    TopicId::from_bytes(*topic.id.as_bytes())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.disk.release_syncs();
            if let Some(Running { data, broker }) = member.running.take() {
                data.shutdown_timeout(Duration::from_secs(5));
                drop(broker);
            }
        }
        self.control.block_on(self.controller.shutdown());
    }
}
