//! One pass of the cleaner: a plan made under the partition's lock, carried out without it, group by group.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use moldau_model::{Offset, ProducerId, TimestampMs};

use super::filter::{Fate, Filter};
use super::key_map::{KeyMap, SLOT_BYTES};
use super::transactions::{Standing, Transactions};
use super::{CleanerBudget, CleanerPace, swap};
use crate::file_cache::{FileKind, Storage, segment_path};
use crate::file_system::OpenFile;
use crate::producer_state::LastRecord;
use crate::segment::{BatchReader, Segment};
use crate::{AbortedTransaction, CleanReport, File, LogError, PartitionLog};

/// Less is not worth a system call, however small the budget.
const BUFFER_BYTES_MIN: usize = 4 << 10;

/// A closed segment as it was when the pass was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    base: Offset,
    /// Where the next segment begins.
    end: Offset,
    size_bytes: u64,
    /// Of its larger index.
    index_bytes: u64,
}

/// A run of segments that becomes one.
#[derive(Debug)]
pub(super) struct Group {
    sources: Vec<Source>,
    report: CleanReport,
}

impl Group {
    pub(super) fn base_offset(&self) -> Offset {
        self.sources.first().map_or(Offset::ZERO, |first| first.base)
    }

    fn bases(&self) -> Vec<Offset> {
        self.sources.iter().map(|source| source.base).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.sources.len()
    }
}

/// One pass of the cleaner under way. Dropping it gives the pass up.
#[derive(Debug)]
pub struct Cleaning {
    storage: Arc<Storage>,
    sources: Vec<Source>,
    /// `None` before the first run.
    keys: Option<KeyMap>,
    keys_from: Offset,
    budget: CleanerBudget,
    last_records: HashMap<ProducerId, LastRecord>,
    /// All that ended in `sources`, by their ends.
    aborted: Vec<AbortedTransaction>,
    /// How far the copying has come.
    transactions: Transactions,
    now: TimestampMs,
    delete_retention_ms: i64,
    segment_bytes: u32,
    segment_index_bytes: u32,
    /// What the log's counter said: a truncation makes the pass void.
    truncations: u64,
    /// How many of `sources` were dealt with.
    done: usize,
    written: Option<Group>,
    /// Read and written since the pace heard of any.
    unpaced_bytes: u64,
    /// Nothing more may be written or installed.
    stopped: bool,
    /// There is nothing left to write.
    finished: bool,
    report: CleanReport,
    /// The log knows by it that the pass is still out.
    _running: Arc<()>,
}

impl Cleaning {
    /// A pass over the first `cleanable` segments.
    pub(super) fn plan(
        log: &mut PartitionLog,
        cleanable: usize,
        now: TimestampMs,
        budget: CleanerBudget,
    ) -> Result<Self, LogError> {
        let segments = log.segments();
        let sources = (0..cleanable).filter_map(|number| {
            let (segment, next) = (segments.get(number)?, segments.get(number + 1)?);
            Some(Source {
                base: segment.base_offset(),
                end: next.base_offset(),
                size_bytes: segment.size_bytes(),
                index_bytes: segment.index_bytes(),
            })
        });
        let sources: Vec<Source> = sources.collect();
        let end = sources.last().map_or(Offset::ZERO, |last| last.end);
        let start = sources.first().map_or(end, |first| first.base);
        let aborted = log
            .aborted_transactions(start, end)
            .map_err(io::Error::other)
            .map_err(LogError::io(log.directory()))?;
        Ok(Self {
            storage: Arc::clone(log.storage()),
            keys: None,
            keys_from: log.first_dirty_offset().max(log.log_start_offset()),
            budget: CleanerBudget { buffer_bytes: budget.buffer_bytes.max(BUFFER_BYTES_MIN), ..budget },
            last_records: log.producers().last_records_below(end),
            transactions: Transactions::new(&aborted),
            aborted,
            sources,
            now,
            delete_retention_ms: log.config().delete_retention_ms,
            segment_bytes: log.config().segment_bytes,
            segment_index_bytes: log.config().segment_index_bytes,
            truncations: log.truncations(),
            done: 0,
            written: None,
            unpaced_bytes: 0,
            stopped: false,
            finished: false,
            report: CleanReport::default(),
            _running: log.mark_cleaning(),
        })
    }

    /// Writes the next cleaned file, durably; `pace` hears of every buffer that is read or written. `false` once there is
    /// none, or `pace` has ended the pass. After an error the pass is over.
    pub fn run(&mut self, pace: &mut CleanerPace<'_>) -> Result<bool, LogError> {
        let step_bytes = self.budget.buffer_bytes as u64;
        let mut meter = Meter { pace, step_bytes, bytes: self.unpaced_bytes, is_over: false };
        let result = self.write_next(&mut meter);
        self.unpaced_bytes = meter.bytes;
        if meter.is_over {
            self.stopped = true;
            return Ok(false);
        }
        if result.is_err() {
            self.stopped = true;
        }
        result.map_err(LogError::io(&self.storage.directory()))
    }

    fn write_next(&mut self, meter: &mut Meter<'_, '_>) -> io::Result<bool> {
        if self.stopped {
            return Ok(false);
        }
        let keys = match self.keys.take() {
            Some(keys) => keys,
            None => self.collect_keys(meter)?,
        };
        self.report.first_dirty_offset = keys.end_offset();
        let sources = self.next_group(keys.end_offset());
        let mut group = Group { report: CleanReport::default(), sources };
        if group.sources.is_empty() {
            self.keys = Some(keys);
            self.finished = true;
            return Ok(false);
        }
        self.done += group.count();
        let mut transactions = std::mem::take(&mut self.transactions);
        let written = self.write_cleaned(&mut group, &keys, &mut transactions, meter);
        self.transactions = transactions;
        if let Err(error) = written {
            swap::discard_cleaned(&self.storage, group.base_offset());
            return Err(error);
        }
        self.keys = Some(keys);
        self.written = Some(group);
        Ok(true)
    }

    pub(super) fn take_written(&mut self) -> Option<Group> {
        self.written.take()
    }

    /// Where in the log the group lies, if nothing has changed there since the pass was planned.
    pub(super) fn still_holds(&self, log: &PartitionLog, group: &Group) -> Option<usize> {
        let segments = log.segments();
        let first = segments.iter().position(|segment| segment.base_offset() == group.base_offset())?;
        let is_same = |(source, segment): (&Source, &Segment)| {
            source.base == segment.base_offset() && source.size_bytes == segment.size_bytes()
        };
        let same = segments.len() > first + group.count()
            && group.sources.iter().zip(segments.iter().skip(first)).all(is_same);
        (same && self.is_of(log)).then_some(first)
    }

    /// Whether it is still the log, and the history, that the pass was planned for.
    fn is_of(&self, log: &PartitionLog) -> bool {
        Arc::ptr_eq(&self.storage, log.storage()) && self.truncations == log.truncations()
    }

    pub(super) fn installed(&mut self, group: &Group) {
        let (all, one) = (&mut self.report, &group.report);
        all.segments_cleaned += group.count();
        all.bytes_before += one.bytes_before;
        all.bytes_after += one.bytes_after;
        all.records_before += one.records_before;
        all.records_after += one.records_after;
    }

    /// There is no log any more that anything could be installed in.
    pub fn give_up(&mut self) {
        self.stopped = true;
    }

    /// A later group must not be installed without an earlier one: a tombstone would go before what it hides.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_complete(&self, log: &PartitionLog) -> bool {
        self.finished && !self.stopped && self.written.is_none() && self.is_of(log)
    }

    pub(super) fn report(&self) -> CleanReport {
        self.report
    }

    fn open(&self, source: &Source) -> io::Result<Arc<dyn File>> {
        let path = segment_path(&self.storage.directory(), source.base, FileKind::Log.suffix());
        self.storage.file_system.open(&path, OpenFile::Read)
    }

    fn reader<'a>(&self, file: &'a dyn File, source: &Source) -> BatchReader<'a> {
        BatchReader::new(file, source.size_bytes).reading_at_once(self.budget.buffer_bytes)
    }

    /// The last offset of each key in what was not compacted yet.
    fn collect_keys(&self, meter: &mut Meter<'_, '_>) -> io::Result<KeyMap> {
        let mut keys = KeyMap::new(self.keys_from, self.key_slots(), self.budget.key_load_factor);
        let mut transactions = Transactions::new(&self.aborted_from(self.keys_from));
        for source in self.sources.iter().filter(|source| source.end > self.keys_from) {
            let file = self.open(source)?;
            let mut reader = self.reader(&*file, source);
            while let Some((_, batch)) = reader.next()? {
                meter.note(batch.size_bytes())?;
                let counts = transactions.advance(&batch) == Standing::Counts;
                if batch.last_offset() >= keys.end_offset() && !keys.add_batch(&batch, counts) {
                    if keys.end_offset() == self.keys_from {
                        return Err(io::Error::other(
                            "one batch has more keys than fit into log.cleaner.dedupe.buffer.size",
                        ));
                    }
                    return Ok(keys);
                }
            }
            expect_end(&reader, source)?;
            keys.set_end_offset(source.end);
        }
        Ok(keys)
    }

    /// As many as the budget has, and no more than there can be keys for.
    fn key_slots(&self) -> usize {
        let end = self.sources.last().map_or(self.keys_from, |last| last.end);
        let offsets = usize::try_from(end.minus(self.keys_from)).unwrap_or(0);
        let wanted = (offsets as f64 / self.budget.key_load_factor.max(0.01)) as usize;
        (self.budget.key_bytes / SLOT_BYTES).min(wanted.saturating_add(2))
    }

    /// Of the aborted transactions those that end in the segments from the one on that holds `from`.
    fn aborted_from(&self, from: Offset) -> Vec<AbortedTransaction> {
        let first = self.sources.iter().find(|source| source.end > from).map_or(from, |source| source.base);
        self.aborted.iter().filter(|transaction| transaction.last_offset >= first).copied().collect()
    }

    /// Joins neighbours as long as the sum stays within one segment. The oldest first: a tombstone must not go before the
    /// values that it hides, nor may a crash find it so.
    fn next_group(&self, keys_end: Offset) -> Vec<Source> {
        let rest = self.sources.iter().skip(self.done).take_while(|source| source.base < keys_end);
        let mut group: Vec<Source> = Vec::new();
        let (mut bytes, mut index_bytes) = (0, 0);
        for source in rest {
            let base = group.first().map_or(source.base, |first| first.base);
            let fits = bytes + source.size_bytes <= u64::from(self.segment_bytes)
                && index_bytes + source.index_bytes <= u64::from(self.segment_index_bytes)
                && source.end.minus(base) <= i64::from(i32::MAX);
            if !group.is_empty() && !fits {
                break;
            }
            bytes += source.size_bytes;
            index_bytes += source.index_bytes;
            group.push(*source);
        }
        group
    }

    fn write_cleaned(
        &self,
        group: &mut Group,
        keys: &KeyMap,
        transactions: &mut Transactions,
        meter: &mut Meter<'_, '_>,
    ) -> io::Result<()> {
        let target = swap::create_cleaned(&self.storage, group.base_offset())?;
        let filter = Filter {
            keys,
            last_records: &self.last_records,
            now: self.now,
            delete_retention_ms: self.delete_retention_ms,
        };
        let mut aborted = Vec::new();
        let mut out = Vec::with_capacity(self.budget.buffer_bytes);
        let mut position = 0;
        for source in &group.sources {
            group.report.bytes_before += source.size_bytes;
            let file = self.open(source)?;
            let mut reader = self.reader(&*file, source);
            while let Some((_, batch)) = reader.next()? {
                meter.note(batch.size_bytes())?;
                batch.check_crc().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let standing = transactions.advance(&batch);
                let fate = filter.batch(&batch, standing, &mut group.report);
                if batch.is_control() && !matches!(fate, Fate::Drop) {
                    aborted.extend(self.aborted_at(batch.base_offset()));
                }
                match fate {
                    Fate::Keep => out.extend_from_slice(batch.bytes()),
                    Fate::Rewrite(bytes) => out.extend_from_slice(&bytes),
                    Fate::Drop => {}
                }
                if out.len() >= self.budget.buffer_bytes {
                    meter.note(out.len())?;
                    self.storage.room.check_for_cleaning(out.len() as u64)?;
                    target.write_all_at(&out, position)?;
                    position += out.len() as u64;
                    out.clear();
                }
            }
            expect_end(&reader, source)?;
        }
        self.storage.room.check_for_cleaning(out.len() as u64)?;
        target.write_all_at(&out, position)?;
        group.report.bytes_after += position + out.len() as u64;
        target.sync_data()?;
        swap::write_aborted(&self.storage, group.base_offset(), &group.bases(), &aborted)
    }

    /// The aborted transaction of which this is the end.
    fn aborted_at(&self, marker: Offset) -> Option<AbortedTransaction> {
        let at = self.aborted.binary_search_by_key(&marker, |transaction| transaction.last_offset).ok()?;
        self.aborted.get(at).copied()
    }
}

/// Counts what is read and written, and tells the pace now and then.
struct Meter<'a, 'p> {
    pace: &'a mut CleanerPace<'p>,
    step_bytes: u64,
    bytes: u64,
    is_over: bool,
}

impl Meter<'_, '_> {
    fn note(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes += bytes as u64;
        if self.bytes < self.step_bytes {
            return Ok(());
        }
        if (self.pace)(std::mem::take(&mut self.bytes)).is_break() {
            self.is_over = true;
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// What cannot be read is not compacted away.
fn expect_end(reader: &BatchReader<'_>, source: &Source) -> io::Result<()> {
    if reader.position < source.size_bytes {
        let message = format!("segment {} cannot be read from byte {} on", source.base, reader.position);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(())
}
