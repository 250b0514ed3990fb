//! Groups that change between the classic and the consumer protocol while they are in use: who has a partition keeps it
//! until it has given it up, whichever protocol it speaks.

use std::collections::BTreeSet;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, PartitionIndex};

use super::super::harness::{Harness, commit, join, static_join, subscription, sync};
use super::{beat, cluster, having, joining, set, told, with_config};
use crate::records::{decode_assignment, encode_assignment};
use crate::*;

pub(super) fn assignment(partitions: &[i32]) -> Bytes {
    let partitions = partitions.iter().copied().map(PartitionIndex).collect();
    encode_assignment(1, [("t", partitions)].into_iter())
}

pub(super) fn partitions_of(assignment: &[u8]) -> BTreeSet<i32> {
    let topics = decode_assignment(assignment).unwrap();
    topics.into_iter().flat_map(|(_, partitions)| partitions).map(|partition| partition.0).collect()
}

/// A subscription of version 1 to `t` that owns partitions of it.
pub(super) fn owning(partitions: &[i32]) -> Bytes {
    let none = subscription("t");
    let mut bytes = none[..none.len() - 4].to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't']);
    bytes.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
    partitions.iter().for_each(|partition| bytes.extend_from_slice(&partition.to_be_bytes()));
    bytes.into()
}

fn rejoin(group_id: &str, member_id: &str, owned: &[i32]) -> JoinGroupRequest {
    let protocols = vec![JoinGroupProtocol { name: "range".into(), metadata: owning(owned) }];
    JoinGroupRequest { protocols, ..join(group_id, member_id) }
}

impl Harness {
    /// A stable classic group whose members have these partitions of `t`.
    fn classic_group(&mut self, group_id: &str, shares: &[&[i32]]) -> (Vec<String>, i32) {
        let ids: Vec<String> = shares.iter().map(|_| self.new_member_id(group_id)).collect();
        let tokens: Vec<RequestToken> = ids.iter().map(|id| self.send_join(join(group_id, id))).collect();
        let joined: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| self.joined(token)).collect();
        let (leader, generation) = (joined[0].leader.clone(), joined[0].generation_id.0);
        let assignments = ids.iter().zip(shares).map(|(member_id, share)| SyncGroupAssignment {
            member_id: member_id.clone(),
            assignment: assignment(share),
        });
        let assignments: Vec<SyncGroupAssignment> = assignments.collect();
        self.sync(SyncGroupRequest { assignments, ..sync(group_id, &leader, generation, &[]) });
        for id in ids.iter().filter(|id| **id != leader) {
            self.sync(sync(group_id, id, generation, &[]));
        }
        (ids, generation)
    }

    /// A member joins again, with what it owns, and asks for what it is to have.
    fn rejoin(&mut self, group_id: &str, member_id: &str, owned: &[i32]) -> (i32, BTreeSet<i32>) {
        let joined = self.join(rejoin(group_id, member_id, owned));
        assert_eq!(joined.error, ErrorCode::None);
        let generation = joined.generation_id.0;
        let synced = self.sync(sync(group_id, &joined.member_id, generation, &[]));
        assert_eq!(synced.error, ErrorCode::None);
        (generation, partitions_of(&synced.assignment))
    }

    fn kind(&mut self, group_id: &str) -> &'static str {
        match self.describe_consumer_group(group_id).error {
            ErrorCode::None => "consumer",
            _ => "classic",
        }
    }
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_everyone_keeps_what_it_has_until_it_gives_up() {
    for fails_over in [false, true] {
        let mut h = cluster(&[("t", 3)]);
        let (ids, generation) = h.classic_group("g", &[&[0, 1], &[2]]);
        let (first, second) = (ids[0].as_str(), ids[1].as_str());
        assert_eq!(h.commit(commit("g", first, generation, 7)), ErrorCode::None);
        let joined = h.beat(joining("g", "new", &["t"]));
        assert_eq!((joined.error, told(&joined)), (ErrorCode::None, Some(set(&[]))), "nothing is free yet");
        if fails_over {
            h.fail_over();
        }
        assert_eq!((h.kind("g"), h.offset("g")), ("consumer", 7));
        let described = h.describe_consumer_group("g");
        assert_eq!(described.members.len(), 3);
        // They go on, and commit, until they hear of it.
        assert_eq!(h.commit(commit("g", first, generation, 8)), ErrorCode::None);
        assert_eq!(h.heartbeat("g", first, generation), ErrorCode::RebalanceInProgress);
        assert_eq!(h.heartbeat("g", second, generation), ErrorCode::RebalanceInProgress);
        let epoch = joined.member_epoch;
        assert_eq!(h.sync_error("g", first, generation), ErrorCode::RebalanceInProgress);

        // The cooperative one says what it has, gives up what it is to give up, and joins once more.
        let (at, has) = h.rejoin("g", first, &[0, 1]);
        assert_eq!((at, has.len()), (generation, 1), "it is where it was until it has given up");
        let kept: Vec<i32> = has.iter().copied().collect();
        assert_eq!(h.heartbeat("g", first, at), ErrorCode::RebalanceInProgress);
        assert_eq!(told(&h.beat(beat("g", "new", epoch))), None, "it is still somebody's");
        assert_eq!(h.rejoin("g", first, &kept), (epoch, has));
        // The eager one has given up everything before it joins.
        assert_eq!(h.rejoin("g", second, &[]), (epoch, [2].into()));
        for id in [first, second] {
            assert_eq!(h.heartbeat("g", id, epoch), ErrorCode::None);
        }
        let freed = if kept == [0] { "t-1" } else { "t-0" };
        assert_eq!(told(&h.beat(beat("g", "new", epoch))), Some(set(&[freed])));
        assert_eq!(h.commit(commit("g", first, epoch, 9)), ErrorCode::None);
        assert_eq!(h.commit(commit("g", second, generation, 9)), ErrorCode::IllegalGeneration);
    }
}

impl Harness {
    fn sync_error(&mut self, group_id: &str, member_id: &str, generation: i32) -> ErrorCode {
        self.sync(sync(group_id, member_id, generation, &[])).error
    }
}

#[test]
fn what_a_classic_member_owned_and_was_not_assigned_again_is_its_own_until_it_joins_once_more() {
    let mut h = cluster(&[("t", 2)]);
    let (ids, _) = h.classic_group("g", &[&[0, 1]]);
    let id = ids[0].as_str();
    // It joins again with both in hand, and is assigned one: it may read the other until its SyncGroup is answered.
    let token = h.send_join(rejoin("g", id, &[0, 1]));
    let joined = h.joined(token);
    let assignments = vec![SyncGroupAssignment { member_id: id.into(), assignment: assignment(&[0]) }];
    let generation = joined.generation_id.0;
    h.sync(SyncGroupRequest { assignments, ..sync("g", id, generation, &[]) });
    let new = h.beat(joining("g", "new", &["t"]));
    let silent = h.beat(beat("g", "new", new.member_epoch));
    assert_eq!((told(&new), told(&silent)), (Some(set(&[])), None), "t-1 may be read by the other still");
    assert_eq!(h.heartbeat("g", id, generation), ErrorCode::RebalanceInProgress);
    assert_eq!(h.rejoin("g", id, &[0]), (new.member_epoch, [0].into()));
    assert_eq!(told(&h.beat(beat("g", "new", new.member_epoch))), Some(set(&["t-1"])));
}

#[test]
fn who_waits_in_a_classic_group_that_changes_has_to_join_again() {
    let mut h = cluster(&[("t", 2)]);
    let (ids, generation) = h.classic_group("g", &[&[0], &[1]]);
    let parked = h.send_join(rejoin("g", &ids[0], &[0]));
    assert!(h.is_parked(parked), "the other one has to come too");
    assert_eq!(h.beat(joining("g", "new", &["t"])).error, ErrorCode::None);
    let answer = h.joined(parked);
    assert_eq!((answer.error, &answer.member_id), (ErrorCode::RebalanceInProgress, &ids[0]));
    let (epoch, has) = h.rejoin("g", &ids[0], &[]);
    assert!(epoch > generation);
    assert_eq!(has.len(), 1);
}

#[test]
fn a_classic_group_stays_with_all_its_members_if_its_change_cannot_be_written() {
    let mut h = cluster(&[("t", 2)]);
    let (ids, generation) = h.classic_group("g", &[&[0], &[1]]);
    h.auto_commit = false;
    let token = h.send_beat(joining("g", "new", &["t"]));
    // Who comes meanwhile waits for what becomes of it.
    let waiting = h.send(Request::Heartbeat(HeartbeatRequest {
        group_id: "g".into(),
        generation_id: GenerationId(generation),
        member_id: ids[0].clone(),
        group_instance_id: None,
    }));
    let committed = h.commit(commit("g", &ids[0], generation, 1));
    assert_eq!(committed, ErrorCode::CoordinatorLoadInProgress, "a member is not taken for a stranger");
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.heard(token).error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(h.answer(waiting), Response::Heartbeat(ErrorCode::RebalanceInProgress));
    h.auto_commit = true;
    assert_eq!((h.kind("g"), h.state("g").as_str()), ("classic", "PreparingRebalance"));
    let tokens: Vec<RequestToken> = ids.iter().map(|id| h.send_join(join("g", id))).collect();
    let joined: Vec<i32> = tokens.into_iter().map(|token| h.joined(token).generation_id.0).collect();
    assert_eq!(joined, [generation + 1, generation + 1]);
}

#[test]
fn a_consumer_group_becomes_a_classic_one_when_its_last_consumer_goes() {
    for fails_over in [false, true] {
        for leaves in [true, false] {
            let mut h = cluster(&[("t", 2)]);
            let (ids, _) = h.classic_group("g", &[&[0, 1]]);
            let epoch = h.beat(joining("g", "new", &["t"])).member_epoch;
            let (_, has) = h.rejoin("g", &ids[0], &[]);
            let owned: Vec<i32> = has.into_iter().collect();
            assert_eq!(h.commit(commit("g", &ids[0], epoch, 3)), ErrorCode::None);
            if leaves {
                assert_eq!(h.beat(beat("g", "new", -1)).error, ErrorCode::None);
            } else {
                // Its session ends; the classic member's is shorter, and it is heard of.
                for _ in 0..10 {
                    h.advance(5_000);
                    if h.kind("g") == "consumer" {
                        assert_eq!(h.heartbeat("g", &ids[0], epoch), ErrorCode::None);
                    }
                }
            }
            if fails_over {
                h.fail_over();
            }
            assert_eq!((h.kind("g"), h.offset("g"), h.shard.group_count()), ("classic", 3, 1));
            let generation = h.describe("g").members.len();
            assert_eq!(generation, 1);
            // It learns that it has to join, or does so; then it has all.
            let joined = h.join(rejoin("g", &ids[0], &owned));
            assert_eq!((joined.error, &joined.leader), (ErrorCode::None, &ids[0]));
            let all =
                vec![SyncGroupAssignment { member_id: ids[0].clone(), assignment: assignment(&[0, 1]) }];
            let synced = h.sync(SyncGroupRequest {
                assignments: all,
                ..sync("g", &ids[0], joined.generation_id.0, &[])
            });
            assert_eq!(partitions_of(&synced.assignment), [0, 1].into());
        }
    }
}

#[test]
fn a_downgrade_that_cannot_be_written_leaves_the_consumer_group() {
    let mut h = cluster(&[("t", 2)]);
    let (ids, _) = h.classic_group("g", &[&[0, 1]]);
    let epoch = h.beat(joining("g", "new", &["t"])).member_epoch;
    h.rejoin("g", &ids[0], &[]);
    h.auto_commit = false;
    let leaving = h.send_beat(beat("g", "new", -1));
    assert_eq!(h.commit(commit("g", &ids[0], epoch, 1)), ErrorCode::CoordinatorLoadInProgress);
    h.fail_all(ErrorCode::NotEnoughReplicas);
    assert_eq!(h.heard(leaving).error, ErrorCode::CoordinatorNotAvailable);
    h.auto_commit = true;
    assert_eq!(h.kind("g"), "consumer");
    assert_eq!(h.heartbeat("g", &ids[0], epoch), ErrorCode::None);
    assert_eq!(h.beat(beat("g", "new", epoch)).error, ErrorCode::None, "it is a member still");
}

#[test]
fn the_policy_says_which_way_groups_may_change() {
    for (name, up, down) in [
        ("bidirectional", true, true),
        ("Upgrade", true, false),
        ("DOWNGRADE", false, true),
        ("disabled", false, false),
    ] {
        let migration = MigrationPolicy::from_name(name).unwrap();
        let consumer =
            ConsumerGroupConfig { assignment_interval_ms: 0, migration, ..ConsumerGroupConfig::default() };
        let config = GroupConfig { initial_rebalance_delay_ms: 1, consumer, ..GroupConfig::default() };
        let mut h = with_config(&[("t", 1)], config);
        h.classic_group("up", &[&[0]]);
        let joined = h.beat(joining("up", "new", &["t"]));
        let expected = if up { ErrorCode::None } else { ErrorCode::GroupIdNotFound };
        assert_eq!(joined.error, expected, "{name}");
        if !up {
            assert_eq!(
                joined.error_message.unwrap(),
                "Cannot upgrade classic group up to consumer group because online upgrade is disabled."
            );
        }
        h.beat(joining("down", "a", &["t"]));
        let id = h.join(join("down", "")).member_id;
        h.rejoin("down", &id, &[]);
        h.beat(beat("down", "a", -1));
        assert_eq!(h.kind("down"), if down { "classic" } else { "consumer" }, "{name}");
    }
    assert_eq!(MigrationPolicy::from_name("both"), None);
}

#[test]
fn groups_of_other_protocols_than_consumers_stay_what_they_are() {
    let mut h = cluster(&[("t", 1)]);
    let connect = JoinGroupRequest { protocol_type: "connect".into(), ..join("g", "") };
    let id = h.join(connect.clone()).member_id;
    let token = h.send_join(JoinGroupRequest { member_id: id, ..connect });
    h.joined(token);
    let refused = h.beat(joining("g", "new", &["t"]));
    assert_eq!(refused.error, ErrorCode::GroupIdNotFound);
    assert!(refused.error_message.unwrap().ends_with("does not use the consumer embedded protocol."));
    assert_eq!(h.kind("g"), "classic");
}

#[test]
fn a_group_whose_assignments_cannot_be_read_stays_what_it_is() {
    let mut h = cluster(&[("t", 1)]);
    let (_, generation) = h.stable_group("g", 1);
    let refused = h.beat(joining("g", "new", &["t"]));
    assert_eq!(refused.error, ErrorCode::GroupIdNotFound);
    assert!(refused.error_message.unwrap().ends_with("the embedded consumer protocol is malformed."));
    assert_eq!((h.kind("g"), h.describe("g").members.len(), generation), ("classic", 1, 1));
}

#[test]
fn classic_members_come_into_a_consumer_group_and_go() {
    let mut h = cluster(&[("t", 2)]);
    let epoch = h.beat(joining("g", "a", &["t"])).member_epoch;
    let first = h.join(join("g", ""));
    assert_eq!(first.error, ErrorCode::MemberIdRequired);
    let id = first.member_id;
    let (at, has) = h.rejoin("g", &id, &[]);
    assert_eq!((at, has), (epoch + 1, [].into()), "all is the other's still");
    assert_eq!(h.heartbeat("g", &id, at), ErrorCode::None, "it waits for another");
    // The consumer gives one up.
    let kept = told(&h.beat(having("g", "a", epoch, &[("t", &[0, 1])]))).unwrap();
    assert_eq!(kept.len(), 1);
    let kept_partition = i32::from(kept == set(&["t-1"]));
    let beaten = h.beat(having("g", "a", epoch, &[("t", &[kept_partition])]));
    assert_eq!((beaten.error, beaten.member_epoch), (ErrorCode::None, at));
    assert_eq!(h.heartbeat("g", &id, at), ErrorCode::RebalanceInProgress, "it is free now");
    assert_eq!(h.rejoin("g", &id, &[]), (at, [1 - kept_partition].into()));
    // Another one has nothing in common with it.
    let other = JoinGroupRequest {
        protocols: vec![JoinGroupProtocol { name: "sticky".into(), metadata: subscription("t") }],
        ..join("g", "")
    };
    assert_eq!(h.join(other).error, ErrorCode::InconsistentGroupProtocol);
    let left = h.leave("g", &[(&id, None), (&id, None), ("nobody", None)]);
    let errors: Vec<ErrorCode> = left.members.iter().map(|member| member.error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId]);
    assert_eq!(h.describe_consumer_group("g").members.len(), 1);
    let left = h.leave("g", &[("a", None)]);
    assert_eq!(left.members[0].error, ErrorCode::None, "an administrator removes members of either protocol");
    assert_eq!(h.describe_consumer_group("g").members.len(), 0);
}

#[test]
fn a_classic_member_that_does_not_join_again_in_time_is_out() {
    let mut h = cluster(&[("t", 1)]);
    let (ids, generation) = h.classic_group("g", &[&[0]]);
    h.beat(joining("g", "new", &["t"]));
    // It heartbeats, and so its session lives; its rebalance timeout is a minute.
    for _ in 0..13 {
        if h.heartbeat("g", &ids[0], generation) == ErrorCode::UnknownMemberId {
            break;
        }
        h.advance(5_000);
        h.beat(joining("g", "new", &["t"]));
    }
    assert_eq!(h.heartbeat("g", &ids[0], generation), ErrorCode::UnknownMemberId);
    assert_eq!(told(&h.beat(joining("g", "new", &["t"]))), Some(set(&["t-0"])));
}

#[test]
fn a_static_member_changes_its_protocol_and_finds_its_partitions() {
    let mut h = cluster(&[("t", 2)]);
    let config = |id: &str| static_join("g", id);
    let tokens = [h.send_join(config("i")), h.send_join(config("j"))];
    let joined: Vec<JoinGroupResponse> = tokens.into_iter().map(|token| h.joined(token)).collect();
    let generation = joined[0].generation_id.0;
    let leader = joined[0].leader.clone();
    let shares = joined.iter().zip([[0], [1]]).map(|(member, share)| SyncGroupAssignment {
        member_id: member.member_id.clone(),
        assignment: assignment(&share),
    });
    let shares = shares.collect();
    h.sync(SyncGroupRequest { assignments: shares, ..sync("g", &leader, generation, &[]) });
    // `i` is restarted with the other protocol.
    let restarted =
        ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..joining("g", "new", &["t"]) };
    let answer = h.beat(restarted);
    assert_eq!((answer.error, told(&answer)), (ErrorCode::None, Some(set(&["t-0"]))));
    assert_eq!(h.describe_consumer_group("g").members.len(), 2);
    // And back: the last consumer is replaced, so that the group is a classic one again.
    let back = h.join(static_join("g", "i"));
    assert_eq!(back.error, ErrorCode::RebalanceInProgress);
    assert_eq!((h.kind("g"), h.describe("g").members.len()), ("classic", 2));
}
