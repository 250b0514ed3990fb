//! A store that forgets what was not synced, for tests that cut the power.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{RaftKv, Write};

#[derive(Clone, Default)]
struct Contents {
    entries: BTreeMap<u64, Bytes>,
    meta: BTreeMap<String, Bytes>,
}

impl Contents {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Append { index, entry } => {
                self.entries.insert(*index, entry.clone());
            }
            Write::Truncate { from } => {
                self.entries.split_off(from);
            }
            Write::Purge { to } => self.entries.retain(|index, _| index > to),
            Write::PutMeta { key, value } => {
                self.meta.insert((*key).to_owned(), value.clone());
            }
        }
    }
}

#[derive(Default)]
struct State {
    seen: Contents,
    durable: Contents,
    unsynced: Vec<Write>,
    /// Counts writes and syncs: the places where power may be cut.
    steps: u64,
    cut_at: Option<u64>,
}

/// See the module. A clone is not the same store; share it by `Arc`.
#[derive(Default)]
pub(in crate::raft) struct FaultKv(Mutex<State>);

impl FaultKv {
    /// Cuts the power just before the step of this number, counted from zero: it and all later ones fail.
    pub(in crate::raft) fn cut_power_at(step: u64) -> Self {
        Self(Mutex::new(State { cut_at: Some(step), ..State::default() }))
    }

    /// How many writes and syncs there were.
    pub(in crate::raft) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// How many writes have not been synced.
    pub(in crate::raft) fn unsynced_count(&self) -> usize {
        self.0.lock().unsynced.len()
    }

    /// What a restart finds if, of the writes that were not synced, the first `survivors` reached the disk.
    pub(in crate::raft) fn after_power_cut(&self, survivors: usize) -> Self {
        let state = self.0.lock();
        let mut contents = state.durable.clone();
        for write in state.unsynced.iter().take(survivors) {
            contents.apply(write);
        }
        Self(Mutex::new(State { seen: contents.clone(), durable: contents, ..State::default() }))
    }
}

fn step(state: &mut State) -> io::Result<()> {
    if state.cut_at.is_some_and(|cut_at| state.steps >= cut_at) {
        return Err(io::Error::other("the power is cut"));
    }
    state.steps += 1;
    Ok(())
}

impl RaftKv for FaultKv {
    fn write(&self, writes: &[Write]) -> io::Result<()> {
        let mut state = self.0.lock();
        for write in writes {
            step(&mut state)?;
            state.seen.apply(write);
            state.unsynced.push(write.clone());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        step(&mut state)?;
        state.durable = state.seen.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn range(&self, start: u64, end: u64) -> io::Result<Vec<(u64, Bytes)>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let state = self.0.lock();
        Ok(state.seen.entries.range(start..end).map(|(index, entry)| (*index, entry.clone())).collect())
    }

    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let state = self.0.lock();
        let first = state.seen.entries.first_key_value().map(|(index, _)| *index);
        let last = state.seen.entries.last_key_value().map(|(index, _)| *index);
        Ok(first.zip(last))
    }

    fn get_meta(&self, key: &str) -> io::Result<Option<Bytes>> {
        Ok(self.0.lock().seen.meta.get(key).cloned())
    }
}
