//! What has changed at the partitions of a follower's session since they were looked at. A follower of ten thousand
//! partitions has something new at a few of them: a fetch costs what those cost.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use moldau_model::TopicIdPartition;
use parking_lot::Mutex;

use crate::purgatory::FetchWaiter;

/// What happened to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There are records, or nothing is as it was: a fetch that waits looks at once.
    Records,
    /// Something is to be told that is worth no haste.
    News,
}

/// Held by the session, and known to the partitions that it has looked at.
#[derive(Debug, Default)]
pub(crate) struct SessionWatch {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Something happened there since the last look.
    changed: BTreeSet<TopicIdPartition>,
    /// There was more than the last answer told.
    unsettled: BTreeSet<TopicIdPartition>,
    /// The fetch that waits.
    waiter: Weak<FetchWaiter>,
}

impl SessionWatch {
    /// Tells that something happened. Takes no other lock.
    pub(crate) fn mark(&self, id: TopicIdPartition, change: Change) {
        let waiter = {
            let mut state = self.state.lock();
            state.changed.insert(id);
            state.waiter.upgrade()
        };
        match (waiter, change) {
            (Some(waiter), Change::Records) => waiter.wake(),
            (Some(waiter), Change::News) => waiter.note_news(),
            (None, _) => {}
        }
    }

    /// The next request is to look there again, whatever happens.
    pub(super) fn mark_unsettled(&self, id: TopicIdPartition) {
        self.state.lock().unsettled.insert(id);
    }

    /// What a new request looks at besides what it names.
    pub(super) fn take_all(&self) -> BTreeSet<TopicIdPartition> {
        let mut state = self.state.lock();
        let mut all = std::mem::take(&mut state.changed);
        all.append(&mut state.unsettled);
        all
    }

    /// What a request that has looked looks at again.
    pub(super) fn take_changed(&self) -> BTreeSet<TopicIdPartition> {
        std::mem::take(&mut self.state.lock().changed)
    }

    /// The fetch waits from now on. `false` if something has happened since it looked.
    pub(super) fn park(&self, waiter: &Arc<FetchWaiter>) -> bool {
        let mut state = self.state.lock();
        state.waiter = Arc::downgrade(waiter);
        state.changed.is_empty()
    }
}
