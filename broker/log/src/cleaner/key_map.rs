//! The last offset of each key, in memory of a fixed size: a key counts by 128 bits of two keyed hashes, so that two keys
//! are never taken for one.
//!
//! One table without pointers, which never grows: what the operator allows is all that a pass takes. It is asked for in
//! zeroed pages, of which the system gives only those that are written to. A key that is further from its place than the one
//! it meets takes that one's slot (Robin Hood hashing), so that a look into a table that is nine tenths full ends early also
//! where there is nothing to find.

use std::hash::{BuildHasher, RandomState};

use moldau_model::Offset;
use moldau_record::{BatchView, DecompressLimit};

use super::filter::DECOMPRESSED_BYTES_MAX;

/// Both halves of a key's hash, and one more than its offset; an empty slot is all zeros.
type Slot = [u64; 3];

/// What a key costs.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

#[derive(Debug)]
pub(super) struct KeyMap {
    hashers: (RandomState, RandomState),
    slots: Vec<Slot>,
    count: usize,
    count_max: usize,
    /// Exclusive: every key below it is in the map.
    end_offset: Offset,
}

/// A key's place in the table, and how far from there it was looked for.
#[derive(Clone, Copy)]
struct Probe {
    at: usize,
    distance: usize,
}

impl KeyMap {
    /// A map of `slots`, of which `load_factor` may be filled.
    pub(super) fn new(from: Offset, slots: usize, load_factor: f64) -> Self {
        let slots = slots.max(2);
        Self {
            hashers: (RandomState::new(), RandomState::new()),
            slots: vec![[0; 3]; slots],
            count: 0,
            // One slot stays empty, so that every search ends.
            count_max: ((slots as f64 * load_factor) as usize).clamp(1, slots - 1),
            end_offset: from,
        }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    fn slot(&self, at: usize) -> Slot {
        self.slots.get(at).copied().unwrap_or_default()
    }

    fn next(&self, probe: Probe) -> Probe {
        let at = if probe.at + 1 == self.slots.len() { 0 } else { probe.at + 1 };
        Probe { at, distance: probe.distance + 1 }
    }

    fn distance_of(&self, slot: &Slot, at: usize) -> usize {
        let home = self.home(slot[0]);
        if at >= home { at - home } else { at + self.slots.len() - home }
    }

    /// The key's slot, or the first one that another key must not be beyond.
    fn find(&self, hash: (u64, u64)) -> (Probe, bool) {
        let mut probe = Probe { at: self.home(hash.0), distance: 0 };
        loop {
            let slot = self.slot(probe.at);
            if slot[2] == 0 || self.distance_of(&slot, probe.at) < probe.distance {
                return (probe, false);
            }
            if (slot[0], slot[1]) == hash {
                return (probe, true);
            }
            probe = self.next(probe);
        }
    }

    /// `false` if the key is new and there is no room for it.
    fn insert(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let stored = stored(offset);
        let (mut probe, is_known) = self.find(hash);
        if is_known {
            if let Some(slot) = self.slots.get_mut(probe.at) {
                slot[2] = stored;
            }
            return true;
        }
        if self.count >= self.count_max {
            return false;
        }
        self.count += 1;
        let mut carried = [hash.0, hash.1, stored];
        loop {
            let slot = self.slot(probe.at);
            let distance = self.distance_of(&slot, probe.at);
            let is_free = slot[2] == 0;
            if is_free || distance < probe.distance {
                if let Some(place) = self.slots.get_mut(probe.at) {
                    *place = carried;
                }
                if is_free {
                    return true;
                }
                (carried, probe.distance) = (slot, distance);
            }
            probe = self.next(probe);
        }
    }

    /// Takes in a batch's keys, if its records count; `false` if there is no room for all of them. Those that were taken
    /// in stay: what they hide is hidden by records that are there, whether this pass ends before them or not.
    pub(super) fn add_batch(&mut self, batch: &BatchView<'_>, counts: bool) -> bool {
        if counts && let Ok(records) = batch.records(DecompressLimit(DECOMPRESSED_BYTES_MAX)) {
            for record in records.iter().map_while(Result::ok) {
                if let Some(key) = record.key
                    && !self.insert(key, record.offset)
                {
                    return false;
                }
            }
        }
        self.end_offset = batch.next_offset();
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
        let (probe, is_known) = self.find(self.hash(key));
        is_known && self.slot(probe.at)[2] > stored(offset)
    }
}

fn stored(offset: Offset) -> u64 {
    (offset.0 as u64).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn knows_what_a_map_of_the_library_knows_up_to_its_last_slot() {
        for (slots, load_factor) in [(2, 0.9), (7, 1.0), (100, 0.5), (1000, 0.9), (1000, 1.0)] {
            let mut map = KeyMap::new(Offset(0), slots, load_factor);
            let mut model: HashMap<Vec<u8>, i64> = HashMap::new();
            let mut state = 7u64;
            for offset in 0..20 * slots as i64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = (state >> 33) % (2 * slots as u64);
                let key = key.to_string().into_bytes();
                let has_room = model.contains_key(&key) || model.len() < map.count_max;
                assert_eq!(map.insert(&key, Offset(offset)), has_room, "{slots} {offset}");
                if has_room {
                    model.insert(key, offset);
                }
            }
            assert_eq!(model.len(), map.count_max, "it was filled");
            for key in 0..2 * slots as u64 {
                let key = key.to_string().into_bytes();
                let last = model.get(&key).copied();
                assert!(!map.is_superseded(&key, Offset(last.unwrap_or(0))), "{slots}");
                assert_eq!(map.is_superseded(&key, Offset(last.unwrap_or(1) - 1)), last.is_some());
            }
        }
    }
}
