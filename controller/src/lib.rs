//! The controller: metadata decisions, replicated by Raft.
