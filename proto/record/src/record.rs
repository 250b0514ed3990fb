//! The records inside a batch, each a view over the (decompressed) bytes. Every length is checked against the bytes
//! that are there: a batch from a client may hold anything.
//!
//! ```text
//! length varint | attributes i8 | timestamp_delta varlong | offset_delta varint
//! key_length varint, key | value_length varint, value | header_count varint, headers
//! header: key_length varint, key | value_length varint, value
//! ```
//! A length of -1 is null. Source: Kafka's documentation, "Record"; KIP-98, KIP-82.

use std::borrow::Cow;

use moldau_model::{Offset, TimestampMs};

use crate::compression::{DecompressError, DecompressLimit, decompress};
use crate::header::{BatchView, TimestampType};
use crate::varint::VarintReader;

/// What is wrong with the records of a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The codec numbers 5 to 7.
    #[error("unknown compression codec {id}")]
    UnknownCompression { id: i16 },
    #[error("record count {count}")]
    BadCount { count: i32 },
    #[error("{count} records do not fit in {bytes} bytes")]
    CountTooLarge { count: i32, bytes: usize },
    #[error("record ends early")]
    Truncated,
    #[error("variable-length number runs over its type's width")]
    VarintTooLong,
    #[error("length {length} in a record")]
    BadLength { length: i32 },
    #[error("{bytes} bytes left inside a record")]
    RecordNotFilled { bytes: usize },
    #[error("offset delta {offset_delta} where {expected} is next")]
    OffsetDelta { offset_delta: i32, expected: i32 },
    #[error("{bytes} bytes follow the last record")]
    TrailingBytes { bytes: usize },
}

/// One record. Its key, value and headers are slices of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    /// The batch's time of append where its timestamps are the broker's.
    pub timestamp: TimestampMs,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record, as they came: in order, duplicates and all. Checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header. Kafka's clients write the key as UTF-8, which nobody checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The records of one batch, decompressed if they had to be.
pub struct RecordSet<'a> {
    bytes: Cow<'a, [u8]>,
    base_offset: Offset,
    base_timestamp: TimestampMs,
    append_time: Option<TimestampMs>,
    count: i32,
}

/// The smallest record: its length, and a byte each for attributes, two deltas, two lengths and the header count.
const RECORD_BYTES_MIN: usize = 7;

impl<'a> BatchView<'a> {
    /// Opens the batch's records; decompresses no more than `limit`. Does not check the CRC.
    pub fn records(&self, limit: DecompressLimit) -> Result<RecordSet<'a>, RecordError> {
        let id = self.attributes() & 0x07;
        let compression = self.compression().ok_or(RecordError::UnknownCompression { id })?;
        let bytes = decompress(compression, self.records_bytes(), limit)?;
        let count = self.record_count();
        if count < 0 {
            return Err(RecordError::BadCount { count });
        }
        if count as usize > bytes.len() / RECORD_BYTES_MIN {
            return Err(RecordError::CountTooLarge { count, bytes: bytes.len() });
        }
        let append_time =
            (self.timestamp_type() == TimestampType::LogAppendTime).then_some(self.max_timestamp());
        Ok(RecordSet {
            bytes,
            base_offset: self.base_offset(),
            base_timestamp: self.base_timestamp(),
            append_time,
            count,
        })
    }
}

impl RecordSet<'_> {
    /// What the batch's header says; [`Self::iter`] holds it to it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The records' bytes, decompressed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records in order. Ends after the first error; bytes behind the last record are one.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        Records { set: self, rest: &self.bytes, left: self.count, failed: false }
    }
}

impl<'s> IntoIterator for &'s RecordSet<'_> {
    type Item = Result<Record<'s>, RecordError>;
    type IntoIter = Records<'s>;

    fn into_iter(self) -> Records<'s> {
        self.iter()
    }
}

/// Iterator over the records of a [`RecordSet`].
pub struct Records<'s> {
    set: &'s RecordSet<'s>,
    rest: &'s [u8],
    left: i32,
    failed: bool,
}

impl<'s> Iterator for Records<'s> {
    type Item = Result<Record<'s>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.left == 0 {
            self.failed = true;
            let bytes = self.rest.len();
            return (bytes > 0).then_some(Err(RecordError::TrailingBytes { bytes }));
        }
        self.left -= 1;
        let record = self.read();
        self.failed = record.is_err();
        Some(record)
    }
}

impl<'s> Records<'s> {
    fn read(&mut self) -> Result<Record<'s>, RecordError> {
        let mut outer = VarintReader::new(self.rest);
        let length = outer.varint()?;
        let length = usize::try_from(length).map_err(|_| RecordError::BadLength { length })?;
        let mut reader = VarintReader::new(outer.take(length)?);
        self.rest = outer.rest();

        // The record's attributes: Kafka defines none of the bits.
        reader.take(1)?;
        let timestamp_delta = reader.varlong()?;
        let offset_delta = reader.varint()?;
        let key = reader.nullable_bytes()?;
        let value = reader.nullable_bytes()?;
        let headers = read_headers(&mut reader)?;
        let bytes = reader.rest().len();
        if bytes > 0 {
            return Err(RecordError::RecordNotFilled { bytes });
        }
        let timestamp = match self.set.append_time {
            Some(time) => time,
            None => TimestampMs(self.set.base_timestamp.0.wrapping_add(timestamp_delta)),
        };
        let offset = Offset(self.set.base_offset.0.wrapping_add(i64::from(offset_delta)));
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

fn read_headers<'a>(reader: &mut VarintReader<'a>) -> Result<Headers<'a>, RecordError> {
    let length = reader.varint()?;
    let count = usize::try_from(length).map_err(|_| RecordError::BadLength { length })?;
    let bytes = reader.rest();
    // A count that lies ends the loop with the bytes: nothing is reserved for it.
    for _ in 0..count {
        read_header(reader)?;
    }
    let bytes = bytes.get(..bytes.len() - reader.rest().len()).unwrap_or_default();
    Ok(Headers { count, bytes })
}

fn read_header<'a>(reader: &mut VarintReader<'a>) -> Result<Header<'a>, RecordError> {
    let key = reader.nullable_bytes()?.ok_or(RecordError::BadLength { length: -1 })?;
    let value = reader.nullable_bytes()?;
    Ok(Header { key, value })
}

impl Headers<'_> {
    /// No headers.
    pub const EMPTY: Self = Self { count: 0, bytes: &[] };

    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        let mut reader = VarintReader::new(self.bytes);
        let header = read_header(&mut reader).ok()?;
        self.bytes = reader.rest();
        Some(header)
    }
}
