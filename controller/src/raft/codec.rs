//! How entries, votes and memberships look on disk: protobuf, whose fields are only ever added.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use moldau_model::Uuid;
use openraft::EntryPayload;
use openraft::vote::{RaftLeaderId, RaftVote};
use prost::Message;

use super::types::{EncodedBatch, Entry, LogId, Member, Membership, StoredMembership, Vote, log_id};

#[derive(Clone, PartialEq, Message)]
struct VoteRow {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    node_id: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct LogIdRow {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

#[derive(Clone, PartialEq, Message)]
struct NodeSetRow {
    #[prost(uint64, repeated, tag = "1")]
    node_ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeRow {
    #[prost(uint64, tag = "1")]
    node_id: u64,
    /// `host:port` of its CONTROLLER listener.
    #[prost(string, tag = "2")]
    address: String,
    /// The directory of its log, 16 bytes; empty if it is not known.
    #[prost(bytes = "bytes", tag = "3")]
    directory_id: Bytes,
    /// A learner that is to vote once it has the log.
    #[prost(bool, tag = "4")]
    joins: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MembershipRow {
    /// One set of voters, or two while the quorum changes.
    #[prost(message, repeated, tag = "1")]
    voters: Vec<NodeSetRow>,
    #[prost(message, repeated, tag = "2")]
    nodes: Vec<NodeRow>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredMembershipRow {
    #[prost(message, optional, tag = "1")]
    log_id: Option<LogIdRow>,
    #[prost(message, optional, tag = "2")]
    membership: Option<MembershipRow>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryRow {
    #[prost(uint64, tag = "1")]
    term: u64,
    /// What the entry is: see the constants below. It is told apart by more than the presence of a field, since an
    /// empty batch is not a blank entry.
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(bytes = "bytes", tag = "3")]
    batch: Bytes,
    #[prost(message, optional, tag = "4")]
    membership: Option<MembershipRow>,
}

const KIND_BLANK: u32 = 0;
const KIND_BATCH: u32 = 1;
const KIND_MEMBERSHIP: u32 = 2;

/// Empty for an id that is not known.
pub(super) fn directory_bytes(id: Uuid) -> Bytes {
    if id.is_zero() { Bytes::new() } else { Bytes::copy_from_slice(id.as_bytes()) }
}

fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

impl From<&LogId> for LogIdRow {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<LogIdRow> for LogId {
    fn from(row: LogIdRow) -> Self {
        log_id(row.term, row.index)
    }
}

impl From<&Membership> for MembershipRow {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership
                .get_joint_config()
                .iter()
                .map(|set| NodeSetRow { node_ids: set.iter().copied().collect() })
                .collect(),
            nodes: membership
                .nodes()
                .map(|(node_id, member)| NodeRow {
                    node_id: *node_id,
                    address: member.address.clone(),
                    directory_id: directory_bytes(member.directory_id),
                    joins: member.joins,
                })
                .collect(),
        }
    }
}

impl TryFrom<MembershipRow> for Membership {
    type Error = io::Error;

    fn try_from(row: MembershipRow) -> io::Result<Self> {
        // The empty membership is what a state machine starts with; the checked constructor refuses it.
        if row.voters.is_empty() && row.nodes.is_empty() {
            return Ok(Self::default());
        }
        let voters: Vec<BTreeSet<u64>> =
            row.voters.into_iter().map(|set| set.node_ids.into_iter().collect()).collect();
        let member = |node: NodeRow| {
            let directory_id = moldau_cluster::rpc::uuid(&node.directory_id).map_err(damaged)?;
            Ok((node.node_id, Member { address: node.address, directory_id, joins: node.joins }))
        };
        let nodes: BTreeMap<u64, Member> = row.nodes.into_iter().map(member).collect::<io::Result<_>>()?;
        Self::new(voters, nodes).map_err(|error| damaged(format!("membership: {error}")))
    }
}

impl From<&StoredMembership> for StoredMembershipRow {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(LogIdRow::from),
            membership: Some(stored.membership().into()),
        }
    }
}

impl TryFrom<StoredMembershipRow> for StoredMembership {
    type Error = io::Error;

    fn try_from(row: StoredMembershipRow) -> io::Result<Self> {
        Ok(Self::new(row.log_id.map(LogId::from), row.membership.unwrap_or_default().try_into()?))
    }
}

pub(super) fn encode_membership(membership: &StoredMembership) -> Bytes {
    StoredMembershipRow::from(membership).encode_to_vec().into()
}

pub(super) fn decode_membership(bytes: Bytes) -> io::Result<StoredMembership> {
    let row = StoredMembershipRow::decode(bytes).map_err(|error| damaged(format!("membership: {error}")))?;
    row.try_into()
}

pub(super) fn encode_vote(vote: &Vote) -> Bytes {
    let leader = vote.leader_id();
    let row = VoteRow { term: leader.term(), node_id: *leader.node_id(), committed: vote.is_committed() };
    row.encode_to_vec().into()
}

pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let row = VoteRow::decode(bytes).map_err(|error| damaged(format!("vote: {error}")))?;
    Ok(Vote::from_leader_id(RaftLeaderId::new(row.term, row.node_id), row.committed))
}

pub(super) fn encode_log_id(id: &LogId) -> Bytes {
    LogIdRow::from(id).encode_to_vec().into()
}

pub(super) fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    Ok(LogIdRow::decode(bytes).map_err(|error| damaged(format!("log id: {error}")))?.into())
}

pub(super) fn encode_entry(entry: &Entry) -> Bytes {
    let mut row = EntryRow { term: entry.log_id.leader_id.term, ..EntryRow::default() };
    match &entry.payload {
        EntryPayload::Blank => row.kind = KIND_BLANK,
        EntryPayload::Normal(EncodedBatch(batch)) => {
            row.kind = KIND_BATCH;
            row.batch = batch.clone();
        }
        EntryPayload::Membership(membership) => {
            row.kind = KIND_MEMBERSHIP;
            row.membership = Some(membership.into());
        }
    }
    row.encode_to_vec().into()
}

pub(super) fn decode_entry(index: u64, bytes: Bytes) -> io::Result<Entry> {
    let row = EntryRow::decode(bytes).map_err(|error| damaged(format!("entry {index}: {error}")))?;
    let payload = match row.kind {
        KIND_BLANK => EntryPayload::Blank,
        KIND_BATCH => EntryPayload::Normal(EncodedBatch(row.batch)),
        KIND_MEMBERSHIP => EntryPayload::Membership(row.membership.unwrap_or_default().try_into()?),
        kind => {
            return Err(damaged(format!(
                "entry {index} is of kind {kind}, which this version does not know"
            )));
        }
    };
    Ok(Entry { log_id: log_id(row.term, index), payload })
}
