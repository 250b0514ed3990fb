//! A controller and a broker in this process, the broker's tasks in the thread that asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Request, StrBytes};
use moldau_broker::api::Reply;
use moldau_broker::api::dispatch::Dispatcher;
use moldau_broker::request_memory::HeldMemory;
use moldau_broker::response::{Chunk, ResponseFrame};
use moldau_broker::{BrokerHandle, BrokerOptions};
use moldau_cluster::ControllerChannel;
use moldau_controller::{Controller, ControllerHandle, ControllerOptions};
use moldau_metadata::config::BrokerConfig;
use moldau_model::{BrokerId, PartitionIndex, Principal, TopicId, TopicIdPartition, Uuid};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::Result;

const CLUSTER: &str = "instructions";
/// Under a profiler all takes fifty times as long. Never reached where all is well.
const LIMIT: Duration = Duration::from_secs(60);
/// Nobody is taken for dead while the profiler runs.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) struct Node {
    _directory: TempDir,
    control: Runtime,
    controller: ControllerHandle,
    pub(crate) data: Runtime,
    broker: BrokerHandle,
    dispatcher: Dispatcher,
}

impl Node {
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let metadata = directory.path().join("metadata");
        std::fs::create_dir_all(&metadata)?;
        let settings = settings(&directory);
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut options =
            ControllerOptions::new(BrokerId(1), CLUSTER.to_owned(), metadata, Uuid::from_bytes([5; 16]));
        options.settings.clone_from(&settings);
        options.broker_session_timeout = NEVER;
        let controller = control.block_on(Controller::start(options, control.handle()))?;
        let data = Builder::new_current_thread().enable_all().build()?;
        let options = BrokerOptions {
            failed_log_dirs: Vec::new(),
            config: BrokerConfig::from_settings(settings).map_err(|problems| format!("{problems:?}"))?,
            cluster_id: CLUSTER.to_owned(),
            incarnation_id: Uuid::from_bytes([6; 16]),
        };
        let channel: Arc<dyn ControllerChannel> = Arc::new(controller.clone());
        let broker = data.block_on(async {
            let broker = BrokerHandle::start(options, channel).await?;
            let is_ready = tokio::time::timeout(LIMIT, broker.wait_ready()).await?;
            is_ready.map_err(|state| format!("the broker is {state:?}"))?;
            Ok::<_, Box<dyn std::error::Error>>(broker)
        })?;
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let dispatcher =
            Dispatcher::new(Arc::clone(broker.broker()), "PLAINTEXT".into(), client, Principal::anonymous());
        let mut node = Self { _directory: directory, control, controller, data, broker, dispatcher };
        node.until("the broker is active", |node| {
            let image = node.broker.broker().control.image();
            image.broker(BrokerId(1)).is_some_and(|own| own.is_active())
        })?;
        Ok(node)
    }

    /// Runs the broker's tasks until it is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > LIMIT {
                return Err(format!("in vain: {what}").into());
            }
            self.data.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.broker.addresses().first().ok_or("no listener")?.address)
    }

    /// What clients may read of a partition.
    pub(crate) fn high_watermark(&self, topic: uuid::Uuid, partition: i32) -> i64 {
        let topic_id = TopicId::from_bytes(*topic.as_bytes());
        let id = TopicIdPartition { topic_id, partition: PartitionIndex(partition) };
        self.broker.broker().replica_manager.get(id).map_or(-1, |partition| partition.high_watermark().0)
    }

    pub(crate) fn dispatch(&mut self, frame: BytesMut) -> Result<Reply> {
        let _entered = self.data.enter();
        Ok(self.dispatcher.dispatch(frame, HeldMemory::default())?.0)
    }

    pub(crate) fn resolve(&self, mut reply: Reply) -> Result<ResponseFrame> {
        loop {
            match reply {
                Reply::Ready(frame) => return Ok(frame),
                Reply::Pending(answer) => {
                    return Ok(self.data.block_on(async { tokio::time::timeout(LIMIT, answer).await })?);
                }
                Reply::Acknowledged(answer) => {
                    return Ok(self
                        .data
                        .block_on(async { tokio::time::timeout(LIMIT, answer.resolve()).await })?);
                }
                Reply::Deferred(later) => {
                    reply = self.data.block_on(async { tokio::time::timeout(LIMIT, later).await })?;
                }
                Reply::NoResponse { .. } | Reply::Close(_) => return Err("no answer".into()),
            }
        }
    }

    /// Asks, and decodes the answer.
    pub(crate) fn call<T: Request>(&mut self, version: i16, request: &T) -> Result<T::Response> {
        let reply = self.dispatch(frame(version, request)?)?;
        let mut bytes = BytesMut::new();
        for chunk in self.resolve(reply)?.into_chunks() {
            match chunk {
                Chunk::Bytes(chunk) => bytes.extend_from_slice(&chunk),
                Chunk::File(_) => return Err("records of a file are not decoded here".into()),
            }
        }
        let mut bytes: Bytes = bytes.freeze().slice(4..);
        Ok(moldau_kafka::decode_response::<T>(version, &mut bytes)?.1)
    }

    pub(crate) fn stop(self) {
        let Self { data, broker, control, controller, .. } = self;
        data.shutdown_timeout(Duration::from_secs(5));
        drop(broker);
        control.block_on(controller.shutdown());
    }
}

/// A request as it comes in, without its size.
pub(crate) fn frame<T: Request>(version: i16, request: &T) -> Result<BytesMut> {
    let client_id = StrBytes::from_static_str("instructions");
    let mut frame = moldau_kafka::encode_request(version, 1, Some(&client_id), request)?;
    Ok(frame.split_off(4))
}

fn settings(directory: &TempDir) -> BTreeMap<String, String> {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let all = [
        ("node.id", "1".to_owned()),
        ("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:9".to_owned()),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("controller.quorum.voters", "1@127.0.0.1:9".to_owned()),
        ("log.dirs", path("logs")),
        ("metadata.log.dir", path("metadata")),
        ("http.listener", "off".to_owned()),
        ("offsets.topic.num.partitions", "1".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("replica.lag.time.max.ms", "3000000".to_owned()),
        ("broker.heartbeat.interval.ms", "500".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
