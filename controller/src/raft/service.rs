//! Raft's calls, as other members make them. Who calls was checked for cluster and secret already; here it is checked that
//! the caller, and this node, may take part in what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use futures::stream::BoxStream;
use moldau_cluster::rpc::Caller;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::raft::raft_server::Raft;
use moldau_cluster::rpc::raft::snapshot_part::Part;
use moldau_model::Uuid;
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use openraft::vote::RaftLeaderId;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::codec::{decode_membership, directory_bytes};
use super::formation::{Candidacy, Formation};
use super::node::{Node, Role, membership_of};
use super::peers::{Peers, Wish};
use super::types::{Member, Membership, RaftSnapshot, SnapshotMeta, TypeConfig};
use super::wire::{
    append_from_wire, append_response_to_wire, log_id_from_wire, log_id_to_wire, refused, vote_from_wire,
    vote_request_from_wire, vote_to_wire,
};
use crate::dial::{Dialled, dial};

/// How long a candidate waits for a node that does not know yet whether it may vote: less than an election takes.
const CLEARANCE_LIMIT: Duration = Duration::from_millis(400);
/// How long the leader's port may take to refuse.
const LEADER_DIAL_LIMIT: Duration = Duration::from_millis(200);
/// The longest snapshot that is taken.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// See the module.
#[derive(Clone)]
pub(crate) struct RaftService {
    pub(super) raft: Node,
    pub(super) cluster_id: Arc<str>,
    pub(super) me: Candidacy,
    pub(super) peers: Arc<Peers>,
    pub(super) formation: Arc<Formation>,
    pub(super) role: watch::Receiver<Role>,
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

/// Whether a membership has a node on this disk, or on one that it does not know yet. A learner may have been made a voter
/// by an entry that has not come here. Where it was not, its vote is not counted, and its log too short to be elected.
fn is_member_on(membership: &Membership, node_id: u64, directory_id: Uuid) -> bool {
    membership
        .get_node(&node_id)
        .is_some_and(|member| member.directory_id.is_zero() || member.directory_id == directory_id)
}

impl RaftService {
    /// Refuses votes to those, and by those, who have no part in the quorum.
    async fn check_election(&self, caller: Caller, request: &VoteRequest<TypeConfig>) -> Result<(), Status> {
        let refuse = |reason: &str| {
            tracing::warn!(candidate = caller.node_id.0, reason, "refused a vote");
            Err(Status::permission_denied(reason.to_owned()))
        };
        let candidate = *request.vote.leader_id().node_id();
        if u64::try_from(caller.node_id.0).ok() != Some(candidate) {
            return refuse("a node asks for votes for itself alone");
        }
        let membership = membership_of(&self.raft);
        if membership.voter_ids().next().is_none() {
            if !self.me.voters.contains_key(&candidate) {
                return refuse("the candidate is no voter");
            }
            if !self.formation.may_vote(CLEARANCE_LIMIT).await {
                return refuse("this node does not know yet whether it may vote");
            }
        } else {
            if !is_member_on(&membership, candidate, caller.directory_id) {
                return refuse("the candidate is no voter");
            }
            if !is_member_on(&membership, self.me.node_id, self.me.directory_id) {
                return refuse("this node is no voter");
            }
        }
        match self.peers.check_disk(candidate, caller.directory_id) {
            Ok(()) => Ok(()),
            Err(error) => refuse(&error.to_string()),
        }
    }

    /// Whether the leader that this node follows has ended.
    async fn leader_is_gone(&self) -> bool {
        let address = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let leader = metrics.current_leader.filter(|leader| *leader != self.me.node_id);
            let membership = metrics.membership_config.membership();
            leader.and_then(|leader| membership.get_node(&leader)).map(|member| member.address.clone())
        };
        match address {
            Some(address) => dial(&address, LEADER_DIAL_LIMIT).await == Dialled::Refused,
            None => false,
        }
    }

    async fn elect(
        &self,
        request: Request<wire::VoteRequest>,
        is_pre_vote: bool,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let says_leader_is_gone = request.leader_is_gone;
        let mut request = vote_request_from_wire(request).map_err(|error| refused(&error))?;
        self.check_election(caller, &request).await?;
        // A leader that is gone is owed nothing. It is looked for here, too: the candidate may be the one that is cut off.
        if says_leader_is_gone && self.leader_is_gone().await {
            request.leadership_transfer = true;
        }
        let response =
            if is_pre_vote { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        let response = response.map_err(stopped)?;
        Ok(Response::new(wire::VoteResponse {
            vote: Some(vote_to_wire(&response.vote)),
            granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(log_id_to_wire),
            directory_id: directory_bytes(self.me.directory_id),
        }))
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    type StandStream = BoxStream<'static, Result<wire::Done, Status>>;

    async fn stand(
        &self,
        request: Request<wire::StandRequest>,
    ) -> Result<Response<Self::StandStream>, Status> {
        Caller::of(&request)?;
        let mut role = self.role.clone();
        let (open, nothing) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                _ = role.wait_for(|role| !role.is_leader) => {}
                () = open.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(nothing).boxed()))
    }

    async fn request_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.elect(request, false).await
    }

    async fn request_pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        self.elect(request, true).await
    }

    async fn append_entries(
        &self,
        request: Request<wire::AppendEntriesRequest>,
    ) -> Result<Response<wire::AppendEntriesResponse>, Status> {
        Caller::of(&request)?;
        let request = append_from_wire(request.into_inner()).map_err(|error| refused(&error))?;
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        Ok(Response::new(wire::AppendEntriesResponse {
            outcome: Some(append_response_to_wire(response)),
            directory_id: directory_bytes(self.me.directory_id),
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        Caller::of(&request)?;
        let mut parts = request.into_inner();
        let missing = || Status::invalid_argument("a snapshot begins with its header");
        let Some(Part::Header(header)) = parts.message().await?.and_then(|part| part.part) else {
            return Err(missing());
        };
        if header.records_length > SNAPSHOT_BYTES_MAX {
            return Err(Status::out_of_range("the snapshot is too long"));
        }
        let mut records = BytesMut::new();
        while let Some(part) = parts.message().await? {
            let Some(Part::Records(part)) = part.part else { return Err(missing()) };
            if (records.len() + part.len()) as u64 > header.records_length {
                return Err(Status::invalid_argument("the snapshot is longer than it says"));
            }
            records.extend_from_slice(&part);
        }
        if records.len() as u64 != header.records_length {
            return Err(Status::invalid_argument("the snapshot is shorter than it says"));
        }
        let vote = vote_from_wire(header.vote).map_err(|error| refused(&error))?;
        let meta = SnapshotMeta {
            last_log_id: header.last_log_id.map(log_id_from_wire),
            last_membership: decode_membership(header.membership).map_err(|error| refused(&error))?,
        };
        tracing::info!(
            offset = meta.last_log_id.as_ref().map(|id| id.index),
            bytes = records.len(),
            "received a metadata snapshot"
        );
        let snapshot = RaftSnapshot { meta, snapshot: records.freeze() };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(wire::SnapshotResponse {
            vote: Some(vote_to_wire(&response.vote)),
            directory_id: directory_bytes(self.me.directory_id),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        Caller::of(&request)?;
        let request = request.into_inner();
        let from = vote_from_wire(request.from_leader).map_err(|error| refused(&error))?;
        let last_log_id = request.last_log_id.map(log_id_from_wire);
        let request = TransferLeaderRequest::new(from, request.to_node_id, last_log_id);
        let accepted = self.raft.handle_transfer_leader(request).await.map_err(stopped)?.is_ok();
        Ok(Response::new(wire::TransferLeaderResponse { accepted }))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::JoinRequest { address, wants_vote } = request.into_inner();
        let node_id = u64::try_from(caller.node_id.0).ok().filter(|id| *id != self.me.node_id);
        let Some(node_id) = node_id.filter(|_| !address.is_empty() && !caller.directory_id.is_zero()) else {
            return Err(Status::invalid_argument("a node joins by an id, an address and a disk of its own"));
        };
        if self.role.borrow().is_leader {
            let membership = membership_of(&self.raft);
            let is_voter = membership.voter_ids().any(|id| id == node_id);
            let known = membership.get_node(&node_id).map(|member| member.directory_id);
            let other = known.filter(|disk| is_voter && !wants_vote && *disk != caller.directory_id);
            let member = Member { address, directory_id: caller.directory_id, joins: false };
            self.peers.wish(node_id, Wish { member, wants_vote });
            return Ok(Response::new(wire::JoinResponse {
                heard: true,
                leader_address: String::new(),
                voter_directory_id: directory_bytes(other.unwrap_or(Uuid::ZERO)),
            }));
        }
        let leader = self.role.borrow().leader;
        let address = leader
            .and_then(|id| membership_of(&self.raft).get_node(&id).map(|member| member.address.clone()));
        let leader_address = address.unwrap_or_default();
        Ok(Response::new(wire::JoinResponse { heard: false, leader_address, ..Default::default() }))
    }

    async fn probe(
        &self,
        request: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeResponse>, Status> {
        // Who has no cluster's id yet asks for it.
        if let Ok(caller) = Caller::of(&request) {
            self.formation.wake();
            if self.role.borrow().is_leader
                && let Ok(caller) = u64::try_from(caller.node_id.0)
            {
                // It is back: what waits to be sent to it need not wait longer.
                drop(self.raft.trigger().reset_backoff([caller]).await);
            }
        }
        let membership = membership_of(&self.raft);
        let voters: Vec<u64> = membership.voter_ids().collect();
        let node_id = |id: u64| i32::try_from(id).unwrap_or(i32::MAX);
        let members = membership.nodes().map(|(id, member)| {
            let seen = self.peers.known_disk(*id).unwrap_or(Uuid::ZERO);
            let disk = if member.directory_id.is_zero() { seen } else { member.directory_id };
            wire::Member {
                node_id: node_id(*id),
                address: member.address.clone(),
                directory_id: directory_bytes(disk),
                is_voter: voters.contains(id),
            }
        });
        let configured: &BTreeMap<u64, String> = &self.me.voters;
        let configured = configured.iter().map(|(id, address)| wire::Member {
            node_id: node_id(*id),
            address: address.clone(),
            ..wire::Member::default()
        });
        Ok(Response::new(wire::ProbeResponse {
            node_id: node_id(self.me.node_id),
            directory_id: directory_bytes(self.me.directory_id),
            has_log: !voters.is_empty(),
            members: members.collect(),
            configured_voters: configured.collect(),
            cluster_id: self.cluster_id.to_string(),
        }))
    }
}
