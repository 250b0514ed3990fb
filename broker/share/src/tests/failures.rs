//! Chance plays members, leaders that come and go, and a share coordinator whose writes fail, hang, or are lost with it: what a
//! member was told to be accepted is never delivered again, and nothing else is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moldau_model::{LeaderEpoch, Offset};

use super::*;

const SEEDS: u64 = 150;
const STEPS: usize = 500;
const OFFSETS: i64 = 40;
const MEMBERS: [&str; 2] = ["a", "b"];
const LIMITS: Limits =
    Limits { delivery_count_max: 1_000, records_in_flight_max: 20, lock_duration_ms: 3_000 };

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn is_one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// The share coordinator, and its log.
struct Coordinator {
    shard: ShareStateShard,
    log: Vec<CoordinatorRecord>,
    pruned: usize,
    in_flight: VecDeque<(AppendId, Vec<CoordinatorRecord>)>,
    replies: BTreeMap<u64, Response>,
    next_token: u64,
}

impl Coordinator {
    fn new() -> Self {
        let config = ShareStateConfig {
            updates_per_snapshot: 5,
            prune_interval_ms: 1_000,
            cold_snapshot_interval_ms: 2_000,
            ..ShareStateConfig::default()
        };
        let shard = ShareStateShard::new(Arc::new(config));
        let (log, in_flight, replies) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        let mut coordinator = Self { shard, log, pruned: 0, in_flight, replies, next_token: 0 };
        coordinator.load(0);
        coordinator
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => drop(self.replies.insert(token.0, response)),
                Output::Append { append_id, records, .. } => self.in_flight.push_back((append_id, records)),
                Output::Prune { before } => self.pruned = usize::try_from(before.0).unwrap(),
            }
        }
    }

    fn handle(&mut self, input: Input, now_ms: i64) {
        let outputs = self.shard.handle(input, now_ms);
        self.carry_out(outputs);
    }

    fn ask(&mut self, request: Request, now_ms: i64) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let request = Box::new(request);
        self.handle(Input::Request { token: RequestToken(token), request }, now_ms);
        token
    }

    /// The oldest write is committed, or is not.
    fn decide(&mut self, is_committed: bool, now_ms: i64) {
        let Some((append_id, records)) = self.in_flight.pop_front() else { return };
        let offset = Offset(self.log.len() as i64);
        let result = if is_committed { Ok(offset) } else { Err(ErrorCode::NotEnoughReplicas) };
        if is_committed {
            self.log.extend(records);
        }
        self.handle(Input::Appended { append_id, result }, now_ms);
    }

    /// Another one takes over. It has what was committed, and perhaps the first of what was on its way.
    fn fail_over(&mut self, survivors: usize, now_ms: i64) {
        let survivors = self.in_flight.drain(..).take(survivors);
        self.log.extend(survivors.flat_map(|(_, records)| records));
        let outputs = self.shard.unload();
        self.carry_out(outputs);
        self.load(now_ms);
    }

    fn load(&mut self, now_ms: i64) {
        let outputs = self.shard.begin_load(LeaderEpoch(1));
        self.carry_out(outputs);
        for (offset, record) in self.log.iter().enumerate().skip(self.pruned) {
            self.shard.replay(Offset(offset as i64), &record.key, record.value.as_deref()).unwrap();
        }
        let outputs = self.shard.finish_load(now_ms);
        self.carry_out(outputs);
    }

    /// Asks, with all that is on its way committed.
    fn answer(&mut self, request: Request, now_ms: i64) -> Response {
        let token = self.ask(request, now_ms);
        while !self.in_flight.is_empty() {
            self.decide(true, now_ms);
        }
        self.replies.remove(&token).unwrap()
    }
}

struct World {
    random: Random,
    now_ms: i64,
    coordinator: Coordinator,
    partition: SharePartition,
    leader_epoch: i32,
    /// The leader's write under way, and the request that carries it.
    write: Option<(StateWrite, u64)>,
    /// Writes of leaders before this one, which come late.
    late: Vec<StateWrite>,
    said: BTreeMap<AckToken, Vec<i64>>,
    /// Told to be accepted.
    accepted: BTreeSet<i64>,
    delivered: BTreeSet<i64>,
}

fn request(write: &StateWrite) -> Request {
    Request::Write {
        key: key(0),
        state_epoch: write.state_epoch,
        leader_epoch: write.leader_epoch,
        start_offset: write.start_offset,
        delivery_complete_count: write.delivery_complete_count,
        batches: write.batches.clone(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut coordinator = Coordinator::new();
        let initialize =
            Request::Initialize { key: key(0), state_epoch: 0, start_offset: START_OFFSET_UNKNOWN };
        assert_eq!(coordinator.answer(initialize, 0), Response::Changed(Ok(())));
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now_ms: 0,
            coordinator,
            partition: fresh(LIMITS),
            leader_epoch: 0,
            write: None,
            late: Vec::new(),
            said: BTreeMap::new(),
            accepted: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..=6 => self.fetch_and_say(),
            7..=11 => self.begin_write(),
            12..=16 => {
                let is_committed = !self.random.is_one_in(6);
                self.coordinator.decide(is_committed, self.now_ms);
            }
            17..=19 => {
                self.now_ms += self.random.below(1_500) as i64;
                self.partition.expire(self.now_ms);
                self.coordinator.handle(Input::Tick, self.now_ms);
            }
            20 => {
                let survivors = self.random.below(3) as usize;
                self.coordinator.fail_over(survivors, self.now_ms);
            }
            21 => self.another_leader(),
            22 => self.late_write(),
            _ => {
                self.partition.release_member(MEMBERS[self.random.below(2) as usize]);
            }
        }
        self.hear();
        self.partition.check();
    }

    fn fetch_and_say(&mut self) {
        let name = MEMBERS[self.random.below(2) as usize];
        let Some(offset) = self.partition.next_fetch_offset().filter(|offset| *offset < OFFSETS) else {
            return;
        };
        let first = offset / 4 * 4;
        let batch = FetchedBatch { first, last: first + 3, is_hidden: false };
        let limits = (4, 4);
        let mode = AcquireMode::BatchOptimized;
        for got in self.partition.acquire(&member(name), mode, limits, offset, &[batch], self.now_ms) {
            for offset in got.first..=got.last {
                assert!(!self.accepted.contains(&offset), "{offset} was told to be accepted");
                self.delivered.insert(offset);
            }
            if self.random.is_one_in(4) {
                continue;
            }
            let kind =
                if self.random.is_one_in(4) { AcknowledgeType::Release } else { AcknowledgeType::Accept };
            let said = Acknowledgement { first: got.first, last: got.last, types: vec![kind] };
            match self.partition.acknowledge(name, &[said], self.now_ms) {
                Ok(AckOutcome::Waits(token)) => {
                    let accepted = (got.first..=got.last).filter(|_| kind == AcknowledgeType::Accept);
                    self.said.insert(token, accepted.collect());
                }
                other => panic!("what a member has it can speak of: {other:?}"),
            }
        }
    }

    fn begin_write(&mut self) {
        if let Some(write) = self.partition.next_write() {
            assert!(self.write.is_none(), "one write at a time");
            let token = self.coordinator.ask(request(&write), self.now_ms);
            self.write = Some((write, token));
        }
    }

    /// The leader hears of its write: an answer may be lost, and a refusal be worth another try.
    fn hear(&mut self) {
        let Some((write, token)) = self.write.take() else { return };
        let result = match self.coordinator.replies.remove(&token) {
            None => {
                self.write = Some((write, token));
                return;
            }
            Some(Response::Changed(result)) => result.map_err(|refusal| refusal.error),
            Some(other) => panic!("{other:?}"),
        };
        if result.is_err() && !self.random.is_one_in(3) {
            let token = self.coordinator.ask(request(&write), self.now_ms);
            self.write = Some((write, token));
            return;
        }
        let result = if self.random.is_one_in(8) { Err(ErrorCode::CoordinatorNotAvailable) } else { result };
        let (tokens, _) = self.partition.written(result);
        for token in tokens {
            let accepted = self.said.remove(&token).unwrap_or_default();
            if result.is_ok() {
                self.accepted.extend(accepted);
            }
        }
    }

    /// The leader dies, and the next one reads what was written. Who waits for the old one is told nothing.
    fn another_leader(&mut self) {
        self.late.extend(self.write.take().map(|(write, _)| write));
        self.late.extend(self.partition.next_write());
        self.said.clear();
        self.leader_epoch += 1;
        let read = Request::Read { key: key(0), leader_epoch: self.leader_epoch };
        let Response::Read(Ok(state)) = self.coordinator.answer(read, self.now_ms) else {
            panic!("a new leader reads the state");
        };
        self.partition = SharePartition::new(LIMITS, self.leader_epoch, &state, 0);
    }

    fn late_write(&mut self) {
        let Some(write) = self.late.pop() else { return };
        match self.coordinator.answer(request(&write), self.now_ms) {
            Response::Changed(Err(refusal)) => assert_eq!(refusal.error, ErrorCode::FencedLeaderEpoch),
            other => panic!("a leader of the past writes nothing: {other:?}"),
        }
    }

    /// From here on all goes well, under a new leader.
    fn finish(mut self, seed: u64) {
        self.another_leader();
        for _ in 0..1_000 {
            self.now_ms += LIMITS.lock_duration_ms;
            self.partition.expire(self.now_ms);
            self.coordinator.handle(Input::Tick, self.now_ms);
            while let Some(write) = self.partition.next_write() {
                let written = self.coordinator.answer(request(&write), self.now_ms);
                assert_eq!(written, Response::Changed(Ok(())), "seed {seed}");
                self.partition.written(Ok(()));
            }
            let Some(offset) = self.partition.next_fetch_offset().filter(|offset| *offset < OFFSETS) else {
                break;
            };
            let batch = FetchedBatch { first: offset, last: offset, is_hidden: false };
            let mode = AcquireMode::RecordLimit;
            for got in self.partition.acquire(&member("a"), mode, (1, 1), offset, &[batch], self.now_ms) {
                assert!(!self.accepted.contains(&got.first), "seed {seed}: {} was accepted", got.first);
                self.delivered.insert(got.first);
                let said = Acknowledgement {
                    first: got.first,
                    last: got.last,
                    types: vec![AcknowledgeType::Accept],
                };
                self.partition.acknowledge("a", &[said], self.now_ms).unwrap();
            }
        }
        assert_eq!(self.partition.start_offset(), OFFSETS, "seed {seed}");
        let all: BTreeSet<i64> = (0..OFFSETS).collect();
        assert_eq!(self.delivered, all, "seed {seed}: some were never delivered");
        self.coordinator.fail_over(0, self.now_ms);
        let read = Request::Read { key: key(0), leader_epoch: self.leader_epoch };
        match self.coordinator.answer(read, self.now_ms) {
            Response::Read(Ok(state)) => {
                let next = SharePartition::new(LIMITS, self.leader_epoch + 1, &state, 0);
                assert_eq!(next.start_offset(), OFFSETS, "seed {seed}: the next leader knows of all");
            }
            other => panic!("{other:?}"),
        }
        let kept = self.coordinator.log.len() - self.coordinator.pruned;
        assert!(
            kept <= 2 * OFFSETS as usize,
            "seed {seed}: {kept} records of {}",
            self.coordinator.log.len()
        );
    }
}

#[test]
fn what_was_told_to_be_accepted_is_never_delivered_again_whoever_fails() {
    let mut pruned = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        pruned += world.coordinator.pruned;
        world.finish(seed);
    }
    assert!(pruned > 0, "records were deleted in the middle of it");
}
