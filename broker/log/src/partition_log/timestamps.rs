//! Finding records by time (ListOffsets).

use moldau_model::{Offset, TimestampMs};
use moldau_record::{BatchView, DecompressLimit};

use super::{PartitionLog, TimestampOffset};
use crate::batch_header::{BatchHeader, HeaderWalk, LOOKUP_BUFFER_BYTES};
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
        self.search(segment, from, timestamp, upper_bound)
    }

    fn segments_below(&self, upper_bound: Offset) -> impl Iterator<Item = &Segment> {
        let first = self.segment_at(self.log_start_offset);
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

    fn search_batch(
        &self,
        file: &dyn File,
        position: u64,
        header: &BatchHeader,
        timestamp: TimestampMs,
        upper_bound: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut bytes = vec![0; header.size_bytes as usize];
        file.read_exact_at(&mut bytes, position)?;
        let found =
            |timestamp, offset| TimestampOffset { timestamp, offset, leader_epoch: header.leader_epoch };
        let first = Some(found(header.max_timestamp, header.base_offset.max(self.log_start_offset)));
        // A batch whose records cannot be read still has a place and a time.
        let Ok(batch) = BatchView::first(&bytes) else { return Ok(first) };
        let Ok(records) = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)) else { return Ok(first) };
        for record in &records {
            let Ok(record) = record else { return Ok(first) };
            let visible = record.offset >= self.log_start_offset && record.offset < upper_bound;
            if visible && record.timestamp >= timestamp {
                return Ok(Some(found(record.timestamp, record.offset)));
            }
        }
        Ok(None)
    }
}
