//! The promises of the coordinator, through its one door: inputs and time in, outputs out.

mod commit;
mod consumer;
mod cooperative;
mod deletion;
mod expiration;
mod first_rebalance;
mod harness;
mod inspect;
mod join;
mod load;
mod model;
mod records;
mod session;
mod share;
mod static_member;
mod streams;
mod sync;
mod transactions;
