//! The records of `__transaction_state`, byte for byte Kafka's: a transactional id, and the newest of its transactions.
//!
//! Key and value open with a version each. Source: the record definitions of Apache Kafka 4.3's transaction coordinator.

mod value;
mod wire;

use bytes::Bytes;

pub(crate) use value::{decode_value, encode_value};
use wire::{Reader, Writer};

/// What [`TransactionShard::replay`](crate::TransactionShard::replay) made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A transaction, or its tombstone.
    Transaction,
    /// A record of a kind this coordinator does not keep; the number is the key's version.
    Skipped(i16),
}

/// Why bytes are no record of `__transaction_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the {field} of a transaction record is cut short")]
    Truncated { field: &'static str },
    #[error("the {field} of a transaction record is invalid")]
    Invalid { field: &'static str },
    #[error("a transaction record has a value of unknown version {0}")]
    UnknownValueVersion(i16),
}

const KEY_VERSION: i16 = 0;
/// The longest string that Kafka's 16-bit length can carry.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A key, over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKey<'a> {
    Transaction {
        transactional_id: &'a str,
    },
    /// A kind that this coordinator does not know.
    Other {
        version: i16,
    },
}

pub(crate) fn decode_key(key: &[u8]) -> Result<RecordKey<'_>, RecordError> {
    let mut reader = Reader::new(key);
    let version = reader.i16("key version")?;
    if version != KEY_VERSION {
        return Ok(RecordKey::Other { version });
    }
    let transactional_id = reader.string("transactional id")?;
    // Kafka's own readers ignore what follows a value's last field; for a key it would be another key.
    if !reader.is_at_end() {
        return Err(RecordError::Invalid { field: "key" });
    }
    Ok(RecordKey::Transaction { transactional_id })
}

pub(crate) fn encode_key(transactional_id: &str) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(KEY_VERSION);
    writer.string(transactional_id);
    writer.finish()
}
