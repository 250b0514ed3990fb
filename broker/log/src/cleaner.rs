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

use moldau_model::{Offset, TimestampMs};

use crate::segment::Segment;
use crate::{CleanReport, LogError, PartitionLog};
pub use cleaning::Cleaning;
pub(crate) use swap::finish_swaps;

/// The most keys that one pass looks at: some 50 MB. A log with more is compacted in several passes.
const KEYS_MAX: usize = 1 << 20;

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

    /// Whether a compacted log has enough to gain from [`PartitionLog::clean`]: `min.cleanable.dirty.ratio` of its
    /// closed bytes were not compacted yet, or one of those records is older than `max.compaction.lag.ms`.
    #[must_use]
    pub fn is_cleaning_due(&self, upper_bound: Offset, now: TimestampMs) -> bool {
        if !self.config().cleanup_policy.compact {
            return false;
        }
        let (mut dirty_bytes, mut bytes) = (0, 0);
        let mut overdue = false;
        for segment in self.segments().iter().take(self.cleanable_segments(upper_bound, now)) {
            bytes += segment.size_bytes();
            if segment.base_offset() >= self.first_dirty_offset() && segment.size_bytes() > 0 {
                dirty_bytes += segment.size_bytes();
                let born = segment.born().unwrap_or(segment.max_timestamp());
                overdue |= born.0 >= 0 && now.0.saturating_sub(born.0) > self.config().max_compaction_lag_ms;
            }
        }
        dirty_bytes > 0
            && (overdue || dirty_bytes as f64 >= self.config().min_cleanable_dirty_ratio * bytes as f64)
    }

    /// Compacts closed segments below `upper_bound` (the high watermark at most): of each key the last value stays.
    /// Reads and writes files and blocks on syncs, holding `&mut self` all the while; [`PartitionLog::begin_clean`] is for
    /// those who cannot afford that.
    pub fn clean(&mut self, upper_bound: Offset, now: TimestampMs) -> Result<CleanReport, LogError> {
        self.clean_at_most(upper_bound, now, KEYS_MAX)
    }

    /// The same with memory for `keys_max` keys (a hundred bytes each). What lies behind them waits for the next pass.
    pub fn clean_at_most(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
        keys_max: usize,
    ) -> Result<CleanReport, LogError> {
        let mut cleaning = self.begin(upper_bound, now, keys_max)?;
        while cleaning.run()? {
            self.install_cleaned(&mut cleaning, now)?;
        }
        Ok(self.complete_clean(cleaning))
    }

    /// Plans a pass over what is closed below `upper_bound`; `None` while another one is out. Then, as long as
    /// [`Cleaning::run`] (without the lock) says that there is something, [`PartitionLog::install_cleaned`] (under it),
    /// and [`PartitionLog::complete_clean`] at the end.
    pub fn begin_clean(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
    ) -> Result<Option<Cleaning>, LogError> {
        if self.is_being_cleaned() {
            return Ok(None);
        }
        self.begin(upper_bound, now, KEYS_MAX).map(Some)
    }

    fn begin(
        &mut self,
        upper_bound: Offset,
        now: TimestampMs,
        keys_max: usize,
    ) -> Result<Cleaning, LogError> {
        self.check_online()?;
        let cleanable = self.cleanable_segments(upper_bound, now);
        Cleaning::plan(self, cleanable, now, keys_max)
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

    /// Ends a pass: what it looked at counts as compacted, if all of it was installed.
    pub fn complete_clean(&mut self, cleaning: Cleaning) -> CleanReport {
        let report = cleaning.report();
        if cleaning.is_complete(self) {
            self.set_first_dirty_offset(report.first_dirty_offset.max(self.first_dirty_offset()));
        }
        report
    }
}
