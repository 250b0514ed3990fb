//! Who talks to whom, and what is said.

use std::rc::Rc;

use moldau_cluster::{
    AllocateProducerIds, AlterPartitionRequest, AlteredPartition, Heartbeat, HeartbeatReply, ProducerIdBlock,
    RegisterBroker,
};
use moldau_group::{OffsetCommitRequest, Request, Response};
use moldau_metadata::{MetadataBatch, MetadataPosition};
use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, Offset};

use crate::log::{Batch, InTransaction, NewBatch};

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

/// The transaction that something is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfTransaction {
    pub(crate) transactional_id: &'static str,
    pub(crate) producer: (i64, i16),
    /// As its client knows it.
    pub(crate) number: u64,
    /// From 2 on brokers add partitions to it (KIP-890).
    pub(crate) version: i16,
}

/// For a request that may come late and twice.
pub(crate) const NO_CONNECTION: u64 = u64::MAX;

/// What clients ask brokers, and brokers each other.
#[derive(Clone, Debug)]
pub(crate) enum ToBroker {
    InitProducerId,
    Produce {
        part: Part,
        batch: NewBatch,
        is_acks_all: bool,
        of: Option<OfTransaction>,
    },
    Fetch {
        part: Part,
        offset: i64,
        leader_epoch: i32,
        /// At any replica, and only what is stable.
        is_committed: bool,
    },
    /// To the transaction coordinator.
    Transaction {
        request: moldau_txn::Request,
        connection: u64,
    },
    /// To the group's coordinator, in a transaction.
    TransactionOffsets {
        request: Box<OffsetCommitRequest>,
        of: OfTransaction,
        connection: u64,
    },
    /// From the transaction coordinator.
    Marker {
        part: Part,
        producer: (i64, i16),
        marker: InTransaction,
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
        /// Of a fetch of what is stable: producers and first offsets of aborted transactions.
        aborted: Vec<(i64, i64)>,
    },
    Transaction(moldau_txn::Response),
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

impl ToBroker {
    /// The connection that it comes by, if it is nobody's who has closed it.
    pub(crate) fn connection(&self) -> Option<u64> {
        match self {
            Self::Group { connection, .. }
            | Self::Transaction { connection, .. }
            | Self::TransactionOffsets { connection, .. } => {
                Some(*connection).filter(|connection| *connection != NO_CONNECTION)
            }
            _ => None,
        }
    }

    /// A marker whose epoch is also that of its producer's next transaction.
    pub(crate) fn is_marker_of_version_1(&self) -> bool {
        let Self::Marker { marker: InTransaction::Marker { transaction_version, .. }, .. } = self else {
            return false;
        };
        *transaction_version < 2
    }
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
            Self::FromBroker(_, FromBroker::Fetched { batches, high_watermark, leader_epoch, .. }) => {
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
