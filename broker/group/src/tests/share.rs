//! The promises of share groups (KIP-932).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, PartitionIndex};

use super::consumer::{Topics, set, topic_id};
use super::harness::{Harness, join};
use crate::consumer::Assignment;
use crate::records::ShareRecord;
use crate::share::assign;
use crate::*;

fn beat(member_id: &str, member_epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member_id.into(),
        member_epoch,
        rack_id: None,
        subscribed_topic_names: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
    }
}

pub(super) fn joining(member_id: &str, topics: &[&str]) -> ShareGroupHeartbeatRequest {
    let names = topics.iter().map(ToString::to_string).collect();
    ShareGroupHeartbeatRequest { subscribed_topic_names: Some(names), ..beat(member_id, 0) }
}

fn partitions(topic: &str, indexes: &[i32]) -> TopicPartitions {
    TopicPartitions {
        topic_id: topic_id(topic),
        partitions: indexes.iter().copied().map(PartitionIndex).collect(),
    }
}

/// A shard whose groups may be assigned anew at any time, in a cluster with these topics.
fn cluster(topics: &[(&str, i32)]) -> Harness {
    let share = ShareGroupConfig { assignment_interval_ms: 0, size_max: 5, ..ShareGroupConfig::default() };
    let mut h =
        Harness::with_config(GroupConfig { share, initial_rebalance_delay_ms: 1, ..GroupConfig::default() });
    h.change_topics(&Topics::of(topics));
    h
}

impl Harness {
    fn share_beat(&mut self, request: ShareGroupHeartbeatRequest) -> ShareGroupHeartbeatResponse {
        match self.call(Request::ShareGroupHeartbeat(Box::new(request))) {
            Response::ShareGroupHeartbeat(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: ShareOffsetsChange) -> Result<ShareOffsetsAnswer, (ErrorCode, String)> {
        match self.call(Request::ShareOffsets(ShareOffsetsRequest { group_id: "g".into(), change })) {
            Response::ShareOffsets(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn view(&mut self) -> Result<ShareOffsetsAnswer, (ErrorCode, String)> {
        match self.call(Request::ViewShareOffsets("g".into())) {
            Response::ShareOffsets(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat, and the share coordinator's answer to what it asks for.
    fn share_beat_and_initialize(
        &mut self,
        request: ShareGroupHeartbeatRequest,
    ) -> ShareGroupHeartbeatResponse {
        let response = self.share_beat(request);
        if let Some(initialize) = &response.initialize {
            self.change(ShareOffsetsChange::Initialized(initialize.topics.clone())).unwrap();
        }
        response
    }

    fn describe_share_group(&mut self, group_id: &str) -> DescribedShareGroup {
        match self.call(Request::ShareGroupDescribe(vec![group_id.into()])) {
            Response::ShareGroupDescribe(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// What every member reads, as `topic-partition`.
    fn read_by(&mut self) -> BTreeMap<String, BTreeSet<String>> {
        let members = self.describe_share_group("g").members;
        let read = |member: &DescribedShareMember| {
            let of_topic = |topic: &DescribedPartitions| {
                let name = topic.topic_name.clone();
                topic.partitions.iter().map(move |p| format!("{name}-{}", p.0)).collect::<Vec<_>>()
            };
            member.assignment.iter().flat_map(of_topic).collect()
        };
        members.iter().map(|member| (member.member_id.clone(), read(member))).collect()
    }

    /// The log as key version, and value bytes if there are any.
    fn log_kinds(&self) -> Vec<(u8, Option<usize>)> {
        self.log.iter().map(|record| (record.key[1], record.value.as_ref().map(bytes::Bytes::len))).collect()
    }
}

/// The order, the epochs and the lengths are those of a run of Apache Kafka 4.3.0 with a group `g1` on a topic `sh` of three
/// partitions; names here are one byte shorter.
#[test]
fn the_first_member_s_life_is_written_as_kafka_writes_it() {
    let mut h = cluster(&[("sh", 3)]);
    let joined = h.share_beat_and_initialize(joining("m", &["sh"]));
    assert_eq!((joined.error, joined.member_epoch), (ErrorCode::None, 2));
    assert_eq!(joined.assignment, Some(vec![]), "nothing is initialized yet");
    let asked = joined.initialize.unwrap();
    assert_eq!((asked.state_epoch, asked.topics), (2, vec![partitions("sh", &[0, 1, 2])]));
    let next = h.share_beat(beat("m", 2));
    assert_eq!((next.member_epoch, next.initialize), (3, None));
    assert_eq!(next.assignment, Some(vec![partitions("sh", &[0, 1, 2])]));
    let steady = h.share_beat(beat("m", 3));
    assert_eq!((steady.member_epoch, steady.assignment), (3, None));
    let left = h.share_beat(beat("m", -1));
    assert_eq!((left.error, left.member_epoch), (ErrorCode::None, -1));
    let expected = [
        (10, Some(2 + 1 + 7 + 11 + 4 + 1)),
        (11, Some(15)),
        (13, Some(4)),
        (12, Some(17)),
        (14, Some(13)),
        (15, Some(39)),
        (15, Some(39)),
        (11, Some(15)),
        (13, Some(34)),
        (12, Some(17)),
        (14, Some(43)),
        (14, None),
        (13, None),
        (10, None),
        (11, Some(15)),
    ];
    assert_eq!(h.log_kinds(), expected);
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::None)]);
    assert_eq!(h.log_kinds()[expected.len()..], [(12, None), (15, None), (11, None)]);
    assert_eq!(h.describe_share_group("g").error, ErrorCode::GroupIdNotFound);
    h.fail_over();
    assert_eq!(h.shard.group_count(), 0);
}

#[test]
fn members_share_partitions_and_take_over_those_of_who_goes() {
    let mut h = cluster(&[("t", 2)]);
    for member_id in ["a", "b", "c"] {
        h.share_beat_and_initialize(joining(member_id, &["t"]));
    }
    for member_id in ["a", "b", "c"] {
        let epoch = h
            .describe_share_group("g")
            .members
            .iter()
            .find(|m| m.member_id == member_id)
            .unwrap()
            .member_epoch;
        h.share_beat(beat(member_id, epoch));
    }
    let read_by = h.read_by();
    assert!(read_by.values().all(|read| !read.is_empty()), "{read_by:?}");
    let all: BTreeSet<String> = read_by.values().flatten().cloned().collect();
    assert_eq!(all, set(&["t-0", "t-1"]));
    h.share_beat(beat("b", -1));
    h.share_beat(beat("c", -1));
    let epoch = h.describe_share_group("g").members[0].member_epoch;
    h.share_beat(beat("a", epoch));
    assert_eq!(h.read_by(), BTreeMap::from([("a".to_owned(), set(&["t-0", "t-1"]))]));
}

#[test]
fn a_silent_member_is_taken_out() {
    let mut h = cluster(&[("t", 1)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    h.advance(44_999);
    assert_eq!(h.describe_share_group("g").state, "Stable");
    h.fail_over();
    h.advance(44_999);
    assert_eq!(h.describe_share_group("g").members.len(), 1, "a new coordinator gives it a fresh session");
    h.advance(1);
    assert_eq!(h.describe_share_group("g").state, "Empty");
    let response = h.share_beat(beat("a", 2));
    assert_eq!(response.error, ErrorCode::UnknownMemberId);
}

#[test]
fn partitions_that_come_later_are_initialized_and_read() {
    let mut h = cluster(&[("t", 1)]);
    h.share_beat_and_initialize(joining("a", &["t", "u"]));
    h.share_beat(beat("a", 2));
    h.change_topics(&Topics::of(&[("t", 2), ("u", 1)]));
    let asked = h.share_beat_and_initialize(beat("a", 3)).initialize.unwrap();
    assert_eq!(asked.topics, [partitions("t", &[1]), partitions("u", &[0])]);
    let epoch = h.describe_share_group("g").members[0].member_epoch;
    h.share_beat(beat("a", epoch));
    assert_eq!(h.read_by()["a"], set(&["t-0", "t-1", "u-0"]));
}

#[test]
fn the_share_coordinator_is_asked_again_after_a_while() {
    let mut h = cluster(&[("t", 1)]);
    assert!(h.share_beat(joining("a", &["t"])).initialize.is_some());
    h.advance(29_999);
    assert_eq!(h.share_beat(beat("a", 2)).initialize, None);
    h.advance(1);
    assert!(h.share_beat(beat("a", 2)).initialize.is_some());
    h.fail_over();
    assert!(
        h.share_beat(beat("a", 2)).initialize.is_some(),
        "a new coordinator does not know when it was asked"
    );
}

#[test]
fn who_is_out_of_step_is_fenced() {
    let mut h = cluster(&[("t", 1)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    h.share_beat(beat("a", 2));
    assert_eq!(h.share_beat(beat("a", 2)).error, ErrorCode::None, "the answer may have been lost");
    let ahead = h.share_beat(beat("a", 9));
    assert_eq!(ahead.error, ErrorCode::FencedMemberEpoch);
    assert!(
        ahead.error_message.unwrap().starts_with("The share group member has a greater member epoch (9)")
    );
    assert_eq!(h.share_beat(beat("a", 1)).error, ErrorCode::FencedMemberEpoch);
    assert_eq!(h.share_beat(beat("b", 2)).error, ErrorCode::UnknownMemberId);
    assert_eq!(h.share_beat(joining("a", &["t"])).member_epoch, 3, "it may join anew");
    for at in 0..4 {
        assert_eq!(h.share_beat(joining(&format!("m{at}"), &["t"])).error, ErrorCode::None);
    }
    assert_eq!(h.share_beat(joining("m9", &["t"])).error, ErrorCode::GroupMaxSizeReached);
}

#[test]
fn heartbeats_that_make_no_sense_are_refused_in_kafka_s_words() {
    let mut h = cluster(&[("t", 1)]);
    for (request, message) in [
        (joining(" ", &["t"]), "MemberId can't be empty."),
        (
            ShareGroupHeartbeatRequest { group_id: String::new(), ..joining("a", &["t"]) },
            "GroupId can't be empty.",
        ),
        (
            ShareGroupHeartbeatRequest { rack_id: Some(String::new()), ..joining("a", &["t"]) },
            "RackId can't be empty.",
        ),
        (joining("a", &[]), "SubscribedTopicNames must be set in first request."),
        (beat("a", 0), "SubscribedTopicNames must be set in first request."),
        (beat("a", -2), "MemberEpoch is invalid."),
        (joining(&"a".repeat(40_000), &["t"]), "The request's texts are too long to be kept."),
    ] {
        let response = h.share_beat(request);
        assert_eq!(
            (response.error, response.error_message.as_deref()),
            (ErrorCode::InvalidRequest, Some(message))
        );
    }
    assert_eq!(h.share_beat(beat("a", 3)).error, ErrorCode::GroupIdNotFound);
    assert_eq!(h.log, []);
}

#[test]
fn an_id_is_of_one_kind_of_group() {
    let mut h = cluster(&[("t", 1)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    assert_eq!(h.join(join("g", "")).error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(h.beat(super::consumer::joining("g", "m", &["t"])).error, ErrorCode::GroupIdNotFound);
    assert_eq!(h.commit(super::harness::commit("g", "", -1, 5)), ErrorCode::GroupIdNotFound);
    assert_eq!(h.fetch(super::harness::fetch("g")).error, ErrorCode::GroupIdNotFound);
    assert_eq!(h.describe("g").error_message.unwrap(), "Group g is not a classic group.");
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::NonEmptyGroup)]);
    h.stable_group("classic", 1);
    let request = ShareGroupHeartbeatRequest { group_id: "classic".into(), ..joining("a", &["t"]) };
    let response = h.share_beat(request);
    assert_eq!(response.error, ErrorCode::GroupIdNotFound);
    assert_eq!(response.error_message.unwrap(), "Group classic is not a share group.");
    let list = ListGroupsRequest { types_filter: vec!["Share".into()], ..ListGroupsRequest::default() };
    match h.call(Request::ListGroups(list)) {
        Response::ListGroups(listed) => {
            let groups: Vec<_> =
                listed.groups.iter().map(|g| (&*g.group_id, &*g.group_type, &*g.state)).collect();
            assert_eq!(groups, [("g", "share", "Stable")]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn offsets_of_an_empty_group_are_altered_and_deleted_in_two_steps() {
    let mut h = cluster(&[("t", 2), ("u", 1)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    let alter = ShareOffsetsChange::Alter(vec![partitions("t", &[0]), partitions("u", &[0])]);
    assert_eq!(h.change(alter.clone()).unwrap_err().0, ErrorCode::NonEmptyGroup);
    assert_eq!(h.change(ShareOffsetsChange::DeleteAll).unwrap_err().0, ErrorCode::NonEmptyGroup);
    h.share_beat(beat("a", -1));
    let answer = h.change(alter).unwrap();
    assert_eq!(answer.state_epoch, h.describe_share_group("g").group_epoch);
    assert_eq!(h.view().unwrap().topics, [partitions("t", &[0, 1])], "u is not initialized yet");
    h.change(ShareOffsetsChange::Initialized(answer.topics)).unwrap();
    assert_eq!(h.view().unwrap().topics, [partitions("t", &[0, 1]), partitions("u", &[0])]);
    let begun = h.change(ShareOffsetsChange::Delete(vec![topic_id("t"), topic_id("x")])).unwrap();
    assert_eq!(begun.topics, [partitions("t", &[0, 1])]);
    assert_eq!(h.view().unwrap().topics, [partitions("u", &[0])]);
    h.fail_over();
    let again = h.change(ShareOffsetsChange::Delete(vec![topic_id("t")])).unwrap();
    assert_eq!(again.topics, [partitions("t", &[])], "what did not come to an end can be asked for again");
    h.change(ShareOffsetsChange::Deleted(vec![topic_id("t")])).unwrap();
    assert_eq!(h.change(ShareOffsetsChange::Delete(vec![topic_id("t")])).unwrap().topics, []);
    assert_eq!(h.change(ShareOffsetsChange::DeleteAll).unwrap().topics, [partitions("u", &[0])]);
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::None)]);
    assert_eq!(h.view(), Err((ErrorCode::GroupIdNotFound, "Group g not found.".to_owned())));
}

#[test]
fn who_alters_the_offsets_of_no_group_makes_it() {
    let mut h = cluster(&[("t", 1)]);
    let answer = h.change(ShareOffsetsChange::Alter(vec![partitions("t", &[0])])).unwrap();
    assert_eq!(answer.topics, [partitions("t", &[0])]);
    h.change(ShareOffsetsChange::Initialized(answer.topics)).unwrap();
    h.fail_over();
    assert_eq!(h.view().unwrap().topics, [partitions("t", &[0])]);
    assert_eq!(h.describe_share_group("g").state, "Empty");
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::None)]);
}

#[test]
fn what_is_kept_of_a_deleted_topic_goes() {
    let mut h = cluster(&[("t", 1), ("u", 1)]);
    h.share_beat_and_initialize(joining("a", &["t", "u"]));
    h.change_topics(&Topics::of(&[("u", 1)]));
    h.handle(Input::TopicsDeleted(vec!["t".into()]));
    assert_eq!(h.view().unwrap().topics, [partitions("u", &[0])]);
    h.fail_over();
    assert_eq!(h.view().unwrap().topics, [partitions("u", &[0])]);
}

#[test]
fn a_group_whose_append_fails_is_what_it_was_before() {
    let mut h = cluster(&[("t", 1)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    h.auto_commit = false;
    let joined = h.send(Request::ShareGroupHeartbeat(Box::new(joining("b", &["t"]))));
    let behind = h.send(Request::ShareGroupHeartbeat(Box::new(joining("c", &["t"]))));
    assert!(h.is_parked(joined) && h.is_parked(behind));
    let first = *h.pending.keys().next().unwrap();
    h.settle(first, Err(ErrorCode::NotEnoughReplicas));
    match h.answer(joined) {
        Response::ShareGroupHeartbeat(response) => {
            assert_eq!(response.error, ErrorCode::CoordinatorNotAvailable)
        }
        other => panic!("{other:?}"),
    }
    h.commit_all();
    assert!(matches!(h.answer(behind), Response::ShareGroupHeartbeat(response) if response.error.is_none()));
    let members: Vec<String> = h.describe_share_group("g").members.into_iter().map(|m| m.member_id).collect();
    assert_eq!(members, ["a", "c"]);
    let overdue = h.send(Request::ShareGroupHeartbeat(Box::new(joining("d", &["t"]))));
    h.advance(5_000);
    assert!(matches!(h.answer(overdue), Response::ShareGroupHeartbeat(response)
            if response.error == ErrorCode::CoordinatorNotAvailable));
}

#[test]
fn another_coordinator_knows_what_the_log_says() {
    let mut h = cluster(&[("t", 3)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    h.share_beat(beat("a", 2));
    let before = (h.describe_share_group("g"), h.view());
    h.fail_over();
    assert_eq!((h.describe_share_group("g"), h.view()), before);
    assert_eq!(h.share_beat(beat("a", 3)).error, ErrorCode::None);
}

#[test]
fn records_are_read_as_they_were_written() {
    let mut h = cluster(&[("t", 3)]);
    h.share_beat_and_initialize(joining("a", &["t"]));
    h.share_beat(beat("a", 2));
    for record in &h.log {
        let key = crate::records::RecordKey::decode(&record.key).unwrap();
        let crate::records::RecordKey::ShareGroup { kind, group_id, member_id } = key else {
            panic!("{key:?}")
        };
        let decoded = ShareRecord::decode(kind, member_id, record.value.as_deref()).unwrap();
        assert_eq!(decoded.encode(group_id), *record);
        let value = record.value.as_deref().unwrap();
        for end in 0..value.len() {
            assert!(ShareRecord::decode(kind, member_id, Some(&value[..end])).is_err(), "{kind:?} {end}");
        }
    }
}

/// Chance makes groups; whatever they were assigned before, the promises of an assignment hold.
#[test]
fn an_assignment_leaves_out_no_partition_and_no_member() {
    let mut seed = 11u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..500 {
        let names = ["t", "u", "v"];
        let assignable: BTreeMap<_, BTreeSet<PartitionIndex>> = names
            .iter()
            .map(|name| (topic_id(name), (0..random(6) as i32).map(PartitionIndex).collect()))
            .collect();
        let is_homogeneous = random(2) == 0;
        let mut members = BTreeMap::new();
        for at in 0..random(8) + 1 {
            let topics: BTreeSet<_> = names
                .iter()
                .filter(|_| is_homogeneous || random(2) == 0)
                .map(|name| topic_id(name))
                .collect();
            let member_id: Arc<str> = format!("m{at}").into();
            members.insert(member_id, (topics, Arc::new(Assignment::new())));
        }
        for _ in 0..3 {
            let assigned = assign(&members, &assignable);
            let read: BTreeSet<_> = assigned.values().flat_map(pairs).collect();
            for (topic_id, partitions) in &assignable {
                let is_subscribed = members.values().any(|(topics, _)| topics.contains(topic_id));
                for partition in partitions {
                    assert_eq!(read.contains(&(*topic_id, *partition)), is_subscribed);
                }
            }
            for (member_id, (topics, _)) in &members {
                let mine = &assigned[member_id];
                assert!(
                    mine.keys().all(|topic_id| topics.contains(topic_id)),
                    "it reads what it subscribes to"
                );
                let could = topics.iter().any(|topic_id| !assignable[topic_id].is_empty());
                assert_eq!(!mine.is_empty(), could, "everybody has something to read");
            }
            if is_homogeneous {
                let counts: Vec<usize> = assigned.values().map(|mine| pairs(mine).len()).collect();
                assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            }
            for (member_id, (_, before)) in &mut members {
                *before = Arc::new(assigned[member_id].clone());
            }
            assert_eq!(assign(&members, &assignable), assigned, "who is well assigned stays so");
            let gone = members.keys().next().cloned();
            if members.len() > 1 {
                members.remove(&gone.unwrap());
            }
        }
    }
}

fn pairs(assignment: &Assignment) -> Vec<(moldau_model::TopicId, PartitionIndex)> {
    let of_topic = |(topic_id, partitions): (&moldau_model::TopicId, &BTreeSet<PartitionIndex>)| {
        partitions.iter().map(|partition| (*topic_id, *partition)).collect::<Vec<_>>()
    };
    assignment.iter().flat_map(of_topic).collect()
}
