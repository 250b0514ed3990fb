//! Fetch (1), versions 4 to 18.
//!
//! - 4: isolation level. 5: log start offset. 7: sessions (KIP-227). 9: leader epochs (KIP-320). 11: rack (KIP-392).
//! - 12: flexible, diverging epoch (KIP-595), the new leader in the answer. 13: topics by id (KIP-516).
//! - 15: replica state (KIP-903). 16: endpoints of new leaders (KIP-951). 17: replica directory. 18: high watermark.
//!
//! Records are found, not read: small ones are copied into the answer, large ones go from the file to the socket. A fetch
//! with too little to tell parks at its partitions and costs nothing until one of them pokes it.
//!
//! A follower reads to the log's end, and its request says how far its own log is (ADR 23). It is told of a new high
//! watermark without records, soon (KIP-1166); with OFFSET_OUT_OF_RANGE it learns where the log starts.

mod answer;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use moldau_metadata::{MetadataImage, QuotaKey};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, Offset, TopicId, TopicIdPartition};
use moldau_replica::FollowerFetch;

use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::fetch_session::{FetchContext, FetchTarget, FetchTopicRef, Known};
use crate::purgatory::{FetchWaiter, WaitEnd};
use crate::replica_manager::{
    ChooseReplica, FollowerNews, Isolation, Partition, PartitionRead, ReadRequest, Readers,
};
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(1, "Fetch", 4, 18, handle);

/// One fetch on its way to an answer.
struct Fetch {
    broker: Arc<Broker>,
    context: RequestContext,
    session: FetchContext,
    limits: Limits,
    /// The client's rack; empty where it does not say.
    rack: String,
    /// How long looking took, as far as that is counted.
    busy: Duration,
}

#[derive(Clone, Copy)]
struct Limits {
    wait_max: Duration,
    bytes_min: i64,
    bytes_max: usize,
    isolation: Isolation,
    reader: Reader,
}

/// Who asks.
#[derive(Clone, Copy)]
enum Reader {
    Client,
    /// One that takes what it reads from any replica, and asks the leader which (KIP-392).
    ClientOfAny,
    Follower(Follower),
    /// It says that it is a follower, and is not one.
    Stranger,
}

#[derive(Clone, Copy)]
struct Follower {
    broker_id: BrokerId,
    broker_epoch: BrokerEpoch,
    /// Whether the ISR might have had it in every partition when the request came: with a change of that, its session looks
    /// at all of them.
    might_join: bool,
}

/// Whether a look at the partitions takes in what the request says of a follower's logs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Again,
}

/// What one look at all partitions gave.
struct Round {
    found: Vec<Found>,
    bytes: i64,
    /// Errors and the like: they are told at once.
    is_notable: bool,
    /// A follower has not heard of a high watermark or a log start: that is told soon.
    has_news: bool,
}

struct Found {
    topic_id: TopicId,
    result: Result<(Arc<Partition>, PartitionRead), ErrorCode>,
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<FetchRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let limits = request::limits(broker, &context, &request);
    let begun = request::begin_session(broker, &context, &request, limits.reader);
    let mut session = match begun {
        Ok(session) => session,
        Err(code) => return Reply::Ready(answer::refused(&context, code)),
    };
    if matches!(limits.reader, Reader::Follower(_)) {
        session.note_follower();
        context.peer.note_follower();
    }
    let rack = request.rack_id.to_string();
    let busy = Duration::ZERO;
    let mut fetch = Fetch { broker: Arc::clone(broker), context, session, limits, rack, busy };
    let round = fetch.timed_look(Look::First);
    if fetch.is_done(&round) || limits.wait_max.is_zero() {
        return Reply::Ready(fetch.answer(round));
    }
    Reply::Pending(Box::pin(fetch.wait(round)))
}

impl Fetch {
    fn is_done(&self, round: &Round) -> bool {
        round.is_notable
            || round.bytes >= self.limits.bytes_min
            || (self.session.targets.is_empty() && self.session.watch().is_none())
    }

    /// Whether quotas are for who asks: what followers take is another matter.
    fn is_limited(&self) -> bool {
        !matches!(self.limits.reader, Reader::Follower(_))
    }

    fn timed_look(&mut self, look: Look) -> Round {
        if !(self.is_limited() && self.broker.control.quotas.limits(QuotaKey::RequestPercentage)) {
            return self.look(look);
        }
        let begun = Instant::now();
        let round = self.look(look);
        self.busy += begun.elapsed();
        round
    }

    /// For how long the client has to wait. It gets nothing then, and nothing is counted that it did not get.
    fn throttle_ms(&self, round: &Round) -> i32 {
        if !self.is_limited() {
            return 0;
        }
        let quotas = &self.broker.control.quotas;
        let mut throttle_ms = 0;
        if quotas.limits(QuotaKey::RequestPercentage) {
            throttle_ms = quotas.record_time(&self.context, self.busy);
        }
        if quotas.limits(QuotaKey::ConsumerByteRate) {
            let bytes = round.bytes as f64;
            throttle_ms = throttle_ms.max(quotas.record(QuotaKey::ConsumerByteRate, &self.context, bytes));
            if throttle_ms > 0 {
                quotas.take_back(QuotaKey::ConsumerByteRate, &self.context, bytes);
            }
        }
        throttle_ms
    }

    /// A follower has shown that it is one.
    fn may_read(&self, topic: &str) -> bool {
        matches!(self.limits.reader, Reader::Follower(_))
            || is_authorized(&self.context, Operation::Read, Resource::topic(topic))
    }

    /// Looks at every partition once, in the session's order, until the answer is full.
    fn look(&self, look: Look) -> Round {
        let image = self.broker.control.image();
        let found = Vec::with_capacity(self.session.targets.len());
        let mut round = Round { found, bytes: 0, is_notable: false, has_news: false };
        let mut left = self.limits.bytes_max;
        for target in &self.session.targets {
            let topic = match &target.key.topic {
                // Whether there is such a topic is not told to who may not read it.
                FetchTopicRef::Name(name) if !self.may_read(name) => Err(ErrorCode::TopicAuthorizationFailed),
                FetchTopicRef::Name(name) => {
                    image.topics().by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)
                }
                FetchTopicRef::Id(id) => image.topics().by_id(*id).ok_or(ErrorCode::UnknownTopicId),
            };
            let topic_id = topic.as_ref().map_or(TopicId::ZERO, |topic| topic.id());
            let result = topic.and_then(|topic| {
                if matches!(target.key.topic, FetchTopicRef::Id(_)) && !self.may_read(topic.name()) {
                    return Err(ErrorCode::TopicAuthorizationFailed);
                }
                topic.partition(target.key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                self.read(&image, topic_id, target, look, left, round.bytes == 0)
            });
            match &result {
                Ok((_, read)) => {
                    let size = read.records.as_ref().map_or(0, |slice| slice.length);
                    left = left.saturating_sub(size);
                    round.bytes += i64::try_from(size).unwrap_or(i64::MAX);
                    round.is_notable |= read.diverging_epoch.is_some()
                        || read.is_out_of_range
                        || read.preferred_read_replica != BrokerId::NONE;
                    round.has_news |= is_news(target.known, read);
                }
                Err(_) => round.is_notable = true,
            }
            round.found.push(Found { topic_id, result });
        }
        round
    }

    fn read(
        &self,
        image: &MetadataImage,
        topic_id: TopicId,
        target: &FetchTarget,
        look: Look,
        left: usize,
        is_first: bool,
    ) -> Result<(Arc<Partition>, PartitionRead), ErrorCode> {
        let partition = self
            .broker
            .replica_manager
            .get(TopicIdPartition { topic_id, partition: target.key.partition })?;
        let mut request = ReadRequest {
            fetch_offset: target.fetch_offset,
            bytes_max: left.min(usize::try_from(target.bytes_max).unwrap_or(0)),
            at_least_one_batch: is_first,
            current_leader_epoch: target.current_leader_epoch,
            last_fetched_epoch: target.last_fetched_epoch,
            isolation: self.limits.isolation,
        };
        let read = match self.limits.reader {
            Reader::Client => partition.read(&request, Readers::OfTheLeader)?,
            Reader::ClientOfAny => {
                let choose =
                    |followers: &mut dyn Iterator<Item = (BrokerId, Offset)>| self.closest(image, followers);
                let choose: Option<&ChooseReplica<'_>> =
                    if self.rack.is_empty() { None } else { Some(&choose) };
                partition.read(&request, Readers::OfAnyReplica(choose))?
            }
            Reader::Stranger => return Err(ErrorCode::NotLeaderOrFollower),
            Reader::Follower(follower) => {
                // Who asks for nothing at all only reports.
                request.at_least_one_batch &= self.limits.bytes_max > 0;
                let fetch = FollowerFetch {
                    fetch_offset: target.fetch_offset,
                    durable_end: target.durable_end,
                    log_start: target.log_start,
                    broker_epoch: follower.broker_epoch,
                    // Not as it was when the request came: it may have waited since.
                    may_join: request::may_join(image, partition.id(), follower),
                };
                let news = match look {
                    Look::First if target.is_named => FollowerNews::Progress,
                    Look::First | Look::Again => FollowerNews::Seen,
                };
                partition.read_for_follower(
                    follower.broker_id,
                    &fetch,
                    news,
                    &request,
                    image.position().offset,
                    self.session.watch(),
                )?
            }
        };
        Ok((partition, read))
    }

    /// The replica in the client's rack that has most, unless the leader is there itself.
    fn closest(
        &self,
        image: &MetadataImage,
        followers: &mut dyn Iterator<Item = (BrokerId, Offset)>,
    ) -> BrokerId {
        let is_close = |id: BrokerId| {
            let broker = image.broker(id).filter(|broker| !broker.fenced);
            broker.is_some_and(|broker| {
                broker.rack.as_deref() == Some(&*self.rack)
                    && broker.listener(&self.context.listener).is_some()
            })
        };
        if is_close(self.broker.options.config.node_id) {
            return BrokerId::NONE;
        }
        let close = followers.filter(|(id, _)| is_close(*id));
        close.max_by_key(|(id, end)| (*end, std::cmp::Reverse(*id))).map_or(BrokerId::NONE, |(id, _)| id)
    }

    /// Waits until there is enough, something worth telling, or no time left.
    async fn wait(mut self, mut round: Round) -> ResponseFrame {
        let deadline = tokio::time::Instant::now() + self.limits.wait_max;
        loop {
            let end = {
                let parked = Parked::at(&round, self.limits, &self.session);
                match &parked {
                    Some(parked) if !self.session.park(&parked.waiter) => WaitEnd::Over,
                    Some(parked) => parked.waiter.wait(deadline).await,
                    // Something moved between the look and the parking: look again at once.
                    None if tokio::time::Instant::now() >= deadline => WaitEnd::Over,
                    None => WaitEnd::Woken,
                }
            };
            self.session.add_changed();
            round = self.timed_look(Look::Again);
            if end == WaitEnd::Over || self.is_done(&round) {
                return self.answer(round);
            }
        }
    }

    /// Counts what the answer tells.
    fn count(&self, round: &Round) {
        let is_follower = matches!(self.limits.reader, Reader::Follower(_));
        for found in &round.found {
            match &found.result {
                Ok((partition, read)) => {
                    let bytes = read.records.as_ref().map_or(0, |slice| slice.length);
                    if is_follower {
                        partition.count_sent_to_follower(bytes);
                    } else {
                        partition.traffic().note_read(bytes);
                    }
                }
                Err(_) if is_follower => {}
                Err(_) => {
                    let image = self.broker.control.image();
                    let topic = image.topics().by_id(found.topic_id);
                    let name = topic.map_or("", |topic| &**topic.name());
                    self.broker.metrics.traffic.note_failed(name, |of| &of.failed_fetch_requests);
                    self.broker.metrics.requests.errors(self.context.api_key, 1);
                }
            }
        }
    }

    fn answer(self, round: Round) -> ResponseFrame {
        let now = Instant::now();
        self.count(&round);
        match self.throttle_ms(&round) {
            0 => answer::frame(self, round, now),
            throttle_ms => answer::throttled(&self, throttle_ms),
        }
    }
}

/// Whether a follower has yet to hear of what was read.
fn is_news(known: Option<Known>, read: &PartitionRead) -> bool {
    known.is_some_and(|known| {
        let log_start_moved =
            known.log_start_offset >= Offset::ZERO && known.log_start_offset != read.log_start_offset;
        known.high_watermark < read.high_watermark || log_start_moved
    })
}

/// A fetch that stands at its partitions. However it ends, by an answer or by its connection's end, they forget it.
struct Parked<'a> {
    waiter: Arc<FetchWaiter>,
    /// Where it stands; nowhere if its session hears of changes.
    at: &'a [Found],
}

impl<'a> Parked<'a> {
    /// `None` if some partition has more to see by now.
    fn at(round: &'a Round, limits: Limits, session: &FetchContext) -> Option<Self> {
        let waiter = Arc::new(FetchWaiter::new(limits.bytes_min - round.bytes));
        let at = if session.watch().is_some() { &[] } else { &*round.found };
        let parked = Self { waiter, at };
        let is_quiet = session.park_at_watch(&parked.waiter)
            && parked
                .partitions()
                .all(|(partition, read)| partition.park(&parked.waiter, limits.isolation, read));
        if round.has_news {
            parked.waiter.note_news();
        }
        is_quiet.then_some(parked)
    }

    fn partitions(&self) -> impl Iterator<Item = &(Arc<Partition>, PartitionRead)> {
        self.at.iter().filter_map(|found| found.result.as_ref().ok())
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        for (partition, _) in self.partitions() {
            partition.unpark(&self.waiter);
        }
    }
}
