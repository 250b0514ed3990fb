//! What the Raft log asks of a store: few operations, and none is durable before `sync`.

pub(super) mod sled_store;

#[cfg(test)]
pub(super) mod fault;

use std::io;

use bytes::Bytes;

/// The names under which the log keeps more than its entries.
pub(super) mod meta {
    pub(crate) const VOTE: &str = "vote";
    pub(crate) const COMMITTED: &str = "committed";
    pub(crate) const LAST_PURGED: &str = "last_purged";
}

/// A change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Adds an entry; the one before it is there.
    Append { index: u64, entry: Bytes },
    /// Removes the entry `from` and all behind it.
    Truncate { from: u64 },
    /// Removes the entry `to` and all before it.
    Purge { to: u64 },
    /// Keeps a small value under a name.
    PutMeta { key: &'static str, value: Bytes },
}

/// The store under the Raft log. One thread writes; others may read meanwhile.
///
/// Power may be cut at any time. What was written before the last `sync` that returned is there afterwards; of what was
/// written later, any number of writes may be missing, but never one whose successor is there.
pub(super) trait RaftKv: Send + Sync + 'static {
    /// Carries out the writes in their order. They are seen by readers when this returns.
    fn write(&self, writes: &[Write]) -> io::Result<()>;

    /// Makes all writes durable. After an error nothing more may be written: what reached the disk is not known.
    fn sync(&self) -> io::Result<()>;

    /// The entries from `start` to before `end` that are there, each with its index, in order and without a gap.
    fn range(&self, start: u64, end: u64) -> io::Result<Vec<(u64, Bytes)>>;

    /// The first and the last entry's index. Checks that no entry between them is missing, and drops a torn one at the
    /// end, which can only be one that was never synced.
    fn bounds(&self) -> io::Result<Option<(u64, u64)>>;

    /// The value under a name.
    fn get_meta(&self, key: &str) -> io::Result<Option<Bytes>>;
}
