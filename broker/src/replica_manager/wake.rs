//! Who is to be woken once a partition's lock is released.

use std::sync::Arc;

use moldau_model::{ErrorCode, TopicIdPartition};

use crate::fetch_session::{Change, SessionWatch};
use crate::purgatory::{DelayedOperation, FetchWaiter, plug_answers};

/// Collected under the lock, fired without it: a woken task may take the same lock at once.
#[derive(Default)]
#[must_use = "somebody waits for ever"]
pub(super) struct Wake {
    pub(super) operations: Vec<(Arc<DelayedOperation>, usize, ErrorCode)>,
    pub(super) fetches: Vec<Arc<FetchWaiter>>,
    /// Followers' fetches that have something to tell beside records.
    pub(super) news: Vec<Arc<FetchWaiter>>,
    /// Followers' sessions that have to look here again.
    pub(super) marks: Vec<(Arc<SessionWatch>, TopicIdPartition, Change)>,
}

impl Wake {
    pub(super) fn fire(self) {
        let Self { mut operations, fetches, news, marks } = self;
        // A connection that several of them belong to finds all of them done when the first wakes it.
        let _plug = (operations.len() > 1).then(plug_answers);
        operations.retain(|(operation, slot, outcome)| operation.complete(*slot, *outcome));
        for (operation, ..) in operations {
            operation.wake();
        }
        for fetch in fetches {
            fetch.wake();
        }
        for fetch in news {
            fetch.note_news();
        }
        for (watch, id, change) in marks {
            watch.mark(id, change);
        }
    }
}
