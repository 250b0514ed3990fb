//! Incremental rebalances (KIP-429): partitions are taken from one member in one generation and given to another
//! in the next, and nobody stops reading what it keeps. The assignors are the members'; the coordinator carries
//! what they own to their leader, and starts the second round when one says that it owns less.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use moldau_model::ErrorCode;

use super::harness::{Harness, TOPIC, commit, join, protocol, sync};
use crate::*;

type Partitions = BTreeSet<i32>;

/// A consumer with the cooperative assignor.
struct Consumer {
    member_id: String,
    owned: Partitions,
    generation_id: i32,
    parked: Option<RequestToken>,
}

/// A subscription of version 1 to topic `t` that tells what is owned.
fn subscription_owning(owned: &Partitions) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    bytes.put_i16(TOPIC.len() as i16);
    bytes.put_slice(TOPIC.as_bytes());
    bytes.put_i32(-1);
    bytes.put_i32(1);
    bytes.put_i16(TOPIC.len() as i16);
    bytes.put_slice(TOPIC.as_bytes());
    bytes.put_slice(&numbers(owned));
    bytes.freeze()
}

fn numbers(partitions: &Partitions) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i32(partitions.len() as i32);
    partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    bytes.freeze()
}

fn read_numbers(bytes: &[u8]) -> Partitions {
    bytes.chunks_exact(4).skip(1).map(|four| i32::from_be_bytes(four.try_into().unwrap())).collect()
}

/// What comes behind the two copies of the topic's name.
fn owned_in(metadata: &[u8]) -> Partitions {
    read_numbers(&metadata[2 + 4 + 2 + TOPIC.len() + 4 + 4 + 2 + TOPIC.len()..])
}

/// The leader's assignor: equal shares, and what another still owns is withheld for this round.
fn assign(members: &[JoinGroupMember], partitions: i32) -> BTreeMap<String, Partitions> {
    let owned: BTreeMap<&str, Partitions> =
        members.iter().map(|member| (member.member_id.as_str(), owned_in(&member.metadata))).collect();
    let share = (partitions as usize).div_ceil(members.len());
    let mut target: BTreeMap<String, Partitions> = owned
        .iter()
        .map(|(id, owned)| ((*id).to_owned(), owned.iter().take(share).copied().collect()))
        .collect();
    for partition in 0..partitions {
        if target.values().all(|kept| !kept.contains(&partition)) {
            let poorest = target.values_mut().min_by_key(|kept| kept.len()).unwrap();
            let is_owned = owned.values().any(|owned| owned.contains(&partition));
            if !is_owned {
                poorest.insert(partition);
            }
        }
    }
    target
}

fn send_join(h: &mut Harness, consumer: &mut Consumer) {
    let request = JoinGroupRequest {
        protocols: vec![protocol("cooperative-sticky", subscription_owning(&consumer.owned))],
        ..join("g", &consumer.member_id)
    };
    consumer.parked = Some(h.send_join(request));
}

/// One round: everyone joins, the leader assigns, everyone takes what it got. Gives back who has to join again.
fn round(h: &mut Harness, consumers: &mut [Consumer], partitions: i32) -> Vec<usize> {
    for consumer in consumers.iter_mut().filter(|consumer| consumer.parked.is_none()) {
        if consumer.generation_id > 0 {
            // It reads on and commits what it has read while the others join.
            let committed = h.commit(commit("g", &consumer.member_id, consumer.generation_id, 1));
            assert_eq!(committed, ErrorCode::None);
            let heartbeat = h.heartbeat("g", &consumer.member_id, consumer.generation_id);
            assert_eq!(heartbeat, ErrorCode::RebalanceInProgress);
        }
        send_join(h, consumer);
    }
    let mut assignment = BTreeMap::new();
    let mut leader = 0;
    for (at, consumer) in consumers.iter_mut().enumerate() {
        let response = h.joined(consumer.parked.take().unwrap());
        assert_eq!(response.error, ErrorCode::None);
        consumer.generation_id = response.generation_id.0;
        if response.leader == consumer.member_id {
            leader = at;
            assert_eq!(
                response.members.len(),
                response.members.iter().map(|member| &member.member_id).collect::<BTreeSet<_>>().len()
            );
            assignment = assign(&response.members, partitions);
        }
    }
    let assignments = assignment
        .iter()
        .map(|(member_id, partitions)| SyncGroupAssignment {
            member_id: member_id.clone(),
            assignment: numbers(partitions),
        })
        .collect();
    let request = |consumer: &Consumer| SyncGroupRequest {
        protocol_name: Some("cooperative-sticky".into()),
        ..sync("g", &consumer.member_id, consumer.generation_id, &[])
    };
    let from_leader = SyncGroupRequest { assignments, ..request(&consumers[leader]) };
    let first = h.sync(from_leader);
    let mut again = Vec::new();
    for (at, consumer) in consumers.iter_mut().enumerate() {
        let response = if at == leader { first.clone() } else { h.sync(request(consumer)) };
        let assigned = read_numbers(&response.assignment);
        if !consumer.owned.is_subset(&assigned) {
            again.push(at);
        }
        consumer.owned = assigned;
    }
    for (at, one) in consumers.iter().enumerate() {
        for other in &consumers[at + 1..] {
            assert!(one.owned.is_disjoint(&other.owned), "two members read one partition");
        }
    }
    again
}

fn rebalance_until_settled(h: &mut Harness, consumers: &mut [Consumer], partitions: i32) -> usize {
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 10, "the rounds come to an end");
        let again = round(h, consumers, partitions);
        if again.is_empty() {
            let all: Partitions = consumers.iter().flat_map(|consumer| consumer.owned.clone()).collect();
            assert_eq!(all, (0..partitions).collect(), "nothing is left unread");
            return rounds;
        }
        for at in again {
            // It owns less than it said: its subscription is another one, and that is a rebalance.
            send_join(h, &mut consumers[at]);
        }
    }
}

fn consumer(h: &mut Harness) -> Consumer {
    let request = JoinGroupRequest {
        protocols: vec![protocol("cooperative-sticky", subscription_owning(&Partitions::new()))],
        new_member_uuid: h.uuid(),
        ..join("g", "")
    };
    let member_id = h.join(request).member_id;
    Consumer { member_id, owned: Partitions::new(), generation_id: 0, parked: None }
}

#[test]
fn partitions_move_in_two_rounds_and_nobody_stops_reading_what_it_keeps() {
    for members in [2, 3, 4] {
        let mut h = Harness::new();
        let mut consumers = vec![consumer(&mut h)];
        assert_eq!(rebalance_until_settled(&mut h, &mut consumers, 12), 1);
        for count in 2..=members {
            let newcomer = consumer(&mut h);
            let kept: Vec<Partitions> = consumers.iter().map(|consumer| consumer.owned.clone()).collect();
            consumers.push(newcomer);
            let at = consumers.len() - 1;
            send_join(&mut h, &mut consumers[at]);
            assert_eq!(rebalance_until_settled(&mut h, &mut consumers, 12), 2, "{count} members");
            for (consumer, before) in consumers.iter().zip(kept) {
                assert!(consumer.owned.is_subset(&before), "an old member only gives away");
            }
        }
    }
}

#[test]
fn when_a_member_leaves_its_partitions_are_given_out_in_one_round() {
    let mut h = Harness::new();
    let mut consumers: Vec<Consumer> = (0..3).map(|_| consumer(&mut h)).collect();
    rebalance_until_settled(&mut h, &mut consumers, 9);
    let gone = consumers.remove(1);
    h.leave("g", &[(&gone.member_id, None)]);
    assert_eq!(rebalance_until_settled(&mut h, &mut consumers, 9), 1);
}

#[test]
fn what_members_own_is_carried_over_a_change_of_the_coordinator() {
    let mut h = Harness::new();
    let mut consumers: Vec<Consumer> = (0..2).map(|_| consumer(&mut h)).collect();
    rebalance_until_settled(&mut h, &mut consumers, 4);
    h.fail_over();
    let newcomer = consumer(&mut h);
    consumers.push(newcomer);
    send_join(&mut h, &mut consumers[2]);
    assert_eq!(rebalance_until_settled(&mut h, &mut consumers, 6), 1, "two partitions are new, none moves");
}
