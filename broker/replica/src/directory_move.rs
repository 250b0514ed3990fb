//! What a move of a log to another directory does next (KIP-113): a copy follows the log, and takes its place in the end.
//!
//! The log is appended to, cut, and shortened at its start meanwhile. The copy need not be right at any moment but the last one:
//! it is cut where the log was, and begins anew where the log has nothing in common with it any more.

use moldau_model::Offset;

use crate::LogEnds;

/// What is copied and not durable yet when the copy takes the log's place: that much is synced while nobody can append.
pub const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// A copy is synced after so many bytes, so that the last sync has little to do.
pub(crate) const SYNC_BYTES: u64 = 64 * 1024 * 1024;

/// A log and its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryMove {
    pub log: LogEnds,
    pub copy: LogEnds,
    /// The lowest offset that the log was cut to since the copy was.
    pub cut_to: Option<Offset>,
    /// The last piece that was copied reached the log's end as it was then.
    pub is_near_end: bool,
    /// Copied since the copy was synced last.
    pub unsynced_bytes: u64,
    /// A pass of the cleaner is out on the log.
    pub is_being_cleaned: bool,
    /// The log start with which it is written down that the copy will take the log's place.
    pub prepared_at: Option<Offset>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveStep {
    /// Empty the copy and let it begin here.
    Restart { at: Offset },
    /// Cut the copy.
    Cut { to: Offset },
    /// Copy a piece from here on.
    Copy { from: Offset },
    /// Make the copy durable.
    Sync,
    /// The log's start has moved: move the copy's.
    RaiseStart { to: Offset },
    /// The cleaner has the log: wait until it has given up.
    AwaitCleaner,
    /// Write down that the copy will take the log's place.
    Prepare,
    /// Copy what is left, sync it, and let the copy take the log's place, all while nobody appends.
    Replace,
}

impl DirectoryMove {
    /// The next step.
    #[must_use]
    pub fn next_step(&self) -> MoveStep {
        let Self { log, copy, .. } = self;
        if let Some(to) = self.cut_to.filter(|to| *to < copy.log_end) {
            return MoveStep::Cut { to };
        }
        if copy.log_end > log.log_end {
            return MoveStep::Cut { to: log.log_end };
        }
        // The log begins behind all that was copied, or has begun anew before it.
        if copy.log_end < log.log_start || copy.log_start > log.log_start {
            return MoveStep::Restart { at: log.log_start };
        }
        if self.unsynced_bytes >= SYNC_BYTES {
            return MoveStep::Sync;
        }
        if copy.log_end < log.log_end && !self.is_near_end {
            return MoveStep::Copy { from: copy.log_end };
        }
        if copy.log_start < log.log_start {
            // A start beyond the durable end would leave, after a loss of power, a log that ends before it starts.
            let is_durable = copy.durable_end >= log.log_start;
            return if is_durable { MoveStep::RaiseStart { to: log.log_start } } else { MoveStep::Sync };
        }
        if self.is_being_cleaned {
            return MoveStep::AwaitCleaner;
        }
        if self.unsynced_bytes > TAIL_BYTES_MAX {
            return MoveStep::Sync;
        }
        if self.prepared_at != Some(log.log_start) {
            return MoveStep::Prepare;
        }
        MoveStep::Replace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(log_start: i64, durable_end: i64, log_end: i64) -> LogEnds {
        LogEnds { log_start: Offset(log_start), durable_end: Offset(durable_end), log_end: Offset(log_end) }
    }

    #[test]
    fn each_state_of_a_move_has_one_next_step() {
        use MoveStep::{AwaitCleaner, Copy, Cut, Prepare, RaiseStart, Replace, Restart, Sync};
        let at = |log: (i64, i64, i64), copy: (i64, i64, i64)| DirectoryMove {
            log: ends(log.0, log.1, log.2),
            copy: ends(copy.0, copy.1, copy.2),
            cut_to: None,
            is_near_end: false,
            unsynced_bytes: 0,
            is_being_cleaned: false,
            prepared_at: None,
        };
        let offset = Offset;
        let whole = DirectoryMove { is_near_end: true, ..at((10, 50, 50), (10, 50, 50)) };
        let prepared = DirectoryMove { prepared_at: Some(offset(10)), ..whole };
        for (what, state, expected) in [
            ("a new copy begins where the log does", at((10, 50, 50), (0, 0, 0)), Restart { at: offset(10) }),
            (
                "and of a log from its first offset at once",
                at((0, 50, 50), (0, 0, 0)),
                Copy { from: offset(0) },
            ),
            ("the copy goes on", at((10, 50, 50), (10, 10, 20)), Copy { from: offset(20) }),
            ("retention has passed it by", at((30, 50, 50), (10, 10, 20)), Restart { at: offset(30) }),
            ("the log has begun anew", at((5, 7, 7), (10, 10, 20)), Cut { to: offset(7) }),
            ("the log has begun anew, and grown", at((5, 40, 40), (10, 10, 20)), Restart { at: offset(5) }),
            (
                "the log was cut below the copy's end",
                DirectoryMove { cut_to: Some(offset(15)), ..at((10, 50, 50), (10, 10, 20)) },
                Cut { to: offset(15) },
            ),
            (
                "the log was cut beyond the copy's end",
                DirectoryMove { cut_to: Some(offset(20)), ..at((10, 50, 50), (10, 10, 20)) },
                Copy { from: offset(20) },
            ),
            ("the log is shorter than the copy", at((10, 15, 15), (10, 10, 20)), Cut { to: offset(15) }),
            (
                "much is not durable",
                DirectoryMove { unsynced_bytes: SYNC_BYTES, ..at((10, 50, 50), (10, 10, 20)) },
                Sync,
            ),
            (
                "the log's start has moved",
                DirectoryMove { is_near_end: true, ..at((12, 50, 50), (10, 50, 50)) },
                RaiseStart { to: offset(12) },
            ),
            (
                "the log's start has moved beyond what is durable in the copy",
                DirectoryMove { is_near_end: true, ..at((45, 50, 50), (10, 40, 50)) },
                Sync,
            ),
            ("the cleaner is at the log", DirectoryMove { is_being_cleaned: true, ..prepared }, AwaitCleaner),
            (
                "too much to sync while nobody may append",
                DirectoryMove { unsynced_bytes: TAIL_BYTES_MAX + 1, ..prepared },
                Sync,
            ),
            ("nothing is written down", whole, Prepare),
            ("with another start", DirectoryMove { prepared_at: Some(offset(9)), ..whole }, Prepare),
            ("all is there", prepared, Replace),
            ("a little is missing", DirectoryMove { copy: ends(10, 48, 48), ..prepared }, Replace),
            (
                "more is missing than was near the end",
                DirectoryMove { copy: ends(10, 48, 48), is_near_end: false, ..prepared },
                Copy { from: offset(48) },
            ),
            ("an empty log", DirectoryMove { is_near_end: true, ..at((0, 0, 0), (0, 0, 0)) }, Prepare),
        ] {
            assert_eq!(state.next_step(), expected, "{what}");
        }
    }
}
