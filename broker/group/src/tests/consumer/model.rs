//! Random members against one coordinator: they join, give up and take in their own time, leave, crash and come back;
//! answers are lost, appends fail or stay unknown, topics change, time passes, and other coordinators take over.
//!
//! What must hold at every step: no partition is had by two members, where a member has what it was told it may have until
//! it has given that up. And when the faults end, all partitions are had, by shares that differ by one at most.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::{ErrorCode, PartitionIndex, TopicId};

use super::super::harness::Harness;
use super::{Topics, beat, cluster, topic_id};
use crate::*;

const SEEDS: u64 = 100;
const STEPS: usize = 600;
const CLIENTS: usize = 5;

pub(in crate::tests) struct Random(u64);

impl Random {
    pub(in crate::tests) fn of_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(in crate::tests) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound as u64) as usize
    }
}

type Partitions = BTreeSet<(TopicId, PartitionIndex)>;

/// One client process.
#[derive(Debug)]
struct Client {
    member_id: String,
    instance_id: Option<String>,
    epoch: i32,
    /// What it reads.
    has: Partitions,
    /// What it was told last that it may read.
    assigned: Partitions,
    /// The next heartbeat says everything: the last answer did not come.
    says_all: bool,
    waits_for: Option<RequestToken>,
    topics: Vec<String>,
    regex: bool,
}

impl Client {
    fn new(at: usize, life: usize) -> Self {
        Self {
            member_id: format!("m{at}-{life}"),
            instance_id: (at == 0).then(|| "i".to_owned()),
            epoch: 0,
            has: Partitions::new(),
            assigned: Partitions::new(),
            says_all: true,
            waits_for: None,
            topics: vec!["t".into()],
            regex: at == 1,
        }
    }

    /// Everything is lost, and it begins anew.
    fn rejoin(&mut self) {
        self.epoch = 0;
        self.has.clear();
        self.assigned.clear();
        self.says_all = true;
    }

    fn heartbeat(&self) -> ConsumerGroupHeartbeatRequest {
        let mut by_topic: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for (topic_id, partition) in &self.has {
            by_topic.entry(*topic_id).or_default().push(*partition);
        }
        let owned =
            by_topic.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions });
        let mut request = beat("g", &self.member_id, self.epoch);
        request.instance_id.clone_from(&self.instance_id);
        request.topic_partitions = Some(owned.collect());
        if self.says_all {
            request.rebalance_timeout_ms = 20_000;
            if self.regex {
                request.subscribed_topic_regex = Some("[tu]".into());
                request.subscribed_topic_names = Some(Vec::new());
            } else {
                request.subscribed_topic_names = Some(self.topics.clone());
            }
        }
        request
    }
}

struct World {
    h: Harness,
    random: Random,
    clients: Vec<Client>,
    lives: usize,
    topics: Topics,
    handed_over: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut h = cluster(&[("t", 4), ("u", 2)]);
        h.auto_commit = false;
        let clients = (0..CLIENTS).map(|at| Client::new(at, 0)).collect();
        let random = Random::of_seed(seed);
        Self { h, random, clients, lives: 0, topics: Topics::of(&[("t", 4), ("u", 2)]), handed_over: 0 }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            let at = self.random.below(CLIENTS);
            match self.random.below(100) {
                0..50 => self.act(at),
                50..78 => self.settle_one(),
                78..86 => self.h.advance([1, 500, 2_000, 9_000][self.random.below(4)]),
                86..88 => {
                    let kept = self.random.below(self.h.pending.len() + 1);
                    self.h.fail_over_keeping(kept);
                }
                88..91 => self.die(at),
                91..94 => self.leave(at),
                94..96 => self.change_topics(),
                _ => {
                    let client = &mut self.clients[at];
                    client.topics =
                        [vec!["t".into()], vec!["t".into(), "u".into()]][self.random.below(2)].clone();
                    client.says_all = true;
                }
            }
            self.check();
        }
    }

    fn act(&mut self, at: usize) {
        let client = &mut self.clients[at];
        match self.random.below(4) {
            // It gives up what it is not to have, then takes what it may: in its own time, whether it waits for an answer
            // or not. Where an answer was lost it takes nothing before it has heard again.
            0 if !client.has.is_subset(&client.assigned) => {
                client.has = client.has.intersection(&client.assigned).copied().collect();
            }
            1 if client.has.is_subset(&client.assigned) && !client.says_all => {
                client.has = client.assigned.clone();
            }
            _ => self.talk(at),
        }
    }

    fn talk(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(token) = client.waits_for else {
            let request = client.heartbeat();
            client.waits_for = Some(self.h.send_beat(request));
            return;
        };
        let is_lost = self.random.below(20) == 0;
        if self.h.is_parked(token) && !is_lost {
            return;
        }
        client.waits_for = None;
        match self.h.try_answer(token) {
            Some(Response::ConsumerGroupHeartbeat(response)) if !is_lost => Self::hear(client, &response),
            _ => client.says_all = true,
        }
    }

    fn hear(client: &mut Client, response: &ConsumerGroupHeartbeatResponse) {
        match response.error {
            ErrorCode::None => {
                client.epoch = response.member_epoch;
                client.says_all = false;
                if let Some(assignment) = &response.assignment {
                    let partitions = assignment.iter().flat_map(|topic| {
                        topic.partitions.iter().map(|partition| (topic.topic_id, *partition))
                    });
                    client.assigned = partitions.collect();
                }
            }
            ErrorCode::FencedMemberEpoch
            | ErrorCode::UnknownMemberId
            | ErrorCode::GroupIdNotFound
            | ErrorCode::UnreleasedInstanceId => client.rejoin(),
            _ => client.says_all = true,
        }
    }

    fn die(&mut self, at: usize) {
        self.lives += 1;
        self.clients[at] = Client::new(at, self.lives);
    }

    fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.waits_for.is_some() || client.epoch == 0 {
            return;
        }
        // Whoever leaves has given up everything before it says so.
        let epoch = if client.instance_id.is_some() && self.random.below(2) == 0 { -2 } else { -1 };
        let mut request = beat("g", &client.member_id, epoch);
        request.instance_id.clone_from(&client.instance_id);
        self.h.send_beat(request);
        self.die(at);
    }

    fn change_topics(&mut self) {
        let name = ["t", "u"][self.random.below(2)];
        let count = 1 + self.random.below(6) as i32;
        let known = self.topics.by_name.get(name).map_or(0, |topic| topic.partition_count);
        if self.random.below(4) == 0 && name == "u" {
            self.topics.by_name.remove(name);
        } else if count > known {
            let summary = TopicSummary { topic_id: topic_id(name), partition_count: count };
            self.topics.by_name.insert(name.into(), summary);
        }
        let topics = self.topics.clone();
        self.h.change_topics(&topics);
    }

    fn settle_one(&mut self) {
        let Some(append_id) = self.h.pending.keys().next().copied() else { return };
        let result = if self.random.below(8) == 0 { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) };
        self.h.settle(append_id, result);
    }

    /// A client that the coordinator has let go may not know it yet: what it does then is fenced, and not looked at here.
    fn check(&mut self) {
        let mut readers: BTreeMap<(TopicId, PartitionIndex), &str> = BTreeMap::new();
        let Some(group) = self.h.shard.consumer_groups.get("g") else { return };
        for client in &self.clients {
            if client.epoch <= 0 || group.member(&client.member_id).is_none() {
                continue;
            }
            let may_take = if client.says_all { &client.has } else { &client.assigned };
            for partition in client.has.union(may_take) {
                let other = readers.insert(*partition, &client.member_id);
                assert_eq!(other, None, "{partition:?} is {}'s", client.member_id);
            }
        }
        self.handed_over += readers.len();
    }

    /// No more faults.
    fn heal(&mut self) {
        self.h.auto_commit = true;
        self.h.commit_all();
        let topics = Topics::of(&[("t", 7), ("u", 3)]);
        self.h.change_topics(&topics);
        for client in &mut self.clients {
            client.topics = vec!["t".into(), "u".into()];
            client.says_all = true;
        }
        for _ in 0..60 {
            for at in 0..CLIENTS {
                for _ in 0..12 {
                    self.act(at);
                    self.check();
                }
            }
            self.h.advance(2_000);
        }
        let group = self.h.describe_consumer_group("g");
        assert_eq!((group.state.as_str(), group.members.len()), ("Stable", CLIENTS), "{group:#?}");
        let had: usize = self.clients.iter().map(|client| client.has.len()).sum();
        assert_eq!(had, 10, "all partitions are read");
        assert!(self.clients.iter().all(|client| client.has.len() == 2), "{:?}", self.clients);
        self.h.advance(3_600_000);
        assert_eq!(self.h.unanswered(), 0, "every request was answered");
        assert_eq!(self.h.shard.group_count(), 0, "all went with their sessions, and the group with them");
    }
}

#[test]
fn whatever_happens_no_partition_is_had_by_two_and_all_are_had_in_the_end() {
    let mut handed_over = 0;
    for seed in 1..=SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            let handed_over = world.handed_over;
            world.heal();
            handed_over
        });
        handed_over += outcome.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(handed_over > 50_000, "the model reaches what it is there for: {handed_over}");
}
