//! What a leader knows of one follower.

use moldau_model::{BrokerEpoch, Offset, TimestampMs};

/// What one fetch of a follower says.
#[derive(Clone, Copy, Debug)]
pub struct FollowerFetch {
    /// The next offset it wants: its log end.
    pub fetch_offset: Offset,
    /// The end of what it has on stable storage; what lies above `fetch_offset` does not count. [`Offset::NONE`] where
    /// the peer does not say: then nothing is known to be durable there.
    pub durable_end: Offset,
    pub log_start: Offset,
    /// The registration it speaks for (KIP-903). `BrokerEpoch(-1)` where the peer does not say.
    pub broker_epoch: BrokerEpoch,
    /// Whether the controller would take it into the ISR, by what was known when it asked: neither fenced nor on its way
    /// down (KIP-841). A fetch that waits can be overtaken by metadata, which then counts.
    pub may_join: bool,
}

/// A follower as its leader sees it. Unknown ends are -1, so that they hold the high watermark back.
#[derive(Clone, Debug)]
pub(crate) struct FollowerProgress {
    pub(crate) log_end: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) log_start: Offset,
    pub(crate) broker_epoch: BrokerEpoch,
    may_join: bool,
    /// What metadata says of its broker, whatever its fetches say.
    pub(crate) is_absent: bool,
    /// The last moment at which it was known to have had all that the leader had.
    last_caught_up: TimestampMs,
    /// The mark that it has not reached yet.
    mark: Option<Mark>,
}

/// Where the leader's log ended at some moment: a follower that reaches it was caught up then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    leader_end: Offset,
    at: TimestampMs,
}

impl FollowerProgress {
    /// A follower that has not fetched from this leadership yet. A member of the ISR gets the benefit of a full lag
    /// time; any other counts as never caught up.
    pub(crate) fn unknown(in_isr: bool, now: TimestampMs) -> Self {
        Self {
            log_end: Offset::NONE,
            durable_end: Offset::NONE,
            log_start: Offset::NONE,
            broker_epoch: BrokerEpoch(-1),
            may_join: false,
            is_absent: false,
            last_caught_up: if in_isr { now } else { TimestampMs(0) },
            mark: None,
        }
    }

    /// Takes a fetch in. Being caught up is judged by the durable end: a follower that has what the leader had at some
    /// moment was caught up then, or it could never be under a steady load. The moment is that of a mark, and a new mark
    /// is set only when the last one is reached: what is durable lags behind by a sync, over which a follower fetches
    /// many times, so that a mark set by every fetch would always lie ahead.
    pub(crate) fn update(&mut self, fetch: &FollowerFetch, leader_end: Offset, now: TimestampMs) {
        let durable_end = fetch.durable_end.min(fetch.fetch_offset);
        let reached = self.mark.filter(|mark| durable_end >= mark.leader_end);
        if durable_end >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if let Some(mark) = reached {
            self.last_caught_up = self.last_caught_up.max(mark.at);
        }
        if self.mark.is_none() || reached.is_some() {
            self.mark = Some(Mark { leader_end, at: now });
        }
        self.log_end = fetch.fetch_offset;
        self.durable_end = durable_end;
        self.log_start = fetch.log_start;
        self.broker_epoch = fetch.broker_epoch;
        self.may_join = fetch.may_join;
    }

    /// Whether its own fetches and metadata both say that the controller would take it into the ISR.
    pub(crate) fn may_join(&self) -> bool {
        self.may_join && !self.is_absent
    }

    /// What a fetch said of that, or that only the next fetch may say so.
    pub(crate) fn set_may_join(&mut self, may_join: bool) {
        self.may_join = may_join;
    }

    /// How many milliseconds ago it had all that the leader had; 0 where it has that now.
    pub(crate) fn lag_ms(&self, leader_end: Offset, now: TimestampMs) -> i64 {
        if self.durable_end >= leader_end { 0 } else { now.0.saturating_sub(self.last_caught_up.0).max(0) }
    }

    /// Whether it has everything, or had so less than `lag_ms_max` ago.
    pub(crate) fn is_caught_up(&self, leader_end: Offset, now: TimestampMs, lag_ms_max: i64) -> bool {
        self.durable_end == leader_end || now.0.saturating_sub(self.last_caught_up.0) <= lag_ms_max
    }
}
