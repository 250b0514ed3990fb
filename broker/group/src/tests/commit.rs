//! OffsetCommit and OffsetFetch: who may commit, when it is answered, what is then seen.

use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::harness::{Harness, TOPIC, commit, fetch, join, offset, static_join, sync};
use crate::*;

fn many(request: OffsetCommitRequest, partitions: Vec<OffsetCommitPartition>) -> OffsetCommitRequest {
    let topics = vec![OffsetCommitTopic { name: TOPIC.into(), topic_id: TopicId::ZERO, partitions }];
    OffsetCommitRequest { topics, ..request }
}

fn errors(response: Response) -> Vec<ErrorCode> {
    match response {
        Response::OffsetCommit(response) => {
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_is_accepted_from_members_of_this_generation_only() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let member = ids[0].as_str();
    let good = commit("g", member, generation_id, 1);
    let with_instance = OffsetCommitRequest { group_instance_id: Some("nobody".into()), ..good.clone() };
    let cases = [
        (commit("g", "nobody", generation_id, 1), ErrorCode::UnknownMemberId),
        (commit("g", "", generation_id, 1), ErrorCode::UnknownMemberId),
        (commit("g", "", -1, 1), ErrorCode::UnknownMemberId),
        (commit("g", member, generation_id - 1, 1), ErrorCode::IllegalGeneration),
        (commit("g", member, generation_id + 1, 1), ErrorCode::IllegalGeneration),
        (commit("g", member, -1, 1), ErrorCode::IllegalGeneration),
        (with_instance, ErrorCode::UnknownMemberId),
        (commit(&"x".repeat(40_000), "", -1, 1), ErrorCode::InvalidGroupId),
    ];
    for (request, error) in cases {
        assert_eq!(h.commit(request.clone()), error, "{} {:?}", request.member_id, request.generation_id);
        assert_eq!(h.offset("g"), -1, "a refused commit is not seen");
    }
    assert_eq!(h.commit(good), ErrorCode::None);
    assert_eq!(h.offset("g"), 1);
}

#[test]
fn a_member_of_an_unknown_group_is_told_by_its_versions_code() {
    for (api_version, error) in [
        (2, ErrorCode::IllegalGeneration),
        (8, ErrorCode::IllegalGeneration),
        (9, ErrorCode::GroupIdNotFound),
        (10, ErrorCode::GroupIdNotFound),
    ] {
        let mut h = Harness::new();
        let request = OffsetCommitRequest { api_version, ..commit("g", "m", 0, 1) };
        assert_eq!(h.commit(request), error, "version {api_version}");
        assert_eq!(h.shard.group_count(), 0);
    }
}

#[test]
fn members_may_commit_while_they_are_to_join_again_and_not_while_the_assignment_is_awaited() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 2);
    let leader = h.send_join(join("g", &ids[0]));
    assert_eq!(h.state("g"), "PreparingRebalance");
    assert_eq!(h.commit(commit("g", &ids[1], generation_id, 5)), ErrorCode::None);
    h.send_join(join("g", &ids[1]));
    let next_generation_id = h.joined(leader).generation_id.0;
    assert_eq!(h.state("g"), "CompletingRebalance");
    let refused = h.commit(commit("g", &ids[1], next_generation_id, 6));
    assert_eq!(refused, ErrorCode::RebalanceInProgress);
    let too_old = h.commit(commit("g", &ids[1], generation_id, 6));
    assert_eq!(too_old, ErrorCode::IllegalGeneration);
    h.sync(sync("g", &ids[0], next_generation_id, &[]));
    assert_eq!(h.commit(commit("g", &ids[1], next_generation_id, 7)), ErrorCode::None);
    assert_eq!(h.offset("g"), 7);
}

#[test]
fn a_static_member_that_was_replaced_is_fenced() {
    let mut h = Harness::new();
    let old = h.join(static_join("g", "i"));
    h.sync(sync("g", &old.member_id, 1, &[]));
    let new = h.join(JoinGroupRequest { new_member_uuid: h.uuid(), ..static_join("g", "i") });
    let with_instance = |member_id: &str| OffsetCommitRequest {
        group_instance_id: Some("i".into()),
        ..commit("g", member_id, 1, 9)
    };
    assert_eq!(h.commit(with_instance(&old.member_id)), ErrorCode::FencedInstanceId);
    assert_eq!(h.commit(commit("g", &old.member_id, 1, 9)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(with_instance(&new.member_id)), ErrorCode::None);
}

#[test]
fn who_is_no_member_commits_for_a_group_without_members() {
    let mut h = Harness::new();
    assert_eq!(h.commit(commit("simple", "", -1, 3)), ErrorCode::None);
    assert_eq!(h.offset("simple"), 3);
    let group = h.describe("simple");
    assert_eq!((group.state.as_str(), group.protocol_type.as_str()), ("Empty", ""));
    // A consumer group whose members have gone, as by a tool that resets its offsets.
    let (ids, _) = h.stable_group("g", 1);
    h.leave("g", &[(&ids[0], None)]);
    assert_eq!(h.commit(commit("g", "", -1, 4)), ErrorCode::None);
    assert_eq!(h.offset("g"), 4);
    // Old clients commit without naming a group.
    assert_eq!(h.commit(commit("", "", -1, 5)), ErrorCode::None);
    assert_eq!(h.offset(""), 5);
}

#[test]
fn a_simple_group_may_become_a_consumer_group_and_keeps_its_offsets() {
    let mut h = Harness::new();
    h.commit(commit("g", "", -1, 3));
    let (ids, generation_id) = h.stable_group("g", 1);
    assert_eq!(h.offset("g"), 3);
    assert_eq!(h.commit(commit("g", "", -1, 4)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(commit("g", &ids[0], generation_id, 5)), ErrorCode::None);
    assert_eq!(h.offset("g"), 5);
}

#[test]
fn too_much_metadata_refuses_its_partition_and_no_other() {
    let mut h = Harness::new();
    let with = |partition, metadata: String| OffsetCommitPartition {
        metadata: Some(metadata),
        ..offset(partition, 10 + i64::from(partition))
    };
    let partitions = vec![
        with(0, "x".repeat(4_096)),
        with(1, "x".repeat(4_097)),
        // 4,096 UTF-16 units, and more bytes than that: Kafka counts the former.
        with(2, "\u{e9}".repeat(4_096)),
        with(3, "\u{1f600}".repeat(2_049)),
        offset(4, 14),
    ];
    let response = h.call(Request::OffsetCommit(many(commit("g", "", -1, 0), partitions)));
    let (ok, large) = (ErrorCode::None, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(errors(response), [ok, large, ok, large, ok]);
    let all = h.fetch(OffsetFetchRequest { topics: None, ..fetch("g") });
    let seen: Vec<(i32, i64, usize)> = all.topics[0]
        .partitions
        .iter()
        .map(|p| (p.partition.0, p.committed_offset.0, p.metadata.len()))
        .collect();
    assert_eq!(seen, [(0, 10, 4_096), (2, 12, 8_192), (4, 14, 0)]);
}

#[test]
fn a_commit_of_nothing_that_can_be_kept_leaves_no_group_behind() {
    let mut h = Harness::new();
    let large = OffsetCommitPartition { metadata: Some("x".repeat(5_000)), ..offset(0, 1) };
    let response = h.call(Request::OffsetCommit(many(commit("g", "", -1, 0), vec![large])));
    assert_eq!(errors(response), [ErrorCode::OffsetMetadataTooLarge]);
    let nothing = OffsetCommitRequest { topics: Vec::new(), ..commit("g", "", -1, 0) };
    assert_eq!(errors(h.call(Request::OffsetCommit(nothing))), []);
    assert_eq!((h.shard.group_count(), h.log.len()), (0, 0));
}

#[test]
fn a_commit_is_answered_and_seen_when_its_record_is_committed_and_not_before() {
    let mut h = Harness::new();
    h.commit(commit("g", "", -1, 1));
    h.auto_commit = false;
    let token = h.send(Request::OffsetCommit(commit("g", "", -1, 2)));
    assert!(h.is_parked(token));
    assert_eq!(h.offset("g"), 1, "what is not committed is not seen");
    h.commit_all();
    assert_eq!(h.committed(token), ErrorCode::None);
    assert_eq!(h.offset("g"), 2);
}

#[test]
fn a_commit_that_cannot_be_written_changes_nothing_and_says_so_in_kafkas_code() {
    for (failure, error) in [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotEnoughReplicasAfterAppend, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::RequestTimedOut, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::UnknownTopicOrPartition, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::RecordListTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::InvalidFetchSize, ErrorCode::UnknownServerError),
        (ErrorCode::InvalidTimestamp, ErrorCode::InvalidTimestamp),
    ] {
        let mut h = Harness::new();
        h.commit(commit("g", "", -1, 1));
        h.auto_commit = false;
        let existing = h.send(Request::OffsetCommit(commit("g", "", -1, 2)));
        let new = h.send(Request::OffsetCommit(commit("new", "", -1, 2)));
        h.fail_all(failure);
        assert_eq!(h.committed(existing), error, "{failure:?}");
        assert_eq!(h.committed(new), error, "{failure:?}");
        assert_eq!(h.offset("g"), 1);
        assert_eq!(h.shard.group_count(), 1, "a group that only that commit made never was");
        h.fail_over();
        assert_eq!(h.offset("g"), 1);
    }
}

#[test]
fn who_waits_too_long_is_told_and_the_log_decides_what_is_seen() {
    for (outcome, seen) in [(Ok(()), 2), (Err(ErrorCode::NotEnoughReplicas), 1)] {
        let mut h = Harness::new();
        h.commit(commit("g", "", -1, 1));
        h.auto_commit = false;
        let token = h.send(Request::OffsetCommit(commit("g", "", -1, 2)));
        h.advance(4_999);
        assert!(h.is_parked(token));
        h.advance(1);
        assert_eq!(h.committed(token), ErrorCode::CoordinatorNotAvailable);
        let append_id = *h.pending.keys().next().unwrap();
        h.settle(append_id, outcome);
        assert_eq!(h.offset("g"), seen);
        h.fail_over();
        assert_eq!(h.offset("g"), seen, "as the log has it");
    }
}

#[test]
fn the_logs_order_decides_in_whichever_order_the_outcomes_come() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let tokens: Vec<RequestToken> =
        (1..=3).map(|at| h.send(Request::OffsetCommit(commit("g", "", -1, at)))).collect();
    let appends: Vec<AppendId> = h.pending.keys().copied().collect();
    h.settle(appends[1], Ok(()));
    assert_eq!(h.offset("g"), 2);
    h.settle(appends[0], Ok(()));
    assert_eq!(h.offset("g"), 2, "the earlier one comes too late");
    h.settle(appends[2], Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(h.offset("g"), 2);
    let codes: Vec<ErrorCode> = tokens.into_iter().map(|token| h.committed(token)).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::None, ErrorCode::CoordinatorNotAvailable]);
}

#[test]
fn a_fetch_that_wants_stable_offsets_waits_for_the_commits_before_it_and_no_others() {
    let stable = || OffsetFetchRequest { require_stable: true, ..fetch("g") };
    let mut h = Harness::new();
    h.auto_commit = false;
    h.send(Request::OffsetCommit(commit("g", "", -1, 1)));
    let waiting = h.send(Request::OffsetFetch(stable()));
    h.send(Request::OffsetCommit(commit("g", "", -1, 2)));
    let other = h.fetch(OffsetFetchRequest { require_stable: true, ..fetch("other") });
    assert_eq!(other.topics[0].partitions[0].committed_offset, Offset(-1), "another group's commits");
    let appends: Vec<AppendId> = h.pending.keys().copied().collect();
    assert!(h.is_parked(waiting));
    h.settle(appends[0], Ok(()));
    assert_eq!(h.fetched(waiting).topics[0].partitions[0].committed_offset, Offset(1));
    let waiting = h.send(Request::OffsetFetch(stable()));
    h.settle(appends[1], Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(h.fetched(waiting).topics[0].partitions[0].committed_offset, Offset(1));

    h.send(Request::OffsetCommit(commit("g", "", -1, 3)));
    let waiting = h.send(Request::OffsetFetch(stable()));
    h.advance(5_000);
    let response = h.fetched(waiting);
    assert_eq!((response.error, response.topics.len()), (ErrorCode::NotCoordinator, 0), "never an old one");
}

#[test]
fn what_was_never_committed_is_minus_one_and_never_zero() {
    let mut h = Harness::new();
    h.commit(commit("g", "", -1, 0));
    let topics = vec![
        OffsetFetchTopic {
            name: TOPIC.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![PartitionIndex(0), PartitionIndex(1)],
        },
        OffsetFetchTopic {
            name: "other".into(),
            topic_id: TopicId::ZERO,
            partitions: vec![PartitionIndex(0)],
        },
    ];
    for group_id in ["g", "nobody"] {
        let response = h.fetch(OffsetFetchRequest { topics: Some(topics.clone()), ..fetch(group_id) });
        assert_eq!(response.error, ErrorCode::None);
        let offsets: Vec<i64> = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| {
                assert_eq!((partition.error, partition.metadata.as_str()), (ErrorCode::None, ""));
                assert_eq!(partition.committed_leader_epoch, LeaderEpoch::NONE);
                partition.committed_offset.0
            })
            .collect();
        assert_eq!(offsets, if group_id == "g" { [0, -1, -1] } else { [-1, -1, -1] });
    }
    assert!(h.fetch(OffsetFetchRequest { topics: None, ..fetch("nobody") }).topics.is_empty());
}

#[test]
fn leader_epoch_and_metadata_come_back_as_they_were_committed_after_a_load_too() {
    let mut h = Harness::new();
    let partition = OffsetCommitPartition {
        committed_leader_epoch: LeaderEpoch(7),
        metadata: Some("where I was".into()),
        ..offset(0, 42)
    };
    // The second commit of a key replaces all of the first.
    h.call(Request::OffsetCommit(many(commit("g", "", -1, 0), vec![offset(0, 41)])));
    h.call(Request::OffsetCommit(many(commit("g", "", -1, 0), vec![partition, offset(1, 43)])));
    let before = h.fetch(OffsetFetchRequest { topics: None, ..fetch("g") });
    let fetched = &before.topics[0].partitions;
    assert_eq!(
        (fetched[0].committed_offset, fetched[0].committed_leader_epoch),
        (Offset(42), LeaderEpoch(7))
    );
    assert_eq!(fetched[0].metadata, "where I was");
    assert_eq!((fetched[1].committed_leader_epoch, fetched[1].metadata.as_str()), (LeaderEpoch::NONE, ""));
    h.fail_over();
    assert_eq!(h.fetch(OffsetFetchRequest { topics: None, ..fetch("g") }), before);
}

#[test]
fn an_offset_of_a_topic_that_was_deleted_and_made_anew_is_not_given_out() {
    let (old, new) = (TopicId::from_bytes([1; 16]), TopicId::from_bytes([2; 16]));
    let mut h = Harness::new();
    let mut request = commit("g", "", -1, 42);
    request.topics[0].topic_id = old;
    assert_eq!(h.commit(request), ErrorCode::None);
    for (topic_id, seen) in [(old, 42), (TopicId::ZERO, 42), (new, -1)] {
        let mut request = fetch("g");
        request.topics.as_mut().unwrap()[0].topic_id = topic_id;
        let topic = h.fetch(request).topics.remove(0);
        assert_eq!((topic.partitions[0].committed_offset.0, topic.topic_id), (seen, topic_id));
    }
}

#[test]
fn a_commit_that_needs_one_append_too_many_is_sent_away() {
    let config = GroupConfig { pending_appends_max: 2, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    h.auto_commit = false;
    h.send(Request::OffsetCommit(commit("g", "", -1, 1)));
    h.send(Request::OffsetCommit(commit("g", "", -1, 2)));
    assert_eq!(h.commit(commit("g", "", -1, 3)), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.offset("g"), -1, "reading needs no append");
    h.commit_all();
    assert_eq!(h.offset("g"), 2);
}

#[test]
fn fetches_that_wait_are_answered_in_their_order_as_the_commits_settle_or_time_out_one_by_one() {
    let stable = || Request::OffsetFetch(OffsetFetchRequest { require_stable: true, ..fetch("g") });
    let mut h = Harness::new();
    h.auto_commit = false;
    let mut waiting = Vec::new();
    for committed in 1..=3 {
        h.send(Request::OffsetCommit(commit("g", "", -1, committed)));
        waiting.push([h.send(stable()), h.send(stable())]);
        h.advance(1_000);
    }
    let appends: Vec<AppendId> = h.pending.keys().copied().collect();
    h.settle(appends[1], Ok(()));
    assert!(waiting.iter().flatten().all(|token| h.is_parked(*token)), "the first commit may still fail");
    h.settle(appends[0], Ok(()));
    for token in waiting[..2].iter().flatten() {
        assert_eq!(h.fetched(*token).topics[0].partitions[0].committed_offset, Offset(2));
    }
    h.advance(3_999);
    assert!(h.is_parked(waiting[2][0]) && h.is_parked(waiting[2][1]), "their five seconds are not over");
    h.advance(1);
    for token in waiting[2] {
        assert_eq!(h.fetched(token).error, ErrorCode::NotCoordinator);
    }
    h.commit_all();
    assert_eq!((h.offset("g"), h.unanswered()), (3, 0));
}
