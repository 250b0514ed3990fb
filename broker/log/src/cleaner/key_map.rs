//! The last offset of each key, in bounded memory: a key counts by 128 bits of two keyed hashes, so that two keys are
//! never taken for one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use moldau_model::Offset;
use moldau_record::{BatchView, DecompressLimit};

use super::filter::DECOMPRESSED_BYTES_MAX;

#[derive(Debug)]
pub(super) struct KeyMap {
    hashers: (RandomState, RandomState),
    offsets: HashMap<(u64, u64), Offset>,
    keys_max: usize,
    /// Exclusive: every key below it is in the map.
    end_offset: Offset,
}

impl KeyMap {
    pub(super) fn new(from: Offset, keys_max: usize) -> Self {
        Self {
            hashers: (RandomState::new(), RandomState::new()),
            offsets: HashMap::new(),
            keys_max,
            end_offset: from,
        }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Takes in a batch's keys, if its records count; `false` if there is no room for all of them.
    pub(super) fn add_batch(&mut self, batch: &BatchView<'_>, counts: bool) -> bool {
        let next_offset = batch.next_offset();
        let room = self.keys_max.saturating_sub(self.offsets.len());
        if batch.record_count().max(0) as usize > room {
            return false;
        }
        if counts && let Ok(records) = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)) {
            for record in records.iter().map_while(Result::ok) {
                if let Some(key) = record.key {
                    self.offsets.insert(self.hash(key), record.offset);
                }
            }
        }
        self.end_offset = next_offset;
        true
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.end_offset
    }

    pub(super) fn set_end_offset(&mut self, end_offset: Offset) {
        self.end_offset = self.end_offset.max(end_offset);
    }

    /// Whether a later record has the key.
    pub(super) fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(&self.hash(key)).is_some_and(|last| *last > offset)
    }
}
