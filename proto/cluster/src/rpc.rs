//! The services between nodes, over gRPC: messages and stubs generated from `proto/schema`, who may call, and how
//! messages become the crate's plain types.

mod connection;
mod convert;
mod credentials;
mod service;
mod status;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use moldau_security::link::Dialer;
use tonic::transport::{Channel, Endpoint, Uri};

pub use connection::{Attendance, Connection};
pub use convert::{Malformed, uuid};
pub use credentials::{Caller, CallerAddress, Credentials, Guard, SignCalls};
pub use service::{ActiveWatch, AttendedBrokers, ControllerService};
pub use status::{error_of_status, status_of_error};

/// Raft's messages and stubs.
#[allow(clippy::all, clippy::pedantic, reason = "generated")]
pub mod raft {
    tonic::include_proto!("moldau.raft");
}

/// The controllers' messages and stubs.
#[allow(clippy::all, clippy::pedantic, reason = "generated")]
pub mod controller {
    tonic::include_proto!("moldau.controller");
}

/// The longest message between nodes. The largest are eight times as long as a Raft entry may be.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long a connection may take to come about: a node that is down refuses at once, one that is gone never answers.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection on which nothing came for so long is asked whether it is alive, whatever waits on it.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the answer to that may take; then the connection is closed and all that waits on it fails.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A channel to `host:port` that connects, encrypted and authenticated as the dialer says, when it is first used, and again when it broke.
///
/// # Errors
/// If the address is none.
pub fn connect_lazily(address: &str, dialer: &Arc<Dialer>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if dialer.is_plain() {
        return Ok(endpoint.connect_lazy());
    }
    let dialer = Arc::clone(dialer);
    let connect = move |address: Uri| {
        let dialer = Arc::clone(&dialer);
        async move {
            let (host, port) = (address.host().unwrap_or_default(), address.port_u16().unwrap_or_default());
            dialer.connect(host, port).await.map(TokioIo::new)
        }
    };
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
}
