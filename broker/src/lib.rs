//! The broker: Kafka's wire on one side, the log on the other.
//!
//! Read in this order: [`broker`] (what one broker holds, its start and its stop), `net` (bytes to frames and back),
//! [`api`] (one file per API key), `replica_manager` (partitions and their logs), `sync` (what makes records durable).

pub mod api;
pub mod broker;
pub mod clock;
pub mod options;
pub mod response;

pub use broker::{Broker, BrokerHandle, StartError};
pub use options::{BrokerOptions, ListenerOptions};
