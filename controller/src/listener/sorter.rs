//! Hands each connection to whom its first byte asks for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moldau_security::link::{Gate, GateLink};
use moldau_security::{Place, Places, Throttled};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connection::{Connection, Standing};
use crate::service::{Service, Users, tools};

/// Connections of nodes: brokers hold one or two, controllers too.
pub(super) const NODES_MAX: usize = 4096;
/// Connections of tools, which come and go, and with SASL may be of any user that there is.
const TOOLS_MAX: usize = 256;
const TOOLS_PER_ADDRESS_MAX: usize = 64;
/// Connections that have not shown yet what they are. Nodes come at once after a restart, from a handful of connections each.
const STRANGERS_MAX: usize = 1024;
const STRANGERS_PER_ADDRESS_MAX: usize = 128;
/// How long a connection may take to say what it is, once it is let in; one of gRPC also for its first call.
pub(super) const FIRST_CALL_LIMIT: Duration = Duration::from_secs(10);
/// Whoever is refused comes again: one line a second tells of all of them.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// The first byte of `PRI * HTTP/2.0`.
pub(super) const HTTP2: u8 = b'P';

/// What all listeners of controllers share.
pub(super) struct Bounds {
    strangers: Arc<Places>,
    tools: Arc<Places>,
    nodes: Arc<Places>,
    told: Throttled,
}

impl Bounds {
    /// `nodes_per_address_max`: the cluster's id alone shows nothing of whom it is that says it.
    pub(super) fn new(nodes_per_address_max: usize) -> Self {
        Self {
            strangers: Places::new(STRANGERS_MAX, STRANGERS_PER_ADDRESS_MAX),
            tools: Places::new(TOOLS_MAX, TOOLS_PER_ADDRESS_MAX),
            nodes: Places::new(NODES_MAX, nodes_per_address_max),
            told: Throttled::new(1, TOLD_EVERY),
        }
    }

    /// A place for a connection that has just come. `None` where it has to go.
    pub(super) fn enter(&self, peer: SocketAddr) -> Option<Place> {
        let place = self.strangers.take(peer.ip());
        place.map_err(|error| self.tell(peer, &error)).ok()
    }

    /// A connection of gRPC, which has to come from a node by `deadline`. `None` where its user is none, or there are too many.
    pub(super) fn node(
        &self,
        link: GateLink,
        peer: SocketAddr,
        place: Place,
        gate: Option<&Gate>,
        deadline: Instant,
    ) -> Option<Connection> {
        if link.is_by_token() || gate.is_some_and(|gate| !gate.is_node(link.user())) {
            let user = link.user().unwrap_or_default();
            let reason = format!("user {user} is no node of the cluster");
            self.tell(peer, &reason);
            return None;
        }
        let standing = Standing::stranger(place, Arc::clone(&self.nodes), peer.ip());
        // Who has authenticated need not call to be known; of gRPC's keepalive hears who is dead.
        if gate.is_some_and(Gate::authenticates)
            && let Err(error) = standing.admit()
        {
            self.tell(peer, &error);
            return None;
        }
        Some(Connection::new(link, standing, deadline))
    }

    fn tell(&self, peer: SocketAddr, reason: &dyn std::fmt::Display) {
        tracing::debug!(%peer, %reason, "a connection to the CONTROLLER listener was not let in");
        if let Some(others) = self.told.take(std::time::Instant::now()) {
            tracing::info!(%peer, %reason, others, "a connection to the CONTROLLER listener was not let in");
        }
    }
}

/// See the module.
pub(super) struct Sorter {
    pub(super) service: Arc<Service>,
    pub(super) connections: mpsc::Sender<io::Result<Connection>>,
    /// What connections are asked before they are sorted.
    pub(super) gate: Option<Arc<Gate>>,
    /// Whether tools may do more than look.
    pub(super) tools_may_change: bool,
    pub(super) bounds: Arc<Bounds>,
}

impl Sorter {
    pub(super) async fn sort(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let bounds = &self.bounds;
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
            Err(error) => return bounds.tell(peer, &error),
        };
        let deadline = Instant::now() + FIRST_CALL_LIMIT;
        match tokio::time::timeout_at(deadline, link.first_byte()).await {
            Ok(Ok(HTTP2)) => {
                if let Some(connection) = bounds.node(link, peer, place, self.gate.as_deref(), deadline) {
                    drop(self.connections.send(Ok(connection)).await);
                }
            }
            Ok(Ok(_)) => {
                let tool = match bounds.tools.take(peer.ip()) {
                    Ok(tool) => tool,
                    Err(error) => return bounds.tell(peer, &error),
                };
                drop(place);
                let gate = self.gate.as_deref();
                let served = tools::serve(&self.service, link, gate, peer, self.tools_may_change).await;
                if let Err(error) = served {
                    bounds.tell(peer, &error);
                }
                drop(tool);
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
