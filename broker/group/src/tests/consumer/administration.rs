//! What administrators see of consumer groups, and what they may do to them.

use moldau_model::{ErrorCode, PartitionIndex};

use super::super::harness::{Harness, commit};
use super::{beat, cluster, having, joining};
use crate::*;

fn list(h: &mut Harness, states: &[&str], types: &[&str]) -> Vec<(String, String, String)> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
    match h.call(Request::ListGroups(request)) {
        Response::ListGroups(listed) => {
            listed.groups.into_iter().map(|g| (g.group_id, g.state, g.group_type)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn delete_offset(h: &mut Harness, topic: &str) -> (ErrorCode, Option<ErrorCode>) {
    let topic = OffsetDeleteTopic { name: topic.into(), partitions: vec![PartitionIndex(0)] };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic] };
    match h.call(Request::OffsetDelete(request)) {
        Response::OffsetDelete(deleted) => {
            (deleted.error, deleted.topics.first().map(|topic| topic.partitions[0].error))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_described_with_what_its_members_have_and_are_to_have() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(ConsumerGroupHeartbeatRequest { rack_id: Some("r".into()), ..joining("g", "a", &["t"]) });
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    let group = h.describe_consumer_group("g");
    assert_eq!(
        (group.error, group.state.as_str(), group.group_epoch, group.assignment_epoch),
        (ErrorCode::None, "Reconciling", 3, 3)
    );
    assert_eq!(group.assignor_name, "uniform");
    let [a, b] = &group.members[..] else { panic!("{group:?}") };
    assert_eq!((a.member_id.as_str(), a.member_epoch, a.rack_id.as_deref()), ("a", 2, Some("r")));
    assert_eq!((a.client_id.as_str(), a.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!(
        (&a.subscribed_topic_names[..], a.subscribed_topic_regex.as_str()),
        (&["t".to_owned()][..], "")
    );
    let shown = |partitions: &[DescribedPartitions]| -> Vec<(String, Vec<i32>)> {
        let of = |topic: &DescribedPartitions| {
            (topic.topic_name.clone(), topic.partitions.iter().map(|p| p.0).collect())
        };
        partitions.iter().map(of).collect()
    };
    assert_eq!(shown(&a.assignment), [("t".to_owned(), vec![0, 1])], "one of them it is to give up");
    assert_eq!(shown(&a.target_assignment), [("t".to_owned(), vec![0])]);
    assert_eq!(
        (shown(&b.assignment), shown(&b.target_assignment)),
        (vec![], vec![("t".to_owned(), vec![1])])
    );
}

#[test]
fn a_group_of_the_other_kind_or_none_is_not_found() {
    let mut h = cluster(&[("t", 1)]);
    h.stable_group("classic", 1);
    h.beat(joining("consumer", "a", &["t"]));
    let message = |group: DescribedConsumerGroup| (group.error, group.error_message.unwrap());
    assert_eq!(
        message(h.describe_consumer_group("classic")),
        (ErrorCode::GroupIdNotFound, "Group classic is not a consumer group.".to_owned())
    );
    assert_eq!(
        message(h.describe_consumer_group("x")),
        (ErrorCode::GroupIdNotFound, "Group x not found.".to_owned())
    );
    assert_eq!(h.describe_consumer_group("").error, ErrorCode::InvalidGroupId);
    let described = h.describe("consumer");
    assert_eq!((described.error, described.state.as_str()), (ErrorCode::GroupIdNotFound, "Dead"));
    assert_eq!(described.error_message.as_deref(), Some("Group consumer is not a classic group."));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut h = cluster(&[("t", 1)]);
    h.stable_group("classic", 1);
    h.beat(joining("consumer", "a", &["t"]));
    let all = [("classic", "Stable", "classic"), ("consumer", "Stable", "consumer")];
    let all = all.map(|(id, state, kind)| (id.to_owned(), state.to_owned(), kind.to_owned()));
    assert_eq!(list(&mut h, &[], &[]), all);
    assert_eq!(list(&mut h, &["stable"], &["Consumer"]), all[1..]);
    assert_eq!(list(&mut h, &[], &["classic"]), all[..1]);
    assert_eq!(list(&mut h, &["reconciling"], &[]), []);
}

#[test]
fn a_group_is_deleted_once_it_is_empty_and_leaves_nothing() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("t.*".into()),
        ..joining("g", "a", &[])
    });
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::NonEmptyGroup)]);
    h.beat(beat("g", "a", -1));
    h.commit(commit("g", "", -1, 3));
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::None)]);
    assert_eq!((h.shard.group_count(), h.offset("g")), (0, -1));
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::GroupIdNotFound)]);
    h.fail_over();
    assert_eq!((h.shard.group_count(), h.offset("g")), (0, -1));
}

#[test]
fn who_joins_while_a_group_is_deleted_waits_and_makes_it_anew() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(beat("g", "a", -1));
    for (result, epoch) in [(Err(ErrorCode::NotEnoughReplicas), 4), (Ok(()), 2)] {
        h.auto_commit = false;
        let deletion = h.send(Request::DeleteGroups(vec!["g".into()]));
        let append = *h.pending.keys().next().unwrap();
        let join = h.send_beat(joining("g", "b", &["t"]));
        let commit = h.send(Request::OffsetCommit(commit("g", "", -1, 3)));
        assert!(h.is_parked(join));
        assert_eq!(h.committed(commit), ErrorCode::CoordinatorNotAvailable);
        h.settle(append, result);
        h.answer(deletion);
        h.auto_commit = true;
        h.commit_all();
        assert_eq!(h.heard(join).member_epoch, epoch);
        h.beat(beat("g", "b", -1));
    }
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_may_be_deleted() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    assert_eq!(delete_offset(&mut h, "t"), (ErrorCode::None, Some(ErrorCode::GroupSubscribedToTopic)));
    assert_eq!(delete_offset(&mut h, "u"), (ErrorCode::None, Some(ErrorCode::None)));
    h.beat(beat("g", "a", -1));
    h.commit(commit("g", "", -1, 3));
    assert_eq!(delete_offset(&mut h, "t"), (ErrorCode::None, Some(ErrorCode::None)));
    assert_eq!(h.offset("g"), -1);
}

#[test]
fn unused_offsets_expire_and_an_empty_group_goes_with_the_last() {
    let mut h = cluster(&[("t", 1)]);
    h.beat(joining("g", "a", &["t"]));
    h.commit(commit("g", "a", 2, 3));
    for _ in 0..7 * 24 * 120 {
        h.advance(30_000);
        h.beat(beat("g", "a", 2));
    }
    assert_eq!(h.offset("g"), 3, "a member subscribes to the topic");
    h.beat(beat("g", "a", -1));
    h.advance(600_000);
    assert_eq!((h.offset("g"), h.shard.group_count()), (-1, 0));
    h.fail_over();
    assert_eq!(h.shard.group_count(), 0);
}
