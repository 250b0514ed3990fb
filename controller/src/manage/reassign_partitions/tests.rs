//! Stories of moves: who holds the partition, who is in sync and who leads, after each step.

use expect_test::{Expect, expect};

use super::super::testing::{Cluster, ELR, ids, lines};
use super::*;

const UNCLEAN: (&str, &str) = ("unclean.leader.election.enable", "true");

fn request(target: Option<&[i32]>, allow_replication_factor_change: bool) -> ReassignPartitionsRequest {
    let asked = ReassignablePartition { partition: PartitionIndex(0), replicas: target.map(ids) };
    ReassignPartitionsRequest { topics: vec![("t".into(), vec![asked])], allow_replication_factor_change }
}

fn ask(cluster: &mut Cluster, target: Option<&[i32]>) -> String {
    let request = request(target, true);
    let results = cluster.decide(|image, inputs| reassign_partitions(image, &request, inputs)).unwrap();
    lines(results.into_iter().flat_map(|(_, results)| results).map(|(_, result)| ("t-0".into(), result)))
}

fn to(cluster: &mut Cluster, target: &[i32]) {
    assert_eq!(ask(cluster, Some(target)), "t-0: ok\n");
}

fn show(cluster: &Cluster) -> String {
    let list = |ids: &[BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let partition = cluster.partition("t", 0);
    format!(
        "replicas [{}] +[{}] -[{}] {}",
        list(&partition.replicas),
        list(&partition.adding_replicas),
        list(&partition.removing_replicas),
        cluster.show()
    )
}

fn check(replicas: &[i32], configs: &[(&str, &str)], steps: &[(&str, fn(&mut Cluster))], expect: &Expect) {
    let mut cluster = Cluster::with(5, &[(ELR, 1)], &[]);
    cluster.topic("t", &[replicas], configs);
    let mut story = format!("{:20} {}\n", "created", show(&cluster));
    for (name, step) in steps {
        step(&mut cluster);
        story += &format!("{name:20} {}\n", show(&cluster));
    }
    expect.assert_eq(&story);
}

/// The leader proposes an ISR.
fn propose(cluster: &mut Cluster, isr: &[i32]) {
    let partition = cluster.partition("t", 0).clone();
    let member = |id: &i32| moldau_cluster::IsrMember {
        broker_id: BrokerId(*id),
        broker_epoch: moldau_model::BrokerEpoch(-1),
    };
    let request = moldau_cluster::AlterPartition {
        broker_id: partition.leader,
        broker_epoch: cluster.epoch(partition.leader.0),
        partitions: vec![moldau_cluster::AlterPartitionRequest {
            topic_id: cluster.image.topics().by_name("t").unwrap().id(),
            partition: PartitionIndex(0),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: isr.iter().map(member).collect(),
            leader_recovery_state: moldau_cluster::LeaderRecoveryState::Recovered,
        }],
    };
    let decide = |image: &MetadataImage, inputs: &mut Inputs<'_>| {
        super::super::alter_partition(image, inputs.settings, &request)
    };
    cluster.decide(decide).unwrap().partitions[0].as_ref().unwrap();
}

#[test]
fn the_old_replicas_hold_the_partition_until_all_new_ones_are_in_sync() {
    check(
        &[1, 2],
        &[],
        &[
            ("to 3,4", |c| to(c, &[3, 4])),
            ("3 in sync", |c| propose(c, &[1, 2, 3])),
            ("4 in sync", |c| propose(c, &[1, 2, 3, 4])),
        ],
        &expect![[r#"
            created              replicas [1,2] +[] -[] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
            to 3,4               replicas [3,4,1,2] +[3,4] -[1,2] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 1
            3 in sync            replicas [3,4,1,2] +[3,4] -[1,2] leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 2
            4 in sync            replicas [3,4] +[] -[] leader 3 isr [3,4] elr [] leader epoch 1 partition epoch 3
        "#]],
    );
}

#[test]
fn a_move_that_adds_nobody_ends_at_once() {
    check(
        &[1, 2, 3],
        &[],
        &[
            ("to 2,1", |c| to(c, &[2, 1])),
            ("to 1,2", |c| to(c, &[1, 2])),
            ("to 1,2 again", |c| to(c, &[1, 2])),
        ],
        &expect![[r#"
            created              replicas [1,2,3] +[] -[] leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 0
            to 2,1               replicas [2,1] +[] -[] leader 1 isr [1,2] elr [] leader epoch 1 partition epoch 1
            to 1,2               replicas [1,2] +[] -[] leader 1 isr [1,2] elr [] leader epoch 1 partition epoch 2
            to 1,2 again         replicas [1,2] +[] -[] leader 1 isr [1,2] elr [] leader epoch 1 partition epoch 2
        "#]],
    );
}

#[test]
fn a_move_ends_when_all_who_are_to_hold_the_partition_are_in_sync_and_not_the_new_ones_alone() {
    check(
        &[1, 2, 3],
        &[("min.insync.replicas", "2")],
        &[
            ("2 falls behind", |c| propose(c, &[1, 3])),
            ("to 2,4", |c| to(c, &[2, 4])),
            ("4 in sync", |c| propose(c, &[1, 3, 4])),
            ("2 in sync", |c| propose(c, &[1, 3, 4, 2])),
            ("4 falls behind", |c| propose(c, &[2])),
            ("to 4 alone", |c| to(c, &[4])),
            ("4 in sync again", |c| propose(c, &[2, 4])),
        ],
        &expect![[r#"
            created              replicas [1,2,3] +[] -[] leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 0
            2 falls behind       replicas [1,2,3] +[] -[] leader 1 isr [1,3] elr [] leader epoch 0 partition epoch 1
            to 2,4               replicas [2,4,1,3] +[4] -[1,3] leader 1 isr [1,3] elr [] leader epoch 0 partition epoch 2
            4 in sync            replicas [2,4,1,3] +[4] -[1,3] leader 1 isr [1,3,4] elr [] leader epoch 0 partition epoch 3
            2 in sync            replicas [2,4] +[] -[] leader 2 isr [4,2] elr [] leader epoch 1 partition epoch 4
            4 falls behind       replicas [2,4] +[] -[] leader 2 isr [2] elr [4] leader epoch 1 partition epoch 5
            to 4 alone           replicas [4,2] +[] -[2] leader 2 isr [2] elr [4] leader epoch 1 partition epoch 6
            4 in sync again      replicas [4] +[] -[] leader 4 isr [4] elr [] leader epoch 2 partition epoch 7
        "#]],
    );
}

#[test]
fn whoever_goes_may_fail_on_the_way_and_leaves_no_trace() {
    check(
        &[1, 2],
        &[("min.insync.replicas", "2")],
        &[
            ("to 3,2", |c| to(c, &[3, 2])),
            ("fence 1", |c| c.fence(1)),
            ("fence 2", |c| c.fence(2)),
            ("unfence 2", |c| c.unfence(2)),
            ("3 in sync", |c| propose(c, &[2, 3])),
        ],
        &expect![[r#"
            created              replicas [1,2] +[] -[] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
            to 3,2               replicas [3,2,1] +[3] -[1] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 1
            fence 1              replicas [3,2,1] +[3] -[1] leader 2 isr [2] elr [1] leader epoch 1 partition epoch 2
            fence 2              replicas [3,2,1] +[3] -[1] leader -1 isr [] elr [1,2] leader epoch 2 partition epoch 3
            unfence 2            replicas [3,2,1] +[3] -[1] leader 2 isr [2] elr [1] leader epoch 3 partition epoch 4
            3 in sync            replicas [3,2] +[] -[] leader 2 isr [2,3] elr [] leader epoch 4 partition epoch 5
        "#]],
    );
}

#[test]
fn a_new_target_replaces_the_one_before_and_a_move_is_taken_back() {
    check(
        &[1, 2],
        &[],
        &[
            ("to 3,4", |c| to(c, &[3, 4])),
            ("3 in sync", |c| propose(c, &[1, 2, 3])),
            ("to 5,2 instead", |c| to(c, &[5, 2])),
            ("taken back", |c| assert_eq!(ask(c, None), "t-0: ok\n")),
        ],
        &expect![[r#"
            created              replicas [1,2] +[] -[] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
            to 3,4               replicas [3,4,1,2] +[3,4] -[1,2] leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 1
            3 in sync            replicas [3,4,1,2] +[3,4] -[1,2] leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 2
            to 5,2 instead       replicas [5,2,3,4,1] +[5] -[3,4,1] leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 3
            taken back           replicas [2,3,4,1] +[] -[] leader 1 isr [1,2,3] elr [] leader epoch 1 partition epoch 4
        "#]],
    );
}

#[test]
fn a_move_is_not_taken_back_where_only_the_new_replicas_have_the_records() {
    let moved = |configs: &[(&str, &str)]| {
        let mut cluster = Cluster::with(5, &[], &[]);
        cluster.topic("t", &[&[1, 2]], configs);
        to(&mut cluster, &[3, 4]);
        propose(&mut cluster, &[1, 3]);
        cluster.fence(1);
        cluster
    };
    let mut clean = moved(&[]);
    let before = show(&clean);
    let refusal = ask(&mut clean, None);
    assert_eq!(show(&clean), before);
    let mut unclean = moved(&[UNCLEAN]);
    let taken_back = ask(&mut unclean, None);
    let story = format!("{refusal}{taken_back}{}\n", show(&unclean));
    expect![[r#"
        t-0: 39 Unable to revert partition assignment for t:0 because it would require an unclean leader election.
        t-0: ok
        replicas [1,2] +[] -[] leader 2 isr [2] elr [] leader epoch 2 partition epoch 4 recovering
    "#]]
    .assert_eq(&story);
}

#[test]
fn what_cannot_be_moved_says_why_and_changes_nothing() {
    let mut cluster = Cluster::with(3, &[], &[]);
    cluster.topic("t", &[&[1, 2]], &[]);
    let before = cluster.image.clone();
    let mut story = String::new();
    for target in [None, Some(&[][..]), Some(&[1, 1]), Some(&[1, 9]), Some(&[1, -1])] {
        story += &ask(&mut cluster, target);
    }
    let wider = request(Some(&[1, 2, 3]), false);
    let stranger = |topic: &str, partition| ReassignPartitionsRequest {
        topics: vec![(
            topic.into(),
            vec![ReassignablePartition { partition: PartitionIndex(partition), replicas: None }],
        )],
        allow_replication_factor_change: true,
    };
    for request in [wider, stranger("u", 0), stranger("t", 7)] {
        let results = cluster.decide(|image, inputs| reassign_partitions(image, &request, inputs)).unwrap();
        let results = results.into_iter().flat_map(|(_, results)| results);
        story += &lines(results.map(|(_, result)| ("other".to_owned(), result)));
    }
    assert!(cluster.image == before);
    expect![[r#"
        t-0: 85 -
        t-0: 39 The manual partition assignment includes an empty replica list.
        t-0: 39 The manual partition assignment includes the broker 1 more than once.
        t-0: 39 The manual partition assignment includes broker 9, but no such broker is registered.
        t-0: 39 The manual partition assignment includes broker -1, but no such broker is registered.
        other: 38 The replication factor is changed from 2 to 3
        other: 3 Unable to find a topic named u.
        other: 3 Unable to find partition t:7.
    "#]]
    .assert_eq(&story);
}

#[test]
fn only_what_is_on_the_move_is_listed() {
    let mut cluster = Cluster::with(3, &[], &[]);
    cluster.topic("t", &[&[1, 2], &[2, 3]], &[]);
    cluster.topic("u", &[&[1, 2]], &[]);
    assert_eq!(ongoing_reassignments(&cluster.image, None), []);
    to(&mut cluster, &[3, 2]);
    let expected = OngoingReassignment {
        partition: PartitionIndex(0),
        replicas: ids(&[3, 2, 1]),
        adding: ids(&[3]),
        removing: ids(&[1]),
    };
    let all = [PartitionIndex(0), PartitionIndex(1), PartitionIndex(5)].to_vec();
    let asked = [("t".to_owned(), all.clone()), ("u".to_owned(), all.clone()), ("v".to_owned(), all)];
    for asked in [None, Some(asked.as_slice())] {
        let found = ongoing_reassignments(&cluster.image, asked);
        assert_eq!(found, [("t".to_owned(), vec![expected.clone()])]);
    }
}
