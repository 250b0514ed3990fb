//! What was acknowledged with acks=all is there for ever, as long as elections are clean: it is committed when it is
//! acknowledged, and whoever leads later has all that was committed.

use super::{CommittedLog, Verdict};
use crate::log::SimulatedLog;
use crate::message::Part;

pub(super) fn check_leader(
    committed: &CommittedLog,
    broker: i32,
    part: Part,
    epoch: i32,
    log: &mut SimulatedLog,
) -> Verdict {
    if committed.is_given_up() {
        return Ok(());
    }
    let what = format!("broker {broker} leads {part:?} in epoch {epoch}");
    if log.end() < committed.end() {
        return Err(format!("{what} with a log that ends at {} of {}", log.end(), committed.end()));
    }
    committed.compare(log, committed.end()).map_err(|text| format!("{what}: {text}"))
}

pub(super) fn check_ack(committed: &CommittedLog, part: Part, id: u64, base: i64) -> Verdict {
    if committed.is_given_up() {
        return Ok(());
    }
    match committed.at(base) {
        Some(batch) if batch.content.id == id && batch.base == base => Ok(()),
        found => {
            Err(format!("batch {id} was acknowledged at {base} of {part:?}, where {found:?} is committed"))
        }
    }
}
