//! A leader's dealings with its followers: their fetches, and what becomes of the ISR.

use std::sync::Arc;

use moldau_metadata::config::FlushPolicy;
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset};
use moldau_replica::{AlterPartitionOutcome, FollowerFetch, LeaderOutput};

use super::partition::{Partition, State};
use super::read::{PartitionRead, ReadRequest, check_leader, code_of};
use super::wake::Wake;
use crate::clock;
use crate::fetch_session::{Change, SessionWatch};

/// What a follower's fetch says of itself in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowerNews {
    /// Where its log is.
    Progress,
    /// That it is there, with what it had before.
    Seen,
}

impl Partition {
    /// Finds the records at a follower's offset, up to the log's end. What the fetch says that the follower has counts
    /// only where its log still is the beginning of this one.
    ///
    /// `as_of` is the metadata offset at which the ISR may have the follower, or may not. A replica hears of metadata before
    /// anybody else on its broker: an image that is older than the replica's own may still show a follower alive that was
    /// put out of the ISR because it is going. Who went without another word would hold the high watermark back for
    /// `replica.lag.time.max.ms`, as one that is about to join.
    ///
    /// # Errors
    /// As [`Partition::read`]; `NOT_LEADER_OR_FOLLOWER` to who is no replica, or speaks for an old registration.
    pub(crate) fn read_for_follower(
        self: &Arc<Self>,
        follower: BrokerId,
        fetch: &FollowerFetch,
        news: FollowerNews,
        request: &ReadRequest,
        as_of: Offset,
        watch: Option<&Arc<SessionWatch>>,
    ) -> Result<PartitionRead, ErrorCode> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        // Before anything else: whatever happens after this look is heard of.
        if let Some(watch) = watch {
            state.add_watch(watch, self.id());
        }
        check_leader(&state.replica, request.current_leader_epoch)?;
        if !state.replica.accepts_follower(follower, fetch.broker_epoch) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let mut found = state.look(request)?;
        let range = found.log_start_offset..=found.upper_bound;
        let has_parted = state.has_parted(request);
        if has_parted.is_err() || (has_parted == Ok(false) && !range.contains(&request.fetch_offset)) {
            found.is_out_of_range = true;
            return Ok(found);
        }
        if has_parted == Ok(true) {
            found.diverging_epoch = state.epoch_end(request.last_fetched_epoch);
            return Ok(found);
        }
        let is_held_back = self.holds_back(&state.replica, follower);
        let durable_end = match self.settings.flush_policy {
            FlushPolicy::OnAck => fetch.durable_end,
            // Written counts here, whatever the follower does with it.
            FlushPolicy::Interval => fetch.fetch_offset,
        };
        // Nobody who waits for the high watermark is to wait for one that gets nothing.
        found.is_outdated = as_of < self.metadata_offset();
        let may_join =
            fetch.may_join && !found.is_outdated && !(is_held_back && durable_end < found.high_watermark);
        let mut output = LeaderOutput::default();
        if news == FollowerNews::Seen {
            let (epoch, now) = (fetch.broker_epoch, clock::monotonic());
            output = state.replica.handle_follower_seen(follower, epoch, may_join, now);
        }
        if news == FollowerNews::Progress {
            let fetch = FollowerFetch { durable_end, may_join, ..*fetch };
            let counted = state.replica.handle_follower_fetch(follower, &fetch, clock::monotonic());
            output = counted.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
            found.high_watermark = state.replica.high_watermark();
        }
        let records = if is_held_back {
            Ok(None)
        } else {
            state.find_records(request, found.upper_bound).map_err(|error| code_of(&error, self))
        };
        self.carry_out(state, &mut wake, output);
        drop(guard);
        wake.fire();
        found.records = records?;
        Ok(found)
    }

    /// The follower does not ask for this partition any more, for the time being: it has failed there, or is throttled.
    /// Nobody waits for it to join the ISR, until it asks again.
    pub(crate) fn note_follower_left(self: &Arc<Self>, follower: BrokerId, broker_epoch: BrokerEpoch) {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let output = state.replica.handle_follower_seen(follower, broker_epoch, false, clock::monotonic());
        self.carry_out(state, &mut wake, output);
        drop(guard);
        wake.fire();
    }

    /// Time passed: members that lag leave the ISR, and a change whose answer was lost is asked for again.
    pub(crate) fn poll_isr(self: &Arc<Self>) {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let output = state.replica.poll_isr(clock::monotonic());
        self.carry_out(state, &mut wake, output);
        drop(guard);
        wake.fire();
    }

    /// Metadata says that a broker went or came.
    pub(crate) fn handle_broker(self: &Arc<Self>, broker: BrokerId, is_absent: bool) {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let output = state.replica.handle_broker(broker, is_absent, clock::monotonic());
        self.carry_out(state, &mut wake, output);
        drop(guard);
        wake.fire();
    }

    /// What the controller made of a change of the ISR that was asked for in `leader_epoch`.
    pub(crate) fn handle_alter_partition_result(
        self: &Arc<Self>,
        leader_epoch: LeaderEpoch,
        outcome: AlterPartitionOutcome,
    ) {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let output = state.replica.handle_alter_partition_result(leader_epoch, outcome, clock::monotonic());
        self.carry_out(state, &mut wake, output);
        // A follower that was refused may ask again.
        state.mark_watches(Change::Records, &mut wake);
        drop(guard);
        wake.fire();
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, wake: &mut Wake, output: LeaderOutput) {
        if let Some(change) = output.alter_partition {
            // Its lock is held for a push alone, and it takes none of a partition's.
            let isr_before = state.replica.isr().map_or(0, <[BrokerId]>::len);
            self.isr_changes.push(Arc::clone(self), change, isr_before);
        }
        state.complete_deletions(wake);
        if output.high_watermark.is_some() {
            self.publish_high_watermark(state, wake);
        }
    }

    /// The committed ISR, if this replica leads.
    #[must_use]
    pub fn isr(&self) -> Option<Vec<BrokerId>> {
        self.lock().replica.isr().map(<[BrokerId]>::to_vec)
    }

    /// Whether this replica leads and is all of the ISR.
    pub(crate) fn is_alone_in_isr(&self) -> bool {
        self.lock().replica.isr().is_some_and(|isr| isr.len() == 1)
    }

    /// The smallest log start over the ISR, if this replica leads: below it nobody has records.
    #[must_use]
    pub fn low_watermark(&self) -> Option<Offset> {
        self.lock().replica.low_watermark()
    }
}
