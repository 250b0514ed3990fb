//! What a broker counts while it works. `/metrics` shows it (`http/metrics.rs`); the definitions are the one table of all
//! names, from which `docs/METRICS.md` is made.
//!
//! The hot path pays a few relaxed additions for each request, and two for each partition that it writes or reads: no lock,
//! no allocation, nothing for a single record.

pub mod definitions;
mod histogram;
mod requests;
mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub use histogram::{Histogram, Snapshot};
pub use requests::{RequestMetrics, RequestTiming, Waiting};
pub use traffic::{TopicTraffic, Traffic};

use crate::request_memory::RequestMemory;

/// The counters of one broker.
#[derive(Debug, Default)]
pub struct Metrics {
    pub requests: RequestMetrics,
    pub traffic: Arc<Traffic>,
    /// By listener, in the order of their names; made at the start.
    connections: BTreeMap<Arc<str>, Arc<ConnectionMetrics>>,
    request_memory: OnceLock<RequestMemory>,
}

/// The connections of one listener.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    open: AtomicI64,
    accepted: AtomicU64,
    authentications: Authentications<AtomicU64>,
}

/// How authentications of a listener went. As in Kafka, a connection of which nothing is asked has authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authentications<N> {
    pub successful: N,
    pub failed: N,
    /// Of connections that were authenticated before (KIP-368).
    pub successful_again: N,
    pub failed_again: N,
}

/// An open connection, for as long as it lives.
#[derive(Debug)]
pub struct OpenConnection(Arc<ConnectionMetrics>);

impl Metrics {
    /// For a broker with these listeners.
    pub fn new<'a>(listeners: impl Iterator<Item = &'a str>) -> Self {
        let connections = listeners.map(|name| (Arc::from(name), Arc::default())).collect();
        Self { connections, ..Self::default() }
    }

    /// A connection of this listener begins.
    #[must_use]
    pub fn connected(&self, listener: &str) -> Option<OpenConnection> {
        let of_listener = self.connections.get(listener)?;
        of_listener.open.fetch_add(1, Ordering::Relaxed);
        of_listener.accepted.fetch_add(1, Ordering::Relaxed);
        Some(OpenConnection(Arc::clone(of_listener)))
    }

    /// Each listener's authentications.
    pub fn authentications(&self) -> impl Iterator<Item = (&str, Authentications<u64>)> {
        self.connections.iter().map(|(name, of_listener)| {
            let counted = &of_listener.authentications;
            let authentications = Authentications {
                successful: counted.successful.load(Ordering::Relaxed),
                failed: counted.failed.load(Ordering::Relaxed),
                successful_again: counted.successful_again.load(Ordering::Relaxed),
                failed_again: counted.failed_again.load(Ordering::Relaxed),
            };
            (&**name, authentications)
        })
    }

    /// Each listener's open connections, and how many there ever were.
    pub fn connections(&self) -> impl Iterator<Item = (&str, i64, u64)> {
        self.connections.iter().map(|(name, of_listener)| {
            let open = of_listener.open.load(Ordering::Relaxed);
            (&**name, open, of_listener.accepted.load(Ordering::Relaxed))
        })
    }

    /// The budget of request bytes, once there is one.
    pub(crate) fn watch_memory(&self, memory: RequestMemory) {
        // A second one there cannot be: the network starts once.
        let _ = self.request_memory.set(memory);
    }

    /// How much of the budget for request bytes is taken, and the budget.
    #[must_use]
    pub fn request_memory(&self) -> Option<(usize, usize)> {
        self.request_memory.get().map(RequestMemory::usage)
    }
}

impl OpenConnection {
    /// The listener's counters.
    pub fn listener(&self) -> Arc<ConnectionMetrics> {
        Arc::clone(&self.0)
    }
}

impl ConnectionMetrics {
    /// A connection has authenticated; `again` where it was authenticated before.
    pub fn authenticated(&self, again: bool) {
        let Authentications { successful, successful_again, .. } = &self.authentications;
        (if again { successful_again } else { successful }).fetch_add(1, Ordering::Relaxed);
    }

    /// The same of one that was refused.
    pub fn refused(&self, again: bool) {
        let Authentications { failed, failed_again, .. } = &self.authentications;
        (if again { failed_again } else { failed }).fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_listener_while_they_are_open() {
        let metrics = Metrics::new(["A", "B"].into_iter());
        let first = metrics.connected("A");
        let second = metrics.connected("A");
        assert!(metrics.connected("C").is_none());
        let counters = second.as_ref().unwrap().listener();
        counters.authenticated(false);
        counters.authenticated(true);
        counters.refused(true);
        let expected = Authentications { successful: 1, failed: 0, successful_again: 1, failed_again: 1 };
        assert_eq!(metrics.authentications().next(), Some(("A", expected)));
        drop(first);
        assert_eq!(metrics.connections().collect::<Vec<_>>(), [("A", 1, 2), ("B", 0, 0)]);
        drop(second);
    }
}
