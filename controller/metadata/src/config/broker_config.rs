//! What a process is started with, as typed values: the one reading of `server.properties` that the command line, the
//! broker and the controller share.

mod connections;
mod deviations;
mod group;
mod internal_topics;
mod quorum;
mod security;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use moldau_model::BrokerId;
use thiserror::Error;

use super::definitions::{DefaultValue, broker_definition};
use super::effect::{Effect, broker_effect};
use super::effective::BrokerSettings;
use super::listener::{Listener, parse_listeners};
use super::security::{SaslMechanism, SecuritySettings};
use super::suggest::nearest_name;
use super::topic_config::TopicConfig;
use super::value::{as_list, check_cordoned_log_dirs, parse_boolean};
use crate::{AuthorizerSettings, SecurityProtocol};

pub use connections::ConnectionSettings;
pub use deviations::{DEVIATIONS, Deviation};
pub use group::{GroupSettings, ShareSettings, StreamsSettings};
pub use internal_topics::{OffsetsTopicSettings, TransactionSettings};
use quorum::Quorum;
pub use quorum::QuorumVoter;
pub(super) use quorum::{check_bootstrap_servers, check_quorum_voters};

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    /// The setting's name, as the user wrote it.
    pub key: String,
    /// One sentence without a line break.
    pub problem: String,
}

impl ConfigProblem {
    fn new(key: &str, problem: impl std::fmt::Display) -> Self {
        Self { key: key.to_owned(), problem: problem.to_string() }
    }
}

/// `process.roles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRoles {
    pub broker: bool,
    pub controller: bool,
}

/// `flush.policy`: when an acks=all record counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPolicy {
    /// After fdatasync on every in-sync replica.
    OnAck,
    /// Once it is in the page cache, as Kafka does.
    Interval,
}

/// `http.listener`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpListener {
    Off,
    /// `chosen` tells whether the user named the address: then it has to be free, else it only had better be.
    At {
        address: SocketAddr,
        chosen: bool,
    },
}

/// `replica.*`: followers and the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: i64,
    pub fetch_wait_max_ms: i32,
    pub fetch_bytes_min: i32,
    pub fetch_bytes_max: i32,
    pub fetch_response_bytes_max: i32,
    pub fetch_backoff_ms: i32,
    /// `num.replica.fetchers`.
    pub fetcher_count: i32,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval_ms: i64,
    /// `replica.socket.timeout.ms`.
    pub socket_timeout_ms: i32,
    /// `replica.selector.class` is Kafka's rack-aware one: consumers read from replicas of their rack (KIP-392).
    pub reads_from_closest: bool,
}

const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// What a broker or controller is started with. Everything Kafka knows besides is in [`Self::settings`], by name.
#[derive(Clone)]
pub struct BrokerConfig {
    /// Every setting that was given, as it was given, ours and unknown ones included.
    pub settings: BTreeMap<String, String>,

    pub node_id: BrokerId,
    pub roles: ProcessRoles,
    /// `broker.rack`.
    pub rack: Option<String>,

    /// The listeners for clients and brokers; none if this process is a controller alone.
    pub listeners: Vec<Listener>,
    /// What clients are told, one for each of [`Self::listeners`]. An empty host stands for this machine's name.
    pub advertised_listeners: Vec<Listener>,
    /// The listeners of the controller; none if this process is a broker alone.
    pub controller_listeners: Vec<Listener>,
    /// By what other controllers reach this one. An empty host stands for this machine's name.
    pub advertised_controller_listener: Option<Listener>,
    /// `controller.listener.names`.
    pub controller_listener_names: Vec<String>,
    /// The one of [`Self::advertised_listeners`] that brokers use.
    pub inter_broker_listener_name: String,

    /// TLS and SASL, of the listeners and of the links between nodes.
    pub security: SecuritySettings,

    /// `controller.quorum.voters`.
    pub quorum_voters: Vec<QuorumVoter>,
    /// `controller.quorum.bootstrap.servers`, as `(host, port)`.
    pub quorum_bootstrap_servers: Vec<(String, u16)>,
    /// `controller.quorum.auto.join.enable`.
    pub quorum_auto_join: bool,
    /// `controller.quorum.election.timeout.ms`, if it was set.
    pub quorum_election_timeout_ms: Option<i32>,

    /// `log.dirs`, or `log.dir`.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, or the first of `log.dirs`.
    pub metadata_log_dir: PathBuf,

    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `controlled.shutdown.enable`.
    pub controlled_shutdown: bool,

    /// `num.partitions`.
    pub default_partition_count: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// What a topic's settings are where it sets none.
    pub topic_defaults: TopicConfig,

    pub offsets_topic: OffsetsTopicSettings,
    pub group: GroupSettings,
    pub transaction: TransactionSettings,
    pub replication: ReplicationSettings,

    /// `socket.request.max.bytes`.
    pub request_bytes_max: i32,
    /// `queued.max.request.bytes`; -1 for no bound of the user's.
    pub queued_request_bytes_max: i64,
    /// `connections.max.idle.ms`.
    pub connection_idle_ms_max: i64,
    pub connections: ConnectionSettings,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: i32,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: i32,
    /// `max.request.partition.size.limit`: partitions in one DescribeTopicPartitions answer.
    pub request_partitions_max: i32,

    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub flush_offset_checkpoint_interval_ms: i32,
    /// `log.cleaner.enable`.
    pub cleaner_enable: bool,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_dir: i32,

    pub flush_policy: FlushPolicy,
    /// `flush.journal.bytes`: of each log directory's sync journal; 0 for none.
    pub flush_journal_bytes: i64,
    /// `metadata.log.reserve.bytes`: of a volume with metadata, not for records.
    pub metadata_log_reserve_bytes: i64,
    pub http_listener: HttpListener,
    /// `cluster.secret`.
    pub cluster_secret: Option<String>,
    /// `authorizer.class.name` and what belongs to it; `None` if everybody may do everything.
    pub authorizer: Option<AuthorizerSettings>,
}

/// Behind it stand a listener's name, in lower case, and a setting.
const LISTENER_PREFIX: &str = "listener.name.";

/// A setting that was given and has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSetting {
    pub key: String,
    /// What the user may have meant.
    pub nearest: Option<&'static str>,
    /// Kafka had it once, in the days of ZooKeeper: old files may keep it.
    pub is_retired: bool,
}

impl BrokerConfig {
    /// Reads settings by Kafka's names. What is not set takes its default: with no setting at all this is one node of
    /// both roles on the loopback interface.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the settings' names; never an empty list.
    pub fn from_settings(settings: BTreeMap<String, String>) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        for (key, value) in &settings {
            // A listener's own setting takes the values of the general one.
            let base = super::synonyms::broker_synonyms(key).last().copied().unwrap_or(key);
            let name = if key.starts_with(LISTENER_PREFIX) { base } else { key.as_str() };
            if let Some(definition) = broker_definition(name)
                && let Err(error) = definition.validate(value)
            {
                problems.push(ConfigProblem::new(key, error));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let reader = Reader { settings: BrokerSettings::of_statics(&settings) };
        let identity = reader.identity(&mut problems);
        let listening = reader.listening(identity.roles, &mut problems);
        let quorum = reader.quorum(&identity, &listening, &mut problems);
        let (log_dirs, metadata_log_dir) = reader.directories(&mut problems);
        let http_listener = reader.http_listener(&mut problems);
        reader.connections(&mut problems);
        let security = reader.security(&listening, &mut problems);
        reader.cross_checks(&mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut config =
            reader.assemble(identity, listening, quorum, log_dirs, metadata_log_dir, http_listener);
        config.security = security;
        config.authorizer = AuthorizerSettings::from_settings(&settings)
            .map_err(|(key, problem)| vec![ConfigProblem::new(key, problem)])?;
        let mut settings = settings;
        // As Kafka shows it: the old name and the new one say the same.
        for name in ["broker.id", "node.id"] {
            settings.insert(name.to_owned(), config.node_id.to_string());
        }
        Ok(Self { settings, ..config })
    }

    /// `log.dirs` or `log.dir` as the user wrote it, where [`Self::log_dirs`] may have been made absolute.
    #[must_use]
    pub fn log_dirs_as_named(&self) -> Vec<&str> {
        named_directories(&BrokerSettings::of_statics(&self.settings)).1
    }

    /// The settings that were given and that nobody reads, by name.
    #[must_use]
    pub fn unknown_settings(&self) -> Vec<UnknownSetting> {
        let is_known = |key: &str| {
            let base = super::synonyms::broker_synonyms(key).last().copied().unwrap_or(key).to_owned();
            broker_definition(&base).is_some()
                && key.strip_prefix(LISTENER_PREFIX).is_none_or(|own| self.is_of_a_listener(own, &base))
        };
        self.settings
            .keys()
            .filter(|key| !is_known(key))
            .map(|key| UnknownSetting {
                key: key.clone(),
                nearest: nearest_name(key),
                is_retired: deviations::is_retired(key),
            })
            .collect()
    }

    /// Whether `NAME.base` or `NAME.MECHANISM.base` is for a listener that there is: a name that is spelled otherwise would
    /// leave its listener as open as the general settings have it.
    fn is_of_a_listener(&self, own: &str, base: &str) -> bool {
        let here = self.listeners.iter().chain(&self.controller_listeners).map(|listener| &listener.name);
        let mut names = here.chain(&self.controller_listener_names).map(|name| name.to_ascii_lowercase());
        let Some((name, rest)) = own.split_once('.') else { return false };
        let mechanism = rest.strip_suffix(base).unwrap_or(rest).trim_end_matches('.');
        let mut mechanisms = SaslMechanism::ALL.into_iter().map(|known| known.name().to_ascii_lowercase());
        names.any(|known| known == name) && (mechanism.is_empty() || mechanisms.any(|it| it == mechanism))
    }

    /// The settings that were given, differ from their defaults, and that nothing reads; by name.
    #[must_use]
    pub fn settings_without_effect(&self) -> Vec<&str> {
        let is_default = |name: &str, value: &str| {
            broker_definition(name).is_none_or(|d| d.default.text().is_some_and(|text| text == value.trim()))
        };
        let is_idle = |name: &str| matches!(broker_effect(name), Effect::WithoutEffect(_));
        self.settings
            .iter()
            .filter(|(name, value)| is_idle(name) && !is_default(name, value))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The settings as a layer below topics and groups.
    #[must_use]
    pub fn as_broker_settings(&self) -> BrokerSettings<'_> {
        BrokerSettings::of_statics(&self.settings)
    }
}

struct Identity {
    node_id: BrokerId,
    roles: ProcessRoles,
}

struct Listening {
    listeners: Vec<Listener>,
    advertised: Vec<Listener>,
    controller: Vec<Listener>,
    advertised_controller: Option<Listener>,
    controller_names: Vec<String>,
    /// How the first of them is protected; a broker alone dials it as well.
    controller_protocol: SecurityProtocol,
    inter_broker: String,
}

/// The setting that names the log directories, and what it says.
fn named_directories<'a>(settings: &BrokerSettings<'a>) -> (&'static str, Vec<&'a str>) {
    let is_set = |key: &str| settings.set_value(key).is_some();
    let key = if is_set("log.dirs") || !is_set("log.dir") { "log.dirs" } else { "log.dir" };
    (key, settings.value(key).map(as_list).unwrap_or_default())
}

/// Reads settings that were validated one by one already: what is looked at here is how they fit together.
struct Reader<'a> {
    settings: BrokerSettings<'a>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> &str {
        self.settings.value(name).unwrap_or_default().trim()
    }

    fn is_set(&self, name: &str) -> bool {
        self.settings.set_value(name).is_some()
    }

    fn long(&self, name: &str) -> i64 {
        debug_assert!(
            broker_definition(name).is_some_and(|d| d.default != DefaultValue::Null),
            "{name} has a default"
        );
        self.text(name).parse().unwrap_or_default()
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or(i32::MAX)
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.long(name)).unwrap_or(i16::MAX)
    }

    fn boolean(&self, name: &str) -> bool {
        parse_boolean(self.text(name)).unwrap_or_default()
    }

    fn identity(&self, problems: &mut Vec<ConfigProblem>) -> Identity {
        // `broker.id` is the name of old files; -1 there means "not set".
        let old = self.settings.set_value("broker.id").and_then(|text| text.trim().parse::<i32>().ok());
        let old = old.filter(|id| *id != -1);
        let new = self.settings.set_value("node.id").and_then(|text| text.trim().parse::<i32>().ok());
        let node_id = match (new, old) {
            (Some(new), Some(old)) if new != old => {
                let problem = "You must set `node.id` to the same value as `broker.id`.";
                problems.push(ConfigProblem::new("broker.id", problem));
                new
            }
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => self.int("node.id"),
        };
        if node_id < 0 {
            problems.push(ConfigProblem::new("broker.id", "Value must be at least 0"));
        }
        let roles = as_list(self.text("process.roles"));
        let roles =
            ProcessRoles { broker: roles.contains(&"broker"), controller: roles.contains(&"controller") };
        Identity { node_id: BrokerId(node_id), roles }
    }

    fn protocols(
        &self,
        controller_names: &[String],
        problems: &mut Vec<ConfigProblem>,
    ) -> BTreeMap<String, SecurityProtocol> {
        let key = "listener.security.protocol.map";
        let mut protocols = BTreeMap::new();
        for element in as_list(self.text(key)) {
            let Some((name, protocol)) = element.split_once(':') else {
                let problem = format!("{element} is not LISTENER:PROTOCOL");
                problems.push(ConfigProblem::new(key, problem));
                continue;
            };
            match SecurityProtocol::from_name(&protocol.trim().to_ascii_uppercase()) {
                Some(protocol) => {
                    protocols.insert(name.trim().to_ascii_uppercase(), protocol);
                }
                None => problems.push(ConfigProblem::new(
                    key,
                    format!("Invalid security protocol `{protocol}` defined in {key}"),
                )),
            }
        }
        // As in Kafka, a controller's listener needs no entry while the user leaves the map alone. Nor does the one that
        // stands here by default beside a map that was written for a broker with ZooKeeper.
        if !self.is_set(key) || !self.is_set("controller.listener.names") {
            for name in controller_names {
                protocols.entry(name.clone()).or_insert(SecurityProtocol::Plaintext);
            }
        }
        protocols
    }

    fn listening(&self, roles: ProcessRoles, problems: &mut Vec<ConfigProblem>) -> Listening {
        let controller_names: Vec<String> =
            as_list(self.text("controller.listener.names")).iter().map(|n| n.to_ascii_uppercase()).collect();
        let protocols = self.protocols(&controller_names, problems);
        let mut parse = |key: &str, text: &str, ports_must_differ: bool| {
            parse_listeners(text, &protocols, ports_must_differ).unwrap_or_else(|error| {
                problems.push(ConfigProblem::new(key, error));
                Vec::new()
            })
        };
        let text = self.listeners_text(roles, &controller_names);
        let all = parse("listeners", &text, true);
        let is_controllers = |listener: &Listener| controller_names.contains(&listener.name);
        let (controller, listeners): (Vec<_>, Vec<_>) = all.into_iter().partition(is_controllers);
        let (advertised_controllers, advertised) = match self.settings.set_value("advertised.listeners") {
            Some(text) => parse("advertised.listeners", text, false).into_iter().partition(is_controllers),
            None => (Vec::new(), listeners.clone()),
        };
        let is_first = |listener: &&Listener| controller_names.first() == Some(&listener.name);
        let advertised_controller =
            advertised_controllers.iter().find(is_first).or(controller.iter().find(is_first)).cloned();
        self.check_listening(roles, &listeners, &advertised, &controller, problems);
        let advertised = in_order_of(&listeners, advertised);
        let inter_broker = self.inter_broker_listener(&listeners, problems);
        let controller_protocol = controller_names.first().map_or(SecurityProtocol::Plaintext, |name| {
            protocols.get(name).copied().or_else(|| SecurityProtocol::from_name(name)).unwrap_or_default()
        });
        Listening {
            listeners,
            advertised,
            controller,
            advertised_controller,
            controller_names,
            controller_protocol,
            inter_broker,
        }
    }

    /// `listeners`, with a default for each role. Kafka's files of one role name only the listeners of that role, and a
    /// file that names the broker's alone still means the default for the controller's.
    fn listeners_text(&self, roles: ProcessRoles, controller_names: &[String]) -> String {
        if let Some(text) = self.settings.set_value("listeners") {
            let names_controller = controller_names.iter().any(|name| {
                as_list(text).iter().any(|l| l.to_ascii_uppercase().starts_with(&format!("{name}://")))
            });
            let needs_controller =
                roles.controller && !names_controller && !self.is_set("controller.quorum.voters");
            return if needs_controller && !self.is_set("process.roles") {
                format!("{text},{}", deviations::CONTROLLER_LISTENER)
            } else {
                text.to_owned()
            };
        }
        let broker = roles.broker.then_some(deviations::BROKER_LISTENER);
        let controller = roles.controller.then_some(deviations::CONTROLLER_LISTENER);
        [broker, controller].into_iter().flatten().collect::<Vec<_>>().join(",")
    }

    fn check_listening(
        &self,
        roles: ProcessRoles,
        listeners: &[Listener],
        advertised: &[Listener],
        controller: &[Listener],
        problems: &mut Vec<ConfigProblem>,
    ) {
        if !problems.is_empty() {
            return;
        }
        let mut refuse = |key: &str, problem: String| problems.push(ConfigProblem::new(key, problem));
        if roles.controller && controller.is_empty() {
            refuse(
                "controller.listener.names",
                "controller.listener.names must contain at least one value appearing in the 'listeners' \
                 configuration when running the KRaft controller role"
                    .into(),
            );
        }
        if roles.broker && listeners.is_empty() {
            refuse("listeners", "There must be at least one broker advertised listener.".into());
        }
        for listener in advertised {
            if listener.host == "0.0.0.0" || listener.host == "::" {
                let key =
                    if self.is_set("advertised.listeners") { "advertised.listeners" } else { "listeners" };
                // A listener on every interface that nobody says how to advertise is told by this machine's name.
                if key == "advertised.listeners" {
                    refuse(
                        key,
                        format!(
                            "advertised.listeners cannot use the nonroutable meta-address {}. Use a routable IP \
                             address.",
                            listener.host
                        ),
                    );
                }
            }
            if !listeners.iter().any(|other| other.name == listener.name) {
                let names: Vec<&str> = listeners.iter().map(|l| l.name.as_str()).collect();
                refuse(
                    "advertised.listeners",
                    format!(
                        "advertised.listeners listener names must be equal to or a subset of the ones defined in \
                         listeners. Found {}. The valid options based on the current configuration are {}",
                        listener.name,
                        names.join(",")
                    ),
                );
            }
        }
    }

    fn inter_broker_listener(&self, listeners: &[Listener], problems: &mut Vec<ConfigProblem>) -> String {
        let key = "inter.broker.listener.name";
        if let Some(name) = self.settings.set_value(key) {
            let name = name.trim().to_ascii_uppercase();
            if !listeners.is_empty() && !listeners.iter().any(|listener| listener.name == name) {
                let problem = format!("{name} is none of the names in listeners");
                problems.push(ConfigProblem::new(key, problem));
            }
            return name;
        }
        let protocol = SecurityProtocol::from_name(self.text("security.inter.broker.protocol"));
        let named = listeners.iter().find(|l| Some(l.name.as_str()) == protocol.map(SecurityProtocol::name));
        let same = || listeners.iter().find(|l| Some(l.protocol) == protocol);
        named.or_else(same).or(listeners.first()).map(|l| l.name.clone()).unwrap_or_default()
    }

    fn directories(&self, problems: &mut Vec<ConfigProblem>) -> (Vec<PathBuf>, PathBuf) {
        let (key, named) = named_directories(&self.settings);
        let cordoned = as_list(self.text(CORDONED_LOG_DIRS));
        if let Err(error) = check_cordoned_log_dirs(&cordoned, &named) {
            problems.push(ConfigProblem::new(CORDONED_LOG_DIRS, error));
        }
        let mut dirs: Vec<PathBuf> = Vec::new();
        for dir in named {
            let dir = PathBuf::from(dir);
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        let Some(first) = dirs.first().cloned() else {
            let problem = "must not be empty. Valid values include: any non-empty value";
            problems.push(ConfigProblem::new(key, problem));
            return (Vec::new(), PathBuf::new());
        };
        let metadata = self.settings.set_value("metadata.log.dir").map_or(first, |d| PathBuf::from(d.trim()));
        (dirs, metadata)
    }

    fn http_listener(&self, problems: &mut Vec<ConfigProblem>) -> HttpListener {
        let key = "http.listener";
        let text = self.text(key);
        if text.eq_ignore_ascii_case("off") {
            return HttpListener::Off;
        }
        let plain = text.strip_prefix("http://").unwrap_or(text).replace("localhost:", "127.0.0.1:");
        // `:9644` is every interface, as in `listeners`.
        let plain = if plain.starts_with(':') { format!("0.0.0.0{plain}") } else { plain };
        match plain.parse() {
            Ok(address) => HttpListener::At { address, chosen: self.is_set(key) },
            Err(_) => {
                let problem =
                    format!("Invalid value {text} for configuration {key}: write address:port, or off");
                problems.push(ConfigProblem::new(key, problem));
                HttpListener::Off
            }
        }
    }

    fn cross_checks(&self, problems: &mut Vec<ConfigProblem>) {
        let mut refuse = |key: &str, problem: String| problems.push(ConfigProblem::new(key, problem));
        for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
            if self.settings.set_value(name).is_some_and(|text| text.trim() == "0") {
                refuse(name, format!("{name} must be unlimited (-1) or, greater than or equal to 1"));
            }
        }
        if self.int("replica.fetch.wait.max.ms") > self.int("replica.socket.timeout.ms") {
            let problem = "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent \
                           unnecessary socket timeouts";
            refuse("replica.socket.timeout.ms", problem.into());
        }
        if i64::from(self.int("replica.fetch.wait.max.ms")) > self.long("replica.lag.time.max.ms") {
            let problem = "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to \
                           prevent frequent changes in ISR";
            refuse("replica.fetch.wait.max.ms", problem.into());
        }
        if self.int("broker.heartbeat.interval.ms") * 2 > self.int("broker.session.timeout.ms") {
            let problem = "broker.heartbeat.interval.ms must be at most half of broker.session.timeout.ms, or one late \
                           heartbeat fences the broker";
            refuse("broker.heartbeat.interval.ms", problem.into());
        }
        if self.int("group.min.session.timeout.ms") > self.int("group.max.session.timeout.ms") {
            let problem = "group.min.session.timeout.ms must not be above group.max.session.timeout.ms";
            refuse("group.min.session.timeout.ms", problem.into());
        }
        self.consumer_group_checks(&mut refuse);
        for (name, why) in super::effect::refused_when_set() {
            if self.settings.set_value(name).is_some_and(|text| !text.trim().is_empty()) {
                refuse(name, format!("not implemented yet, and not ignored: {why}"));
            }
        }
        let protocols = as_list(self.text("group.coordinator.rebalance.protocols"));
        if !protocols.contains(&"classic") {
            let problem = "Disabling the 'classic' protocol is not supported.";
            refuse("group.coordinator.rebalance.protocols", problem.into());
        }
        if self.boolean("remote.log.storage.system.enable") {
            let problem = "tiered storage is not implemented";
            refuse("remote.log.storage.system.enable", problem.into());
        }
        if !matches!(self.settings.set_value("replica.selector.class"), None | Some("" | RACK_AWARE_SELECTOR))
        {
            refuse(
                "replica.selector.class",
                format!("the only class there is here is {RACK_AWARE_SELECTOR}"),
            );
        }
    }

    fn assemble(
        &self,
        identity: Identity,
        listening: Listening,
        quorum: Quorum,
        log_dirs: Vec<PathBuf>,
        metadata_log_dir: PathBuf,
        http_listener: HttpListener,
    ) -> BrokerConfig {
        let optional = |name: &str| {
            self.settings.set_value(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        BrokerConfig {
            settings: BTreeMap::new(),
            node_id: identity.node_id,
            roles: identity.roles,
            rack: optional("broker.rack"),
            listeners: listening.listeners,
            advertised_listeners: listening.advertised,
            controller_listeners: listening.controller,
            advertised_controller_listener: listening.advertised_controller,
            controller_listener_names: listening.controller_names,
            inter_broker_listener_name: listening.inter_broker,
            security: SecuritySettings::default(),
            quorum_voters: quorum.voters,
            quorum_bootstrap_servers: quorum.bootstrap_servers,
            quorum_auto_join: self.boolean("controller.quorum.auto.join.enable"),
            quorum_election_timeout_ms: optional("controller.quorum.election.timeout.ms")
                .and_then(|text| text.parse().ok()),
            log_dirs,
            metadata_log_dir,
            heartbeat_interval_ms: self.int("broker.heartbeat.interval.ms"),
            session_timeout_ms: self.int("broker.session.timeout.ms"),
            controlled_shutdown: self.boolean("controlled.shutdown.enable"),
            default_partition_count: self.int("num.partitions"),
            default_replication_factor: self.short("default.replication.factor"),
            auto_create_topics: self.boolean("auto.create.topics.enable"),
            delete_topics: self.boolean("delete.topic.enable"),
            topic_defaults: self.settings.topic_config(None),
            offsets_topic: self.offsets_topic(),
            group: self.group(),
            transaction: self.transaction(),
            replication: self.replication(),
            request_bytes_max: self.int("socket.request.max.bytes"),
            queued_request_bytes_max: self.long("queued.max.request.bytes"),
            connection_idle_ms_max: self.long("connections.max.idle.ms"),
            // What is wrong with them was told before.
            connections: self.connections(&mut Vec::new()),
            fetch_sessions_max: self.int("max.incremental.fetch.session.cache.slots"),
            fetch_bytes_max: self.int("fetch.max.bytes"),
            request_partitions_max: self.int("max.request.partition.size.limit"),
            retention_check_interval_ms: self.long("log.retention.check.interval.ms"),
            flush_offset_checkpoint_interval_ms: self.int("log.flush.offset.checkpoint.interval.ms"),
            cleaner_enable: self.boolean("log.cleaner.enable"),
            recovery_threads_per_dir: self.int("num.recovery.threads.per.data.dir"),
            flush_policy: match self.text("flush.policy") {
                "interval" => FlushPolicy::Interval,
                _ => FlushPolicy::OnAck,
            },
            flush_journal_bytes: self.long("flush.journal.bytes"),
            metadata_log_reserve_bytes: self.long("metadata.log.reserve.bytes"),
            http_listener,
            cluster_secret: optional("cluster.secret"),
            // Read from the settings as they were given.
            authorizer: None,
        }
    }

    fn replication(&self) -> ReplicationSettings {
        ReplicationSettings {
            lag_time_max_ms: self.long("replica.lag.time.max.ms"),
            fetch_wait_max_ms: self.int("replica.fetch.wait.max.ms"),
            fetch_bytes_min: self.int("replica.fetch.min.bytes"),
            fetch_bytes_max: self.int("replica.fetch.max.bytes"),
            fetch_response_bytes_max: self.int("replica.fetch.response.max.bytes"),
            fetch_backoff_ms: self.int("replica.fetch.backoff.ms"),
            fetcher_count: self.int("num.replica.fetchers"),
            high_watermark_checkpoint_interval_ms: self.long("replica.high.watermark.checkpoint.interval.ms"),
            socket_timeout_ms: self.int("replica.socket.timeout.ms"),
            reads_from_closest: self.settings.set_value("replica.selector.class")
                == Some(RACK_AWARE_SELECTOR),
        }
    }
}

/// What is advertised, in the order of `listeners`; one that is not advertised gets none, which Kafka allows.
fn in_order_of(listeners: &[Listener], advertised: Vec<Listener>) -> Vec<Listener> {
    listeners
        .iter()
        .filter_map(|listener| advertised.iter().find(|other| other.name == listener.name).cloned())
        .collect()
}

#[cfg(test)]
mod tests;
