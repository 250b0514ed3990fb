//! The places of the last batches appended: consumers and followers at the log's end find theirs without touching the
//! disk.

use std::collections::VecDeque;

use moldau_model::Offset;

use crate::batch_header::BatchHeader;

const BATCHES_KEPT: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecentBatch {
    pub(super) base_offset: Offset,
    pub(super) last_offset: Offset,
    pub(super) position: u64,
    pub(super) size_bytes: u32,
}

/// Batches of the active segment, one behind the other, the last of which ends the log.
#[derive(Debug, Default)]
pub(super) struct RecentBatches {
    batches: VecDeque<RecentBatch>,
}

impl RecentBatches {
    pub(super) fn push(&mut self, position: u64, header: &BatchHeader) {
        if self.batches.len() == BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(RecentBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position,
            size_bytes: header.size_bytes,
        });
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    /// The first batch that ends at or behind `offset`, if `offset` is not older than all that is remembered.
    pub(super) fn find(&self, offset: Offset) -> Option<RecentBatch> {
        if offset < self.batches.front()?.base_offset {
            return None;
        }
        let at = self.batches.partition_point(|batch| batch.last_offset < offset);
        self.batches.get(at).copied()
    }

    /// The base offset of the batch that begins at `position`.
    pub(super) fn offset_at(&self, position: u64) -> Option<Offset> {
        let at = self.batches.binary_search_by_key(&position, |batch| batch.position).ok()?;
        self.batches.get(at).map(|batch| batch.base_offset)
    }

    /// The last start of a batch in `(after, at_most]`.
    pub(super) fn boundary_before(&self, after: u64, at_most: u64) -> Option<u64> {
        let at = self.batches.partition_point(|batch| batch.position <= at_most);
        let batch = self.batches.get(at.checked_sub(1)?)?;
        (batch.position > after).then_some(batch.position)
    }
}
