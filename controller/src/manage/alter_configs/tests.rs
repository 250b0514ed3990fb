//! Configs altered and refused, in Kafka's words.

use expect_test::expect;

use super::super::testing::{Cluster, lines};
use super::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

use ConfigOperation::{Append, Delete, Set, Subtract};

type Operation<'a> = (&'a str, ConfigOperation, Option<&'a str>);

fn resource(resource_type: i8, name: &str, operations: &[Operation<'_>]) -> ResourceAlteration {
    let alteration = |(key, operation, value): &Operation<'_>| ConfigAlteration {
        key: (*key).into(),
        operation: *operation,
        value: value.map(Into::into),
    };
    ResourceAlteration {
        resource_type,
        resource_name: name.into(),
        alterations: operations.iter().map(alteration).collect(),
    }
}

fn told(results: Vec<AlterConfigsResult>) -> String {
    lines(
        results
            .into_iter()
            .map(|result| (format!("{} '{}'", result.resource_type, result.resource_name), result.result)),
    )
}

fn ask(cluster: &mut Cluster, resources: Vec<ResourceAlteration>) -> String {
    let request = AlterConfigsRequest { resources, validate_only: false };
    told(cluster.decide(|image, inputs| incremental_alter_configs(image, &request, inputs)).unwrap())
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.topic("keep", &[&[1]], &[("retention.ms", "1000")]);
    cluster
}

/// What one operation on topic `keep` is told.
fn told_of(operations: &[Operation<'_>]) -> String {
    ask(&mut cluster(), vec![resource(TOPIC, "keep", operations)])
}

#[test]
fn keys_are_refused_in_kafkas_words() {
    let long = "1:1,".repeat(8_192);
    let texts = [
        told_of(&[("retention.ms", Set, Some("1")), ("retention.ms", Set, Some("2"))]),
        told_of(&[("retention.ms", Set, None), ("cleanup.policy", Append, None)]),
        told_of(&[("nope", Set, Some("1"))]),
        told_of(&[("nope", Delete, None)]),
        told_of(&[("nope", Append, Some("1"))]),
        told_of(&[("retention.ms", Set, Some("x"))]),
        told_of(&[("retention.ms", Append, Some("1"))]),
        told_of(&[("retention.ms", Subtract, Some("1"))]),
        told_of(&[("cleanup.policy", Append, Some("foo"))]),
        told_of(&[("leader.replication.throttled.replicas", Set, Some(&long))]),
        told_of(&[]),
    ];
    expect![[r#"
        2 'keep': 42 Error due to duplicate config keys
        2 'keep': 42 Null value not supported for : retention.ms, cleanup.policy
        2 'keep': 40 Unknown topic config name: nope
        2 'keep': ok
        2 'keep': 40 Can't APPEND to key nope because its type is not LIST.
        2 'keep': 40 Invalid value x for configuration retention.ms: Not a number of type LONG
        2 'keep': 40 Can't APPEND to key retention.ms because its type is not LIST.
        2 'keep': 40 Can't SUBTRACT to key retention.ms because its type is not LIST.
        2 'keep': 40 Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete
        2 'keep': 40 The configuration value cannot be added because it exceeds the maximum value size of 32767 bytes.
        2 'keep': ok
    "#]].assert_eq(&texts.concat());
}

#[test]
fn resources_are_refused_in_kafkas_words_each_by_itself() {
    let set = |resource_type, name, key, value| resource(resource_type, name, &[(key, Set, Some(value))]);
    let text = ask(
        &mut cluster(),
        vec![
            set(TOPIC, "keep", "retention.ms", "1"),
            set(TOPIC, "keep", "retention.ms", "2"),
            set(TOPIC, "nonono", "retention.ms", "1"),
            set(TOPIC, "nono", "retention.ms", "x"),
            set(TOPIC, "", "retention.ms", "1"),
            set(TOPIC, "a b", "retention.ms", "1"),
            set(BROKER, "9", "log.cleaner.threads", "2"),
            set(BROKER, "abc", "log.cleaner.threads", "2"),
            set(BROKER, "1", "broker.id", "2"),
            set(BROKER, "", "log.retention.ms", "1000"),
            set(BROKER_LOGGER, "1", "x", "INFO"),
            set(CLIENT_METRICS, "sub", "nope", "1"),
            set(CLIENT_METRICS, "", "interval.ms", "1000"),
            set(CLIENT_METRICS, "sub2", "interval.ms", "1000"),
            set(GROUP, "g", "nope", "1"),
            set(GROUP, "", "consumer.session.timeout.ms", "45000"),
            set(GROUP, "g2", "consumer.session.timeout.ms", "50000"),
            set(3, "x", "a", "1"),
        ],
    );
    expect![[r#"
        2 'keep': 42 Each resource must appear at most once.
        2 'keep': 42 Each resource must appear at most once.
        2 'nonono': 3 The topic 'nonono' does not exist.
        2 'nono': 40 Invalid value x for configuration retention.ms: Not a number of type LONG
        2 '': 42 Default topic resources are not allowed.
        2 'a b': 17 Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        4 '9': 102 Broker ID 9 is not registered.
        4 'abc': 42 Node id must be an integer, but it is: abc
        4 '1': 42 Cannot update these configs dynamically: [broker.id]
        4 '': ok
        8 '1': 42 Unknown resource type 8
        16 'sub': 42 Unknown client metrics configuration: nope
        16 '': 42 Subscription name can't be empty
        16 'sub2': ok
        32 'g': 40 Unknown group config name: nope
        32 '': 42 Default group resources are not allowed.
        32 'g2': ok
        3 'x': 42 Unknown resource type 3
    "#]].assert_eq(&text);
}

#[test]
fn operations_do_what_their_names_say() {
    let mut cluster = cluster();
    let value =
        |cluster: &Cluster, key| cluster.image.configs().of_topic("keep", key).map(ToString::to_string);
    let steps: &[(Operation<'_>, Option<&str>)] = &[
        // What a list inherits is what is added to.
        (("cleanup.policy", Append, Some("compact")), Some("delete,compact")),
        (("cleanup.policy", Append, Some("compact,delete")), Some("delete,compact")),
        (("cleanup.policy", Subtract, Some("delete")), Some("compact")),
        (("cleanup.policy", Delete, None), None),
        (("retention.ms", Set, Some("5")), Some("5")),
        (("retention.ms", Delete, None), None),
        (("retention.ms", Delete, None), None),
    ];
    for (operation, expected) in steps {
        let text = ask(&mut cluster, vec![resource(TOPIC, "keep", &[*operation])]);
        assert_eq!(text, "2 'keep': ok\n", "{operation:?}");
        assert_eq!(value(&cluster, operation.0).as_deref(), *expected, "{operation:?}");
    }
}

#[test]
fn what_stays_as_it_is_makes_a_record_only_for_brokers() {
    let cluster = cluster();
    let records = |resource_type, name: &str, key: &str, value: &str| {
        let resources = vec![resource(resource_type, name, &[(key, Set, Some(value))])];
        alter(&cluster.image, &AlterConfigsRequest { resources, validate_only: false }, &cluster.settings)
            .unwrap()
            .records
            .len()
    };
    assert_eq!(records(TOPIC, "keep", "retention.ms", "1000"), 0);
    assert_eq!(records(BROKER, "1", "log.cleaner.threads", "1"), 1);
}

#[test]
fn checking_only_alters_nothing() {
    let mut cluster = cluster();
    let resources = vec![resource(TOPIC, "keep", &[("retention.ms", Set, Some("5"))])];
    let request = AlterConfigsRequest { resources, validate_only: true };
    let offset = cluster.next_offset();
    cluster.decide(|image, inputs| incremental_alter_configs(image, &request, inputs)).unwrap();
    assert_eq!(cluster.next_offset(), offset);
}

#[test]
fn the_older_request_replaces_all_configs_of_its_resources() {
    let mut cluster = cluster();
    let mut ask = |resource_type, name: &str, configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect();
        let resources = vec![LegacyResourceAlteration { resource_type, resource_name: name.into(), configs }];
        let request = AlterConfigsRequest { resources, validate_only: false };
        told(cluster.decide(|image, inputs| legacy_alter_configs(image, &request, inputs)).unwrap())
    };
    let texts = [
        ask(TOPIC, "keep", &[("retention.ms", None)]),
        ask(TOPIC, "keep", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]),
        ask(TOPIC, "keep", &[("nope", Some("1"))]),
        ask(TOPIC, "nonono", &[("retention.ms", Some("1"))]),
        ask(BROKER_LOGGER, "1", &[("x", Some("INFO"))]),
        ask(5, "keep", &[]),
        ask(TOPIC, "keep", &[("cleanup.policy", Some("compact"))]),
    ];
    expect![[r#"
        2 'keep': 42 Null value not supported for : retention.ms
        2 'keep': 42 Error due to duplicate config keys
        2 'keep': 40 Unknown topic config name: nope
        2 'nonono': 3 The topic 'nonono' does not exist.
        8 '1': 42 Unknown resource type 8
        5 'keep': 42 Unknown resource type 5
        2 'keep': ok
    "#]]
    .assert_eq(&texts.concat());
    let configs = cluster.image.configs().of(&ConfigResource::topic("keep")).unwrap();
    assert_eq!(
        configs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["cleanup.policy=compact"]
    );
}
