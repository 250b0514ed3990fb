//! Sessions: who is alive, who is excused, who leaves.

use moldau_model::{ErrorCode, Uuid};

use super::harness::{Harness, commit, join, sync};
use crate::*;

#[test]
fn a_heartbeat_tells_where_the_member_stands() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let cases = [
        ("g", ids[0].as_str(), generation_id, ErrorCode::None),
        ("g", ids[0].as_str(), generation_id + 1, ErrorCode::IllegalGeneration),
        ("g", ids[0].as_str(), generation_id - 1, ErrorCode::IllegalGeneration),
        ("g", "nobody", generation_id, ErrorCode::UnknownMemberId),
        ("nope", ids[0].as_str(), generation_id, ErrorCode::UnknownMemberId),
        ("", ids[0].as_str(), generation_id, ErrorCode::InvalidGroupId),
    ];
    for (group_id, member_id, generation_id, error) in cases {
        assert_eq!(
            h.heartbeat(group_id, member_id, generation_id),
            error,
            "{group_id} {member_id} {generation_id}"
        );
    }
}

#[test]
fn a_silent_member_is_removed_when_its_session_ends() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    h.advance(6_000);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::None);
    h.advance(3_999);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::None);
    h.advance(1);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::RebalanceInProgress);
    let response = h.join(join("g", &ids[0]));
    assert_eq!((response.generation_id.0, response.members.len()), (generation_id + 1, 1));
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    for _ in 0..5 {
        h.advance(9_000);
        assert_eq!(h.commit(commit("g", &ids[0], generation_id, 1)), ErrorCode::None);
    }
    assert_eq!(h.state("g"), "Stable");
    h.advance(10_000);
    assert_eq!(h.state("g"), "Empty");
}

#[test]
fn who_waits_for_the_coordinator_does_not_expire() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let parked = h.send_join(join("g", &ids[0]));
    for _ in 0..6 {
        h.advance(9_000);
        h.heartbeat("g", &ids[1], generation_id);
    }
    assert!(h.is_parked(parked), "its session of 10 s ended long ago");
    let follower = h.send_join(join("g", &ids[1]));
    assert_eq!(h.joined(parked).members.len(), 2);
    assert_eq!(h.joined(follower).error, ErrorCode::None);
    // The session begins anew with the answer.
    h.advance(9_999);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id + 1), ErrorCode::None);
}

#[test]
fn who_awaits_its_assignment_does_not_expire_either() {
    let mut h = Harness::new();
    let ids = [h.new_member_id("g"), h.new_member_id("g")];
    for id in &ids {
        h.send_join(join("g", id));
    }
    h.advance(2);
    let waiting = h.send(Request::Sync(sync("g", &ids[1], 1, &[])));
    for _ in 0..3 {
        h.advance(9_000);
        assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::None);
    }
    h.sync(sync("g", &ids[0], 1, &[]));
    assert_eq!(h.synced(waiting).error, ErrorCode::None);
    h.advance(9_000);
    assert_eq!(h.heartbeat("g", &ids[1], 1), ErrorCode::None);
}

#[test]
fn when_the_last_member_goes_the_group_is_empty_and_that_is_written() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 1);
    let records = h.log.len();
    let response = h.leave("g", &[(&ids[0], None)]);
    assert_eq!(response.error, ErrorCode::None);
    assert_eq!(response.members[0].error, ErrorCode::None);
    let group = h.describe("g");
    assert_eq!((group.state.as_str(), group.protocol_type.as_str()), ("Empty", "consumer"));
    assert_eq!(h.log.len(), records + 1);
    assert_eq!(h.join(join("g", &ids[0])).error, ErrorCode::UnknownMemberId);
}

#[test]
fn leaving_is_answered_member_by_member() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 2);
    let pending = h.new_member_id("g");
    let response = h
        .leave("g", &[("nobody", None), ("", Some("nobody")), (&ids[1], None), (&pending, None), ("", None)]);
    let errors: Vec<ErrorCode> = response.members.iter().map(|member| member.error).collect();
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(errors, [unknown, unknown, ErrorCode::None, ErrorCode::None, unknown]);
    assert_eq!(response.single_error(), unknown);
    assert_eq!(h.state("g"), "PreparingRebalance");
    let response = h.leave("nope", &[("a", None)]);
    assert_eq!((response.error, response.single_error()), (ErrorCode::None, unknown));
}

#[test]
fn a_rebalance_goes_on_when_the_one_it_waits_for_leaves() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let parked = h.send_join(join("g", &ids[0]));
    assert!(h.is_parked(parked));
    h.leave("g", &[(&ids[1], None)]);
    assert_eq!(h.joined(parked).generation_id.0, generation_id + 1);
}

#[test]
fn a_rebalance_waits_for_a_member_that_was_given_an_id() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let newcomer = h.new_member_id("g");
    let parked = h.send_join(join("g", &ids[0]));
    assert!(h.is_parked(parked));
    h.advance(10_000);
    assert_eq!(h.joined(parked).generation_id.0, generation_id + 1, "its ten seconds are over");
    assert_eq!(h.join(join("g", &newcomer)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn ten_thousand_members_need_no_scan_to_know_the_next_deadline() {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 1_000,
        initial_rebalance_quiet_ms: 1_000,
        groups_per_shard_max: 5_000,
        ..GroupConfig::default()
    };
    let mut h = Harness::with_config(config);
    let mut tokens = Vec::new();
    for _ in 0..10_000 {
        // Its own groups, so that the harness's checks stay cheap.
        let request = JoinGroupRequest {
            api_version: 3,
            new_member_uuid: Uuid::from_bytes((tokens.len() as u128).to_be_bytes()),
            ..join(&format!("g{}", tokens.len() % 5_000), "")
        };
        let token = RequestToken(tokens.len() as u64);
        let outputs =
            h.shard.handle(Input::Request { token, request: Box::new(Request::Join(request)) }, h.now_ms);
        tokens.push((token, outputs.len()));
    }
    assert_eq!(h.shard.next_deadline_ms(), Some(h.now_ms + 1_000));
    let outputs = h.shard.handle(Input::Tick, h.now_ms + 1_000 * 60);
    let replies = outputs.iter().filter(|output| matches!(output, Output::Reply { .. })).count();
    assert_eq!(replies, 10_000);
}
