//! Values against the words that Apache Kafka 4.3.0 has for them.

use super::super::definitions::{GROUP, TOPIC, broker_definition};
use super::*;

fn topic(name: &str, value: &str) -> Result<(), String> {
    let configs = [(name.to_owned(), value.to_owned())].into();
    validate_topic_configs(&configs).map_err(|error| error.to_string())
}

#[test]
fn topic_values_are_taken_and_refused_in_kafkas_words() {
    let policies = "String must be one of: compact, delete";
    let throttled = "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
                     format: [partitionId]:[brokerId],[partitionId]:[brokerId],...";
    // What LogConfig.validate of Apache Kafka 4.3.0 says; `None` is "taken".
    for (name, value, reason) in [
        ("retention.ms", "abc", Some("Not a number of type LONG")),
        ("retention.ms", "-2", Some("Value must be at least -1")),
        ("retention.ms", " 5 ", None),
        ("segment.bytes", "5", Some("Value must be at least 1048576")),
        ("cleanup.policy", "foo", Some(policies)),
        ("cleanup.policy", "", None),
        ("cleanup.policy", "delete,delete", None),
        ("cleanup.policy", "compact, delete", None),
        (
            "compression.type",
            "bzip",
            Some("String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
        ),
        ("compression.gzip.level", "10", Some("Value must be between 1 and 9 or equal to -1")),
        ("compression.gzip.level", "0", Some("Value must be between 1 and 9 or equal to -1")),
        ("compression.gzip.level", "-1", None),
        ("compression.lz4.level", "0", Some("Value must be at least 1")),
        ("compression.zstd.level", "23", Some("Value must be no more than 22")),
        ("min.insync.replicas", "0", Some("Value must be at least 1")),
        ("min.insync.replicas", "", Some("Not a number of type INT")),
        ("unclean.leader.election.enable", "maybe", Some("Expected value to be either true or false")),
        ("unclean.leader.election.enable", "TRUE", None),
        ("min.cleanable.dirty.ratio", "1.5", Some("Value must be no more than 1")),
        ("min.cleanable.dirty.ratio", "x", Some("Not a number of type DOUBLE")),
        ("min.cleanable.dirty.ratio", "1e-1", None),
        ("min.cleanable.dirty.ratio", "0.5f", None),
        ("message.timestamp.type", "Foo", Some("String must be one of: CreateTime, LogAppendTime")),
        ("leader.replication.throttled.replicas", "*", None),
        ("leader.replication.throttled.replicas", "0:1,1:2", None),
        ("max.message.bytes", "-1", Some("Value must be at least 0")),
        ("max.message.bytes", "99999999999", Some("Not a number of type INT")),
        ("local.retention.ms", "-3", Some("Value must be at least -2")),
        ("retention.bytes", "-5", None),
        ("max.compaction.lag.ms", "0", Some("Value must be at least 1")),
        ("flush.ms", "+5", None),
        ("flush.ms", "0x10", Some("Not a number of type LONG")),
        ("flush.ms", "5L", Some("Not a number of type LONG")),
    ] {
        let expected =
            reason.map(|reason| format!("Invalid value {value} for configuration {name}: {reason}"));
        assert_eq!(topic(name, value).err(), expected, "{name}={value}");
    }
    let error = topic("leader.replication.throttled.replicas", "foo").unwrap_err();
    let expected =
        format!("Invalid value [foo] for configuration leader.replication.throttled.replicas: {throttled}");
    assert_eq!(error, expected);
    let error = topic("cleanup.policy", "delete,").unwrap_err();
    assert_eq!(error, "Configuration 'cleanup.policy' values must not be empty.");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let configs = [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let error = validate_topic_configs(&configs.into()).unwrap_err().to_string();
    assert_eq!(error, "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)");
    assert_eq!(topic("foo.bar", "1").unwrap_err(), "Unknown topic config name: foo.bar");
    assert!(topic("remote.storage.enable", "true").unwrap_err().starts_with("Tiered Storage functionality"));
    assert_eq!(topic("remote.storage.enable", "false"), Ok(()));
}

#[test]
fn every_default_is_a_value_its_own_row_takes() {
    for definition in definitions::broker().chain(TOPIC).chain(GROUP) {
        if let Some(default) = definition.default.text() {
            assert_eq!(definition.validate(default), Ok(()), "{}", definition.name);
        }
        assert!(!definition.doc.is_empty() && !definition.doc.contains('\n'), "{}", definition.name);
    }
}

#[test]
fn names_are_unique_and_in_order() {
    for table in definitions::BROKER_TABLES.iter().copied().chain([TOPIC, GROUP]) {
        let names: Vec<&str> = table.iter().map(|definition| definition.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
    let mut all: Vec<&str> = definitions::broker().map(|definition| definition.name).collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn lists_of_the_broker_are_checked_as_kafka_does() {
    for (name, value, message) in [
        (
            "listeners",
            "",
            "Configuration 'listeners' must not be empty. Valid values include: any non-empty value",
        ),
        (
            "process.roles",
            "foo",
            "Invalid value foo for configuration process.roles: String must be one of: broker, controller",
        ),
        (
            "process.roles",
            "",
            "Configuration 'process.roles' must not be empty. Valid values include: [broker, controller]",
        ),
        (
            "controller.quorum.voters",
            "foo",
            "Invalid configuration value for controller.quorum.voters. Each entry should be in the form \
             `{id}@{host}:{port}`.",
        ),
        (
            "controller.quorum.voters",
            "1@h",
            "Failed to parse host name from entry 1@h for the configuration controller.quorum.voters. Each entry should \
             be in the form `{id}@{host}:{port}`.",
        ),
        (
            "controller.quorum.bootstrap.servers",
            "zz",
            "Failed to parse host name from zz for the configuration controller.quorum.bootstrap.servers. Each entry \
             should be in the form \"{host}:{port}\"",
        ),
    ] {
        let error = broker_definition(name).unwrap().validate(value).unwrap_err();
        assert_eq!(error.to_string(), message, "{name}={value}");
    }
    assert_eq!(broker_definition("controller.quorum.voters").unwrap().validate("1@[::1]:9093,2@h:1"), Ok(()));
}

#[test]
fn groups_and_client_metrics_have_settings_of_their_own() {
    assert_eq!(validate_group_config("consumer.session.timeout.ms", "50000"), Ok(()));
    assert_eq!(validate_group_config("a", "b").unwrap_err().to_string(), "Unknown group config name: a");
    for (value, is_good) in [
        ("earliest", true),
        ("by_duration:PT1H", true),
        ("by_duration:P2DT3H4M5.5S", true),
        ("by_duration:x", false),
        ("by_duration:P", false),
        ("by_duration:PT", false),
        ("by_duration:PT1S2M", false),
        ("none", false),
    ] {
        assert_eq!(validate_group_config("share.auto.offset.reset", value).is_ok(), is_good, "{value}");
    }
    let refused = validate_client_metrics_config("interval.ms", "1").unwrap_err().to_string();
    assert_eq!(refused, "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)");
    for (patterns, is_good) in [
        ("", true),
        ("client_id=a.*, client_software_name=x", true),
        ("nonsense", false),
        ("odd=.*", false),
        ("client_id=(", false),
    ] {
        assert_eq!(validate_client_match(patterns).is_ok(), is_good, "{patterns}");
    }
}

#[test]
fn a_group_keeps_within_the_bounds_that_the_broker_has() {
    let statics = BTreeMap::from([("group.consumer.min.session.timeout.ms".to_owned(), "40000".to_owned())]);
    let broker = BrokerSettings::of_statics(&statics);
    for (name, value, refusal) in [
        ("consumer.session.timeout.ms", "40000", None),
        (
            "consumer.session.timeout.ms",
            "39999",
            Some("must be greater than or equal to group.consumer.min.session.timeout.ms"),
        ),
        (
            "share.delivery.count.limit",
            "11",
            Some("must be less than or equal to group.share.max.delivery.count.limit"),
        ),
        (
            "streams.num.standby.replicas",
            "3",
            Some("must be less than or equal to group.streams.max.standby.replicas"),
        ),
        ("share.isolation.level", "read_committed", None),
    ] {
        let configs = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let told = validate_group_configs(&configs, &broker).map_err(|error| error.to_string());
        assert_eq!(told, refusal.map_or(Ok(()), |text| Err(format!("{name} {text}"))));
    }
    let statics = BTreeMap::from([
        ("group.streams.min.session.timeout.ms".to_owned(), "1".to_owned()),
        ("group.streams.min.heartbeat.interval.ms".to_owned(), "1".to_owned()),
    ]);
    let configs = BTreeMap::from([("streams.session.timeout.ms".to_owned(), "5000".to_owned())]);
    let told =
        validate_group_configs(&configs, &BrokerSettings::of_statics(&statics)).unwrap_err().to_string();
    assert_eq!(told, "streams.session.timeout.ms must be greater than streams.heartbeat.interval.ms");
}

#[test]
fn only_dynamic_settings_change_while_a_broker_runs() {
    let check = |name: &str, value: &str, per_broker: bool| {
        let configs = [(name.to_owned(), value.to_owned())].into();
        validate_dynamic_broker_config(&configs, per_broker).map_err(|error| error.to_string())
    };
    assert_eq!(check("log.retention.ms", "1000", false), Ok(()));
    assert_eq!(check("leader.replication.throttled.rate", "1000", true), Ok(()));
    assert!(check("node.id", "1", true).unwrap_err().starts_with("Cannot update these configs dynamically"));
    assert!(check("listeners", "PLAINTEXT://:1", false).unwrap_err().contains("broker id must be specified"));
    assert_eq!(check("listener.name.external.ssl.keystore.type", "PEM", true), Ok(()));
    assert!(check("message.max.bytes", "x", false).unwrap_err().ends_with("Not a number of type INT"));
    // A name that nobody knows is let through, for a plugin may.
    assert_eq!(check("my.plugin.setting", "x", false), Ok(()));
}
