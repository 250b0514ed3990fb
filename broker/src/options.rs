//! What a broker is started with: every setting that is read once, by its Kafka name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use moldau_model::{BrokerId, Uuid};

/// One named listener: where it listens, and what clients are told to dial.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Kafka's listener name, for example `PLAINTEXT` or `EXTERNAL`.
    pub name: String,
    /// `listeners`: port 0 takes a free one.
    pub bind: SocketAddr,
    /// `advertised.listeners`: host and port; port 0 stands for the bound port.
    pub advertised_host: String,
    pub advertised_port: u16,
}

/// `flush.policy`: when an acks=all record counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlushPolicy {
    /// After fdatasync, group-committed.
    #[default]
    OnAck,
    /// Once written to the page cache, as Kafka does; synced by `flush.messages` and `flush.ms`.
    Interval,
}

/// Everything a broker is started with. Defaults are Kafka's unless the field says otherwise.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `cluster.id`, as the controller or the formatted storage says.
    pub cluster_id: String,
    /// This start of the process; random, never reused.
    pub incarnation_id: Uuid,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `log.dirs`.
    pub log_dirs: Vec<PathBuf>,
    pub listeners: Vec<ListenerOptions>,
    /// `inter.broker.listener.name`; the first listener where it is not set.
    pub inter_broker_listener: Option<String>,
    /// `http.listener`; `None` is `off`. The flag is whether the user chose it: a taken default only warns.
    pub http_listener: Option<(SocketAddr, bool)>,
    /// Every broker-wide setting by its Kafka name, as text: the defaults below topics' own settings, and what
    /// DescribeConfigs shows as STATIC_BROKER_CONFIG.
    pub settings: std::collections::BTreeMap<String, String>,
    pub network: NetworkOptions,
    pub log: LogOptions,
}

/// Limits of the network side.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `queued.max.request.bytes`: request bytes in memory over all connections. Ours: 256 MiB where Kafka has no bound.
    pub request_memory_bytes_max: usize,
    /// Requests of one connection that are read and not yet answered.
    pub in_flight_max: usize,
    /// `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: usize,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            request_bytes_max: 100 * 1024 * 1024,
            request_memory_bytes_max: 256 * 1024 * 1024,
            in_flight_max: 64,
            idle_max: Duration::from_secs(600),
            connections_max: i32::MAX as usize,
            connections_per_ip_max: i32::MAX as usize,
        }
    }
}

/// What concerns the logs as a whole; a single log's settings come from its topic.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub flush_policy: FlushPolicy,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms` and `replica.high.watermark.checkpoint.interval.ms`.
    pub checkpoint_interval: Duration,
    /// `log.cleaner.backoff.ms`.
    pub cleaner_backoff: Duration,
    /// `log.cleaner.enable`.
    pub cleaner_enable: bool,
    /// `file.delete.delay.ms`.
    pub file_delete_delay: Duration,
    /// Partitions synced at the same time, per log directory.
    pub sync_parallelism: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            flush_policy: FlushPolicy::OnAck,
            retention_check_interval: Duration::from_secs(300),
            checkpoint_interval: Duration::from_secs(5),
            cleaner_backoff: Duration::from_secs(15),
            cleaner_enable: true,
            file_delete_delay: Duration::from_secs(60),
            sync_parallelism: 4,
        }
    }
}
