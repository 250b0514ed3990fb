//! The CONTROLLER listener: gRPC between nodes and Kafka's frames of tools on one port, told apart by the first byte, behind
//! TLS and SASL where it asks for them.
//! A frame begins with its length, and one that began with an HTTP/2 connection's `P` would be longer than a gigabyte.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use moldau_cluster::rpc::controller::controller_server::ControllerServer;
use moldau_cluster::rpc::raft::raft_server::RaftServer;
use moldau_cluster::rpc::{
    ControllerService, Guard, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX,
};
use moldau_metadata::{ScramCredential, ScramMechanism};
use moldau_security::link::{Gate, GateLink};
use moldau_security::sasl::CredentialStore;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::ControllerHandle;
use crate::service::{Presence, Service, tools};

/// How many connections may be open: brokers hold one or two, controllers too, and tools come and go.
const CONNECTIONS_MAX: usize = 4096;
/// How many connections may wait for the gRPC server to take them.
const ACCEPTED_LENGTH: usize = 64;
/// How long a connection may take to say what it is.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, for example because there is no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long open calls may take to end when the controller stops.
const STOP_LIMIT: Duration = Duration::from_millis(500);
/// The first byte of `PRI * HTTP/2.0`.
const HTTP2: u8 = b'P';

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
        gate: Option<Arc<Gate>>,
        stopped: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        if listeners.is_empty() {
            return Ok(Self { tasks });
        }
        let presence = Arc::new(Presence::new(handle.service.clone()));
        tasks.spawn(presence.clone().look_for_silent());
        let (connections, incoming) = mpsc::channel::<io::Result<Counted>>(ACCEPTED_LENGTH);
        let authenticates = gate.as_ref().is_some_and(|gate| gate.authenticates());
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let sorter = Sorter {
                service: handle.service.clone(),
                connections: connections.clone(),
                gate: gate.clone(),
                tools_may_change: secret.is_none() || authenticates,
            };
            tasks.spawn(accept(listener, Arc::new(sorter), permits.clone(), stopped.clone()));
        }
        let secret = secret.map(str::to_owned);
        tasks.spawn(serve(handle.clone(), presence, secret, authenticates, incoming, stopped));
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

async fn serve(
    handle: ControllerHandle,
    presence: Arc<Presence>,
    secret: Option<String>,
    authenticates: bool,
    incoming: mpsc::Receiver<io::Result<Counted>>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = handle.service.clone();
    let guard = Guard::new(&service.cluster_id, secret.as_deref());
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
    let served = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(InterceptedService::new(raft, guard.clone()))
        .add_service(InterceptedService::new(controller, guard))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the CONTROLLER listener has ended");
    }
}

async fn accept(
    listener: TcpListener,
    sorter: Arc<Sorter>,
    permits: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sorting = JoinSet::new();
    loop {
        let permit = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            Some(_) = sorting.join_next() => continue,
            permit = permits.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // An answer of two segments would wait for the peer's delayed acknowledgement of the first.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "answers may be late");
                }
                let sorter = sorter.clone();
                sorting.spawn(async move { sorter.sort(stream, peer, permit).await });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the CONTROLLER listener could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hands each connection to whom its first byte asks for.
struct Sorter {
    service: Arc<Service>,
    connections: mpsc::Sender<io::Result<Counted>>,
    /// What connections are asked before they are sorted.
    gate: Option<Arc<Gate>>,
    /// Whether tools may do more than look.
    tools_may_change: bool,
}

impl Sorter {
    async fn sort(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let accepted = match &self.gate {
            None => Ok(GateLink::plain(stream)),
            Some(gate) => {
                let versions =
                    |frame: &[u8]| tools::versions_before_authentication(frame, self.tools_may_change);
                gate.accept(stream, &Users(&self.service), &versions).await
            }
        };
        let mut link = match accepted {
            Ok(link) => link,
            Err(error) => {
                tracing::info!(%peer, %error, "a connection to the CONTROLLER listener was not let in");
                return;
            }
        };
        let first = tokio::time::timeout(FIRST_BYTE_LIMIT, link.first_byte()).await;
        match first {
            Ok(Ok(HTTP2)) => {
                let is_node = self.gate.as_ref().is_none_or(|gate| gate.is_node(link.user()));
                if !is_node {
                    let user = link.user().unwrap_or_default();
                    tracing::warn!(%peer, user, "somebody who is no node of the cluster was refused as one");
                    return;
                }
                // From here on gRPC's keepalive ends what is dead.
                drop(self.connections.send(Ok(Counted { link, _permit: permit })).await);
            }
            Ok(Ok(_)) => {
                if let Err(error) = tools::serve(&self.service, link, peer, self.tools_may_change).await {
                    tracing::info!(%peer, %error, "a tool's connection was ended");
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Who has a password, as far as this controller has applied.
struct Users<'a>(&'a Service);

impl CredentialStore for Users<'_> {
    fn scram(&self, mechanism: ScramMechanism, user: &str) -> Option<ScramCredential> {
        self.0.applied.image().scram().get(user, mechanism).map(|credential| (**credential).clone())
    }
}

/// A connection that gives its place back when it is dropped.
struct Counted {
    link: GateLink,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Counted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.link.socket().connect_info()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(context)
    }
}
