//! A partition's log on a simulated disk: a page-cache end and a durable end, the epochs, the producers.
//!
//! It promises what `moldau-log` promises (`0 <= durable_end <= end`, a batch that holds a truncation's offset goes
//! whole, epochs and producers follow the batches) and keeps no bytes: a batch is known by its id.

use std::collections::BTreeMap;
use std::rc::Rc;

use moldau_group::CoordinatorRecord;
use moldau_model::{ErrorCode, Offset};
use moldau_replica::LogEnds;

/// As many batches of a producer are known again as may be in flight.
const BATCHES_KEPT: usize = 5;

/// Who wrote a batch, and which of its batches it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// [`NO_SEQUENCE`] where a coordinator wrote it.
    pub(crate) base_sequence: i32,
}

/// Of batches that no producer counts.
pub(crate) const NO_SEQUENCE: i32 = -1;

/// A batch's part in its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InTransaction {
    /// Its records belong to the transaction that the client knows by this number.
    Records { transaction: u64 },
    /// It ends the transaction.
    Marker { is_commit: bool, coordinator_epoch: i32, transaction_version: i16 },
}

/// A transaction that has ended in this log.
#[derive(Clone, Copy, Debug)]
struct Ended {
    producer_id: i64,
    first: i64,
    marker: i64,
    is_commit: bool,
}

/// A batch before it has a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewBatch {
    /// No two batches that were made share one: it stands for the bytes.
    pub(crate) id: u64,
    pub(crate) count: i32,
    pub(crate) sequenced: Option<Sequenced>,
    /// A group coordinator's records.
    pub(crate) group: Option<Rc<Vec<CoordinatorRecord>>>,
    /// A transaction coordinator's records.
    pub(crate) transactions: Option<Rc<Vec<moldau_txn::CoordinatorRecord>>>,
    pub(crate) in_transaction: Option<InTransaction>,
}

/// A batch in a log. Equal are those whose bytes would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) epoch: i32,
    pub(crate) content: NewBatch,
}

impl Batch {
    /// Exclusive.
    pub(crate) fn end(&self) -> i64 {
        self.base + i64::from(self.content.count)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.base == other.base
            && self.epoch == other.epoch
            && self.content.id == other.content.id
            && self.content.count == other.content.count
    }
}

#[derive(Clone, Debug, Default)]
struct ProducerEntry {
    epoch: i16,
    coordinator_epoch: i32,
    /// Where its open transaction begins.
    open_from: Option<i64>,
    /// First sequence, last sequence and first offset, oldest first.
    batches: Vec<(i32, i32, i64)>,
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncTicket {
    end: i64,
    truncations: u64,
}

/// What a leader's append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) is_duplicate: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedLog {
    batches: Vec<Batch>,
    durable_end: i64,
    /// What the disk really has; the same, unless a seeded fault makes the log believe in more.
    synced_end: i64,
    truncations: u64,
    is_syncing: bool,
    epochs: Vec<(i32, i64)>,
    producers: BTreeMap<i64, ProducerEntry>,
    /// In the order of their markers.
    ended: Vec<Ended>,
    /// Up to where the batches were compared with what is committed. Lowered by whatever cuts the log.
    pub(crate) verified_end: i64,
}

impl SimulatedLog {
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, Batch::end)
    }

    pub(crate) fn durable_end(&self) -> i64 {
        self.durable_end
    }

    pub(crate) fn synced_end(&self) -> i64 {
        self.synced_end
    }

    pub(crate) fn ends(&self, counts_page_cache: bool) -> LogEnds {
        let log_end = Offset(self.end());
        let durable_end = if counts_page_cache { log_end } else { Offset(self.durable_end) };
        LogEnds { log_start: Offset(0), durable_end, log_end }
    }

    /// The batches from the one that holds `offset` on.
    pub(crate) fn from(&self, offset: i64) -> &[Batch] {
        &self.batches[self.batches.partition_point(|batch| batch.end() <= offset)..]
    }

    pub(crate) fn latest_epoch(&self) -> Option<i32> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn assign_epoch(&mut self, epoch: i32, start: i64) {
        if self.epochs.last().is_some_and(|(last, _)| *last == epoch) {
            return;
        }
        while self.epochs.last().is_some_and(|(last, at)| *last >= epoch || *at >= start) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, start));
    }

    /// The largest known epoch that is not above `epoch`, and where it ended (KIP-101, KIP-279).
    pub(crate) fn end_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        if self.latest_epoch() == Some(epoch) {
            return Some((epoch, self.end()));
        }
        let above = self.epochs.partition_point(|(known, _)| *known <= epoch);
        let (_, end) = *self.epochs.get(above)?;
        Some((above.checked_sub(1).map_or(epoch, |at| self.epochs[at].0), end))
    }

    pub(crate) fn append_as_leader(&mut self, content: NewBatch, epoch: i32) -> Result<Appended, ErrorCode> {
        if let Some(known) = self.check(&content)? {
            return Ok(known);
        }
        let batch = Batch { base: self.end(), epoch, content };
        let (base, end) = (batch.base, batch.end());
        self.push(batch);
        Ok(Appended { base, end, is_duplicate: false })
    }

    /// Where the batch is already, or nowhere; or why it is not taken.
    fn check(&self, content: &NewBatch) -> Result<Option<Appended>, ErrorCode> {
        let Some(by) = content.sequenced else { return Ok(None) };
        let Some(known) = self.producers.get(&by.producer_id) else { return Ok(None) };
        let is_known_epoch = by.producer_epoch == known.epoch;
        let is_counted = by.base_sequence != NO_SEQUENCE;
        let last = by.base_sequence + content.count - 1;
        let mut batches = known.batches.iter().filter(|_| is_counted && is_known_epoch);
        if let Some((_, _, base)) = batches.find(|(first, end, _)| *first == by.base_sequence && *end == last)
        {
            let end = base + i64::from(content.count);
            return Ok(Some(Appended { base: *base, end, is_duplicate: true }));
        }
        if by.producer_epoch < known.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if let Some(InTransaction::Marker { coordinator_epoch, transaction_version, .. }) =
            content.in_transaction
        {
            // A marker may come again where nothing is open: an answer was lost.
            if transaction_version >= 2 && is_known_epoch && known.open_from.is_some() {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if coordinator_epoch < known.coordinator_epoch {
                return Err(ErrorCode::TransactionCoordinatorFenced);
            }
        }
        let before = known.batches.last().filter(|_| is_known_epoch).map_or(-1, |(_, end, _)| *end);
        if is_counted && before + 1 != by.base_sequence {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        Ok(None)
    }

    /// Whether something of this epoch was written.
    pub(crate) fn knows_epoch(&self, (producer_id, producer_epoch): (i64, i16)) -> bool {
        self.producers.get(&producer_id).is_some_and(|known| known.epoch == producer_epoch)
    }

    /// Whether the producer's transaction is open here.
    pub(crate) fn is_in_transaction(&self, (producer_id, producer_epoch): (i64, i16)) -> bool {
        let known = self.producers.get(&producer_id);
        known.is_some_and(|known| known.open_from.is_some() && known.epoch == producer_epoch)
    }

    /// Where the oldest transaction begins that is open, or whose end is not below the high watermark.
    pub(crate) fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let open = self.producers.values().filter_map(|known| known.open_from);
        let ended = self.ended.iter().rev().take_while(|ended| ended.marker >= high_watermark);
        open.chain(ended.map(|ended| ended.first)).fold(high_watermark, i64::min)
    }

    /// Producer and first offset of aborted transactions that may have records from `from` on.
    pub(crate) fn aborted(&self, from: i64, upper: i64) -> Vec<(i64, i64)> {
        let is_near = |ended: &&Ended| !ended.is_commit && ended.marker >= from && ended.first < upper;
        self.ended.iter().filter(is_near).map(|ended| (ended.producer_id, ended.first)).collect()
    }

    /// Takes what a leader sent. It has to continue the log.
    pub(crate) fn append_as_follower(&mut self, batch: Batch) {
        assert!(
            batch.base == self.end(),
            "a batch for offset {} in a log that ends at {}",
            batch.base,
            self.end()
        );
        self.push(batch);
    }

    fn push(&mut self, batch: Batch) {
        self.assign_epoch(batch.epoch, batch.base);
        self.note_producer(&batch);
        self.batches.push(batch);
    }

    fn note_producer(&mut self, batch: &Batch) {
        let Some(by) = batch.content.sequenced else { return };
        let entry = self.producers.entry(by.producer_id).or_default();
        if entry.epoch != by.producer_epoch {
            entry.epoch = by.producer_epoch;
            entry.batches.clear();
        }
        match batch.content.in_transaction {
            None => {}
            Some(InTransaction::Records { .. }) => {
                entry.open_from.get_or_insert(batch.base);
            }
            Some(InTransaction::Marker { is_commit, coordinator_epoch, .. }) => {
                entry.coordinator_epoch = entry.coordinator_epoch.max(coordinator_epoch);
                if let Some(first) = entry.open_from.take() {
                    let (producer_id, marker) = (by.producer_id, batch.base);
                    self.ended.push(Ended { producer_id, first, marker, is_commit });
                }
            }
        }
        if by.base_sequence == NO_SEQUENCE {
            return;
        }
        let last = by.base_sequence + batch.content.count - 1;
        entry.batches.push((by.base_sequence, last, batch.base));
        if entry.batches.len() > BATCHES_KEPT {
            entry.batches.remove(0);
        }
    }

    /// For the seeded fault of this name.
    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Cuts the log so that it ends at `offset` at the latest. What is cut is gone from the disk, too. An epoch without a
    /// record is forgotten in any case. Returns whether any record went.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> bool {
        let is_cut = offset < self.end();
        self.cut(offset);
        if is_cut {
            self.truncations += 1;
            self.durable_end = self.durable_end.min(self.end());
            self.synced_end = self.synced_end.min(self.end());
        }
        is_cut
    }

    /// The log is deleted; what is written next is another one's.
    pub(crate) fn clear(&mut self) {
        self.truncate_to(0);
        self.truncations += 1;
        self.epochs.clear();
    }

    fn cut(&mut self, offset: i64) {
        let before = self.end();
        self.batches.truncate(self.batches.partition_point(|batch| batch.end() <= offset));
        let end = self.end();
        self.epochs.truncate(self.epochs.partition_point(|(_, start)| *start < end));
        if offset >= before {
            return;
        }
        self.verified_end = self.verified_end.min(end);
        self.producers.clear();
        self.ended.clear();
        for batch in std::mem::take(&mut self.batches) {
            self.note_producer(&batch);
            self.batches.push(batch);
        }
    }

    /// A ticket for all that is written; `None` if all is durable or a ticket is out.
    pub(crate) fn begin_sync(&mut self) -> Option<SyncTicket> {
        if self.is_syncing || self.durable_end == self.end() {
            return None;
        }
        self.is_syncing = true;
        Some(SyncTicket { end: self.end(), truncations: self.truncations })
    }

    pub(crate) fn complete_sync(&mut self, ticket: SyncTicket, forgets_truncation: bool) {
        self.is_syncing = false;
        if ticket.truncations == self.truncations {
            self.durable_end = ticket.end;
            self.synced_end = ticket.end;
        } else if forgets_truncation {
            self.durable_end = self.durable_end.max(ticket.end.min(self.end()));
        }
    }

    /// All that is written becomes durable at once: a clean stop.
    pub(crate) fn sync_now(&mut self) {
        self.durable_end = self.end();
        self.synced_end = self.end();
    }

    /// What a start finds after the process died: everything, for the page cache outlived it. Opening syncs it.
    pub(crate) fn recover(&mut self) {
        self.is_syncing = false;
        self.epochs.clear();
        for at in 0..self.batches.len() {
            let (epoch, base) = (self.batches[at].epoch, self.batches[at].base);
            self.assign_epoch(epoch, base);
        }
        self.sync_now();
    }

    /// The power went: of what was not durable, a prefix that ends before `kept_end` survived. Returns whether
    /// anything was lost.
    pub(crate) fn lose_power(&mut self, kept_end: i64) -> bool {
        let before = self.end();
        self.cut(kept_end.max(self.synced_end));
        self.end() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(id: u64, sequence: i32) -> NewBatch {
        let sequenced = Some(Sequenced { producer_id: 9, producer_epoch: 0, base_sequence: sequence });
        NewBatch { id, count: 2, sequenced, ..NewBatch::default() }
    }

    #[test]
    fn a_repeated_batch_gets_its_first_place_and_a_gap_is_refused() {
        let mut log = SimulatedLog::default();
        for number in 0..7 {
            log.append_as_leader(batch(number, 2 * number as i32), 1).unwrap();
        }
        let again = log.append_as_leader(batch(4, 8), 1).unwrap();
        assert_eq!(again, Appended { base: 8, end: 10, is_duplicate: true });
        assert_eq!(log.append_as_leader(batch(0, 0), 1), Err(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(log.append_as_leader(batch(9, 16), 1), Err(ErrorCode::OutOfOrderSequenceNumber));
        assert!(log.truncate_to(12));
        assert_eq!(log.append_as_leader(batch(6, 12), 1).unwrap().base, 12);
    }

    #[test]
    fn a_sync_from_before_a_truncation_makes_nothing_durable() {
        let mut log = SimulatedLog::default();
        log.append_as_leader(batch(0, 0), 1).unwrap();
        log.append_as_leader(batch(1, 2), 1).unwrap();
        let ticket = log.begin_sync().unwrap();
        assert!(log.begin_sync().is_none());
        assert!(log.truncate_to(3));
        assert_eq!(log.end(), 2);
        log.append_as_leader(batch(2, 2), 2).unwrap();
        log.complete_sync(ticket, false);
        assert_eq!(log.durable_end(), 0);
        assert!(log.lose_power(0));
        assert_eq!(log.end(), 0);
    }

    #[test]
    fn an_open_transaction_holds_readers_back_until_its_marker_is_committed() {
        let mut log = SimulatedLog::default();
        let of = |epoch, sequence, in_transaction| {
            let by = Sequenced { producer_id: 9, producer_epoch: epoch, base_sequence: sequence };
            NewBatch {
                count: 2,
                sequenced: Some(by),
                in_transaction: Some(in_transaction),
                ..NewBatch::default()
            }
        };
        let records = InTransaction::Records { transaction: 1 };
        let abort = InTransaction::Marker { is_commit: false, coordinator_epoch: 3, transaction_version: 2 };
        log.append_as_leader(batch(0, 0), 1).unwrap();
        log.append_as_leader(of(0, 2, records), 1).unwrap();
        assert!(log.is_in_transaction((9, 0)) && !log.is_in_transaction((9, 1)));
        assert_eq!((log.last_stable_offset(4), log.aborted(0, 4)), (2, vec![]));
        assert_eq!(log.append_as_leader(of(0, NO_SEQUENCE, abort), 1), Err(ErrorCode::InvalidProducerEpoch));
        log.append_as_leader(of(1, NO_SEQUENCE, abort), 1).unwrap();
        assert_eq!((log.last_stable_offset(4), log.last_stable_offset(6)), (2, 6));
        assert!(log.append_as_leader(of(1, NO_SEQUENCE, abort), 1).is_ok(), "once more");
        log.truncate_to(6);
        assert_eq!((log.aborted(0, 4), log.aborted(0, 2), log.aborted(5, 6)), (vec![(9, 2)], vec![], vec![]));
        assert_eq!(log.append_as_leader(of(0, 4, records), 1), Err(ErrorCode::InvalidProducerEpoch));
        assert!(log.truncate_to(5) && log.is_in_transaction((9, 0)));
    }

    #[test]
    fn epochs_end_where_the_next_begins() {
        let mut log = SimulatedLog::default();
        log.append_as_leader(batch(0, 0), 2).unwrap();
        log.append_as_leader(batch(1, 2), 5).unwrap();
        for (asked, expected) in
            [(2, Some((2, 2))), (3, Some((2, 2))), (5, Some((5, 4))), (6, None), (1, Some((1, 0)))]
        {
            assert_eq!(log.end_for_epoch(asked), expected, "{asked}");
        }
    }
}
