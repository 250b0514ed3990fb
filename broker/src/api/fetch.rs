//! Fetch (1), versions 4 to 18.
//!
//! - 4: isolation level. 5: log start offset. 7: sessions (KIP-227). 9: leader epochs (KIP-320). 11: rack (KIP-392).
//! - 12: flexible, diverging epoch (KIP-595), the new leader in the answer. 13: topics by id (KIP-516).
//! - 15: replica state (KIP-903). 16: endpoints of new leaders (KIP-951). 17: replica directory. 18: high watermark.
//!
//! Records are found, not read: small ones are copied into the answer, large ones go from the file to the socket. A fetch
//! with too little to tell parks at its partitions and costs nothing until one of them pokes it.

mod answer;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use moldau_model::{ErrorCode, TopicId, TopicIdPartition};

use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::fetch_session::{FetchContext, FetchTarget, FetchTopicRef};
use crate::purgatory::FetchWaiter;
use crate::replica_manager::{Isolation, Partition, PartitionRead, ReadRequest};
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(1, "Fetch", 4, 18, handle);

/// One fetch on its way to an answer.
struct Fetch {
    broker: Arc<Broker>,
    context: RequestContext,
    session: FetchContext,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    wait_max: Duration,
    bytes_min: i64,
    bytes_max: usize,
    isolation: Isolation,
    /// Only consumers are served: there are no followers that could fetch from a broker that leads everything.
    is_replica: bool,
}

/// What one look at all partitions gave.
struct Round {
    found: Vec<Found>,
    bytes: i64,
    /// Errors and the like: they are told at once.
    is_notable: bool,
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
    let begun = request::begin_session(broker, &context, &request);
    let session = match begun {
        Ok(session) => session,
        Err(code) => return Reply::Ready(answer::refused(&context, code)),
    };
    let fetch = Fetch { broker: Arc::clone(broker), context, session, limits };
    let round = fetch.look();
    if fetch.is_done(&round) || limits.wait_max.is_zero() {
        return Reply::Ready(fetch.answer(round));
    }
    Reply::Pending(Box::pin(fetch.wait(round)))
}

impl Fetch {
    fn is_done(&self, round: &Round) -> bool {
        round.is_notable || round.bytes >= self.limits.bytes_min || self.session.targets.is_empty()
    }

    /// Looks at every partition once, in the session's order, until the answer is full.
    fn look(&self) -> Round {
        let image = self.broker.control.image();
        let mut round =
            Round { found: Vec::with_capacity(self.session.targets.len()), bytes: 0, is_notable: false };
        let mut left = self.limits.bytes_max;
        for target in &self.session.targets {
            let topic = match &target.key.topic {
                FetchTopicRef::Name(name) => {
                    image.topics().by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)
                }
                FetchTopicRef::Id(id) => image.topics().by_id(*id).ok_or(ErrorCode::UnknownTopicId),
            };
            let topic_id = topic.as_ref().map_or(TopicId::ZERO, |topic| topic.id());
            let result = topic.and_then(|topic| {
                if !is_authorized(&self.context, Operation::Read, Resource::Topic(topic.name())) {
                    return Err(ErrorCode::TopicAuthorizationFailed);
                }
                topic.partition(target.key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                self.read(topic_id, target, left, round.bytes == 0)
            });
            match &result {
                Ok((_, read)) => {
                    let size = read.records.as_ref().map_or(0, |slice| slice.length);
                    left = left.saturating_sub(size);
                    round.bytes += i64::try_from(size).unwrap_or(i64::MAX);
                    round.is_notable |= read.diverging_epoch.is_some();
                }
                Err(_) => round.is_notable = true,
            }
            round.found.push(Found { topic_id, result });
        }
        round
    }

    fn read(
        &self,
        topic_id: TopicId,
        target: &FetchTarget,
        left: usize,
        is_first: bool,
    ) -> Result<(Arc<Partition>, PartitionRead), ErrorCode> {
        let partition = self
            .broker
            .replica_manager
            .get(TopicIdPartition { topic_id, partition: target.key.partition })?;
        if self.limits.is_replica {
            // A replica of a partition that has no other one than this is a stranger.
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let read = partition.read(&ReadRequest {
            fetch_offset: target.fetch_offset,
            bytes_max: left.min(usize::try_from(target.bytes_max).unwrap_or(0)),
            at_least_one_batch: is_first,
            current_leader_epoch: target.current_leader_epoch,
            last_fetched_epoch: target.last_fetched_epoch,
            isolation: self.limits.isolation,
        })?;
        Ok((partition, read))
    }

    /// Waits until there is enough, something worth telling, or no time left.
    async fn wait(self, mut round: Round) -> ResponseFrame {
        let deadline = tokio::time::Instant::now() + self.limits.wait_max;
        loop {
            let is_late = {
                let parked = Parked::at(&round, self.limits);
                match &parked {
                    Some(parked) => tokio::time::timeout_at(deadline, parked.waiter.woken()).await.is_err(),
                    // Something moved between the look and the parking: look again at once.
                    None => tokio::time::Instant::now() >= deadline,
                }
            };
            round = self.look();
            if is_late || self.is_done(&round) {
                return self.answer(round);
            }
        }
    }

    fn answer(self, round: Round) -> ResponseFrame {
        let now = Instant::now();
        answer::frame(self, round, now)
    }
}

/// A fetch that stands at its partitions. However it ends, by an answer or by its connection's end, they forget it.
struct Parked<'a> {
    waiter: Arc<FetchWaiter>,
    round: &'a Round,
}

impl<'a> Parked<'a> {
    /// `None` if some partition has more to see by now.
    fn at(round: &'a Round, limits: Limits) -> Option<Self> {
        let parked = Self { waiter: Arc::new(FetchWaiter::new(limits.bytes_min - round.bytes)), round };
        let is_quiet = parked
            .partitions()
            .all(|(partition, read)| partition.park(&parked.waiter, limits.isolation, read.upper_bound));
        is_quiet.then_some(parked)
    }

    fn partitions(&self) -> impl Iterator<Item = &(Arc<Partition>, PartitionRead)> {
        self.round.found.iter().filter_map(|found| found.result.as_ref().ok())
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        for (partition, _) in self.partitions() {
            partition.unpark(&self.waiter);
        }
    }
}
