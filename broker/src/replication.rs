//! Replication between brokers: followers fetch from leaders, and leaders keep the ISR.
//!
//! ```text
//! metadata ──> FetcherManager ── one Fetcher for each leader and fetcher index
//!                                  │ connection: one session, one long poll, reports behind it
//!                                  └─> Partition::follow (append, cut, high watermark)
//! Partition ──> IsrChanges ──> AlterPartition to the controller ──> Partition
//! ```
//! A follower's fetch waits for no sync but a short one of what it is to report (ADR 49). What another sync has made durable is told
//! by the next fetch, and where that one is under way already, by a report: a fetch of its own, without a session, that asks for no
//! records.

mod connection;
mod fetcher;
mod fetcher_manager;
mod fetcher_thread;
mod inbox;
mod isr_changes;
mod positions;
mod publisher;
mod throttles;

pub(crate) use connection::LeaderConnection;
pub(crate) use fetcher_manager::FollowChange;
pub use fetcher_manager::{FetcherManager, FetcherSettings};
pub(crate) use inbox::Endpoint;
pub use inbox::Inbox;
pub use isr_changes::IsrChanges;
pub(crate) use isr_changes::run as run_isr_changes;
pub use publisher::Replicas;
pub use throttles::Throttles;
