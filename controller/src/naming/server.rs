//! What a controller without a cluster's id answers: that it has none. Nothing else is served, and those that have an id get
//! no answer: a founding counts nobody that has not the id yet.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use futures::stream::BoxStream;
use moldau_cluster::rpc::raft as wire;
use moldau_cluster::rpc::raft::raft_server::{Raft, RaftServer};
use moldau_cluster::rpc::{Caller, Guard};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::judge::Me;
use crate::ControllerSecurity;
use crate::listener::{Admission, Arrivals, Connection};

/// How many connections may wait for the gRPC server to take them.
const ACCEPTED_LENGTH: usize = 64;

/// Serves `listeners` for as long as what it gives is held.
pub(super) fn start(
    me: &Me,
    secret: Option<&str>,
    security: &ControllerSecurity,
    listeners: Vec<TcpListener>,
    asked: Arc<Notify>,
) -> io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let (connections, incoming) = mpsc::channel::<io::Result<Connection>>(ACCEPTED_LENGTH);
    let arrivals = Arc::new(Arrivals::new(connections, security));
    for listener in listeners {
        listener.set_nonblocking(true)?;
        tasks.spawn(Arc::clone(&arrivals).accept(tokio::net::TcpListener::from_std(listener)?));
    }
    let service = RaftServer::new(Nameless { me: me.clone(), asked });
    let admission = Admission(Guard::of_no_cluster(secret));
    let served = tonic::transport::Server::builder()
        .add_service(InterceptedService::new(service, admission))
        .serve_with_incoming(ReceiverStream::new(incoming));
    tasks.spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, "the CONTROLLER listener has ended");
        }
    });
    Ok(tasks)
}

struct Nameless {
    me: Me,
    asked: Arc<Notify>,
}

/// Without details, as from a transport: the caller asks again.
fn not_yet() -> Status {
    Status::unavailable("this controller does not know its cluster yet")
}

#[tonic::async_trait]
impl Raft for Nameless {
    type StandStream = BoxStream<'static, Result<wire::Done, Status>>;

    async fn probe(
        &self,
        request: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeResponse>, Status> {
        self.asked.notify_one();
        if Caller::of(&request).is_ok() {
            return Err(not_yet());
        }
        let voter = |(id, address): (&moldau_model::BrokerId, &String)| wire::Member {
            node_id: id.0,
            address: address.clone(),
            ..wire::Member::default()
        };
        Ok(Response::new(wire::ProbeResponse {
            node_id: self.me.node_id.0,
            configured_voters: self.me.voters.iter().map(voter).collect(),
            ..wire::ProbeResponse::default()
        }))
    }

    async fn stand(&self, _: Request<wire::StandRequest>) -> Result<Response<Self::StandStream>, Status> {
        Err(not_yet())
    }

    async fn request_vote(
        &self,
        _: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        Err(not_yet())
    }

    async fn request_pre_vote(
        &self,
        _: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        Err(not_yet())
    }

    async fn append_entries(
        &self,
        _: Request<wire::AppendEntriesRequest>,
    ) -> Result<Response<wire::AppendEntriesResponse>, Status> {
        Err(not_yet())
    }

    async fn install_snapshot(
        &self,
        _: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        Err(not_yet())
    }

    async fn transfer_leader(
        &self,
        _: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        Err(not_yet())
    }

    async fn join(&self, _: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        Err(not_yet())
    }
}
