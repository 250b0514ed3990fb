//! Random members of both protocols in one group, which changes with them between a classic and a consumer group: they join,
//! give up, die and leave; answers are lost, appends fail or stay unknown, time passes, and other coordinators take over.
//!
//! What must hold at every step: no partition is had by two members that the coordinator knows. And when the faults end,
//! all partitions are had.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::{ErrorCode, GenerationId, PartitionIndex};

use super::super::harness::{Harness, join, sync};
use super::migration::{assignment, owning, partitions_of};
use super::model::Random;
use super::{beat, cluster, topic_id};
use crate::records::Subscription;
use crate::*;

const SEEDS: u64 = 150;
const STEPS: usize = 1_000;
const CLIENTS: usize = 4;
const PARTITIONS: i32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Consumer,
    /// It keeps what it has over a rebalance.
    Cooperative,
    /// It gives up everything before it joins.
    Eager,
}

/// What a client is about.
#[derive(Clone, Debug)]
enum Stage {
    Joining,
    /// With the leader's duty, if it has it: what each member owns.
    Syncing(Option<BTreeMap<String, BTreeSet<i32>>>),
    Member,
}

#[derive(Debug)]
struct Client {
    protocol: Protocol,
    member_id: String,
    /// Of a consumer: its epoch.
    generation: i32,
    stage: Stage,
    /// What it reads.
    has: BTreeSet<i32>,
    /// What a consumer was told last that it may read.
    told: BTreeSet<i32>,
    waits_for: Option<RequestToken>,
}

impl Client {
    fn new(protocol: Protocol, life: usize) -> Self {
        Self {
            protocol,
            member_id: if protocol == Protocol::Consumer { format!("m{life}") } else { String::new() },
            generation: 0,
            stage: Stage::Joining,
            has: BTreeSet::new(),
            told: BTreeSet::new(),
            waits_for: None,
        }
    }

    /// It is out, and begins anew.
    fn lost(&mut self) {
        self.has.clear();
        self.told.clear();
        self.generation = 0;
        self.stage = Stage::Joining;
        if self.protocol != Protocol::Consumer {
            self.member_id.clear();
        }
    }
}

struct World {
    h: Harness,
    random: Random,
    clients: Vec<Client>,
    lives: usize,
    /// How often the group was seen to be of the other kind than before.
    changes: usize,
    was_consumer: bool,
    is_healed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut h = cluster(&[("t", PARTITIONS)]);
        h.auto_commit = false;
        let mut world = Self {
            h,
            random: Random::of_seed(seed),
            clients: Vec::new(),
            lives: 0,
            changes: 0,
            was_consumer: false,
            is_healed: false,
        };
        world.clients = (0..CLIENTS).map(|_| world.born()).collect();
        world
    }

    fn born(&mut self) -> Client {
        self.lives += 1;
        // Few enough consumers, so that the last one goes now and then.
        let protocol = match self.random.below(10) {
            0..2 => Protocol::Consumer,
            2..7 => Protocol::Cooperative,
            _ => Protocol::Eager,
        };
        Client::new(protocol, self.lives)
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            let at = self.random.below(CLIENTS);
            match self.random.below(100) {
                0..60 => self.act(at),
                60..84 => self.settle_one(),
                84..91 => self.h.advance([1, 500, 4_000, 15_000][self.random.below(4)]),
                91..93 => {
                    let kept = self.random.below(self.h.pending.len() + 1);
                    self.h.fail_over_keeping(kept);
                }
                93..94 => self.clients[at] = self.born(),
                94..97 => self.leave(at),
                // Consumers go more often than others, for it takes the last of them.
                _ => {
                    let is_consumer = |client: &Client| client.protocol == Protocol::Consumer;
                    let consumer = self.clients.iter().position(is_consumer);
                    self.leave(consumer.unwrap_or(at));
                }
            }
            self.check();
        }
    }

    fn act(&mut self, at: usize) {
        let is_lost = !self.is_healed && self.random.below(25) == 0;
        let client = &mut self.clients[at];
        if let Some(token) = client.waits_for {
            if self.h.is_parked(token) && !is_lost {
                return;
            }
            client.waits_for = None;
            let answer = self.h.try_answer(token).filter(|_| !is_lost);
            match answer {
                Some(answer) => Self::hear(client, answer),
                // The next request says everything.
                None if client.protocol != Protocol::Consumer => client.stage = Stage::Joining,
                None => {}
            }
            return;
        }
        if client.protocol == Protocol::Consumer && self.random.below(2) == 0 {
            // Gives up first, and takes later.
            client.has = match client.has.is_subset(&client.told) {
                true => client.told.clone(),
                false => client.has.intersection(&client.told).copied().collect(),
            };
            return;
        }
        let request = Self::request(client);
        client.waits_for = Some(self.h.send(request));
    }

    fn request(client: &mut Client) -> Request {
        if client.protocol == Protocol::Consumer {
            let partitions = client.has.iter().copied().map(PartitionIndex).collect();
            return Request::ConsumerGroupHeartbeat(Box::new(ConsumerGroupHeartbeatRequest {
                rebalance_timeout_ms: 20_000,
                subscribed_topic_names: Some(vec!["t".into()]),
                topic_partitions: Some(if client.has.is_empty() {
                    Vec::new()
                } else {
                    vec![TopicPartitions { topic_id: topic_id("t"), partitions }]
                }),
                ..beat("g", &client.member_id, client.generation)
            }));
        }
        match &client.stage {
            Stage::Joining => {
                if client.protocol == Protocol::Eager {
                    client.has.clear();
                }
                let owned: Vec<i32> = client.has.iter().copied().collect();
                let protocols = vec![JoinGroupProtocol { name: "range".into(), metadata: owning(&owned) }];
                Request::Join(JoinGroupRequest {
                    protocols,
                    rebalance_timeout_ms: 20_000,
                    new_member_uuid: next_uuid(),
                    ..join("g", &client.member_id)
                })
            }
            Stage::Syncing(duty) => {
                let shares = duty.as_ref().map(shares).unwrap_or_default();
                let assignments = shares.into_iter().map(|(member_id, share)| SyncGroupAssignment {
                    member_id,
                    assignment: assignment(&share),
                });
                Request::Sync(SyncGroupRequest {
                    assignments: assignments.collect(),
                    ..sync("g", &client.member_id, client.generation, &[])
                })
            }
            Stage::Member => Request::Heartbeat(HeartbeatRequest {
                group_id: "g".into(),
                generation_id: GenerationId(client.generation),
                member_id: client.member_id.clone(),
                group_instance_id: None,
            }),
        }
    }

    fn hear(client: &mut Client, answer: Response) {
        let error = match &answer {
            Response::ConsumerGroupHeartbeat(r) => r.error,
            Response::Join(r) => r.error,
            Response::Sync(r) => r.error,
            Response::Heartbeat(error) => *error,
            other => panic!("{other:?}"),
        };
        match error {
            ErrorCode::None => {}
            ErrorCode::FencedMemberEpoch
            | ErrorCode::UnknownMemberId
            | ErrorCode::GroupIdNotFound
            | ErrorCode::IllegalGeneration => return client.lost(),
            ErrorCode::RebalanceInProgress => {
                client.stage = Stage::Joining;
                return;
            }
            ErrorCode::MemberIdRequired => {
                let Response::Join(joined) = answer else { panic!("{answer:?}") };
                client.member_id = joined.member_id;
                return;
            }
            // It repeats.
            _ => return,
        }
        match answer {
            Response::ConsumerGroupHeartbeat(response) => {
                client.generation = response.member_epoch;
                if let Some(topics) = response.assignment {
                    client.told = topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.0).collect();
                }
            }
            Response::Join(response) => {
                client.member_id = response.member_id.clone();
                client.generation = response.generation_id.0;
                let leads = response.leader == response.member_id;
                client.stage = Stage::Syncing(leads.then(|| {
                    let owned = |member: &JoinGroupMember| {
                        let said = Subscription::decode(&member.metadata).unwrap();
                        said.owned.into_iter().flat_map(|(_, partitions)| partitions).map(|p| p.0).collect()
                    };
                    response.members.iter().map(|m| (m.member_id.clone(), owned(m))).collect()
                }));
            }
            Response::Sync(response) => {
                let assigned = partitions_of_or_none(&response.assignment);
                let gives_up = !client.has.is_subset(&assigned);
                client.has = assigned;
                // A cooperative member that had to give something up joins again, so that somebody can have it.
                client.stage = if gives_up { Stage::Joining } else { Stage::Member };
            }
            _ => {}
        }
    }

    fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.waits_for.is_some() || client.generation == 0 {
            return;
        }
        if client.protocol == Protocol::Consumer {
            let request = beat("g", &client.member_id, -1);
            self.h.send_beat(request);
        } else {
            let members = vec![LeavingMember {
                member_id: client.member_id.clone(),
                group_instance_id: None,
                reason: None,
            }];
            self.h.send(Request::Leave(LeaveGroupRequest { group_id: "g".into(), members }));
        }
        self.clients[at] = self.born();
    }

    fn settle_one(&mut self) {
        let Some(append_id) = self.h.pending.keys().next().copied() else { return };
        let result = if self.random.below(8) == 0 { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) };
        self.h.settle(append_id, result);
    }

    /// Whom the coordinator has let go may not know it yet, and is not looked at.
    fn check(&mut self) {
        let shard = &self.h.shard;
        let consumer = shard.consumer_groups.get("g");
        let is_member = |client: &Client| match (consumer, shard.groups.get("g")) {
            (Some(group), _) => group.member(&client.member_id).is_some(),
            (None, Some(group)) => group.member(&client.member_id).is_some(),
            (None, None) => false,
        };
        let mut readers: BTreeMap<i32, &str> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.generation > 0 && is_member(client)) {
            for partition in &client.has {
                let other = readers.insert(*partition, &client.member_id);
                assert_eq!(other, None, "{partition} is {}'s: {:#?}", client.member_id, self.clients);
            }
        }
        let is_consumer = consumer.is_some_and(|group| !group.is_empty());
        self.changes += usize::from(is_consumer != self.was_consumer);
        self.was_consumer = is_consumer;
    }

    /// No more faults.
    fn heal(&mut self) {
        self.is_healed = true;
        self.h.auto_commit = true;
        self.h.commit_all();
        for _ in 0..80 {
            for _ in 0..6 {
                for at in 0..CLIENTS {
                    for _ in 0..4 {
                        self.act(at);
                        self.check();
                    }
                }
            }
            self.h.advance(1_000);
        }
        let had: usize = self.clients.iter().map(|client| client.has.len()).sum();
        assert_eq!(had, PARTITIONS as usize, "all partitions are read: {:#?}", self.clients);
        self.h.advance(3_600_000);
        assert_eq!(self.h.unanswered(), 0, "every request was answered");
    }
}

/// Another one for each request, and so for each new member.
fn next_uuid() -> moldau_model::Uuid {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    moldau_model::Uuid::from_bytes(bytes)
}

/// A leader's assignment: everyone keeps what it owns, up to its share, and the rest goes to those that have least. What
/// somebody is to give up goes to nobody yet.
fn shares(owned: &BTreeMap<String, BTreeSet<i32>>) -> BTreeMap<String, Vec<i32>> {
    let most = (PARTITIONS as usize).div_ceil(owned.len());
    let mut shares: BTreeMap<String, Vec<i32>> =
        owned.iter().map(|(id, has)| (id.clone(), has.iter().copied().take(most).collect())).collect();
    let taken: BTreeSet<i32> = owned.values().flatten().copied().collect();
    for partition in (0..PARTITIONS).filter(|partition| !taken.contains(partition)) {
        if let Some(share) = shares.values_mut().min_by_key(|share| share.len()) {
            share.push(partition);
        }
    }
    shares
}

fn partitions_of_or_none(assignment: &[u8]) -> BTreeSet<i32> {
    if assignment.is_empty() { BTreeSet::new() } else { partitions_of(assignment) }
}

#[test]
fn whatever_protocol_members_speak_no_partition_is_had_by_two_and_all_are_had_in_the_end() {
    let mut changes = 0;
    for seed in 1..=SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            let changes = world.changes;
            world.heal();
            changes
        });
        changes += outcome.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(changes > 500, "the model reaches what it is there for: {changes}");
}
