//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::io_throttle::IoThrottle;

/// Bounds of connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionBounds {
    /// `max.connections`.
    pub all_max: usize,
    /// `max.connections.per.ip`.
    pub per_ip_max: usize,
    /// `max.connections.per.ip.overrides`.
    pub per_ip_overrides: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`, where it is a bound.
    pub created_per_second_max: Option<f64>,
}

/// So much of the allowed rate may come at once.
const BURST: Duration = Duration::from_secs(1);

/// Counts connections, in all (`max.connections`) and by address (`max.connections.per.ip`). As in Kafka, a connection too
/// many waits in the accept queue until another one ends, as does one that comes too early, and one too many from its address is
/// closed at once.
pub struct ConnectionLimits {
    bounds: ConnectionBounds,
    created: Mutex<Created>,
    open: Mutex<Open>,
    freed: Notify,
    was_full: AtomicBool,
}

/// How much of the allowed rate was used.
#[derive(Default)]
struct Created {
    throttle: IoThrottle,
    /// Until when what came last takes.
    until: Option<Instant>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among the connections; given back on drop.
pub struct ConnectionPlace {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

impl ConnectionLimits {
    #[must_use]
    pub fn new(bounds: ConnectionBounds) -> Self {
        Self {
            bounds,
            created: Mutex::default(),
            open: Mutex::default(),
            freed: Notify::new(),
            was_full: AtomicBool::new(false),
        }
    }

    /// Waits until there is a place in all. Somebody else may take it: [`ConnectionLimits::enter`] says.
    pub async fn place_free(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, or a place that comes free in between would be slept through.
            freed.as_mut().enable();
            if self.count() < self.bounds.all_max {
                return;
            }
            if !self.was_full.swap(true, Ordering::Relaxed) {
                let connections = self.bounds.all_max;
                tracing::warn!(connections, "no more connections are taken until some end; told once");
            }
            freed.await;
        }
    }

    /// Waits until one more connection is within the rate; [`ConnectionLimits::note_created`] counts it.
    pub async fn rate_allows(&self) {
        let until = self.created.lock().until;
        if let Some(free_at) = until.and_then(|until| until.checked_sub(BURST)) {
            tokio::time::sleep_until(free_at.into()).await;
        }
    }

    /// A connection was taken.
    pub fn note_created(&self) {
        if let Some(rate) = self.bounds.created_per_second_max {
            let mut created = self.created.lock();
            created.until = Some(created.throttle.spend(1, Some(rate), Instant::now()));
        }
    }

    /// A place for a connection from `address`, unless there are too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPlace> {
        // A listener of both families sees IPv4 addresses as mapped ones: they are the same clients.
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        if open.all >= self.bounds.all_max || of_address >= self.bound_of(address) {
            return None;
        }
        open.all += 1;
        open.by_address.insert(address, of_address + 1);
        Some(ConnectionPlace { limits: Arc::clone(self), address })
    }

    fn bound_of(&self, address: IpAddr) -> usize {
        let own = self.bounds.per_ip_overrides.get(&address);
        own.copied().unwrap_or(self.bounds.per_ip_max)
    }

    /// Connections open now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().all
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
        drop(open);
        // All listeners look: the one that is told might be stopping.
        self.limits.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all_max: usize, per_ip_max: usize) -> ConnectionLimits {
        ConnectionLimits::new(ConnectionBounds { all_max, per_ip_max, ..ConnectionBounds::default() })
    }

    #[test]
    fn an_address_with_a_bound_of_its_own_has_that() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let bounds = ConnectionBounds {
            all_max: 9,
            per_ip_max: 0,
            per_ip_overrides: HashMap::from([(a, 2)]),
            created_per_second_max: None,
        };
        let limits = Arc::new(ConnectionLimits::new(bounds));
        assert!(limits.enter(b).is_none());
        let mapped = IpAddr::from(std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let _both = (limits.enter(mapped).unwrap(), limits.enter(mapped).unwrap());
        assert!(limits.enter(mapped).is_none());
    }

    #[test]
    fn an_address_is_the_same_by_a_listener_of_both_families() {
        let limits = Arc::new(limits(9, 1));
        let plain = std::net::Ipv4Addr::LOCALHOST;
        let only = limits.enter(plain.into()).unwrap();
        assert!(limits.enter(plain.to_ipv6_mapped().into()).is_none());
        drop(only);
        let _other = limits.enter(plain.to_ipv6_mapped().into()).unwrap();
        assert!(limits.enter(plain.into()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_come_too_fast_wait_and_a_second_of_them_may_come_at_once() {
        let bounds = ConnectionBounds {
            all_max: 99,
            per_ip_max: 99,
            created_per_second_max: Some(1e-3),
            ..ConnectionBounds::default()
        };
        let limits = ConnectionLimits::new(bounds);
        let waits = async || tokio::time::timeout(BURST, limits.rate_allows()).await.is_err();
        assert!(!waits().await);
        limits.note_created();
        assert!(waits().await, "the next one in ten minutes");
        let bounds = ConnectionBounds { created_per_second_max: Some(1e6), ..ConnectionBounds::default() };
        let limits = ConnectionLimits::new(bounds);
        for _ in 0..100 {
            limits.rate_allows().await;
            limits.note_created();
        }
    }

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_come_back() {
        let limits = Arc::new(limits(3, 2));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let first = limits.enter(a).unwrap();
        let _second = limits.enter(a).unwrap();
        assert!(limits.enter(a).is_none());
        let _third = limits.enter(b).unwrap();
        assert!(limits.enter(b).is_none());
        assert_eq!(limits.count(), 3);
        drop(first);
        assert!(limits.enter(b).is_some());
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_one_when_another_connection_ends() {
        let limits = Arc::new(limits(1, 9));
        limits.place_free().await;
        let only = limits.enter(IpAddr::from([127, 0, 0, 1])).unwrap();
        let waiting = tokio::spawn({
            let limits = Arc::clone(&limits);
            async move { limits.place_free().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(only);
        waiting.await.unwrap();
    }
}
