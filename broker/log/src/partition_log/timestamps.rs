//! Finding records by time (ListOffsets).

use moldau_model::{Offset, TimestampMs};
use moldau_record::{BatchView, DecompressLimit};

use super::{PartitionLog, TimestampOffset};
use crate::batch_header::{BatchHeader, HeaderWalk, LOOKUP_BUFFER_BYTES, WALK_BUFFER_BYTES};
use crate::segment::Segment;
use crate::{File, ReadError};

/// A batch is decompressed to find one record in it; beyond this the batch's first record is named instead.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

impl PartitionLog {
    /// The first record below `upper_bound` whose timestamp is at least `timestamp`.
    pub fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_readable()?;
        for segment in self.segments_below(upper_bound) {
            if segment.max_timestamp() < timestamp {
                continue;
            }
            let from = segment.search_start(timestamp)?;
            if let Some(found) = self.search(segment, from, timestamp, upper_bound)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp below `upper_bound` (KIP-734).
    pub fn max_timestamp_offset(&self, upper_bound: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        self.check_readable()?;
        let mut best: Option<(TimestampMs, &Segment)> = None;
        for segment in self.segments_below(upper_bound) {
            let youngest = self.max_timestamp_below(segment, upper_bound)?;
            if youngest.0 >= 0 && best.is_none_or(|(timestamp, _)| youngest > timestamp) {
                best = Some((youngest, segment));
            }
        }
        let Some((timestamp, segment)) = best else { return Ok(None) };
        let from = segment.search_start(timestamp)?;
        match self.search(segment, from, timestamp, upper_bound)? {
            Some(found) => Ok(Some(found)),
            // The batch that has it lies across the log start, and the record itself before.
            None => self.max_timestamp_of_records(upper_bound),
        }
    }

    /// The same by looking at every batch, and into those of which only a part may be seen.
    fn max_timestamp_of_records(&self, upper_bound: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let mut best: Option<TimestampOffset> = None;
        for segment in self.segments_below(upper_bound) {
            let file = segment.file()?;
            let mut walk = HeaderWalk::new(&*file, 0, segment.size_bytes(), WALK_BUFFER_BYTES);
            while let Some((position, header)) = walk.next().map_err(|error| segment.read_error(error))? {
                let known = best.map_or(TimestampMs(-1), |best| best.timestamp);
                let outside =
                    header.last_offset() < self.log_start_offset || header.base_offset >= upper_bound;
                if outside || header.max_timestamp <= known {
                    continue;
                }
                let found = self.youngest_in_batch(&*file, position, &header, upper_bound)?;
                best = found.filter(|found| found.timestamp > known).or(best);
            }
        }
        Ok(best)
    }

    fn segments_below(&self, upper_bound: Offset) -> impl Iterator<Item = &Segment> {
        // A log without files has nothing to look at.
        let first = if self.is_declared_only() { 1 } else { self.segment_at(self.log_start_offset) };
        self.segments.iter().skip(first).take_while(move |segment| segment.base_offset() < upper_bound)
    }

    /// The segment's own maximum, unless its batch lies outside of what may be seen: then its headers are walked.
    fn max_timestamp_below(&self, segment: &Segment, upper_bound: Offset) -> Result<TimestampMs, ReadError> {
        let at = segment.max_timestamp_offset();
        if at < upper_bound && at >= self.log_start_offset {
            return Ok(segment.max_timestamp());
        }
        let file = segment.file()?;
        let mut walk = HeaderWalk::new(&*file, 0, segment.size_bytes(), LOOKUP_BUFFER_BYTES);
        let mut youngest = TimestampMs::NONE;
        while let Some((_, header)) = walk.next().map_err(|error| segment.read_error(error))? {
            if header.base_offset >= upper_bound {
                break;
            }
            if header.last_offset() >= self.log_start_offset {
                youngest = youngest.max(header.max_timestamp);
            }
        }
        Ok(youngest)
    }

    fn search(
        &self,
        segment: &Segment,
        from: u64,
        timestamp: TimestampMs,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let file = segment.file()?;
        let mut walk = HeaderWalk::new(&*file, from, segment.size_bytes(), LOOKUP_BUFFER_BYTES);
        while let Some((position, header)) = walk.next().map_err(|error| segment.read_error(error))? {
            if header.base_offset >= upper_bound {
                break;
            }
            if header.max_timestamp < timestamp || header.last_offset() < self.log_start_offset {
                continue;
            }
            if let Some(found) = self.search_batch(&*file, position, &header, timestamp, upper_bound)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first visible record of a batch that is at least as young.
    fn search_batch(
        &self,
        file: &dyn File,
        position: u64,
        header: &BatchHeader,
        timestamp: TimestampMs,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut found = None;
        self.each_visible(file, position, header, upper_bound, |record| {
            if record.timestamp >= timestamp {
                found = Some(record);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    fn youngest_in_batch(
        &self,
        file: &dyn File,
        position: u64,
        header: &BatchHeader,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut youngest: Option<TimestampOffset> = None;
        self.each_visible(file, position, header, upper_bound, |record| {
            if youngest.is_none_or(|youngest| record.timestamp > youngest.timestamp) {
                youngest = Some(record);
            }
            true
        })?;
        Ok(youngest)
    }

    /// Gives the records that may be seen to `each` until that returns `false`. A batch whose records cannot be read
    /// still has a place and a time.
    fn each_visible(
        &self,
        file: &dyn File,
        position: u64,
        header: &BatchHeader,
        upper_bound: Offset,
        mut each: impl FnMut(TimestampOffset) -> bool,
    ) -> Result<(), ReadError> {
        let mut bytes = vec![0; header.size_bytes as usize];
        file.read_exact_at(&mut bytes, position)?;
        let found =
            |timestamp, offset| TimestampOffset { timestamp, offset, leader_epoch: header.leader_epoch };
        let whole = found(header.max_timestamp, header.base_offset.max(self.log_start_offset));
        let batch = BatchView::first(&bytes).ok();
        let records = batch.and_then(|batch| batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)).ok());
        let Some(records) = records else {
            each(whole);
            return Ok(());
        };
        for record in &records {
            let Ok(record) = record else {
                each(whole);
                return Ok(());
            };
            let visible = record.offset >= self.log_start_offset && record.offset < upper_bound;
            if visible && !each(found(record.timestamp, record.offset)) {
                return Ok(());
            }
        }
        Ok(())
    }
}
