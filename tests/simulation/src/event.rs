//! What can happen next.

use moldau_model::Uuid;

use crate::log::SyncTicket;
use crate::message::{Correlation, Message, Node, Part, Quorum};
use crate::nemesis::Fault;

/// An event of a run.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver {
        from: Node,
        to: Node,
        message: Box<Message>,
    },
    /// Void unless the node still lives the life in which it was set.
    Timer {
        node: Node,
        life: u32,
        timer: Timer,
    },
    Fault(Fault),
    /// The nemesis picks its next fault.
    Nemesis,
}

/// What a node wakes up for.
#[derive(Debug)]
pub(crate) enum Timer {
    /// A process that is down starts again.
    Start,
    // Controllers.
    QuorumTick,
    /// The hard state is synced: the message that waited for it may go.
    VoteSynced {
        to: usize,
        reply: Quorum,
    },
    EntriesSynced {
        length: usize,
        truncations: u64,
    },
    SessionCheck,
    FenceExpired,
    WatchExpired {
        broker: i32,
        correlation: Correlation,
    },
    // Brokers.
    Register {
        incarnation: Uuid,
    },
    Heartbeat,
    WatchTimeout(Correlation),
    RequestTimeout(Correlation),
    PollIsr,
    Checkpoint,
    FollowerFetch {
        part: Part,
        generation: u64,
    },
    FetchExpired {
        part: Part,
        follower: i32,
        correlation: Correlation,
    },
    Synced {
        part: Part,
        ticket: SyncTicket,
    },
    GroupLoad {
        leader_epoch: i32,
    },
    GroupTick,
    TransactionLoad {
        leader_epoch: i32,
    },
    TransactionTick,
    /// A marker is sent again.
    Marker {
        number: u64,
        part: Part,
    },
    /// Another broker does not answer.
    PeerTimeout(Correlation),
    GiveUpShutdown,
    // Clients.
    ClientTick,
}
