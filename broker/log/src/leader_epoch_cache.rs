//! Which leader epoch began where: the memory by which a diverging replica finds what to cut (KIP-101, KIP-279).

use moldau_model::{LeaderEpoch, Offset};

use crate::checkpoint::{self, CheckpointError};
use crate::partition_log::EpochEnd;

pub(crate) const FILE_NAME: &str = "leader-epoch-checkpoint";

/// Epochs with the offset of their first record, both strictly ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochCache {
    /// Notes that `epoch` begins at `start`. What is known of later offsets or equal or later epochs was another
    /// history and goes. Returns whether anything changed.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.entries.last().is_some_and(|(last, _)| *last == epoch) {
            return false;
        }
        while self.entries.last().is_some_and(|(last, at)| *last >= epoch || *at >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The largest known epoch not above the one asked for, and where it ended.
    pub(crate) fn end_offset_for(&self, epoch: LeaderEpoch, log_end_offset: Offset) -> Option<EpochEnd> {
        if epoch.0 < 0 {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some(EpochEnd { leader_epoch: epoch, end_offset: log_end_offset });
        }
        let above = self.entries.partition_point(|(known, _)| *known <= epoch);
        let (_, end_offset) = *self.entries.get(above)?;
        // Older than all that is known: it ended where the oldest begins.
        let leader_epoch =
            above.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(epoch, |(e, _)| *e);
        Some(EpochEnd { leader_epoch, end_offset })
    }

    pub(crate) fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|(_, start)| *start <= offset);
        self.entries.get(above.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Forgets epochs that begin at or after the log's new end.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|(_, start)| *start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Forgets epochs that ended at or before the log's new start; the one that reaches over it now begins there.
    pub(crate) fn truncate_from_start(&mut self, start: Offset) -> bool {
        let above = self.entries.partition_point(|(_, at)| *at <= start);
        let Some(reaching) = above.checked_sub(1) else { return false };
        let Some(entry) = self.entries.get_mut(reaching) else { return false };
        let changed = reaching > 0 || entry.1 != start;
        entry.1 = start;
        self.entries.drain(..reaching);
        changed
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn encode(&self) -> String {
        checkpoint::encode(self.entries.iter().map(|(epoch, start)| format!("{epoch} {start}")))
    }

    /// Reads the file's text. Entries that do not ascend make it corrupt.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, CheckpointError> {
        let mut entries: Vec<(LeaderEpoch, Offset)> = Vec::new();
        checkpoint::decode(text, |line| {
            let (epoch, start) = line.split_once(' ')?;
            let entry = (LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?));
            if entry.0.0 < 0 || entry.1.0 < 0 {
                return None;
            }
            if entries.last().is_some_and(|last| last.0 >= entry.0 || last.1 >= entry.1) {
                return None;
            }
            entries.push(entry);
            Some(())
        })?;
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache { entries: entries.iter().map(|(e, o)| (LeaderEpoch(*e), Offset(*o))).collect() }
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_known() {
        let known = cache(&[(2, 10), (4, 20), (7, 35)]);
        for (asked, expected) in [
            (-1, None),
            (0, Some((0, 10))),
            (2, Some((2, 20))),
            (3, Some((2, 20))),
            (4, Some((4, 35))),
            (6, Some((4, 35))),
            (7, Some((7, 50))),
            (8, None),
        ] {
            let end = known.end_offset_for(LeaderEpoch(asked), Offset(50));
            assert_eq!(end.map(|end| (end.leader_epoch.0, end.end_offset.0)), expected, "epoch {asked}");
        }
        assert_eq!(LeaderEpochCache::default().end_offset_for(LeaderEpoch(0), Offset(5)), None);
    }

    #[test]
    fn assigning_keeps_epochs_and_offsets_ascending() {
        let mut known = cache(&[]);
        assert!(known.assign(LeaderEpoch(1), Offset(0)));
        assert!(!known.assign(LeaderEpoch(1), Offset(5)), "the epoch goes on");
        assert!(!known.assign(LeaderEpoch(-1), Offset(5)));
        assert!(known.assign(LeaderEpoch(3), Offset(5)));
        assert!(known.assign(LeaderEpoch(4), Offset(5)), "epoch 3 had no record");
        assert_eq!(known, cache(&[(1, 0), (4, 5)]));
    }

    #[test]
    fn truncation_from_both_ends() {
        let full = cache(&[(2, 10), (4, 20), (7, 35)]);
        for (end, expected) in [
            (5, &[][..]),
            (10, &[]),
            (11, &[(2, 10)]),
            (35, &[(2, 10), (4, 20)]),
            (36, &[(2, 10), (4, 20), (7, 35)]),
        ] {
            let mut known = full.clone();
            assert_eq!(known.truncate_from_end(Offset(end)), expected.len() < 3);
            assert_eq!(known, cache(expected), "end {end}");
        }
        for (start, expected) in [
            (5, &[(2, 10), (4, 20), (7, 35)][..]),
            (10, &[(2, 10), (4, 20), (7, 35)]),
            (15, &[(2, 15), (4, 20), (7, 35)]),
            (20, &[(4, 20), (7, 35)]),
            (99, &[(7, 99)]),
        ] {
            let mut known = full.clone();
            known.truncate_from_start(Offset(start));
            assert_eq!(known, cache(expected), "start {start}");
        }
        assert_eq!(full.epoch_for(Offset(9)), None);
        assert_eq!(full.epoch_for(Offset(20)), Some(LeaderEpoch(4)));
    }

    #[test]
    fn the_file_is_kafkas_and_a_corrupt_one_is_told() {
        let text = "0\n2\n0 0\n5 42\n";
        let known = LeaderEpochCache::decode(text.as_bytes()).unwrap();
        assert_eq!(known, cache(&[(0, 0), (5, 42)]));
        assert_eq!(known.encode(), text);
        for corrupt in [
            "",
            "0\n",
            "1\n0\n",
            "0\n2\n0 0\n",
            "0\n1\n5\n",
            "0\n2\n5 1\n4 2\n",
            "0\n1\n0 0\n1 1\n",
            "\0\0\0\0",
        ] {
            assert!(LeaderEpochCache::decode(corrupt.as_bytes()).is_err(), "{corrupt:?}");
        }
    }
}
