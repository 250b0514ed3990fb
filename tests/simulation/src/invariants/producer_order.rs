//! What an idempotent producer wrote stands in the log once and in its order, without a gap.

use std::collections::BTreeMap;

use super::Verdict;
use crate::log::Batch;
use crate::message::Part;

#[derive(Debug, Default)]
pub(super) struct ProducerOrder {
    next_sequences: BTreeMap<(Part, i64), i32>,
}

impl ProducerOrder {
    pub(super) fn check(&mut self, part: Part, batch: &Batch) -> Verdict {
        let Some(sequenced) = batch.content.sequenced else { return Ok(()) };
        let next = self.next_sequences.entry((part, sequenced.producer_id)).or_insert(0);
        if sequenced.base_sequence != *next {
            return Err(format!("sequence {next} was due in {part:?}, committed is {batch:?}"));
        }
        *next += batch.content.count;
        Ok(())
    }
}
