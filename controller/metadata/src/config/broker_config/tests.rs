//! Files of settings as users write them, and what is wrong with them.

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<BrokerConfig, Vec<ConfigProblem>> {
    let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    BrokerConfig::from_settings(settings)
}

#[test]
fn no_setting_at_all_is_one_node_on_the_loopback_interface() {
    let config = read(&[]).unwrap();
    assert_eq!(config.node_id, BrokerId(1));
    assert_eq!(config.roles, ProcessRoles { broker: true, controller: true });
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://localhost:9092");
    assert_eq!(config.controller_listeners[0].to_string(), "CONTROLLER://localhost:9093");
    let voter = QuorumVoter { id: BrokerId(1), host: "localhost".into(), port: 9093 };
    assert_eq!(config.quorum_voters, [voter]);
    assert_eq!(config.inter_broker_listener_name, "PLAINTEXT");
    assert_eq!(config.offsets_topic.partition_count, 50);
    assert!(!config.offsets_topic.replication_factor_is_chosen);
    assert_eq!(config.flush_policy, FlushPolicy::OnAck);
    let address = "127.0.0.1:9644".parse().unwrap();
    assert_eq!(config.http_listener, HttpListener::At { address, chosen: false });
    assert!(config.unknown_settings().is_empty());
}

#[test]
fn the_file_of_kafkas_distribution_is_understood() {
    let config = read(&[
        ("process.roles", "broker,controller"),
        ("node.id", "3"),
        ("controller.quorum.voters", "3@localhost:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        ),
        ("log.dirs", "/var/a,/var/b,/var/a"),
        ("offsets.topic.replication.factor", "1"),
        ("log.retention.hours", "24"),
    ])
    .unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://localhost:9092");
    assert_eq!(config.log_dirs, [PathBuf::from("/var/a"), PathBuf::from("/var/b")]);
    assert_eq!(config.metadata_log_dir, PathBuf::from("/var/a"));
    assert_eq!(config.topic_defaults.retention_ms, 86_400_000);
    assert!(config.offsets_topic.replication_factor_is_chosen);
}

#[test]
fn two_listeners_for_the_inside_and_the_outside() {
    let config = read(&[
        ("listeners", "INSIDE://:9092,OUTSIDE://:9094,CONTROLLER://:9093"),
        ("advertised.listeners", "INSIDE://kafka:9092,OUTSIDE://localhost:9092"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "INSIDE"),
    ])
    .unwrap();
    let advertised: Vec<String> = config.advertised_listeners.iter().map(ToString::to_string).collect();
    assert_eq!(advertised, ["INSIDE://kafka:9092", "OUTSIDE://localhost:9092"]);
    assert_eq!(config.inter_broker_listener_name, "INSIDE");
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    for (name, value, problem) in [
        ("node.id", "-1", "Invalid value -1 for configuration node.id: Value must be at least 0"),
        ("num.partitions", "0", "Invalid value 0 for configuration num.partitions: Value must be at least 1"),
        ("listeners", "foo", "Unable to parse foo to a broker endpoint: write NAME://host:port"),
        (
            "controller.quorum.voters",
            "2@h:1",
            "If process.roles contains the 'controller' role, the node id 1 must be",
        ),
        (
            "advertised.listeners",
            "PLAINTEXT://0.0.0.0:9092",
            "advertised.listeners cannot use the nonroutable",
        ),
        ("inter.broker.listener.name", "FOO", "FOO is none of the names in listeners"),
        ("log.retention.ms", "0", "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        ("broker.heartbeat.interval.ms", "9000", "broker.heartbeat.interval.ms must be at most half of"),
        (
            "flush.policy",
            "never",
            "Invalid value never for configuration flush.policy: String must be one of: on-ack",
        ),
        (
            "http.listener",
            "somewhere",
            "Invalid value somewhere for configuration http.listener: write address:port",
        ),
        (
            "group.coordinator.rebalance.protocols",
            "consumer",
            "Disabling the 'classic' protocol is not supported.",
        ),
        ("listener.security.protocol.map", "PLAINTEXT:FOO", "Invalid security protocol `FOO` defined in"),
        ("remote.log.storage.system.enable", "true", "tiered storage is not implemented"),
    ] {
        let problems = read(&[(name, value)]).expect_err(name);
        let first = problems.iter().find(|p| p.key == name).unwrap_or_else(|| panic!("{name}: {problems:?}"));
        assert!(first.problem.starts_with(problem), "{name}={value}: {first}");
        assert!(!first.problem.contains('\n'));
    }
    let problems = read(&[("node.id", "2"), ("broker.id", "5")]).unwrap_err();
    assert_eq!(problems[0].problem, "You must set `node.id` to the same value as `broker.id`.");
    // All that is wrong is told at once.
    assert_eq!(read(&[("num.partitions", "0"), ("message.max.bytes", "x")]).unwrap_err().len(), 2);
}

#[test]
fn names_of_yesterday_and_slips_of_the_pen_are_told_apart() {
    let config = read(&[
        ("broker.id", "7"),
        ("zookeeper.connect", "localhost:2181"),
        ("inter.broker.protocol.version", "2.8"),
        ("num.partitons", "3"),
        ("listener.name.plaintext.ssl.keystore.type", "PEM"),
    ])
    .unwrap();
    assert_eq!(config.node_id, BrokerId(7));
    let unknown: Vec<(String, bool)> =
        config.unknown_settings().into_iter().map(|setting| (setting.key, setting.is_retired)).collect();
    assert_eq!(
        unknown,
        [
            ("inter.broker.protocol.version".to_owned(), true),
            ("num.partitons".to_owned(), false),
            ("zookeeper.connect".to_owned(), true)
        ]
    );
    let slip = config.unknown_settings().into_iter().find(|setting| setting.key == "num.partitons").unwrap();
    assert_eq!(slip.nearest, Some("num.partitions"));
}

#[test]
fn a_broker_alone_has_to_know_the_controllers() {
    let alone = [("process.roles", "broker"), ("node.id", "4"), ("listeners", "PLAINTEXT://localhost:9092")];
    let problems = read(&alone).unwrap_err();
    assert_eq!(problems[0].key, "controller.quorum.voters");
    let mut known = alone.to_vec();
    known.push(("controller.quorum.bootstrap.servers", "c1:9093,c2:9093"));
    let config = read(&known).unwrap();
    assert_eq!(config.quorum_bootstrap_servers[1], ("c2".to_owned(), 9093));
    assert!(config.controller_listeners.is_empty() && config.quorum_voters.is_empty());
}

#[test]
fn naming_only_the_clients_listener_keeps_the_controllers_default() {
    let config = read(&[("listeners", "PLAINTEXT://127.0.0.1:0"), ("http.listener", "off")]).unwrap();
    assert_eq!(config.listeners[0].port, 0);
    assert_eq!(config.controller_listeners[0].to_string(), "CONTROLLER://localhost:9093");
    assert_eq!(config.http_listener, HttpListener::Off);
}

#[test]
fn a_map_written_for_a_broker_with_zookeeper_needs_no_entry_for_the_controller() {
    let map = ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT");
    let listeners = ("listeners", "INSIDE://:29092,OUTSIDE://:9092");
    let config = read(&[map, listeners, ("inter.broker.listener.name", "INSIDE")]).unwrap();
    assert_eq!(config.controller_listeners[0].to_string(), "CONTROLLER://localhost:9093");
    let named = ("controller.listener.names", "CONTROLLER");
    let problems =
        read(&[map, ("listeners", "INSIDE://:29092,OUTSIDE://:9092,CONTROLLER://:9093"), named]).unwrap_err();
    assert!(problems[0].to_string().contains("No security protocol defined for listener CONTROLLER"));
}

#[test]
fn every_deviation_is_of_a_setting_of_kafkas() {
    for deviation in DEVIATIONS {
        assert!(broker_definition(deviation.name).is_some(), "{}", deviation.name);
        assert!(!deviation.reason.is_empty());
    }
    assert!(DEVIATIONS.is_sorted_by_key(|deviation| deviation.name));
}

#[test]
fn cordoned_directories_are_some_of_the_brokers_or_all() {
    let with = |cordoned| read(&[("log.dirs", "/a,/b"), ("cordoned.log.dirs", cordoned)]);
    for cordoned in ["", "/a", "/b,/a", "*"] {
        assert!(with(cordoned).is_ok(), "{cordoned}");
    }
    for (cordoned, told) in [
        ("*,/a", "When cordoned.log.dirs is set to *, it must not contain other values"),
        (
            "/c,/a,/d",
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /c, /d",
        ),
    ] {
        let problems = with(cordoned).unwrap_err();
        assert_eq!((problems.len(), problems[0].problem.as_str()), (1, told));
    }
    assert!(read(&[("log.dir", "/a"), ("cordoned.log.dirs", "/a")]).is_ok());
}

#[test]
fn what_would_be_dangerous_to_ignore_ends_the_start() {
    for (name, value, text) in [
        (
            "authorizer.class.name",
            "kafka.security.authorizer.AclAuthorizer",
            "StandardAuthorizer is the authorizer",
        ),
        ("create.topic.policy.class.name", "a.Policy", "not ignored"),
        ("config.providers", "file", "secrets in other places"),
    ] {
        let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let problems = BrokerConfig::from_settings(settings).unwrap_err();
        let told = problems.iter().any(|p| p.key == name && p.problem.contains(text));
        assert!(told, "{name}={value}: {problems:?}");
    }
    let empty = BTreeMap::from([("authorizer.class.name".to_owned(), String::new())]);
    assert_eq!(BrokerConfig::from_settings(empty).unwrap().authorizer, None);
}

#[test]
fn what_has_no_effect_is_named_unless_it_says_the_default() {
    let settings = [
        ("num.io.threads", "8"),
        ("num.network.threads", "5"),
        ("log.retention.hours", "1"),
        ("compression.lz4.level", "12"),
        ("log.local.retention.ms", "5"),
        ("no.such.setting", "1"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = BrokerConfig::from_settings(settings).unwrap();
    assert_eq!(config.settings_without_effect(), ["log.local.retention.ms", "num.network.threads"]);
}

#[test]
fn a_listener_that_promises_more_than_it_is_told_to_keep_ends_the_start() {
    for (listeners, key) in [
        ("SSL://:9092,CONTROLLER://:9093", "ssl.keystore.location"),
        ("SASL_PLAINTEXT://:9092,CONTROLLER://:9093", "sasl.enabled.mechanisms"),
    ] {
        let settings = BTreeMap::from([("listeners".to_owned(), listeners.to_owned())]);
        let problems = BrokerConfig::from_settings(settings).unwrap_err();
        assert!(problems.iter().any(|problem| problem.key == key), "{problems:?}");
    }
}

#[test]
fn a_listeners_own_setting_takes_the_values_of_the_general_one_and_needs_its_listener() {
    let own = |key: &str, value: &str| read(&[(&format!("listener.name.{key}"), value)]);
    for (key, value) in [
        ("plaintext.ssl.client.auth", "yes"),
        ("plaintext.connections.max.reauth.ms", "soon"),
        ("plaintext.plain.connections.max.reauth.ms", "soon"),
        ("controller.ssl.client.auth", "yes"),
    ] {
        let problems = own(key, value).unwrap_err();
        assert_eq!(problems[0].key, format!("listener.name.{key}"), "{problems:?}");
    }
    for (key, is_known) in [
        ("plaintext.ssl.keystore.type", true),
        ("controller.ssl.keystore.type", true),
        ("plaintext.scram-sha-256.sasl.jaas.config", true),
        ("plaintxt.ssl.keystore.type", false),
        ("PLAINTEXT.ssl.keystore.type", false),
        ("plaintext.scram-sha256.sasl.jaas.config", false),
        ("plaintext", false),
    ] {
        let unknown = own(key, "PEM").unwrap().unknown_settings();
        assert_eq!(unknown.is_empty(), is_known, "{key}: {unknown:?}");
    }
}

#[test]
fn no_secret_is_printed_with_the_configuration() {
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" \
                password=\"canary-1\" user_a=\"canary-2\";";
    let settings = [
        ("listeners", "SASL_PLAINTEXT://:9092,CONTROLLER://:9093"),
        ("listener.security.protocol.map", "SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("security.inter.broker.protocol", "SASL_PLAINTEXT"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", jaas),
        ("cluster.secret", "canary-3"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let config = BrokerConfig::from_settings(settings).unwrap();
    assert!(config.security.inter_broker.login.is_some());
    assert!(config.unknown_settings().is_empty(), "{:?}", config.unknown_settings());
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
}
