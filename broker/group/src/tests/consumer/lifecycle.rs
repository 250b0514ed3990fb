//! Members join, share, hand over, and go.

use moldau_model::ErrorCode;

use super::{Topics, beat, cluster, having, joining, set, told, with_config};
use crate::*;

#[test]
fn the_first_member_gets_everything_with_its_first_heartbeat() {
    let mut h = cluster(&[("t", 3)]);
    let joined = h.beat(joining("g", "a", &["t"]));
    assert_eq!((joined.error, joined.member_epoch), (ErrorCode::None, 2));
    assert_eq!(told(&joined), Some(set(&["t-0", "t-1", "t-2"])));
    let silent = h.beat(beat("g", "a", 2));
    assert_eq!((silent.error, silent.member_epoch, silent.assignment), (ErrorCode::None, 2, None));
    assert!(h.pending.is_empty());
}

#[test]
fn members_come_often_while_partitions_move_and_seldom_once_they_have_settled() {
    let mut h = cluster(&[("t", 2)]);
    assert_eq!(h.beat(joining("g", "a", &["t"])).heartbeat_interval_ms, 100, "others may be about to join");
    h.advance(4_999);
    assert_eq!(h.beat(beat("g", "a", 2)).heartbeat_interval_ms, 100);
    h.advance(1);
    assert_eq!(h.beat(beat("g", "a", 2)).heartbeat_interval_ms, 5_000, "nothing has changed for an interval");
    // Another one joins; what it is to get is to be given up, however long that takes.
    h.beat(joining("g", "b", &["t"]));
    h.advance(9_000);
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1])])).heartbeat_interval_ms, 100);
    assert_eq!(h.beat(beat("g", "b", 3)).heartbeat_interval_ms, 100);
    let config = ConsumerGroupConfig { heartbeat_interval_ms: 50, ..ConsumerGroupConfig::default() };
    let mut h = with_config(&[("t", 2)], GroupConfig { consumer: config, ..GroupConfig::default() });
    assert_eq!(h.beat(joining("g", "a", &["t"])).heartbeat_interval_ms, 50, "never longer than is set");
}

#[test]
fn a_larger_group_comes_less_often_while_partitions_move() {
    for (members, expected_ms) in [(99, 100), (250, 250), (700, 500)] {
        let mut h = cluster(&[("t", 2)]);
        let joined = (0..members).map(|n| h.beat(joining("g", &format!("m{n}"), &["t"]))).last();
        assert_eq!(joined.unwrap().heartbeat_interval_ms, expected_ms, "{members}");
    }
}

#[test]
fn a_small_group_is_assigned_before_the_interval_between_assignments_has_passed() {
    let config = ConsumerGroupConfig { assignment_interval_ms: 1_000, ..ConsumerGroupConfig::default() };
    let mut h = with_config(
        &[("t", 2)],
        GroupConfig { consumer: config, initial_rebalance_delay_ms: 1, ..GroupConfig::default() },
    );
    // Each member more lets the group wait two milliseconds longer.
    for n in 0..100 {
        h.beat(joining("g", &format!("m{n}"), &["t"]));
    }
    assert_eq!(h.describe_consumer_group("g").state, "Assigning");
    h.advance(199);
    h.beat(beat("g", "m0", 2));
    assert_eq!(h.describe_consumer_group("g").state, "Assigning");
    h.advance(1);
    h.beat(beat("g", "m0", 2));
    assert_eq!(h.describe_consumer_group("g").state, "Reconciling");
}

#[test]
fn what_one_member_is_to_give_another_gets_once_it_was_given_up() {
    let mut h = cluster(&[("t", 4)]);
    h.beat(joining("g", "a", &["t"]));
    let joined = h.beat(joining("g", "b", &["t"]));
    assert_eq!((joined.member_epoch, told(&joined)), (3, Some(set(&[]))), "a has all of them still");
    let asked = h.beat(having("g", "a", 2, &[("t", &[0, 1, 2, 3])]));
    assert_eq!((asked.member_epoch, told(&asked)), (2, Some(set(&["t-0", "t-1"]))));
    assert_eq!(told(&h.beat(beat("g", "b", 3))), None, "a has not said that it gave them up");
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1, 2])])).member_epoch, 2, "t-2 is still there");
    let revoked = h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    assert_eq!((revoked.member_epoch, told(&revoked)), (3, None));
    let got = h.beat(beat("g", "b", 3));
    assert_eq!((got.member_epoch, told(&got)), (3, Some(set(&["t-2", "t-3"]))));
    assert_eq!(h.describe_consumer_group("g").state, "Stable");
}

#[test]
fn a_member_that_leaves_frees_what_it_had() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    let left = h.beat(beat("g", "a", -1));
    assert_eq!((left.error, left.member_epoch, left.member_id.as_deref()), (ErrorCode::None, -1, Some("a")));
    let got = h.beat(beat("g", "b", 3));
    assert_eq!((got.member_epoch, told(&got)), (4, Some(set(&["t-0", "t-1"]))));
    h.beat(beat("g", "b", -1));
    assert_eq!(h.describe_consumer_group("g").state, "Empty");
    assert_eq!(h.shard.next_deadline_ms(), Some(h.now_ms + 600_000), "no timer of a member is left");
}

#[test]
fn a_silent_member_goes_with_its_session() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.advance(44_999);
    assert_eq!(h.beat(beat("g", "a", 2)).error, ErrorCode::None);
    h.advance(45_000);
    assert_eq!(h.beat(beat("g", "a", 2)).error, ErrorCode::UnknownMemberId);
    assert_eq!(h.describe_consumer_group("g").state, "Empty");
}

#[test]
fn a_groups_own_settings_go_before_the_brokers() {
    let mut h = cluster(&[("t", 2)]);
    let overrides = GroupOverrides {
        session_timeout_ms: Some(50_000),
        heartbeat_interval_ms: Some(7_000),
        assignment_interval_ms: Some(9_000),
        ..GroupOverrides::default()
    };
    h.change_topics(&Topics { overrides, ..Topics::of(&[("t", 2)]) });
    h.beat(joining("g", "a", &["t"]));
    h.advance(7_000);
    assert_eq!(h.beat(beat("g", "a", 2)).heartbeat_interval_ms, 7_000);
    h.beat(joining("g", "b", &["t"]));
    h.beat(beat("g", "a", 2));
    assert_eq!(h.describe_consumer_group("g").state, "Assigning", "the last assignment is too young");
    h.advance(49_999);
    assert_eq!(h.describe_consumer_group("g").members.len(), 2);
    h.advance(1);
    assert_eq!(h.describe_consumer_group("g").state, "Empty");
}

#[test]
fn a_member_that_does_not_give_up_in_time_goes() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    h.advance(9_999);
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1])])).error, ErrorCode::None);
    h.advance(1);
    assert_eq!(h.beat(beat("g", "a", 2)).error, ErrorCode::UnknownMemberId);
    assert_eq!(told(&h.beat(beat("g", "b", 3))), Some(set(&["t-0", "t-1"])));
}

#[test]
fn one_that_gave_up_in_time_stays() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    h.beat(having("g", "a", 2, &[("t", &[0])]));
    h.advance(10_001);
    assert_eq!(h.beat(beat("g", "a", 3)).error, ErrorCode::None);
}

#[test]
fn more_partitions_of_a_topic_are_shared_with_the_next_heartbeats() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t", "later"]));
    h.change_topics(&Topics::of(&[("t", 2)]));
    let got = h.beat(beat("g", "a", 2));
    assert_eq!((got.member_epoch, told(&got)), (3, Some(set(&["t-0", "t-1"]))));
    h.change_topics(&Topics::of(&[("t", 2), ("later", 1)]));
    assert_eq!(told(&h.beat(beat("g", "a", 3))), Some(set(&["later-0", "t-0", "t-1"])));
    h.change_topics(&Topics::of(&[("later", 1)]));
    assert_eq!(
        told(&h.beat(having("g", "a", 4, &[("later", &[0]), ("t", &[0, 1])]))),
        Some(set(&["later-0"]))
    );
    // What has not changed begins no epoch.
    h.change_topics(&Topics::of(&[("later", 1)]));
    let epoch = h.describe_consumer_group("g").group_epoch;
    h.beat(beat("g", "a", 5));
    assert_eq!(h.describe_consumer_group("g").group_epoch, epoch);
}

#[test]
fn a_member_that_changes_its_subscription_gives_up_what_is_not_in_it() {
    let mut h = cluster(&[("t", 1), ("u", 1)]);
    h.beat(joining("g", "a", &["t"]));
    let change = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["u".into()]),
        ..having("g", "a", 2, &[("t", &[0])])
    };
    assert_eq!(told(&h.beat(change)), Some(set(&[])), "first it gives up");
    let got = h.beat(having("g", "a", 2, &[]));
    assert_eq!((got.member_epoch, told(&got)), (3, Some(set(&["u-0"]))));
}

#[test]
fn members_that_join_while_an_append_is_under_way_are_answered_together() {
    let mut h = cluster(&[("t", 10)]);
    h.auto_commit = false;
    let tokens: Vec<RequestToken> =
        (0..10).map(|at| h.send_beat(joining("g", &format!("m{at}"), &["t"]))).collect();
    assert_eq!(h.pending.len(), 1);
    let first = *h.pending.keys().next().unwrap();
    h.settle(first, Ok(()));
    assert_eq!(h.pending.len(), 1, "the nine others are one append");
    assert!(tokens[1..].iter().all(|token| h.is_parked(*token)));
    h.commit_all();
    for token in tokens {
        assert_eq!(h.heard(token).error, ErrorCode::None);
    }
    assert_eq!(h.describe_consumer_group("g").members.len(), 10);
}

#[test]
fn a_group_whose_append_fails_is_what_it_was_before() {
    let mut h = cluster(&[("t", 2)]);
    h.auto_commit = false;
    let token = h.send_beat(joining("g", "a", &["t"]));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.heard(token).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.shard.group_count(), 0, "it never was");
    h.auto_commit = true;
    h.beat(joining("g", "a", &["t"]));
    let before = h.describe_consumer_group("g");
    h.auto_commit = false;
    let token = h.send_beat(beat("g", "a", -1));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.heard(token).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.describe_consumer_group("g"), before);
    h.auto_commit = true;
    h.advance(45_000);
    assert_eq!(h.describe_consumer_group("g").state, "Empty", "its session runs on");
}

#[test]
fn who_waits_for_an_append_that_takes_too_long_is_told() {
    let mut h = cluster(&[("t", 2)]);
    h.auto_commit = false;
    let tokens = [h.send_beat(joining("g", "a", &["t"])), h.send_beat(joining("g", "b", &["t"]))];
    h.advance(5_000);
    for token in tokens {
        assert_eq!(h.heard(token).error, ErrorCode::CoordinatorNotAvailable);
    }
    let late = h.send_beat(joining("g", "c", &["t"]));
    assert_eq!(h.heard(late).error, ErrorCode::CoordinatorNotAvailable);
    h.commit_all();
    assert_eq!(h.describe_consumer_group("g").members.len(), 1, "it was written after all");
}

#[test]
fn a_group_goes_on_under_the_next_coordinator() {
    let mut h = cluster(&[("t", 4)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1, 2, 3])]));
    let before = h.describe_consumer_group("g");
    h.fail_over();
    assert_eq!(h.describe_consumer_group("g"), before);
    h.advance(9_999);
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1])])).member_epoch, 3);
    assert_eq!(told(&h.beat(beat("g", "b", 3))), Some(set(&["t-2", "t-3"])));
    h.fail_over();
    h.advance(45_000);
    assert_eq!(h.describe_consumer_group("g").state, "Empty", "sessions begin anew with a load, and end");
}

#[test]
fn a_target_is_computed_again_once_the_last_one_is_old_enough() {
    // Of 500 members or more; two hundred and fiftieth parts of it are a second.
    let consumer = ConsumerGroupConfig { assignment_interval_ms: 250_000, ..ConsumerGroupConfig::default() };
    let mut h = with_config(&[("t", 2)], GroupConfig { consumer, ..GroupConfig::default() });
    h.beat(joining("g", "a", &["t"]));
    let early = h.beat(joining("g", "b", &["t"]));
    assert_eq!((early.member_epoch, told(&early)), (2, Some(set(&[]))), "with the target as it was");
    h.advance(999);
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1])])).assignment, None);
    h.advance(1);
    assert_eq!(told(&h.beat(having("g", "a", 2, &[("t", &[0, 1])]))), Some(set(&["t-0"])));
}
