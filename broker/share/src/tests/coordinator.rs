//! The share coordinator: what is asked, what is written, and what it knows after a load.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::{ErrorCode, LeaderEpoch, Offset};

use super::*;

/// A shard, its clock and its log.
pub(super) struct Harness {
    pub(super) shard: ShareStateShard,
    pub(super) now_ms: i64,
    next_token: u64,
    pub(super) log: Vec<CoordinatorRecord>,
    /// What was deleted of the log.
    pub(super) pruned: usize,
    in_flight: Vec<(AppendId, Vec<CoordinatorRecord>)>,
    answers: BTreeMap<u64, Response>,
}

impl Harness {
    pub(super) fn new() -> Self {
        let config = ShareStateConfig {
            updates_per_snapshot: 2,
            prune_interval_ms: 20_000,
            cold_snapshot_interval_ms: 50_000,
            ..ShareStateConfig::default()
        };
        let mut shard = ShareStateShard::new(Arc::new(config));
        shard.begin_load(LeaderEpoch(5));
        shard.finish_load(0);
        let (log, in_flight) = (Vec::new(), Vec::new());
        Self { shard, now_ms: 1_000, next_token: 0, log, pruned: 0, in_flight, answers: BTreeMap::new() }
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    assert_eq!(self.answers.insert(token.0, response), None, "one answer to each request");
                }
                Output::Append { append_id, leader_epoch, records } => {
                    assert_eq!(leader_epoch, LeaderEpoch(5));
                    self.in_flight.push((append_id, records));
                }
                Output::Prune { before } => {
                    let before = usize::try_from(before.0).unwrap();
                    assert!(
                        self.pruned < before && before <= self.log.len(),
                        "what is committed, and more each time"
                    );
                    self.pruned = before;
                }
            }
        }
    }

    pub(super) fn handle(&mut self, input: Input) {
        let outputs = self.shard.handle(input, self.now_ms);
        self.carry_out(outputs);
    }

    /// Asks, and does not wait.
    pub(super) fn ask(&mut self, request: Request) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.handle(Input::Request { token: RequestToken(token), request: Box::new(request) });
        token
    }

    /// All appends under way are committed in their order, but the last outcome comes first.
    pub(super) fn settle_last_first(&mut self) {
        let appends = std::mem::take(&mut self.in_flight);
        let mut outcomes = Vec::new();
        for (append_id, records) in appends {
            outcomes.push((append_id, Offset(self.log.len() as i64)));
            self.log.extend(records);
        }
        for (append_id, offset) in outcomes.into_iter().rev() {
            self.handle(Input::Appended { append_id, result: Ok(offset) });
        }
    }

    /// All appends under way are committed, or refused.
    pub(super) fn settle(&mut self, result: Result<(), ErrorCode>) {
        while !self.in_flight.is_empty() {
            let (append_id, records) = self.in_flight.remove(0);
            let offset = Offset(self.log.len() as i64);
            if result.is_ok() {
                self.log.extend(records);
            }
            self.handle(Input::Appended { append_id, result: result.map(|()| offset) });
        }
    }

    pub(super) fn answer(&mut self, request: Request) -> Response {
        let token = self.ask(request);
        self.settle(Ok(()));
        self.answers.remove(&token).unwrap()
    }

    fn read(&mut self, leader_epoch: i32) -> Result<ReadState, Refusal> {
        self.read_at(0, leader_epoch)
    }

    pub(super) fn read_at(&mut self, partition: i32, leader_epoch: i32) -> Result<ReadState, Refusal> {
        match self.answer(Request::Read { key: key(partition), leader_epoch }) {
            Response::Read(read) => read,
            other => panic!("{other:?}"),
        }
    }

    fn summary(&mut self) -> StateSummary {
        match self.answer(Request::ReadSummary { key: key(0) }) {
            Response::Summary(Ok(summary)) => summary,
            other => panic!("{other:?}"),
        }
    }

    /// Forgets everything and reads its log.
    pub(super) fn restart(&mut self) {
        self.shard.begin_load(LeaderEpoch(5));
        for (offset, record) in self.log.iter().enumerate().skip(self.pruned) {
            self.shard.replay(Offset(offset as i64), &record.key, record.value.as_deref()).unwrap();
        }
        self.shard.finish_load(self.now_ms);
    }

    /// A restart during which something happens.
    fn restart_with(&mut self, input: Input) {
        self.shard.begin_load(LeaderEpoch(5));
        for (offset, record) in self.log.iter().enumerate().skip(self.pruned) {
            self.shard.replay(Offset(offset as i64), &record.key, record.value.as_deref()).unwrap();
        }
        self.handle(input);
        let outputs = self.shard.finish_load(self.now_ms);
        self.carry_out(outputs);
    }
}

fn initialize(state_epoch: i32, start_offset: i64) -> Request {
    initialize_at(0, state_epoch, start_offset)
}

pub(super) fn initialize_at(partition: i32, state_epoch: i32, start_offset: i64) -> Request {
    Request::Initialize { key: key(partition), state_epoch, start_offset }
}

/// The start offset goes on.
pub(super) fn write_at(partition: i32, state_epoch: i32, start_offset: i64) -> Request {
    Request::Write {
        key: key(partition),
        state_epoch,
        leader_epoch: 0,
        start_offset,
        delivery_complete_count: 0,
        batches: Vec::new(),
    }
}

fn write(state_epoch: i32, leader_epoch: i32, start_offset: i64, batches: &[StateBatch]) -> Request {
    let delivery_complete_count = batches.len() as i32;
    let batches = batches.to_vec();
    Request::Write { key: key(0), state_epoch, leader_epoch, start_offset, delivery_complete_count, batches }
}

fn error_of(response: &Response) -> ErrorCode {
    match response {
        Response::Changed(Err(refusal)) | Response::Read(Err(refusal)) | Response::Summary(Err(refusal)) => {
            refusal.error
        }
        Response::Changed(Ok(())) | Response::Read(Ok(_)) | Response::Summary(Ok(_)) => ErrorCode::None,
    }
}

#[test]
fn what_is_written_is_read_and_survives_a_new_coordinator() {
    let mut harness = Harness::new();
    assert_eq!(harness.answer(initialize(3, -1)), Response::Changed(Ok(())));
    let first = batch(0, 9, DeliveryState::Acknowledged, 1);
    let second = batch(10, 14, DeliveryState::Available, 2);
    let third = batch(12, 12, DeliveryState::Archived, 3);
    for (start_offset, batch) in
        [(0, first), (10, second), (-1, third), (-1, batch(14, 15, DeliveryState::Archived, 1))]
    {
        assert_eq!(harness.answer(write(3, 0, start_offset, &[batch])), Response::Changed(Ok(())));
    }
    let expected = ReadState {
        state_epoch: 3,
        start_offset: 10,
        batches: vec![
            batch(10, 11, DeliveryState::Available, 2),
            third,
            batch(13, 13, DeliveryState::Available, 2),
            batch(14, 15, DeliveryState::Archived, 1),
        ],
    };
    let kinds: Vec<u8> = harness.log.iter().map(|record| record.key[1]).collect();
    assert_eq!(kinds, [0, 1, 1, 0, 1], "after two updates comes a snapshot");
    assert_eq!(harness.read(0), Ok(expected.clone()));
    harness.restart();
    assert_eq!(harness.read(0), Ok(expected));
    assert_eq!(harness.summary().delivery_complete_count, 1);
}

#[test]
fn a_new_leader_ends_the_writes_of_the_one_before() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 7));
    assert_eq!(harness.read(2).unwrap().start_offset, 7);
    assert_eq!(error_of(&harness.answer(write(3, 1, 8, &[]))), ErrorCode::FencedLeaderEpoch);
    assert_eq!(harness.read(1).unwrap_err().error, ErrorCode::FencedLeaderEpoch);
    harness.restart();
    assert_eq!(error_of(&harness.answer(write(3, 1, 8, &[]))), ErrorCode::FencedLeaderEpoch);
    assert_eq!(error_of(&harness.answer(write(3, 2, 8, &[]))), ErrorCode::None);
    assert_eq!(harness.summary().start_offset, 8);
}

#[test]
fn altered_offsets_end_the_writes_of_who_does_not_know_of_them() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, -1));
    harness.answer(write(3, 0, 5, &[batch(5, 9, DeliveryState::Acknowledged, 1)]));
    assert_eq!(harness.answer(initialize(8, 0)), Response::Changed(Ok(())));
    assert_eq!(error_of(&harness.answer(write(3, 0, 10, &[]))), ErrorCode::FencedStateEpoch);
    assert_eq!(error_of(&harness.answer(initialize(7, 0))), ErrorCode::FencedStateEpoch);
    assert_eq!(harness.read(0), Ok(ReadState { state_epoch: 8, start_offset: 0, batches: Vec::new() }));
    assert_eq!(harness.summary().delivery_complete_count, 0);
}

#[test]
fn what_was_not_initialized_cannot_be_read_or_written() {
    let mut harness = Harness::new();
    let read = harness.read(0).unwrap_err();
    assert_eq!(read.error, ErrorCode::InvalidRequest);
    assert_eq!(read.message, "Read operation on uninitialized share partition not allowed.");
    let written = harness.answer(write(0, 0, 0, &[]));
    assert_eq!(error_of(&written), ErrorCode::InvalidRequest);
    assert_eq!(harness.summary().start_offset, START_OFFSET_UNKNOWN);
    assert_eq!(harness.answer(Request::Delete { key: key(0) }), Response::Changed(Ok(())));
    assert_eq!(harness.shard.key_count(), 0, "nothing is kept of what was asked in vain");
    assert_eq!(harness.log, []);
}

#[test]
fn what_is_deleted_is_gone_and_can_begin_anew() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 5));
    assert_eq!(harness.answer(Request::Delete { key: key(0) }), Response::Changed(Ok(())));
    assert_eq!(harness.read(0).unwrap_err().error, ErrorCode::InvalidRequest);
    harness.restart();
    assert_eq!(harness.shard.key_count(), 0);
    assert_eq!(harness.answer(initialize(1, -1)), Response::Changed(Ok(())), "an epoch of its own");
}

#[test]
fn the_state_of_deleted_topics_goes_with_them() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 5));
    let other = TopicId::from_bytes([7; 16]);
    harness.handle(Input::TopicsDeleted(Arc::new(BTreeSet::from([other]))));
    assert_eq!(harness.shard.key_count(), 1);
    let deleted = || Input::TopicsDeleted(Arc::new(BTreeSet::from([TopicId::ONE])));
    harness.handle(deleted());
    harness.settle(Ok(()));
    assert_eq!(harness.shard.key_count(), 0);
    harness.restart();
    assert_eq!(harness.shard.key_count(), 0);
    // While a record of it is on its way it goes after that one.
    let initialized = harness.ask(initialize(3, 5));
    harness.handle(deleted());
    harness.settle(Ok(()));
    assert_eq!(harness.answers[&initialized], Response::Changed(Ok(())));
    harness.settle(Ok(()));
    assert_eq!(harness.shard.key_count(), 0);
    // While it is being loaded it goes after the load.
    harness.answer(initialize(3, 5));
    harness.restart_with(deleted());
    harness.settle(Ok(()));
    assert_eq!(harness.shard.key_count(), 0);
}

#[test]
fn requests_of_one_share_partition_take_effect_one_after_the_other() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 0));
    let written = harness.ask(write(3, 0, 4, &[]));
    let read = harness.ask(Request::Read { key: key(0), leader_epoch: 0 });
    assert!(harness.answers.is_empty(), "nothing is answered before it is written");
    harness.settle(Ok(()));
    assert_eq!(harness.answers[&written], Response::Changed(Ok(())));
    assert!(matches!(&harness.answers[&read], Response::Read(Ok(state)) if state.start_offset == 4));
}

#[test]
fn a_write_that_fails_has_not_happened() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 0));
    let written = harness.ask(write(3, 0, 4, &[]));
    harness.settle(Err(ErrorCode::NotEnoughReplicas));
    assert_eq!(error_of(&harness.answers[&written]), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(harness.summary().start_offset, 0);
}

#[test]
fn who_waits_too_long_is_told_and_the_outcome_counts_when_it_comes() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 0));
    let written = harness.ask(write(3, 0, 4, &[]));
    let behind = harness.ask(write(3, 0, 5, &[]));
    harness.now_ms = harness.shard.next_deadline_ms().unwrap();
    harness.handle(Input::Tick);
    for token in [written, behind] {
        assert_eq!(error_of(&harness.answers[&token]), ErrorCode::CoordinatorNotAvailable);
    }
    harness.settle(Ok(()));
    assert_eq!(harness.summary().start_offset, 4);
    assert!(harness.shard.next_deadline_ms() > Some(harness.now_ms), "nothing waits any more");
}

#[test]
fn a_shard_that_is_not_the_coordinator_says_so() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 0));
    let written = harness.ask(write(3, 0, 4, &[]));
    let behind = harness.ask(write(3, 0, 5, &[]));
    let outputs = harness.shard.unload();
    harness.carry_out(outputs);
    let asked = harness.ask(initialize(3, 0));
    for token in [written, behind, asked] {
        assert_eq!(error_of(&harness.answers[&token]), ErrorCode::NotCoordinator);
    }
    harness.shard.begin_load(LeaderEpoch(6));
    let asked = harness.ask(initialize(3, 0));
    assert_eq!(error_of(&harness.answers[&asked]), ErrorCode::CoordinatorLoadInProgress);
}

#[test]
fn what_has_no_place_in_a_record_is_refused() {
    let mut harness = Harness::new();
    harness.answer(initialize(3, 0));
    for bad in [
        write(3, 0, 0, &[batch(5, 4, DeliveryState::Available, 1)]),
        write(3, 0, 0, &[batch(-1, 4, DeliveryState::Available, 1)]),
        write(3, 0, 0, &[batch(0, 4, DeliveryState::Available, -1)]),
        Request::Delete { key: SharePartitionKey::new("", TopicId::ONE, 0) },
        Request::Delete { key: SharePartitionKey::new("g".repeat(40_000), TopicId::ONE, 0) },
    ] {
        let response = harness.answer(bad);
        assert_eq!(error_of(&response), ErrorCode::InvalidRequest);
    }
}
