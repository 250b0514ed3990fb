//! A broker: its disk, and the process on it. The replicas and the group shard are the real ones; the shell around them
//! stands for that of `moldau-broker`, as small as it can be.

mod alter_partition;
mod coordinator;
mod fetcher;
mod leader;
mod lifecycle;
mod metadata;
mod transactions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use moldau_group::{AppendId, GroupConfig, GroupShard, Input, RequestToken};
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, Offset, Uuid};
use moldau_replica::{Replica, Role};

use crate::core::Core;
use crate::event::Timer;
use crate::log::SimulatedLog;
use crate::message::{
    Correlation, FollowerFetchReply, FollowerFetchRequest, FromBroker, LeaderHint, Message, Node, Part,
    ToBroker,
};
use crate::topology::PARTS;
use transactions::Transactions;

/// `replica.lag.time.max.ms`.
const LAG_MS: i64 = 1_000;
const POLL_ISR_MS: i64 = 200;
const CHECKPOINT_MS: i64 = 500;
const REQUEST_MS: i64 = 500;

/// What outlives the process.
#[derive(Debug)]
pub(crate) struct BrokerDisk {
    /// Of the log directory: a new disk has a new one.
    directory: Uuid,
    pub(crate) logs: [SimulatedLog; PARTS.len()],
    /// High watermarks as they were last written down.
    checkpoints: [i64; PARTS.len()],
    /// The marker of a clean stop: the epoch that stopped.
    clean_epoch: Option<BrokerEpoch>,
    /// The last epoch there was, clean or not; for a seeded fault.
    last_epoch: Option<BrokerEpoch>,
}

impl BrokerDisk {
    /// An empty one.
    pub(crate) fn new(directory: Uuid) -> Self {
        Self {
            directory,
            logs: Default::default(),
            checkpoints: [0; PARTS.len()],
            clean_epoch: None,
            last_epoch: None,
        }
    }
}

/// How a process wants to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// In order: everything is synced, and the disk says so.
    Clean,
    /// The controllers do not know it any more, or its stop took too long.
    Unclean,
}

/// Who is told when a high watermark passes `required`.
#[derive(Debug)]
struct Waiting {
    required: i64,
    whom: Whom,
}

#[derive(Debug)]
enum Whom {
    Producer {
        to: Node,
        correlation: Correlation,
        base: i64,
        id: u64,
    },
    Coordinator {
        append_id: AppendId,
    },
    TransactionCoordinator {
        append_id: moldau_txn::AppendId,
    },
    /// Another broker.
    Peer {
        to: Node,
        correlation: Correlation,
    },
}

/// Who wants a producer id.
#[derive(Clone, Copy, Debug)]
enum Waiter {
    Client(Node, Correlation),
    Coordinator(moldau_txn::AllocationId),
}

/// A follower's side of a partition.
#[derive(Debug)]
struct Fetcher {
    leader: BrokerId,
    leader_epoch: i32,
    outstanding: Option<Correlation>,
    /// Counts fetches, so that timers of earlier ones are void.
    generation: u64,
    told_durable: i64,
}

/// A partition that this broker holds a replica of.
#[derive(Debug)]
struct Hosted {
    replica: Replica,
    waiting: VecDeque<Waiting>,
    fetcher: Option<Fetcher>,
    /// Followers that wait for news.
    parked: BTreeMap<i32, (Correlation, FollowerFetchRequest)>,
}

/// What a request to the active controller was for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Register,
    Heartbeat { sent_at: i64 },
    AlterPartition { part: Part, leader_epoch: i32 },
    ProducerIds,
}

/// What is lost with the process.
#[derive(Debug)]
struct Process {
    incarnation: Uuid,
    previous_epoch: BrokerEpoch,
    epoch: Option<BrokerEpoch>,
    /// Whom it believes to be the active controller, and whose metadata it follows.
    controller: usize,
    watched: usize,
    watch: Option<Correlation>,
    image: MetadataImage,
    has_image: bool,
    is_fenced: bool,
    is_serving: bool,
    wants_shutdown: bool,
    asked: BTreeMap<Correlation, Asked>,
    /// When the last heartbeat was sent that counts, see `may_be_replaced`.
    counted_in_at: Option<i64>,
    /// One that was answered, with how far the metadata was.
    answered: Option<(i64, Offset)>,
    hosted: BTreeMap<Part, Hosted>,
    producer_ids: std::ops::Range<i64>,
    waiting_for_ids: VecDeque<Waiter>,
    shard: GroupShard,
    /// Of the load or the activity under way.
    shard_epoch: Option<i32>,
    /// Where the records end that were loaded and are perhaps not committed yet.
    loaded_to: Option<i64>,
    group_inputs: VecDeque<Input>,
    group_tokens: BTreeMap<RequestToken, (Node, Correlation)>,
    next_token: u64,
    group_tick_at: i64,
    transactions: Transactions,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) id: i32,
    pub(crate) life: u32,
    pub(crate) is_up: bool,
    pub(crate) disk: BrokerDisk,
    pub(crate) exit: Option<Exit>,
    process: Process,
}

impl Broker {
    pub(crate) fn new(id: i32) -> Self {
        Self {
            id,
            life: 0,
            is_up: false,
            disk: BrokerDisk::new(Uuid::from_bytes([200 + id as u8; 16])),
            exit: None,
            process: Process::new(Uuid::ZERO, BrokerEpoch(-1), 0),
        }
    }

    fn node(&self) -> Node {
        Node::Broker(self.id)
    }

    fn broker_id(&self) -> BrokerId {
        BrokerId(self.id)
    }

    fn timer(&self, core: &mut Core, delay_ms: i64, timer: Timer) {
        core.timer(delay_ms, self.node(), self.life, timer);
    }

    fn send(&self, core: &mut Core, to: Node, message: Message) {
        core.send(self.node(), to, message);
    }

    pub(crate) fn handle_timer(&mut self, core: &mut Core, timer: Timer) {
        match timer {
            Timer::Register { incarnation } => self.register(core, incarnation),
            Timer::Heartbeat => self.heartbeat_due(core),
            Timer::WatchTimeout(correlation) => self.watch_timed_out(core, correlation),
            Timer::RequestTimeout(correlation) => self.request_timed_out(core, correlation),
            Timer::PollIsr => {
                self.timer(core, POLL_ISR_MS, Timer::PollIsr);
                self.poll_isr(core);
            }
            Timer::Checkpoint => {
                self.timer(core, CHECKPOINT_MS, Timer::Checkpoint);
                self.write_checkpoints();
            }
            Timer::FollowerFetch { part, generation } => self.fetch_due(core, part, generation),
            Timer::FetchExpired { part, follower, correlation } => {
                self.parked_fetch_expired(core, part, follower, correlation);
            }
            Timer::Synced { part, ticket } => self.synced(core, part, ticket),
            Timer::GroupLoad { leader_epoch } => self.load_groups(core, leader_epoch),
            Timer::GroupTick => self.group_tick(core),
            Timer::TransactionLoad { leader_epoch } => self.load_transactions(core, leader_epoch),
            Timer::TransactionTick => self.transaction_tick(core),
            Timer::Marker { number, part } => self.send_marker(core, number, part),
            Timer::PeerTimeout(correlation) => self.peer_timed_out(core, correlation),
            Timer::GiveUpShutdown => self.exit = Some(Exit::Unclean),
            other => unreachable!("a broker was woken up for {other:?}"),
        }
        self.drain_group_inputs(core);
        self.drain_transaction_inputs(core);
    }

    pub(crate) fn handle(&mut self, core: &mut Core, from: Node, message: Message) {
        match message {
            Message::FromController(correlation, answer) => {
                self.controller_answered(core, correlation, answer)
            }
            Message::Watched(correlation, events) => self.watched(core, correlation, events),
            Message::FollowerFetch(correlation, request) => {
                self.follower_fetch(core, correlation, &request);
            }
            Message::FollowerFetched(correlation, reply) => self.follower_fetched(core, correlation, reply),
            Message::ToBroker(correlation, request) => self.client_request(core, from, correlation, request),
            Message::FromBroker(correlation, answer) => self.peer_answered(core, correlation, answer),
            message => unreachable!("{from:?} says to a broker: {message:?}"),
        }
        self.drain_group_inputs(core);
        self.drain_transaction_inputs(core);
    }

    fn client_request(&mut self, core: &mut Core, from: Node, correlation: Correlation, request: ToBroker) {
        if !self.process.is_serving {
            return refuse_connection(core, self.id, from, Message::ToBroker(correlation, request));
        }
        match request {
            ToBroker::InitProducerId => self.want_producer_id(core, Waiter::Client(from, correlation)),
            ToBroker::Produce { part, batch, is_acks_all, of } => {
                let is_held = of.is_some_and(|of| self.holds(core, (from, correlation), part, of, &batch));
                if !is_held {
                    self.produce_now(core, (from, correlation), part, batch, is_acks_all);
                }
            }
            ToBroker::Fetch { part, offset, leader_epoch, is_committed } => {
                self.consumer_fetch(core, (from, correlation), part, (offset, leader_epoch), is_committed);
            }
            ToBroker::Transaction { request, .. } => {
                self.transaction_request(core, from, correlation, request);
            }
            ToBroker::TransactionOffsets { request, of, .. } => {
                self.transaction_offsets(core, (from, correlation), request, of);
            }
            ToBroker::Marker { part, producer, marker } => {
                self.write_marker(core, (from, correlation), part, producer, marker);
            }
            ToBroker::Group { request, .. } => self.group_request(core, from, correlation, request),
        }
    }

    fn answer(&self, core: &mut Core, to: Node, correlation: Correlation, answer: FromBroker) {
        self.send(core, to, Message::FromBroker(correlation, answer));
    }

    fn answer_error(&self, core: &mut Core, to: Node, correlation: Correlation, part: Part, code: ErrorCode) {
        let known = part.find(&self.process.image);
        let hint = known.map_or(LeaderHint { leader: None, leader_epoch: -1 }, |(_, partition)| LeaderHint {
            leader: partition.has_leader().then_some(partition.leader),
            leader_epoch: partition.leader_epoch.0,
        });
        self.answer(core, to, correlation, FromBroker::Error { code, hint });
    }

    /// The epoch in which this replica leads, if it does.
    fn leads(&self, part: Part) -> Option<i32> {
        match self.process.hosted.get(&part)?.replica.role() {
            Role::Leader { leader_epoch } => Some(leader_epoch.0),
            Role::None | Role::Follower { .. } => None,
        }
    }

    /// Whether it runs, registered, and does not want to stop.
    pub(crate) fn is_well(&self) -> bool {
        self.is_up && self.process.is_serving && !self.process.wants_shutdown
    }

    /// On one line, for who has to see why all is not well.
    pub(crate) fn describe(&self) -> String {
        let process = &self.process;
        let hosted = process.hosted.iter().map(|(part, hosted)| {
            let log = &self.disk.logs[part.0];
            let role = hosted.replica.role();
            format!("{part:?} {role:?} {} of {}", hosted.replica.high_watermark(), log.end())
        });
        format!(
            "up {} serving {} fenced {} epoch {:?} metadata {:?} {:?}",
            self.is_up,
            process.is_serving,
            process.is_fenced,
            process.epoch,
            process.image.position(),
            hosted.collect::<Vec<_>>()
        )
    }

    /// For the judges of the end: whether all is well here.
    pub(crate) fn is_settled(&self, image: &MetadataImage) -> bool {
        self.is_well()
            && !self.process.is_fenced
            && self.process.image == *image
            && self.process.hosted.iter().all(|(part, hosted)| {
                let log = &self.disk.logs[part.0];
                log.durable_end() == log.end() && hosted.replica.high_watermark().0 == log.end()
            })
    }
}

/// What somebody learns who asks a broker that does not listen.
pub(crate) fn refuse_connection(core: &mut Core, broker: i32, from: Node, request: Message) {
    let hint = LeaderHint { leader: None, leader_epoch: -1 };
    let refused = match request {
        Message::ToBroker(correlation, _) => {
            Message::FromBroker(correlation, FromBroker::Error { code: ErrorCode::NetworkException, hint })
        }
        Message::FollowerFetch(correlation, _) => {
            Message::FollowerFetched(correlation, FollowerFetchReply::Refused)
        }
        _ => return,
    };
    core.send(Node::Broker(broker), from, refused);
}

impl Process {
    fn new(incarnation: Uuid, previous_epoch: BrokerEpoch, controller: usize) -> Self {
        let config = GroupConfig {
            min_session_timeout_ms: 100,
            initial_rebalance_delay_ms: 50,
            offset_commit_timeout_ms: 1_000,
            ..GroupConfig::default()
        };
        Self {
            incarnation,
            previous_epoch,
            epoch: None,
            controller,
            watched: controller,
            watch: None,
            image: MetadataImage::empty(),
            has_image: false,
            is_fenced: true,
            is_serving: false,
            wants_shutdown: false,
            asked: BTreeMap::new(),
            counted_in_at: None,
            answered: None,
            hosted: BTreeMap::new(),
            producer_ids: 0..0,
            waiting_for_ids: VecDeque::new(),
            shard: GroupShard::new(Arc::new(config)),
            shard_epoch: None,
            loaded_to: None,
            group_inputs: VecDeque::new(),
            group_tokens: BTreeMap::new(),
            next_token: 0,
            group_tick_at: i64::MAX,
            transactions: Transactions::new(),
        }
    }
}
