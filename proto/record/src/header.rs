//! A view of one record batch, magic 2, over its bytes: nothing is copied and nothing decoded.
//!
//! ```text
//!  0 base_offset i64          17 crc u32 (CRC-32C of all from 21 on)   43 producer_id i64
//!  8 batch_length i32         21 attributes i16                        51 producer_epoch i16
//! 12 leader_epoch i32         23 last_offset_delta i32                 53 base_sequence i32
//! 16 magic i8                 27 base_timestamp i64, 35 max_timestamp  57 record_count i32, 61 records
//! ```
//! `batch_length` counts from offset 12. Base offset and leader epoch lie before the checksummed part, so a leader
//! patches them in place. Source: Kafka's documentation, "Record Batch"; KIP-98.

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

use crate::compression::Compression;

/// `base_offset` and `batch_length`: what must be read to know where the batch ends.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The whole header; the records follow.
pub const BATCH_HEADER_BYTES: usize = 61;
pub const MAGIC_V2: i8 = 2;

const CRC_START: usize = 21;
const COMPRESSION_MASK: i16 = 0x07;
pub(crate) const TIMESTAMP_TYPE_MASK: i16 = 0x08;
pub(crate) const TRANSACTIONAL_MASK: i16 = 0x10;
pub(crate) const CONTROL_MASK: i16 = 0x20;

/// Whose clock a batch's timestamps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// What is wrong with bytes that should be a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("{remaining} bytes are too few for a record batch")]
    Truncated { remaining: usize },
    #[error("batch length {length} is below the header's size")]
    BadLength { length: i32 },
    #[error("magic {magic} where 2 is the only one stored")]
    UnsupportedMagic { magic: i8 },
    #[error("CRC of the batch is {stored:#010x}, of its bytes {computed:#010x}")]
    BadCrc { stored: u32, computed: u32 },
}

/// One whole batch. Its length is checked, nothing else is until asked for.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

/// Reads `N` bytes at a place inside a header whose length was checked when the view was made.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(source) = bytes.get(at..at + N) {
        out.copy_from_slice(source);
    }
    out
}

/// The size of the batch that starts at `bytes`, from its first twelve bytes.
pub fn batch_size(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() < LOG_OVERHEAD_BYTES {
        return Err(BatchError::Truncated { remaining: bytes.len() });
    }
    let length = i32::from_be_bytes(field(bytes, 8));
    let size = usize::try_from(length).unwrap_or(0) + LOG_OVERHEAD_BYTES;
    if size < BATCH_HEADER_BYTES {
        return Err(BatchError::BadLength { length });
    }
    Ok(size)
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`; what follows it is left alone.
    pub fn first(bytes: &'a [u8]) -> Result<Self, BatchError> {
        if bytes.len() > 16 {
            let magic = i8::from_be_bytes(field(bytes, 16));
            if magic != MAGIC_V2 {
                return Err(BatchError::UnsupportedMagic { magic });
            }
        }
        let size = batch_size(bytes)?;
        let bytes = bytes.get(..size).ok_or(BatchError::Truncated { remaining: bytes.len() })?;
        Ok(Self { bytes })
    }

    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(field(self.bytes, 0)))
    }

    /// The offset of the last record, which compaction may have removed. Saturates: the fields are a peer's.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset().0.saturating_add(i64::from(self.last_offset_delta())))
    }

    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(field(self.bytes, 12)))
    }

    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.bytes, 17))
    }

    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(self.bytes, 21))
    }

    /// `None` for the codec numbers 5 to 7, which no Kafka knows.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_id(self.attributes() & COMPRESSION_MASK)
    }

    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & TIMESTAMP_TYPE_MASK == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_MASK != 0
    }

    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_MASK != 0
    }

    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, 23))
    }

    #[must_use]
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(field(self.bytes, 27)))
    }

    #[must_use]
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(i64::from_be_bytes(field(self.bytes, 35)))
    }

    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(field(self.bytes, 43)))
    }

    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id().0 >= 0
    }

    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(field(self.bytes, 51)))
    }

    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, 53))
    }

    /// The last record's sequence: they wrap from 2^31-1 to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence() < 0 {
            return self.base_sequence();
        }
        self.base_sequence().wrapping_add(self.last_offset_delta()) & i32::MAX
    }

    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, 57))
    }

    /// The records, still compressed if the batch is.
    #[must_use]
    pub fn records_bytes(&self) -> &'a [u8] {
        self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or(&[])
    }

    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(self.bytes.get(CRC_START..).unwrap_or(&[]));
        let stored = self.crc();
        if computed == stored { Ok(()) } else { Err(BatchError::BadCrc { stored, computed }) }
    }
}

/// The batches that stand one behind the other in `bytes`. Ends after the first error.
#[derive(Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = BatchView::first(self.rest);
        self.rest = match &item {
            Ok(batch) => self.rest.get(batch.size_bytes()..).unwrap_or(&[]),
            Err(_) => &[],
        };
        Some(item)
    }
}

/// Gives the batch its place in the log. `batch` holds at least a header.
pub fn set_base_offset(batch: &mut [u8], offset: Offset) {
    put(batch, 0, &offset.0.to_be_bytes());
}

/// Stamps the leader's epoch. `batch` holds at least a header.
pub fn set_leader_epoch(batch: &mut [u8], epoch: LeaderEpoch) {
    put(batch, 12, &epoch.0.to_be_bytes());
}

/// Makes the batch's time the broker's (`message.timestamp.type=LogAppendTime`), which needs a new CRC.
/// `batch` is exactly one batch.
pub fn set_log_append_time(batch: &mut [u8], time: TimestampMs) {
    let attributes = i16::from_be_bytes(field(batch, 21)) | TIMESTAMP_TYPE_MASK;
    put(batch, 21, &attributes.to_be_bytes());
    put(batch, 35, &time.0.to_be_bytes());
    seal(batch);
}

/// Corrects what the batch's header says of its records' times. `batch` is exactly one batch.
pub fn set_max_timestamp(batch: &mut [u8], time: TimestampMs) {
    put(batch, 35, &time.0.to_be_bytes());
    seal(batch);
}

/// The records behind the header were packed anew. `batch` is exactly one batch.
pub(crate) fn set_compression(batch: &mut [u8], compression: Compression) {
    let length = batch.len().saturating_sub(LOG_OVERHEAD_BYTES) as i32;
    put(batch, 8, &length.to_be_bytes());
    let attributes = i16::from_be_bytes(field(batch, 21)) & !COMPRESSION_MASK | compression.id();
    put(batch, 21, &attributes.to_be_bytes());
    seal(batch);
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(CRC_START..).unwrap_or(&[]));
    put(batch, 17, &crc.to_be_bytes());
}

fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = batch.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
