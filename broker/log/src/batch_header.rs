//! The header of a batch, read once and passed on by value, and the walk over the headers of a file.

use std::io;

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BATCH_HEADER_BYTES, BatchView, MAGIC_V2};

use crate::File;

/// Enough for a lookup: an index entry stands every `index.interval.bytes`.
pub(crate) const LOOKUP_BUFFER_BYTES: usize = 4096;
/// For walks over whole segments.
pub(crate) const WALK_BUFFER_BYTES: usize = 64 << 10;

const MAGIC_AT: usize = 16;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// What the log goes by. `base_offset` and `leader_epoch` are those of the stored batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: Offset,
    pub(crate) last_offset_delta: i32,
    pub(crate) size_bytes: u32,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) attributes: i16,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: ProducerEpoch,
    pub(crate) base_sequence: i32,
    pub(crate) last_sequence: i32,
}

impl BatchHeader {
    pub(crate) fn of(batch: &BatchView<'_>) -> Self {
        Self {
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta(),
            size_bytes: batch.size_bytes() as u32,
            leader_epoch: batch.leader_epoch(),
            attributes: batch.attributes(),
            max_timestamp: batch.max_timestamp(),
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
        }
    }

    /// Reads a stored header, whose batch has `room` bytes to lie in. `None` if it cannot be one.
    fn parse(bytes: &[u8; BATCH_HEADER_BYTES], room: u64) -> Option<Self> {
        if i8::from_be_bytes([bytes[MAGIC_AT]]) != MAGIC_V2 {
            return None;
        }
        let size_bytes = moldau_record::batch_size(bytes).ok()?;
        if size_bytes as u64 > room {
            return None;
        }
        let view = HeaderView(bytes);
        let last_offset_delta = i32::from_be_bytes(view.field(23));
        let base_offset = Offset(i64::from_be_bytes(view.field(0)));
        if base_offset.0 < 0 || last_offset_delta < 0 {
            return None;
        }
        let base_sequence = i32::from_be_bytes(view.field(53));
        Some(Self {
            base_offset,
            last_offset_delta,
            size_bytes: size_bytes as u32,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(view.field(12))),
            attributes: i16::from_be_bytes(view.field(21)),
            max_timestamp: TimestampMs(i64::from_be_bytes(view.field(35))),
            producer_id: ProducerId(i64::from_be_bytes(view.field(43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(view.field(51))),
            base_sequence,
            last_sequence: if base_sequence < 0 {
                base_sequence
            } else {
                base_sequence.wrapping_add(last_offset_delta) & i32::MAX
            },
        })
    }

    pub(crate) fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    pub(crate) fn has_producer_id(&self) -> bool {
        self.producer_id.0 >= 0
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

struct HeaderView<'a>(&'a [u8; BATCH_HEADER_BYTES]);

impl HeaderView<'_> {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error("no batch at byte {position}")]
    Corrupt { position: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Walks over the batches of a file from one to the next, reading ahead by the buffer and skipping what lies between.
pub(crate) struct HeaderWalk<'a> {
    file: &'a dyn File,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    buffer_bytes: usize,
}

impl<'a> HeaderWalk<'a> {
    /// From `position`, where a batch begins, to `end`, where the last one ends.
    pub(crate) fn new(file: &'a dyn File, position: u64, end: u64, buffer_bytes: usize) -> Self {
        Self { file, position, end, buffer: Vec::new(), buffer_start: 0, buffer_bytes }
    }

    /// The next batch's place and header.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, WalkError> {
        if self.position == self.end {
            return Ok(None);
        }
        let position = self.position;
        let header = self.header()?.ok_or(WalkError::Corrupt { position })?;
        self.position += u64::from(header.size_bytes);
        Ok(Some((position, header)))
    }

    fn header(&mut self) -> Result<Option<BatchHeader>, WalkError> {
        let room = self.end.saturating_sub(self.position);
        if room < BATCH_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let buffered = self.position.checked_sub(self.buffer_start).map(|at| at as usize);
        let bytes = match buffered.and_then(|at| self.buffer.get(at..at + BATCH_HEADER_BYTES)) {
            Some(bytes) => bytes,
            None => {
                self.buffer.resize(self.buffer_bytes.min(room as usize), 0);
                self.file.read_exact_at(&mut self.buffer, self.position)?;
                self.buffer_start = self.position;
                self.buffer.get(..BATCH_HEADER_BYTES).unwrap_or_default()
            }
        };
        let bytes = bytes.first_chunk().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(BatchHeader::parse(bytes, room))
    }
}
