//! More partitions, and why there are none, in Kafka's words.

use expect_test::expect;

use super::super::testing::{Cluster, ids, lines, refusal};
use super::*;

fn more(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> MorePartitions {
    let assignments = assignments.map(|lists| lists.iter().map(|list| ids(list)).collect());
    MorePartitions { name: name.into(), count, assignments }
}

fn ask(cluster: &mut Cluster, topics: Vec<MorePartitions>, validate_only: bool) -> String {
    let request = CreatePartitionsRequest { topics, validate_only };
    let result = cluster.decide(|image, inputs| create_partitions(image, &request, inputs));
    result.map_or_else(|error| refusal("request", &error), lines)
}

fn told(topic: MorePartitions) -> String {
    let mut cluster = Cluster::new(2);
    cluster.topic("pageview", &[&[1], &[1]], &[]);
    ask(&mut cluster, vec![topic], true)
}

#[test]
fn what_cannot_grow_is_told_so_in_kafkas_words() {
    let texts = [
        told(more("pageview", 2, None)),
        told(more("pageview", 1, None)),
        told(more("pageview", -1, None)),
        told(more("nonono", 3, None)),
        told(more("pageview", 4, Some(&[&[1]]))),
        told(more("pageview", 3, Some(&[]))),
        told(more("pageview", 3, Some(&[&[9]]))),
        told(more("pageview", 3, Some(&[&[1, 1]]))),
        told(more("pageview", 3, Some(&[&[1, 2]]))),
        told(more("pageview", 3, Some(&[&[]]))),
        told(more("pageview", 10_002, None)),
        told(more("pageview", 10_003, None)),
        told(more("nonono", 100_000, None)),
    ];
    expect![[r#"
        pageview: 37 Topic already has 2 partition(s).
        pageview: 37 The topic pageview currently has 2 partition(s); 1 would not be an increase.
        pageview: 37 The topic pageview currently has 2 partition(s); -1 would not be an increase.
        nonono: 3 -
        pageview: 39 Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.
        pageview: 39 Attempted to add 1 additional partition(s), but only 0 assignment(s) were specified.
        pageview: 39 The manual partition assignment includes broker 9, but no such broker is registered.
        pageview: 39 The manual partition assignment includes the broker 1 more than once.
        pageview: 39 The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).
        pageview: 39 The manual partition assignment includes an empty replica list.
        pageview: ok
        request: 44 Excessively large number of partitions per request.
        nonono: 3 -
    "#]].assert_eq(&texts.concat());
    let mut cluster = Cluster::new(1);
    cluster.topic("t", &[&[1]], &[]);
    let twice = ask(&mut cluster, vec![more("t", 3, None), more("t", 4, None)], false);
    assert_eq!(twice, "t: 42 Duplicate topic name.\n");
    cluster.fence(1);
    let fenced = [
        ask(&mut cluster, vec![more("t", 2, None)], false),
        ask(&mut cluster, vec![more("t", 2, Some(&[&[1]]))], false),
    ];
    expect![[r#"
        t: 38 All brokers are currently fenced, or have all their log directories cordoned.
        t: 39 All brokers specified in the manual partition assignment for partition 1 are fenced or in controlled shutdown.
    "#]].assert_eq(&fenced.concat());
}

#[test]
fn new_partitions_have_as_many_replicas_as_the_first_and_leave_the_old_alone() {
    let mut cluster = Cluster::new(3);
    cluster.topic("t", &[&[1, 2]], &[]);
    let before = cluster.partition("t", 0).clone();
    assert_eq!(ask(&mut cluster, vec![more("t", 3, None)], true), "t: ok\n");
    assert_eq!(cluster.image.topics().partition_count(), 1);
    assert_eq!(ask(&mut cluster, vec![more("t", 3, None)], false), "t: ok\n");
    assert_eq!(ask(&mut cluster, vec![more("t", 4, Some(&[&[3, 1]]))], false), "t: ok\n");
    assert_eq!(cluster.image.topics().partition_count(), 4);
    assert_eq!(cluster.partition("t", 0), &before);
    assert_eq!(cluster.partition("t", 2).replicas.len(), 2);
    assert_eq!(cluster.partition("t", 3).replicas, ids(&[3, 1]));
}
