//! The Raft library's types, filled in.

use std::fmt;

use bytes::Bytes;
use moldau_model::Uuid;

openraft::declare_raft_types!(
    /// Standard Raft terms (one leader a term), because a metadata position is an offset and a term.
    pub(crate) TypeConfig:
        D = EncodedBatch,
        R = (),
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type RaftSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Bytes>;

/// A member of the quorum: where it listens, and on which disk its log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// `host:port` of its CONTROLLER listener; may be empty in a quorum of one.
    pub(crate) address: String,
    /// The directory of its log; zero as long as the quorum does not know it. A node that comes back with another one has
    /// lost what it had promised.
    pub(crate) directory_id: Uuid,
    /// Whether a learner is on its way to vote. One that is not stays what Kafka calls an observer.
    pub(crate) joins: bool,
}

/// One metadata batch as Raft carries it: undecoded, since only replay looks inside.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EncodedBatch(pub(crate) Bytes);

impl fmt::Debug for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A log id from its two numbers.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::vote::leader_id_std::CommittedLeaderId::new(term), index)
}
