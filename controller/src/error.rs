//! Why a controller does not start.

use std::path::PathBuf;

use moldau_model::BrokerId;
use thiserror::Error;

/// Why a controller does not start. Each is one line for the operator.
#[derive(Debug, Error)]
pub enum StartError {
    /// `controller.quorum.voters` does not name this node.
    #[error("controller.quorum.voters names {voters}, but node.id is {node_id}")]
    NotAVoter {
        /// Who is named.
        voters: String,
        /// This node.
        node_id: BrokerId,
    },
    /// A CONTROLLER listener cannot be used.
    #[error("the CONTROLLER listener cannot be used: {0}")]
    Listener(std::io::Error),
    /// Another process uses the metadata log.
    #[error("{path} is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The metadata log belongs to another node or cluster.
    #[error("{path} belongs to {what} {found}, but this node is configured with {expected}")]
    WrongIdentity {
        /// The identity file.
        path: PathBuf,
        /// Which id differs: `cluster.id`, `node.id` or `directory.id`.
        what: &'static str,
        /// The id that was found.
        found: String,
        /// The id that is configured.
        expected: String,
    },
    /// The metadata log cannot be read. It must not be used: a vote or a committed entry may be missing.
    #[error(
        "the metadata log in {path} is damaged ({reason}); restore it from a backup, or, in a quorum of several, \
         remove it and let this node join anew"
    )]
    Damaged {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Raft's settings contradict one another, for example an election timeout below the heartbeat interval.
    #[error("the quorum's timers are not usable: {0}")]
    Timers(String),
    /// Raft stopped before the controller was ready.
    #[error("the metadata quorum did not start: {0}")]
    Raft(String),
}
