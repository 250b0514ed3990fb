//! A group from its first member to its deletion.

use moldau_model::ErrorCode;

use super::super::consumer::Topics;
use super::super::harness::{commit, fetch, join};
use super::*;

#[test]
fn the_first_members_wait_for_more_and_are_assigned_together() {
    let mut h = cluster(&TOPICS);
    let overrides = GroupOverrides {
        streams_initial_rebalance_delay_ms: Some(3_000),
        streams_heartbeat_interval_ms: Some(5_000),
        ..GroupOverrides::default()
    };
    h.change_topics(&Topics { overrides, ..Topics::of(&TOPICS) });
    let joined = h.streams_beat(joining("a"));
    assert_eq!((joined.error, joined.member_epoch), (ErrorCode::None, 1));
    assert_eq!(codes(&joined), [StreamsStatusCode::AssignmentDelayed]);
    assert_eq!(
        joined.statuses[0].detail,
        "Assignment delayed due to the configured initial rebalance delay."
    );
    assert_eq!(told(&joined), Some((set(&[]), set(&[]))));
    assert_eq!(h.describe_streams_group("g").state, "Assigning");
    h.advance(1_000);
    assert_eq!(codes(&h.streams_beat(joining("b"))), [StreamsStatusCode::AssignmentDelayed]);
    h.advance(2_000);
    let heard = h.streams_beat(having("a", 1, &[], &[]));
    assert_eq!((codes(&heard), heard.member_epoch), (vec![], 3));
    assert_eq!(told(&heard).unwrap().0.len(), 2, "two of four tasks");
    h.streams_beat(having("b", 1, &[], &[]));
    let described = h.describe_streams_group("g");
    assert_eq!(
        (described.state.as_str(), described.group_epoch, described.assignment_epoch),
        ("Stable", 3, 3)
    );
}

#[test]
fn internal_topics_that_are_missing_are_asked_for_and_tasks_wait_for_them() {
    let mut h = cluster(&[("lines", 2)]);
    let joined = h.streams_beat(joining("a"));
    assert_eq!(codes(&joined), [StreamsStatusCode::MissingInternalTopics]);
    let asked: Vec<(&str, i32)> =
        joined.topics_to_create.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(asked, [("store-changelog", 2), ("words", 2)]);
    assert_eq!(told(&joined), Some((set(&[]), set(&[]))));
    assert_eq!(h.describe_streams_group("g").state, "NotReady");
    let heard = h.streams_beat(having("a", joined.member_epoch, &[], &[]));
    assert_eq!(heard.topics_to_create.len(), 2, "it asks until they are there");
    h.change_topics(&Topics::of(&TOPICS));
    let heard = h.streams_beat(having("a", heard.member_epoch, &[], &[]));
    assert_eq!((codes(&heard), heard.topics_to_create.len()), (vec![], 0));
    assert_eq!(told(&heard), Some((set(&["0-0", "0-1", "1-0", "1-1"]), set(&[]))));
    let described = h.describe_streams_group("g");
    assert_eq!(described.state, "Stable");
    let topology = described.topology.unwrap();
    assert_eq!(topology.subtopologies[1].changelog_topics[0].partitions, 2);
    // The source is gone, and with it all tasks.
    h.change_topics(&Topics::of(&TOPICS[1..]));
    let heard = h.streams_beat(beat("a", heard.member_epoch));
    assert_eq!(codes(&heard), [StreamsStatusCode::MissingSourceTopics]);
    assert_eq!(told(&heard), Some((set(&[]), set(&[]))));
    assert_eq!(h.describe_streams_group("g").state, "NotReady");
}

#[test]
fn a_task_goes_to_another_member_only_once_it_was_given_up() {
    let mut h = cluster(&TOPICS);
    let alone = h.streams_beat(joining("a"));
    let all = ["0-0", "0-1", "1-0", "1-1"];
    assert_eq!(told(&alone).unwrap().0, set(&all));
    let second = h.streams_beat(joining("b"));
    assert_eq!((told(&second), second.member_epoch), (Some((set(&[]), set(&[]))), 3));
    let asked = h.streams_beat(having("a", 2, &all, &[]));
    let kept = told(&asked).unwrap().0;
    assert_eq!((kept.len(), asked.member_epoch), (2, 2), "it stays at its epoch until it has given up");
    assert_eq!(told(&h.streams_beat(beat("b", 3))), None);
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let done = h.streams_beat(having("a", 2, &kept, &[]));
    assert_eq!((told(&done).unwrap().0, done.member_epoch), (set(&kept), 3));
    let gets = told(&h.streams_beat(beat("b", 3))).unwrap().0;
    assert_eq!(gets.union(&set(&kept)).cloned().collect::<BTreeSet<_>>(), set(&all));
    // Who does not give up in time is out, and what it had is free.
    let is_there =
        |h: &mut Harness| h.describe_streams_group("g").members.iter().any(|member| member.member_id == "a");
    h.streams_beat(joining("c"));
    h.streams_beat(joining("d"));
    let asked = h.streams_beat(having("a", 3, &kept, &[]));
    assert_eq!(told(&asked).unwrap().0.len(), 1, "there are four members for four tasks");
    h.advance(9_999);
    assert!(is_there(&mut h));
    h.advance(1);
    assert!(!is_there(&mut h));
}

#[test]
fn copies_of_stateful_tasks_are_kept_by_other_processes_as_the_group_s_setting_says() {
    let mut h = cluster(&TOPICS);
    for member_id in ["a", "b"] {
        h.streams_beat(joining(member_id));
    }
    let settle = |h: &mut Harness| {
        for _ in 0..6 {
            for member in h.describe_streams_group("g").members {
                let (active, standby) = (member.assignment.active, member.assignment.standby);
                let request = StreamsGroupHeartbeatRequest {
                    active_tasks: Some(active),
                    standby_tasks: Some(standby),
                    warmup_tasks: Some(StreamsTasks::new()),
                    ..beat(&member.member_id, member.member_epoch)
                };
                h.streams_beat(request);
            }
        }
    };
    settle(&mut h);
    assert!(h.describe_streams_group("g").members.iter().all(|member| member.assignment.standby.is_empty()));
    let overrides = GroupOverrides { streams_standby_replicas: Some(1), ..GroupOverrides::default() };
    h.change_topics(&Topics { overrides, ..Topics::of(&TOPICS) });
    settle(&mut h);
    let described = h.describe_streams_group("g");
    assert_eq!(described.state, "Stable");
    let mut copied = BTreeSet::new();
    for member in &described.members {
        let standby = names(&member.assignment.standby);
        assert!(standby.is_disjoint(&names(&member.assignment.active)));
        copied.extend(standby);
    }
    assert_eq!(copied, set(&["1-0", "1-1"]));
}

#[test]
fn a_member_of_another_topology_is_refused_and_one_of_an_older_epoch_is_told() {
    let mut h = cluster(&TOPICS);
    let mut newer = joining("a");
    newer.topology.as_mut().unwrap().epoch = 3;
    assert_eq!(h.streams_beat(newer.clone()).error, ErrorCode::None);
    let older = h.streams_beat(joining("b"));
    assert_eq!((older.error, codes(&older)), (ErrorCode::None, vec![StreamsStatusCode::StaleTopology]));
    let mut other = StreamsGroupHeartbeatRequest { member_id: "c".into(), ..newer };
    other.topology.as_mut().unwrap().subtopologies[0].source_topics.push("more".into());
    let refused = h.streams_beat(other);
    assert_eq!(refused.error, ErrorCode::InvalidRequest);
    assert_eq!(refused.error_message.as_deref(), Some("Topology updates are not supported yet."));
    assert_eq!(h.describe_streams_group("g").members.len(), 2);
}

#[test]
fn one_member_may_have_the_whole_application_shut_down() {
    let mut h = cluster(&TOPICS);
    h.streams_beat(joining("a"));
    h.streams_beat(joining("b"));
    let request = StreamsGroupHeartbeatRequest { shutdown_application: true, ..beat("b", 3) };
    assert_eq!(codes(&h.streams_beat(request)), [StreamsStatusCode::ShutdownApplication]);
    assert_eq!(codes(&h.streams_beat(beat("a", 2))), [StreamsStatusCode::ShutdownApplication]);
    h.streams_beat(beat("a", -1));
    h.streams_beat(beat("b", -1));
    assert_eq!(codes(&h.streams_beat(joining("a"))), [], "who starts it again wants it to run");
}

#[test]
fn members_learn_which_instance_has_what() {
    let mut h = cluster(&TOPICS);
    let endpoint = StreamsEndpoint { host: "h".into(), port: 40_000 };
    let with_endpoint = |member_id: &str| StreamsGroupHeartbeatRequest {
        user_endpoint: Some(endpoint.clone()),
        ..joining(member_id)
    };
    let joined = h.streams_beat(with_endpoint("a"));
    let has = |topic: &str| (topic.to_owned(), vec![PartitionIndex(0), PartitionIndex(1)]);
    let expected = StreamsEndpointPartitions {
        endpoint: endpoint.clone(),
        active: vec![has("lines"), has("words")],
        standby: vec![],
    };
    assert_eq!((joined.endpoint_epoch, joined.endpoints), (0, Some(vec![expected])));
    let knows = h.streams_beat(beat("a", 2));
    assert_eq!((knows.endpoint_epoch, knows.endpoints), (0, None));
    let second = h.streams_beat(with_endpoint("b"));
    assert_eq!((second.endpoint_epoch, second.endpoints.map(|all| all.len())), (1, Some(2)));
}

#[test]
fn members_commit_at_their_epoch_and_late_only_for_tasks_that_have_been_theirs_since() {
    let mut h = cluster(&TOPICS);
    h.streams_beat(joining("a"));
    let lines = |member_id: &str, epoch: i32| {
        let mut request = commit("g", member_id, epoch, 7);
        request.topics[0].name = "lines".into();
        request
    };
    assert_eq!(h.commit(lines("a", 2)), ErrorCode::None);
    assert_eq!(h.commit(lines("a", 3)), ErrorCode::StaleMemberEpoch);
    assert_eq!(h.commit(lines("a", 1)), ErrorCode::StaleMemberEpoch, "the task was not its then");
    assert_eq!(h.commit(lines("b", 2)), ErrorCode::UnknownMemberId);
    assert_eq!(h.commit(commit("g", "a", 1, 7)), ErrorCode::StaleMemberEpoch, "no topic of the topology");
    let request = OffsetFetchRequest { member_id: Some("a".into()), member_epoch: 1, ..fetch("g") };
    assert_eq!(h.fetch(request.clone()).error, ErrorCode::StaleMemberEpoch);
    assert_eq!(h.fetch(OffsetFetchRequest { member_epoch: 2, ..request }).error, ErrorCode::None);
    // The epoch grows, and the task stays.
    let again = StreamsGroupHeartbeatRequest { rack_id: Some("r".into()), ..beat("a", 2) };
    assert_eq!(h.streams_beat(again).member_epoch, 3);
    assert_eq!(h.commit(lines("a", 2)), ErrorCode::None);
}

#[test]
fn epochs_fence_whoever_is_not_where_the_coordinator_has_it() {
    let mut h = cluster(&TOPICS);
    assert_eq!(h.streams_beat(beat("a", 5)).error, ErrorCode::GroupIdNotFound);
    h.streams_beat(joining("a"));
    assert_eq!(h.streams_beat(beat("b", 2)).error, ErrorCode::UnknownMemberId);
    assert_eq!(h.streams_beat(beat("a", 3)).error, ErrorCode::FencedMemberEpoch);
    let changed = StreamsGroupHeartbeatRequest { rack_id: Some("r".into()), ..beat("a", 2) };
    assert_eq!(h.streams_beat(changed).member_epoch, 3);
    assert_eq!(
        h.streams_beat(beat("a", 2)).error,
        ErrorCode::FencedMemberEpoch,
        "it says nothing of its tasks"
    );
    let late = h.streams_beat(having("a", 2, &["0-0"], &[]));
    assert_eq!((late.error, late.member_epoch), (ErrorCode::None, 3), "the answer may have been lost");
    let unknown = h.streams_beat(having("a", 3, &["0-7"], &[]));
    assert_eq!(unknown.error, ErrorCode::InvalidRequest);
    let session_ms = i64::from(StreamsGroupConfig::default().session_timeout_ms);
    h.advance(session_ms - 1);
    assert_eq!(h.describe_streams_group("g").members.len(), 1);
    h.advance(1);
    assert_eq!(h.describe_streams_group("g").state, "Empty");
}

#[test]
fn a_new_coordinator_knows_the_group_as_it_was_and_a_deleted_one_is_gone() {
    let mut h = cluster(&TOPICS);
    h.streams_beat(joining("a"));
    h.streams_beat(joining("b"));
    let before = h.describe_streams_group("g");
    h.fail_over();
    assert_eq!(h.describe_streams_group("g"), before);
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::NonEmptyGroup)]);
    h.streams_beat(beat("a", -1));
    h.streams_beat(beat("b", -1));
    assert_eq!(h.delete_groups(&["g"]), [("g".to_owned(), ErrorCode::None)]);
    let kinds: Vec<u8> = h.log.iter().rev().take(3).map(|record| record.key[1]).collect();
    assert_eq!(kinds, [23, 17, 20]);
    h.fail_over();
    assert_eq!(h.shard.group_count(), 0);
    assert_eq!(h.describe_streams_group("g").error, ErrorCode::GroupIdNotFound);
}

#[test]
fn a_group_is_of_one_kind_while_it_is_in_use() {
    let mut h = cluster(&TOPICS);
    h.streams_beat(joining("a"));
    let mut classic = join("g", "");
    classic.api_version = 3;
    let token = h.send_join(classic.clone());
    let Response::Join(refused) = h.answer(token) else { panic!() };
    assert_eq!(refused.error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(h.commit(commit("g", "", -1, 3)), ErrorCode::UnknownMemberId);
    h.streams_beat(beat("a", -1));
    assert_eq!(h.commit(commit("g", "", -1, 3)), ErrorCode::None);
    // Who is refused takes nobody's place.
    let token = h.send_join(JoinGroupRequest { member_id: "stranger".into(), ..classic.clone() });
    let Response::Join(refused) = h.answer(token) else { panic!() };
    assert_eq!(refused.error, ErrorCode::UnknownMemberId);
    assert_eq!(h.describe_streams_group("g").state, "Empty");
    // An empty one gives its place to a classic group, and the other way round; offsets stay.
    let token = h.send_join(classic);
    h.advance(10);
    assert!(matches!(h.answer(token), Response::Join(joined) if joined.error.is_none()));
    assert_eq!(h.streams_beat(joining("a")).error, ErrorCode::GroupIdNotFound);
    h.advance(60_000);
    assert_eq!(h.streams_beat(joining("a")).error, ErrorCode::None);
    assert_eq!(h.offset("g"), 3);
    h.fail_over();
    assert_eq!((h.offset("g"), h.describe_streams_group("g").members.len()), (3, 1));
}

#[test]
fn an_empty_group_gives_its_place_and_a_classic_one_takes_it_by_one_append_or_neither_does() {
    let mut h = cluster(&TOPICS);
    h.streams_beat(joining("a"));
    h.streams_beat(beat("a", -1));
    h.auto_commit = false;
    let joining_classic = || JoinGroupRequest { api_version: 3, ..join("g", "") };
    let refused = h.send_join(joining_classic());
    assert_eq!(h.pending.len(), 1);
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.joined(refused).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.describe_streams_group("g").state, "Empty");
    assert_eq!(h.shard.group_count(), 1);
    h.send_join(joining_classic());
    h.commit_all();
    h.auto_commit = true;
    h.fail_over();
    assert_eq!(h.describe_streams_group("g").error, ErrorCode::GroupIdNotFound);
    assert_eq!((h.state("g").as_str(), h.shard.group_count()), ("Empty", 1));
}

#[test]
fn what_a_heartbeat_asks_for_beyond_records_counts_once_those_are_written() {
    let mut h = cluster(&TOPICS);
    let epoch = h.streams_beat(joining("a")).member_epoch;
    let asking = || StreamsGroupHeartbeatRequest {
        shutdown_application: true,
        rebalance_timeout_ms: 1_234,
        ..having("a", epoch, &[], &[])
    };
    h.auto_commit = false;
    let token = h.send_streams_beat(asking());
    assert_eq!(h.pending.len(), 1);
    h.fail_all(ErrorCode::NotEnoughReplicas);
    h.answer(token);
    h.auto_commit = true;
    assert!(!codes(&h.streams_beat(beat("a", epoch))).contains(&StreamsStatusCode::ShutdownApplication));
    let heard = h.streams_beat(asking());
    assert!(codes(&heard).contains(&StreamsStatusCode::ShutdownApplication));
    let heard = h.streams_beat(beat("a", heard.member_epoch));
    assert!(codes(&heard).contains(&StreamsStatusCode::ShutdownApplication));
}

#[test]
fn a_heartbeat_whose_append_fails_changes_nothing() {
    let mut h = cluster(&TOPICS);
    h.auto_commit = false;
    let token = h.send_streams_beat(joining("a"));
    h.fail_all(ErrorCode::NotEnoughReplicas);
    let Response::StreamsGroupHeartbeat(refused) = h.answer(token) else { panic!() };
    assert_eq!(refused.error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.shard.group_count(), 0);
    h.auto_commit = true;
    assert_eq!(told(&h.streams_beat(joining("a"))).unwrap().0.len(), 4);
}

#[test]
fn what_kafka_does_not_serve_yet_is_refused_in_its_words() {
    let mut h = cluster(&TOPICS);
    let requests = [
        (
            StreamsGroupHeartbeatRequest { instance_id: Some("i".into()), ..joining("a") },
            "Static membership is not yet supported.",
        ),
        (
            StreamsGroupHeartbeatRequest { warmup_tasks: Some(tasks(&["0-0"])), ..joining("a") },
            "WarmupTasks are not supported yet.",
        ),
        (
            StreamsGroupHeartbeatRequest { topology: None, ..joining("a") },
            "Topology must be non-null when (re-)joining.",
        ),
        (
            StreamsGroupHeartbeatRequest { active_tasks: None, ..having("a", 2, &[], &[]) },
            "If one task-type is non-null, all must be non-null.",
        ),
        (beat("a", -3), "MemberEpoch is -3, but must be greater than or equal to -2."),
    ];
    for (request, message) in requests {
        let refused = h.streams_beat(request);
        assert_eq!(
            (refused.error, refused.error_message.as_deref()),
            (ErrorCode::InvalidRequest, Some(message))
        );
    }
    for at in 0..5 {
        assert_eq!(h.streams_beat(joining(&format!("m{at}"))).error, ErrorCode::None);
    }
    assert_eq!(h.streams_beat(joining("one more")).error, ErrorCode::GroupMaxSizeReached);
}
