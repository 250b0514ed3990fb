//! Random producers against one coordinator: they start, write, end and crash in any order, zombies go on, requests are
//! repeated and come late, appends are committed, fail or stay unknown, markers reach partitions one by one, time passes,
//! and now and then another coordinator takes over.
//!
//! What must hold:
//! - a request is answered at most once, by its kind (the harness), and in the end every one was;
//! - no two producers are given the same producer id and epoch;
//! - a transaction has one outcome: what was written in it is committed in all partitions or in none;
//! - it is the outcome that its producer was told of;
//! - when the faults end, nothing is left open.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::{ErrorCode, TopicPartition};

use super::harness::{Harness, Producer, add_request, code, end_request, init, partition, producer};
use crate::*;

const SEEDS: u64 = 200;
const STEPS: usize = 1_500;
const PARTITIONS: usize = 4;
const IDS: [&str; 2] = ["x", "y"];
const CLIENTS: usize = 6;

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

/// Names one transaction as its client means it.
type Tag = u64;

#[derive(Clone, Debug)]
enum Step {
    /// Without a producer.
    Out,
    Starting(RequestToken),
    /// Between transactions, or in one if the tag has partitions.
    Ready,
    Adding(RequestToken, usize),
    Ending(RequestToken, bool),
}

/// One client process.
#[derive(Debug)]
struct Client {
    id: &'static str,
    /// Which transactions it knows; the epoch rises with each one from 2 on.
    version: i16,
    producer: Producer,
    step: Step,
    tag: Tag,
    has_written: bool,
}

/// A partition as far as transactions go.
#[derive(Debug, Default)]
struct PartitionLog {
    /// By producer id, the highest epoch seen and what is open.
    producers: BTreeMap<i64, (i16, Vec<Tag>)>,
}

impl PartitionLog {
    /// A write that the coordinator was asked about before. A producer of an older epoch is refused.
    fn write(&mut self, (id, epoch): Producer, tag: Tag) -> bool {
        let (seen, open) = self.producers.entry(id).or_insert((epoch, Vec::new()));
        if epoch < *seen {
            return false;
        }
        *seen = epoch;
        open.push(tag);
        true
    }

    /// A marker: what is open has its outcome. One of an older epoch is refused.
    fn mark(&mut self, (id, epoch): Producer) -> Vec<Tag> {
        let (seen, open) = self.producers.entry(id).or_insert((epoch, Vec::new()));
        assert!(epoch >= *seen, "a marker of epoch {epoch} comes after writes of epoch {seen}");
        *seen = epoch;
        std::mem::take(open)
    }
}

struct World {
    h: Harness,
    random: Random,
    clients: Vec<Client>,
    partitions: Vec<PartitionLog>,
    next_tag: Tag,
    /// The outcome that partitions have given to what was written, by transaction.
    outcomes: BTreeMap<Tag, bool>,
    /// The outcome that clients were told.
    told: BTreeMap<Tag, bool>,
    given: BTreeSet<Producer>,
    /// EndTxn requests that are still on the way, from clients that gave up waiting.
    late: Vec<Request>,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        // Half of the worlds let requests wait for the step before them.
        let busy_wait_ms = if seed.is_multiple_of(2) { 20 } else { 0 };
        let config =
            TransactionConfig { completion_retry_ms: 10, busy_wait_ms, ..TransactionConfig::default() };
        let mut h = Harness::of(config, 2);
        h.fail_over();
        h.auto_commit = false;
        h.auto_allocate = false;
        let clients = (0..CLIENTS).map(|at| Client {
            id: IDS[at % IDS.len()],
            version: if at % 3 == 0 { 0 } else { 2 },
            producer: (-1, -1),
            step: Step::Out,
            tag: 0,
            has_written: false,
        });
        Self {
            h,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            clients: clients.collect(),
            partitions: (0..PARTITIONS).map(|_| PartitionLog::default()).collect(),
            next_tag: 1,
            outcomes: BTreeMap::new(),
            told: BTreeMap::new(),
            given: BTreeSet::new(),
            late: Vec::new(),
            faults: true,
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..50 => {
                    let at = self.random.below(CLIENTS);
                    self.act(at);
                }
                50..75 => self.settle_one(),
                75..80 => self.allocate_one(),
                80..92 => self.mark_one(),
                92..96 => {
                    let duration_ms = [1, 10, 9_000, 31_000, 70_000][self.random.below(5)];
                    self.h.advance(duration_ms);
                }
                96 => {
                    let kept = self.random.below(self.h.pending.len() + 1);
                    self.h.fail_over_keeping(kept);
                }
                97 => {
                    if let Some(request) = self.late.pop() {
                        self.h.send(request);
                    }
                }
                _ => {
                    // A process dies; its requests are still on the way.
                    let at = self.random.below(CLIENTS);
                    self.clients[at].step = Step::Out;
                }
            }
            self.follow();
        }
    }

    fn settle_one(&mut self) {
        let pending: Vec<AppendId> = self.h.pending.keys().copied().collect();
        if pending.is_empty() {
            return;
        }
        // Mostly in order, as the high watermark moves.
        let at = if self.random.chance(80) { 0 } else { self.random.below(pending.len()) };
        let is_refused = self.faults && self.random.chance(8);
        self.h.settle(pending[at], if is_refused { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) });
    }

    fn allocate_one(&mut self) {
        if !self.h.allocations.is_empty() {
            let is_refused = self.faults && self.random.chance(10);
            self.h.allocate(if is_refused { Err(ErrorCode::CoordinatorLoadInProgress) } else { Ok(()) });
        }
    }

    /// One partition takes a marker. Now and then nobody is told, and it takes it once more.
    fn mark_one(&mut self) {
        if self.h.markers.is_empty() {
            return;
        }
        let at = self.random.below(self.h.markers.len());
        let markers = self.h.markers[at].clone();
        let index = self.random.below(markers.partitions.len());
        let marked: TopicPartition = markers.partitions[index].clone();
        let log = &mut self.partitions[marked.partition.0 as usize];
        for tag in log.mark((markers.producer_id.0, markers.producer_epoch.0)) {
            let outcome = *self.outcomes.entry(tag).or_insert(markers.is_commit);
            assert_eq!(outcome, markers.is_commit, "transaction {tag} has one outcome in all partitions");
        }
        if self.faults && self.random.chance(20) {
            return;
        }
        self.h.written(&markers, std::slice::from_ref(&marked));
        // The harness may hold other markers meanwhile: the right ones are found anew.
        if let Some(at) = self.h.markers.iter().position(|other| *other == markers) {
            self.h.markers[at].partitions.remove(index);
            if self.h.markers[at].partitions.is_empty() {
                self.h.markers.remove(at);
            }
        }
    }

    fn act(&mut self, at: usize) {
        match self.clients[at].step {
            Step::Out => self.start(at),
            Step::Ready => match self.random.below(10) {
                0..5 => self.add(at),
                5..8 => self.end(at, true),
                8 => self.end(at, false),
                _ => {}
            },
            Step::Ending(_, is_commit) if self.faults && self.random.chance(5) => {
                // The client gives up waiting and asks again; the first request stays on the way.
                let client = &self.clients[at];
                if client.version >= 2 {
                    self.late.push(end_request(client.id, client.producer, is_commit, client.version));
                    self.late.truncate(8);
                }
                self.end(at, is_commit);
            }
            _ => {}
        }
    }

    fn start(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.tag = self.next_tag;
        self.next_tag += 1;
        client.has_written = false;
        client.step = Step::Starting(self.h.send(init(client.id, None)));
    }

    fn add(&mut self, at: usize) {
        let index = self.random.below(PARTITIONS);
        let client = &mut self.clients[at];
        let request = add_request(client.id, client.producer, &[index as i32], client.version);
        assert_eq!(request.partitions, [partition(index as i32)]);
        client.step = Step::Adding(self.h.send(Request::AddPartitions(request)), index);
    }

    fn end(&mut self, at: usize, is_commit: bool) {
        let client = &mut self.clients[at];
        // A client does not end what it has not begun.
        if client.has_written {
            let request = end_request(client.id, client.producer, is_commit, client.version);
            client.step = Step::Ending(self.h.send(request), is_commit);
        }
    }

    /// Reads the answers that have come.
    fn follow(&mut self) {
        for at in 0..CLIENTS {
            match self.clients[at].step {
                Step::Starting(token) => {
                    if let Some(response) = self.h.try_answer(token) {
                        self.started(at, producer(&response));
                    }
                }
                Step::Adding(token, index) => {
                    if let Some(response) = self.h.try_answer(token) {
                        self.added(at, index, code(&response));
                    }
                }
                Step::Ending(token, is_commit) => {
                    if let Some(response) = self.h.try_answer(token) {
                        self.ended(at, is_commit, producer(&response));
                    }
                }
                Step::Out | Step::Ready => {}
            }
        }
    }

    fn started(&mut self, at: usize, started: Result<Producer, ErrorCode>) {
        match started {
            Ok(given) => {
                assert!(self.given.insert(given), "{given:?} is given to one producer");
                self.clients[at].producer = given;
                self.clients[at].step = Step::Ready;
            }
            Err(_) => self.clients[at].step = Step::Out,
        }
    }

    fn added(&mut self, at: usize, index: usize, code: ErrorCode) {
        let client = &mut self.clients[at];
        client.step = match code {
            ErrorCode::None => {
                // What is written late is refused by the partition, by its epoch or by verification.
                let is_open = self.h.shard_knows_open(client.id, client.producer, index as i32);
                if is_open && self.partitions[index].write(client.producer, client.tag) {
                    client.has_written = true;
                }
                Step::Ready
            }
            ErrorCode::ConcurrentTransactions
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator => Step::Ready,
            _ => Step::Out,
        };
    }

    fn ended(&mut self, at: usize, is_commit: bool, ended: Result<Producer, ErrorCode>) {
        let client = &mut self.clients[at];
        match ended {
            Ok(next) => {
                self.told.insert(client.tag, is_commit);
                if next != client.producer {
                    assert!(client.version >= 2 && self.given.insert(next), "{next:?} is given once");
                    client.producer = next;
                }
                client.tag = self.next_tag;
                self.next_tag += 1;
                client.has_written = false;
                client.step = Step::Ready;
            }
            // Asked until it is known.
            Err(
                ErrorCode::ConcurrentTransactions
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::NotCoordinator,
            ) => self.end(at, is_commit),
            Err(_) => client.step = Step::Out,
        }
    }

    /// No more faults: all that is open comes to its end.
    fn heal(&mut self) {
        self.faults = false;
        self.late.clear();
        self.clients.clear();
        self.h.fail_over_keeping(0);
        for _ in 0..200 {
            self.h.advance(10_000);
            while !(self.h.pending.is_empty() && self.h.allocations.is_empty() && self.h.markers.is_empty()) {
                self.settle_one();
                self.allocate_one();
                self.mark_one();
            }
        }
        for id in IDS {
            let state = self.h.state(id);
            assert!(
                state.is_none_or(|state| {
                    !matches!(
                        state,
                        TransactionState::Ongoing
                            | TransactionState::PrepareCommit
                            | TransactionState::PrepareAbort
                    )
                }),
                "{id} is at rest: {state:?}"
            );
        }
        for log in &self.partitions {
            for (id, (epoch, open)) in &log.producers {
                assert!(open.is_empty(), "{open:?} of producer {id} in epoch {epoch} is left open");
            }
        }
        for (tag, told) in &self.told {
            if let Some(outcome) = self.outcomes.get(tag) {
                assert_eq!(outcome, told, "transaction {tag} has the outcome its client was told");
            }
        }
        assert_eq!(self.h.unanswered(), 0, "every request was answered");
    }
}

#[test]
fn whatever_producers_the_log_and_time_do_the_promises_hold() {
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
    let (mut committed, mut aborted, mut told, mut given) = (0, 0, 0, 0);
    for seed in 1..=20 {
        let mut world = World::new(seed);
        world.run();
        committed += world.outcomes.values().filter(|is_commit| **is_commit).count();
        aborted += world.outcomes.values().filter(|is_commit| !**is_commit).count();
        told += world.told.len();
        given += world.given.len();
    }
    assert!(
        committed > 100 && aborted > 100 && told > 100 && given > 300,
        "{committed} {aborted} {told} {given}"
    );
}
