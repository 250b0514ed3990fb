//! The boundary to consensus: the names of the Raft library and of its store stand below here and nowhere else.
//!
//! What the rest of the controller sees is [`RaftNode`]: propose bytes, learn at which offset they were committed and
//! applied, ask how the quorum is. Committed bytes reach the rest through [`Applied`](crate::applied::Applied).

mod codec;
mod formation;
mod identity;
mod join;
mod kv;
mod log_store;
mod membership;
mod network;
mod node;
mod peers;
mod service;
mod snapshot;
mod state_machine;
mod ticks;
mod types;
mod vigil;
mod voters;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use identity::has_metadata_log;
pub(crate) use node::{Leadership, ProposeError, QuorumMember, RaftNode, RaftNodeOptions, Role};
pub(crate) use voters::VoterChangeError;

/// The longest entry that the log takes, in bytes.
pub(crate) const ENTRY_BYTES_MAX: usize = moldau_metadata::BATCH_BYTES_MAX;
