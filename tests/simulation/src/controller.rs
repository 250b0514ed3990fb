//! A controller's process: the event loop around the real decisions, and the metadata stream.
//!
//! It stands for `controller/src/event_loop.rs` and `applied.rs`, whose decisions and image it runs.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use moldau_controller::manage::{
    ApiError, BrokerSessions, CreateTopicsRequest, Decision, ElectLeadersRequest, ElectionKind, Inputs,
    MutationQuota, NewTopic, Random, ReassignPartitionsRequest, ReassignablePartition, Settings,
    allocate_producer_ids, alter_partition, bootstrap_records, create_topics, elect_leaders,
    eligible_leader_records, fence_broker, reassign_partitions, register_broker,
};
use moldau_metadata::{MetadataBatch, MetadataImage, MetadataPosition, MetadataRecord, RecordKind};
use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};

use crate::bug::Bug;
use crate::core::{Core, Plan};
use crate::coverage::Happened;
use crate::event::Timer;
use crate::message::{Correlation, FromController, Message, MetadataEvent, Node, ToController};
use crate::quorum::{QuorumDisk, Role, TICK_MS};
use crate::topology::{
    CLUSTER_ID, CONTROLLER_ID_FIRST, DATA_TOPIC, LOOSE_TOPIC, OFFSETS_TOPIC, TRANSACTIONS_TOPIC,
};

/// `broker.session.timeout.ms`, which brokers have, too.
pub(crate) const SESSION_MS: i64 = 1_500;
const SESSION_CHECK_MS: i64 = 100;
/// Metadata events in one answer.
const EVENTS_MAX: usize = 32;
/// How long a watcher waits for news.
const WATCH_MS: i64 = 400;

/// An answer that waits until all it stands on is committed.
#[derive(Debug)]
struct Reply {
    to: Node,
    correlation: Correlation,
    message: FromController,
    registered: Option<(BrokerId, BrokerEpoch)>,
}

#[derive(Debug)]
struct InFlight {
    offset: usize,
    replies: Vec<Reply>,
}

/// What the active controller has besides.
#[derive(Debug)]
struct Active {
    /// What is committed, and what it expects to be.
    image: MetadataImage,
    sessions: BrokerSessions,
    in_flight: VecDeque<InFlight>,
}

/// A controller with its disk. All but `id`, `disk` and `life` is lost with the process.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) id: usize,
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) disk: QuorumDisk,
    settings: Settings,
    // The quorum.
    pub(crate) role: Role,
    pub(crate) leader: Option<usize>,
    pub(crate) committed: usize,
    /// How much of its log is known to be the leader's.
    pub(crate) matched: usize,
    pub(crate) election_at: i64,
    pub(crate) is_syncing: bool,
    pub(crate) truncations: u64,
    /// Whom it has just given its vote; for the nemesis.
    pub(crate) has_voted_for: Option<usize>,
    // What it decides by.
    pub(crate) applied: usize,
    pub(crate) image: MetadataImage,
    active: Option<Active>,
    watchers: BTreeMap<i32, (Correlation, Option<MetadataPosition>)>,
}

impl Controller {
    pub(crate) fn new(id: usize, plan: &Plan) -> Self {
        let statics = BTreeMap::from([("min.insync.replicas".to_owned(), plan.min_isr.to_string())]);
        Self {
            id,
            life: 0,
            is_up: false,
            disk: QuorumDisk::default(),
            settings: Settings::new(BrokerId(CONTROLLER_ID_FIRST + id as i32), statics),
            role: Role::Follower,
            leader: None,
            committed: 0,
            matched: 0,
            election_at: 0,
            is_syncing: false,
            truncations: 0,
            has_voted_for: None,
            applied: 0,
            image: MetadataImage::empty(),
            active: None,
            watchers: BTreeMap::new(),
        }
    }

    /// A new process on the same disk.
    pub(crate) fn start(&mut self, core: &mut Core) {
        self.life += 1;
        self.is_up = true;
        self.disk.recover();
        self.role = Role::Follower;
        self.leader = None;
        (self.committed, self.matched, self.applied) = (0, 0, 0);
        self.is_syncing = false;
        self.has_voted_for = None;
        self.image = MetadataImage::empty();
        self.active = None;
        self.watchers.clear();
        self.reset_election(core);
        self.timer(core, TICK_MS, Timer::QuorumTick);
        self.timer(core, SESSION_CHECK_MS, Timer::SessionCheck);
    }

    /// The process is gone; the disk stays.
    pub(crate) fn stop(&mut self) {
        self.is_up = false;
        self.life += 1;
    }

    pub(crate) fn timer(&self, core: &mut Core, delay_ms: i64, timer: Timer) {
        core.timer(delay_ms, Node::Controller(self.id), self.life, timer);
    }

    pub(crate) fn handle_timer(&mut self, core: &mut Core, timer: Timer) {
        match timer {
            Timer::QuorumTick => self.quorum_tick(core),
            Timer::VoteSynced { to, reply } => self.vote_synced(core, to, reply),
            Timer::EntriesSynced { length, truncations } => self.entries_synced(core, length, truncations),
            Timer::SessionCheck => {
                self.timer(core, SESSION_CHECK_MS, Timer::SessionCheck);
                // Behind what waits in the queue: after a stall nobody is silent whose word has not been read.
                self.timer(core, 0, Timer::FenceExpired);
            }
            Timer::FenceExpired => self.fence_expired(core),
            Timer::WatchExpired { broker, correlation } => {
                if self.watchers.get(&broker).is_some_and(|(waiting, _)| *waiting == correlation) {
                    self.watchers.remove(&broker);
                    self.send(core, Node::Broker(broker), Message::Watched(correlation, Vec::new()));
                }
            }
            other => unreachable!("a controller was woken up for {other:?}"),
        }
    }

    pub(crate) fn handle(&mut self, core: &mut Core, from: Node, message: Message) {
        match (from, message) {
            (Node::Controller(from), Message::Quorum(message)) => self.handle_quorum(core, from, message),
            (_, Message::ToController(correlation, request)) => self.work(core, from, correlation, request),
            (Node::Broker(broker), Message::Watch(correlation, after)) => {
                self.watch(core, broker, correlation, after);
            }
            (from, message) => unreachable!("{from:?} says to a controller: {message:?}"),
        }
    }

    fn send(&self, core: &mut Core, to: Node, message: Message) {
        core.send(Node::Controller(self.id), to, message);
    }

    // ---- the active controller ----

    /// Becomes the active controller once all of its log is applied.
    pub(crate) fn activate(&mut self, core: &mut Core) {
        if !self.is_leader() || self.active.is_some() || self.applied < self.disk.log.len() {
            return;
        }
        let mut sessions = BrokerSessions::new(SESSION_MS);
        sessions.adopt(&self.image, core.timestamp());
        self.active = Some(Active { image: self.image.clone(), sessions, in_flight: VecDeque::new() });
        if self.image.cluster_id().is_none() {
            let elr = i16::from(core.plan.has_elr);
            let features = [("eligible.leader.replicas.version", elr), ("metadata.version", 30)];
            let mut records = bootstrap_records(CLUSTER_ID, &features);
            records.extend(eligible_leader_records(&self.image, &self.settings));
            self.propose(core, records, None);
        }
    }

    /// Another term began: nobody knows what becomes of what is under way.
    pub(crate) fn resign(&mut self, core: &mut Core) {
        let Some(active) = self.active.take() else { return };
        for reply in active.in_flight.into_iter().flat_map(|in_flight| in_flight.replies) {
            let refused = FromController::NotController { leader: self.leader };
            self.send(core, reply.to, Message::FromController(reply.correlation, refused));
        }
    }

    fn work(&mut self, core: &mut Core, from: Node, correlation: Correlation, request: ToController) {
        let Some((records, message, registered)) = self.decide(core, &request) else {
            let leader = self.leader.filter(|leader| *leader != self.id);
            let refused = FromController::NotController { leader };
            return self.send(core, from, Message::FromController(correlation, refused));
        };
        if core.has(Bug::ProducerIdsBeforeCommit)
            && let FromController::ProducerIds(_) = &message
        {
            self.send(core, from, Message::FromController(correlation, message));
            return self.propose(core, records, None);
        }
        self.propose(core, records, Some(Reply { to: from, correlation, message, registered }));
    }

    /// The records, the answer, and the registration in it; `None` where this controller is not the active one.
    fn decide(
        &mut self,
        core: &mut Core,
        request: &ToController,
    ) -> Option<(Vec<MetadataRecord>, FromController, Option<(BrokerId, BrokerEpoch)>)> {
        let now = core.timestamp();
        let active = self.active.as_mut()?;
        let image = &active.image;
        let mut random = Random::from_number(core.random.bits());
        let mut inputs = Inputs {
            next_offset: Offset(self.disk.log.len() as i64),
            random: &mut random,
            settings: &self.settings,
            mutation_quota: MutationQuota::default(),
        };
        let mut registered = None;
        let decided = match request {
            ToController::Register(request) => {
                let session = active.sessions.state(request.broker_id, now);
                register_broker(image, request, session, &mut inputs).map(|mut decision| {
                    registered = Some((request.broker_id, decision.response.broker_epoch));
                    if core.has(Bug::KeepLeaderEpochAcrossRestart) {
                        decision
                            .records
                            .retain(|record| !matches!(record.kind, Some(RecordKind::PartitionChange(_))));
                    }
                    (decision.records, FromController::Registered(decision.response.broker_epoch))
                })
            }
            ToController::Heartbeat(request) => active
                .sessions
                .handle_heartbeat(image, &self.settings, request, now)
                .map(|decision| answer(decision, FromController::Heartbeat)),
            ToController::AlterPartition { broker_id, broker_epoch, request } => {
                let mut request = request.clone();
                if core.has(Bug::SkipEpochCheckOfProposal)
                    && let Some(known) = image.topics().partition(request.topic_id, request.partition)
                {
                    request.leader_epoch = known.leader_epoch;
                    request.partition_epoch = known.partition_epoch;
                }
                let request = moldau_cluster::AlterPartition {
                    broker_id: *broker_id,
                    broker_epoch: *broker_epoch,
                    partitions: vec![request],
                };
                alter_partition(image, &self.settings, &request).map(|mut decision| {
                    let result = decision.response.partitions.remove(0);
                    if result.is_err() {
                        core.coverage.note(Happened::AlterPartitionRefused);
                    }
                    (decision.records, FromController::Altered(result))
                })
            }
            ToController::AllocateProducerIds(request) => allocate_producer_ids(image, request)
                .map(|decision| answer(decision, FromController::ProducerIds)),
            ToController::CreateTopics => {
                let topics = new_topics(core);
                create_topics(image, &topics, &mut inputs)
                    .map(|decision| (decision.records, FromController::Done))
            }
            ToController::ElectPreferred => {
                let request = ElectLeadersRequest { kind: ElectionKind::Preferred, partitions: None };
                elect_leaders(image, &request, &inputs)
                    .map(|decision| (decision.records, FromController::Done))
            }
            ToController::Reassign { part, replicas } => {
                let partition = ReassignablePartition { partition: part.index(), replicas: replicas.clone() };
                let request = ReassignPartitionsRequest {
                    topics: vec![(part.topic().to_owned(), vec![partition])],
                    allow_replication_factor_change: false,
                };
                reassign_partitions(image, &request, &inputs)
                    .map(|decision| (decision.records, FromController::Done))
            }
        };
        let refused = |error: ApiError| (Vec::new(), FromController::Refused(error.code));
        let (records, message) = decided.unwrap_or_else(refused);
        Some((records, message, registered))
    }

    fn propose(&mut self, core: &mut Core, records: Vec<MetadataRecord>, reply: Option<Reply>) {
        let Some(active) = &mut self.active else { return };
        if records.is_empty() {
            // It may stand on what is not committed yet, and then waits for that.
            match (active.in_flight.back_mut(), reply) {
                (Some(last), Some(reply)) => last.replies.push(reply),
                (None, Some(reply)) => self.answer(core, reply),
                (_, None) => {}
            }
            return;
        }
        let batch = MetadataBatch::from(records);
        let offset = self.disk.log.len();
        let replayed =
            active.image.replay_image(&batch, Offset(offset as i64), LeaderEpoch(self.disk.term as i32));
        active.image = replayed.expect("a decision replays");
        active.in_flight.push_back(InFlight { offset, replies: reply.into_iter().collect() });
        self.append_entry(core, Some(Rc::new(batch)));
    }

    fn answer(&mut self, core: &mut Core, reply: Reply) {
        if let (Some(active), Some((id, epoch))) = (&mut self.active, reply.registered) {
            active.sessions.handle_registered(id, epoch, core.timestamp());
        }
        self.send(core, reply.to, Message::FromController(reply.correlation, reply.message));
    }

    fn fence_expired(&mut self, core: &mut Core) {
        let Some(active) = &self.active else { return };
        for expired in active.sessions.expired(&active.image, core.timestamp()) {
            let Some(active) = &self.active else { return };
            let records = fence_broker(&active.image, &self.settings, expired.broker_id);
            self.propose(core, records, None);
        }
    }

    /// More of the log is applied: answers and watchers waited for it.
    pub(crate) fn applied_more(&mut self, core: &mut Core) {
        while let Some(active) = &mut self.active
            && active.in_flight.front().is_some_and(|first| first.offset < self.applied)
        {
            let replies = active.in_flight.pop_front().map(|first| first.replies);
            for reply in replies.into_iter().flatten() {
                self.answer(core, reply);
            }
        }
        for (broker, (correlation, after)) in std::mem::take(&mut self.watchers) {
            self.watch(core, broker, correlation, after);
        }
    }

    // ---- the metadata stream ----

    fn position(&self, offset: usize) -> MetadataPosition {
        MetadataPosition {
            offset: Offset(offset as i64),
            epoch: LeaderEpoch(self.disk.log[offset].term as i32),
        }
    }

    fn watch(
        &mut self,
        core: &mut Core,
        broker: i32,
        correlation: Correlation,
        after: Option<MetadataPosition>,
    ) {
        let next = after.map_or(0, |after| after.offset.0 as usize + 1);
        if self.applied == 0 || next > self.applied || (next == self.applied && self.is_at(after)) {
            self.watchers.insert(broker, (correlation, after));
            return self.timer(core, WATCH_MS, Timer::WatchExpired { broker, correlation });
        }
        let events = if after.is_some() && self.is_at(after) && !core.random.per_mille(20) {
            let end = self.applied.min(next + EVENTS_MAX);
            (next..end)
                .map(|offset| MetadataEvent {
                    position: self.position(offset),
                    batch: self.disk.log[offset].batch.clone().unwrap_or_default(),
                    is_snapshot: false,
                })
                .collect()
        } else {
            core.coverage.note(Happened::SnapshotSent);
            let batch = Rc::new(MetadataBatch::from(self.image.to_snapshot_records()));
            vec![MetadataEvent { position: self.image.position(), batch, is_snapshot: true }]
        };
        self.send(core, Node::Broker(broker), Message::Watched(correlation, events));
    }

    /// Whether the log has that very position.
    fn is_at(&self, after: Option<MetadataPosition>) -> bool {
        after.is_none_or(|after| {
            let offset = after.offset.0 as usize;
            offset < self.applied && self.position(offset) == after
        })
    }
}

fn answer<R>(
    decision: Decision<R>,
    message: impl FnOnce(R) -> FromController,
) -> (Vec<MetadataRecord>, FromController) {
    (decision.records, message(decision.response))
}

fn new_topics(core: &Core) -> CreateTopicsRequest {
    let topic = |name: &str, partitions, replicas, min_isr: i32, is_unclean: bool| NewTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: replicas,
        assignments: Vec::new(),
        configs: vec![
            ("min.insync.replicas".into(), Some(min_isr.to_string())),
            ("unclean.leader.election.enable".into(), Some(is_unclean.to_string())),
        ],
    };
    let is_unclean = core.has(Bug::ElectOutsideOfIsr);
    let min_isr = core.plan.min_isr;
    let topics = vec![
        topic(DATA_TOPIC, 2, 3, min_isr, is_unclean),
        topic(LOOSE_TOPIC, 1, 2, 1, true),
        topic(OFFSETS_TOPIC, 1, 3, min_isr, is_unclean),
        topic(TRANSACTIONS_TOPIC, 1, 3, min_isr, is_unclean),
    ];
    CreateTopicsRequest { topics, validate_only: false }
}
