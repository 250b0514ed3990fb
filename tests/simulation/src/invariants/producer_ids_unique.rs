//! No producer id is given out twice, nor is any block of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;

#[derive(Debug, Default)]
pub(super) struct ProducerIdsUnique {
    /// First id and count.
    blocks: BTreeMap<i64, i32>,
    ids: BTreeSet<i64>,
}

impl ProducerIdsUnique {
    pub(super) fn check_block(&mut self, first: i64, count: i32) -> Verdict {
        let end = first + i64::from(count);
        if let Some((other, length)) = self.blocks.range(..end).next_back()
            && other + i64::from(*length) > first
        {
            return Err(format!("the block from {first} and the block from {other} overlap"));
        }
        self.blocks.insert(first, count);
        Ok(())
    }

    pub(super) fn check_id(&mut self, id: i64) -> Verdict {
        if self.ids.insert(id) { Ok(()) } else { Err(format!("producer id {id} was given out twice")) }
    }
}
