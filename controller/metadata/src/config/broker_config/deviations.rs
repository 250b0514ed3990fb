//! Where this program's defaults are not Kafka's, each with the reason.

/// A default of our own for a setting of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    pub name: &'static str,
    pub value: &'static str,
    pub reason: &'static str,
}

const fn deviation(name: &'static str, value: &'static str, reason: &'static str) -> Deviation {
    Deviation { name, value, reason }
}

/// Where a broker listens that nobody told.
pub(super) const BROKER_LISTENER: &str = "PLAINTEXT://localhost:9092";
/// Where a controller listens that nobody told.
pub(super) const CONTROLLER_LISTENER: &str = "CONTROLLER://localhost:9093";

/// All of them, by name.
pub const DEVIATIONS: &[Deviation] = &[
    deviation(
        "controller.listener.names",
        "CONTROLLER",
        "Kafka has no default; every file of its distribution says CONTROLLER",
    ),
    deviation(
        "listeners",
        "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        "Kafka listens on every interface without authentication; a first start is for this machine alone",
    ),
    deviation(
        "log.dirs",
        "moldau-data",
        "Kafka's /tmp/kafka-logs does not survive a restart of many machines",
    ),
    deviation("node.id", "1", "Kafka has no default; one node without configuration needs a number"),
    deviation(
        "process.roles",
        "broker,controller",
        "Kafka has no default; one node without configuration holds both roles",
    ),
];

/// Settings that Kafka had and dropped with ZooKeeper or old record formats: files written for Kafka 3 carry them.
const RETIRED: &[&str] = &[
    "advertised.host.name",
    "advertised.port",
    "auto.include.jmx.reporter",
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "group.coordinator.new.enable",
    "host.name",
    "inter.broker.protocol.version",
    "leader.imbalance.per.broker.percentage",
    "log.cleaner.enable.v2",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "password.encoder.cipher.algorithm",
    "password.encoder.iterations",
    "password.encoder.key.length",
    "password.encoder.keyfactory.algorithm",
    "password.encoder.old.secret",
    "password.encoder.secret",
    "port",
    "reserved.broker.max.id",
];

/// Whether an unknown name is one of those.
pub(super) fn is_retired(name: &str) -> bool {
    name.starts_with("zookeeper.") || RETIRED.contains(&name)
}
