//! Who commits for a consumer group, and who reads what was committed.

use moldau_model::{ErrorCode, PartitionIndex};

use super::super::harness::{commit, fetch};
use super::{beat, cluster, having, joining, topic_id};
use crate::*;

fn of_partition(partition: i32, mut request: OffsetCommitRequest) -> OffsetCommitRequest {
    request.topics[0].topic_id = topic_id("t");
    request.topics[0].partitions[0].partition = PartitionIndex(partition);
    request
}

#[test]
fn a_member_commits_at_its_epoch_and_at_those_since_it_has_the_partition() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    let mut at = |member_id: &str, epoch, partition| {
        h.commit(of_partition(partition, commit("g", member_id, epoch, 7)))
    };
    assert_eq!(at("a", 2, 0), ErrorCode::None);
    assert_eq!(at("a", 2, 1), ErrorCode::None, "what it is to give up is still its");
    assert_eq!(at("a", 3, 0), ErrorCode::StaleMemberEpoch);
    assert_eq!(at("x", 2, 0), ErrorCode::UnknownMemberId);
    assert_eq!(at("", -1, 0), ErrorCode::UnknownMemberId, "nobody from outside commits for members");
    h.beat(having("g", "a", 2, &[("t", &[0])]));
    h.beat(beat("g", "b", 3));
    let mut at = |member_id: &str, epoch, partition| {
        h.commit(of_partition(partition, commit("g", member_id, epoch, 8)))
    };
    assert_eq!(at("a", 2, 0), ErrorCode::None, "it has had it all the time");
    assert_eq!(at("a", 2, 1), ErrorCode::StaleMemberEpoch, "this one is b's");
    assert_eq!(at("b", 2, 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(at("b", 3, 1), ErrorCode::None);
}

#[test]
fn an_old_clients_commit_for_a_member_is_refused() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    let old = OffsetCommitRequest { api_version: 8, ..commit("g", "a", 2, 7) };
    assert_eq!(h.commit(old), ErrorCode::UnsupportedVersion);
}

#[test]
fn anybody_commits_for_an_empty_group() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(beat("g", "a", -1));
    assert_eq!(h.commit(commit("g", "", -1, 9)), ErrorCode::None);
    assert_eq!(h.offset("g"), 9);
    assert_eq!(h.describe_consumer_group("g").state, "Empty");
}

#[test]
fn a_fetch_that_names_a_member_is_of_that_member_at_its_epoch() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    let mut by = |member_id: Option<&str>, member_epoch| {
        h.fetch(OffsetFetchRequest { member_id: member_id.map(str::to_owned), member_epoch, ..fetch("g") })
            .error
    };
    assert_eq!(by(None, -1), ErrorCode::None);
    assert_eq!(by(Some("a"), 2), ErrorCode::None);
    assert_eq!(by(Some("a"), 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(by(Some("x"), 2), ErrorCode::UnknownMemberId);
    assert_eq!(by(None, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_commit_that_comes_before_its_group_is_written_is_kept_whatever_becomes_of_that() {
    let mut h = cluster(&[("t", 1)]);
    h.auto_commit = false;
    h.send_beat(joining("g", "a", &["t"]));
    let join = *h.pending.keys().next().unwrap();
    let token = h.send(Request::OffsetCommit(commit("g", "", -1, 4)));
    let commit = *h.pending.keys().last().unwrap();
    h.settle(commit, Ok(()));
    assert_eq!(h.committed(token), ErrorCode::None);
    h.settle(join, Err(ErrorCode::NotEnoughReplicas));
    assert_eq!((h.offset("g"), h.state("g").as_str()), (4, "Empty"));
}
