//! What becomes of one batch: kept as it is, rewritten with fewer records, or dropped.

use std::borrow::Cow;
use std::collections::HashMap;

use moldau_model::{ProducerId, TimestampMs};
use moldau_record::{
    BATCH_HEADER_BYTES, BatchView, Compression, DecompressLimit, Record, RecordSet, TimestampType, compress,
};

use super::key_map::KeyMap;
use super::transactions::Standing;
use super::varint;
use crate::CleanReport;
use crate::producer_state::LastRecord;

/// A batch that grows beyond this is kept as it is.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// The base timestamp is the time from which tombstones may go (KIP-534).
const DELETE_HORIZON: i16 = 0x40;
const COMPRESSION_MASK: i16 = 0x07;

const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const RECORD_COUNT_AT: usize = 57;
const LOG_OVERHEAD: usize = 12;

#[derive(Debug)]
pub(super) enum Fate {
    Keep,
    Rewrite(Vec<u8>),
    Drop,
}

#[derive(Debug)]
pub(super) struct Filter<'a> {
    pub(super) keys: &'a KeyMap,
    /// Of each producer the last that is known.
    pub(super) last_records: &'a HashMap<ProducerId, LastRecord>,
    pub(super) now: TimestampMs,
    pub(super) delete_retention_ms: i64,
}

/// The records of a batch that stay.
#[derive(Default)]
struct Kept {
    /// Their bytes, one behind the other.
    records: Vec<u8>,
    count: i32,
    tombstones: bool,
    max_timestamp: Option<TimestampMs>,
}

impl Filter<'_> {
    pub(super) fn batch(&self, batch: &BatchView<'_>, standing: Standing, report: &mut CleanReport) -> Fate {
        let count = batch.record_count().max(0);
        report.records_before += count as u64;
        let fate = self.decide(batch, standing, count, report);
        if matches!(fate, Fate::Keep) {
            report.records_after += count as u64;
        }
        fate
    }

    fn decide(
        &self,
        batch: &BatchView<'_>,
        standing: Standing,
        count: i32,
        report: &mut CleanReport,
    ) -> Fate {
        if batch.last_offset() >= self.keys.end_offset() {
            return Fate::Keep;
        }
        if count == 0 {
            return if self.is_last_of_producer(batch) { Fate::Keep } else { Fate::Drop };
        }
        match standing {
            Standing::Counts => {}
            Standing::Aborted => return self.without_records(batch),
            Standing::Marker { has_batches: true } => return Fate::Keep,
            Standing::Marker { has_batches: false } => return self.marker(batch, count, report),
        }
        // A batch that cannot be understood is kept whole: compaction never loses what it did not read.
        let Some(compression) = batch.compression() else { return Fate::Keep };
        let Ok(records) = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)) else { return Fate::Keep };
        let horizon = self.horizon(batch);
        let Some(kept) = self.select(&records, horizon) else { return Fate::Keep };
        if kept.count == 0 {
            return self.without_records(batch);
        }
        let horizon_is_new = kept.tombstones && horizon.is_none();
        if kept.count == count && !horizon_is_new {
            return Fate::Keep;
        }
        let new_horizon =
            horizon_is_new.then(|| TimestampMs(self.now.0.saturating_add(self.delete_retention_ms)));
        let Some(rewritten) = rewrite(batch, &kept, compression, new_horizon) else { return Fate::Keep };
        report.records_after += kept.count as u64;
        Fate::Rewrite(rewritten)
    }

    fn without_records(&self, batch: &BatchView<'_>) -> Fate {
        if self.is_last_of_producer(batch) { Fate::Rewrite(empty(batch)) } else { Fate::Drop }
    }

    /// The end of a transaction of which nothing is left goes `delete.retention.ms` after the first pass that finds it so: a
    /// consumer may still have to read it that has read the records.
    fn marker(&self, batch: &BatchView<'_>, count: i32, report: &mut CleanReport) -> Fate {
        if let Some(horizon) = self.horizon(batch) {
            return if self.now >= horizon { self.without_records(batch) } else { Fate::Keep };
        }
        let kept = Kept {
            records: batch.records_bytes().to_vec(),
            count,
            max_timestamp: Some(batch.max_timestamp()),
            ..Kept::default()
        };
        let horizon = TimestampMs(self.now.0.saturating_add(self.delete_retention_ms));
        match rewrite(batch, &kept, Compression::None, Some(horizon)) {
            Some(rewritten) if batch.compression() == Some(Compression::None) => {
                report.records_after += kept.count as u64;
                Fate::Rewrite(rewritten)
            }
            Some(_) | None => Fate::Keep,
        }
    }

    fn horizon(&self, batch: &BatchView<'_>) -> Option<TimestampMs> {
        (batch.attributes() & DELETE_HORIZON != 0).then(|| batch.base_timestamp())
    }

    /// The producer's sequence goes on from its last batch: it must be found again after a restart. Where none is known
    /// of its epoch, that is from the end of a transaction.
    fn is_last_of_producer(&self, batch: &BatchView<'_>) -> bool {
        let last = self.last_records.get(&batch.producer_id()).filter(|_| batch.has_producer_id());
        last.is_some_and(|last| match last.data_offset {
            Some(offset) => offset == batch.last_offset() && !batch.is_control(),
            None => batch.is_control() && batch.producer_epoch() == last.producer_epoch,
        })
    }

    fn select(&self, records: &RecordSet<'_>, horizon: Option<TimestampMs>) -> Option<Kept> {
        let mut kept = Kept::default();
        let mut bytes = records.bytes();
        for record in records {
            let record = record.ok()?;
            let mut rest = bytes;
            let length = usize::try_from(varint::take(&mut rest)?).ok()?;
            let size = bytes.len() - rest.len() + length;
            let (raw, after) = bytes.split_at_checked(size)?;
            bytes = after;
            if self.stays(&record, horizon) {
                kept.records.extend_from_slice(raw);
                kept.count += 1;
                kept.tombstones |= record.value.is_none();
                kept.max_timestamp = kept.max_timestamp.max(Some(record.timestamp));
            }
        }
        bytes.is_empty().then_some(kept)
    }

    fn stays(&self, record: &Record<'_>, horizon: Option<TimestampMs>) -> bool {
        // A record without a key was written before the topic was compacted; nothing could ever replace it.
        let Some(key) = record.key else { return false };
        let expired_tombstone = record.value.is_none() && horizon.is_some_and(|horizon| self.now >= horizon);
        !expired_tombstone && !self.keys.is_superseded(key, record.offset)
    }
}

/// The batch with other records. Base offset, last offset, epoch, producer and codec stay.
fn rewrite(
    batch: &BatchView<'_>,
    kept: &Kept,
    compression: Compression,
    new_horizon: Option<TimestampMs>,
) -> Option<Vec<u8>> {
    let records = match new_horizon {
        Some(horizon) => Cow::Owned(move_base_timestamp(&kept.records, batch.base_timestamp().0, horizon.0)?),
        None => Cow::Borrowed(kept.records.as_slice()),
    };
    let compressed = compress(compression, &records).ok()?;
    let mut out = batch.bytes().get(..BATCH_HEADER_BYTES)?.to_vec();
    out.extend_from_slice(&compressed);
    if let Some(horizon) = new_horizon {
        put(&mut out, ATTRIBUTES_AT, &(batch.attributes() | DELETE_HORIZON).to_be_bytes());
        put(&mut out, BASE_TIMESTAMP_AT, &horizon.0.to_be_bytes());
    }
    if batch.timestamp_type() == TimestampType::CreateTime
        && let Some(max_timestamp) = kept.max_timestamp
    {
        put(&mut out, MAX_TIMESTAMP_AT, &max_timestamp.0.to_be_bytes());
    }
    put(&mut out, RECORD_COUNT_AT, &kept.count.to_be_bytes());
    seal(&mut out);
    Some(out)
}

/// A batch without records that keeps the producer's sequence and the offsets.
fn empty(batch: &BatchView<'_>) -> Vec<u8> {
    let mut out = batch.bytes().get(..BATCH_HEADER_BYTES).unwrap_or_default().to_vec();
    let attributes = batch.attributes() & !(COMPRESSION_MASK | DELETE_HORIZON);
    put(&mut out, ATTRIBUTES_AT, &attributes.to_be_bytes());
    put(&mut out, BASE_TIMESTAMP_AT, &TimestampMs::NONE.0.to_be_bytes());
    put(&mut out, RECORD_COUNT_AT, &0i32.to_be_bytes());
    seal(&mut out);
    out
}

/// Records hold their time as a distance from the base, which becomes another.
fn move_base_timestamp(mut records: &[u8], old_base: i64, new_base: i64) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(records.len() + 64);
    let mut body = Vec::new();
    while !records.is_empty() {
        let length = usize::try_from(varint::take(&mut records)?).ok()?;
        let (record, after) = records.split_at_checked(length)?;
        records = after;
        let (attributes, mut rest) = record.split_first()?;
        let timestamp = old_base.wrapping_add(varint::take(&mut rest)?);
        body.clear();
        body.push(*attributes);
        varint::put(&mut body, timestamp.wrapping_sub(new_base));
        body.extend_from_slice(rest);
        varint::put(&mut out, body.len() as i64);
        out.extend_from_slice(&body);
    }
    Some(out)
}

/// Sets length and CRC.
fn seal(batch: &mut [u8]) {
    let length = (batch.len() - LOG_OVERHEAD) as i32;
    put(batch, LENGTH_AT, &length.to_be_bytes());
    let crc = crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    put(batch, CRC_AT, &crc.to_be_bytes());
}

fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = batch.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
