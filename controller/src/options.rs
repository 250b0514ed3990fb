//! What a controller is started with. Plain values: parsing configuration is the command line's work.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::MetadataRecord;
use moldau_model::{BrokerId, Uuid};
use moldau_security::link::{Dialer, Gate};

/// One member of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumVoter {
    /// Its `node.id`.
    pub node_id: BrokerId,
    /// Its CONTROLLER listener's host.
    pub host: String,
    /// Its CONTROLLER listener's port.
    pub port: u16,
}

impl QuorumVoter {
    /// `host:port`, as nodes dial it.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Raft's timers and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftOptions {
    /// How often a leader tells its followers that it is there.
    pub heartbeat_interval: Duration,
    /// The shortest time without a leader before a follower asks for votes.
    pub election_timeout_min: Duration,
    /// The longest one, which also is the leader's lease.
    pub election_timeout_max: Duration,
    /// How long a follower may take to install a snapshot.
    pub install_snapshot_timeout: Duration,
    /// A snapshot is taken, and the log before it purged, each time this many entries were committed.
    pub snapshot_interval_entries: u64,
    /// How many entries before a snapshot stay in the log, for followers that lag a little.
    pub entries_kept_after_snapshot: u64,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(700),
            install_snapshot_timeout: Duration::from_secs(30),
            snapshot_interval_entries: 8192,
            entries_kept_after_snapshot: 1024,
        }
    }
}

/// TLS and SASL of a controller. Certificates may change while it runs.
#[derive(Clone)]
pub struct ControllerSecurity {
    /// What connections are asked first; `None` for nothing.
    pub gate: Option<Arc<Gate>>,
    pub dialer: Arc<Dialer>,
    /// `max.unauthenticated.connections.per.ip`: of nodes that show nothing but the cluster's id, as many may come from one
    /// address.
    pub unauthenticated_per_address_max: usize,
}

impl Default for ControllerSecurity {
    fn default() -> Self {
        Self { gate: None, dialer: Arc::new(Dialer::plain()), unauthenticated_per_address_max: 500 }
    }
}

impl fmt::Debug for ControllerSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerSecurity").field("is_gated", &self.gate.is_some()).finish_non_exhaustive()
    }
}

/// What [`Controller::start`](crate::Controller::start) needs to know.
#[derive(Clone)]
pub struct ControllerOptions {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `cluster.id`, as its text.
    pub cluster_id: String,
    /// `metadata.log.dir`, or else the first of `log.dirs`. It exists; the controller keeps all it has in
    /// `__cluster_metadata` below it.
    pub metadata_log_dir: PathBuf,
    /// The `directory.id` of that directory.
    pub directory_id: Uuid,
    /// What the first batch of the cluster has besides, should this node found it.
    pub initial_records: Vec<MetadataRecord>,
    /// `controller.quorum.voters`. Empty means this node alone, unless there are `bootstrap_servers`: then it is taken in
    /// by those who are there.
    pub voters: Vec<QuorumVoter>,
    /// `controller.quorum.bootstrap.servers`, each as `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// `controller.quorum.auto.join.enable`: whether a node that was taken in asks for a vote.
    pub auto_join: bool,
    /// `host:port` by which others reach this controller; empty where nobody has to.
    pub advertised_address: String,
    /// The first of `controller.listener.names`: what the voters' addresses are called.
    pub listener_name: String,
    /// `cluster.secret`: what nodes must know to talk to this one.
    pub secret: Option<String>,
    /// What protects the CONTROLLER listeners, and how other controllers are dialled.
    pub security: ControllerSecurity,
    /// Raft's timers and bounds.
    pub raft: RaftOptions,
    /// `broker.session.timeout.ms`: a broker that is silent for so long is fenced.
    pub broker_session_timeout: Duration,
    /// The process's settings by Kafka's names, texts as they were given: what decisions about topics fall back to
    /// (`num.partitions`, `default.replication.factor`, `min.insync.replicas`, `delete.topic.enable`, ...).
    pub settings: BTreeMap<String, String>,
    /// How many requests may wait for the event loop; one more waits outside.
    pub request_queue_length: usize,
}

/// The settings and the secret may be passwords, and are left out.
impl fmt::Debug for ControllerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerOptions")
            .field("node_id", &self.node_id)
            .field("cluster_id", &self.cluster_id)
            .field("metadata_log_dir", &self.metadata_log_dir)
            .field("voters", &self.voters)
            .finish_non_exhaustive()
    }
}

impl ControllerOptions {
    /// Kafka's defaults, for one node that is the whole quorum.
    #[must_use]
    pub fn new(node_id: BrokerId, cluster_id: String, metadata_log_dir: PathBuf, directory_id: Uuid) -> Self {
        Self {
            node_id,
            cluster_id,
            metadata_log_dir,
            directory_id,
            initial_records: Vec::new(),
            voters: Vec::new(),
            bootstrap_servers: Vec::new(),
            auto_join: false,
            advertised_address: String::new(),
            listener_name: "CONTROLLER".to_owned(),
            secret: None,
            security: ControllerSecurity::default(),
            raft: RaftOptions::default(),
            broker_session_timeout: Duration::from_secs(9),
            settings: BTreeMap::new(),
            request_queue_length: 1024,
        }
    }

    /// The listener that brokers use among themselves, as this node's settings name it: a controller without a broker may
    /// not be told, and goes by the protocol.
    pub(crate) fn inter_broker_listener(&self) -> String {
        let named = ["inter.broker.listener.name", "security.inter.broker.protocol"]
            .into_iter()
            .find_map(|key| self.settings.get(key));
        named.map_or_else(|| "PLAINTEXT".to_owned(), |name| name.trim().to_ascii_uppercase())
    }
}
