//! Offsets in a row that are in the same state: a run. Runs do not overlap; between them lie offsets that nobody has fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::DeliveryState;

/// What is with the records of a run just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nobody has them, and what is to become of them is known.
    By(DeliveryState),
    /// A member has them until the deadline.
    Acquired { member_id: Arc<str>, deadline_ms: i64 },
}

/// What a member said of records, until it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) to: DeliveryState,
    /// Whether the write that is under way carries it.
    pub(super) is_in_write: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) last: i64,
    pub(super) held: Held,
    pub(super) delivery_count: i16,
    pub(super) change: Option<Change>,
    /// What it is has not been written.
    pub(super) is_dirty: bool,
}

impl Run {
    /// Whether a member can get them.
    pub(super) fn is_available(&self) -> bool {
        self.change.is_none() && self.held == Held::By(DeliveryState::Available)
    }

    /// Whether nothing is to be done with them any more.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.held, Held::By(state) if state.is_done())
    }

    fn is_like(&self, other: &Self) -> bool {
        self.held == other.held
            && self.delivery_count == other.delivery_count
            && self.change == other.change
            && self.is_dirty == other.is_dirty
    }
}

/// Runs by their first offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(BTreeMap<i64, Run>);

impl Runs {
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Run)> {
        self.0.iter().map(|(first, run)| (*first, run))
    }

    pub(super) fn first(&self) -> Option<(i64, &Run)> {
        self.0.first_key_value().map(|(first, run)| (*first, run))
    }

    pub(super) fn pop_first(&mut self) -> Option<(i64, Run)> {
        self.0.pop_first()
    }

    /// The last offset of all.
    pub(super) fn end(&self) -> Option<i64> {
        self.0.last_key_value().map(|(_, run)| run.last)
    }

    /// The run that an offset lies in.
    pub(super) fn at(&self, offset: i64) -> Option<(i64, &Run)> {
        let (first, run) = self.0.range(..=offset).next_back()?;
        (offset <= run.last).then_some((*first, run))
    }

    /// The first run that begins after an offset.
    pub(super) fn after(&self, offset: i64) -> Option<(i64, &Run)> {
        self.0.range(offset + 1..).next().map(|(first, run)| (*first, run))
    }

    /// Makes a new run of offsets that lie in none.
    ///
    /// # Panics
    /// If they do.
    pub(super) fn insert(&mut self, first: i64, run: Run) {
        assert!(first <= run.last, "a run has offsets");
        let is_free = self.0.range(..=run.last).next_back().is_none_or(|(_, before)| before.last < first);
        assert!(is_free, "runs do not overlap");
        self.0.insert(first, run);
    }

    /// Changes all runs between two offsets, both included, and no other offset.
    pub(super) fn change(&mut self, first: i64, last: i64, mut change: impl FnMut(&mut Run)) {
        self.split_at(first);
        self.split_at(last.saturating_add(1));
        self.0.range_mut(first..=last).for_each(|(_, run)| change(run));
        self.merge(first - 1, last);
    }

    /// Changes all runs.
    pub(super) fn change_all(&mut self, change: impl FnMut(&mut Run)) {
        let Some((first, _)) = self.first() else { return };
        let Some(end) = self.end() else { return };
        self.change(first, end, change);
    }

    /// Sees to it that a run begins here, if the offset lies in one.
    pub(super) fn split_at(&mut self, offset: i64) {
        let Some((first, run)) = self.0.range_mut(..offset).next_back() else { return };
        if *first < offset && offset <= run.last {
            let behind = run.clone();
            run.last = offset - 1;
            self.0.insert(offset, behind);
        }
    }

    /// Makes one run of neighbours that are alike, from the run that an offset lies in up to the one behind another.
    fn merge(&mut self, from: i64, to: i64) {
        let begin = self.at(from).map_or(from, |(first, _)| first);
        let firsts: Vec<i64> = self.0.range(begin..=to.saturating_add(1)).map(|(first, _)| *first).collect();
        let mut kept: Option<i64> = None;
        for first in firsts {
            let previous = kept.and_then(|kept| self.0.get(&kept));
            let continues = previous.is_some_and(|previous| {
                previous.last + 1 == first && self.0.get(&first).is_some_and(|run| previous.is_like(run))
            });
            if !continues {
                kept = Some(first);
            } else if let (Some(run), Some(kept)) = (self.0.remove(&first), kept)
                && let Some(previous) = self.0.get_mut(&kept)
            {
                previous.last = run.last;
            }
        }
    }
}
