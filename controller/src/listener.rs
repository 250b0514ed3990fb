//! The CONTROLLER listener: gRPC between nodes and Kafka's frames of tools on one port, told apart by the first byte, behind
//! TLS and SASL where it asks for them.
//! A frame begins with its length, and one that began with an HTTP/2 connection's `P` would be longer than a gigabyte.

mod arrivals;
mod connection;
mod sorter;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::rpc::controller::controller_server::ControllerServer;
use moldau_cluster::rpc::raft::raft_server::RaftServer;
use moldau_cluster::rpc::{
    ControllerService, Guard, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;

use crate::service::Presence;
use crate::{ControllerHandle, ControllerSecurity};
pub(crate) use arrivals::Arrivals;
pub(crate) use connection::{Admission, Connection};
use sorter::{Bounds, NODES_MAX, Sorter};

/// How many connections may wait for the gRPC server to take them.
const ACCEPTED_LENGTH: usize = 64;
/// Pause after a connection could not be accepted, for example because there is no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long open calls may take to end when the controller stops.
const STOP_LIMIT: Duration = Duration::from_millis(500);

/// What serves the listeners. Ends when the controller is stopped.
pub(crate) struct Server {
    tasks: JoinSet<()>,
}

impl Server {
    /// Serves connections to `listeners` until `stopped` says so.
    pub(crate) fn start(
        handle: &ControllerHandle,
        listeners: Vec<std::net::TcpListener>,
        secret: Option<&str>,
        security: ControllerSecurity,
        stopped: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        if listeners.is_empty() {
            return Ok(Self { tasks });
        }
        let presence = Arc::new(Presence::new(handle.service.clone()));
        tasks.spawn(presence.clone().look_for_silent());
        let (connections, incoming) = mpsc::channel::<io::Result<Connection>>(ACCEPTED_LENGTH);
        let ControllerSecurity { gate, unauthenticated_per_address_max, .. } = security;
        let authenticates = gate.as_ref().is_some_and(|gate| gate.authenticates());
        let has_to_show = secret.is_some() || authenticates;
        let bounds = Bounds::new(if has_to_show { NODES_MAX } else { unauthenticated_per_address_max });
        let bounds = Arc::new(bounds);
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let sorter = Sorter {
                service: handle.service.clone(),
                connections: connections.clone(),
                gate: gate.clone(),
                tools_may_change: secret.is_none() || authenticates,
                bounds: bounds.clone(),
            };
            tasks.spawn(accept(listener, Arc::new(sorter), stopped.clone()));
        }
        let secret = secret.map(str::to_owned);
        let lifetime = gate.as_ref().and_then(|gate| gate.session_lifetime_min());
        let grpc = Grpc { secret, authenticates, renewal: lifetime.map(|lifetime| lifetime * 4 / 5) };
        tasks.spawn(serve(handle.clone(), presence, grpc, incoming, stopped));
        Ok(Self { tasks })
    }

    /// Waits until all calls have ended, or ends them.
    pub(crate) async fn stopped(mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// How gRPC is served.
struct Grpc {
    secret: Option<String>,
    authenticates: bool,
    /// After which nodes are asked to make their connections anew, where sessions end: what is under way then has until the
    /// session's end.
    renewal: Option<Duration>,
}

async fn serve(
    handle: ControllerHandle,
    presence: Arc<Presence>,
    grpc: Grpc,
    incoming: mpsc::Receiver<io::Result<Connection>>,
    mut stopped: watch::Receiver<bool>,
) {
    let Grpc { secret, authenticates, renewal } = grpc;
    let service = handle.service.clone();
    let admission = Admission(Guard::new(&service.cluster_id, secret.as_deref()));
    let raft = RaftServer::new(service.node.service())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let controller = ControllerService::new(
        Arc::new(handle),
        presence,
        &service.cluster_id,
        secret.is_some() || authenticates,
    );
    let controller = ControllerServer::new(controller)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let stop = async move {
        // An error says that the controller is gone.
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    let mut server = tonic::transport::Server::builder();
    if let Some(renewal) = renewal {
        server = server.max_connection_age(renewal);
    }
    let served = server
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(raft, admission.clone()))
        .add_service(InterceptedService::new(controller, admission))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the CONTROLLER listener has ended");
    }
}

async fn accept(listener: TcpListener, sorter: Arc<Sorter>, mut stopped: watch::Receiver<bool>) {
    let mut sorting = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Some(_) = sorting.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = sorter.bounds.enter(peer) else { continue };
                // An answer of two segments would wait for the peer's delayed acknowledgement of the first.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "answers may be late");
                }
                let sorter = sorter.clone();
                sorting.spawn(async move { sorter.sort(stream, peer, place).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the CONTROLLER listener could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
