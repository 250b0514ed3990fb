//! Offsets that outlive their use: after seven days, and never while somebody reads the topic.

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, TimestampMs, TopicId};

use super::harness::{Harness, TOPIC, commit, fetch, join, offset, protocol, subscription, sync};
use crate::records::{GroupMetadataValue, MemberMetadata, group_key};
use crate::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const RETENTION_MS: i64 = 7 * DAY_MS;
/// How often the shard looks, which is how late it may be.
const INTERVAL_MS: i64 = 600_000;

fn commit_topic(h: &mut Harness, request: OffsetCommitRequest, topic: &str) {
    let topics = vec![OffsetCommitTopic {
        name: topic.into(),
        topic_id: TopicId::ZERO,
        partitions: vec![offset(0, 1)],
    }];
    assert_eq!(h.commit(OffsetCommitRequest { topics, ..request }), ErrorCode::None);
}

fn topics_of(h: &mut Harness, group_id: &str) -> Vec<String> {
    let all = h.fetch(OffsetFetchRequest { topics: None, ..fetch(group_id) });
    all.topics.into_iter().map(|topic| topic.name).collect()
}

/// A stable group of one member of this type, whose session lasts half an hour.
fn long_lived_member(h: &mut Harness, protocol_type: &str, metadata: Bytes) -> String {
    let request = JoinGroupRequest {
        api_version: 3,
        session_timeout_ms: 1_800_000,
        protocol_type: protocol_type.into(),
        protocols: vec![protocol("range", metadata)],
        new_member_uuid: h.uuid(),
        ..join("g", "")
    };
    let member_id = h.join(request).member_id;
    let sync = SyncGroupRequest { protocol_type: None, api_version: 4, ..sync("g", &member_id, 1, &[]) };
    assert_eq!(h.sync(sync).error, ErrorCode::None);
    member_id
}

fn live(h: &mut Harness, member_id: &str, duration_ms: i64) {
    let end = h.now_ms + duration_ms;
    while h.now_ms < end {
        h.advance((end - h.now_ms).min(1_700_000));
        assert_eq!(h.heartbeat("g", member_id, 1), ErrorCode::None);
    }
}

#[test]
fn the_offsets_of_who_is_no_member_age_each_from_its_commit_and_the_group_goes_with_the_last() {
    let mut h = Harness::new();
    commit_topic(&mut h, commit("g", "", -1, 0), "a");
    h.advance(DAY_MS);
    commit_topic(&mut h, commit("g", "", -1, 0), "b");
    h.advance(6 * DAY_MS - INTERVAL_MS);
    assert_eq!(topics_of(&mut h, "g"), ["a", "b"]);
    h.advance(2 * INTERVAL_MS);
    assert_eq!(topics_of(&mut h, "g"), ["b"]);
    // Whoever commits again keeps its offset.
    commit_topic(&mut h, commit("g", "", -1, 0), "b");
    h.advance(RETENTION_MS - INTERVAL_MS);
    assert_eq!(topics_of(&mut h, "g"), ["b"]);
    h.advance(2 * INTERVAL_MS);
    assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0));
    h.fail_over();
    assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0), "the log says so too");
}

#[test]
fn an_empty_groups_offsets_age_from_when_the_last_member_went() {
    for restart in [false, true] {
        let mut h = Harness::new();
        let member_id = long_lived_member(&mut h, "consumer", subscription(TOPIC));
        commit_topic(&mut h, commit("g", &member_id, 1, 0), "a");
        live(&mut h, &member_id, 6 * DAY_MS);
        h.leave("g", &[(&member_id, None)]);
        h.advance(3 * DAY_MS);
        if restart {
            h.fail_over();
        }
        h.advance(4 * DAY_MS - INTERVAL_MS);
        assert_eq!(topics_of(&mut h, "g"), ["a"], "thirteen days after the commit");
        h.advance(2 * INTERVAL_MS);
        assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0));
    }
}

#[test]
fn a_stable_consumer_group_loses_the_offsets_that_none_of_its_members_reads_and_no_others() {
    let mut h = Harness::new();
    let member_id = long_lived_member(&mut h, "consumer", subscription(TOPIC));
    for topic in [TOPIC, "left"] {
        commit_topic(&mut h, commit("g", &member_id, 1, 0), topic);
    }
    live(&mut h, &member_id, RETENTION_MS - INTERVAL_MS);
    assert_eq!(topics_of(&mut h, "g"), ["left", TOPIC]);
    live(&mut h, &member_id, 2 * INTERVAL_MS);
    assert_eq!(topics_of(&mut h, "g"), [TOPIC]);
    live(&mut h, &member_id, 8 * DAY_MS);
    assert_eq!(topics_of(&mut h, "g"), [TOPIC]);
    assert_eq!(h.state("g"), "Stable");
}

#[test]
fn a_group_whose_subscriptions_nobody_understands_loses_nothing_while_it_has_members() {
    for (protocol_type, metadata) in [("connect", subscription(TOPIC)), ("consumer", "not one".into())] {
        let mut h = Harness::new();
        let member_id = long_lived_member(&mut h, protocol_type, metadata);
        commit_topic(&mut h, commit("g", &member_id, 1, 0), "left");
        live(&mut h, &member_id, 8 * DAY_MS);
        assert_eq!(topics_of(&mut h, "g"), ["left"], "{protocol_type}");
        h.leave("g", &[(&member_id, None)]);
        h.advance(RETENTION_MS + INTERVAL_MS);
        assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0), "{protocol_type}");
    }
}

#[test]
fn a_rebalance_is_no_time_to_expire_anything() {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 1,
        offsets_retention_ms: 1_000,
        offsets_retention_check_interval_ms: 100,
        ..GroupConfig::default()
    };
    let mut h = Harness::with_config(config);
    let (ids, generation_id) = h.stable_group("g", 2);
    commit_topic(&mut h, commit("g", &ids[0], generation_id, 0), "left");
    h.send_join(join("g", &ids[0]));
    h.advance(2_000);
    assert_eq!((h.state("g").as_str(), topics_of(&mut h, "g").len()), ("PreparingRebalance", 1));
    h.send_join(join("g", &ids[1]));
    h.advance(2_000);
    assert_eq!((h.state("g").as_str(), topics_of(&mut h, "g").len()), ("CompletingRebalance", 1));
    h.sync(sync("g", &ids[0], generation_id + 1, &[]));
    h.advance(100);
    assert_eq!((h.state("g").as_str(), topics_of(&mut h, "g").len()), ("Stable", 0));
}

#[test]
fn a_clients_own_retention_time_goes_before_the_brokers() {
    let mut h = Harness::new();
    for (group_id, retention_time_ms) in [("short", DAY_MS), ("long", 30 * DAY_MS)] {
        let request = OffsetCommitRequest {
            api_version: 2,
            retention_time_ms: Some(retention_time_ms),
            ..commit(group_id, "", -1, 0)
        };
        commit_topic(&mut h, request, "a");
    }
    h.advance(DAY_MS - INTERVAL_MS);
    h.fail_over();
    assert_eq!(topics_of(&mut h, "short"), ["a"]);
    h.advance(2 * INTERVAL_MS);
    assert!(topics_of(&mut h, "short").is_empty());
    h.advance(28 * DAY_MS);
    assert_eq!(topics_of(&mut h, "long"), ["a"]);
    h.advance(DAY_MS);
    assert!(topics_of(&mut h, "long").is_empty());
}

#[test]
fn a_commit_on_its_way_keeps_its_group() {
    let mut h = Harness::new();
    commit_topic(&mut h, commit("g", "", -1, 0), "a");
    h.advance(RETENTION_MS - 1_000);
    h.auto_commit = false;
    h.send(Request::OffsetCommit(commit("g", "", -1, 9)));
    h.advance(INTERVAL_MS);
    assert_eq!(h.shard.group_count(), 1);
    h.commit_all();
    assert_eq!(h.offset("g"), 9);
    assert_eq!(topics_of(&mut h, "g"), [TOPIC], "the other one's time was over");
}

#[test]
fn an_expiration_that_cannot_be_written_is_tried_again() {
    let mut h = Harness::new();
    commit_topic(&mut h, commit("g", "", -1, 0), "a");
    h.auto_commit = false;
    h.advance(RETENTION_MS);
    assert_eq!(topics_of(&mut h, "g"), ["a"], "it is not committed");
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (1, 1));
    h.auto_commit = true;
    h.advance(INTERVAL_MS);
    assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0));
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_look_and_one_that_is_joined_stays() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 1);
    h.leave("g", &[(&ids[0], None)]);
    assert_eq!(h.shard.group_count(), 1);
    h.advance(INTERVAL_MS - 5_000 - h.now_ms % 1_000);
    // An id given out shortly before the look.
    h.new_member_id("joining");
    h.advance(5_000);
    assert_eq!(h.describe("g").error, ErrorCode::GroupIdNotFound);
    assert_eq!(h.describe("joining").error, ErrorCode::None);
    h.fail_over();
    assert_eq!(h.describe("g").error, ErrorCode::GroupIdNotFound);
}

#[test]
fn an_old_record_that_does_not_tell_when_the_group_became_empty_leaves_the_commits_to_count_from() {
    let mut h = Harness::new();
    commit_topic(&mut h, commit("g", "", -1, 0), "a");
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation_id: GenerationId(4),
        protocol: None,
        leader: None,
        current_state_timestamp: TimestampMs::NONE,
        members: Vec::<MemberMetadata<'_>>::new(),
    };
    h.write_foreign(CoordinatorRecord { key: group_key("g"), value: Some(value.encode()) });
    h.advance(RETENTION_MS - INTERVAL_MS);
    let log = h.log.clone();
    h.load(&log);
    assert_eq!(topics_of(&mut h, "g"), ["a"]);
    h.advance(2 * INTERVAL_MS);
    assert_eq!((topics_of(&mut h, "g").len(), h.shard.group_count()), (0, 0));
}

#[test]
fn many_offsets_expire_in_batches_of_a_bounded_size() {
    let config = GroupConfig { records_per_append_max: 10, ..GroupConfig::default() };
    let mut h = Harness::with_config(config);
    for at in 0..35 {
        commit_topic(&mut h, commit(&format!("g{at}"), "", -1, 0), "a");
    }
    h.auto_commit = false;
    h.advance(RETENTION_MS);
    let sizes: Vec<usize> = h.pending.values().map(Vec::len).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 70, "an offset and a group each");
    assert!(sizes.iter().all(|size| *size <= 11), "{sizes:?}");
    h.commit_all();
    assert_eq!(h.shard.group_count(), 0);
}
