//! Who somebody is, and what nobody else may read.
//!
//! `scram` and `sasl` are pure: bytes, credentials and chance go in, bytes and a verdict come out. `tls` makes rustls'
//! configurations of PEM; `principal` makes names of certificates. `link` dials with all of it, on tokio and blocking.

pub mod link;
pub mod principal;
pub mod sasl;
pub mod scram;
pub mod tls;

pub use principal::{PrincipalRules, RulesError};
