//! Chance plays members, time, writes that fail, and new leaders; a plain table of offsets knows what has to be.

use std::collections::BTreeMap;

use super::*;

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const OFFSETS: i64 = 60;
const MEMBERS: [&str; 3] = ["a", "b", "c"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a member has, and until when.
type Holdings = BTreeMap<i64, (&'static str, i64)>;

struct World {
    random: Random,
    limits: Limits,
    partition: SharePartition,
    now_ms: i64,
    holdings: Holdings,
    /// How often a record was delivered, since a leader began that did not know of earlier times.
    deliveries: BTreeMap<i64, u32>,
    /// Records that somebody accepted or rejected, and that were told to be taken.
    finished: BTreeMap<i64, &'static str>,
    /// What was said, by token: the offsets, and whether nothing is to be done with them any more.
    said: BTreeMap<AckToken, Vec<(i64, bool)>>,
    write: Option<StateWrite>,
    /// What the share coordinator has.
    stored: ReadState,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let limits = Limits {
            delivery_count_max: random.below(4) as i16 + 1,
            records_in_flight_max: random.below(30) as i64 + 1,
            lock_duration_ms: 100,
        };
        let stored = ReadState { state_epoch: 0, start_offset: START_OFFSET_UNKNOWN, batches: Vec::new() };
        Self {
            random,
            limits,
            partition: SharePartition::new(limits, 0, &stored, 0),
            now_ms: 0,
            holdings: Holdings::new(),
            deliveries: BTreeMap::new(),
            finished: BTreeMap::new(),
            said: BTreeMap::new(),
            write: None,
            stored,
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=7 => self.fetch(),
            8..=12 => self.acknowledge(),
            13..=15 => self.write_begins(),
            16..=17 => {
                let is_ok = self.random.below(5) > 0;
                self.write_ends(is_ok);
            }
            18 => self.time_passes(),
            _ if self.random.below(6) == 0 => self.another_leader(),
            _ => self.member_goes(),
        }
        self.check();
    }

    /// A log whose batches are three records long, and which lost every seventh record to compaction.
    fn batches_from(offset: i64, count: i64) -> Vec<FetchedBatch> {
        let begin = offset / 3 * 3;
        let batches = (0..count).map(|i| begin + 3 * i).filter(|first| *first < OFFSETS && first % 7 != 0);
        batches.map(|first| FetchedBatch { first, last: first + 2, is_hidden: false }).collect()
    }

    fn fetch(&mut self) {
        let name = MEMBERS[self.random.below(3) as usize];
        let Some(offset) = self.partition.next_fetch_offset() else { return };
        let batches = Self::batches_from(offset, self.random.below(4) as i64 + 1);
        let strict = self.random.below(2) == 0;
        let mode = if strict { AcquireMode::RecordLimit } else { AcquireMode::BatchOptimized };
        let records_max = self.random.below(8) as i64 + 1;
        let limits = (records_max, 4);
        let got = self.partition.acquire(&member(name), mode, limits, offset, &batches, self.now_ms);
        let mut count = 0;
        for got in got {
            for offset in got.first..=got.last {
                count += 1;
                assert!(!self.holdings.contains_key(&offset), "nobody has {offset} at the same time");
                assert!(!self.finished.contains_key(&offset), "{offset} was done");
                let deliveries = self.deliveries.entry(offset).or_default();
                *deliveries += 1;
                assert!(
                    *deliveries <= self.limits.delivery_count_max as u32,
                    "{offset} is delivered too often"
                );
                self.holdings.insert(offset, (name, self.now_ms + self.limits.lock_duration_ms));
            }
        }
        assert!(!strict || count <= records_max);
    }

    fn acknowledge(&mut self) {
        let name = MEMBERS[self.random.below(3) as usize];
        let mine: Vec<i64> = self
            .holdings
            .iter()
            .filter(|(_, (holder, _))| *holder == name)
            .map(|(offset, _)| *offset)
            .collect();
        let Some(first) = mine.get(self.random.below(mine.len().max(1) as u64) as usize).copied() else {
            return;
        };
        let mut last = first;
        while self.random.below(3) > 0 && mine.contains(&(last + 1)) {
            last += 1;
        }
        let kinds = [AcknowledgeType::Accept, AcknowledgeType::Reject, AcknowledgeType::Release];
        let types: Vec<AcknowledgeType> =
            (first..=last).map(|_| kinds[self.random.below(3) as usize]).collect();
        let said = Acknowledgement { first, last, types: types.clone() };
        match self.partition.acknowledge(name, &[said], self.now_ms) {
            Ok(AckOutcome::Waits(token)) => {
                let said = (first..=last).zip(&types).map(|(offset, kind)| {
                    self.holdings.remove(&offset);
                    (offset, *kind != AcknowledgeType::Release)
                });
                self.said.insert(token, said.collect());
            }
            other => panic!("what a member has it can speak of: {other:?}"),
        }
    }

    fn write_begins(&mut self) {
        if let Some(write) = self.partition.next_write() {
            assert!(self.write.is_none(), "one write at a time");
            self.write = Some(write);
        }
    }

    fn write_ends(&mut self, is_ok: bool) {
        let Some(write) = self.write.take() else { return };
        let result = if is_ok { Ok(()) } else { Err(moldau_model::ErrorCode::CoordinatorNotAvailable) };
        if is_ok {
            assert!(write.start_offset >= self.stored.start_offset, "the start does not go back");
            self.stored.start_offset = write.start_offset;
            self.stored.batches = combine(&self.stored.batches, &write.batches, write.start_offset);
        }
        let (tokens, _) = self.partition.written(result);
        for token in tokens {
            for (offset, is_done) in self.said.remove(&token).unwrap_or_default() {
                if is_ok && is_done {
                    self.finished.insert(offset, "told");
                } else if !is_ok {
                    // The member has it still, unless its time is over.
                    let holder = self.partition.holder(offset);
                    if let Some(name) = MEMBERS.iter().find(|name| holder == Some(name)) {
                        self.holdings.insert(offset, (name, 0));
                    }
                }
            }
        }
    }

    fn time_passes(&mut self) {
        self.now_ms += self.random.below(150) as i64;
        self.partition.expire(self.now_ms);
        self.holdings.retain(|offset, (name, _)| self.partition.holder(*offset) == Some(name));
    }

    fn member_goes(&mut self) {
        let name = MEMBERS[self.random.below(3) as usize];
        self.partition.release_member(name);
        self.holdings.retain(|_, (holder, _)| *holder != name);
    }

    /// The leader dies. Its write may have come through or not; what members had is forgotten.
    fn another_leader(&mut self) {
        if let Some(write) = self.write.take()
            && self.random.below(2) == 0
        {
            self.stored.start_offset = write.start_offset;
            self.stored.batches = combine(&self.stored.batches, &write.batches, write.start_offset);
        }
        self.said.clear();
        self.holdings.clear();
        // Deliveries that were not written are forgotten, in Kafka, too.
        self.deliveries.clear();
        self.partition = SharePartition::new(self.limits, 1, &self.stored, 0);
        for batch in &self.stored.batches {
            for offset in batch.first..=batch.last {
                self.deliveries.insert(offset, batch.delivery_count as u32);
            }
        }
    }

    fn check(&self) {
        self.partition.check();
        for (offset, (name, _)) in &self.holdings {
            assert_eq!(self.partition.holder(*offset), Some(*name), "{offset}");
        }
        let start = self.partition.start_offset();
        for said in self.said.values().flatten() {
            assert!(said.0 >= start, "the start does not go over what is not written");
        }
        assert!(
            self.holdings.keys().all(|offset| *offset >= start),
            "the start goes over what is done alone"
        );
    }

    /// From here on all goes well: one member accepts whatever it gets.
    fn finish(mut self) -> BTreeMap<i64, u32> {
        self.write_begins();
        self.write_ends(true);
        self.now_ms += 1_000;
        self.partition.expire(self.now_ms);
        self.holdings.clear();
        for _ in 0..1_000 {
            while let Some(write) = self.partition.next_write() {
                self.write = Some(write);
                self.write_ends(true);
            }
            let Some(offset) = self.partition.next_fetch_offset().filter(|offset| *offset < OFFSETS) else {
                break;
            };
            let batches = Self::batches_from(offset, OFFSETS);
            if batches.is_empty() {
                break;
            }
            let limits = (500, 500);
            let name = member("a");
            let mode = AcquireMode::BatchOptimized;
            for got in self.partition.acquire(&name, mode, limits, offset, &batches, self.now_ms) {
                for offset in got.first..=got.last {
                    *self.deliveries.entry(offset).or_default() += 1;
                }
                let said = Acknowledgement {
                    first: got.first,
                    last: got.last,
                    types: vec![AcknowledgeType::Accept],
                };
                self.partition.acknowledge("a", &[said], self.now_ms).unwrap();
            }
        }
        assert!(self.partition.start_offset() >= OFFSETS - 3, "{}", self.partition.start_offset());
        self.deliveries
    }
}

#[test]
fn whatever_happens_no_record_is_had_twice_at_once_or_lost() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        let finished: Vec<i64> = world.finished.keys().copied().collect();
        let stored = world.stored.clone();
        let deliveries = world.finish();
        for batch in World::batches_from(0, OFFSETS) {
            for offset in batch.first..=batch.last {
                let is_stored_done = offset < stored.start_offset
                    || stored
                        .batches
                        .iter()
                        .any(|batch| (batch.first..=batch.last).contains(&offset) && batch.state.is_done());
                assert!(
                    deliveries.contains_key(&offset) || finished.contains(&offset) || is_stored_done,
                    "seed {seed}: {offset} was never delivered"
                );
            }
        }
    }
}
