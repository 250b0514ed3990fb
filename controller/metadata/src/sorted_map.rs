//! A sorted map whose clone is one pointer and whose change copies little: chunks of sorted entries behind pointers,
//! copied only where they change and only if somebody else still holds them. Persistent-map crates do this too; these
//! two levels are enough for the sizes that metadata has (10,000 topics: 300 pointers and one chunk a change), they
//! stay sorted, and comparing two versions skips every chunk that they share.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// A chunk that would grow beyond this is split in two.
const CHUNK_LENGTH_MAX: usize = 64;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map with copy on write; see the module.
/// No chunk is empty or longer than `CHUNK_LENGTH_MAX`, and keys ascend through them.
pub struct SortedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    length: usize,
}

impl<K, V> Clone for SortedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), length: self.length }
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), length: 0 }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> SortedMap<K, V> {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The entries, keys ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    /// The chunk that holds the key or would: the last one that starts at or before it.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key).saturating_sub(1)
    }

    /// The value of this key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        Some(&chunk[place].1)
    }

    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries from this key on, keys ascending.
    pub fn iter_from<'a, Q: Ord + ?Sized>(
        &'a self,
        key: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let first = self.chunk_of(key);
        let skipped =
            self.chunks.get(first).map_or(0, |chunk| chunk.partition_point(|(k, _)| k.borrow() < key));
        let chunks = self.chunks.get(first..).unwrap_or_default();
        chunks.iter().flat_map(|chunk| chunk.iter().map(|(k, v)| (k, v))).skip(skipped)
    }

    /// Sets the value of a key and gives the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(place) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.length += 1;
            return None;
        };
        let entries = Arc::make_mut(chunk);
        match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => return Some(std::mem::replace(&mut entries[at].1, value)),
            Err(at) => entries.insert(at, (key, value)),
        }
        self.length += 1;
        if entries.len() > CHUNK_LENGTH_MAX {
            // Ascending inserts, the usual ones of partitions, leave full chunks behind instead of half-full ones.
            let at = if place + 1 == chunks.len() { CHUNK_LENGTH_MAX } else { CHUNK_LENGTH_MAX / 2 };
            let tail = Arc::make_mut(&mut chunks[place]).split_off(at);
            chunks.insert(place + 1, Arc::new(tail));
        }
        None
    }

    /// The value, to be changed in place. It is copied first if another map shares it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.chunk_of(key);
        let at = self.chunks.get(place)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunk = &mut Arc::make_mut(&mut self.chunks)[place];
        Some(&mut Arc::make_mut(chunk)[at].1)
    }

    /// Takes a key out and gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.chunk_of(key);
        let at = self.chunks.get(place)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let entries = Arc::make_mut(&mut chunks[place]);
        let (_, value) = entries.remove(at);
        if entries.is_empty() {
            chunks.remove(place);
        }
        self.length -= 1;
        Some(value)
    }

    /// Calls `changed(key, before, after)` for every key whose value is not equal in both, keys ascending. Chunks that
    /// both maps share are skipped unseen, so that the cost follows the change and not the size.
    pub fn for_each_difference<'a>(
        &'a self,
        after: &'a Self,
        mut changed: impl FnMut(&'a K, Option<&'a V>, Option<&'a V>),
    ) where
        V: PartialEq,
    {
        let (mut left, mut right) = (Cursor::new(&self.chunks), Cursor::new(&after.chunks));
        loop {
            while left.skip_shared(&mut right) {}
            match (left.entry(), right.entry()) {
                (None, None) => return,
                (Some((key, value)), None) => {
                    changed(key, Some(value), None);
                    left.step();
                }
                (None, Some((key, value))) => {
                    changed(key, None, Some(value));
                    right.step();
                }
                (Some((left_key, before)), Some((right_key, after))) => match left_key.cmp(right_key) {
                    std::cmp::Ordering::Less => {
                        changed(left_key, Some(before), None);
                        left.step();
                    }
                    std::cmp::Ordering::Greater => {
                        changed(right_key, None, Some(after));
                        right.step();
                    }
                    std::cmp::Ordering::Equal => {
                        if before != after {
                            changed(left_key, Some(before), Some(after));
                        }
                        left.step();
                        right.step();
                    }
                },
            }
        }
    }
}

/// Where a comparison stands in one of its maps.
struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    place: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(chunks: &'a [Chunk<K, V>]) -> Self {
        Self { chunks, place: 0 }
    }

    fn entry(&self) -> Option<(&'a K, &'a V)> {
        self.chunks.first().map(|chunk| (&chunk[self.place].0, &chunk[self.place].1))
    }

    fn step(&mut self) {
        self.place += 1;
        if self.chunks.first().is_some_and(|chunk| chunk.len() == self.place) {
            self.chunks = &self.chunks[1..];
            self.place = 0;
        }
    }

    /// Steps both over one chunk if they stand at the start of the very same one.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some(mine), Some(others)) = (self.chunks.first(), other.chunks.first()) else { return false };
        let shared = self.place == 0 && other.place == 0 && Arc::ptr_eq(mine, others);
        if shared {
            self.chunks = &self.chunks[1..];
            other.chunks = &other.chunks[1..];
        }
        shared
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SortedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length
            && (Arc::ptr_eq(&self.chunks, &other.chunks) || self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for SortedMap<K, V> {}

#[cfg(test)]
mod tests;
