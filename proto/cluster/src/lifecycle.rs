//! A broker's life as the controller sees it: registration and heartbeats (KIP-631).

use moldau_model::{BrokerEpoch, BrokerId, Offset, PartitionIndex, TopicId, Uuid};

/// Where clients or peers reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerListener {
    /// The listener's name, for example `PLAINTEXT`.
    pub name: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 PLAINTEXT, 1 SSL, 2 `SASL_PLAINTEXT`, 3 `SASL_SSL`.
    pub security_protocol: i16,
}

/// The levels of one feature that a broker can work with (KIP-584), both ends inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    /// The feature's name, for example `metadata.version`.
    pub name: String,
    /// The lowest level supported.
    pub min: i16,
    /// The highest level supported.
    pub max: i16,
}

/// The feature that says whether controllers can be added and removed, and its level: here they always can. As in Kafka it is no
/// part of the metadata, but of the quorum.
pub const KRAFT_VERSION: (&str, i16) = ("kraft.version", 1);

/// The feature whose level says which kinds of records the metadata log may hold, and the level that this version writes at most.
/// It is ours: Kafka's `metadata.version` says what Kafka's records are, and versions of this program with other kinds support the
/// same levels of that one.
pub const RECORDS_VERSION: (&str, i16) = ("moldau.records.version", 2);

/// The features that this version knows, each with the levels it can work with; a new cluster starts with the highest.
pub const SUPPORTED_FEATURES: &[(&str, i16, i16)] = &[
    ("eligible.leader.replicas.version", 0, 1),
    ("group.version", 0, 1),
    (KRAFT_VERSION.0, 0, KRAFT_VERSION.1),
    ("metadata.version", 7, 30),
    (RECORDS_VERSION.0, 0, RECORDS_VERSION.1),
    ("share.version", 0, 1),
    ("streams.version", 0, 1),
    ("transaction.version", 0, 2),
];

impl FeatureRange {
    /// [`SUPPORTED_FEATURES`] as a registration carries them.
    #[must_use]
    pub fn supported() -> Vec<Self> {
        let range = |&(name, min, max): &(&str, i16, i16)| Self { name: name.to_owned(), min, max };
        SUPPORTED_FEATURES.iter().map(range).collect()
    }
}

/// A new incarnation of a broker enters the cluster. It starts fenced and leads nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The broker's `node.id`.
    pub broker_id: BrokerId,
    /// The cluster the broker's log directories belong to. Another one than the controller's is refused with
    /// `INCONSISTENT_CLUSTER_ID`.
    pub cluster_id: String,
    /// Random, new at each start of the process. The same incarnation may register again: it is a repetition.
    pub incarnation_id: Uuid,
    /// The listeners to advertise.
    pub listeners: Vec<BrokerListener>,
    /// The features this broker supports.
    pub features: Vec<FeatureRange>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The ids of the log directories that are online.
    pub log_dirs: Vec<Uuid>,
    /// The broker epoch of the last incarnation if that one shut down cleanly, else `BrokerEpoch(-1)` (KIP-966).
    /// An unclean incarnation leaves ISR and ELR.
    pub previous_broker_epoch: BrokerEpoch,
    /// For how long this incarnation has been refused with `DUPLICATE_BROKER_REGISTRATION`; zero at first.
    pub waited_ms: i64,
}

/// The answer to [`RegisterBroker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisteredBroker {
    /// What the broker signs its requests with from now on; it is the metadata offset of the registration.
    pub broker_epoch: BrokerEpoch,
}

/// "I am alive, and this is how far I am."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The broker's `node.id`.
    pub broker_id: BrokerId,
    /// From [`RegisteredBroker`]. An older one is refused with `STALE_BROKER_EPOCH`.
    pub broker_epoch: BrokerEpoch,
    /// The last metadata offset the broker applied. A broker is unfenced once it applied its own registration.
    pub metadata_offset: Offset,
    /// Whether the broker asks to be, or to stay, fenced.
    pub want_fence: bool,
    /// Whether the broker asks for a controlled shutdown.
    pub want_shutdown: bool,
    /// The ids of log directories that failed since registration.
    pub offline_log_dirs: Vec<Uuid>,
    /// The ids of log directories that have no room left at the moment.
    pub full_log_dirs: Vec<Uuid>,
    /// The ids of log directories that are to get no new replicas (`cordoned.log.dirs`).
    pub cordoned_log_dirs: Vec<Uuid>,
    /// Where replicas are that the metadata has elsewhere, or nowhere.
    pub replica_directories: Vec<ReplicaDirectory>,
}

/// A replica of the sender, and the log directory that it is in: what Kafka's brokers say in AssignReplicasToDirs
/// (KIP-858).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaDirectory {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub directory: Uuid,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether the broker has applied all that its unfencing asks for.
    pub is_caught_up: bool,
    /// Whether the broker is fenced now.
    pub is_fenced: bool,
    /// Whether the broker's leaderships have moved, so that it may stop.
    pub should_shut_down: bool,
    /// Where the metadata stood at the least when this was answered: what happened to the broker while it was not heard of is up to
    /// there. `Offset::NONE` of a controller that does not say.
    pub metadata_offset: Offset,
}
