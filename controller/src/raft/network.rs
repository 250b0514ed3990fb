//! Raft's way to other voters: one call for each request, over the one connection to each.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::raft::snapshot_part::Part;
use moldau_cluster::rpc::uuid;
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tonic::{Request, Status};

use super::codec::encode_membership;
use super::peers::{Client, Peers};
use super::types::{Member, RaftSnapshot, TypeConfig, Vote};
use super::wire::{
    append_response_from_wire, append_to_wire, log_id_to_wire, vote_from_wire, vote_request_to_wire,
    vote_response_from_wire, vote_to_wire,
};

/// How long a follower may take to write entries before they are sent again: as long as a slow disk needs.
const APPEND_LIMIT: Duration = Duration::from_secs(2);
/// How many bytes of entries go into one request, unless one is longer.
const APPEND_BYTES_MAX: usize = 8 << 20;
/// The length of a snapshot's parts.
const SNAPSHOT_PART_BYTES: usize = 1 << 20;

type RpcError = RPCError<TypeConfig>;

/// Makes a client for each member that Raft wants to talk to.
pub(super) struct PeerNetworks {
    pub(super) node_id: u64,
    pub(super) peers: Arc<Peers>,
}

impl RaftNetworkFactory<TypeConfig> for PeerNetworks {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, member: &Member) -> PeerNetwork {
        let client = self.peers.client(&member.address).map_err(|error| error.to_string());
        PeerNetwork { node_id: self.node_id, target, client, peers: self.peers.clone() }
    }
}

/// The way to one member.
pub(super) struct PeerNetwork {
    node_id: u64,
    target: u64,
    /// Or why there is none.
    client: Result<Client, String>,
    peers: Arc<Peers>,
}

impl PeerNetwork {
    fn client(&self) -> Result<Client, RpcError> {
        self.client.clone().map_err(|error| unreachable(&io::Error::other(error)))
    }

    /// What did not come back in time is not known to be lost; what cannot be reached is not asked again at once.
    async fn within<R>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<R>, Status>>,
    ) -> Result<R, RpcError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(unreachable(&io::Error::other(status.message().to_owned()))),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.node_id,
                target: self.target,
                timeout: limit,
            })),
        }
    }

    /// An answer from another disk than the quorum knows does not count.
    fn check_disk(&self, directory_id: &[u8]) -> Result<(), RpcError> {
        let found = uuid(directory_id).map_err(|error| network(&error))?;
        self.peers.check_disk(self.target, found).map_err(|error| unreachable(&error))
    }
}

fn unreachable<E: std::error::Error + 'static>(error: &E) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

fn network<E: std::error::Error + 'static>(error: &E) -> RpcError {
    RPCError::Network(NetworkError::new(error))
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut client = self.client()?;
        let (message, cut) = append_to_wire(request, APPEND_BYTES_MAX);
        let call = client.append_entries(Request::new(message));
        let response = self.within(RPCTypes::AppendEntries, APPEND_LIMIT, call).await?;
        self.check_disk(&response.directory_id)?;
        let response = append_response_from_wire(response.outcome).map_err(|error| network(&error))?;
        Ok(match (response, cut) {
            (AppendEntriesResponse::Success, Some(last)) => AppendEntriesResponse::PartialSuccess(Some(last)),
            (response, _) => response,
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client()?;
        let is_gone = self.peers.follows_on_gone(request.vote.leader_id().term());
        let call = client.request_vote(Request::new(vote_request_to_wire(&request, is_gone)));
        let response = self.within(RPCTypes::Vote, option.hard_ttl(), call).await?;
        self.check_disk(&response.directory_id)?;
        vote_response_from_wire(response).map_err(|error| network(&error))
    }

    /// Not left to the library's default, which grants.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.client()?;
        let call = client.request_pre_vote(Request::new(vote_request_to_wire(&request, false)));
        let response = self.within(RPCTypes::Vote, option.hard_ttl(), call).await?;
        self.check_disk(&response.directory_id)?;
        vote_response_from_wire(response).map_err(|error| network(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let header = wire::SnapshotHeader {
            vote: Some(vote_to_wire(&vote)),
            last_log_id: snapshot.meta.last_log_id.as_ref().map(log_id_to_wire),
            membership: encode_membership(&snapshot.meta.last_membership),
            records_length: snapshot.snapshot.len() as u64,
        };
        tracing::info!(target = self.target, bytes = snapshot.snapshot.len(), "sending a metadata snapshot");
        let call = client.install_snapshot(stream::iter(snapshot_parts(header, snapshot.snapshot)));
        let response = tokio::select! {
            response = self.within(RPCTypes::InstallSnapshot, option.hard_ttl(), call) => response?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        self.check_disk(&response.directory_id)?;
        Ok(SnapshotResponse::new(vote_from_wire(response.vote).map_err(|error| network(&error))?))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.client()?;
        let message = wire::TransferLeaderRequest {
            from_leader: Some(vote_to_wire(request.from_leader())),
            to_node_id: *request.to_node_id(),
            last_log_id: request.last_log_id().map(log_id_to_wire),
        };
        let call = client.transfer_leader(Request::new(message));
        let response = self.within(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
        if response.accepted {
            return Ok(Ok(()));
        }
        Err(unreachable(&io::Error::other("the node does not take the leadership")))
    }
}

/// The header, and the records in parts.
fn snapshot_parts(
    header: wire::SnapshotHeader,
    mut records: Bytes,
) -> impl Iterator<Item = wire::SnapshotPart> + Send {
    let header = std::iter::once(wire::SnapshotPart { part: Some(Part::Header(header)) });
    header.chain(std::iter::from_fn(move || {
        let part = records.split_to(records.len().min(SNAPSHOT_PART_BYTES));
        (!part.is_empty()).then_some(wire::SnapshotPart { part: Some(Part::Records(part)) })
    }))
}
