//! DeleteGroups, OffsetDelete, and what a deleted topic leaves behind.

use bytes::Bytes;
use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex, TopicId};

use super::harness::{Harness, TOPIC, commit, fetch, join, offset, protocol};
use crate::*;

fn offset_delete(group_id: &str, topics: &[(&str, &[i32])]) -> Request {
    let topics = topics.iter().map(|(name, partitions)| OffsetDeleteTopic {
        name: (*name).to_owned(),
        partitions: partitions.iter().map(|partition| PartitionIndex(*partition)).collect(),
    });
    Request::OffsetDelete(OffsetDeleteRequest { group_id: group_id.into(), topics: topics.collect() })
}

fn offsets_deleted(response: Response) -> (ErrorCode, Vec<ErrorCode>) {
    match response {
        Response::OffsetDelete(response) => {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            (response.error, partitions.map(|partition| partition.error).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// A commit of one partition of each of these topics.
fn commit_topics(h: &mut Harness, group_id: &str, member_id: &str, generation_id: i32, topics: &[&str]) {
    let topics = topics.iter().map(|name| OffsetCommitTopic {
        name: (*name).to_owned(),
        topic_id: TopicId::ZERO,
        partitions: vec![offset(0, 1)],
    });
    let request =
        OffsetCommitRequest { topics: topics.collect(), ..commit(group_id, member_id, generation_id, 0) };
    assert_eq!(h.commit(request), ErrorCode::None);
}

fn topics_of(h: &mut Harness, group_id: &str) -> Vec<String> {
    let all = h.fetch(OffsetFetchRequest { topics: None, ..fetch(group_id) });
    all.topics.into_iter().map(|topic| topic.name).collect()
}

#[test]
fn only_groups_without_members_are_deleted_each_with_its_own_code() {
    let mut h = Harness::new();
    h.stable_group("stable", 1);
    let (ids, _) = h.stable_group("empty", 1);
    commit_topics(&mut h, "empty", &ids[0], 1, &["a", "b"]);
    h.leave("empty", &[(&ids[0], None)]);
    h.commit(commit("simple", "", -1, 1));
    h.commit(commit("", "", -1, 1));
    let results = h.delete_groups(&["simple", "nobody", "stable", "empty", "simple", ""]);
    let expected = [
        ("", ErrorCode::None),
        ("empty", ErrorCode::None),
        ("nobody", ErrorCode::GroupIdNotFound),
        ("simple", ErrorCode::None),
        ("stable", ErrorCode::NonEmptyGroup),
    ];
    assert_eq!(results, expected.map(|(group_id, error)| (group_id.to_owned(), error)));
    for _ in 0..2 {
        assert_eq!(h.shard.group_count(), 1);
        assert_eq!(h.describe("empty").error, ErrorCode::GroupIdNotFound);
        assert_eq!((h.offset("simple"), topics_of(&mut h, "empty").len()), (-1, 0));
        // A coordinator that reads the log finds the same.
        h.fail_over();
    }
    assert_eq!(h.state("stable"), "Stable");
}

#[test]
fn the_members_of_a_rebalance_keep_their_group_from_being_deleted() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 2);
    h.send_join(join("g", &ids[0]));
    assert_eq!(h.state("g"), "PreparingRebalance");
    assert_eq!(h.delete_groups(&["g"])[0].1, ErrorCode::NonEmptyGroup);
    h.send_join(join("g", &ids[1]));
    assert_eq!(h.state("g"), "CompletingRebalance");
    assert_eq!(h.delete_groups(&["g"])[0].1, ErrorCode::NonEmptyGroup);
}

#[test]
fn a_deletion_that_cannot_be_written_leaves_group_and_offsets() {
    let mut h = Harness::new();
    h.commit(commit("g", "", -1, 7));
    h.auto_commit = false;
    let token = h.send(Request::DeleteGroups(vec!["g".into(), "nobody".into()]));
    assert!(h.is_parked(token));
    assert_eq!(h.offset("g"), 7, "it is not committed");
    h.fail_all(ErrorCode::NotEnoughReplicas);
    let Response::DeleteGroups(results) = h.answer(token) else { panic!("not an answer to it") };
    assert!(results.iter().all(|group| group.error == ErrorCode::CoordinatorNotAvailable));
    assert_eq!((h.shard.group_count(), h.offset("g")), (1, 7));
    h.auto_commit = true;
    assert_eq!(h.delete_groups(&["g"])[0].1, ErrorCode::None);
    assert_eq!((h.shard.group_count(), h.offset("g")), (0, -1));
}

#[test]
fn a_deletion_takes_the_commits_with_it_that_were_on_their_way() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let committing = h.send(Request::OffsetCommit(commit("g", "", -1, 7)));
    let deleting = h.send(Request::DeleteGroups(vec!["g".into()]));
    let anew = h.send(Request::OffsetCommit(commit("other", "", -1, 8)));
    h.commit_all();
    assert_eq!(h.committed(committing), ErrorCode::None);
    assert!(!h.is_parked(deleting));
    assert_eq!(h.committed(anew), ErrorCode::None);
    for _ in 0..2 {
        assert_eq!((h.offset("g"), h.offset("other")), (-1, 8));
        h.fail_over();
    }
}

#[test]
fn a_group_may_come_back_while_its_deletion_is_written() {
    for outcome in [Ok(()), Err(ErrorCode::NotEnoughReplicas)] {
        let mut h = Harness::new();
        h.commit(commit("g", "", -1, 7));
        h.auto_commit = false;
        h.send(Request::DeleteGroups(vec!["g".into()]));
        let anew = h.send(Request::OffsetCommit(commit("g", "", -1, 8)));
        let deletion = *h.pending.keys().next().unwrap();
        h.settle(deletion, outcome);
        h.commit_all();
        assert_eq!(h.committed(anew), ErrorCode::None);
        assert_eq!((h.shard.group_count(), h.offset("g")), (1, 8));
        h.fail_over();
        assert_eq!((h.shard.group_count(), h.offset("g")), (1, 8));
    }
}

#[test]
fn offsets_of_topics_that_members_read_are_not_deleted() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    commit_topics(&mut h, "g", &ids[0], generation_id, &[TOPIC, "left"]);
    let request = offset_delete("g", &[(TOPIC, &[0, 1]), ("left", &[0, 1]), ("never", &[0])]);
    let (error, partitions) = offsets_deleted(h.call(request.clone()));
    let (ok, subscribed) = (ErrorCode::None, ErrorCode::GroupSubscribedToTopic);
    assert_eq!((error, partitions), (ok, vec![subscribed, subscribed, ok, ok, ok]));
    assert_eq!(topics_of(&mut h, "g"), [TOPIC]);
    h.leave("g", &[(&ids[0], None)]);
    assert_eq!(offsets_deleted(h.call(request)), (ok, vec![ok; 5]), "nobody reads it now");
    assert!(topics_of(&mut h, "g").is_empty());
    h.fail_over();
    assert!(topics_of(&mut h, "g").is_empty());
}

#[test]
fn a_group_that_cannot_say_what_it_reads_keeps_its_offsets_while_it_has_members() {
    let mut h = Harness::new();
    let join_with = |h: &mut Harness, group_id: &str, protocol_type: &str| {
        let request = JoinGroupRequest {
            api_version: 3,
            protocol_type: protocol_type.into(),
            protocols: vec![protocol("range", Bytes::from_static(b"not a subscription"))],
            new_member_uuid: h.uuid(),
            ..join(group_id, "")
        };
        h.join(request).member_id
    };
    let connect = join_with(&mut h, "connect", "connect");
    join_with(&mut h, "consumer", "consumer");
    let delete = |group_id: &str| offset_delete(group_id, &[("left", &[0])]);
    assert_eq!(offsets_deleted(h.call(delete("connect"))), (ErrorCode::NonEmptyGroup, vec![]));
    let subscribed = vec![ErrorCode::GroupSubscribedToTopic];
    assert_eq!(offsets_deleted(h.call(delete("consumer"))), (ErrorCode::None, subscribed));
    assert_eq!(offsets_deleted(h.call(delete("nobody"))), (ErrorCode::GroupIdNotFound, vec![]));
    h.leave("connect", &[(&connect, None)]);
    assert_eq!(offsets_deleted(h.call(delete("connect"))), (ErrorCode::None, vec![ErrorCode::None]));
}

#[test]
fn an_offset_deletion_that_cannot_be_written_changes_nothing() {
    let mut h = Harness::new();
    h.commit(commit("g", "", -1, 7));
    h.auto_commit = false;
    let token = h.send(offset_delete("g", &[(TOPIC, &[0])]));
    assert!(h.is_parked(token));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(offsets_deleted(h.answer(token)), (ErrorCode::CoordinatorNotAvailable, vec![]));
    assert_eq!(h.offset("g"), 7);
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it_in_bounded_batches() {
    let config = GroupConfig { records_per_append_max: 3, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    for group_id in ["a", "b", "c", "d"] {
        commit_topics(&mut h, group_id, "", -1, &["gone", "kept"]);
    }
    h.auto_commit = false;
    let late = h.send(Request::OffsetCommit(OffsetCommitRequest {
        topics: vec![OffsetCommitTopic {
            name: "gone".into(),
            topic_id: TopicId::ZERO,
            partitions: vec![offset(9, 1)],
        }],
        ..commit("e", "", -1, 0)
    }));
    h.handle(Input::TopicsDeleted(vec!["gone".into(), "unheard of".into()]));
    let tombstones: Vec<usize> = h.pending.values().skip(1).map(Vec::len).collect();
    assert_eq!(tombstones, [3, 2], "four committed ones and one on its way");
    h.commit_all();
    assert_eq!(h.committed(late), ErrorCode::None);
    for _ in 0..2 {
        for group_id in ["a", "b", "c", "d"] {
            assert_eq!(topics_of(&mut h, group_id), ["kept"]);
        }
        assert!(topics_of(&mut h, "e").is_empty());
        h.fail_over();
    }
}

#[test]
fn a_topic_that_is_deleted_while_the_shard_loads_is_not_forgotten() {
    let mut h = Harness::new();
    commit_topics(&mut h, "g", "", -1, &["gone", "kept"]);
    let records = h.log.clone();
    let mut next = Harness::inactive(GroupConfig::default());
    next.shard.begin_load(LeaderEpoch(2));
    next.handle(Input::TopicsDeleted(vec!["gone".into()]));
    for record in &records {
        next.shard.replay(&record.key, record.value.as_deref()).unwrap();
    }
    let outputs = next.shard.finish_load(1);
    next.take(outputs);
    assert_eq!(topics_of(&mut next, "g"), ["kept"]);
}
