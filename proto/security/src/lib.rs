//! Who somebody is, and what nobody else may read.
//!
//! `scram` and `sasl` are pure: bytes, credentials and chance go in, bytes and a verdict come out. `tls` makes rustls'
//! configurations of PEM; `principal` makes names of certificates. `oauth` checks tokens. `link` dials with all of it, on tokio and blocking.
//! `delegation` makes what holders of delegation tokens show.
//! `places` and `throttled` bound what strangers may take of connections and of the log.

pub mod delegation;
pub mod link;
pub mod oauth;
mod places;
pub mod principal;
mod reloading;
pub mod sasl;
pub mod scram;
mod throttled;
pub mod tls;

pub use places::{NoPlace, Place, Places};
pub use principal::{PrincipalRules, RulesError};
pub use reloading::{NamesFiles, Reloaded, Reloading};
pub use throttled::Throttled;
