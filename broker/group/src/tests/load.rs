//! How a coordinator begins: by reading what others wrote, and what it says meanwhile.

use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex, ProducerId};

use super::harness::{Harness, commit, fetch, join, static_join, sync};
use super::transactions::{in_transaction, marker};
use crate::records::offset_key;
use crate::*;

fn every_request() -> Vec<Request> {
    vec![
        Request::Join(join("g", "")),
        Request::Sync(sync("g", "m", 1, &[])),
        Request::Heartbeat(HeartbeatRequest {
            group_id: "g".into(),
            generation_id: 1.into(),
            member_id: "m".into(),
            group_instance_id: None,
        }),
        Request::Leave(LeaveGroupRequest { group_id: "g".into(), members: Vec::new() }),
        Request::OffsetCommit(commit("g", "", -1, 1)),
        Request::TxnOffsetCommit(in_transaction(ProducerId(1), commit("g", "", -1, 1))),
        Request::EndTransaction(marker(ProducerId(1), true)),
        Request::OffsetFetch(fetch("g")),
        Request::OffsetDelete(OffsetDeleteRequest { group_id: "g".into(), topics: Vec::new() }),
        Request::DeleteGroups(vec!["g".into()]),
        Request::DescribeGroups(DescribeGroupsRequest { api_version: 6, groups: vec!["g".into()] }),
        Request::ConsumerGroupHeartbeat(Box::new(super::consumer::joining("g", "m", &["t"]))),
        Request::ConsumerGroupDescribe(vec!["g".into()]),
        Request::ListGroups(ListGroupsRequest::default()),
        Request::ShareGroupHeartbeat(Box::new(super::share::joining("m", &["t"]))),
        Request::ShareGroupDescribe(vec!["g".into()]),
        Request::ViewShareOffsets("g".into()),
        Request::ShareOffsets(ShareOffsetsRequest {
            group_id: "g".into(),
            change: ShareOffsetsChange::DeleteAll,
        }),
        Request::StreamsGroupHeartbeat(Box::new(super::streams::joining("m"))),
        Request::StreamsGroupDescribe(vec!["g".into()]),
    ]
}

fn error_of(response: Response) -> ErrorCode {
    match response {
        Response::Join(response) => response.error,
        Response::Sync(response) => response.error,
        Response::Heartbeat(error) => error,
        Response::Leave(response) => response.error,
        Response::OffsetCommit(response) => response.topics[0].partitions[0].error,
        Response::OffsetFetch(response) => {
            assert!(response.topics.is_empty(), "never an offset from who does not know them");
            response.error
        }
        Response::OffsetDelete(response) => response.error,
        Response::DeleteGroups(groups) => groups[0].error,
        Response::DescribeGroups(groups) => groups[0].error,
        Response::ConsumerGroupHeartbeat(response) => response.error,
        Response::ConsumerGroupDescribe(groups) => groups[0].error,
        Response::ListGroups(response) => response.error,
        Response::EndTransaction(error) => error,
        Response::ShareGroupHeartbeat(response) => response.error,
        Response::ShareGroupDescribe(groups) => groups[0].error,
        Response::ShareOffsets(answer) => answer.map_or_else(|(error, _)| error, |_| ErrorCode::None),
        Response::StreamsGroupHeartbeat(response) => response.error,
        Response::StreamsGroupDescribe(groups) => groups[0].error,
    }
}

#[test]
fn who_is_not_the_coordinator_says_so_to_every_request() {
    let mut h = Harness::inactive(GroupConfig::default());
    for request in every_request() {
        // A list is of the groups that are here, and there are none.
        let expected = match request {
            Request::ListGroups(_) => ErrorCode::None,
            _ => ErrorCode::NotCoordinator,
        };
        assert_eq!(error_of(h.call(request.clone())), expected, "{request:?}");
    }
    assert_eq!(h.shard.next_deadline_ms(), None);
}

#[test]
fn while_it_loads_a_coordinator_sends_everyone_away_to_come_again_but_lets_members_live() {
    let mut h = Harness::inactive(GroupConfig::default());
    h.shard.begin_load(LeaderEpoch(1));
    for request in every_request() {
        let expected = match request {
            Request::Heartbeat(_) => ErrorCode::None,
            _ => ErrorCode::CoordinatorLoadInProgress,
        };
        assert_eq!(error_of(h.call(request.clone())), expected, "{request:?}");
    }
    assert!(h.pending.is_empty());
}

#[test]
fn a_generation_goes_on_under_the_next_coordinator() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    h.commit(commit("g", &ids[0], generation_id, 5));
    let before = h.describe("g");
    h.fail_over();
    assert_eq!(h.describe("g"), before);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::None);
    assert_eq!(h.commit(commit("g", &ids[1], generation_id, 6)), ErrorCode::None);
    let again = h.sync(sync("g", &ids[1], generation_id, &[]));
    assert_eq!(again.assignment, ids[1].as_bytes(), "who asks again is told its assignment");
    let leader = h.send_join(join("g", &ids[0]));
    let follower = h.send_join(join("g", &ids[1]));
    let joined = h.joined(leader);
    assert_eq!((joined.generation_id.0, joined.members.len()), (generation_id + 1, 2));
    assert_eq!(h.joined(follower).leader, joined.leader);
}

#[test]
fn sessions_begin_anew_with_a_load() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    h.advance(9_000);
    h.fail_over();
    h.advance(9_999);
    assert_eq!(h.heartbeat("g", &ids[0], generation_id), ErrorCode::None, "19 s after its last one");
    h.fail_over();
    h.advance(10_000);
    assert_eq!(h.state("g"), "Empty", "it was silent for a whole session");
}

#[test]
fn what_was_not_written_is_not_there_after_a_load() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let newcomer = h.new_member_id("g");
    let waiting = [h.send_join(join("g", &ids[0])), h.send_join(join("g", &newcomer))];
    let tokens = waiting.map(|token| h.joined(token).error);
    assert_eq!(tokens, [ErrorCode::None; 2]);
    assert_eq!(h.state("g"), "CompletingRebalance");
    h.fail_over();
    let group = h.describe("g");
    assert_eq!((group.state.as_str(), group.members.len()), ("Stable", 1), "the generation before");
    assert_eq!(h.heartbeat("g", &ids[0], generation_id + 1), ErrorCode::IllegalGeneration);
    assert_eq!(h.heartbeat("g", &newcomer, generation_id + 1), ErrorCode::UnknownMemberId);
    assert_eq!(h.join(join("g", &newcomer)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn the_last_record_of_a_key_counts_and_a_tombstone_ends_it() {
    let mut h = Harness::new();
    for committed in 1..=5 {
        h.commit(commit("kept", "", -1, committed));
        h.commit(commit("gone", "", -1, committed));
    }
    let mut records = h.log.clone();
    records.push(CoordinatorRecord { key: offset_key("gone", "t", PartitionIndex(0)), value: None });
    // A tombstone of what never was is none of anything.
    records.push(CoordinatorRecord { key: offset_key("never", "t", PartitionIndex(0)), value: None });
    let mut next = Harness::inactive(GroupConfig::default());
    next.load(&records);
    assert_eq!((next.offset("kept"), next.offset("gone"), next.offset("never")), (5, -1, -1));
    assert_eq!(next.shard.group_count(), 1);
    let seen: Vec<Replayed> = {
        let mut shard = GroupShard::new(Default::default());
        shard.begin_load(LeaderEpoch(1));
        records.iter().map(|r| shard.replay(&r.key, r.value.as_deref()).unwrap()).collect()
    };
    assert!(seen.iter().all(|replayed| *replayed == Replayed::Offset));
}

#[test]
fn a_group_that_was_written_and_deleted_is_gone_and_one_written_again_is_there() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 1);
    h.leave("g", &[(&ids[0], None)]);
    h.delete_groups(&["g"]);
    h.fail_over();
    assert_eq!(h.shard.group_count(), 0);
    let (_, generation_id) = h.stable_group("g", 1);
    assert_eq!(generation_id, 1);
    h.fail_over();
    assert_eq!(h.state("g"), "Stable");
}

#[test]
fn whoever_waits_when_the_leadership_ends_is_told_and_a_late_outcome_meets_nothing() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("joining", 2);
    let ids_of_syncing = [h.new_member_id("syncing"), h.new_member_id("syncing")];
    for id in &ids_of_syncing {
        h.send_join(join("syncing", id));
    }
    h.advance(2);
    h.auto_commit = false;
    let waiting = [
        h.send_join(join("joining", &ids[0])),
        h.send(Request::Sync(sync("syncing", &ids_of_syncing[1], 1, &[]))),
        h.send(Request::Sync(sync("syncing", &ids_of_syncing[0], 1, &[]))),
        h.send(Request::OffsetCommit(commit("simple", "", -1, 1))),
        h.send(Request::OffsetFetch(OffsetFetchRequest { require_stable: true, ..fetch("simple") })),
        h.send(Request::DeleteGroups(vec!["simple".into()])),
    ];
    assert!(waiting.iter().all(|token| h.is_parked(*token)));
    let late: Vec<AppendId> = h.pending.keys().copied().collect();
    let outputs = h.shard.unload();
    h.take(outputs);
    for token in waiting {
        assert_eq!(error_of(h.answer(token)), ErrorCode::NotCoordinator, "{token:?}");
    }
    assert_eq!((h.shard.state(), h.shard.group_count()), (ShardState::Inactive, 0));
    assert_eq!(h.shard.next_deadline_ms(), None, "no timer outlives its group");
    let log = h.log.clone();
    h.load(&log);
    for append_id in late {
        h.handle(Input::Appended { append_id, result: Ok(()) });
    }
    assert_eq!(h.offset("simple"), -1, "that outcome was another leadership's");
}

#[test]
fn appends_carry_the_epoch_that_was_loaded_and_ids_are_never_used_twice() {
    let mut shard = GroupShard::new(Default::default());
    let mut ids = Vec::new();
    for epoch in [3, 4, 9] {
        shard.begin_load(LeaderEpoch(epoch));
        assert_eq!(shard.state(), ShardState::Loading { leader_epoch: LeaderEpoch(epoch) });
        shard.finish_load(0);
        assert_eq!(shard.state(), ShardState::Active { leader_epoch: LeaderEpoch(epoch) });
        let request = Box::new(Request::OffsetCommit(commit("g", "", -1, 1)));
        let outputs = shard.handle(Input::Request { token: RequestToken(0), request }, 0);
        let [Output::Append { append_id, leader_epoch, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(*leader_epoch, LeaderEpoch(epoch));
        ids.push(*append_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_group_larger_than_the_bound_is_now_shrinks_to_it_after_a_load() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 3);
    let config = GroupConfig { group_max_size: 2, initial_rebalance_delay_ms: 1, ..GroupConfig::default() };
    let mut next = Harness::inactive(config);
    next.load(&h.log);
    assert_eq!(next.heartbeat("g", &ids[2], generation_id), ErrorCode::RebalanceInProgress);
    let tokens: Vec<RequestToken> = ids.iter().map(|id| next.send_join(join("g", id))).collect();
    let errors: Vec<ErrorCode> = tokens.into_iter().map(|token| next.joined(token).error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::None, ErrorCode::GroupMaxSizeReached]);
    assert_eq!(next.describe("g").members.len(), 2);
}

#[test]
fn static_members_keep_their_places_over_a_load() {
    let mut h = Harness::new();
    let old = h.join(static_join("g", "i")).member_id;
    h.sync(sync("g", &old, 1, &[(&old, "A")]));
    h.fail_over();
    let new = h.join(JoinGroupRequest { new_member_uuid: h.uuid(), ..static_join("g", "i") });
    assert_eq!((new.error, new.generation_id.0, new.skip_assignment), (ErrorCode::None, 1, true));
    assert_ne!(new.member_id, old);
    h.fail_over();
    assert_eq!(h.sync(sync("g", &new.member_id, 1, &[])).assignment, "A", "the new id was written");
    assert_eq!(h.heartbeat("g", &old, 1), ErrorCode::UnknownMemberId);
}
