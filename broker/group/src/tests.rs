//! The promises of the coordinator, through its one door: inputs and time in, outputs out.

mod commit;
mod cooperative;
mod deletion;
mod expiration;
mod harness;
mod inspect;
mod load;
mod model;
mod static_member;
