//! A follower: it fetches from its leader, cuts what the leader does not have, and appends the rest.

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use moldau_replica::{EpochEndOffset, truncation_offset};

use super::{Broker, Fetcher};
use crate::bug::Bug;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::log::Batch;
use crate::message::{Correlation, FollowerFetchReply, FollowerFetchRequest, Message, Node, Part};

/// After that a fetch is taken for lost.
const FETCH_TIMEOUT_MS: i64 = 600;
/// Pause after an error.
const RETRY_MS: i64 = 40;

impl Broker {
    /// Metadata made this replica a follower.
    pub(super) fn follow(&mut self, core: &mut Core, part: Part, leader: Option<BrokerId>, epoch: i32) {
        if core.has(Bug::TruncateByHighWatermark) {
            let high_watermark = self.process.hosted.get(&part).map_or(0, |h| h.replica.high_watermark().0);
            self.truncate(core, part, high_watermark);
        }
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        hosted.fetcher = leader.map(|leader| Fetcher {
            leader,
            leader_epoch: epoch,
            outstanding: None,
            generation: core.unique(),
            told_durable: -1,
        });
        self.fetch(core, part);
    }

    pub(super) fn fetch_due(&mut self, core: &mut Core, part: Part, generation: u64) {
        let hosted = self.process.hosted.get(&part);
        if hosted.and_then(|h| h.fetcher.as_ref()).is_some_and(|f| f.generation == generation) {
            self.fetch(core, part);
        }
    }

    fn fetch(&mut self, core: &mut Core, part: Part) {
        let broker_epoch = self.process.epoch.unwrap_or(BrokerEpoch(-1));
        let follower = BrokerId(self.id);
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        let Some(fetcher) = &mut hosted.fetcher else { return };
        let log = &self.disk.logs[part.0];
        let ends = log.ends(core.plan.counts_page_cache);
        let correlation = core.correlation();
        fetcher.generation = correlation.0;
        fetcher.outstanding = Some(correlation);
        fetcher.told_durable = ends.durable_end.0;
        let request = FollowerFetchRequest {
            part,
            follower,
            broker_epoch,
            leader_epoch: fetcher.leader_epoch,
            fetch_offset: ends.log_end.0,
            durable_end: ends.durable_end.0,
            last_fetched_epoch: log.latest_epoch().unwrap_or(-1),
            high_watermark: hosted.replica.high_watermark().0,
        };
        let to = Node::Broker(fetcher.leader.0);
        self.send(core, to, Message::FollowerFetch(correlation, request));
        self.fetch_in(core, part, FETCH_TIMEOUT_MS);
    }

    /// Fetches after a while, unless it has fetched by then.
    fn fetch_in(&mut self, core: &mut Core, part: Part, delay_ms: i64) {
        let fetcher = self.process.hosted.get(&part).and_then(|hosted| hosted.fetcher.as_ref());
        if let Some(generation) = fetcher.map(|fetcher| fetcher.generation) {
            self.timer(core, delay_ms, Timer::FollowerFetch { part, generation });
        }
    }

    /// More is durable than the leader was told.
    pub(super) fn tell_durable(&mut self, core: &mut Core, part: Part) {
        let durable_end = self.disk.logs[part.0].durable_end();
        let fetcher = self.process.hosted.get(&part).and_then(|hosted| hosted.fetcher.as_ref());
        if fetcher.is_some_and(|fetcher| fetcher.told_durable < durable_end) {
            self.fetch(core, part);
        }
    }

    pub(super) fn follower_fetched(
        &mut self,
        core: &mut Core,
        correlation: Correlation,
        reply: FollowerFetchReply,
    ) {
        let is_asked = |fetcher: &Fetcher| fetcher.outstanding == Some(correlation);
        let mut hosted = self.process.hosted.iter_mut();
        let found = hosted.find(|(_, hosted)| hosted.fetcher.as_ref().is_some_and(is_asked));
        let Some((&part, hosted)) = found else { return };
        if let Some(fetcher) = &mut hosted.fetcher {
            fetcher.outstanding = None;
        }
        match reply {
            FollowerFetchReply::Batches { batches, high_watermark } => {
                let has_more = !batches.is_empty();
                self.append_fetched(core, part, batches, high_watermark);
                // Else the end of the sync fetches, and tells the leader at once.
                if !has_more || core.plan.fetches_ahead || core.plan.counts_page_cache {
                    self.fetch_in(core, part, 1);
                }
            }
            FollowerFetchReply::Diverging { epoch, end } => {
                core.coverage.note(Happened::DivergingEpoch);
                let log = &self.disk.logs[part.0];
                let of = |(epoch, end)| EpochEndOffset {
                    leader_epoch: LeaderEpoch(epoch),
                    end_offset: Offset(end),
                };
                let own = log.end_for_epoch(epoch).map(of);
                let cut = truncation_offset(of((epoch, end)), own, Offset(log.end()));
                self.truncate(core, part, cut.0);
                self.fetch_in(core, part, 1);
            }
            FollowerFetchReply::Refused => self.fetch_in(core, part, RETRY_MS),
        }
    }

    fn append_fetched(&mut self, core: &mut Core, part: Part, batches: Vec<Batch>, high_watermark: i64) {
        for batch in batches {
            core.invariants.appended(self.id, part, &batch);
            self.disk.logs[part.0].append_as_follower(batch);
        }
        self.after_log_change(core, part);
        let Some(hosted) = self.process.hosted.get_mut(&part) else { return };
        let moved = hosted.replica.handle_leader_high_watermark(Offset(high_watermark));
        if let Some(high_watermark) = moved {
            let log = &mut self.disk.logs[part.0];
            core.invariants.follower_high_watermark(self.id, part, high_watermark.0, log);
        }
    }

    fn truncate(&mut self, core: &mut Core, part: Part, offset: i64) {
        let log = &mut self.disk.logs[part.0];
        if !log.truncate_to(offset) {
            return;
        }
        core.coverage.note(Happened::LogTruncated);
        let ends = log.ends(core.plan.counts_page_cache);
        if let Some(hosted) = self.process.hosted.get_mut(&part) {
            hosted.replica.handle_truncated(ends);
        }
    }
}
