//! Whoever may be elected cleanly, a member of the ISR or of the ELR, has everything that is committed on stable storage.

use super::{CommittedLog, Verdict};
use crate::log::SimulatedLog;
use crate::message::Part;

pub(super) fn check(
    committed: &CommittedLog,
    broker: i32,
    part: Part,
    end: i64,
    log: &mut SimulatedLog,
) -> Verdict {
    if committed.is_given_up() {
        return Ok(());
    }
    if end < committed.end() {
        return Err(format!(
            "broker {broker} may lead {part:?} and has {end} of {} on stable storage",
            committed.end()
        ));
    }
    committed.compare(log, committed.end()).map_err(|text| format!("broker {broker}, {part:?}: {text}"))
}
