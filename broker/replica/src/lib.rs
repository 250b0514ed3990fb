//! A partition replica's decisions: leadership, ISR, high watermark. Sans-IO: facts and the time come in as arguments,
//! and what the shell must do comes out as values.
//!
//! How it is driven. Metadata moves the role ([`Replica::handle_registration`]). On a leader every append or finished
//! sync is told by [`Replica::handle_log_ends`], every follower's fetch by [`Replica::handle_follower_fetch`], and the
//! clock by [`Replica::poll_isr`]; those may hand out an [`AlterPartition`], of which at most one is under way and whose
//! fate comes back by [`Replica::handle_alter_partition_result`]. All of them say whether the high watermark moved.
//!
//! The rule that ties replication to durability: the high watermark is the smallest *durable* log end over the maximal
//! ISR. A follower's fetch offset says what it wants next and never counts.

mod directory_move;
mod follower_progress;
mod isr;
mod leader;
mod quota;
mod registration;
mod replica;
mod truncation;

pub use directory_move::{DirectoryMove, MoveStep, TAIL_BYTES_MAX};
pub use follower_progress::FollowerFetch;
pub use isr::{AlterPartition, AlterPartitionOutcome, IsrMember};
pub use leader::{LeaderOutput, MinIsr};
pub use quota::ReplicationQuota;
pub use registration::{LogEnds, PartitionRegistration};
pub use replica::{Replica, Role, RoleChange, StaleFetch};
pub use truncation::{EpochEndOffset, truncation_offset};

#[cfg(test)]
mod tests;
