//! Finding the bytes that a reader may have. Nothing is read but headers.

use std::sync::Arc;

use moldau_model::Offset;

use super::PartitionLog;
use super::recent::RecentBatch;
use crate::segment::Segment;
use crate::{FileSlice, LogRead, ReadError};

impl PartitionLog {
    /// Finds batches from the one that holds `from` on, below `upper_bound` (exclusive: high watermark, last stable
    /// offset or log end, as the reader may see), at most `max_bytes` of them; if `at_least_one_batch`, the first batch
    /// comes whole whatever its size (KIP-74). One call reads from one segment.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one_batch: bool,
    ) -> Result<LogRead, ReadError> {
        self.check_readable()?;
        let (log_start_offset, log_end_offset) = (self.log_start_offset, self.log_end_offset);
        if from < log_start_offset || from > log_end_offset {
            return Err(ReadError::OffsetOutOfRange { offset: from, log_start_offset, log_end_offset });
        }
        let slice = if from < upper_bound {
            self.find_slice(from, max_bytes, upper_bound.min(log_end_offset), at_least_one_batch)?
        } else {
            None
        };
        Ok(LogRead { slice, log_start_offset, log_end_offset })
    }

    pub(super) fn check_readable(&self) -> Result<(), ReadError> {
        match &self.offline {
            Some(reason) => Err(ReadError::Offline { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn find_slice(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one_batch: bool,
    ) -> Result<Option<FileSlice>, ReadError> {
        let first = self.segment_at(from);
        for (number, segment) in self.segments.iter().enumerate().skip(first) {
            if segment.base_offset() >= upper_bound {
                break;
            }
            // A segment that was compacted may end before its successor begins: go on there.
            let Some(batch) = self.find_batch(number, segment, from)? else { continue };
            if batch.base_offset >= upper_bound {
                break;
            }
            let end = self.end_position(number, segment, upper_bound)?;
            let length = self.limit(number, segment, &batch, end, max_bytes, at_least_one_batch)?;
            if length == 0 {
                break;
            }
            return Ok(Some(FileSlice { file: segment.file()?, position: batch.position, length }));
        }
        Ok(None)
    }

    fn is_active(&self, number: usize) -> bool {
        number + 1 == self.segments.len()
    }

    fn find_batch(
        &self,
        number: usize,
        segment: &Segment,
        offset: Offset,
    ) -> Result<Option<RecentBatch>, ReadError> {
        if self.is_active(number)
            && let Some(batch) = self.recent.find(offset)
        {
            return Ok(Some(batch));
        }
        let found = segment.find_batch(offset)?;
        Ok(found.map(|(position, header)| RecentBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position,
            size_bytes: header.size_bytes,
        }))
    }

    /// Where in the segment the first batch lies that reaches `upper_bound`.
    fn end_position(&self, number: usize, segment: &Segment, upper_bound: Offset) -> Result<u64, ReadError> {
        let next = self.segments.get(number + 1).map_or(self.log_end_offset, Segment::base_offset);
        if upper_bound >= next {
            return Ok(segment.size_bytes());
        }
        let batch = self.find_batch(number, segment, upper_bound)?;
        Ok(batch.map_or(segment.size_bytes(), |batch| batch.position))
    }

    /// How many bytes from the first batch on are given. A batch that would be cut is left out if an index knows where
    /// it begins: half a batch is of no use to anybody.
    fn limit(
        &self,
        number: usize,
        segment: &Segment,
        first: &RecentBatch,
        end: u64,
        max_bytes: usize,
        at_least_one_batch: bool,
    ) -> Result<usize, ReadError> {
        let available = end.saturating_sub(first.position) as usize;
        let whole_first = (first.size_bytes as usize).min(available);
        if available <= max_bytes {
            return Ok(available);
        }
        if max_bytes <= whole_first {
            return Ok(if at_least_one_batch || max_bytes == whole_first { whole_first } else { 0 });
        }
        let at_most = first.position + max_bytes as u64;
        let recent =
            if self.is_active(number) { self.recent.boundary_before(first.position, at_most) } else { None };
        let boundary = match recent {
            Some(boundary) => Some(boundary),
            None => segment.boundary_before(first.position, at_most)?,
        };
        Ok(boundary.map_or(max_bytes, |boundary| (boundary - first.position) as usize))
    }
}
