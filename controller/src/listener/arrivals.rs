//! The connections of nodes to a controller that serves nothing but questions about its cluster: no tools, and no users but
//! the nodes themselves, for there is no metadata yet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use moldau_metadata::{ScramCredential, ScramMechanism};
use moldau_security::link::{Gate, GateLink};
use moldau_security::sasl::CredentialStore;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::ACCEPT_PAUSE;
use super::connection::Connection;
use super::sorter::{Bounds, FIRST_CALL_LIMIT, HTTP2};
use crate::ControllerSecurity;

/// Nobody; a node's own login is looked for besides.
struct NoUsers;

impl CredentialStore for NoUsers {
    fn scram(&self, _: ScramMechanism, _: &str) -> Option<ScramCredential> {
        None
    }
}

/// See the module.
pub(crate) struct Arrivals {
    connections: mpsc::Sender<io::Result<Connection>>,
    gate: Option<Arc<Gate>>,
    bounds: Bounds,
}

impl Arrivals {
    pub(crate) fn new(
        connections: mpsc::Sender<io::Result<Connection>>,
        security: &ControllerSecurity,
    ) -> Self {
        let bounds = Bounds::new(security.unauthenticated_per_address_max);
        Self { connections, gate: security.gate.clone(), bounds }
    }

    /// Takes connections for as long as it is polled.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut arriving = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                Some(_) = arriving.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let arrivals = Arc::clone(&self);
                    arriving.spawn(async move { arrivals.let_in(stream, peer).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the CONTROLLER listener could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn let_in(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.bounds.enter(peer) else { return };
        let accepted = match &self.gate {
            None => Ok(GateLink::plain(stream)),
            Some(gate) => gate.accept(stream, &NoUsers, &|_| None).await,
        };
        let Ok(mut link) = accepted else { return };
        let deadline = Instant::now() + FIRST_CALL_LIMIT;
        if !matches!(timeout_at(deadline, link.first_byte()).await, Ok(Ok(HTTP2))) {
            return;
        }
        if let Some(connection) = self.bounds.node(link, peer, place, self.gate.as_deref(), deadline) {
            drop(self.connections.send(Ok(connection)).await);
        }
    }
}
