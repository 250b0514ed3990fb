//! Consumers see committed records only: what was read once is never lost.

use super::{CommittedLog, Verdict};
use crate::log::Batch;
use crate::message::Part;

pub(super) fn check(
    committed: &CommittedLog,
    broker: i32,
    part: Part,
    batches: &[Batch],
    high_watermark: i64,
) -> Verdict {
    if committed.is_given_up() {
        return Ok(());
    }
    if high_watermark > committed.end() {
        return Err(format!(
            "broker {broker} says {high_watermark} of {part:?} is committed, where {} is",
            committed.end()
        ));
    }
    for batch in batches {
        if !committed.at(batch.base).is_some_and(|known| known.is_same(batch)) {
            return Err(format!("broker {broker} gave {batch:?} of {part:?}, which is not committed"));
        }
    }
    Ok(())
}
