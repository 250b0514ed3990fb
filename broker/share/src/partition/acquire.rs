//! Records go to a member.

use std::sync::Arc;

use super::SharePartition;
use super::caution::Caution;
use super::runs::{Held, Run};
use crate::batch::DeliveryState;

/// How strictly the number of records is taken (KIP-1206).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireMode {
    /// Batches are not cut.
    BatchOptimized,
    /// Not one record more.
    RecordLimit,
}

/// A record batch that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchedBatch {
    pub first: i64,
    pub last: i64,
    /// Nobody is to see it: its transaction was aborted, and the group reads committed records.
    pub is_hidden: bool,
}

/// Records that a member got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub first: i64,
    pub last: i64,
    /// How often they have been delivered, with this time.
    pub delivery_count: i16,
}

impl SharePartition {
    /// Gives a member what it can get of what was read from `fetch_offset` on, at most about `records_max` records. What lies
    /// between batches is in no log any more.
    ///
    /// Records that were delivered often are delivered with fewer and fewer others, at last alone (see [`Caution`]).
    ///
    /// Records of `batch_size` or fewer that follow one another, and were delivered as often, are told of together.
    pub fn acquire(
        &mut self,
        member_id: &Arc<str>,
        mode: AcquireMode,
        (records_max, batch_size): (i64, i64),
        fetch_offset: i64,
        batches: &[FetchedBatch],
        now_ms: i64,
    ) -> Vec<Acquired> {
        let mut acquired: Vec<Acquired> = Vec::new();
        let deadline_ms = now_ms.saturating_add(self.limits.lock_duration_ms);
        let mut left = records_max;
        let mut count = 0;
        // Up to here everything was looked at.
        let mut looked = fetch_offset.max(self.start_offset);
        'batches: for batch in batches {
            if left <= 0 {
                break;
            }
            self.archive_unfetched(looked, batch.first - 1);
            looked = looked.max(batch.last + 1);
            if batch.is_hidden {
                self.archive_unfetched(batch.first, batch.last);
                continue;
            }
            let mut offset = batch.first.max(self.start_offset);
            let mut caution = Caution::new(self.limits.delivery_count_max, batch, count);
            while offset <= batch.last && left > 0 {
                let (last, is_free, delivery_count) = self.at_hand(offset, batch.last);
                if !is_free {
                    offset = last + 1;
                    continue;
                }
                let is_new = self.runs.end().is_none_or(|end| end < offset);
                if is_new && self.room() <= 0 {
                    break 'batches;
                }
                let last = if mode == AcquireMode::RecordLimit { last.min(offset + left - 1) } else { last };
                let room = caution.room(delivery_count, count);
                if room <= 0 {
                    break 'batches;
                }
                let last = last.min(offset.saturating_add(room - 1));
                let got = Acquired { first: offset, last, delivery_count: delivery_count + 1 };
                self.hand_out(&got, member_id, deadline_ms);
                add(&mut acquired, got, batch_size);
                count += last + 1 - offset;
                if mode == AcquireMode::RecordLimit {
                    left = records_max - count;
                }
                offset = last + 1;
            }
            if caution.is_taken() {
                break;
            }
            left = records_max - count;
        }
        self.move_start();
        acquired
    }

    /// How far offsets are alike from here on, whether a member can get them, and how often they were delivered.
    fn at_hand(&self, offset: i64, last: i64) -> (i64, bool, i16) {
        match self.runs.at(offset) {
            Some((_, run)) => (run.last.min(last), run.is_available(), run.delivery_count),
            None => (self.runs.after(offset).map_or(last, |(next, _)| last.min(next - 1)), true, 0),
        }
    }

    fn hand_out(&mut self, got: &Acquired, member_id: &Arc<str>, deadline_ms: i64) {
        let held = Held::Acquired { member_id: Arc::clone(member_id), deadline_ms };
        if self.runs.at(got.first).is_none() {
            let run = Run {
                last: got.last,
                held: Held::By(DeliveryState::Available),
                delivery_count: 0,
                change: None,
                is_dirty: false,
            };
            self.runs.insert(got.first, run);
        }
        self.runs.change(got.first, got.last, |run| {
            run.held = held.clone();
            run.delivery_count = got.delivery_count;
            run.is_dirty = false;
        });
    }

    /// What was never fetched between two offsets, both included, holds no record for anybody.
    fn archive_unfetched(&mut self, first: i64, last: i64) {
        let mut offset = first.max(self.start_offset);
        while offset <= last {
            let next = match self.runs.at(offset) {
                Some((_, run)) => run.last + 1,
                None => {
                    let until = self.runs.after(offset).map_or(last, |(next, _)| last.min(next - 1));
                    let run = Run {
                        last: until,
                        held: Held::By(DeliveryState::Archived),
                        delivery_count: 0,
                        change: None,
                        is_dirty: true,
                    };
                    self.runs.insert(offset, run);
                    until + 1
                }
            };
            offset = next;
        }
    }
}

fn add(acquired: &mut Vec<Acquired>, got: Acquired, batch_size: i64) {
    match acquired.last_mut() {
        Some(last)
            if last.last + 1 == got.first
                && last.delivery_count == got.delivery_count
                && got.last + 1 - last.first <= batch_size =>
        {
            last.last = got.last;
        }
        _ => acquired.push(got),
    }
}
