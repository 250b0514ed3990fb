//! Tests of the boundary as a whole.

mod library_suite;
mod node;
mod power_cut;
mod sled_names;
mod sled_rows;

use bytes::Bytes;
use openraft::EntryPayload;

use super::types::{EncodedBatch, Entry, log_id};

/// An entry with a batch of this many zero bytes: no valid metadata, which the log does not care about.
pub(super) fn entry(term: u64, index: u64, length: usize) -> Entry {
    let batch = Bytes::from(vec![index as u8; length]);
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(EncodedBatch(batch)) }
}
