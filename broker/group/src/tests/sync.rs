//! SyncGroup: assignments are given out once, when they are written.

use moldau_model::ErrorCode;

use super::harness::{Harness, join, sync};
use crate::*;

/// Two members of generation 1 whose leader has not assigned yet.
fn joined_pair(h: &mut Harness) -> (String, String) {
    let ids = [h.new_member_id("g"), h.new_member_id("g")];
    let tokens = ids.clone().map(|id| h.send_join(join("g", &id)));
    for token in tokens {
        assert_eq!(h.joined(token).error, ErrorCode::None);
    }
    let [leader, follower] = ids;
    (leader, follower)
}

#[test]
fn a_sync_that_does_not_fit_the_group_is_refused() {
    let mut h = Harness::new();
    let (leader, _) = joined_pair(&mut h);
    let good = sync("g", &leader, 1, &[]);
    let cases = [
        (SyncGroupRequest { group_id: String::new(), ..good.clone() }, ErrorCode::InvalidGroupId),
        (SyncGroupRequest { group_id: "nope".into(), ..good.clone() }, ErrorCode::UnknownMemberId),
        (SyncGroupRequest { member_id: "nope".into(), ..good.clone() }, ErrorCode::UnknownMemberId),
        (SyncGroupRequest { generation_id: 2.into(), ..good.clone() }, ErrorCode::IllegalGeneration),
        (SyncGroupRequest { generation_id: 0.into(), ..good.clone() }, ErrorCode::IllegalGeneration),
        (
            SyncGroupRequest { protocol_name: Some("other".into()), ..good.clone() },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            SyncGroupRequest { protocol_type: Some("other".into()), ..good.clone() },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (SyncGroupRequest { protocol_name: None, ..good.clone() }, ErrorCode::InconsistentGroupProtocol),
        (
            SyncGroupRequest { group_instance_id: Some("nope".into()), ..good.clone() },
            ErrorCode::UnknownMemberId,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(h.sync(request.clone()).error, error, "{request:?}");
    }
    let old_version = SyncGroupRequest { api_version: 4, protocol_name: None, protocol_type: None, ..good };
    assert_eq!(h.sync(old_version).error, ErrorCode::None);
}

#[test]
fn followers_wait_for_the_leader_and_all_get_theirs_once_it_is_written() {
    let mut h = Harness::new();
    let (leader, follower) = joined_pair(&mut h);
    h.auto_commit = false;
    let waiting = h.send(Request::Sync(sync("g", &follower, 1, &[])));
    assert!(h.is_parked(waiting), "the leader has not assigned");
    let assigning =
        h.send(Request::Sync(sync("g", &leader, 1, &[(&leader, "L"), (&follower, "F"), ("ghost", "G")])));
    assert!(h.is_parked(waiting) && h.is_parked(assigning), "nothing is written");
    assert_eq!(h.state("g"), "CompletingRebalance");
    h.commit_all();
    assert_eq!(h.synced(waiting).assignment, "F");
    let response = h.synced(assigning);
    assert_eq!((response.error, response.assignment), (ErrorCode::None, "L".into()));
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert_eq!(h.state("g"), "Stable");
    assert!(h.describe("g").members.iter().all(|member| member.member_id != "ghost"));
}

#[test]
fn a_member_that_the_leader_forgot_gets_the_empty_assignment() {
    let mut h = Harness::new();
    let (leader, follower) = joined_pair(&mut h);
    h.sync(sync("g", &leader, 1, &[(&leader, "L")]));
    let response = h.sync(sync("g", &follower, 1, &[]));
    assert_eq!((response.error, response.assignment.len()), (ErrorCode::None, 0));
}

#[test]
fn assignments_that_cannot_be_written_are_given_to_nobody_and_the_group_rebalances() {
    for (failure, error) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::RequestTimedOut, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::RecordListTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::InvalidRequiredAcks, ErrorCode::InvalidRequiredAcks),
    ] {
        let mut h = Harness::new();
        let (leader, follower) = joined_pair(&mut h);
        h.auto_commit = false;
        let waiting = h.send(Request::Sync(sync("g", &follower, 1, &[])));
        let assigning = h.send(Request::Sync(sync("g", &leader, 1, &[(&leader, "L")])));
        h.fail_all(failure);
        assert_eq!(h.synced(waiting).error, error);
        assert_eq!(h.synced(assigning).error, error);
        assert_eq!(h.state("g"), "PreparingRebalance");
        assert!(h.describe("g").members.iter().all(|member| member.assignment.is_empty()));
    }
}

#[test]
fn who_waits_too_long_for_the_log_is_told() {
    let mut h = Harness::new();
    let (leader, _) = joined_pair(&mut h);
    h.auto_commit = false;
    let assigning = h.send(Request::Sync(sync("g", &leader, 1, &[])));
    h.advance(4_999);
    assert!(h.is_parked(assigning));
    h.advance(1);
    assert_eq!(h.synced(assigning).error, ErrorCode::CoordinatorNotAvailable);
    h.commit_all();
    assert_eq!(h.state("g"), "PreparingRebalance", "a late success changes nothing");
}

#[test]
fn a_record_that_would_be_too_large_is_not_even_tried() {
    let config =
        GroupConfig { initial_rebalance_delay_ms: 1, group_record_bytes_max: 500, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    let (leader, _) = joined_pair(&mut h);
    let records = h.log.len();
    let large = "x".repeat(500);
    assert_eq!(h.sync(sync("g", &leader, 1, &[(&leader, &large)])).error, ErrorCode::UnknownServerError);
    assert_eq!(h.log.len(), records);
    assert_eq!(h.state("g"), "PreparingRebalance");
}

#[test]
fn a_rebalance_tells_those_who_await_their_assignment() {
    let mut h = Harness::new();
    let (_, follower) = joined_pair(&mut h);
    let waiting = h.send(Request::Sync(sync("g", &follower, 1, &[])));
    let newcomer = h.new_member_id("g");
    let parked = h.send_join(join("g", &newcomer));
    assert_eq!(h.synced(waiting).error, ErrorCode::RebalanceInProgress);
    assert_eq!(h.sync(sync("g", &follower, 1, &[])).error, ErrorCode::RebalanceInProgress);
    assert!(h.is_parked(parked));
}

#[test]
fn a_generation_that_ended_while_its_assignments_were_written_is_not_brought_back() {
    let mut h = Harness::new();
    let (leader, follower) = joined_pair(&mut h);
    h.auto_commit = false;
    let assigning = h.send(Request::Sync(sync("g", &leader, 1, &[(&leader, "L")])));
    let newcomer = h.new_member_id("g");
    h.send_join(join("g", &newcomer));
    assert_eq!(h.synced(assigning).error, ErrorCode::RebalanceInProgress);
    h.commit_all();
    assert_eq!(h.state("g"), "PreparingRebalance");
    h.send_join(join("g", &leader));
    let token = h.send_join(join("g", &follower));
    assert_eq!(h.joined(token).generation_id.0, 2);
}

#[test]
fn who_never_syncs_is_removed_after_the_rebalance_timeout() {
    let mut h = Harness::new();
    let (leader, follower) = joined_pair(&mut h);
    h.sync(sync("g", &leader, 1, &[]));
    for _ in 0..11 {
        h.advance(5_000);
        assert_eq!(h.heartbeat("g", &leader, 1), ErrorCode::None);
        assert_eq!(h.heartbeat("g", &follower, 1), ErrorCode::None);
    }
    h.advance(5_000);
    assert_eq!(h.heartbeat("g", &follower, 1), ErrorCode::UnknownMemberId);
    assert_eq!(h.heartbeat("g", &leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_parked_sync_of_a_member_that_leaves_is_answered() {
    let mut h = Harness::new();
    let (_, follower) = joined_pair(&mut h);
    let older = h.send(Request::Sync(sync("g", &follower, 1, &[])));
    let waiting = h.send(Request::Sync(sync("g", &follower, 1, &[])));
    assert_eq!(
        h.synced(older).error,
        ErrorCode::RebalanceInProgress,
        "a repeated sync answers the older one"
    );
    h.leave("g", &[(&follower, None)]);
    assert_eq!(h.synced(waiting).error, ErrorCode::UnknownMemberId);
}
