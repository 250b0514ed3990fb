//! What a heartbeat is refused for, and in which words.

use moldau_model::ErrorCode;

use super::super::harness::{commit, join};
use super::{beat, cluster, having, joining, with_config};
use crate::*;

fn refused(response: &ConsumerGroupHeartbeatResponse) -> (ErrorCode, &str) {
    assert_eq!((&response.member_id, response.member_epoch), (&None, 0));
    (response.error, response.error_message.as_deref().unwrap_or_default())
}

#[test]
fn a_request_that_is_wrong_in_itself_is_refused_in_kafkas_words() {
    let mut h = cluster(&[("t", 1)]);
    let valid = || joining("g", "a", &["t"]);
    type Request = ConsumerGroupHeartbeatRequest;
    let cases: [(Request, &str); 12] = [
        (Request { member_id: String::new(), ..valid() }, "MemberId can't be empty."),
        (Request { member_id: " ".into(), api_version: 0, ..beat("g", "", 3) }, "MemberId can't be empty."),
        (Request { api_version: 0, ..beat("g", "", -1) }, "MemberId can't be empty."),
        (Request { group_id: " ".into(), ..valid() }, "GroupId can't be empty."),
        (Request { instance_id: Some(String::new()), ..valid() }, "InstanceId can't be empty."),
        (Request { rack_id: Some(" ".into()), ..valid() }, "RackId can't be empty."),
        (
            Request { rebalance_timeout_ms: -1, ..valid() },
            "RebalanceTimeoutMs must be provided in first request.",
        ),
        (Request { topic_partitions: None, ..valid() }, "TopicPartitions must be empty when (re-)joining."),
        (
            Request { topic_partitions: having("g", "a", 0, &[("t", &[0])]).topic_partitions, ..valid() },
            "TopicPartitions must be empty when (re-)joining.",
        ),
        (
            Request { subscribed_topic_names: None, ..valid() },
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (beat("g", "a", -2), "InstanceId can't be null."),
        (beat("g", "a", -3), "MemberEpoch is invalid."),
    ];
    for (request, message) in cases {
        assert_eq!(refused(&h.beat(request)), (ErrorCode::InvalidRequest, message));
    }
    let unsupported = Request { server_assignor: Some("mine".into()), ..valid() };
    assert_eq!(
        refused(&h.beat(unsupported)),
        (
            ErrorCode::UnsupportedAssignor,
            "ServerAssignor mine is not supported. Supported assignors: uniform, range."
        )
    );
    let long = Request { rack_id: Some("x".repeat(40_000)), ..valid() };
    assert_eq!(refused(&h.beat(long)).0, ErrorCode::InvalidRequest);
    assert_eq!(h.shard.group_count(), 0, "nothing came of any of them");
}

#[test]
fn an_old_client_is_given_a_member_id() {
    let mut h = cluster(&[("t", 1)]);
    let request = ConsumerGroupHeartbeatRequest { api_version: 0, ..joining("g", "", &["t"]) };
    let joined = h.beat(request);
    assert_eq!(joined.error, ErrorCode::None);
    assert_eq!(joined.member_id.as_deref(), Some(moldau_model::Uuid::ONE.to_string().as_str()));
}

#[test]
fn who_is_no_member_or_is_one_at_another_epoch_is_fenced() {
    let mut h = cluster(&[("t", 2)]);
    assert_eq!(
        refused(&h.beat(beat("g", "a", 1))),
        (ErrorCode::GroupIdNotFound, "Consumer group g not found.")
    );
    assert_eq!(refused(&h.beat(beat("g", "a", -1))), (ErrorCode::GroupIdNotFound, "Group g not found."));
    h.beat(joining("g", "a", &["t"]));
    for epoch in [1, -1] {
        assert_eq!(
            refused(&h.beat(beat("g", "x", epoch))),
            (ErrorCode::UnknownMemberId, "Member x is not a member of group g.")
        );
    }
    assert_eq!(
        refused(&h.beat(beat("g", "a", 3))),
        (
            ErrorCode::FencedMemberEpoch,
            "The consumer group member has a greater member epoch (3) than the one known by the group coordinator \
             (2). The member must abandon all its partitions and rejoin."
        )
    );
    assert_eq!(
        refused(&h.beat(beat("g", "a", 1))),
        (
            ErrorCode::FencedMemberEpoch,
            "The consumer group member has a smaller member epoch (1) than the one known by the group coordinator \
             (2). The member must abandon all its partitions and rejoin."
        )
    );
    let rejoined = h.beat(joining("g", "a", &["t"]));
    assert_eq!((rejoined.error, rejoined.member_epoch), (ErrorCode::None, 2), "with nothing in its hands");
}

#[test]
fn a_member_may_say_its_former_epoch_if_it_has_nothing_that_is_not_its() {
    let mut h = cluster(&[("t", 2)]);
    h.beat(joining("g", "a", &["t"]));
    h.beat(joining("g", "b", &["t"]));
    h.beat(having("g", "a", 2, &[("t", &[0, 1])]));
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0])])).member_epoch, 3);
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0])])).member_epoch, 3, "the answer may have been lost");
    assert_eq!(h.beat(having("g", "a", 2, &[("t", &[0, 1])])).error, ErrorCode::FencedMemberEpoch);
    assert_eq!(h.beat(beat("g", "a", 2)).error, ErrorCode::FencedMemberEpoch);
}

#[test]
fn a_full_group_takes_nobody_more() {
    let consumer = ConsumerGroupConfig { size_max: 1, ..ConsumerGroupConfig::default() };
    let mut h = with_config(&[("t", 1)], GroupConfig { consumer, ..GroupConfig::default() });
    h.beat(joining("g", "a", &["t"]));
    assert_eq!(
        refused(&h.beat(joining("g", "b", &["t"]))),
        (ErrorCode::GroupMaxSizeReached, "The consumer group has reached its maximum capacity of 1 members.")
    );
    assert_eq!(h.beat(joining("g", "a", &["t"])).error, ErrorCode::None);
}

#[test]
fn what_is_too_much_is_refused() {
    let consumer = ConsumerGroupConfig { waiting_max: 1, ..ConsumerGroupConfig::default() };
    let config = GroupConfig {
        consumer,
        group_metadata_bytes_max: 10,
        member_metadata_bytes_max: 20,
        groups_per_shard_max: 2,
        ..GroupConfig::default()
    };
    let mut h = with_config(&[("t", 1)], config);
    assert_eq!(h.beat(joining("g", "a", &["abcdefghijk"])).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(h.beat(joining("g", "a", &["abcdefghijk", "abcdefghijl"])).error, ErrorCode::InvalidRequest);
    assert_eq!(h.shard.group_count(), 0);
    h.auto_commit = false;
    h.send_beat(joining("g", "a", &["t"]));
    h.send_beat(joining("g", "b", &["t"]));
    let third = h.send_beat(joining("g", "c", &["t"]));
    assert_eq!(h.heard(third).error, ErrorCode::CoordinatorNotAvailable, "one waits already");
    h.send_beat(joining("h", "a", &["t"]));
    let third_group = h.send_beat(joining("i", "a", &["t"]));
    assert_eq!(h.heard(third_group).error, ErrorCode::GroupMaxSizeReached);
}

#[test]
fn an_id_is_of_one_kind_of_group_while_it_is_in_use() {
    let mut h = cluster(&[("t", 1)]);
    h.stable_group("classic", 1);
    let refusal = h.beat(joining("classic", "a", &["t"]));
    assert_eq!(refused(&refusal).0, ErrorCode::GroupIdNotFound);
    assert_eq!(
        refused(&h.beat(beat("classic", "a", 1))),
        (ErrorCode::GroupIdNotFound, "Group classic is not a consumer group.")
    );
    h.beat(joining("consumer", "a", &["t"]));
    let other_type = JoinGroupRequest { protocol_type: "connect".into(), ..join("consumer", "") };
    assert_eq!(h.join(other_type).error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(h.heartbeat("consumer", "a", 2), ErrorCode::UnknownMemberId);
}

#[test]
fn an_empty_group_becomes_one_of_the_other_kind_and_keeps_its_offsets() {
    let mut h = cluster(&[("t", 1)]);
    h.commit(commit("g", "", -1, 5));
    assert_eq!(h.beat(joining("g", "a", &["t"])).error, ErrorCode::None);
    assert_eq!(h.offset("g"), 5);
    h.fail_over();
    assert_eq!((h.offset("g"), h.describe_consumer_group("g").members.len()), (5, 1));
    h.beat(beat("g", "a", -1));
    h.stable_group("g", 1);
    assert_eq!((h.offset("g"), h.state("g").as_str()), (5, "Stable"));
    assert_eq!(h.describe_consumer_group("g").error, ErrorCode::GroupIdNotFound);
    h.fail_over();
    assert_eq!((h.offset("g"), h.state("g").as_str(), h.shard.group_count()), (5, "Stable", 1));
}

#[test]
fn a_classic_group_comes_back_if_its_successor_was_not_written() {
    let mut h = cluster(&[("t", 1)]);
    h.commit(commit("g", "", -1, 5));
    h.auto_commit = false;
    let token = h.send_beat(joining("g", "a", &["t"]));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.heard(token).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!((h.state("g").as_str(), h.offset("g"), h.shard.group_count()), ("Empty", 5, 1));
}
