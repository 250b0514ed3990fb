//! Random members against one coordinator: they join, sync, commit, leave and crash in any order, appends are
//! committed, fail or stay unknown, time passes, and now and then another coordinator takes over.
//!
//! What must hold at every step:
//! - a request is answered at most once, by its kind (the harness), and in the end every one was;
//! - a generation's assignment is given out once: no two members of one generation read the same partition, and
//!   who asks again is told the same;
//! - a commit that was acknowledged is in the log, and what is fetched is the last committed one in the log's
//!   order: offsets go back only by a commit that says so;
//! - when the faults end, the members that live come to share all partitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use moldau_model::ErrorCode;

use super::harness::{Harness, commit, join, static_join, sync};
use crate::records::{OffsetCommitValue, RecordKey};
use crate::*;

const SEEDS: u64 = 60;
const STEPS: usize = 1_000;
const PARTITIONS: i32 = 4;
const MEMBERS: usize = 5;
const GROUPS: [&str; 2] = ["g", "h"];

/// xorshift64*: the same seed, the same run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Not in the group, or to join again.
    Out,
    Joining(RequestToken),
    /// In a generation without its assignment.
    Joined,
    Syncing(RequestToken),
    Reading,
}

/// One client process, dynamic or static.
#[derive(Debug)]
struct Client {
    group_id: &'static str,
    instance_id: Option<String>,
    member_id: String,
    generation_id: i32,
    /// The members, if this one leads.
    members: Vec<String>,
    step: Step,
}

struct World {
    h: Harness,
    random: Random,
    clients: Vec<Client>,
    /// By group, generation and partition, whose it was given to.
    owners: BTreeMap<(&'static str, i32, u8), String>,
    /// By group, generation and member (or instance), what it was given.
    assigned: BTreeMap<(&'static str, i32, String), Bytes>,
    commits: BTreeMap<RequestToken, (&'static str, i64)>,
    next_offset: i64,
    /// The offsets in the log by group, and how long the log was when they were read.
    in_log: (usize, BTreeMap<String, Vec<i64>>),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut h = Harness::with_config(GroupConfig {
            initial_rebalance_delay_ms: 50,
            // A group that is empty when the shard looks is removed, and its generations begin anew.
            offsets_retention_check_interval_ms: i64::MAX,
            ..GroupConfig::default()
        });
        h.auto_commit = false;
        let clients = (0..MEMBERS * GROUPS.len())
            .map(|at| Client {
                group_id: GROUPS[at % GROUPS.len()],
                instance_id: (at % 5 == 4).then(|| format!("i{at}")),
                member_id: String::new(),
                generation_id: -1,
                members: Vec::new(),
                step: Step::Out,
            })
            .collect();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self {
            h,
            random,
            clients,
            owners: BTreeMap::new(),
            assigned: BTreeMap::new(),
            commits: BTreeMap::new(),
            next_offset: 0,
            in_log: (0, BTreeMap::new()),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..66 => {
                    let at = self.random.below(self.clients.len());
                    self.act(at);
                }
                66..88 => self.settle_one(),
                88..97 => {
                    let duration_ms = [1, 30, 500, 4_000, 9_000][self.random.below(5)];
                    self.h.advance(duration_ms);
                }
                97 => {
                    let kept = self.random.below(self.h.pending.len() + 1);
                    self.h.fail_over_keeping(kept);
                }
                _ => {
                    // A process dies; another one may come under its instance id.
                    let at = self.random.below(self.clients.len());
                    self.forget(at);
                }
            }
            self.check();
        }
    }

    fn settle_one(&mut self) {
        let pending: Vec<AppendId> = self.h.pending.keys().copied().collect();
        if pending.is_empty() {
            return;
        }
        // Mostly in order, as the high watermark moves.
        let at = if self.random.chance(80) { 0 } else { self.random.below(pending.len()) };
        let result = if self.random.chance(90) { Ok(()) } else { Err(ErrorCode::NotEnoughReplicas) };
        self.h.settle(pending[at], result);
    }

    fn forget(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.member_id.clear();
        client.generation_id = -1;
        client.step = Step::Out;
    }

    fn act(&mut self, at: usize) {
        match self.clients[at].step {
            Step::Joining(_) | Step::Syncing(_) => {}
            Step::Out => self.join(at),
            Step::Joined => self.sync(at),
            Step::Reading => match self.random.below(40) {
                0..20 => self.commit(at),
                20..37 => self.heartbeat(at),
                37 | 38 => self.join(at),
                _ => self.leave(at),
            },
        }
    }

    fn join(&mut self, at: usize) {
        let (uuid, client) = (self.h.uuid(), &mut self.clients[at]);
        let base = match &client.instance_id {
            Some(instance_id) => static_join(client.group_id, instance_id),
            None => join(client.group_id, ""),
        };
        let request = JoinGroupRequest { member_id: client.member_id.clone(), new_member_uuid: uuid, ..base };
        client.step = Step::Joining(self.h.send_join(request));
    }

    fn sync(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let mut assignments: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for partition in 0..PARTITIONS as u8 {
            if let Some(member) = client.members.get(usize::from(partition) % client.members.len().max(1)) {
                assignments.entry(member).or_default().push(partition);
            }
        }
        let assignments = assignments
            .into_iter()
            .map(|(member_id, partitions)| SyncGroupAssignment {
                member_id: member_id.to_owned(),
                assignment: partitions.into(),
            })
            .collect();
        let request = SyncGroupRequest {
            group_instance_id: client.instance_id.clone(),
            assignments,
            ..sync(client.group_id, &client.member_id, client.generation_id, &[])
        };
        client.step = Step::Syncing(self.h.send(Request::Sync(request)));
    }

    fn commit(&mut self, at: usize) {
        let client = &self.clients[at];
        // Now and then a client seeks backwards.
        let back = if self.random.chance(10) { 50 } else { 0 };
        self.next_offset += 1;
        let committed = (self.next_offset - back).max(0);
        let request = OffsetCommitRequest {
            group_instance_id: client.instance_id.clone(),
            ..commit(client.group_id, &client.member_id, client.generation_id, committed)
        };
        let token = self.h.send(Request::OffsetCommit(request));
        self.commits.insert(token, (client.group_id, committed));
    }

    fn heartbeat(&mut self, at: usize) {
        let client = &self.clients[at];
        let error = self.h.heartbeat(client.group_id, &client.member_id, client.generation_id);
        self.follow(at, error);
    }

    fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        self.h.leave(client.group_id, &[(&client.member_id, client.instance_id.as_deref())]);
        self.forget(at);
    }

    /// What a client makes of an error.
    fn follow(&mut self, at: usize, error: ErrorCode) {
        match error {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.forget(at),
            _ => self.clients[at].step = Step::Out,
        }
    }

    /// Reads the answers that have come, and compares what the coordinator shows with what it promised.
    fn check(&mut self) {
        for at in 0..self.clients.len() {
            match self.clients[at].step {
                Step::Joining(token) => {
                    if let Some(Response::Join(response)) = self.h.try_answer(token) {
                        self.joined(at, response);
                    }
                }
                Step::Syncing(token) => {
                    if let Some(Response::Sync(response)) = self.h.try_answer(token) {
                        self.synced(at, response);
                    }
                }
                Step::Out | Step::Joined | Step::Reading => {}
            }
        }
        let answered: Vec<(RequestToken, &'static str, i64)> = self
            .commits
            .iter()
            .filter(|(token, _)| !self.h.is_parked(**token))
            .map(|(token, (group_id, committed))| (*token, *group_id, *committed))
            .collect();
        for (token, group_id, committed) in answered {
            self.commits.remove(&token);
            if self.h.committed(token).is_none() {
                let is_written = self.commits_in_log(group_id).contains(&committed);
                assert!(is_written, "an acknowledged commit of {committed} is in the log");
            }
        }
        for group_id in GROUPS {
            let expected = self.commits_in_log(group_id).last().copied().unwrap_or(-1);
            assert_eq!(self.h.offset(group_id), expected, "{group_id}: the last one in the log");
        }
    }

    /// The group's committed offsets of partition 0, in the log's order.
    fn commits_in_log(&mut self, group_id: &str) -> Vec<i64> {
        if self.in_log.0 != self.h.log.len() {
            let mut by_group: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for record in &self.h.log {
                if let Ok(RecordKey::Offset { group_id, .. }) = RecordKey::decode(&record.key) {
                    let value = record.value.as_ref().expect("nothing expires within the run");
                    let offset = OffsetCommitValue::decode(value).unwrap().offset;
                    by_group.entry(group_id.to_owned()).or_default().push(offset.0);
                }
            }
            self.in_log = (self.h.log.len(), by_group);
        }
        self.in_log.1.get(group_id).cloned().unwrap_or_default()
    }

    fn joined(&mut self, at: usize, response: JoinGroupResponse) {
        match response.error {
            ErrorCode::MemberIdRequired => {
                self.clients[at].member_id = response.member_id;
                self.clients[at].step = Step::Out;
            }
            ErrorCode::None => {
                let client = &mut self.clients[at];
                client.member_id = response.member_id;
                client.generation_id = response.generation_id.0;
                client.members = response.members.into_iter().map(|member| member.member_id).collect();
                assert_eq!(response.leader == client.member_id, !client.members.is_empty());
                if response.skip_assignment {
                    client.members.clear();
                }
                client.step = Step::Joined;
            }
            error => self.follow(at, error),
        }
    }

    fn synced(&mut self, at: usize, response: SyncGroupResponse) {
        if response.error != ErrorCode::None {
            return self.follow(at, response.error);
        }
        let client = &mut self.clients[at];
        client.step = Step::Reading;
        // A static member's assignment is its instance's, whichever member id it has.
        let name = client.instance_id.clone().unwrap_or_else(|| client.member_id.clone());
        let (group_id, generation_id) = (client.group_id, client.generation_id);
        for partition in &response.assignment {
            let owner = self.owners.entry((group_id, generation_id, *partition)).or_insert(name.clone());
            assert_eq!(*owner, name, "partition {partition} of generation {generation_id} was given out");
        }
        let key = (group_id, generation_id, name);
        let first = self.assigned.entry(key).or_insert_with(|| response.assignment.clone());
        assert_eq!(*first, response.assignment, "who asks again is told the same");
    }

    /// No more faults: everyone who is away comes back, and all come to share the partitions.
    fn heal(&mut self) {
        self.h.auto_commit = true;
        self.h.commit_all();
        for _ in 0..200 {
            for at in 0..self.clients.len() {
                match self.clients[at].step {
                    Step::Reading => self.heartbeat(at),
                    _ => self.act(at),
                }
                self.check();
            }
            self.h.advance(1_000);
            self.check();
        }
        for group_id in GROUPS {
            let members: Vec<&Client> = self.clients.iter().filter(|c| c.group_id == group_id).collect();
            let generations: BTreeSet<i32> = members.iter().map(|client| client.generation_id).collect();
            assert!(members.iter().all(|client| client.step == Step::Reading), "{members:?}");
            assert_eq!(generations.len(), 1, "{members:?}");
            let generation_id = *generations.first().unwrap();
            let given =
                (0..PARTITIONS as u8).filter(|p| self.owners.contains_key(&(group_id, generation_id, *p)));
            assert_eq!(given.count(), PARTITIONS as usize, "all partitions are read");
        }
        self.h.advance(3_600_000);
        self.check();
        assert_eq!(self.h.unanswered(), 0, "every request was answered");
    }
}

#[test]
fn whatever_members_the_log_and_time_do_the_promises_hold() {
    for seed in 1..=SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.heal();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_model_reaches_what_it_is_there_for() {
    let (mut generations, mut commits, mut given) = (0, 0, 0);
    for seed in 1..=10 {
        let mut world = World::new(seed);
        world.run();
        generations +=
            world.assigned.keys().map(|(group_id, g, _)| (*group_id, *g)).collect::<BTreeSet<_>>().len();
        commits += GROUPS.iter().map(|group_id| world.commits_in_log(group_id).len()).sum::<usize>();
        given += world.owners.len();
    }
    assert!(generations > 100 && commits > 300 && given > 300, "{generations} {commits} {given}");
}
