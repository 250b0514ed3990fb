//! What a leader knows of one follower.

use moldau_model::{BrokerEpoch, Offset, TimestampMs};

/// What one fetch of a follower says.
#[derive(Clone, Copy, Debug)]
pub struct FollowerFetch {
    /// The next offset it wants: its log end.
    pub fetch_offset: Offset,
    /// The end of what it has on stable storage; never above `fetch_offset`.
    pub durable_end: Offset,
    pub log_start: Offset,
    /// The registration it speaks for (KIP-903). `BrokerEpoch(-1)` where the peer does not say.
    pub broker_epoch: BrokerEpoch,
}

/// A follower as its leader sees it. Unknown ends are -1, so that they hold the high watermark back.
#[derive(Clone, Debug)]
pub(crate) struct FollowerProgress {
    pub(crate) log_end: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) log_start: Offset,
    pub(crate) broker_epoch: BrokerEpoch,
    /// The last moment at which it was known to have had all that the leader had.
    last_caught_up: TimestampMs,
    leader_end_at_last_fetch: Offset,
    last_fetch: TimestampMs,
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
            last_caught_up: if in_isr { now } else { TimestampMs(0) },
            leader_end_at_last_fetch: Offset::NONE,
            last_fetch: TimestampMs(0),
        }
    }

    /// Takes a fetch in. Being caught up is judged by the durable end, and as Kafka does: a follower that now has what
    /// the leader had at the fetch before was caught up then, or it could never be under a steady load.
    pub(crate) fn update(&mut self, fetch: &FollowerFetch, leader_end: Offset, now: TimestampMs) {
        if fetch.durable_end >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if self.leader_end_at_last_fetch >= Offset::ZERO
            && fetch.durable_end >= self.leader_end_at_last_fetch
        {
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.log_end = fetch.fetch_offset;
        self.durable_end = fetch.durable_end.min(fetch.fetch_offset);
        self.log_start = fetch.log_start;
        self.broker_epoch = fetch.broker_epoch;
        self.leader_end_at_last_fetch = leader_end;
        self.last_fetch = now;
    }

    /// Whether it has everything, or had so less than `lag_ms_max` ago.
    pub(crate) fn is_caught_up(&self, leader_end: Offset, now: TimestampMs, lag_ms_max: i64) -> bool {
        self.durable_end == leader_end || now.0.saturating_sub(self.last_caught_up.0) <= lag_ms_max
    }
}
