//! A snapshot of the producers at one offset, in Kafka's file format: so that a start need not read the whole log.
//!
//! ```text
//! version i16 = 1 | crc u32, CRC-32C of all that follows | count i32, then for each producer:
//! producer_id i64, epoch i16, last_sequence i32, last_offset i64, offset_delta i32, timestamp i64,
//! coordinator_epoch i32, transaction_first_offset i64
//! ```
//! Of a producer's batches only the last is kept.

use moldau_model::{Offset, ProducerEpoch, ProducerId, TimestampMs};

use super::ProducerState;
use super::window::{ProducerEntry, StoredBatch};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const CRC_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

/// Why a snapshot cannot be used; an older one, or the log itself, then serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("snapshot of version {0}")]
    Version(i16),
    #[error("snapshot with a wrong CRC")]
    Crc,
    #[error("snapshot of {0} bytes")]
    Length(usize),
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

impl ProducerState {
    pub(crate) fn encode_snapshot(&self) -> Vec<u8> {
        let mut entries: Vec<&ProducerEntry> = self.producers.values().collect();
        entries.sort_unstable_by_key(|entry| entry.producer_id);
        let mut out = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(entries.len() as i32).to_be_bytes());
        for entry in entries {
            let batch = entry.last_batch();
            out.extend_from_slice(&entry.producer_id.0.to_be_bytes());
            out.extend_from_slice(&entry.producer_epoch.0.to_be_bytes());
            out.extend_from_slice(&batch.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
            out.extend_from_slice(&batch.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
            out.extend_from_slice(&batch.map_or(0, |batch| batch.offset_delta).to_be_bytes());
            out.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
            out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&entry.transaction_first_offset.0.to_be_bytes());
        }
        let crc = crc32c::crc32c(out.get(CRC_FROM..).unwrap_or_default());
        if let Some(place) = out.get_mut(2..CRC_FROM) {
            place.copy_from_slice(&crc.to_be_bytes());
        }
        out
    }

    /// Reads a snapshot. All producers in it count as seen at `now`: better one remembered too long than one forgotten
    /// while it still repeats a batch.
    pub(crate) fn decode_snapshot(bytes: &[u8], now: TimestampMs) -> Result<Self, SnapshotError> {
        let length = SnapshotError::Length(bytes.len());
        let mut reader = Reader(bytes);
        let version = i16::from_be_bytes(reader.take().ok_or(length.clone())?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let crc = u32::from_be_bytes(reader.take().ok_or(length.clone())?);
        if crc32c::crc32c(reader.0) != crc {
            return Err(SnapshotError::Crc);
        }
        let count = i32::from_be_bytes(reader.take().ok_or(length.clone())?);
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES))
            != Some(reader.0.len())
        {
            return Err(length);
        }
        let mut state = Self::default();
        while let Some(entry) = decode_entry(&mut reader, now) {
            if entry.transaction_first_offset != Offset::NONE {
                state.ongoing.insert(entry.transaction_first_offset, entry.producer_id);
            }
            state.producers.insert(entry.producer_id, entry);
        }
        Ok(state)
    }
}

fn decode_entry(reader: &mut Reader<'_>, now: TimestampMs) -> Option<ProducerEntry> {
    let mut entry = ProducerEntry::new(ProducerId(i64::from_be_bytes(reader.take()?)));
    entry.producer_epoch = ProducerEpoch(i16::from_be_bytes(reader.take()?));
    let last_sequence = i32::from_be_bytes(reader.take()?);
    let last_offset = Offset(i64::from_be_bytes(reader.take()?));
    let offset_delta = i32::from_be_bytes(reader.take()?);
    entry.last_timestamp = TimestampMs(i64::from_be_bytes(reader.take()?));
    entry.last_seen = now;
    entry.coordinator_epoch = i32::from_be_bytes(reader.take()?);
    entry.transaction_first_offset = Offset(i64::from_be_bytes(reader.take()?)).max(Offset::NONE);
    if last_offset.0 >= 0 {
        entry.push(StoredBatch { last_sequence, last_offset, offset_delta, timestamp: entry.last_timestamp });
    }
    Some(entry)
}
