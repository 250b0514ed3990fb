//! A leader: it appends, serves followers and consumers, and answers once the high watermark has passed.

use moldau_model::{ErrorCode, Offset};
use moldau_replica::{FollowerFetch, LeaderOutput, MinIsr, Role};

use super::{Broker, Waiting, Whom};
use crate::bug::Bug;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::log::{Appended, Batch, NewBatch, SyncTicket};
use crate::message::{
    Correlation, FollowerFetchReply, FollowerFetchRequest, FromBroker, Message, Node, Part,
};

/// Batches in one answer.
const BATCHES_MAX: usize = 16;
/// How long a follower waits for news.
const PARKED_MS: i64 = 250;

impl Broker {
    pub(super) fn produce_now(
        &mut self,
        core: &mut Core,
        (from, correlation): (Node, Correlation),
        part: Part,
        batch: NewBatch,
        is_acks_all: bool,
    ) {
        let id = batch.id;
        let appended = match self.append(core, part, None, batch, is_acks_all) {
            Ok(appended) => appended,
            Err(code) => return self.answer_error(core, from, correlation, part, code),
        };
        if appended.is_duplicate {
            core.coverage.note(Happened::DuplicateBatch);
        }
        if !is_acks_all {
            core.coverage.note(Happened::AckedOne);
            return self.answer(core, from, correlation, FromBroker::Produced);
        }
        let whom = Whom::Producer { to: from, correlation, base: appended.base, id };
        self.wait(core, part, Waiting { required: appended.end, whom });
    }

    /// Appends as the leader; with `expected` only as that of this very epoch.
    pub(super) fn append(
        &mut self,
        core: &mut Core,
        part: Part,
        expected: Option<i32>,
        batch: NewBatch,
        is_acks_all: bool,
    ) -> Result<Appended, ErrorCode> {
        let epoch = self.leads(part).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if expected.is_some_and(|expected| expected != epoch) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let min_isr = self.process.hosted.get(&part).and_then(|hosted| hosted.replica.min_isr());
        if is_acks_all && min_isr != Some(MinIsr::Enough) {
            core.coverage.note(Happened::ProduceRefusedBelowMinIsr);
            return Err(ErrorCode::NotEnoughReplicas);
        }
        let log = &mut self.disk.logs[part.0];
        let content = batch.clone();
        let appended = log.append_as_leader(batch, epoch)?;
        if !appended.is_duplicate {
            if let Some(batch) = log.from(appended.base).first() {
                core.invariants.appended(self.id, part, batch);
            }
            self.written_in_transaction(part, &content);
            self.after_log_change(core, part);
            self.wake_parked(core, part);
        }
        Ok(appended)
    }

    /// Waits for the high watermark, unless it is there already.
    pub(super) fn wait(&mut self, core: &mut Core, part: Part, waiting: Waiting) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        if hosted.replica.high_watermark().0 >= waiting.required {
            return self.complete(core, part, waiting, ErrorCode::None);
        }
        hosted.waiting.push_back(waiting);
    }

    fn complete(&mut self, core: &mut Core, part: Part, waiting: Waiting, outcome: ErrorCode) {
        match waiting.whom {
            Whom::Producer { to, correlation, base, id } => {
                if outcome != ErrorCode::None {
                    return self.answer_error(core, to, correlation, part, outcome);
                }
                core.coverage.note(Happened::AckedAll);
                core.invariants.acked(part, id, base);
                self.answer(core, to, correlation, FromBroker::Produced);
            }
            // Written in any case: a later leader may have the records, or not. So only success is told.
            Whom::Coordinator { append_id } => {
                if outcome == ErrorCode::None {
                    self.group_appended(append_id, Ok(()));
                }
            }
            Whom::TransactionCoordinator { append_id } => {
                if outcome == ErrorCode::None {
                    self.transactions_appended(append_id, Ok(()));
                }
            }
            Whom::Peer { to, correlation } if outcome == ErrorCode::None => {
                self.answer(core, to, correlation, FromBroker::Produced);
            }
            Whom::Peer { to, correlation } => self.answer_error(core, to, correlation, part, outcome),
        }
    }

    pub(super) fn fail_waiting(&mut self, core: &mut Core, part: Part, outcome: ErrorCode) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        for waiting in std::mem::take(&mut hosted.waiting) {
            self.complete(core, part, waiting, outcome);
        }
    }

    /// Tells the replica where its log ends now, and has what is new synced.
    pub(super) fn after_log_change(&mut self, core: &mut Core, part: Part) {
        let log = &mut self.disk.logs[part.0];
        let ticket = log.begin_sync();
        let ends = log.ends(core.plan.counts_page_cache);
        if let Some(ticket) = ticket {
            let delay = core.sync_ms(self.id);
            self.timer(core, delay, Timer::Synced { part, ticket });
        }
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        let high_watermark = hosted.replica.handle_log_ends(ends, core.timestamp());
        self.after_leader_output(core, part, LeaderOutput { high_watermark, alter_partition: None });
    }

    pub(super) fn synced(&mut self, core: &mut Core, part: Part, ticket: SyncTicket) {
        self.disk.logs[part.0].complete_sync(ticket, core.has(Bug::SyncForgetsTruncation));
        self.after_log_change(core, part);
        self.tell_durable(core, part);
    }

    /// Does what the replica asks for.
    pub(super) fn after_leader_output(&mut self, core: &mut Core, part: Part, output: LeaderOutput) {
        if output.high_watermark.is_some() {
            self.publish_high_watermark(core, part);
        }
        if let Some(alter) = &output.alter_partition {
            self.propose_isr(core, part, alter);
        }
    }

    fn publish_high_watermark(&mut self, core: &mut Core, part: Part) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        let high_watermark = hosted.replica.high_watermark().0;
        if let Role::Leader { leader_epoch } = hosted.replica.role() {
            let log = &mut self.disk.logs[part.0];
            core.invariants.leader_high_watermark(self.id, (part, leader_epoch.0), high_watermark, log);
        }
        let outcome = match hosted.replica.min_isr() {
            Some(MinIsr::TooFew { .. }) => ErrorCode::NotEnoughReplicasAfterAppend,
            Some(MinIsr::Enough) | None => ErrorCode::None,
        };
        let mut done = Vec::new();
        while hosted.waiting.front().is_some_and(|waiting| waiting.required <= high_watermark) {
            done.extend(hosted.waiting.pop_front());
        }
        for waiting in done {
            self.complete(core, part, waiting, outcome);
        }
        self.wake_parked(core, part);
        self.loaded_groups_committed(core);
        self.loaded_transactions_committed(core);
    }

    // ---- followers ----

    pub(super) fn follower_fetch(
        &mut self,
        core: &mut Core,
        correlation: Correlation,
        request: &FollowerFetchRequest,
    ) {
        let to = Node::Broker(request.follower.0);
        let reply = match self.check_follower_fetch(core, request) {
            Ok(None) => match self.news_for(request) {
                None => {
                    self.park(core, correlation, request);
                    return;
                }
                Some(news) => news,
            },
            Ok(Some((epoch, end))) => FollowerFetchReply::Diverging { epoch, end },
            Err(_) => FollowerFetchReply::Refused,
        };
        self.send(core, to, Message::FollowerFetched(correlation, reply));
    }

    /// Where the follower's log parts from this one, or nothing: then its progress is taken in.
    fn check_follower_fetch(
        &mut self,
        core: &mut Core,
        request: &FollowerFetchRequest,
    ) -> Result<Option<(i32, i64)>, ErrorCode> {
        let part = request.part;
        let epoch = self.leads(part).filter(|_| self.process.is_serving);
        let epoch = epoch.ok_or(ErrorCode::NotLeaderOrFollower)?;
        if request.leader_epoch != epoch {
            core.coverage.note(Happened::LeaderFencedFetch);
            let is_older = request.leader_epoch < epoch;
            return Err(if is_older { ErrorCode::FencedLeaderEpoch } else { ErrorCode::UnknownLeaderEpoch });
        }
        let log = &self.disk.logs[part.0];
        if request.last_fetched_epoch >= 0 {
            let (known, end) =
                log.end_for_epoch(request.last_fetched_epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
            if known < request.last_fetched_epoch || end < request.fetch_offset {
                return Ok(Some((known, end)));
            }
        } else if request.fetch_offset > log.end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let fetch = self.progress_of(core, request);
        let Some(hosted) = self.process.hosted.get_mut(&part) else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        let taken = hosted.replica.handle_follower_fetch(request.follower, &fetch, core.timestamp());
        let output = taken.map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        self.after_leader_output(core, part, output);
        Ok(None)
    }

    fn progress_of(&self, core: &Core, request: &FollowerFetchRequest) -> FollowerFetch {
        let mut fetch = FollowerFetch {
            fetch_offset: Offset(request.fetch_offset),
            durable_end: Offset(request.durable_end),
            log_start: Offset(0),
            broker_epoch: request.broker_epoch,
            may_join: self.process.image.is_active_broker(request.follower),
        };
        if core.has(Bug::CountFetchOffset) {
            fetch.durable_end = fetch.fetch_offset;
        }
        if core.has(Bug::ExpandBeforeEpochStart)
            && let Some(hosted) = self.process.hosted.get(&request.part)
            && let (Some(isr), Some(start)) = (hosted.replica.isr(), hosted.replica.epoch_start_offset())
            && !isr.contains(&request.follower)
        {
            let joins_at = start.max(hosted.replica.high_watermark());
            fetch.fetch_offset = fetch.fetch_offset.max(joins_at);
            fetch.durable_end = fetch.durable_end.max(joins_at);
        }
        fetch
    }

    /// Batches, or a high watermark that the follower does not know.
    fn news_for(&self, request: &FollowerFetchRequest) -> Option<FollowerFetchReply> {
        let log = &self.disk.logs[request.part.0];
        let batches: Vec<_> = log.from(request.fetch_offset).iter().take(BATCHES_MAX).cloned().collect();
        let high_watermark = self.process.hosted.get(&request.part)?.replica.high_watermark().0;
        let is_known = high_watermark.min(request.fetch_offset) <= request.high_watermark;
        (!batches.is_empty() || !is_known).then_some(FollowerFetchReply::Batches { batches, high_watermark })
    }

    fn park(&mut self, core: &mut Core, correlation: Correlation, request: &FollowerFetchRequest) {
        let (part, follower) = (request.part, request.follower.0);
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        hosted.parked.insert(follower, (correlation, *request));
        self.timer(core, PARKED_MS, Timer::FetchExpired { part, follower, correlation });
    }

    fn wake_parked(&mut self, core: &mut Core, part: Part) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        for (follower, (correlation, request)) in std::mem::take(&mut hosted.parked) {
            match self.news_for(&request) {
                Some(news) => {
                    let message = Message::FollowerFetched(correlation, news);
                    self.send(core, Node::Broker(follower), message);
                }
                None => {
                    if let Some(hosted) = self.process.hosted.get_mut(&part) {
                        hosted.parked.insert(follower, (correlation, request));
                    }
                }
            }
        }
    }

    pub(super) fn parked_fetch_expired(
        &mut self,
        core: &mut Core,
        part: Part,
        follower: i32,
        correlation: Correlation,
    ) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        if hosted.parked.get(&follower).is_none_or(|(parked, _)| *parked != correlation) {
            return;
        }
        hosted.parked.remove(&follower);
        let high_watermark = hosted.replica.high_watermark().0;
        let nothing = FollowerFetchReply::Batches { batches: Vec::new(), high_watermark };
        self.send(core, Node::Broker(follower), Message::FollowerFetched(correlation, nothing));
    }

    /// The leadership under which they wait is over.
    pub(super) fn fail_parked(&mut self, core: &mut Core, part: Part) {
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        for (follower, (correlation, _)) in std::mem::take(&mut hosted.parked) {
            let error = FollowerFetchReply::Refused;
            self.send(core, Node::Broker(follower), Message::FollowerFetched(correlation, error));
        }
    }

    // ---- consumers ----

    /// What is stable any replica gives, as far as it knows of it (KIP-392).
    pub(super) fn consumer_fetch(
        &mut self,
        core: &mut Core,
        (from, correlation): (Node, Correlation),
        part: Part,
        (offset, leader_epoch): (i64, i32),
        is_committed: bool,
    ) {
        let epoch = match self.process.hosted.get(&part).map(|hosted| hosted.replica.role()) {
            Some(Role::Leader { leader_epoch }) => leader_epoch.0,
            Some(Role::Follower { leader_epoch, .. }) if is_committed => {
                core.coverage.note(Happened::ReadFromFollower);
                leader_epoch.0
            }
            _ => return self.answer_error(core, from, correlation, part, ErrorCode::NotLeaderOrFollower),
        };
        if leader_epoch > epoch {
            return self.answer_error(core, from, correlation, part, ErrorCode::UnknownLeaderEpoch);
        }
        let log = &self.disk.logs[part.0];
        if offset > log.end() {
            return self.answer_error(core, from, correlation, part, ErrorCode::OffsetOutOfRange);
        }
        let high_watermark = self.process.hosted.get(&part).map_or(0, |h| h.replica.high_watermark().0);
        let end = if core.has(Bug::ServeBeyondHighWatermark) && !is_committed {
            log.end()
        } else if is_committed && !core.has(Bug::ReadOpenTransactions) {
            log.last_stable_offset(high_watermark)
        } else {
            high_watermark
        };
        let batches: Vec<_> = log
            .from(offset)
            .iter()
            .take_while(|batch| batch.end() <= end)
            .take(BATCHES_MAX)
            .cloned()
            .collect();
        core.invariants.served(self.id, part, &batches, high_watermark);
        let read_to = batches.last().filter(|_| is_committed).map_or(offset, Batch::end);
        let aborted = log.aborted(offset, read_to);
        let fetched = FromBroker::Fetched { batches, high_watermark, leader_epoch: epoch, aborted };
        self.answer(core, from, correlation, fetched);
    }
}
