//! One broker: what its parts share, its start and its stop.

use std::sync::Arc;

use crate::options::BrokerOptions;

/// What the handlers and the background tasks of one broker share.
pub struct Broker {
    pub options: BrokerOptions,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for listener {name}: {source}")]
    Listen { name: String, address: std::net::SocketAddr, source: std::io::Error },
}

/// A running broker.
pub struct BrokerHandle {
    broker: Arc<Broker>,
}

impl BrokerHandle {
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }
}
