//! Which value is in force, and what stands behind it, as Apache Kafka 4.3.0 told.

use std::sync::Arc;

use super::*;

fn statics(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn dynamics(pairs: &[(&str, &str)]) -> ResourceConfigs {
    pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

fn find<'a>(configs: &'a [DescribedConfig], name: &str) -> &'a DescribedConfig {
    configs.iter().find(|config| config.name == name).unwrap()
}

fn shown(config: &DescribedConfig) -> String {
    let synonyms: Vec<String> = config
        .synonyms
        .iter()
        .map(|s| format!("{}={}@{:?}", s.name, s.value.as_deref().unwrap_or("null"), s.source))
        .collect();
    let value = config.value.as_deref().unwrap_or("null");
    format!("{value} {:?} [{}]", config.source, synonyms.join(", "))
}

#[test]
fn a_topic_shows_what_apache_kafka_shows_for_it() {
    let statics = statics(&[("min.insync.replicas", "1")]);
    let broker_wide = dynamics(&[("min.insync.replicas", "1")]);
    let broker =
        BrokerSettings { statics: &statics, of_this_broker: None, of_all_brokers: Some(&broker_wide) };
    let configs = describe_topic(None, &broker);
    // Taken from DescribeConfigs of Apache Kafka 4.3.0.
    for (name, expected) in [
        ("compression.type", "producer Default [compression.type=producer@Default]"),
        (
            "min.insync.replicas",
            "1 DynamicDefaultBroker [min.insync.replicas=1@DynamicDefaultBroker, \
             min.insync.replicas=1@StaticBroker, min.insync.replicas=1@Default]",
        ),
        ("retention.ms", "604800000 Default []"),
        ("segment.ms", "604800000 Default []"),
        ("segment.jitter.ms", "0 Default []"),
        ("flush.ms", "9223372036854775807 Default []"),
        ("cleanup.policy", "delete Default [log.cleanup.policy=delete@Default]"),
        ("max.message.bytes", "1048588 Default [message.max.bytes=1048588@Default]"),
        ("remote.storage.enable", "false Default []"),
    ] {
        assert_eq!(shown(find(&configs, name)), expected, "{name}");
    }
    assert_eq!(configs.len(), 33);
}

#[test]
fn a_topics_own_value_comes_before_the_brokers_in_any_unit() {
    let statics = statics(&[("log.retention.hours", "2"), ("log.roll.ms", "5000"), ("log.roll.hours", "9")]);
    let broker = BrokerSettings::of_statics(&statics);
    let topic = dynamics(&[("segment.ms", "7")]);
    let values = effective_topic_values(Some(&topic), &broker);
    assert_eq!(values["retention.ms"], "7200000");
    assert_eq!(values["segment.ms"], "7");
    assert_eq!(effective_topic_values(None, &broker)["segment.ms"], "5000");
    let configs = describe_topic(Some(&topic), &broker);
    let expected = "7 Topic [segment.ms=7@Topic, log.roll.ms=5000@StaticBroker, log.roll.hours=9@StaticBroker, \
                    log.roll.hours=168@Default]";
    assert_eq!(shown(find(&configs, "segment.ms")), expected);
    let unlimited = self::statics(&[("log.retention.minutes", "-1")]);
    let values = effective_topic_values(None, &BrokerSettings::of_statics(&unlimited));
    assert_eq!(values["retention.ms"], "-1");
}

#[test]
fn a_broker_shows_where_each_value_comes_from() {
    let statics = statics(&[("num.partitions", "3"), ("ssl.key.password", "hush"), ("my.unknown", "x")]);
    let own = dynamics(&[("message.max.bytes", "5")]);
    let all = dynamics(&[("message.max.bytes", "6")]);
    let broker = BrokerSettings { statics: &statics, of_this_broker: Some(&own), of_all_brokers: Some(&all) };
    let configs = describe_broker(&broker);
    let num_partitions = find(&configs, "num.partitions");
    assert_eq!(
        shown(num_partitions),
        "3 StaticBroker [num.partitions=3@StaticBroker, num.partitions=1@Default]"
    );
    assert!(num_partitions.read_only);
    let size = find(&configs, "message.max.bytes");
    assert!(!size.read_only);
    assert!(
        shown(size)
            .starts_with("5 DynamicBroker [message.max.bytes=5@DynamicBroker, message.max.bytes=6@Dyn")
    );
    for secret in ["ssl.key.password", "my.unknown"] {
        let config = find(&configs, secret);
        assert!(config.is_sensitive && config.value.is_none(), "{secret}");
        assert!(config.synonyms.iter().all(|synonym| synonym.value.is_none()), "{secret}");
    }
    assert!(configs.iter().all(|config| config.name != "unstable.api.versions.enable"));
    let defaults = describe_broker_defaults(Some(&all));
    assert_eq!(defaults.len(), 1);
    assert_eq!(shown(&defaults[0]), "6 DynamicDefaultBroker [message.max.bytes=6@DynamicDefaultBroker]");
}

#[test]
fn a_group_takes_its_settings_from_the_broker() {
    let statics = statics(&[("group.consumer.session.timeout.ms", "46000")]);
    let broker = BrokerSettings::of_statics(&statics);
    let configs = describe_group(None, &broker);
    let session = find(&configs, "consumer.session.timeout.ms");
    assert!(shown(session).starts_with("46000 StaticBroker [group.consumer.session.timeout.ms=46000@Static"));
    let own = dynamics(&[("consumer.session.timeout.ms", "47000")]);
    let configs = describe_group(Some(&own), &broker);
    assert!(shown(find(&configs, "consumer.session.timeout.ms")).starts_with("47000 Group [consumer."));
    let reset = find(&configs, "share.auto.offset.reset");
    assert_eq!(shown(reset), "latest Default [share.auto.offset.reset=latest@Default]");
}
