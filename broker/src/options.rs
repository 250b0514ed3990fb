//! What a broker is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use moldau_metadata::config::BrokerConfig;
use moldau_model::Uuid;

/// Everything a broker is started with. All that has a Kafka name is in `config`.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub config: BrokerConfig,
    /// `cluster.id`, as the controller or the formatted storage says.
    pub cluster_id: String,
    /// This start of the process: random, never reused.
    pub incarnation_id: Uuid,
    /// Those of `log.dirs` that were found to be unusable before the broker was started, and are to be left alone.
    pub failed_log_dirs: Vec<PathBuf>,
}

/// Where one listener ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// Kafka's name of the listener.
    pub name: String,
    pub address: SocketAddr,
    /// What clients are told; a port of 0 was replaced by the bound one.
    pub advertised_host: String,
    pub advertised_port: u16,
}
