//! Replication throttles (KIP-73): a broker's quotas for what it sends to followers, and for what it fetches as one.
//!
//! Topics name the replicas to which they apply, so that a move of partitions leaves the clients' share of the network
//! alone. Only replicas that lag are ever held back: one in sync is waited for by producers.

use std::collections::BTreeMap;

use moldau_metadata::config::BrokerSettings;
use moldau_replica::ReplicationQuota;
use parking_lot::Mutex;

use crate::clock;

/// Kafka's defaults: ten whole samples and the one that has begun, of a second each.
const SAMPLES: usize = 11;
const SAMPLE_SECONDS: i64 = 1;

/// Both quotas of a broker.
#[derive(Debug)]
pub struct Throttles {
    /// `leader.replication.throttled.rate`.
    pub(crate) leader: Throttle,
    /// `follower.replication.throttled.rate`.
    pub(crate) follower: Throttle,
}

/// One quota, of which all fetchers and connections take their share.
#[derive(Debug)]
pub(crate) struct Throttle(Mutex<ReplicationQuota>);

impl Throttle {
    pub(crate) fn record(&self, bytes: usize) {
        self.0.lock().record(bytes, clock::monotonic());
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.0.lock().is_exceeded(clock::monotonic())
    }
}

impl Throttles {
    /// Without limits. How the rates are measured stands in the settings that the broker was started with.
    #[must_use]
    pub fn new(statics: &BTreeMap<String, String>) -> Self {
        let settings = BrokerSettings::of_statics(statics);
        let samples =
            settings.value("replication.quota.window.num").and_then(|text| text.trim().parse().ok());
        let seconds =
            settings.value("replication.quota.window.size.seconds").and_then(|text| text.trim().parse().ok());
        let throttle = || {
            let sample_ms = seconds.unwrap_or(SAMPLE_SECONDS).saturating_mul(1000);
            Throttle(Mutex::new(ReplicationQuota::new(samples.unwrap_or(SAMPLES), sample_ms)))
        };
        Self { leader: throttle(), follower: throttle() }
    }

    /// Takes the limits that are in force now.
    pub(crate) fn set_limits(&self, settings: &BrokerSettings<'_>) {
        let limits = [
            (&self.leader, "leader.replication.throttled.rate"),
            (&self.follower, "follower.replication.throttled.rate"),
        ];
        for (throttle, name) in limits {
            let limit = settings.value(name).and_then(|text| text.trim().parse().ok());
            throttle.0.lock().set_limit(limit.unwrap_or(i64::MAX));
        }
    }
}
