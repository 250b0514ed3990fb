//! Raft's log, over any [`RaftKv`]: the newest entries in memory, all of them in the store.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use super::codec::{decode_entry, decode_log_id, decode_vote, encode_entry, encode_log_id, encode_vote};
use super::kv::{RaftKv, Write, meta};
use super::types::{Entry, LogId, TypeConfig, Vote};
use super::writer::{Done, Writer};

/// How many entries, and how many of their bytes, stay in memory once they are in the store. What is applied right after
/// it was committed comes from here.
const TAIL_LENGTH_MAX: usize = 256;
const TAIL_BYTES_MAX: usize = 4 << 20;

struct TailEntry {
    entry: Entry,
    bytes: usize,
}

/// The log's end, as Raft sees it: ahead of the store by what the writer has not written yet.
struct Tail {
    entries: VecDeque<TailEntry>,
    bytes: usize,
    /// Readers find entries up to here in the store. Nothing above it leaves memory.
    written: Option<u64>,
    last_purged: Option<LogId>,
    /// The last entry's id, or else `last_purged`.
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Tail {
    fn evict(&mut self) {
        while self.entries.len() > TAIL_LENGTH_MAX || self.bytes > TAIL_BYTES_MAX {
            let Some(front) = self.entries.front() else { return };
            if self.written.is_none_or(|written| front.entry.log_id.index > written) {
                return;
            }
            self.bytes -= front.bytes;
            self.entries.pop_front();
        }
    }
}

/// Raft's log. A clone is the same log.
#[derive(Clone)]
pub(super) struct LogStore {
    store: Arc<dyn RaftKv>,
    writer: Arc<Writer>,
    tail: Arc<Mutex<Tail>>,
}

/// Reads the log while it is written.
#[derive(Clone)]
pub(super) struct LogReader {
    store: Arc<dyn RaftKv>,
    tail: Arc<Mutex<Tail>>,
}

impl LogStore {
    /// Opens the log in a store.
    ///
    /// # Errors
    /// `InvalidData` where the store's contents contradict one another.
    pub(super) fn open(store: Arc<dyn RaftKv>) -> io::Result<Self> {
        let damaged = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let vote = store.get_meta(meta::VOTE)?.map(|bytes| decode_vote(&bytes)).transpose()?;
        let committed = store.get_meta(meta::COMMITTED)?.map(|bytes| decode_log_id(&bytes)).transpose()?;
        let last_purged =
            store.get_meta(meta::LAST_PURGED)?.map(|bytes| decode_log_id(&bytes)).transpose()?;
        let bounds = store.bounds()?;
        let last = match bounds {
            None => last_purged,
            Some((first, last)) => {
                let expected = last_purged.as_ref().map_or(0, |id| id.index + 1);
                // Purged entries may be back: their removal is made durable with whatever is synced next.
                if first > expected {
                    return Err(damaged(format!(
                        "the log starts at {first}, but it was purged to {expected} only"
                    )));
                }
                let (index, bytes) = store
                    .range(last, last + 1)?
                    .pop()
                    .ok_or_else(|| damaged(format!("entry {last} cannot be read")))?;
                Some(decode_entry(index, bytes)?.log_id).max(last_purged)
            }
        };
        let tail = Arc::new(Mutex::new(Tail {
            entries: VecDeque::new(),
            bytes: 0,
            written: bounds.map(|(_, last)| last),
            last_purged,
            last,
            vote,
            // An entry that was lost with the power cannot have been the last committed one, but its number may
            // have reached the disk before it did on a store that reorders.
            committed: committed.min(last),
        }));
        let writer = {
            let tail = tail.clone();
            Writer::spawn(store.clone(), move |last| {
                let mut tail = tail.lock();
                tail.written = Some(last);
                tail.evict();
            })?
        };
        Ok(Self { store, writer: Arc::new(writer), tail })
    }

    /// The last entry that was purged.
    pub(super) fn last_purged_log_id(&self) -> Option<LogId> {
        self.tail.lock().last_purged
    }
}

impl LogReader {
    fn read(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        // What is in memory is taken first: the writer moves entries from there to the store and never back.
        let (newest, store_end) = {
            let tail = self.tail.lock();
            let start = start.max(tail.last_purged.as_ref().map_or(0, |id| id.index + 1));
            let in_memory = tail.entries.front().map(|front| front.entry.log_id.index);
            let newest: Vec<Entry> = tail
                .entries
                .iter()
                .map(|tail| &tail.entry)
                .filter(|entry| (start..end).contains(&entry.log_id.index))
                .cloned()
                .collect();
            // Without entries in memory, the store has them all; it may also still have some that were truncated.
            let log_end = tail.last.as_ref().map_or(0, |id| id.index + 1);
            (newest, in_memory.unwrap_or(log_end).min(end))
        };
        let start = start.max(self.tail.lock().last_purged.as_ref().map_or(0, |id| id.index + 1));
        let mut entries = if start < store_end {
            self.store
                .range(start, store_end)?
                .into_iter()
                .map(|(index, bytes)| decode_entry(index, bytes))
                .collect::<io::Result<Vec<_>>>()?
        } else {
            Vec::new()
        };
        entries.extend(newest);
        for pair in entries.windows(2) {
            if pair[0].log_id.index + 1 != pair[1].log_id.index {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the log has no entry {}", pair[0].log_id.index + 1),
                ));
            }
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.last_purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { store: self.store.clone(), tail: self.tail.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let only_commits = {
            let mut tail = self.tail.lock();
            let before = tail.vote.replace(*vote);
            before.is_some_and(|before| before.leader_id == vote.leader_id) && vote.is_committed()
        };
        let writes = vec![Write::PutMeta { key: meta::VOTE, value: encode_vote(vote) }];
        if only_commits {
            // Whom this node voted for is durable already. That the candidate won is not a promise: lost with the
            // power, the vote reads as a restart would treat it anyway. No entry of that leader is durable before it,
            // because the writer keeps the order.
            self.writer.write(writes, false, Done::Unwatched).await
        } else {
            self.writer.write_and_wait(writes, true).await
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // It goes to the store with the next entries: late is as good as never, and costs no write of its own.
        self.tail.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut writes = Vec::new();
        {
            let mut tail = self.tail.lock();
            for entry in entries {
                let bytes = encode_entry(&entry);
                let expected = tail.last.as_ref().map_or(0, |last| last.index + 1);
                assert!(
                    entry.log_id.index == expected || tail.last.is_none(),
                    "entry {} was appended where {expected} is due",
                    entry.log_id.index
                );
                tail.last = Some(entry.log_id);
                tail.bytes += bytes.len();
                writes.push(Write::Append { index: entry.log_id.index, entry: bytes.clone() });
                tail.entries.push_back(TailEntry { entry, bytes: bytes.len() });
            }
            if let Some(committed) = &tail.committed {
                writes.push(Write::PutMeta { key: meta::COMMITTED, value: encode_log_id(committed) });
            }
        }
        self.writer.write(writes, true, Done::Appended(callback)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.as_ref().map_or(0, |id| id.index + 1);
        // The store goes first: a reader in between sees entries that were there when it began.
        self.writer.write_and_wait(vec![Write::Truncate { from }], true).await?;
        let mut tail = self.tail.lock();
        while tail.entries.back().is_some_and(|back| back.entry.log_id.index >= from) {
            if let Some(back) = tail.entries.pop_back() {
                tail.bytes -= back.bytes;
            }
        }
        tail.last = last_log_id.min(tail.last).max(tail.last_purged);
        tail.written = from.checked_sub(1).and_then(|last| tail.written.map(|written| written.min(last)));
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let to = log_id.index;
        {
            let mut tail = self.tail.lock();
            tail.last_purged = tail.last_purged.max(Some(log_id));
            tail.last = tail.last.max(Some(log_id));
            while tail.entries.front().is_some_and(|front| front.entry.log_id.index <= to) {
                if let Some(front) = tail.entries.pop_front() {
                    tail.bytes -= front.bytes;
                }
            }
        }
        // Not synced: entries that come back after a power cut are entries that a snapshot has.
        let writes = vec![
            Write::PutMeta { key: meta::LAST_PURGED, value: encode_log_id(&log_id) },
            Write::Purge { to },
        ];
        self.writer.write_and_wait(writes, false).await
    }
}
