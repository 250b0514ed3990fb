//! Building a batch: what the coordinators write, what the tools produce, what tests send.

use std::borrow::Cow;

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

use crate::compression::{CompressError, Compression, compress};
use crate::control::ControlRecord;
use crate::header::{BATCH_HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC_V2, TimestampType};
use crate::varint::{put_varint, put_varlong, varint_size};

/// Why no batch came of it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("record of {bytes} bytes")]
    RecordTooLarge { bytes: usize },
    #[error("batch of {bytes} bytes")]
    BatchTooLarge { bytes: usize },
    #[error("offset {offset} after {previous}")]
    OffsetOutOfOrder { offset: Offset, previous: Offset },
    #[error("offset {offset} in a batch that starts at {base_offset}")]
    OffsetOutOfRange { offset: Offset, base_offset: Offset },
    #[error(transparent)]
    Compress(#[from] CompressError),
}

/// Collects records and writes one batch of them.
///
/// ```
/// use moldau_model::TimestampMs;
/// use moldau_record::{BatchBuilder, BatchView, Compression, DecompressLimit};
///
/// let mut builder = BatchBuilder::new().compression(Compression::Zstd);
/// builder.append(TimestampMs(1_000), Some(b"key"), Some(b"value"), &[])?;
/// let bytes = builder.build()?;
/// let batch = BatchView::first(&bytes)?;
/// batch.check_crc()?;
/// let records = batch.records(DecompressLimit(1024))?;
/// assert_eq!(records.count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    timestamp_type: TimestampType,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    transactional: bool,
    control: bool,
    base_timestamp: Option<TimestampMs>,
    max_timestamp: TimestampMs,
    last_offset_delta: i32,
    count: i32,
    records: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// Not compressed, from offset 0, of no producer id: what a plain producer sends.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            compression: Compression::None,
            timestamp_type: TimestampType::CreateTime,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            transactional: false,
            control: false,
            base_timestamp: None,
            max_timestamp: TimestampMs::NONE,
            last_offset_delta: -1,
            count: 0,
            records: Vec::new(),
        }
    }

    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// With `LogAppendTime`, all records are of the batch's greatest timestamp.
    #[must_use]
    pub const fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.timestamp_type = timestamp_type;
        self
    }

    /// The first record's offset, to be set before records are appended.
    #[must_use]
    pub const fn base_offset(mut self, base_offset: Offset) -> Self {
        self.base_offset = base_offset;
        self
    }

    #[must_use]
    pub const fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Makes the batch an idempotent producer's (KIP-98). `base_sequence` is the first record's; a control batch has -1.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    #[must_use]
    pub const fn transactional(mut self, transactional: bool) -> Self {
        self.transactional = transactional;
        self
    }

    #[must_use]
    pub const fn control(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// Adds a record at the next offset. Headers are pairs of key and value, written in this order.
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let offset = Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta) + 1));
        self.append_at(offset, timestamp, key, value, headers)
    }

    /// Adds a record at an offset above the last one's: what compaction leaves has gaps.
    pub fn append_at(
        &mut self,
        offset: Offset,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let base_offset = self.base_offset;
        let delta = offset
            .0
            .checked_sub(base_offset.0)
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta >= 0)
            .ok_or(BuildError::OffsetOutOfRange { offset, base_offset })?;
        if delta <= self.last_offset_delta {
            let previous = base_offset.plus(i64::from(self.last_offset_delta));
            return Err(BuildError::OffsetOutOfOrder { offset, previous });
        }
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.unwrap_or(timestamp).0);
        let body = Body { timestamp_delta, offset_delta: delta, key, value, headers };
        body.write(&mut self.records)?;
        self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset_delta = delta;
        self.count += 1;
        Ok(())
    }

    /// Adds the end of a transaction. The batch is to be a control batch.
    pub fn append_control(
        &mut self,
        timestamp: TimestampMs,
        record: ControlRecord,
    ) -> Result<(), BuildError> {
        let value = record.value_bytes();
        self.append(timestamp, Some(&record.key_bytes()), value.as_ref().map(<[u8; 6]>::as_slice), &[])
    }

    /// How many records were appended.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// The batch's size if it were built now without compression.
    #[must_use]
    pub const fn uncompressed_size_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.records.len()
    }

    /// The batch, CRC and all. Without records it is one that no broker takes from a producer.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        let records: Cow<'_, [u8]> = compress(self.compression, &self.records)?;
        let bytes = BATCH_HEADER_BYTES + records.len();
        let batch_length =
            i32::try_from(bytes - LOG_OVERHEAD_BYTES).map_err(|_| BuildError::BatchTooLarge { bytes })?;
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(&self.base_offset.0.to_be_bytes());
        out.extend_from_slice(&batch_length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        out.extend_from_slice(&MAGIC_V2.to_be_bytes());
        let crc_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let crc_from = out.len();
        out.extend_from_slice(&self.attributes().to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.max(0).to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.unwrap_or(TimestampMs::NONE).0.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.producer_id.0.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.0.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&records);
        let crc = crc32c::crc32c(out.get(crc_from..).unwrap_or_default());
        if let Some(place) = out.get_mut(crc_at..crc_from) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        Ok(out)
    }

    fn attributes(&self) -> i16 {
        let mut attributes = self.compression.id();
        if self.timestamp_type == TimestampType::LogAppendTime {
            attributes |= crate::header::TIMESTAMP_TYPE_MASK;
        }
        if self.transactional {
            attributes |= crate::header::TRANSACTIONAL_MASK;
        }
        if self.control {
            attributes |= crate::header::CONTROL_MASK;
        }
        attributes
    }
}

struct Body<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Body<'_> {
    /// Appends the record, or nothing.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let bytes = self.size();
        // Every length inside is smaller than the whole, so this check is theirs too.
        let length = i32::try_from(bytes).map_err(|_| BuildError::RecordTooLarge { bytes })?;
        put_varint(out, length);
        out.push(0);
        put_varlong(out, self.timestamp_delta);
        put_varint(out, self.offset_delta);
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        put_varint(out, self.headers.len() as i32);
        for (key, value) in self.headers {
            put_nullable(out, Some(key.as_bytes()));
            put_nullable(out, *value);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let header = |(key, value): &(&str, Option<&[u8]>)| {
            nullable_size(Some(key.as_bytes())) + nullable_size(*value)
        };
        1 + varint_size(self.timestamp_delta)
            + varint_size(i64::from(self.offset_delta))
            + nullable_size(self.key)
            + nullable_size(self.value)
            + varint_size(self.headers.len() as i64)
            + self.headers.iter().map(header).sum::<usize>()
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i32));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(bytes.len() as i64) + bytes.len())
}
