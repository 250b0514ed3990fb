//! JoinGroup: who is let in, and how a generation comes to be.

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, Uuid};

use super::harness::{Harness, join, protocol, subscription};
use crate::*;

#[test]
fn a_join_that_no_group_could_accept_is_refused_with_kafkas_code() {
    let base = join("g", "");
    let long = "x".repeat(40_000);
    let cases: Vec<(&str, JoinGroupRequest, ErrorCode)> = vec![
        ("no group", JoinGroupRequest { group_id: String::new(), ..base.clone() }, ErrorCode::InvalidGroupId),
        (
            "long group",
            JoinGroupRequest { group_id: long.clone(), ..base.clone() },
            ErrorCode::InvalidGroupId,
        ),
        (
            "short",
            JoinGroupRequest { session_timeout_ms: 5_999, ..base.clone() },
            ErrorCode::InvalidSessionTimeout,
        ),
        (
            "long",
            JoinGroupRequest { session_timeout_ms: 1_800_001, ..base.clone() },
            ErrorCode::InvalidSessionTimeout,
        ),
        (
            "negative",
            JoinGroupRequest { session_timeout_ms: -1, ..base.clone() },
            ErrorCode::InvalidSessionTimeout,
        ),
        ("unknown id", join("g", "nobody"), ErrorCode::UnknownMemberId),
        (
            "no protocol",
            JoinGroupRequest { protocols: vec![], ..base.clone() },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            "no type",
            JoinGroupRequest { protocol_type: String::new(), ..base.clone() },
            ErrorCode::InconsistentGroupProtocol,
        ),
        ("client", JoinGroupRequest { client_id: long.clone(), ..base.clone() }, ErrorCode::InvalidRequest),
        (
            "instance",
            JoinGroupRequest { group_instance_id: Some(long.clone()), ..base.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "protocols",
            JoinGroupRequest { protocols: vec![protocol("a", Bytes::new()); 101], ..base.clone() },
            ErrorCode::InvalidRequest,
        ),
        (
            "metadata",
            JoinGroupRequest { protocols: vec![protocol("a", vec![0; 1 << 20].into())], ..base },
            ErrorCode::InvalidRequest,
        ),
    ];
    for (name, request, error) in cases {
        let mut h = Harness::new();
        let member_id = request.member_id.clone();
        let response = h.join(request);
        assert_eq!((response.error, response.generation_id), (error, GenerationId(-1)), "{name}");
        assert_eq!(response.member_id, member_id, "{name}");
        assert_eq!(h.shard.group_count(), 0, "{name}: nothing is left of it");
        assert!(h.log.is_empty(), "{name}");
    }
}

#[test]
fn a_new_dynamic_member_is_sent_back_for_an_id_from_version_four_on() {
    let uuid = Uuid::from_bytes(*b"\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff");
    for (api_version, error) in [(0, ErrorCode::None), (3, ErrorCode::None), (4, ErrorCode::MemberIdRequired)]
    {
        let mut h = Harness::new();
        let request = JoinGroupRequest { api_version, new_member_uuid: uuid, ..join("g", "") };
        let response = h.join(request);
        assert_eq!(response.error, error, "version {api_version}");
        assert_eq!(response.member_id, "client-0f010203-0405-0607-0809-0a0b0c0d0eff");
    }
}

#[test]
fn the_first_member_leads_the_first_generation_and_the_new_group_is_written_first() {
    let mut h = Harness::new();
    let member_id = h.new_member_id("g");
    assert_eq!(h.log.len(), 1, "the empty group");
    let response = h.join(join("g", &member_id));
    assert_eq!(response.error, ErrorCode::None);
    assert_eq!(response.generation_id, GenerationId(1));
    assert_eq!(response.leader, member_id);
    assert_eq!(response.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert!(!response.skip_assignment);
    let [member] = &response.members[..] else { panic!("{:?}", response.members) };
    assert_eq!((&member.member_id, &member.metadata), (&member_id, &subscription("t")));
}

#[test]
fn only_the_leader_learns_the_members() {
    let mut h = Harness::new();
    let ids: Vec<String> = (0..3).map(|_| h.new_member_id("g")).collect();
    let tokens: Vec<_> = ids.iter().map(|id| h.send_join(join("g", id))).collect();
    let responses: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| h.joined(token)).collect();
    assert!(responses.iter().all(|r| r.generation_id == GenerationId(1) && r.leader == ids[0]));
    assert_eq!(responses[0].members.len(), 3);
    assert!(responses[1].members.is_empty() && responses[2].members.is_empty());
}

#[test]
fn a_member_must_share_a_protocol_with_all_others() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 1);
    let with = |protocols: Vec<JoinGroupProtocol>, protocol_type: &str| JoinGroupRequest {
        protocols,
        protocol_type: protocol_type.into(),
        ..join("g", "")
    };
    let cases = [
        (with(vec![protocol("other", Bytes::new())], "consumer"), ErrorCode::InconsistentGroupProtocol),
        (with(vec![], "consumer"), ErrorCode::InconsistentGroupProtocol),
        (with(vec![protocol("range", Bytes::new())], "connect"), ErrorCode::InconsistentGroupProtocol),
        (
            with(vec![protocol("other", Bytes::new()), protocol("range", Bytes::new())], "consumer"),
            ErrorCode::MemberIdRequired,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(h.join(request.clone()).error, error, "{request:?}");
    }
    assert_eq!(h.heartbeat("g", &ids[0], 1), ErrorCode::None, "who was refused disturbs nobody");
}

#[test]
fn members_vote_for_the_first_protocol_that_all_support() {
    let mut h = Harness::new();
    let ids: Vec<String> = (0..3).map(|_| h.new_member_id("g")).collect();
    let preferences = [["sticky", "range", "a"], ["range", "sticky", "b"], ["range", "b", "sticky"]];
    let tokens: Vec<_> = ids
        .iter()
        .zip(preferences)
        .map(|(id, names)| {
            let protocols = names.iter().map(|name| protocol(name, (*name).into())).collect();
            h.send_join(JoinGroupRequest { protocols, ..join("g", id) })
        })
        .collect();
    let response = h.joined(tokens[0]);
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
    assert!(
        response.members.iter().all(|member| member.metadata == "range"),
        "the metadata of that protocol"
    );
}

#[test]
fn a_protocol_named_twice_counts_once() {
    let mut h = Harness::new();
    let first = h.new_member_id("g");
    let twice = vec![protocol("range", Bytes::new()), protocol("range", "x".into())];
    let response = h.join(JoinGroupRequest { protocols: twice, ..join("g", &first) });
    assert_eq!((response.error, &response.members[0].metadata), (ErrorCode::None, &Bytes::new()));
    assert_eq!(h.join(join("g", "")).error, ErrorCode::MemberIdRequired);
}

#[test]
fn a_full_group_accepts_its_members_and_nobody_else() {
    let config = GroupConfig { group_max_size: 2, initial_rebalance_delay_ms: 1, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    let (ids, _) = h.stable_group("g", 2);
    assert_eq!(h.join(join("g", "")).error, ErrorCode::GroupMaxSizeReached);
    let leader = h.send_join(join("g", &ids[0]));
    let follower = h.send_join(join("g", &ids[1]));
    assert_eq!(h.joined(leader).error, ErrorCode::None);
    assert_eq!(h.joined(follower).error, ErrorCode::None);
}

#[test]
fn ids_given_out_and_not_used_are_bounded_and_expire() {
    let config = GroupConfig {
        pending_joins_per_group_max: 3,
        initial_rebalance_delay_ms: 1,
        ..GroupConfig::default()
    };
    let mut h = Harness::with_config(config);
    let ids: Vec<String> = (0..3).map(|_| h.new_member_id("g")).collect();
    assert_eq!(h.join(join("g", "")).error, ErrorCode::GroupMaxSizeReached);
    h.advance(10_000);
    assert_eq!(h.join(join("g", &ids[0])).error, ErrorCode::UnknownMemberId);
    h.new_member_id("g");
}

#[test]
fn groups_of_a_shard_and_metadata_of_a_group_are_bounded() {
    let config =
        GroupConfig { groups_per_shard_max: 2, group_metadata_bytes_max: 100, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    h.new_member_id("a");
    assert_eq!(h.commit(super::harness::commit("b", "", -1, 1)), ErrorCode::None);
    assert_eq!(h.join(join("c", "")).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(h.commit(super::harness::commit("c", "", -1, 1)), ErrorCode::GroupMaxSizeReached);
    let large = vec![protocol("range", vec![0; 100].into())];
    assert_eq!(
        h.join(JoinGroupRequest { protocols: large, ..join("a", "") }).error,
        ErrorCode::GroupMaxSizeReached
    );
}

#[test]
fn a_follower_that_missed_its_answer_gets_it_again_and_a_leader_starts_a_rebalance() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let response = h.join(join("g", &ids[1]));
    assert_eq!((response.error, response.generation_id.0), (ErrorCode::None, generation_id));
    assert!(response.members.is_empty());
    let leader = h.send_join(join("g", &ids[0]));
    assert!(h.is_parked(leader));
    assert_eq!(h.heartbeat("g", &ids[1], generation_id), ErrorCode::RebalanceInProgress);
    h.send_join(join("g", &ids[1]));
    assert_eq!(h.joined(leader).generation_id.0, generation_id + 1);
}

#[test]
fn a_follower_with_another_subscription_starts_a_rebalance() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let changed = vec![protocol("range", subscription("another"))];
    let follower = h.send_join(JoinGroupRequest { protocols: changed, ..join("g", &ids[1]) });
    assert!(h.is_parked(follower));
    assert_eq!(h.state("g"), "PreparingRebalance");
    let leader = h.join(join("g", &ids[0]));
    assert_eq!(leader.generation_id.0, generation_id + 1);
    assert!(leader.members.iter().any(|member| member.metadata == subscription("another")));
}

#[test]
fn while_the_assignment_is_awaited_a_member_that_joins_again_unchanged_gets_the_same_answer() {
    let mut h = Harness::new();
    let member_id = h.new_member_id("g");
    let first = h.join(join("g", &member_id));
    assert_eq!(h.join(join("g", &member_id)), first);
    let changed = vec![protocol("range", subscription("another"))];
    let again = h.join(JoinGroupRequest { protocols: changed, ..join("g", &member_id) });
    assert_eq!(again.generation_id, GenerationId(2));
}

#[test]
fn who_does_not_join_in_time_is_out_and_a_joined_member_becomes_leader() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let changed = vec![protocol("range", subscription("another"))];
    let follower = h.send_join(JoinGroupRequest {
        protocols: changed,
        session_timeout_ms: 100_000,
        ..join("g", &ids[1])
    });
    for _ in 0..11 {
        // The leader lives, but does not join.
        assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::RebalanceInProgress);
        h.advance(5_000);
    }
    assert!(h.is_parked(follower));
    h.advance(5_000);
    let response = h.joined(follower);
    assert_eq!((response.generation_id.0, response.members.len()), (generation_id + 1, 1));
    assert_eq!(response.leader, ids[1]);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::UnknownMemberId);
}

#[test]
fn a_join_repeated_while_it_is_parked_answers_the_older_one() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 2);
    let first = h.send_join(join("g", &ids[0]));
    let second = h.send_join(join("g", &ids[0]));
    assert_eq!(h.joined(first).error, ErrorCode::RebalanceInProgress);
    assert!(h.is_parked(second));
}

#[test]
fn a_new_member_that_never_hears_of_its_generation_is_forgotten_after_five_minutes() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let newcomer = JoinGroupRequest { api_version: 3, new_member_uuid: h.uuid(), ..join("g", "") };
    let long_rebalance = JoinGroupRequest { rebalance_timeout_ms: 900_000, ..newcomer };
    let parked = h.send_join(long_rebalance);
    for _ in 0..59 {
        h.advance(5_000);
        assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::RebalanceInProgress);
    }
    assert!(h.is_parked(parked));
    h.advance(5_000);
    assert_eq!(h.joined(parked).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_whose_first_record_cannot_be_written_never_was() {
    let mut h = Harness::with_config(GroupConfig::default());
    h.auto_commit = false;
    let parked = h.send_join(JoinGroupRequest { api_version: 3, ..join("g", "") });
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.joined(parked).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.shard.group_count(), 0);
    h.advance(3_600_000);
    assert_eq!(h.unanswered(), 0);
}
