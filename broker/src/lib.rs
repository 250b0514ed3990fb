//! The broker: Kafka's wire on one side, the log on the other.
//!
//! Read in this order: [`broker`] (what one broker holds, its start and its stop), [`net`] (bytes to frames and back),
//! [`api`] (one file per API key), [`quotas`] (who has to wait), [`replica_manager`] (partitions and their logs),
//! [`replication`] (followers and the ISR), [`sync`] (what makes records durable), [`background`] (retention,
//! checkpoints), `cleaner` (compaction), [`lifecycle`] (what the controller knows of us).

pub mod api;
pub mod authorize;
pub mod background;
pub mod broker;
mod cleaner;
pub mod clock;
pub mod control;
pub mod coordinator;
pub mod departures;
pub mod fetch_session;
pub mod http;
mod io_throttle;
pub mod lifecycle;
pub mod log_dirs;
mod log_mover;
pub mod metadata_cache;
pub mod metrics;
pub mod net;
pub mod options;
mod plug;
pub mod producer_ids;
pub mod purgatory;
pub mod quotas;
pub mod replica_manager;
pub mod replication;
pub mod request_memory;
pub mod response;
pub mod share;
mod stop_signal;
pub mod sync;
pub mod telemetry;
pub mod trace;
pub mod transaction_markers;
pub mod verification;

pub use broker::{Broker, BrokerFailure, BrokerHandle, StartError};
pub use options::{BoundAddress, BrokerOptions};
