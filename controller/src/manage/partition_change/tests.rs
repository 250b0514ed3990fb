//! A table of who leads and who is in sync after each change.

use expect_test::{Expect, expect};

use super::super::testing::{Cluster, ELR};
use super::super::{fence_log_directories, testing::directory};
use moldau_model::BrokerId;

/// Tells the story of partition 0 of topic `t` with these replicas: a line after each step.
fn check(
    replicas: &[i32],
    features: &[(&str, i16)],
    configs: &[(&str, &str)],
    steps: &[(&str, fn(&mut Cluster))],
    expect: &Expect,
) {
    let mut cluster = Cluster::with(3, features, &[]);
    cluster.topic("t", &[replicas], configs);
    let mut story = format!("{:24} {}\n", "created", cluster.show());
    for (name, step) in steps {
        step(&mut cluster);
        story += &format!("{name:24} {}\n", cluster.show());
    }
    expect.assert_eq(&story);
}

#[test]
fn a_lone_broker_leads_its_partitions_again_in_a_new_epoch_after_every_restart() {
    let steps: &[(&str, fn(&mut Cluster))] = &[
        ("register after kill -9", |c| c.register(1, false)),
        ("unfence", |c| c.unfence(1)),
        ("shut down", |c| c.shut_down(1)),
        ("fence", |c| c.fence(1)),
        ("register after that", |c| c.register(1, true)),
        ("unfence", |c| c.unfence(1)),
        ("fence", |c| c.fence(1)),
        ("register after kill -9", |c| c.register(1, false)),
        ("unfence", |c| c.unfence(1)),
    ];
    check(
        &[1],
        &[],
        &[],
        steps,
        &expect![[r#"
        created                  leader 1 isr [1] elr [] leader epoch 0 partition epoch 0
        register after kill -9   leader -1 isr [1] elr [] leader epoch 1 partition epoch 1
        unfence                  leader 1 isr [1] elr [] leader epoch 2 partition epoch 2
        shut down                leader -1 isr [1] elr [] leader epoch 3 partition epoch 3
        fence                    leader -1 isr [1] elr [] leader epoch 3 partition epoch 3
        register after that      leader -1 isr [1] elr [] leader epoch 3 partition epoch 3
        unfence                  leader 1 isr [1] elr [] leader epoch 4 partition epoch 4
        fence                    leader -1 isr [1] elr [] leader epoch 5 partition epoch 5
        register after kill -9   leader -1 isr [1] elr [] leader epoch 5 partition epoch 5
        unfence                  leader 1 isr [1] elr [] leader epoch 6 partition epoch 6
    "#]],
    );
    check(
        &[1],
        &[(ELR, 1)],
        &[],
        steps,
        &expect![[r#"
        created                  leader 1 isr [1] elr [] leader epoch 0 partition epoch 0
        register after kill -9   leader -1 isr [1] elr [] leader epoch 1 partition epoch 1
        unfence                  leader 1 isr [1] elr [] leader epoch 2 partition epoch 2
        shut down                leader -1 isr [] elr [1] leader epoch 3 partition epoch 3
        fence                    leader -1 isr [] elr [1] leader epoch 3 partition epoch 3
        register after that      leader -1 isr [] elr [1] leader epoch 3 partition epoch 3
        unfence                  leader 1 isr [1] elr [] leader epoch 4 partition epoch 4
        fence                    leader -1 isr [] elr [1] leader epoch 5 partition epoch 5
        register after kill -9   leader -1 isr [] elr [1] leader epoch 5 partition epoch 5
        unfence                  leader 1 isr [1] elr [] leader epoch 6 partition epoch 6
    "#]],
    );
}

#[test]
fn leadership_moves_within_the_isr_and_the_last_member_stays_in_it() {
    check(
        &[1, 2, 3],
        &[],
        &[],
        &[
            ("fence 2", |c| c.fence(2)),
            ("fence 1", |c| c.fence(1)),
            ("fence 3", |c| c.fence(3)),
            ("unfence 1", |c| c.unfence(1)),
            ("unfence 3", |c| c.unfence(3)),
            ("unregister 1", |c| {
                let decision = super::super::unregister_broker(&c.image, &c.settings, BrokerId(1)).unwrap();
                c.commit(decision.records);
            }),
        ],
        &expect![[r#"
            created                  leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 0
            fence 2                  leader 1 isr [1,3] elr [] leader epoch 0 partition epoch 1
            fence 1                  leader 3 isr [3] elr [] leader epoch 1 partition epoch 2
            fence 3                  leader -1 isr [3] elr [] leader epoch 2 partition epoch 3
            unfence 1                leader -1 isr [3] elr [] leader epoch 2 partition epoch 3
            unfence 3                leader 3 isr [3] elr [] leader epoch 3 partition epoch 4
            unregister 1             leader 3 isr [3] elr [] leader epoch 3 partition epoch 4
        "#]],
    );
}

#[test]
fn who_leaves_a_too_small_isr_stays_eligible_unless_it_restarts_uncleanly() {
    check(
        &[1, 2, 3],
        &[(ELR, 1)],
        &[("min.insync.replicas", "2")],
        &[
            ("fence 1", |c| c.fence(1)),
            ("fence 2", |c| c.fence(2)),
            ("fence 3", |c| c.fence(3)),
            ("2 back uncleanly", |c| c.register(2, false)),
            ("unfence 2", |c| c.unfence(2)),
            ("unfence 1", |c| c.unfence(1)),
            ("fence 1 again", |c| c.fence(1)),
            ("unfence 3", |c| c.unfence(3)),
        ],
        &expect![[r#"
            created                  leader 1 isr [1,2,3] elr [] leader epoch 0 partition epoch 0
            fence 1                  leader 2 isr [2,3] elr [] leader epoch 1 partition epoch 1
            fence 2                  leader 3 isr [3] elr [2] leader epoch 2 partition epoch 2
            fence 3                  leader -1 isr [] elr [2,3] leader epoch 3 partition epoch 3
            2 back uncleanly         leader -1 isr [] elr [3] leader epoch 3 partition epoch 4
            unfence 2                leader -1 isr [] elr [3] leader epoch 3 partition epoch 4
            unfence 1                leader -1 isr [] elr [3] leader epoch 3 partition epoch 4
            fence 1 again            leader -1 isr [] elr [3] leader epoch 3 partition epoch 4
            unfence 3                leader 3 isr [3] elr [] leader epoch 4 partition epoch 5
        "#]],
    );
}

#[test]
fn an_unclean_election_happens_only_where_asked_for_and_says_so() {
    let steps: &[(&str, fn(&mut Cluster))] = &[
        ("only 1 in sync", |c| c.set_isr("t", &[1])),
        ("fence 1", |c| c.fence(1)),
        ("unfence 1", |c| c.unfence(1)),
    ];
    check(
        &[1, 2],
        &[],
        &[],
        steps,
        &expect![[r#"
        created                  leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
        only 1 in sync           leader 1 isr [1] elr [] leader epoch 0 partition epoch 1
        fence 1                  leader -1 isr [1] elr [] leader epoch 1 partition epoch 2
        unfence 1                leader 1 isr [1] elr [] leader epoch 2 partition epoch 3
    "#]],
    );
    check(
        &[1, 2],
        &[],
        &[("unclean.leader.election.enable", "true")],
        steps,
        &expect![[r#"
        created                  leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
        only 1 in sync           leader 1 isr [1] elr [] leader epoch 0 partition epoch 1
        fence 1                  leader 2 isr [2] elr [] leader epoch 1 partition epoch 2 recovering
        unfence 1                leader 2 isr [2] elr [] leader epoch 1 partition epoch 2 recovering
    "#]],
    );
}

#[test]
fn a_failed_log_directory_takes_its_replicas_out_and_keeps_them_from_leading() {
    check(
        &[1, 2],
        &[],
        &[],
        &[
            ("1 loses its directory", |c| {
                c.commit(fence_log_directories(&c.image, &c.settings, BrokerId(1), &[directory(1)]));
            }),
            ("fence 2", |c| c.fence(2)),
            ("fence 1", |c| c.fence(1)),
            ("unfence 1", |c| c.unfence(1)),
            ("unfence 2", |c| c.unfence(2)),
        ],
        &expect![[r#"
            created                  leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
            1 loses its directory    leader 2 isr [2] elr [] leader epoch 1 partition epoch 1
            fence 2                  leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            fence 1                  leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            unfence 1                leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            unfence 2                leader 2 isr [2] elr [] leader epoch 3 partition epoch 3
        "#]],
    );
}

#[test]
fn a_broker_on_its_way_down_is_not_elected() {
    check(
        &[1, 2],
        &[],
        &[],
        &[
            ("1 shuts down", |c| c.shut_down(1)),
            ("fence 2", |c| c.fence(2)),
            ("1 is fenced", |c| c.fence(1)),
            ("1 unfenced, going down", |c| c.unfence(1)),
            ("unfence 2", |c| c.unfence(2)),
        ],
        &expect![[r#"
            created                  leader 1 isr [1,2] elr [] leader epoch 0 partition epoch 0
            1 shuts down             leader 2 isr [2] elr [] leader epoch 1 partition epoch 1
            fence 2                  leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            1 is fenced              leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            1 unfenced, going down   leader -1 isr [2] elr [] leader epoch 2 partition epoch 2
            unfence 2                leader 2 isr [2] elr [] leader epoch 3 partition epoch 3
        "#]],
    );
}
