//! Static members (KIP-345): who comes back under its instance id takes its place, and the old one is fenced.

use moldau_model::ErrorCode;

use super::harness::{Harness, join, protocol, static_join, subscription, sync};
use crate::*;

/// Two static members, `i0` the leader and `i1`, each assigned its instance id.
fn static_pair(h: &mut Harness) -> [String; 2] {
    let tokens = ["i0", "i1"].map(|instance_id| {
        let request = JoinGroupRequest { new_member_uuid: h.uuid(), ..static_join("g", instance_id) };
        h.send_join(request)
    });
    let [leader, follower] = tokens.map(|token| h.joined(token).member_id);
    h.sync(sync("g", &leader, 1, &[(&leader, "i0"), (&follower, "i1")]));
    assert_eq!(h.sync(sync("g", &follower, 1, &[])).assignment, "i1");
    [leader, follower]
}

fn come_back(h: &Harness, instance_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { new_member_uuid: h.uuid(), ..static_join("g", instance_id) }
}

#[test]
fn a_static_member_needs_no_second_join_for_its_id() {
    let mut h = Harness::new();
    let response = h.join(static_join("g", "i"));
    assert_eq!((response.error, response.generation_id.0), (ErrorCode::None, 1));
    assert!(response.member_id.starts_with("i-"), "{}", response.member_id);
    assert_eq!(response.members[0].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn a_member_that_comes_back_takes_its_place_without_a_rebalance() {
    let mut h = Harness::new();
    let [leader, follower] = static_pair(&mut h);
    let request = come_back(&h, "i1");
    let back = h.join(request);
    assert_eq!((back.error, back.generation_id.0, back.skip_assignment), (ErrorCode::None, 1, false));
    assert_eq!((back.leader.as_str(), back.members.len()), (leader.as_str(), 0));
    assert_ne!(back.member_id, follower);
    assert_eq!(h.state("g"), "Stable");
    assert_eq!(h.heartbeat("g", &leader, 1), ErrorCode::None, "the other one notices nothing");
    assert_eq!(h.sync(sync("g", &back.member_id, 1, &[])).assignment, "i1");
    let members = h.describe("g").members;
    let ids: Vec<&str> = members.iter().map(|member| member.member_id.as_str()).collect();
    assert!(ids.contains(&back.member_id.as_str()) && !ids.contains(&follower.as_str()));
}

#[test]
fn a_leader_that_comes_back_leads_and_is_told_not_to_assign_or_that_another_leads() {
    for (api_version, skips) in [(9, true), (8, false)] {
        let mut h = Harness::new();
        let [leader, _] = static_pair(&mut h);
        let request = JoinGroupRequest { api_version, ..come_back(&h, "i0") };
        let back = h.join(request);
        assert_eq!((back.error, back.generation_id.0, back.skip_assignment), (ErrorCode::None, 1, skips));
        if skips {
            assert_eq!((back.leader == back.member_id, back.members.len()), (true, 2));
        } else {
            assert_eq!((back.leader, back.members.len()), (leader, 0), "an older one would assign anew");
        }
        assert_eq!(h.sync(sync("g", &back.member_id, 1, &[])).assignment, "i0");
        // It leads nevertheless: when it joins again, that is a rebalance.
        let again = h.send_join(JoinGroupRequest {
            group_instance_id: Some("i0".into()),
            ..join("g", &back.member_id)
        });
        assert_eq!((h.is_parked(again), h.state("g").as_str()), (true, "PreparingRebalance"));
    }
}

#[test]
fn the_old_member_is_fenced_wherever_it_names_its_instance() {
    let mut h = Harness::new();
    let [_, old] = static_pair(&mut h);
    let request = come_back(&h, "i1");
    let new = h.join(request).member_id;
    let instance = || Some("i1".to_owned());
    let heartbeat = |member_id: &str| {
        Request::Heartbeat(HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1.into(),
            member_id: member_id.into(),
            group_instance_id: instance(),
        })
    };
    assert_eq!(h.call(heartbeat(&old)), Response::Heartbeat(ErrorCode::FencedInstanceId));
    assert_eq!(h.call(heartbeat(&new)), Response::Heartbeat(ErrorCode::None));
    let fenced_sync = SyncGroupRequest { group_instance_id: instance(), ..sync("g", &old, 1, &[]) };
    assert_eq!(h.sync(fenced_sync).error, ErrorCode::FencedInstanceId);
    let fenced_join = JoinGroupRequest { group_instance_id: instance(), ..join("g", &old) };
    assert_eq!(h.join(fenced_join).error, ErrorCode::FencedInstanceId);
    assert_eq!(h.leave("g", &[(&old, Some("i1"))]).members[0].error, ErrorCode::FencedInstanceId);
    // Without the instance id it is simply nobody.
    assert_eq!(h.heartbeat("g", &old, 1), ErrorCode::UnknownMemberId);
    assert_eq!(h.state("g"), "Stable");
}

#[test]
fn an_instance_that_the_group_does_not_know_cannot_bring_a_member_id() {
    let mut h = Harness::new();
    let [leader, _] = static_pair(&mut h);
    let request = JoinGroupRequest { group_instance_id: Some("i9".into()), ..join("g", &leader) };
    assert_eq!(h.join(request).error, ErrorCode::UnknownMemberId);
    // An id that was given to a dynamic member is none of a static one's.
    let pending = h.new_member_id("g");
    let request = JoinGroupRequest { group_instance_id: Some("i9".into()), ..join("g", &pending) };
    assert_eq!(h.join(request).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_place_that_cannot_be_written_goes_back_to_the_old_member() {
    let mut h = Harness::new();
    let [leader, old] = static_pair(&mut h);
    h.auto_commit = false;
    let request = come_back(&h, "i1");
    let token = h.send_join(request);
    assert!(h.is_parked(token));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    let refused = h.joined(token);
    assert_eq!((refused.error, refused.member_id.as_str()), (ErrorCode::CoordinatorNotAvailable, ""));
    h.auto_commit = true;
    assert_eq!(h.state("g"), "Stable");
    assert_eq!(h.heartbeat("g", &old, 1), ErrorCode::None);
    assert_eq!(h.sync(sync("g", &old, 1, &[])).assignment, "i1");
    // And its session runs: silent, it is out.
    h.advance(5_000);
    assert_eq!(h.heartbeat("g", &leader, 1), ErrorCode::None);
    h.advance(5_000);
    assert_eq!(h.heartbeat("g", &leader, 1), ErrorCode::RebalanceInProgress);
    assert_eq!(h.heartbeat("g", &old, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_place_taken_twice_while_the_first_is_written_is_the_seconds() {
    let mut h = Harness::new();
    static_pair(&mut h);
    h.auto_commit = false;
    let first = come_back(&h, "i1");
    let first = h.send_join(first);
    let second = come_back(&h, "i1");
    let second = h.send_join(second);
    assert_eq!(h.joined(first).error, ErrorCode::FencedInstanceId);
    assert!(h.is_parked(second));
    h.commit_all();
    let taken = h.joined(second);
    assert_eq!(taken.error, ErrorCode::None);
    h.auto_commit = true;
    assert_eq!(h.sync(sync("g", &taken.member_id, 1, &[])).assignment, "i1");
    h.fail_over();
    assert_eq!(h.sync(sync("g", &taken.member_id, 1, &[])).assignment, "i1");
}

#[test]
fn a_first_place_that_fails_does_not_undo_a_second_that_was_written() {
    let mut h = Harness::new();
    let [_, old] = static_pair(&mut h);
    h.auto_commit = false;
    let first = come_back(&h, "i1");
    h.send_join(first);
    let second = come_back(&h, "i1");
    let second = h.send_join(second);
    let appends: Vec<AppendId> = h.pending.keys().copied().collect();
    h.settle(appends[0], Err(ErrorCode::NotEnoughReplicas));
    h.settle(appends[1], Ok(()));
    let taken = h.joined(second);
    assert_eq!(taken.error, ErrorCode::None);
    h.auto_commit = true;
    assert_eq!(h.heartbeat("g", &taken.member_id, 1), ErrorCode::None);
    assert_eq!(h.heartbeat("g", &old, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_comes_back_with_another_protocol_is_a_rebalance() {
    let mut h = Harness::new();
    let tokens = ["i0", "i1"].map(|instance_id| {
        let protocols = vec![protocol("range", subscription("t")), protocol("sticky", subscription("t"))];
        let request = JoinGroupRequest { protocols, ..come_back(&h, instance_id) };
        h.send_join(request)
    });
    let [leader, _] = tokens.map(|token| h.joined(token).member_id);
    h.sync(sync("g", &leader, 1, &[]));
    let only_sticky = vec![protocol("sticky", subscription("t"))];
    let request = JoinGroupRequest { protocols: only_sticky, ..come_back(&h, "i1") };
    let token = h.send_join(request);
    assert_eq!((h.is_parked(token), h.state("g").as_str()), (true, "PreparingRebalance"));
    let both = vec![protocol("range", subscription("t")), protocol("sticky", subscription("t"))];
    let request =
        JoinGroupRequest { group_instance_id: Some("i0".into()), protocols: both, ..join("g", &leader) };
    assert_eq!(h.join(request).protocol_name.as_deref(), Some("sticky"));
    assert_eq!(h.joined(token).generation_id.0, 2);
}

#[test]
fn a_member_that_comes_back_while_the_leader_assigns_is_a_rebalance() {
    let mut h = Harness::new();
    let tokens = ["i0", "i1"].map(|instance_id| {
        let request = come_back(&h, instance_id);
        h.send_join(request)
    });
    let [leader, follower] = tokens.map(|token| h.joined(token).member_id);
    let waiting = h.send(Request::Sync(sync("g", &follower, 1, &[])));
    let request = come_back(&h, "i1");
    let back = h.send_join(request);
    assert_eq!(h.synced(waiting).error, ErrorCode::FencedInstanceId);
    assert_eq!(h.state("g"), "PreparingRebalance");
    let stale = h.sync(sync("g", &leader, 1, &[(&follower, "lost")]));
    assert_eq!(stale.error, ErrorCode::RebalanceInProgress);
    let again = JoinGroupRequest { group_instance_id: Some("i0".into()), ..join("g", &leader) };
    assert_eq!(h.join(again).generation_id.0, 2);
    assert_eq!(h.joined(back).generation_id.0, 2);
}

#[test]
fn a_member_that_comes_back_during_a_rebalance_is_part_of_it() {
    let mut h = Harness::new();
    let [leader, follower] = static_pair(&mut h);
    let again = |member_id: &str, i: &str| JoinGroupRequest {
        group_instance_id: Some(i.into()),
        ..join("g", member_id)
    };
    let parked = h.send_join(again(&leader, "i0"));
    let request = come_back(&h, "i0");
    let back = h.send_join(request);
    let fenced = h.joined(parked);
    assert_eq!((fenced.error, fenced.member_id.as_str()), (ErrorCode::FencedInstanceId, leader.as_str()));
    let follower = h.send_join(again(&follower, "i1"));
    let back = h.joined(back);
    assert_eq!((back.generation_id.0, back.members.len()), (2, 2));
    assert_eq!(h.joined(follower).generation_id.0, 2);
}

#[test]
fn a_static_member_that_misses_a_rebalance_keeps_its_place_until_its_session_ends() {
    let mut h = Harness::new();
    let long = |request: JoinGroupRequest| JoinGroupRequest {
        rebalance_timeout_ms: 6_000,
        session_timeout_ms: 30_000,
        ..request
    };
    let tokens = ["i0", "i1"].map(|instance_id| {
        let request = long(come_back(&h, instance_id));
        h.send_join(request)
    });
    let [leader, follower] = tokens.map(|token| h.joined(token).member_id);
    h.sync(sync("g", &leader, 1, &[]));
    h.sync(sync("g", &follower, 1, &[]));
    let rejoin =
        |leader: &str| long(JoinGroupRequest { group_instance_id: Some("i0".into()), ..join("g", leader) });
    let token = h.send_join(rejoin(&leader));
    h.advance(6_000);
    let joined = h.joined(token);
    assert_eq!((joined.generation_id.0, joined.members.len()), (2, 2), "it is away and a member");
    h.sync(sync("g", &leader, 2, &[]));
    assert_eq!(h.describe("g").members.len(), 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut h = Harness::new();
    let [_, follower] = static_pair(&mut h);
    let response = h.leave("g", &[("", Some("i1")), ("", Some("i9")), (&follower, Some("i0"))]);
    let errors: Vec<ErrorCode> = response.members.iter().map(|member| member.error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId]);
    assert_eq!(h.state("g"), "PreparingRebalance");
    assert_eq!(h.heartbeat("g", &follower, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_comes_back_before_its_first_generation_waits_for_it_as_long_as_it_takes() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let request = come_back(&h, "i");
    let first = h.send_join(request);
    let request = come_back(&h, "i");
    let second = h.send_join(request);
    assert_eq!(h.joined(first).error, ErrorCode::FencedInstanceId);
    for _ in 0..5 {
        h.advance(9_000);
        assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::RebalanceInProgress);
    }
    assert!(h.is_parked(second), "its session of ten seconds is not running");
    h.join(join("g", &ids[0]));
    assert_eq!(h.joined(second).generation_id.0, generation_id + 1);
}
