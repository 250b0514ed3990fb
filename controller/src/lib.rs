//! The controller: decides about the cluster's metadata, one request after another, and replicates each decision by
//! Raft before anybody sees it.
//!
//! [`Controller::start`] brings one up; the [`ControllerHandle`] it gives is the [`ControllerChannel`] brokers talk to.
//! `manage` holds the decisions, which are pure; `raft` holds all that knows the consensus library and its store; the
//! event loop stands between them.
//!
//! [`ControllerChannel`]: moldau_cluster::ControllerChannel

mod applied;
mod audit;
mod dial;
mod error;
mod event_loop;
mod handle;
mod listener;
pub mod manage;
mod naming;
mod options;
mod raft;
mod service;

pub use error::StartError;
pub use handle::{Controller, ControllerHandle};
pub use naming::{Name, NamingOptions, name_cluster};
pub use options::{ControllerOptions, ControllerSecurity, QuorumVoter, RaftOptions};
pub use raft::has_metadata_log;
