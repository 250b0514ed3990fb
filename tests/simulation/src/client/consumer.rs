//! Reads one partition from its beginning to its end.

use moldau_model::ErrorCode;

use super::{KnownLeader, send};
use crate::core::Core;
use crate::coverage::Happened;
use crate::message::{Correlation, FromBroker, Part, ToBroker};

const REQUEST_MS: i64 = 400;
const POLL_MS: i64 = 60;

/// See the module.
#[derive(Debug)]
pub(crate) struct Consumer {
    client: usize,
    part: Part,
    leader: KnownLeader,
    position: i64,
    outstanding: Option<(Correlation, i64)>,
    poll_at: i64,
}

impl Consumer {
    pub(crate) fn new(client: usize, part: Part) -> Self {
        let leader = KnownLeader::new();
        Self { client, part, leader, position: 0, outstanding: None, poll_at: 0 }
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if self.outstanding.is_some_and(|(_, deadline)| core.now > deadline) {
            self.outstanding = None;
            self.leader.look_elsewhere(core, None);
        }
        if self.outstanding.is_some() || core.now < self.poll_at {
            return;
        }
        let (part, offset, leader_epoch) = (self.part, self.position, self.leader.epoch);
        let request = ToBroker::Fetch { part, offset, leader_epoch, is_committed: false };
        let correlation = send(core, self.client, self.leader.broker, request);
        self.outstanding = Some((correlation, core.now + REQUEST_MS));
        self.poll_at = core.now + POLL_MS;
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        if self.outstanding.is_none_or(|(outstanding, _)| outstanding != correlation) {
            return;
        }
        self.outstanding = None;
        match answer {
            FromBroker::Fetched { batches, leader_epoch, .. } => {
                self.leader.epoch = self.leader.epoch.max(leader_epoch);
                for batch in &batches {
                    core.coverage.note(Happened::RecordsConsumed);
                    self.position = self.position.max(batch.end());
                }
            }
            FromBroker::Error { code, hint } => {
                if code == ErrorCode::OffsetOutOfRange && !self.part.elects_cleanly() {
                    // After an unclean election what was read may not be there any more.
                    self.position = 0;
                }
                self.leader.look_elsewhere(core, Some(hint));
            }
            answer => unreachable!("a fetch is answered {answer:?}"),
        }
    }

    pub(super) fn unfinished(&self, core: &Core) -> Option<String> {
        let end = core.invariants.committed(self.part).end();
        let is_there = core.invariants.committed(self.part).is_given_up() || self.position >= end;
        (!is_there).then(|| format!("a consumer of {:?} is at {} of {end}", self.part, self.position))
    }
}
