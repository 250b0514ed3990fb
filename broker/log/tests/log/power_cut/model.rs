//! What was written and promised, and the comparison with what came off the disk.

use std::collections::{BTreeMap, HashMap};

use moldau_log::PartitionLog;
use moldau_model::{LeaderEpoch, Offset, TimestampMs};
use moldau_record::{BatchView, Batches, ControlRecord, DecompressLimit};

use super::workload::Flavour;
use crate::support::*;

type Written = (i64, Option<String>, Option<String>);

/// A batch as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) base: i64,
    pub(super) next: i64,
    pub(super) bytes: Vec<u8>,
}

impl Stored {
    fn epoch(&self) -> LeaderEpoch {
        BatchView::first(&self.bytes).unwrap().leader_epoch()
    }
}

/// What is read from a log that was opened after a cut.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) batches: Vec<Stored>,
}

impl Cut {
    pub(super) fn read(log: &PartitionLog) -> Self {
        let bytes = read_all(log);
        let batches = Batches::new(&bytes).map(|batch| {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            Stored { base: batch.base_offset().0, next: batch.next_offset().0, bytes: batch.bytes().to_vec() }
        });
        Self { start: log.log_start_offset().0, end: log.log_end_offset().0, batches: batches.collect() }
    }
}

/// While a change is under way the disk may hold the state before it, the state after it, or one in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// All that the log could hold, in order: of a log that is being cut, what it held before.
    pub(super) history: Vec<Stored>,
    /// A batch whose append did not end.
    pub(super) appending: Option<Stored>,
    /// Exclusive: what every disk must still have.
    pub(super) durable: i64,
    /// The log start that was promised, and the furthest that may be found.
    pub(super) start_promised: i64,
    pub(super) start_furthest: i64,
    /// Everything goes, and the log is to begin here.
    pub(super) restarting_at: Option<i64>,
    /// Compaction was called: batches may have become fewer.
    pub(super) compacted: bool,
}

impl Model {
    /// What was found and is durable.
    pub(super) fn of(cut: &Cut) -> Self {
        Self { history: cut.batches.clone(), durable: cut.end, start_furthest: cut.start, ..Self::default() }
    }

    pub(super) fn end(&self) -> i64 {
        self.history.last().map_or(self.start_furthest, |last| last.next)
    }

    pub(super) fn check(&self, log: &PartitionLog, cut: &Cut, flavour: Flavour, closed: bool, what: &str) {
        if let Some(start) = self.restarting_at
            && cut.batches.is_empty()
        {
            assert!(cut.start == cut.end, "{what}");
            assert!(
                cut.start == start || cut.start <= self.start_furthest,
                "{what}: begins at {}",
                cut.start
            );
            return;
        }
        assert!(cut.start >= self.start_promised, "{what}: {} of {}", cut.start, self.start_promised);
        assert!(
            cut.start <= self.start_furthest.max(self.restarting_at.unwrap_or(0)),
            "{what}: {}",
            cut.start
        );
        if self.restarting_at.is_none() {
            assert!(cut.end >= self.durable, "{what}: ends at {} of {}", cut.end, self.durable);
        }
        assert!(!closed || cut.end == self.end(), "{what}: closed at {}, found {}", self.end(), cut.end);
        if flavour == Flavour::Compact {
            self.check_keys(cut, what);
        } else {
            self.check_prefix(cut, what);
        }
        check_epochs(log, cut, flavour, what);
        check_times(log, cut, what);
        check_transactions(log, cut, what);
        assert_eq!(log.durable_end_offset(), log.log_end_offset(), "{what}");
    }

    fn check_prefix(&self, cut: &Cut, what: &str) {
        let expected = self.history.iter().chain(&self.appending);
        let expected: Vec<&Stored> = expected.filter(|batch| batch.next > cut.start).collect();
        for (found, expected) in cut.batches.iter().zip(&expected) {
            assert!(found == *expected, "{what}: at {} another batch, at {}", expected.base, found.base);
        }
        assert!(cut.batches.len() <= expected.len(), "{what}: more than was written");
        let end = cut.batches.last().map_or(cut.start, |last| last.next);
        assert_eq!(end, cut.end, "{what}: the log ends elsewhere");
    }

    /// Every record is one that was written, in order; of each key the last that the log reaches to is there, or, if that
    /// deleted it, none.
    fn check_keys(&self, cut: &Cut, what: &str) {
        let written: Vec<u8> =
            self.history.iter().chain(&self.appending).flat_map(|b| b.bytes.clone()).collect();
        let written = records(&written);
        let found = records(&cut.batches.iter().flat_map(|batch| batch.bytes.clone()).collect::<Vec<u8>>());
        let by_offset: HashMap<i64, _> = written.iter().map(|record| (record.0, record)).collect();
        for record in &found {
            assert_eq!(by_offset.get(&record.0), Some(&record), "{what}: a record that was never written");
        }
        assert!(found.is_sorted_by(|one, other| one.0 < other.0), "{what}");
        let reached = written.iter().filter(|record| record.0 < cut.end);
        let last: HashMap<&Option<String>, &Written> = reached.map(|record| (&record.1, record)).collect();
        for (key, last) in last {
            let newest = found.iter().rfind(|record| record.1 == *key);
            let deleted = newest.is_none() && last.2.is_none();
            assert!(deleted || newest == Some(last), "{what}: {newest:?} in place of {last:?}");
        }
    }
}

/// The epochs that the log remembers are those of its batches.
fn check_epochs(log: &PartitionLog, cut: &Cut, flavour: Flavour, what: &str) {
    let mut starts: Vec<(LeaderEpoch, i64)> = Vec::new();
    for batch in &cut.batches {
        let epoch = batch.epoch();
        assert_eq!(
            log.epoch_for_offset(Offset(batch.base.max(cut.start))),
            Some(epoch),
            "{what}: at {}",
            batch.base
        );
        if starts.last().is_none_or(|(last, _)| *last != epoch) {
            starts.push((epoch, batch.base));
        }
    }
    for (number, (epoch, _)) in starts.iter().enumerate() {
        let end = starts.get(number + 1).map_or(cut.end, |(_, start)| *start);
        // Compaction may have taken the first batches of the next epoch away, and the last ones of this.
        let last = cut.batches.iter().rfind(|batch| batch.epoch() == *epoch).map_or(end, |batch| batch.next);
        let ends = if flavour == Flavour::Compact { last..=end } else { end..=end };
        let found = log.end_offset_for_epoch(*epoch).unwrap();
        assert!(
            found.leader_epoch == *epoch && ends.contains(&found.end_offset.0),
            "{what}: {found:?}, not {ends:?}"
        );
    }
}

/// Every time is found where it is.
fn check_times(log: &PartitionLog, cut: &Cut, what: &str) {
    let mut times: Vec<(i64, i64)> = Vec::new();
    for stored in &cut.batches {
        let batch = BatchView::first(&stored.bytes).unwrap();
        for record in &batch.records(DecompressLimit(1 << 20)).unwrap() {
            let record = record.unwrap();
            times.push((record.offset.0, record.timestamp.0));
        }
    }
    times.retain(|(offset, _)| *offset >= cut.start);
    for asked in [NOW.0, NOW.0 + 250, NOW.0 + 500, NOW.0 + 750, NOW.0 + 950] {
        let expected = times.iter().find(|(_, time)| *time >= asked).copied();
        let found = log.offset_for_timestamp(TimestampMs(asked), Offset(cut.end)).unwrap();
        assert_eq!(found.map(|found| (found.offset.0, found.timestamp.0)), expected, "{what}: time {asked}");
    }
}

/// The transactions that are open, and those that were aborted, are those of the batches.
fn check_transactions(log: &PartitionLog, cut: &Cut, what: &str) {
    let mut open: BTreeMap<i64, i64> = BTreeMap::new();
    let mut expected = Vec::new();
    for stored in &cut.batches {
        let batch = BatchView::first(&stored.bytes).unwrap();
        let producer = batch.producer_id().0;
        if batch.is_control() {
            if let Some(first) = open.remove(&producer)
                && matches!(control(&batch), ControlRecord::Abort { .. })
            {
                let stable = open.values().min().copied().unwrap_or(stored.next);
                expected.push((producer, first, stored.base, stable));
            }
        } else if batch.is_transactional() {
            open.entry(producer).or_insert(stored.base);
        }
    }
    let found = log.aborted_transactions(Offset(cut.start), Offset(cut.end)).unwrap();
    let found = found
        .iter()
        .map(|one| (one.producer_id.0, one.first_offset.0, one.last_offset.0, one.last_stable_offset.0));
    assert_eq!(found.collect::<Vec<_>>(), expected, "{what}");
    let stable = open.values().min().copied().unwrap_or(cut.end);
    assert_eq!(log.last_stable_offset(Offset(cut.end)).0, stable, "{what}");
}
