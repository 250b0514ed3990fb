//! The services between nodes, over gRPC: messages and stubs generated from `proto/schema`, who may call, and how
//! messages become the crate's plain types.

mod connection;
mod convert;
mod credentials;
mod service;
mod status;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use connection::{Attendance, Connection};
pub use convert::{Malformed, uuid};
pub use credentials::{Caller, Credentials, Guard, SignCalls};
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

/// A channel to `host:port` that connects when it is first used, and again when it broke.
///
/// # Errors
/// If the address is none.
pub fn connect_lazily(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}
