//! Within one leadership the high watermark only moves on. (That a later leadership does not lose what an earlier one had
//! shown is `acked_never_lost`.)

use std::collections::BTreeMap;

use super::Verdict;
use crate::message::Part;

#[derive(Debug, Default)]
pub(super) struct HighWatermarkNeverRegresses {
    highest: BTreeMap<(Part, i32), i64>,
}

impl HighWatermarkNeverRegresses {
    pub(super) fn check(&mut self, part: Part, epoch: i32, high_watermark: i64) -> Verdict {
        let highest = self.highest.entry((part, epoch)).or_insert(high_watermark);
        if high_watermark < *highest {
            return Err(format!("{part:?} in epoch {epoch}: {high_watermark} after {highest}"));
        }
        *highest = high_watermark;
        Ok(())
    }
}
