//! Finding the bytes that a reader may have. Nothing is read but headers.

use std::sync::Arc;

use moldau_model::Offset;

use super::PartitionLog;
use super::recent::RecentBatch;
use crate::segment::Segment;
use crate::{AbortedTransaction, FileSlice, LogRead, ReadError};

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
        Ok(self.read_slice(from, max_bytes, upper_bound, at_least_one_batch)?.0)
    }

    /// The same below the last stable offset, with the transactions that a reader of committed records has to pass over
    /// in it.
    pub fn read_committed(
        &self,
        from: Offset,
        max_bytes: usize,
        last_stable_offset: Offset,
        at_least_one_batch: bool,
    ) -> Result<(LogRead, Vec<AbortedTransaction>), ReadError> {
        let (read, end) = self.read_slice(from, max_bytes, last_stable_offset, at_least_one_batch)?;
        let aborted = match end {
            Some(end) => self.aborted_transactions(from, end)?,
            None => Vec::new(),
        };
        Ok((read, aborted))
    }

    /// Also gives an offset behind what was found: the next batch's, or a later one where finding that would cost a read.
    fn read_slice(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one_batch: bool,
    ) -> Result<(LogRead, Option<Offset>), ReadError> {
        self.check_readable()?;
        let (log_start_offset, log_end_offset) = (self.log_start_offset, self.log_end_offset);
        if from < log_start_offset || from > log_end_offset {
            return Err(ReadError::OffsetOutOfRange { offset: from, log_start_offset, log_end_offset });
        }
        let found = if from < upper_bound {
            self.find_slice(from, max_bytes, upper_bound.min(log_end_offset), at_least_one_batch)?
        } else {
            None
        };
        let (slice, end) = found.unzip();
        Ok((LogRead { slice, log_start_offset, log_end_offset }, end))
    }

    /// The transactions that were aborted and have records in `from..upper_bound`, or may have some: what a reader of
    /// committed records must pass over there. In the order of their ends.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        upper_bound: Offset,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        self.check_readable()?;
        let mut found = Vec::new();
        if self.is_declared_only() || from >= upper_bound {
            return Ok(found);
        }
        for segment in self.segments.iter().skip(self.segment_at(from)) {
            let may_be_more = segment.each_aborted(from, |transaction| {
                if transaction.first_offset < upper_bound {
                    found.push(transaction);
                }
                // All that end later begin at or behind it.
                transaction.last_stable_offset < upper_bound
            })?;
            if !may_be_more {
                break;
            }
        }
        Ok(found)
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
    ) -> Result<Option<(FileSlice, Offset)>, ReadError> {
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
            let position = batch.position;
            let next = self.segments.get(number + 1).map_or(self.log_end_offset, Segment::base_offset);
            let slice_end = position + length as u64;
            let behind = if slice_end < end { self.offset_at(number, segment, slice_end)? } else { None };
            let behind = behind.unwrap_or(next).min(upper_bound);
            return Ok(Some((FileSlice { file: segment.file()?, position, length }, behind)));
        }
        Ok(None)
    }

    /// The offset of the batch at `position`, or of one soon behind it that an index knows.
    fn offset_at(
        &self,
        number: usize,
        segment: &Segment,
        position: u64,
    ) -> Result<Option<Offset>, ReadError> {
        let recent = if self.is_active(number) { self.recent.offset_at(position) } else { None };
        match recent {
            Some(offset) => Ok(Some(offset)),
            None => Ok(segment.offset_behind(position)?),
        }
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
