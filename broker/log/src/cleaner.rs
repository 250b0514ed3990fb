//! Compaction: of each key the last value stays (`cleanup.policy=compact`).
//!
//! Closed segments below an upper bound are read twice: once for the last offset of each key, once to copy what is still
//! wanted into a new file. The new file then takes the place of the old ones by renames, each stage of which a crash may
//! interrupt ([`swap`]).
//!
//! Reading and copying take as long as there is to read, so they happen in a [`Cleaning`], without the partition's lock:
//! closed segments change by retention and truncation only, and what was copied meanwhile is then thrown away. Only the
//! renames need the lock.
//!
//! What stays besides the last values: tombstones, for `delete.retention.ms` after their first compaction (KIP-534); the
//! last batch of each producer, if need be without records, for it holds the producer's sequence; the end of a transaction
//! while a batch of it is left, and `delete.retention.ms` more. Records of aborted transactions go. Base and last offset of
//! a batch never change.

mod cleaning;
mod filter;
mod key_map;
mod swap;
mod transactions;
mod varint;

use std::ops::ControlFlow;

use moldau_model::{Offset, TimestampMs};

use crate::segment::Segment;
use crate::{CleanReport, LogError, PartitionLog};
pub use cleaning::Cleaning;
pub(crate) use swap::finish_swaps;

/// What a pass may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerBudget {
    /// Memory for the last offset of each key, 24 bytes each. A log with more keys is compacted in several passes.
    pub key_bytes: usize,
    /// How full that memory may be.
    pub key_load_factor: f64,
    /// How much is read, and written, at once.
    pub buffer_bytes: usize,
}

impl Default for CleanerBudget {
    /// Kafka's, for one thread.
    fn default() -> Self {
        Self { key_bytes: 128 << 20, key_load_factor: 0.9, buffer_bytes: 256 << 10 }
    }
}

/// Is told of every so many bytes that a pass has read or written, without any lock, and may take its time. `Break` ends
/// the pass.
pub type CleanerPace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// How much there is in a log for the cleaner, which is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirtiness {
    /// Of closed segments with something in them that was not compacted yet.
    pub dirty_bytes: u64,
    /// Of the compacted ones before them.
    pub clean_bytes: u64,
}

impl Dirtiness {
    /// The share of the dirty bytes: the log with the greatest is compacted first.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.dirty_bytes + self.clean_bytes).max(1) as f64
    }
}

impl PartitionLog {
    /// How many of the oldest segments may be cleaned: closed, below the bound, and as old as `min.compaction.lag.ms`.
    fn cleanable_segments(&self, upper_bound: Offset, now: TimestampMs) -> usize {
        let upper_bound = upper_bound.min(self.last_stable_offset(upper_bound));
        let lag_ms = self.config().min_compaction_lag_ms;
        let segments = self.segments();
        let closed = segments.len().saturating_sub(1);
        (0..closed)
            .take_while(|number| {
                let end = segments.get(number + 1).map_or(Offset::NONE, Segment::base_offset);
                let youngest = segments.get(*number).map_or(TimestampMs::NONE, Segment::max_timestamp);
                end <= upper_bound && (lag_ms <= 0 || now.0.saturating_sub(youngest.0) >= lag_ms)
            })
            .count()
    }

    /// Whether a compacted log has enough to gain from [`PartitionLog::clean`], and how much: more than
    /// `min.cleanable.dirty.ratio` of its closed bytes were not compacted yet, or one of those records is older than
    /// `max.compaction.lag.ms`. `None` also while a pass is out.
    #[must_use]
    pub fn dirtiness(&self, upper_bound: Offset, now: TimestampMs) -> Option<Dirtiness> {
        if !self.config().cleanup_policy.compact || self.is_being_cleaned() {
            return None;
        }
        let mut found = Dirtiness { dirty_bytes: 0, clean_bytes: 0 };
        let mut is_overdue = false;
        let cleanable = self.cleanable_segments(upper_bound, now);
        let ends = self.segments().iter().skip(1).map(Segment::base_offset);
        for (segment, end) in self.segments().iter().zip(ends).take(cleanable) {
            // Where the keys of one segment are too many for a pass, the next one begins in its middle.
            if end <= self.first_dirty_offset() || segment.size_bytes() == 0 {
                found.clean_bytes += segment.size_bytes();
                continue;
            }
            found.dirty_bytes += segment.size_bytes();
            let born = segment.born().unwrap_or(segment.max_timestamp());
            is_overdue |= born.0 >= 0 && now.0.saturating_sub(born.0) > self.config().max_compaction_lag_ms;
        }
        let is_enough = is_overdue || found.ratio() > self.config().min_cleanable_dirty_ratio;
        (found.dirty_bytes > 0 && is_enough).then_some(found)
    }

    /// Compacts closed segments below `upper_bound` (the high watermark at most): of each key the last value stays.
    /// Reads and writes files and blocks on syncs, holding `&mut self` all the while; [`PartitionLog::begin_clean`] is for
    /// those who cannot afford that.
    pub fn clean(&mut self, upper_bound: Offset, now: TimestampMs) -> Result<CleanReport, LogError> {
        self.clean_within(upper_bound, now, CleanerBudget::default())
    }

    /// The same within a budget. What does not fit into it waits for the next pass.
    pub fn clean_within(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
        budget: CleanerBudget,
    ) -> Result<CleanReport, LogError> {
        let mut cleaning = self.begin(upper_bound, now, budget)?;
        while cleaning.run(&mut |_| ControlFlow::Continue(()))? {
            self.install_cleaned(&mut cleaning, now)?;
        }
        self.complete_clean(cleaning)
    }

    /// Plans a pass over what is closed below `upper_bound`; `None` while another one is out. Then, as long as
    /// [`Cleaning::run`] (without the lock) says that there is something, [`PartitionLog::install_cleaned`] (under it),
    /// and [`PartitionLog::complete_clean`] at the end.
    pub fn begin_clean(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
        budget: CleanerBudget,
    ) -> Result<Option<Cleaning>, LogError> {
        if self.is_being_cleaned() {
            return Ok(None);
        }
        self.begin(upper_bound, now, budget).map(Some)
    }

    fn begin(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
        budget: CleanerBudget,
    ) -> Result<Cleaning, LogError> {
        self.check_online()?;
        let cleanable = self.cleanable_segments(upper_bound, now);
        Cleaning::plan(self, cleanable, now, budget)
    }

    /// Puts what the last [`Cleaning::run`] wrote in the place of what it was made from. Blocks on two syncs of the
    /// directory. If the log was cut or shortened meanwhile, nothing is done, now and for the rest of the pass.
    pub fn install_cleaned(&mut self, cleaning: &mut Cleaning, now: TimestampMs) -> Result<(), LogError> {
        let Some(group) = cleaning.take_written() else { return Ok(()) };
        self.check_online()?;
        let Some(first) = cleaning.still_holds(self, &group) else {
            self.discard_cleaned(group.base_offset());
            cleaning.stop();
            return Ok(());
        };
        if let Err(error) = self.swap_in(first, group.count(), now) {
            // Some of the renames were done: only an open from the disk can tell what the log is now.
            self.fail(format!("compaction stopped half way: {error}").into());
            return Err(LogError::io(self.directory())(error));
        }
        cleaning.installed(&group);
        Ok(())
    }

    /// Ends a pass: what it looked at counts as compacted, if all of it was installed, also after a restart
    /// (`cleaner-offset-checkpoint`). Blocks on a sync.
    ///
    /// # Errors
    /// If the checkpoint cannot be written. The next start then compacts what is compact already.
    pub fn complete_clean(&mut self, cleaning: Cleaning) -> Result<CleanReport, LogError> {
        let report = cleaning.report();
        if cleaning.is_complete(self) && report.first_dirty_offset > self.first_dirty_offset() {
            self.set_first_dirty_offset(report.first_dirty_offset);
            self.checkpoint_first_dirty().map_err(LogError::io(self.directory()))?;
        }
        Ok(report)
    }
}
