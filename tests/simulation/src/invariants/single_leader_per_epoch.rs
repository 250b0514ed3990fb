//! A leader epoch belongs to one broker.

use std::collections::BTreeMap;

use super::Verdict;
use crate::message::Part;

#[derive(Debug, Default)]
pub(super) struct SingleLeaderPerEpoch {
    leaders: BTreeMap<(Part, i32), i32>,
}

impl SingleLeaderPerEpoch {
    pub(super) fn check(&mut self, broker: i32, part: Part, epoch: i32) -> Verdict {
        let leader = *self.leaders.entry((part, epoch)).or_insert(broker);
        if leader != broker {
            return Err(format!("{broker} and {leader} lead {part:?} in epoch {epoch}"));
        }
        Ok(())
    }
}
