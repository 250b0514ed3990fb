//! New topics, and why there are none, in Kafka's words.

use expect_test::expect;

use super::super::testing::{Cluster, ids, lines};
use super::*;

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.into(), num_partitions, replication_factor, assignments: vec![], configs: vec![] }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignment = |(partition, replicas): &(i32, &[i32])| ManualAssignment {
        partition: PartitionIndex(*partition),
        replicas: ids(replicas),
    };
    NewTopic { assignments: assignments.iter().map(assignment).collect(), ..topic(name, -1, -1) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect();
    NewTopic { configs, ..topic(name, 1, 1) }
}

fn ask(cluster: &mut Cluster, topics: Vec<NewTopic>, validate_only: bool) -> Result<String, ApiError> {
    let request = CreateTopicsRequest { topics, validate_only };
    cluster.decide(|image, inputs| create_topics(image, &request, inputs)).map(lines)
}

/// What a request on one broker with topics `pageview` and `a.b` is told.
fn told(topics: Vec<NewTopic>) -> String {
    let mut cluster = Cluster::new(1);
    ask(&mut cluster, vec![topic("pageview", 2, 1), topic("a.b", 1, 1)], false).unwrap();
    ask(&mut cluster, topics, true).unwrap_or_else(|error| super::super::testing::refusal("request", &error))
}

#[test]
fn names_are_refused_in_kafkas_words() {
    let text = told(vec![
        topic("x", 1, 1),
        topic("x", 1, 1),
        topic("y", 1, 1),
        topic("pageview", 0, 9),
        topic("a_b", 1, 1),
        topic("q.r", 1, 1),
        topic("q_r", 1, 1),
        topic("a b", 1, 1),
        topic("..", 1, 1),
        topic("", 1, 1),
        topic("__cluster_metadata", 1, 1),
    ]);
    expect![[r#"
        y: ok
        pageview: 36 Topic 'pageview' already exists.
        a_b: 17 Topic 'a_b' collides with existing topic: a.b
        q.r: ok
        q_r: ok
        a b: 17 Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        ..: 17 Topic name is invalid: '..' is not allowed
        : 17 Topic name is invalid: the empty string is not allowed
        __cluster_metadata: 42 Creation of internal topic __cluster_metadata is prohibited.
        x: 42 Duplicate topic name.
    "#]].assert_eq(&text);
}

#[test]
fn counts_are_refused_in_kafkas_words() {
    let text = told(vec![
        topic("rf-0", 1, 0),
        topic("rf-minus-2", 1, -2),
        topic("both-0", 0, 0),
        topic("partitions-0", 0, 1),
        topic("partitions-minus-2", -2, 1),
        topic("rf-9", 1, 9),
        topic("defaults", -1, -1),
    ]);
    expect![[r#"
        rf-0: 38 Replication factor must be larger than 0, or -1 to use the default value.
        rf-minus-2: 38 Replication factor must be larger than 0, or -1 to use the default value.
        both-0: 38 Replication factor must be larger than 0, or -1 to use the default value.
        partitions-0: 37 Number of partitions was set to an invalid non-positive value.
        partitions-minus-2: 37 Number of partitions was set to an invalid non-positive value.
        rf-9: 38 Unable to replicate the partition 9 time(s): The target replication factor of 9 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.
        defaults: ok
    "#]].assert_eq(&text);
    let mut fenced = Cluster::new(1);
    fenced.fence(1);
    let mut leaving = Cluster::new(1);
    leaving.shut_down(1);
    let none = ask(&mut Cluster::new(0), vec![topic("t", 1, 1)], false).unwrap();
    let all = [none, ask(&mut fenced, vec![topic("t", 1, 1)], false).unwrap(), {
        ask(&mut leaving, vec![topic("t", 1, 1), assigned("m", &[(0, &[1])])], false).unwrap()
    }];
    expect![[r#"
        t: 38 Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log directories cordoned.
        t: 38 Unable to replicate the partition 1 time(s): All brokers are currently fenced, or have all their log directories cordoned.
        t: 38 Unable to replicate the partition 1 time(s): All brokers are currently fenced or in controlled shutdown.
        m: 39 All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown.
    "#]].assert_eq(&all.concat());
}

#[test]
fn a_request_that_is_too_large_is_refused_as_a_whole() {
    let texts = [
        told(vec![topic("t", 10_001, 1)]),
        told(vec![topic("t", 10_000, 1)]),
        told(vec![topic("t", 9_999, 1)]),
        told(vec![topic("t", 6_000, 1), topic("u", 6_000, 1)]),
        told(vec![topic("t", i32::MAX, 1), topic("u", i32::MAX, 1)]),
        told(vec![topic("pageview", 20_000, 1)]),
    ];
    expect![[r#"
        request: 44 Excessively large number of partitions per request.
        request: 44 Unable to perform excessively large batch operation.
        t: ok
        request: 44 Excessively large number of partitions per request.
        request: 44 Excessively large number of partitions per request.
        request: 44 Excessively large number of partitions per request.
    "#]]
    .assert_eq(&texts.concat());
}

#[test]
fn assignments_are_refused_in_kafkas_words() {
    let both = NewTopic { num_partitions: 1, replication_factor: 1, ..assigned("both", &[(0, &[1])]) };
    let partitions = NewTopic { num_partitions: 1, ..assigned("partitions", &[(0, &[1])]) };
    let text = told(vec![
        assigned("good", &[(1, &[1]), (0, &[1])]),
        both,
        partitions,
        assigned("partition-twice", &[(0, &[1]), (0, &[1])]),
        assigned("gap", &[(0, &[1]), (2, &[1])]),
        assigned("unknown-broker", &[(0, &[7])]),
        assigned("unknown-and-twice", &[(0, &[7, 7])]),
        assigned("twice-and-unknown", &[(0, &[1, 1, 7])]),
        assigned("empty", &[(0, &[])]),
    ]);
    expect![[r#"
        good: ok
        both: 42 A manual partition assignment was specified, but replication factor was not set to -1.
        partitions: 42 A manual partition assignment was specified, but numPartitions was not set to -1.
        partition-twice: 39 Found multiple manual partition assignments for partition 0
        gap: 39 partitions should be a consecutive 0-based integer sequence
        unknown-broker: 39 The manual partition assignment includes broker 7, but no such broker is registered.
        unknown-and-twice: 39 The manual partition assignment includes broker 7, but no such broker is registered.
        twice-and-unknown: 39 The manual partition assignment includes the broker 1 more than once.
        empty: 39 The manual partition assignment includes an empty replica list.
    "#]].assert_eq(&text);
    let uneven =
        ask(&mut Cluster::new(2), vec![assigned("uneven", &[(0, &[1]), (1, &[1, 2])])], false).unwrap();
    expect![[r#"
        uneven: 39 The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).
    "#]].assert_eq(&uneven);
}

#[test]
fn configs_are_refused_in_kafkas_words() {
    let text = told(vec![
        configured("unknown", &[("nope", Some("1"))]),
        configured("bad", &[("retention.ms", Some("abc"))]),
        configured("null", &[("retention.ms", None), ("a", None)]),
        NewTopic {
            replication_factor: 9,
            ..configured("bad-before-replicas", &[("retention.ms", Some("abc"))])
        },
        configured("last-one-counts", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]),
    ]);
    expect![[r#"
        unknown: 40 Unknown topic config name: nope
        bad: 40 Invalid value abc for configuration retention.ms: Not a number of type LONG
        null: 40 Null value not supported for topic configs: retention.ms,a
        bad-before-replicas: 40 Invalid value abc for configuration retention.ms: Not a number of type LONG
        last-one-counts: ok
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_created_topic_is_what_the_answer_says() {
    let mut cluster = Cluster::with(3, &[], &[("num.partitions", "4"), ("default.replication.factor", "2")]);
    let asked = NewTopic {
        num_partitions: -1,
        replication_factor: -1,
        ..configured("t", &[("retention.ms", Some("1000"))])
    };
    let request = CreateTopicsRequest { topics: vec![asked], validate_only: false };
    let mut results = cluster.decide(|image, inputs| create_topics(image, &request, inputs)).unwrap();
    let created = results.remove(0).1.unwrap();
    assert_eq!((created.num_partitions, created.replication_factor), (4, 2));
    let topic = cluster.image.topics().by_name("t").unwrap();
    assert_eq!((topic.id(), topic.partition_count()), (created.topic_id, 4));
    for (_, partition) in topic.partitions() {
        assert_eq!(partition.replicas.len(), 2);
        assert_eq!((&partition.isr, partition.leader), (&partition.replicas, partition.replicas[0]));
    }
    assert_eq!(cluster.image.configs().of_topic("t", "retention.ms").unwrap().as_ref(), "1000");
    let shown = |name: &str| created.configs.iter().find(|config| config.name == name).unwrap();
    assert_eq!(shown("retention.ms").value.as_deref(), Some("1000"));
    assert_eq!(shown("retention.ms").source.code(), 1);
    assert_eq!(shown("cleanup.policy").source.code(), 5);
    assert!(created.configs.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn a_fenced_replica_is_no_member_of_the_first_isr() {
    let mut cluster = Cluster::new(2);
    cluster.fence(1);
    ask(&mut cluster, vec![assigned("t", &[(0, &[1, 2])])], false).unwrap();
    assert_eq!(cluster.show(), "leader 2 isr [2] elr [] leader epoch 0 partition epoch 0");
}

#[test]
fn checking_only_creates_nothing() {
    let mut cluster = Cluster::new(1);
    let offset = cluster.next_offset();
    assert_eq!(ask(&mut cluster, vec![topic("t", 1, 1)], true).unwrap(), "t: ok\n");
    assert_eq!(cluster.next_offset(), offset);
}
