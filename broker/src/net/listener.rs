//! Accepting: one task per listener, one place per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, ConnectionContext};
use super::limits::ConnectionLimits;
use super::protection::Protection;
use crate::broker::Broker;
use crate::request_memory::RequestMemory;

/// After an accept that failed for want of descriptors: the accept queue would otherwise spin the task.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1024;

/// A listener that is bound but does not accept yet: clients queue up meanwhile, none is refused.
pub struct BoundListener {
    /// Kafka's name of it.
    pub name: Arc<str>,
    pub address: SocketAddr,
    /// Whether `max.connection.creation.rate` is for it. The one of brokers alone is spared, as by Kafka.
    pub is_rated: bool,
    /// What it asks of connections first; `None` for nothing.
    pub protection: Option<Arc<Protection>>,
    socket: TcpListener,
}

/// Binds one listener. A port of 0 takes a free one.
pub fn bind(name: &str, address: SocketAddr) -> io::Result<BoundListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A restart finds the port in TIME_WAIT; the address is ours all the same.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG as u32)?;
    Ok(BoundListener {
        name: name.into(),
        address: socket.local_addr()?,
        is_rated: true,
        protection: None,
        socket,
    })
}

/// What all connections of a broker share.
#[derive(Clone)]
pub struct NetworkShared {
    pub broker: Arc<Broker>,
    pub limits: Arc<ConnectionLimits>,
    pub memory: RequestMemory,
}

impl BoundListener {
    /// Accepts until `stop` says so, then waits for the connections to end; those that have nothing under way do so at
    /// once.
    pub async fn serve(self, shared: NetworkShared, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let for_connections = stop.clone();
        loop {
            tokio::select! {
                accepted = self.accept(&shared.limits) => match accepted {
                    Ok((stream, peer)) => self.start_connection(&mut connections, stream, peer, &shared, &for_connections),
                    Err(error) => {
                        tracing::warn!(listener = %self.name, %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = super::stopped(&mut stop) => break,
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    /// The next connection, once there may be one more.
    async fn accept(&self, limits: &ConnectionLimits) -> io::Result<(TcpStream, SocketAddr)> {
        limits.place_free().await;
        if self.is_rated {
            limits.rate_allows().await;
        }
        let accepted = self.socket.accept().await?;
        if self.is_rated {
            limits.note_created();
        }
        Ok(accepted)
    }

    fn start_connection(
        &self,
        connections: &mut JoinSet<()>,
        stream: TcpStream,
        peer: SocketAddr,
        shared: &NetworkShared,
        stop: &watch::Receiver<bool>,
    ) {
        let Some(place) = shared.limits.enter(peer.ip()) else {
            tracing::debug!(listener = %self.name, %peer, "too many connections, one more is closed");
            return;
        };
        if let Some(pause) = shared.broker.control.quotas.connection_throttle(peer.ip()) {
            // Its place is taken meanwhile, so that who connects without pause is bounded by that as well.
            let mut stop = stop.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = super::stopped(&mut stop) => {}
                }
                drop((stream, place));
            });
            return;
        }
        let context = ConnectionContext {
            broker: Arc::clone(&shared.broker),
            listener: Arc::clone(&self.name),
            protection: self.protection.clone(),
            client_address: peer,
            memory: shared.memory.clone(),
            place,
            counted: shared.broker.metrics.connected(&self.name),
        };
        // A panic of a handler ends this task, and with it this connection, alone.
        connections.spawn(connection::serve(stream, context, stop.clone()));
    }
}
