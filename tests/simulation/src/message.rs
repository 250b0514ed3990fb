//! Who talks to whom, and what is said.

use std::rc::Rc;

use moldau_cluster::{
    AllocateProducerIds, AlterPartitionRequest, AlteredPartition, Heartbeat, HeartbeatReply, ProducerIdBlock,
    RegisterBroker,
};
use moldau_group::{Request, Response};
use moldau_metadata::{MetadataBatch, MetadataPosition};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, Offset};

use crate::log::{Batch, NewBatch};

/// A process of the cluster, or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Controller(usize),
    /// By `node.id`, from 1 on.
    Broker(i32),
    Client(usize),
}

/// One of the partitions there are, see `topology`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part(pub(crate) usize);

/// Ties an answer to its request; no two requests of a run share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Correlation(pub(crate) u64);

/// An entry of the metadata log; without a batch it is one of Raft's own.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    pub(crate) batch: Option<Rc<MetadataBatch>>,
}

/// What controllers say to each other: Raft without pre-vote, snapshots and membership changes.
#[derive(Clone, Debug)]
pub(crate) enum Quorum {
    Vote {
        term: u64,
        last_term: u64,
        length: usize,
    },
    VoteReply {
        term: u64,
        is_granted: bool,
    },
    Append {
        term: u64,
        previous_term: u64,
        from: usize,
        entries: Vec<Entry>,
        committed: usize,
    },
    /// `matched` is the length of the common, synced log; without it, where to go on from.
    AppendReply {
        term: u64,
        matched: Option<usize>,
        length: usize,
    },
}

/// What a broker asks the active controller.
#[derive(Clone, Debug)]
pub(crate) enum ToController {
    Register(RegisterBroker),
    Heartbeat(Heartbeat),
    AlterPartition {
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        request: AlterPartitionRequest,
    },
    AllocateProducerIds(AllocateProducerIds),
    /// From an administrator: the topics, preferred leaders, other replicas (or none, to take a move back).
    CreateTopics,
    ElectPreferred,
    Reassign {
        part: Part,
        replicas: Option<Vec<BrokerId>>,
    },
}

/// The active controller's answer.
#[derive(Clone, Debug)]
pub(crate) enum FromController {
    Registered(BrokerEpoch),
    Heartbeat(HeartbeatReply),
    Altered(Result<AlteredPartition, ErrorCode>),
    ProducerIds(ProducerIdBlock),
    Done,
    /// Refused as a whole.
    Refused(ErrorCode),
    /// Not decided here, or decided and perhaps never committed.
    NotController {
        leader: Option<usize>,
    },
}

/// One step of the metadata stream.
#[derive(Clone, Debug)]
pub(crate) struct MetadataEvent {
    pub(crate) position: MetadataPosition,
    pub(crate) batch: Rc<MetadataBatch>,
    pub(crate) is_snapshot: bool,
}

/// A follower asks its leader for more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowerFetchRequest {
    pub(crate) part: Part,
    pub(crate) follower: BrokerId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) leader_epoch: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) durable_end: i64,
    pub(crate) last_fetched_epoch: i32,
    /// What it knows already: a change is worth an answer without records.
    pub(crate) high_watermark: i64,
}

/// What the leader says to that.
#[derive(Clone, Debug)]
pub(crate) enum FollowerFetchReply {
    Batches {
        batches: Vec<Batch>,
        high_watermark: i64,
    },
    /// The follower's log parts from the leader's: where the leader's ended in the largest epoch it knows.
    Diverging {
        epoch: i32,
        end: i64,
    },
    /// It is refused; the metadata will tell.
    Refused,
}

/// Where a broker believes the leader to be (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderHint {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) leader_epoch: i32,
}

/// What clients ask brokers.
#[derive(Clone, Debug)]
pub(crate) enum ToBroker {
    InitProducerId,
    Produce {
        part: Part,
        batch: NewBatch,
        is_acks_all: bool,
    },
    Fetch {
        part: Part,
        offset: i64,
        leader_epoch: i32,
    },
    /// Sent on a connection of the client's, which may have been closed since.
    Group {
        request: Request,
        connection: u64,
    },
}

/// What brokers answer.
#[derive(Clone, Debug)]
pub(crate) enum FromBroker {
    ProducerId(i64),
    Produced,
    Fetched {
        batches: Vec<Batch>,
        high_watermark: i64,
        leader_epoch: i32,
    },
    /// With the leader epoch of the coordinator that answers: `-1` where it is none.
    Group {
        response: Response,
        leader_epoch: i32,
    },
    Error {
        code: ErrorCode,
        hint: LeaderHint,
    },
}

/// Everything that crosses the network.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Quorum(Quorum),
    ToController(Correlation, ToController),
    FromController(Correlation, FromController),
    Watch(Correlation, Option<MetadataPosition>),
    Watched(Correlation, Vec<MetadataEvent>),
    FollowerFetch(Correlation, FollowerFetchRequest),
    FollowerFetched(Correlation, FollowerFetchReply),
    ToBroker(Correlation, ToBroker),
    FromBroker(Correlation, FromBroker),
}

impl Message {
    /// A few words for the trace.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Quorum(Quorum::Append { term, from, entries, committed, .. }) => {
                format!("append term {term} from {from} entries {} committed {committed}", entries.len())
            }
            Self::Quorum(message) => format!("{message:?}"),
            Self::ToController(_, ToController::Register(request)) => {
                format!("register {} previous {}", request.broker_id, request.previous_broker_epoch)
            }
            Self::Watched(_, events) => {
                let last = events.last().map_or(Offset::NONE, |event| event.position.offset);
                format!("{} metadata events to {last}", events.len())
            }
            Self::FollowerFetched(_, FollowerFetchReply::Batches { batches, high_watermark }) => {
                let ends = batches.first().zip(batches.last()).map(|(first, last)| (first.base, last.end()));
                format!("batches {ends:?} high watermark {high_watermark}")
            }
            Self::FromBroker(_, FromBroker::Fetched { batches, high_watermark, leader_epoch }) => {
                format!("{} batches, high watermark {high_watermark} epoch {leader_epoch}", batches.len())
            }
            Self::ToBroker(_, ToBroker::Group { request, .. }) => {
                let text = format!("{request:?}");
                text.chars().take(100).collect()
            }
            other => format!("{other:?}"),
        }
    }
}
