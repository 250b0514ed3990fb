//! A reader of what is stable. It reads now from the leader and now from any other replica, and passes over what it is
//! told was aborted.

use std::collections::BTreeSet;

use super::{KnownLeader, send};
use crate::core::Core;
use crate::coverage::Happened;
use crate::log::{Batch, InTransaction};
use crate::message::{Correlation, FromBroker, Part, ToBroker};
use crate::topology::BROKERS;

const REQUEST_MS: i64 = 400;
const POLL_MS: i64 = 60;

/// See the module.
#[derive(Debug)]
pub(crate) struct CommittedReader {
    client: usize,
    part: Part,
    leader: KnownLeader,
    position: i64,
    outstanding: Option<(Correlation, i64)>,
    poll_at: i64,
}

impl CommittedReader {
    pub(crate) fn new(client: usize, part: Part) -> Self {
        Self { client, part, leader: KnownLeader::new(), position: 0, outstanding: None, poll_at: 0 }
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if self.outstanding.is_some_and(|(_, deadline)| core.now > deadline) {
            self.outstanding = None;
            self.leader.look_elsewhere(core, None);
        }
        if self.outstanding.is_some() || core.now < self.poll_at {
            return;
        }
        let broker = match core.random.below(3) {
            0 => core.random.between(1, i64::from(BROKERS)) as i32,
            _ => self.leader.broker,
        };
        let request =
            ToBroker::Fetch { part: self.part, offset: self.position, leader_epoch: -1, is_committed: true };
        let correlation = send(core, self.client, broker, request);
        self.outstanding = Some((correlation, core.now + REQUEST_MS));
        self.poll_at = core.now + POLL_MS;
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        if self.outstanding.is_none_or(|(outstanding, _)| outstanding != correlation) {
            return;
        }
        self.outstanding = None;
        match answer {
            FromBroker::Fetched { batches, aborted, .. } => self.take(core, &batches, aborted),
            FromBroker::Error { hint, .. } => self.leader.look_elsewhere(core, Some(hint)),
            answer => unreachable!("a fetch is answered {answer:?}"),
        }
    }

    fn take(&mut self, core: &mut Core, batches: &[Batch], aborted: Vec<(i64, i64)>) {
        let mut told: Vec<(i64, i64)> =
            aborted.into_iter().map(|(producer, first)| (first, producer)).collect();
        told.sort_unstable();
        let mut told = told.into_iter().peekable();
        let (mut passed_over, mut seen) = (BTreeSet::new(), Vec::new());
        for batch in batches {
            while let Some((_, producer)) = told.next_if(|(first, _)| *first < batch.end()) {
                passed_over.insert(producer);
            }
            let producer = batch.content.sequenced.map_or(-1, |by| by.producer_id);
            match batch.content.in_transaction {
                Some(InTransaction::Marker { is_commit, .. }) => {
                    if !is_commit {
                        passed_over.remove(&producer);
                    }
                }
                Some(InTransaction::Records { .. }) if passed_over.contains(&producer) => {}
                _ => seen.push(batch.content.id),
            }
        }
        let from = self.position;
        self.position = batches.last().map_or(from, Batch::end).max(from);
        core.coverage.note_many(Happened::CommittedRecordsRead, seen.len() as u64);
        core.invariants.read_committed(self.part, (from, self.position), &seen);
    }

    pub(super) fn unfinished(&self, core: &Core) -> Option<String> {
        let end = core.invariants.committed(self.part).end();
        (self.position < end).then(|| {
            format!("a reader of what is stable in {:?} is at {} of {end}", self.part, self.position)
        })
    }
}
