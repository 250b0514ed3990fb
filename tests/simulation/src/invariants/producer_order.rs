//! What an idempotent producer wrote stands in the log once and in its order, without a gap.

use std::collections::BTreeMap;

use super::Verdict;
use crate::log::{Batch, NO_SEQUENCE};
use crate::message::Part;

#[derive(Debug, Default)]
pub(super) struct ProducerOrder {
    next_sequences: BTreeMap<(Part, i64, i16), i32>,
}

impl ProducerOrder {
    pub(super) fn check(&mut self, part: Part, batch: &Batch) -> Verdict {
        let counted = batch.content.sequenced.filter(|by| by.base_sequence != NO_SEQUENCE);
        let Some(sequenced) = counted else { return Ok(()) };
        let key = (part, sequenced.producer_id, sequenced.producer_epoch);
        let next = self.next_sequences.entry(key).or_insert(0);
        if sequenced.base_sequence != *next {
            return Err(format!("sequence {next} was due in {part:?}, committed is {batch:?}"));
        }
        *next += batch.content.count;
        Ok(())
    }
}
