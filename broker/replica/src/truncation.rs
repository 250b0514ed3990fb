//! Where a follower cuts its log that has parted from its leader's (KIP-101, KIP-279, KIP-595).
//!
//! A follower says with each fetch which epoch its last record has. A leader that has another history answers with the
//! largest epoch it knows that is not above that one, and with where it ended. The follower cuts to where both can still
//! be the same, and asks again from there: several cuts may follow one another, each for an older epoch. The high
//! watermark has no say in it: what lies above a follower's may well be acknowledged.

use moldau_model::{LeaderEpoch, Offset};

/// The end, exclusive, of an epoch in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub leader_epoch: LeaderEpoch,
    pub end_offset: Offset,
}

/// Where to cut. `leader` is what the leader answered; `own` the largest epoch of the follower's log that is not above
/// the leader's, and its end there, or nothing where the log knows of no epochs.
#[must_use]
pub fn truncation_offset(leader: EpochEndOffset, own: Option<EpochEndOffset>, log_end: Offset) -> Offset {
    let both_may_have = match own {
        // The same epoch was written by one leader, in one order: both have its records up to where the shorter ends.
        Some(own) if own.leader_epoch == leader.leader_epoch => own.end_offset.min(leader.end_offset),
        // The follower has nothing of the leader's epoch: all behind its last older one is another history.
        Some(own) => own.end_offset,
        None => leader.end_offset,
    };
    both_may_have.min(log_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_where_both_logs_can_still_be_the_same() {
        let end = |(epoch, end): (i32, i64)| EpochEndOffset {
            leader_epoch: LeaderEpoch(epoch),
            end_offset: Offset(end),
        };
        for (leader, own, log_end, expected) in [
            // The leader's epoch is shorter there; and longer.
            ((2, 10), Some((2, 15)), 15, 10),
            ((2, 20), Some((2, 15)), 18, 15),
            // The follower never had that epoch.
            ((2, 20), Some((1, 8)), 15, 8),
            // It knows of no epochs at all.
            ((2, 20), None, 30, 20),
            ((2, 20), None, 15, 15),
        ] {
            let found = truncation_offset(end(leader), own.map(end), Offset(log_end));
            assert_eq!(found, Offset(expected), "{leader:?} {own:?} {log_end}");
        }
    }
}
