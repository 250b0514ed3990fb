//! Compaction: of each key the last value stays (`cleanup.policy=compact`).
//!
//! Closed segments below an upper bound are read twice: once for the last offset of each key, once to copy what is still
//! wanted into a new file. The new file then takes the place of the old ones by renames, each stage of which a crash may
//! interrupt ([`swap`]).
//!
//! What stays besides the last values: tombstones, for `delete.retention.ms` after their first compaction (KIP-534); the
//! last batch of each producer, if need be without records, for it holds the producer's sequence; control batches and
//! all transactional records, until transactions can be told apart. Base and last offset of a batch never change.

mod filter;
mod key_map;
mod swap;
mod varint;

use std::io;

use moldau_model::{Offset, TimestampMs};

use crate::segment::{BatchReader, Segment};
use crate::{CleanReport, LogError, PartitionLog};
use filter::{Fate, Filter};
use key_map::KeyMap;
pub(crate) use swap::finish_swaps;

/// The cleaned bytes are written in pieces of this size.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// The most keys that one pass looks at: some 50 MB. A log with more is compacted in several passes.
const KEYS_MAX: usize = 1 << 20;

/// A run of segments that becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    first: usize,
    count: usize,
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
    /// Reads and writes files and blocks on syncs, holding `&mut self` all the while: for the small, hot internal
    /// topics that is a matter of milliseconds.
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
        self.check_online()?;
        let path = self.directory().to_owned();
        let cleanable = self.cleanable_segments(upper_bound, now);
        let keys = self.collect_keys(cleanable, keys_max).map_err(LogError::io(&path))?;
        let mut report = CleanReport { first_dirty_offset: keys.end_offset(), ..CleanReport::default() };
        let to_clean = self
            .segments()
            .iter()
            .take(cleanable)
            .take_while(|segment| segment.base_offset() < keys.end_offset())
            .count();
        // The oldest first: a tombstone must not go before the values that it hides, nor may a crash find it so.
        let mut merged = 0;
        for group in self.group(to_clean) {
            let group = Group { first: group.first - merged, ..group };
            self.clean_group(group, &keys, now, &mut report).map_err(LogError::io(&path))?;
            merged += group.count - 1;
        }
        self.set_first_dirty_offset(keys.end_offset());
        Ok(report)
    }

    /// The last offset of each key in what was not compacted yet.
    fn collect_keys(&self, cleanable: usize, keys_max: usize) -> io::Result<KeyMap> {
        let mut keys = KeyMap::new(self.first_dirty_offset().max(self.log_start_offset()), keys_max);
        for (number, segment) in self.segments().iter().enumerate().take(cleanable) {
            let end = self.segments().get(number + 1).map_or(segment.base_offset(), Segment::base_offset);
            if end <= keys.end_offset() {
                continue;
            }
            let file = segment.file()?;
            let mut reader = BatchReader::new(&*file, segment.size_bytes());
            while let Some((_, batch)) = reader.next()? {
                if batch.last_offset() >= keys.end_offset() && !keys.add_batch(&batch) {
                    return Ok(keys);
                }
            }
            if reader.position < segment.size_bytes() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a segment to be compacted cannot be read",
                ));
            }
            keys.set_end_offset(end);
        }
        Ok(keys)
    }

    /// Joins neighbours as long as the sum stays within one segment.
    fn group(&self, to_clean: usize) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let (mut base, mut bytes) = (Offset::ZERO, 0);
        for (number, segment) in self.segments().iter().enumerate().take(to_clean) {
            let end = self.segments().get(number + 1).map_or(segment.base_offset(), Segment::base_offset);
            let fits = bytes + segment.size_bytes() <= u64::from(self.config().segment_bytes)
                && end.minus(base) <= i64::from(i32::MAX);
            match groups.last_mut() {
                Some(group) if fits => {
                    group.count += 1;
                    bytes += segment.size_bytes();
                }
                _ => {
                    groups.push(Group { first: number, count: 1 });
                    base = segment.base_offset();
                    bytes = segment.size_bytes();
                }
            }
        }
        groups
    }

    fn clean_group(
        &mut self,
        group: Group,
        keys: &KeyMap,
        now: TimestampMs,
        report: &mut CleanReport,
    ) -> io::Result<()> {
        let result = self.write_cleaned(group, keys, now, report);
        let Some(base) = self.segments().get(group.first).map(Segment::base_offset) else { return Ok(()) };
        if let Err(error) = result {
            self.discard_cleaned(base);
            return Err(error);
        }
        report.segments_cleaned += group.count;
        let swapped = self.swap_in(group.first, group.count, now);
        if let Err(error) = &swapped {
            // Some of the renames were done: only an open from the disk can tell what the log is now.
            self.poison(format!("compaction stopped half way: {error}").into());
        }
        swapped
    }

    fn write_cleaned(
        &self,
        group: Group,
        keys: &KeyMap,
        now: TimestampMs,
        report: &mut CleanReport,
    ) -> io::Result<()> {
        let segments = self.segments().iter().skip(group.first).take(group.count);
        let Some(base) = segments.clone().next().map(Segment::base_offset) else { return Ok(()) };
        let target = self.create_cleaned(base)?;
        let filter = Filter {
            keys,
            producers: self.producers(),
            now,
            delete_retention_ms: self.config().delete_retention_ms,
        };
        let mut out = Vec::with_capacity(WRITE_BUFFER_BYTES);
        let mut position = 0;
        for segment in segments {
            report.bytes_before += segment.size_bytes();
            let file = segment.file()?;
            let mut reader = BatchReader::new(&*file, segment.size_bytes());
            while let Some((_, batch)) = reader.next()? {
                batch.check_crc().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                match filter.batch(&batch, report) {
                    Fate::Keep => out.extend_from_slice(batch.bytes()),
                    Fate::Rewrite(bytes) => out.extend_from_slice(&bytes),
                    Fate::Drop => {}
                }
                if out.len() >= WRITE_BUFFER_BYTES {
                    target.write_all_at(&out, position)?;
                    position += out.len() as u64;
                    out.clear();
                }
            }
            if reader.position < segment.size_bytes() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a segment to be compacted cannot be read",
                ));
            }
        }
        target.write_all_at(&out, position)?;
        report.bytes_after += position + out.len() as u64;
        target.sync_data()
    }
}
