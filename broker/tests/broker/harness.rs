//! One node: a real controller, a real broker on a loopback port, and a client that speaks frames.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::{Request, StrBytes};
use moldau_broker::{Broker, BrokerHandle, BrokerOptions};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions};
use moldau_log::{FileSystem, RealFileSystem};
use moldau_metadata::config::BrokerConfig;
use moldau_model::{BrokerId, Uuid};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A test that waits for longer has failed. Never reached where all is well.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const CLUSTER: &str = "a-cluster";

/// Settings over those that every node of these tests has.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct Node {
    /// The controller's, and the logs' where they are on the disk; removed with the node.
    _directory: TempDir,
    file_system: Arc<dyn FileSystem>,
    settings: BTreeMap<String, String>,
    control: Runtime,
    controller: ControllerHandle,
    running: Option<Running>,
}

struct Running {
    data: Runtime,
    broker: BrokerHandle,
}

pub(crate) fn runtime(workers: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

impl Node {
    pub(crate) fn start(settings: Settings<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("logs").display().to_string();
        Self::start_in(directory, Arc::new(RealFileSystem), &logs, settings)
    }

    /// With the partitions' logs on a file system of the test's. The controller's stay on the disk.
    pub(crate) fn start_on(file_system: Arc<dyn FileSystem>, log_dirs: &str, settings: Settings<'_>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), file_system, log_dirs, settings)
    }

    fn start_in(
        directory: TempDir,
        file_system: Arc<dyn FileSystem>,
        log_dirs: &str,
        settings: Settings<'_>,
    ) -> Self {
        let metadata = directory.path().join("metadata");
        std::fs::create_dir_all(&metadata).unwrap();
        let metadata_text = metadata.display().to_string();
        let all = [
            ("node.id", "1"),
            ("listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:9"),
            ("controller.listener.names", "CONTROLLER"),
            ("controller.quorum.voters", "1@127.0.0.1:9"),
            ("log.dirs", log_dirs),
            ("metadata.log.dir", metadata_text.as_str()),
            ("http.listener", "off"),
            ("broker.heartbeat.interval.ms", "100"),
            ("offsets.topic.num.partitions", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        let all = all.iter().chain(settings);
        let settings: BTreeMap<_, _> = all.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let control = runtime(1);
        let mut options =
            ControllerOptions::new(BrokerId(1), CLUSTER.to_owned(), metadata, Uuid::from_bytes([5; 16]));
        options.settings = settings.clone();
        // The next incarnation is kept out for as long as the session of a crashed one lasts.
        options.broker_session_timeout = Duration::from_secs(3);
        let controller = control.block_on(Controller::start(options, control.handle())).unwrap();
        let mut node =
            Self { _directory: directory, file_system, settings, control, controller, running: None };
        node.start_broker();
        node
    }

    fn start_broker(&mut self) {
        let options = BrokerOptions {
            config: BrokerConfig::from_settings(self.settings.clone()).unwrap(),
            cluster_id: CLUSTER.to_owned(),
            incarnation_id: random_uuid(),
            failed_log_dirs: Vec::new(),
        };
        let data = runtime(2);
        let channel = Arc::new(self.controller.clone());
        let broker = data.block_on(async {
            let broker =
                BrokerHandle::start_on(Arc::clone(&self.file_system), options, channel).await.unwrap();
            tokio::time::timeout(LIMIT, broker.wait_ready()).await.unwrap().unwrap();
            broker
        });
        // Leaderships come right behind the unfencing; clients would ask again meanwhile.
        eventually("the broker leads its partitions", || {
            let image = broker.broker().control.image();
            image.topics().partitions_of(BrokerId(1)).all(|(_, _, state)| state.has_leader())
        });
        self.running = Some(Running { data, broker });
    }

    /// A clean stop and a start.
    pub(crate) fn restart(&mut self) {
        let Running { data, broker } = self.running.take().unwrap();
        data.block_on(broker.stop()).unwrap();
        drop(data);
        self.start_broker();
    }

    /// The broker's tasks vanish, whatever they were at, and another one starts where it was.
    pub(crate) fn crash_and_start(&mut self) {
        self.power_cut(|| {});
    }

    /// The same, with something that happens to the disk in between.
    pub(crate) fn power_cut(&mut self, cut: impl FnOnce()) {
        let Running { data, broker } = self.running.take().unwrap();
        // The file system must see the cut before any thread of the dying broker gets to sync what it has left.
        cut();
        data.shutdown_timeout(LIMIT);
        drop(broker);
        self.start_broker();
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        self.handle().broker()
    }

    pub(crate) fn handle(&self) -> &BrokerHandle {
        &self.running.as_ref().unwrap().broker
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.running
            .as_ref()
            .unwrap()
            .data
            .block_on(async { tokio::time::timeout(LIMIT, future).await.expect("it happens in time") })
    }

    /// On one of the broker's own threads, so that what it starts runs there too.
    pub(crate) fn in_runtime<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let data = &self.running.as_ref().unwrap().data;
        data.block_on(data.spawn(future)).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle().addresses()[0].address
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(Running { data, broker }) = self.running.take() {
            data.shutdown_timeout(Duration::from_secs(5));
            drop(broker);
        }
        self.control.block_on(self.controller.shutdown());
    }
}

pub(crate) fn random_uuid() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    Uuid::from_random_bytes(bytes)
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, correlation_id: 0 }
    }

    /// The frame of the next request.
    pub(crate) fn frame<T: Request>(&mut self, version: i16, request: &T) -> Vec<u8> {
        self.correlation_id += 1;
        let client_id = StrBytes::from_static_str("test");
        let frame =
            moldau_kafka::encode_request(version, self.correlation_id, Some(&client_id), request).unwrap();
        frame.to_vec()
    }

    pub(crate) fn send<T: Request>(&mut self, version: i16, request: &T) -> i32 {
        let frame = self.frame(version, request);
        self.stream.write_all(&frame).unwrap();
        self.correlation_id
    }

    /// The next frame without its size; `None` once the broker has closed the connection.
    pub(crate) fn receive_frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        if !read_or_closed(&mut self.stream, &mut size) {
            return None;
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a response has a size");
        let mut frame = vec![0; size];
        read_or_closed(&mut self.stream, &mut frame).then(|| frame.into())
    }

    pub(crate) fn receive<T: Request>(&mut self, version: i16) -> (i32, T::Response) {
        let mut frame = self.receive_frame().expect("an answer, and not the connection's end");
        moldau_kafka::decode_response::<T>(version, &mut frame).unwrap()
    }

    pub(crate) fn call<T: Request>(&mut self, version: i16, request: &T) -> T::Response {
        let sent = self.send(version, request);
        let (correlation_id, response) = self.receive::<T>(version);
        assert_eq!(correlation_id, sent);
        response
    }

    /// Whether the broker has ended the connection, without another answer.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive_frame().is_none()
    }
}

/// `false` if the peer closed the connection, in whichever way.
fn read_or_closed(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read_exact(buffer) {
        Ok(()) => true,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
        {
            false
        }
        Err(error) => panic!("neither an answer nor an end: {error}"),
    }
}

/// Tries until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
