//! The same offset in the same leader epoch is the same record on every replica, committed or not.

use std::collections::BTreeMap;

use super::Verdict;
use crate::log::Batch;
use crate::message::Part;

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// Id and count of the batch that begins there.
    batches: BTreeMap<(Part, i64, i32), (u64, i32)>,
}

impl LogMatching {
    pub(super) fn check(&mut self, broker: i32, part: Part, batch: &Batch) -> Verdict {
        let this = (batch.content.id, batch.content.count);
        let known = self.batches.entry((part, batch.base, batch.epoch)).or_insert(this);
        if *known == this {
            return Ok(());
        }
        let (offset, epoch) = (batch.base, batch.epoch);
        Err(format!(
            "broker {broker} has batch {} at {offset} of {part:?} in epoch {epoch}, where another has {}",
            this.0, known.0
        ))
    }
}
