//! When something is to happen: an ordered set of deadlines, one per key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::request::RequestToken;
use crate::shard::AppendId;

/// What a deadline is for. Setting one again moves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A member's session, or the time a pending member has to join with its id.
    Session { group_id: Arc<str>, member_id: Arc<str> },
    /// The time a member of a consumer group has to give up partitions.
    Revocation { group_id: Arc<str>, member_id: Arc<str> },
    /// The time a classic member of a consumer group has to join again, or to sync.
    Rejoin { group_id: Arc<str>, member_id: Arc<str> },
    /// The time that the first members of a streams group wait for more.
    InitialDelay { group_id: Arc<str> },
    /// The end of a group's join phase.
    Join { group_id: Arc<str> },
    /// The time by which all members must have asked for their assignment.
    Sync { group_id: Arc<str> },
    /// A reply that waits for an append whose outcome does not come.
    Append(AppendId),
    /// An OffsetFetch that waits for the group's commits up to an append.
    Fetch { group_id: Arc<str>, until: AppendId, token: RequestToken },
    /// The next look for expired offsets.
    Expiration,
}

/// Deadlines in their order. Every operation is logarithmic: ten thousand members cost no scan.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_key: BTreeMap<TimerKey, i64>,
    by_time: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    /// Sets or moves the deadline of `key`.
    pub(crate) fn schedule(&mut self, key: TimerKey, deadline_ms: i64) {
        if let Some(old) = self.by_key.insert(key.clone(), deadline_ms) {
            if old == deadline_ms {
                return;
            }
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.insert((deadline_ms, key));
    }

    /// Sets the deadline of `key` unless it has one.
    pub(crate) fn schedule_if_absent(&mut self, key: TimerKey, deadline_ms: i64) {
        if !self.by_key.contains_key(&key) {
            self.schedule(key, deadline_ms);
        }
    }

    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        if let Some((key, deadline_ms)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(deadline_ms, key));
        }
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<TimerKey> {
        if self.next_deadline_ms()? > now_ms {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
        self.by_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(member_id: &str) -> TimerKey {
        TimerKey::Session { group_id: "g".into(), member_id: member_id.into() }
    }

    #[test]
    fn deadlines_come_in_their_order_and_only_when_they_are_due() {
        let mut timers = Timers::default();
        timers.schedule(session("b"), 20);
        timers.schedule(session("a"), 10);
        timers.schedule(TimerKey::Expiration, 30);
        assert_eq!(timers.next_deadline_ms(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(25), Some(session("a")));
        assert_eq!(timers.pop_due(25), Some(session("b")));
        assert_eq!(timers.pop_due(25), None);
        assert_eq!(timers.next_deadline_ms(), Some(30));
    }

    #[test]
    fn a_deadline_set_again_moves_and_a_cancelled_one_is_gone() {
        let mut timers = Timers::default();
        timers.schedule(session("a"), 10);
        timers.schedule(session("a"), 40);
        timers.schedule(session("b"), 20);
        timers.cancel(&session("b"));
        timers.cancel(&session("never set"));
        assert_eq!(timers.pop_due(39), None);
        assert_eq!(timers.pop_due(40), Some(session("a")));
        assert_eq!(timers.next_deadline_ms(), None);
    }
}
