//! Several controllers in one process, each on a runtime of its own, so that one can end as suddenly as a process does.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_cluster::rpc::Credentials;
use moldau_cluster::{
    ControllerAddress, ControllerChannel, ControllerError, MetadataEvent, RemoteControllerChannel,
    WatchMetadata,
};
use moldau_controller::{Controller, ControllerHandle, ControllerOptions, QuorumVoter, StartError};
use moldau_metadata::{MetadataImage, decode_batch};
use moldau_model::{BrokerId, Uuid};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub(crate) const CLUSTER: &str = "a-cluster";
/// How long anything may take here; it takes a moment, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) handle: ControllerHandle,
    runtime: Runtime,
}

pub(crate) struct Quorum {
    directories: Vec<TempDir>,
    /// Taken by the first start of each node, so that nobody else gets the port.
    sockets: Vec<Option<TcpListener>>,
    voters: Vec<QuorumVoter>,
    /// By place, which is the id less one.
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) adjust: fn(&mut ControllerOptions),
}

impl Quorum {
    /// Ports and directories for so many nodes, none of which runs yet.
    pub(crate) fn new(size: i32) -> Self {
        let sockets: Vec<TcpListener> =
            (0..size).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let voter = |(id, socket): (i32, &TcpListener)| QuorumVoter {
            node_id: BrokerId(id),
            host: "127.0.0.1".to_owned(),
            port: socket.local_addr().unwrap().port(),
        };
        Self {
            directories: (0..size).map(|_| tempfile::tempdir().unwrap()).collect(),
            voters: (1..).zip(&sockets).map(voter).collect(),
            sockets: sockets.into_iter().map(Some).collect(),
            nodes: (0..size).map(|_| None).collect(),
            adjust: |_| {},
        }
    }

    /// All of them, running.
    pub(crate) async fn started(size: i32) -> Self {
        let mut quorum = Self::new(size);
        for id in 1..=size {
            quorum.start(id).await;
        }
        quorum
    }

    pub(crate) fn directory(&self, id: i32) -> &std::path::Path {
        self.directories[id as usize - 1].path()
    }

    pub(crate) fn options(&self, id: i32) -> ControllerOptions {
        // A directory's id lives as long as the directory.
        let name = self.directory(id).file_name().unwrap().to_string_lossy().into_owned();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(name.bytes().rev()).for_each(|(to, from)| *to = from);
        let mut options = ControllerOptions::new(
            BrokerId(id),
            CLUSTER.to_owned(),
            self.directory(id).to_owned(),
            Uuid::from_random_bytes(bytes),
        );
        options.voters.clone_from(&self.voters);
        options.secret = Some("hush".to_owned());
        options.raft.election_timeout_min = Duration::from_millis(300);
        options.raft.election_timeout_max = Duration::from_millis(500);
        (self.adjust)(&mut options);
        options
    }

    /// Starts a node, once its last incarnation has let go of its files.
    pub(crate) async fn start(&mut self, id: i32) {
        let place = id as usize - 1;
        assert!(self.nodes[place].is_none(), "node {id} runs");
        let options = self.options(id);
        let end = Instant::now() + PATIENCE;
        let address = self.voters[place].address();
        let mut socket = self.sockets[place].take();
        loop {
            let listener = match socket.take() {
                Some(listener) => listener,
                None => bind(&address, end).await,
            };
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let started = Controller::start_on(options.clone(), vec![listener], runtime.handle()).await;
            match started {
                Ok(handle) => {
                    self.nodes[place] = Some(Node { handle, runtime });
                    return;
                }
                Err(error) if is_locked(&error) && Instant::now() < end => {
                    runtime.shutdown_background();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("node {id}: {error}"),
            }
        }
    }

    /// Ends a node without a word to anybody.
    pub(crate) fn kill(&mut self, id: i32) {
        let node = self.nodes[id as usize - 1].take().expect("the node runs");
        node.runtime.shutdown_background();
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&mut self, id: i32) {
        let node = self.nodes[id as usize - 1].take().expect("the node runs");
        node.handle.shutdown().await;
        node.runtime.shutdown_background();
    }

    /// Takes a node's disk away and gives it another.
    pub(crate) fn replace_disk(&mut self, id: i32) {
        assert!(self.nodes[id as usize - 1].is_none(), "node {id} runs");
        self.directories[id as usize - 1] = tempfile::tempdir().unwrap();
    }

    pub(crate) fn handle(&self, id: i32) -> &ControllerHandle {
        &self.nodes[id as usize - 1].as_ref().expect("the node runs").handle
    }

    pub(crate) fn addresses(&self) -> Vec<ControllerAddress> {
        let address = |voter: &QuorumVoter| ControllerAddress {
            node_id: Some(voter.node_id),
            address: voter.address(),
        };
        self.voters.iter().map(address).collect()
    }

    /// A broker's way to the quorum.
    pub(crate) fn channel(&self) -> Arc<RemoteControllerChannel> {
        self.channel_as(Some(CLUSTER), Some("hush"))
    }

    pub(crate) fn channel_as(
        &self,
        cluster_id: Option<&str>,
        secret: Option<&str>,
    ) -> Arc<RemoteControllerChannel> {
        let credentials = credentials(cluster_id, secret);
        Arc::new(RemoteControllerChannel::new(credentials, &self.addresses(), None).unwrap())
    }

    /// The active controller's id, once there is one.
    pub(crate) async fn active(&self) -> i32 {
        eventually("a controller is active", || async {
            let active = |node: &&Node| node.handle.is_active();
            let mut active =
                (1..).zip(&self.nodes).filter(|(_, node)| node.as_ref().filter(active).is_some());
            active.next().map(|(id, _)| id)
        })
        .await
    }
}

pub(crate) fn credentials(cluster_id: Option<&str>, secret: Option<&str>) -> Credentials {
    Credentials {
        node_id: BrokerId(100),
        cluster_id: cluster_id.map(str::to_owned),
        directory_id: Uuid::ZERO,
        secret: secret.map(str::to_owned),
        dialer: std::sync::Arc::new(moldau_security::link::Dialer::plain()),
    }
}

async fn bind(address: &str, end: Instant) -> TcpListener {
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) if Instant::now() > end => panic!("{address}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Whether the last incarnation of a node, whose threads end by themselves, still has its files. A process that ends lets
/// go of both locks at once.
fn is_locked(error: &StartError) -> bool {
    matches!(error, StartError::Locked { .. }) || error.to_string().contains("could not acquire lock")
}

impl Drop for Quorum {
    fn drop(&mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.runtime.shutdown_background();
        }
    }
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<R, F: Future<Output = Option<R>>>(what: &str, ask: impl Fn() -> F) -> R {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "it did not come about that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Applies what a controller tells of the metadata, until `done` holds.
pub(crate) async fn watch_until(
    channel: &dyn ControllerChannel,
    done: impl Fn(&MetadataImage) -> bool,
) -> MetadataImage {
    let end = Instant::now() + PATIENCE;
    let (mut image, mut after) = (MetadataImage::empty(), None);
    loop {
        assert!(Instant::now() < end, "the metadata did not come to that: {image:?}");
        let request = WatchMetadata { cluster_id: CLUSTER.to_owned(), after };
        let mut events = match channel.watch_metadata(request).await {
            Ok(events) => events,
            Err(ControllerError::Kafka(code)) => panic!("{code}"),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        while let Ok(Some(event)) = tokio::time::timeout_at(end.into(), events.recv()).await {
            let position = event.position();
            image = match event {
                MetadataEvent::Snapshot { records, .. } => {
                    let batch = decode_batch(&records).unwrap();
                    MetadataImage::from_snapshot([&batch], position.offset, position.epoch).unwrap()
                }
                MetadataEvent::Batch { records, .. } => {
                    let batch = decode_batch(&records).unwrap();
                    image.replay_image(&batch, position.offset, position.epoch).unwrap()
                }
            };
            after = Some(position);
            if done(&image) {
                return image;
            }
        }
    }
}
