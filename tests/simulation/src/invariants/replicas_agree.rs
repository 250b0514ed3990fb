//! Below its high watermark every replica has the same records.

use super::{CommittedLog, Verdict};
use crate::log::SimulatedLog;
use crate::message::Part;

pub(super) fn check(
    committed: &CommittedLog,
    broker: i32,
    part: Part,
    high_watermark: i64,
    log: &mut SimulatedLog,
) -> Verdict {
    if committed.is_given_up() {
        return Ok(());
    }
    if high_watermark > committed.end() {
        return Err(format!(
            "broker {broker} counts {high_watermark} of {part:?} as committed, where {} is",
            committed.end()
        ));
    }
    committed.compare(log, high_watermark).map_err(|text| format!("broker {broker}, {part:?}: {text}"))
}
