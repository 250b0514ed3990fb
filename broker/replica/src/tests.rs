//! Three replicas, 1 leads: what moves the high watermark and the ISR.

mod random;

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, TimestampMs};

use crate::*;

const LAG_MS: i64 = 30_000;
const B1: BrokerId = BrokerId(1);
const B2: BrokerId = BrokerId(2);
const B3: BrokerId = BrokerId(3);

fn at(ms: i64) -> TimestampMs {
    TimestampMs(1_000_000 + ms)
}

fn ends(log_start: i64, durable: i64, log_end: i64) -> LogEnds {
    LogEnds { log_start: Offset(log_start), durable_end: Offset(durable), log_end: Offset(log_end) }
}

fn registration(
    leader: Option<BrokerId>,
    isr: &[BrokerId],
    leader_epoch: i32,
    epoch: i32,
) -> PartitionRegistration {
    PartitionRegistration {
        replicas: vec![B1, B2, B3],
        isr: isr.to_vec(),
        absent: Vec::new(),
        leader,
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(epoch),
    }
}

fn fetch(fetch_offset: i64, durable: i64) -> FollowerFetch {
    FollowerFetch {
        fetch_offset: Offset(fetch_offset),
        durable_end: Offset(durable),
        log_start: Offset(0),
        broker_epoch: BrokerEpoch(7),
        may_join: true,
    }
}

/// Leads an empty log in epoch 0 with this ISR; min.insync.replicas is 1.
fn leader(isr: &[BrokerId]) -> Replica {
    let mut replica = Replica::new(B1, ends(0, 0, 0), Offset(0), 1, LAG_MS);
    let (change, _) = replica.handle_registration(&registration(Some(B1), isr, 0, 0), at(0));
    assert_eq!(change, RoleChange::BecameLeader);
    replica
}

fn members(alter: Option<AlterPartition>) -> Vec<BrokerId> {
    alter.expect("a proposal").new_isr.iter().map(|member| member.broker_id).collect()
}

fn committed(isr: &[BrokerId], epoch: i32) -> AlterPartitionOutcome {
    AlterPartitionOutcome::Committed {
        isr: isr.to_vec(),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(epoch),
    }
}

#[test]
fn a_lone_replica_moves_with_its_own_durable_end_and_not_with_what_it_wrote() {
    let mut replica = leader(&[B1]);
    assert_eq!(replica.handle_log_ends(ends(0, 0, 10), at(1)), None);
    assert_eq!(replica.high_watermark(), Offset(0));
    assert_eq!(replica.handle_log_ends(ends(0, 7, 10), at(2)), Some(Offset(7)));
    assert_eq!(replica.handle_log_ends(ends(0, 10, 10), at(3)), Some(Offset(10)));
}

#[test]
fn a_follower_lags_until_it_is_in_the_isr_or_has_what_its_leader_says_is_committed() {
    let mut replica = Replica::new(B1, ends(0, 4, 5), Offset(0), 1, LAG_MS);
    assert!(!replica.is_lagging(), "it follows nobody");
    replica.handle_registration(&registration(Some(B2), &[B2], 0, 0), at(0));
    assert!(replica.is_lagging(), "the leader has said nothing yet");
    for (high_watermark, expected) in [(6, true), (5, false), (0, false), (6, true)] {
        replica.handle_leader_high_watermark(Offset(high_watermark));
        assert_eq!(replica.is_lagging(), expected, "{high_watermark}");
    }
    replica.handle_registration(&registration(Some(B2), &[B2, B1], 0, 1), at(1));
    assert!(!replica.is_lagging(), "it is in the ISR");
    replica.handle_registration(&registration(Some(B2), &[B2], 0, 2), at(2));
    assert!(replica.is_lagging(), "it left the ISR");
    replica.handle_log_ends(ends(0, 4, 6), at(3));
    assert!(!replica.is_lagging(), "it has all");
    replica.handle_registration(&registration(Some(B3), &[B3], 1, 3), at(4));
    assert!(replica.is_lagging(), "another leader");
    replica.handle_registration(&registration(Some(B1), &[B1], 2, 4), at(5));
    assert!(!replica.is_lagging(), "it leads");
}

#[test]
fn the_high_watermark_is_the_smallest_durable_end_of_the_isr() {
    // Rows: durable ends of leader, 2 and 3; the fetch offsets always say 100, which counts for nothing.
    for (own, second, third, expected) in
        [(100, 100, 100, 100), (60, 100, 100, 60), (100, 60, 100, 60), (100, 70, 60, 60), (100, 0, 100, 0)]
    {
        let mut replica = leader(&[B1, B2, B3]);
        replica.handle_log_ends(ends(0, own, 100), at(1));
        replica.handle_follower_fetch(B2, &fetch(100, second), at(2)).unwrap();
        replica.handle_follower_fetch(B3, &fetch(100, third), at(3)).unwrap();
        assert_eq!(replica.high_watermark(), Offset(expected), "{own} {second} {third}");
    }
}

#[test]
fn a_lag_is_told_of_each_follower_from_when_it_had_all() {
    let lags = |replica: &Replica, ms| {
        let all = replica.follower_lags(at(ms));
        all.map(|(follower, durable_end, ms)| (follower, durable_end.0, ms)).collect::<Vec<_>>()
    };
    let mut replica = leader(&[B1, B2, B3]);
    replica.handle_log_ends(ends(0, 100, 100), at(10));
    replica.handle_follower_fetch(B2, &fetch(100, 100), at(20)).unwrap();
    assert_eq!(lags(&replica, 25), [(B2, 100, 0), (B3, -1, 25)], "3 counts from the leadership's start");
    replica.handle_log_ends(ends(0, 110, 110), at(30));
    assert_eq!(lags(&replica, 50), [(B2, 100, 30), (B3, -1, 50)]);
    replica.handle_registration(&registration(Some(B2), &[B2], 1, 1), at(60));
    assert_eq!(lags(&replica, 70), [], "a follower knows of no others");
}

#[test]
fn a_member_that_never_fetched_holds_the_high_watermark() {
    let mut replica = leader(&[B1, B2, B3]);
    replica.handle_log_ends(ends(0, 100, 100), at(1));
    replica.handle_follower_fetch(B2, &fetch(100, 100), at(2)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(0));
}

#[test]
fn below_min_isr_the_high_watermark_stays_and_appends_are_refused() {
    let mut replica = Replica::new(B1, ends(0, 0, 0), Offset(0), 2, LAG_MS);
    replica.handle_registration(&registration(Some(B1), &[B1], 0, 0), at(0));
    assert_eq!(replica.min_isr(), Some(MinIsr::TooFew { isr: 1, min: 2 }));
    assert_eq!(replica.handle_log_ends(ends(0, 10, 10), at(1)), None);
    let output = replica.handle_limits(1, LAG_MS, at(2));
    assert_eq!(output.high_watermark, Some(Offset(10)));
    assert_eq!(replica.min_isr(), Some(MinIsr::Enough));
}

#[test]
fn min_isr_is_capped_by_the_number_of_replicas() {
    let mut replica = Replica::new(B1, ends(0, 0, 0), Offset(0), 2, LAG_MS);
    let mut alone = registration(Some(B1), &[B1], 0, 0);
    alone.replicas = vec![B1];
    replica.handle_registration(&alone, at(0));
    assert_eq!(replica.min_isr(), Some(MinIsr::Enough));
    assert_eq!(replica.handle_log_ends(ends(0, 5, 5), at(1)), Some(Offset(5)));
}

#[test]
fn a_follower_joins_when_its_durable_end_reaches_the_high_watermark_and_this_leaderships_start() {
    let mut replica = Replica::new(B1, ends(0, 50, 50), Offset(20), 1, LAG_MS);
    // The epoch starts at 50; the checkpointed high watermark of 20 holds because 2 and 3 are unknown members.
    replica.handle_registration(&registration(Some(B1), &[B1, B2], 3, 9), at(0));
    assert_eq!(replica.high_watermark(), Offset(20));
    for (durable, joins) in [(10, false), (20, false), (49, false), (50, true)] {
        let output = replica.clone().handle_follower_fetch(B3, &fetch(50, durable), at(1)).unwrap();
        assert_eq!(output.alter_partition.is_some(), joins, "{durable}");
    }
}

#[test]
fn a_pending_expansion_counts_before_it_is_committed() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    let output = replica.handle_follower_fetch(B3, &fetch(0, 0), at(2)).unwrap();
    assert_eq!(members(output.alter_partition), [B1, B2, B3]);
    // Far past the lag time nothing but the pending set holds it.
    let late = at(LAG_MS * 10);
    replica.handle_follower_fetch(B2, &fetch(10, 10), late).unwrap();
    assert_eq!(replica.high_watermark(), Offset(0));
    let output = replica.handle_alter_partition_result(LeaderEpoch(0), AlterPartitionOutcome::Refused, late);
    assert_eq!(output.high_watermark, Some(Offset(10)));
}

#[test]
fn only_one_proposal_is_under_way() {
    let mut replica = leader(&[B1]);
    let first = replica.handle_follower_fetch(B2, &fetch(0, 0), at(1)).unwrap();
    assert_eq!(members(first.alter_partition), [B1, B2]);
    let second = replica.handle_follower_fetch(B3, &fetch(0, 0), at(2)).unwrap();
    assert_eq!(second.alter_partition, None);
    replica.handle_alter_partition_result(LeaderEpoch(0), committed(&[B1, B2], 1), at(3));
    let third = replica.handle_follower_fetch(B3, &fetch(0, 0), at(4)).unwrap().alter_partition.unwrap();
    assert_eq!(third.partition_epoch, PartitionEpoch(1));
    assert_eq!(third.new_isr.len(), 3);
    assert_eq!(third.new_isr[1], IsrMember { broker_id: B2, broker_epoch: BrokerEpoch(7) });
}

#[test]
fn a_shrink_counts_the_larger_set_until_it_is_committed() {
    let mut replica = leader(&[B1, B2, B3]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    replica.handle_follower_fetch(B2, &fetch(10, 10), at(LAG_MS)).unwrap();
    assert_eq!(replica.poll_isr(at(LAG_MS)), LeaderOutput::default());
    let output = replica.poll_isr(at(LAG_MS + 1));
    assert_eq!(members(output.alter_partition), [B1, B2]);
    assert_eq!(replica.high_watermark(), Offset(0));
    let output =
        replica.handle_alter_partition_result(LeaderEpoch(0), committed(&[B1, B2], 1), at(LAG_MS + 2));
    assert_eq!(output.high_watermark, Some(Offset(10)));
    assert_eq!(replica.isr(), Some(&[B1, B2][..]));
}

#[test]
fn a_lost_answer_keeps_the_larger_set_and_the_same_proposal_is_repeated() {
    let mut replica = leader(&[B1, B2]);
    let late = at(LAG_MS + 1);
    let first = replica.poll_isr(late).alter_partition.unwrap();
    assert_eq!(replica.poll_isr(late).alter_partition, None);
    replica.handle_log_ends(ends(0, 5, 5), late);
    let output = replica.handle_alter_partition_result(LeaderEpoch(0), AlterPartitionOutcome::Unknown, late);
    assert_eq!(output.high_watermark, None);
    assert_eq!(replica.poll_isr(late).alter_partition, Some(first));
    // Metadata shows that the first one had been committed.
    let (change, output) = replica.handle_registration(&registration(Some(B1), &[B1], 0, 1), late);
    assert_eq!((change, output.high_watermark), (RoleChange::LeaderUpdated, Some(Offset(5))));
    // The late answer to the second says nothing new.
    replica.handle_alter_partition_result(LeaderEpoch(0), committed(&[B1, B2], 1), late);
    assert_eq!(replica.isr(), Some(&[B1][..]));
}

#[test]
fn a_repeated_proposal_names_the_incarnation_that_had_caught_up() {
    let mut replica = leader(&[B1]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    let first = replica.handle_follower_fetch(B2, &fetch(10, 10), at(2)).unwrap().alter_partition.unwrap();
    assert_eq!(members(Some(first.clone())), [B1, B2]);
    replica.handle_alter_partition_result(LeaderEpoch(0), AlterPartitionOutcome::Unknown, at(3));
    // It comes back with another disk and nothing on it, under another registration.
    let empty = FollowerFetch { broker_epoch: BrokerEpoch(8), ..fetch(0, 0) };
    assert_eq!(replica.handle_follower_fetch(B2, &empty, at(4)).unwrap().alter_partition, None);
    assert_eq!(replica.poll_isr(at(5)).alter_partition, Some(first));
    // So the controller refuses, and it joins when it has caught up again.
    replica.handle_alter_partition_result(LeaderEpoch(0), AlterPartitionOutcome::Refused, at(6));
    assert_eq!(replica.handle_follower_fetch(B2, &empty, at(7)).unwrap().alter_partition, None);
    let caught_up = FollowerFetch { broker_epoch: BrokerEpoch(8), ..fetch(10, 10) };
    let again = replica.handle_follower_fetch(B2, &caught_up, at(8)).unwrap().alter_partition.unwrap();
    assert_eq!(again.new_isr[1], IsrMember { broker_id: B2, broker_epoch: BrokerEpoch(8) });
}

#[test]
fn a_steady_load_does_not_shrink_a_follower_that_keeps_pace() {
    let mut replica = leader(&[B1, B2]);
    for round in 1..100 {
        let now = at(round * 1_000);
        replica.handle_log_ends(ends(0, round * 10, round * 10), now);
        // It always is one round behind.
        replica.handle_follower_fetch(B2, &fetch((round - 1) * 10, (round - 1) * 10), now).unwrap();
        assert_eq!(replica.poll_isr(now).alter_partition, None, "round {round}");
    }
}

#[test]
fn fetching_more_often_than_syncing_is_no_lag() {
    let mut replica = leader(&[B1, B2]);
    // Ten records a second and a sync every second, with a fetch for each record: what is durable never is what the leader
    // had at the fetch before.
    let lag = LAG_MS / 100;
    replica.handle_limits(1, lag, at(0));
    for tick in 1..1_000 {
        let now = at(tick * lag / 10);
        replica.handle_log_ends(ends(0, tick, tick), now);
        let durable = tick / 3 * 3 - 3;
        replica.handle_follower_fetch(B2, &fetch(tick - 1, durable.max(0)), now).unwrap();
        assert_eq!(replica.poll_isr(now).alter_partition, None, "tick {tick}");
    }
    // And one that stands still is.
    let late = at(1_000 * lag / 10 + 2 * lag);
    replica.handle_follower_fetch(B2, &fetch(999, 990), late).unwrap();
    assert_eq!(members(replica.poll_isr(late).alter_partition), [B1]);
}

#[test]
fn a_follower_that_does_not_say_what_is_durable_counts_as_having_nothing() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    let silent = FollowerFetch { durable_end: Offset::NONE, ..fetch(10, 0) };
    replica.handle_follower_fetch(B2, &silent, at(2)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(0));
    let mut replica = leader(&[B1]);
    assert_eq!(replica.handle_follower_fetch(B2, &silent, at(3)).unwrap().alter_partition, None);
    // Nor does more count than it has.
    replica.handle_log_ends(ends(0, 10, 10), at(4));
    let boasting = FollowerFetch { durable_end: Offset(99), ..fetch(5, 0) };
    assert_eq!(replica.handle_follower_fetch(B2, &boasting, at(5)).unwrap().alter_partition, None);
}

#[test]
fn a_follower_that_is_fenced_is_not_proposed() {
    let mut replica = leader(&[B1]);
    let fenced = FollowerFetch { may_join: false, ..fetch(0, 0) };
    assert_eq!(replica.handle_follower_fetch(B2, &fenced, at(1)).unwrap().alter_partition, None);
    // It is let in, and has nothing new to say of this partition; what an incarnation before it had is not asked after.
    let other = replica.handle_follower_seen(B2, BrokerEpoch(8), true, at(2));
    assert_eq!(other, LeaderOutput::default());
    assert_eq!(replica.handle_follower_seen(B3, BrokerEpoch(7), true, at(2)), LeaderOutput::default());
    let output = replica.handle_follower_seen(B2, BrokerEpoch(7), true, at(2));
    assert_eq!(members(output.alter_partition), [B1, B2]);
}

#[test]
fn a_follower_that_the_controller_put_out_does_not_hold_the_high_watermark() {
    let mut replica = leader(&[B1, B2, B3]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    replica.handle_follower_fetch(B2, &fetch(10, 10), at(2)).unwrap();
    replica.handle_follower_fetch(B3, &fetch(10, 10), at(2)).unwrap();
    // Broker 3 has stopped, and was caught up a moment ago.
    replica.handle_registration(&registration(Some(B1), &[B1, B2], 0, 1), at(3));
    replica.handle_log_ends(ends(0, 20, 20), at(4));
    replica.handle_follower_fetch(B2, &fetch(20, 20), at(5)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(20));
    // Were it there after all, it would be waited for, or a steady load would keep it out for ever.
    replica.handle_follower_fetch(B3, &fetch(20, 10), at(6)).unwrap();
    replica.handle_log_ends(ends(0, 30, 30), at(7));
    replica.handle_follower_fetch(B2, &fetch(30, 30), at(8)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(20));
}

#[test]
fn a_follower_whose_broker_is_gone_does_not_hold_the_high_watermark_and_is_not_proposed() {
    let mut replica = leader(&[B1, B2, B3]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    for follower in [B2, B3] {
        replica.handle_follower_fetch(follower, &fetch(10, 10), at(2)).unwrap();
    }
    let without = PartitionRegistration { absent: vec![B3], ..registration(Some(B1), &[B1, B2], 0, 1) };
    replica.handle_registration(&without, at(3));
    // A fetch that was under way when broker 3 was put out still says that it may join.
    let output = replica.handle_follower_fetch(B3, &fetch(10, 10), at(4)).unwrap();
    assert_eq!(output.alter_partition, None);
    let output = replica.handle_follower_seen(B3, BrokerEpoch(7), true, at(4));
    assert_eq!(output.alter_partition, None);
    replica.handle_log_ends(ends(0, 20, 20), at(5));
    replica.handle_follower_fetch(B2, &fetch(20, 20), at(6)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(20));
    // Back again, it is waited for, and goes once more before it has joined.
    replica.handle_broker(B3, false, at(7));
    replica.handle_follower_fetch(B3, &fetch(20, 19), at(8)).unwrap();
    replica.handle_log_ends(ends(0, 30, 30), at(9));
    replica.handle_follower_fetch(B2, &fetch(30, 30), at(10)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(20));
    let output = replica.handle_broker(B3, true, at(11));
    assert_eq!(output.high_watermark, Some(Offset(30)));
}

#[test]
fn consumers_may_read_from_the_followers_in_the_isr_that_hold_their_offset() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(0, 20, 20), at(1));
    let holds = FollowerFetch { log_start: Offset(5), ..fetch(10, 10) };
    replica.handle_follower_fetch(B2, &holds, at(2)).unwrap();
    // In sync with nobody, however much it holds.
    replica.handle_follower_fetch(B3, &FollowerFetch { may_join: false, ..fetch(20, 20) }, at(2)).unwrap();
    for (offset, is_held) in [(4, false), (5, true), (10, true), (11, false)] {
        let found: Vec<_> = replica.followers_with(Offset(offset)).collect();
        assert_eq!(found, if is_held { vec![(B2, Offset(10))] } else { Vec::new() }, "{offset}");
    }
}

#[test]
fn a_fetch_under_an_older_registration_or_of_a_stranger_counts_for_nothing() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    replica
        .handle_follower_fetch(B2, &FollowerFetch { broker_epoch: BrokerEpoch(8), ..fetch(0, 0) }, at(2))
        .unwrap();
    assert_eq!(replica.handle_follower_fetch(B2, &fetch(10, 10), at(3)), Err(StaleFetch));
    assert_eq!(replica.handle_follower_fetch(BrokerId(9), &fetch(10, 10), at(3)), Err(StaleFetch));
    assert_eq!(replica.high_watermark(), Offset(0));
}

#[test]
fn a_new_epoch_forgets_what_followers_had() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(0, 10, 10), at(1));
    replica.handle_follower_fetch(B2, &fetch(10, 10), at(2)).unwrap();
    assert_eq!(replica.high_watermark(), Offset(10));
    let (change, _) = replica.handle_registration(&registration(Some(B1), &[B1, B2], 1, 5), at(3));
    assert_eq!(change, RoleChange::BecameLeader);
    replica.handle_log_ends(ends(0, 20, 20), at(4));
    assert_eq!(replica.high_watermark(), Offset(10));
    assert_eq!(replica.epoch_start_offset(), Some(Offset(10)));
}

#[test]
fn a_proposal_of_an_older_leadership_is_ignored() {
    let mut replica = leader(&[B1]);
    replica.handle_follower_fetch(B2, &fetch(0, 0), at(1)).unwrap().alter_partition.unwrap();
    replica.handle_registration(&registration(Some(B1), &[B1], 1, 4), at(2));
    replica.handle_alter_partition_result(LeaderEpoch(0), committed(&[B1, B2], 5), at(3));
    assert_eq!(replica.isr(), Some(&[B1][..]));
}

#[test]
fn metadata_that_is_not_newer_changes_nothing() {
    let mut replica = leader(&[B1, B2]);
    for registration in [registration(Some(B2), &[B2], 0, 0), registration(None, &[], 5, 0)] {
        assert_eq!(replica.handle_registration(&registration, at(1)).0, RoleChange::Stale);
    }
    assert_eq!(replica.role(), Role::Leader { leader_epoch: LeaderEpoch(0) });
}

#[test]
fn a_follower_takes_its_leaders_high_watermark_up_to_its_own_end() {
    let mut replica = Replica::new(B1, ends(0, 0, 0), Offset(0), 1, LAG_MS);
    let (change, _) = replica.handle_registration(&registration(Some(B2), &[B1, B2], 0, 0), at(0));
    assert_eq!(change, RoleChange::BecameFollower);
    replica.handle_log_ends(ends(0, 3, 5), at(1));
    assert_eq!(replica.handle_leader_high_watermark(Offset(9)), Some(Offset(5)));
    assert_eq!(replica.handle_leader_high_watermark(Offset(4)), None);
    assert_eq!(replica.high_watermark(), Offset(5));
    replica.handle_truncated(ends(0, 2, 2));
    assert_eq!(replica.high_watermark(), Offset(2));
}

#[test]
fn a_checkpoint_beyond_the_log_is_brought_into_it() {
    for (log, checkpoint, expected) in
        [(ends(0, 5, 5), 9, 5), (ends(4, 5, 5), 1, 4), (ends(0, 5, 5), 3, 3), (ends(0, 0, 0), -1, 0)]
    {
        let replica = Replica::new(B1, log, Offset(checkpoint), 1, LAG_MS);
        assert_eq!(replica.high_watermark(), Offset(expected));
    }
}

#[test]
fn the_low_watermark_is_the_smallest_log_start_of_the_isr() {
    let mut replica = leader(&[B1, B2]);
    replica.handle_log_ends(ends(4, 10, 10), at(1));
    let behind = FollowerFetch { log_start: Offset(2), ..fetch(10, 10) };
    replica.handle_follower_fetch(B2, &behind, at(2)).unwrap();
    assert_eq!(replica.low_watermark(), Some(Offset(2)));
}

#[test]
#[should_panic(expected = "log ends out of order")]
fn a_durable_end_beyond_the_log_is_a_broken_invariant() {
    leader(&[B1]).handle_log_ends(ends(0, 11, 10), at(1));
}
