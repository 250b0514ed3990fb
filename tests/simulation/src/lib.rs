//! A whole cluster in one process, in simulated time, from one seed.
//!
//! Three controllers and five brokers run the code that decides in the real ones: `moldau_controller::manage` on the
//! images of `moldau_metadata`, a `moldau_replica::Replica` for every partition, a `moldau_group::GroupShard` and a
//! `moldau_txn::TransactionShard` over the replicated partitions of `__consumer_offsets` and `__transaction_state`. What
//! stands around them is simulated: Raft's log, disks that lose what was not synced, a network that loses, delays,
//! duplicates and reorders, processes that crash, sleep and come back.
//!
//! A run has three phases. *Safety*: faults, under which nothing promised may break. *Heal*: all faults end. *Liveness*:
//! within a bound, everything is in sync, every producer and consumer has finished, and all replicas are equal. The
//! promises are in `invariants`, one file each.
//!
//! Everything is drawn from the seed, and nothing depends on anything else: a seed that fails fails again.
//!
//! ```
//! let outcome = moldau_simulation::run(1, &moldau_simulation::Options::default());
//! assert_eq!(outcome.violation, None);
//! ```

mod broker;
mod bug;
mod client;
mod controller;
mod core;
mod coverage;
mod event;
mod invariants;
mod log;
mod message;
mod nemesis;
mod network;
mod quorum;
mod random;
mod run;
mod topology;
mod trace;
mod world;

pub use bug::Bug;
pub use coverage::{Coverage, Happened};
pub use invariants::Violation;
pub use run::{Options, Outcome, Runs, run, run_many};
