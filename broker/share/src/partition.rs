//! A share partition: one partition as one share group reads it, while this broker leads it.
//!
//! Records between the start offset and the last one fetched are in flight. Each is available, acquired by one member for a
//! while, or done: accepted, or given up. The start offset goes over what is done, never over anything else. What members say
//! takes effect once it is written (by the share coordinator), and what they do not say in time is taken for a release.
//!
//! One write is under way at a time; what is said meanwhile goes into the next one.

mod acknowledge;
mod acquire;
mod caution;
mod runs;

use std::collections::BTreeSet;

use moldau_model::ErrorCode;

use crate::batch::{DeliveryState, StateBatch};
use crate::shard::ReadState;
use runs::{Change, Held, Run, Runs};

pub use acknowledge::{AckOutcome, AckToken, AcknowledgeType, Acknowledgement};
pub use acquire::{AcquireMode, Acquired, FetchedBatch};

/// What a group's settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `group.share.delivery.count.limit`: a record that was delivered so often is not delivered again.
    pub delivery_count_max: i16,
    /// `group.share.partition.max.record.locks`: records in flight. The batch that reaches the limit is taken whole.
    pub records_in_flight_max: i64,
    /// `group.share.record.lock.duration.ms`: how long a member has a record.
    pub lock_duration_ms: i64,
}

/// What is to be written of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWrite {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    /// Records from the start offset on that are done once this is written.
    pub delivery_complete_count: i32,
    pub batches: Vec<StateBatch>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct SharePartition {
    limits: Limits,
    state_epoch: i32,
    leader_epoch: i32,
    start_offset: i64,
    runs: Runs,
    /// The start offset went over something that was never written.
    is_start_dirty: bool,
    is_writing: bool,
    /// Acknowledgements that the next write carries, and those of the one under way.
    waiting_acks: Vec<AckToken>,
    written_acks: Vec<AckToken>,
    next_ack: u64,
}

impl SharePartition {
    /// The share partition as it was read when this broker came to lead in `leader_epoch`. Where nobody has started yet, it
    /// starts at `first_start_offset`.
    #[must_use]
    pub fn new(limits: Limits, leader_epoch: i32, state: &ReadState, first_start_offset: i64) -> Self {
        let is_started = state.start_offset != crate::START_OFFSET_UNKNOWN;
        let start_offset = if is_started { state.start_offset } else { first_start_offset };
        let mut runs = Runs::default();
        for batch in crate::combine(&[], &state.batches, start_offset) {
            let run = Run {
                last: batch.last,
                held: Held::By(batch.state),
                delivery_count: batch.delivery_count,
                change: None,
                is_dirty: false,
            };
            runs.insert(batch.first, run);
        }
        let mut partition = Self {
            limits,
            state_epoch: state.state_epoch,
            leader_epoch,
            start_offset,
            runs,
            is_start_dirty: false,
            is_writing: false,
            waiting_acks: Vec::new(),
            written_acks: Vec::new(),
            next_ack: 0,
        };
        partition.move_start();
        partition
    }

    /// The first offset that is not done.
    #[must_use]
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    #[must_use]
    pub fn state_epoch(&self) -> i32 {
        self.state_epoch
    }

    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Whether a write is under way.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// The group's settings from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Where to read next: the first offset that a member can get. `None` while as many records are in flight as may be.
    #[must_use]
    pub fn next_fetch_offset(&self) -> Option<i64> {
        let mut offset = self.start_offset;
        while let Some((_, run)) = self.runs.at(offset) {
            if run.is_available() {
                return Some(offset);
            }
            offset = run.last + 1;
        }
        let is_beyond = self.runs.end().is_none_or(|end| end < offset);
        (!is_beyond || self.room() > 0).then_some(offset)
    }

    /// How many more records may be in flight.
    fn room(&self) -> i64 {
        let in_flight = self.runs.end().map_or(0, |end| end + 1 - self.start_offset);
        self.limits.records_in_flight_max - in_flight
    }

    /// When [`Self::expire`] has something to do; `None` while nobody has anything.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<i64> {
        let deadlines = self.runs.iter().filter_map(|(_, run)| match &run.held {
            Held::Acquired { deadline_ms, .. } if run.change.is_none() => Some(*deadline_ms),
            Held::Acquired { .. } | Held::By(_) => None,
        });
        deadlines.min()
    }

    /// Takes records back whose time is over. `true` if others can get some.
    pub fn expire(&mut self, now_ms: i64) -> bool {
        self.take_back(|_, deadline_ms| deadline_ms <= now_ms)
    }

    /// A member's session has ended: what it has is taken back. `true` if others can get some.
    pub fn release_member(&mut self, member_id: &str) -> bool {
        self.take_back(|holder, _| holder == member_id)
    }

    /// The log begins later: what lies before is gone. `true` if that changed anything.
    pub fn log_start_moved(&mut self, log_start: i64) -> bool {
        if log_start <= self.start_offset {
            return false;
        }
        self.runs.split_at(log_start);
        while self.runs.first().is_some_and(|(first, _)| first < log_start) {
            self.runs.pop_first();
        }
        self.start_offset = log_start;
        self.is_start_dirty = true;
        self.move_start();
        true
    }

    /// What is to be written now, if anything. It is under way until [`Self::written`] tells what became of it.
    pub fn next_write(&mut self) -> Option<StateWrite> {
        let is_said = |run: &Run| run.change.is_some() || (run.is_dirty && matches!(run.held, Held::By(_)));
        let has_news = self.is_start_dirty || self.runs.iter().any(|(_, run)| is_said(run));
        if self.is_writing || (!has_news && self.waiting_acks.is_empty()) {
            return None;
        }
        let mut batches = Vec::new();
        let mut done = 0i64;
        for (first, run) in self.runs.iter() {
            let state = match (&run.held, run.change) {
                (_, Some(change)) => change.to,
                (Held::By(state), None) => *state,
                (Held::Acquired { .. }, None) => continue,
            };
            if state.is_done() {
                done += run.last + 1 - first;
            }
            if is_said(run) {
                batches.push(StateBatch { first, last: run.last, state, delivery_count: run.delivery_count });
            }
        }
        self.runs.change_all(|run| {
            if let Some(change) = &mut run.change {
                change.is_in_write = true;
            }
            run.is_dirty = false;
        });
        self.is_writing = true;
        self.is_start_dirty = false;
        self.written_acks.append(&mut self.waiting_acks);
        Some(StateWrite {
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: i32::try_from(done).unwrap_or(i32::MAX),
            batches: crate::combine(&[], &batches, self.start_offset),
        })
    }

    /// What became of the write under way. Gives the acknowledgements that it carried, and whether there is something that
    /// members can get. What could not be written was not said: the members have the records still.
    ///
    /// # Panics
    /// If no write is under way.
    pub fn written(&mut self, result: Result<(), ErrorCode>) -> (Vec<AckToken>, bool) {
        assert!(self.is_writing, "a write ends that never began");
        self.is_writing = false;
        self.runs.change_all(|run| {
            if let Some(change) = run.change.take_if(|change| change.is_in_write)
                && result.is_ok()
            {
                run.held = Held::By(change.to);
            }
        });
        self.move_start();
        (std::mem::take(&mut self.written_acks), self.next_fetch_offset().is_some())
    }

    /// Takes records back that a member has. Those that it has said something of are not its any more.
    fn take_back(&mut self, is_over: impl Fn(&str, i64) -> bool) -> bool {
        let delivery_count_max = self.limits.delivery_count_max;
        let mut is_available = false;
        self.runs.change_all(|run| {
            let Held::Acquired { member_id, deadline_ms } = &run.held else { return };
            if run.change.is_none() && is_over(member_id, *deadline_ms) {
                let state = released(run.delivery_count, delivery_count_max);
                is_available |= state == DeliveryState::Available;
                run.held = Held::By(state);
                run.is_dirty = true;
            }
        });
        self.move_start();
        is_available
    }

    /// Goes over what is done at the beginning.
    fn move_start(&mut self) {
        while let Some((first, run)) = self.runs.first()
            && first == self.start_offset
            && run.change.is_none()
            && run.is_done()
        {
            self.start_offset = run.last + 1;
            self.is_start_dirty |= run.is_dirty;
            self.runs.pop_first();
        }
    }

    /// The members that have records.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<&str> {
        let held = self.runs.iter().filter_map(|(_, run)| match &run.held {
            Held::Acquired { member_id, .. } => Some(&**member_id),
            Held::By(_) => None,
        });
        held.collect()
    }

    /// Who has an offset, for tests.
    #[cfg(test)]
    pub(crate) fn holder(&self, offset: i64) -> Option<&str> {
        match &self.runs.at(offset)?.1.held {
            Held::Acquired { member_id, .. } => Some(member_id),
            Held::By(_) => None,
        }
    }

    /// The invariants of the type, for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut before = self.start_offset - 1;
        for (first, run) in self.runs.iter() {
            assert!(first > before && first <= run.last, "runs follow one another, behind the start");
            before = run.last;
            assert!(run.delivery_count >= 0);
            if let Some(change) = run.change {
                assert!(
                    matches!(run.held, Held::Acquired { .. }),
                    "only who has it can say what becomes of it"
                );
                assert!(self.is_writing || !change.is_in_write);
            }
        }
        if let Some((first, run)) = self.runs.first() {
            let is_done = first == self.start_offset && run.change.is_none() && run.is_done();
            assert!(!is_done, "the start goes over what is done");
        }
        assert!(self.is_writing || self.written_acks.is_empty());
    }
}

/// What becomes of records that were given back: delivered often enough, they are given up.
fn released(delivery_count: i16, delivery_count_max: i16) -> DeliveryState {
    if delivery_count >= delivery_count_max { DeliveryState::Archived } else { DeliveryState::Available }
}

/// Said of records, and to be written.
fn change_to(to: DeliveryState) -> Option<Change> {
    Some(Change { to, is_in_write: false })
}
