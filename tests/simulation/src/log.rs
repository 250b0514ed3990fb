//! A partition's log on a simulated disk: a page-cache end and a durable end, the epochs, the producers.
//!
//! It promises what `moldau-log` promises (`0 <= durable_end <= end`, a batch that holds a truncation's offset goes
//! whole, epochs and producers follow the batches) and keeps no bytes: a batch is known by its id.

use std::collections::BTreeMap;
use std::rc::Rc;

use moldau_group::CoordinatorRecord;
use moldau_model::Offset;
use moldau_replica::LogEnds;

/// As many batches of a producer are known again as may be in flight.
const BATCHES_KEPT: usize = 5;

/// Who wrote a batch, and which of its batches it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) producer_id: i64,
    pub(crate) base_sequence: i32,
}

/// A batch before it has a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewBatch {
    /// No two batches that were made share one: it stands for the bytes.
    pub(crate) id: u64,
    pub(crate) count: i32,
    pub(crate) sequenced: Option<Sequenced>,
    /// A group coordinator's records.
    pub(crate) group: Option<Rc<Vec<CoordinatorRecord>>>,
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

/// The batch neither continues its producer's sequence nor repeats one of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrderSequence;

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

    pub(crate) fn append_as_leader(
        &mut self,
        content: NewBatch,
        epoch: i32,
    ) -> Result<Appended, OutOfOrderSequence> {
        if let Some(sequenced) = content.sequenced
            && let Some(known) = self.producers.get(&sequenced.producer_id)
        {
            let last = sequenced.base_sequence + content.count - 1;
            let repeated = known
                .batches
                .iter()
                .find(|(first, end, _)| *first == sequenced.base_sequence && *end == last);
            if let Some((_, _, base)) = repeated {
                let end = base + i64::from(content.count);
                return Ok(Appended { base: *base, end, is_duplicate: true });
            }
            if known.batches.last().is_some_and(|(_, end, _)| end + 1 != sequenced.base_sequence) {
                return Err(OutOfOrderSequence);
            }
        }
        let batch = Batch { base: self.end(), epoch, content };
        let (base, end) = (batch.base, batch.end());
        self.push(batch);
        Ok(Appended { base, end, is_duplicate: false })
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
        let Some(sequenced) = batch.content.sequenced else { return };
        let entry = self.producers.entry(sequenced.producer_id).or_default();
        let last = sequenced.base_sequence + batch.content.count - 1;
        entry.batches.push((sequenced.base_sequence, last, batch.base));
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
        let sequenced = Some(Sequenced { producer_id: 9, base_sequence: sequence });
        NewBatch { id, count: 2, sequenced, group: None }
    }

    #[test]
    fn a_repeated_batch_gets_its_first_place_and_a_gap_is_refused() {
        let mut log = SimulatedLog::default();
        for number in 0..7 {
            log.append_as_leader(batch(number, 2 * number as i32), 1).unwrap();
        }
        let again = log.append_as_leader(batch(4, 8), 1).unwrap();
        assert_eq!(again, Appended { base: 8, end: 10, is_duplicate: true });
        assert_eq!(log.append_as_leader(batch(0, 0), 1), Err(OutOfOrderSequence));
        assert_eq!(log.append_as_leader(batch(9, 16), 1), Err(OutOfOrderSequence));
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
