//! Client quotas on this broker: what each client took of late, and for how long it has to wait (KIP-13, 124, 219, 612).
//!
//! Who has no quota costs one look at a bit. A client that takes too much is answered at once, told how long it is to wait,
//! and nothing more is read from its connection for that time. Changes of partitions are counted by the controller.

mod rate;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use moldau_metadata::config::BrokerSettings;
use moldau_metadata::{AppliedQuota, MetadataImage, QuotaKey};
use moldau_model::TimestampMs;
use parking_lot::Mutex;

use self::rate::{SampledRate, Window};
use crate::api::RequestContext;
use crate::clock;
use crate::metadata_cache::MetadataCache;

/// How many clients are counted by themselves, each at some hundred bytes. Beyond, until others have been idle for a window,
/// new ones are counted together: a flood of client ids neither fills the memory nor gets around the quotas.
const CLIENTS_MAX: usize = 10_000;

/// The counts of one broker.
pub struct ClientQuotas {
    /// A bit for each key that anybody has a quota for.
    limited: AtomicU8,
    window: Window,
    metadata: Arc<MetadataCache>,
    counts: Mutex<Counts>,
}

/// Whom a count is of.
type CountKey = (QuotaKey, Arc<str>, Arc<str>);

#[derive(Default)]
struct Counts {
    clients: HashMap<CountKey, SampledRate>,
    swept: TimestampMs,
}

impl Counts {
    fn of(&mut self, key: CountKey, window: Window, now: TimestampMs) -> &mut SampledRate {
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&key) {
            if now.0.saturating_sub(self.swept.0) >= window.length_ms() {
                self.swept = now;
                self.clients.retain(|_, rate| !rate.is_idle(window, now));
            }
            if self.clients.len() >= CLIENTS_MAX {
                let rest: Arc<str> = Arc::from("");
                return self.clients.entry((key.0, Arc::clone(&rest), rest)).or_default();
            }
        }
        self.clients.entry(key).or_default()
    }
}

const fn bit(key: QuotaKey) -> u8 {
    1 << key as u8
}

impl ClientQuotas {
    /// Without quotas, before there is any metadata. How rates are measured stands in the settings of the start.
    #[must_use]
    pub fn new(statics: &BTreeMap<String, String>, metadata: Arc<MetadataCache>) -> Self {
        let settings = BrokerSettings::of_statics(statics);
        let number = |name: &str| settings.value(name).and_then(|text| text.trim().parse::<u32>().ok());
        let window = Window {
            samples: number("quota.window.num").unwrap_or(11).max(1),
            sample_ms: i64::from(number("quota.window.size.seconds").unwrap_or(1).max(1)) * 1000,
        };
        Self { limited: AtomicU8::new(0), window, metadata, counts: Mutex::default() }
    }

    /// Follows the metadata.
    pub(crate) fn apply(&self, image: &MetadataImage) {
        let quotas = image.client_quotas();
        let limited = QuotaKey::ALL.into_iter().filter(|key| quotas.limits(*key));
        let limited = limited.fold(0, |bits, key| bits | bit(key));
        self.limited.store(limited, Ordering::Relaxed);
        self.counts.lock().clients.retain(|(key, _, _), _| limited & bit(*key) != 0);
    }

    /// Whether anybody has such a quota.
    pub(crate) fn limits(&self, key: QuotaKey) -> bool {
        self.limited.load(Ordering::Relaxed) & bit(key) != 0
    }

    fn applied(&self, key: QuotaKey, context: &RequestContext) -> Option<AppliedQuota> {
        if !self.limits(key) {
            return None;
        }
        let client_id = context.client_id.clone().unwrap_or_default();
        self.metadata.image().client_quotas().applied(&context.principal.name, &client_id, key)
    }

    /// Counts what a client has taken, and says for how many milliseconds it is to wait.
    pub(crate) fn record(&self, key: QuotaKey, context: &RequestContext, amount: f64) -> i32 {
        let Some(quota) = self.applied(key, context) else { return 0 };
        let count = (key, quota.user, quota.client_id);
        self.count(count, amount, quota.limit.get(), clock::monotonic())
    }

    /// What was counted last has not been taken after all.
    pub(crate) fn take_back(&self, key: QuotaKey, context: &RequestContext, amount: f64) {
        let Some(quota) = self.applied(key, context) else { return };
        let (count, now) = ((key, quota.user, quota.client_id), clock::monotonic());
        self.counts.lock().of(count, self.window, now).record(-amount, self.window, now);
    }

    fn count(&self, key: CountKey, amount: f64, limit: f64, now: TimestampMs) -> i32 {
        let kind = key.0;
        let mut counts = self.counts.lock();
        let rate = counts.of(key, self.window, now);
        rate.record(amount, self.window, now);
        let throttle_ms = rate.throttle_ms(limit, self.window, now);
        let throttle_ms = match kind {
            // One slow request says little of the next: nobody waits longer than a sample for it.
            QuotaKey::RequestPercentage | QuotaKey::ConnectionCreationRate => {
                throttle_ms.min(self.window.sample_ms as f64)
            }
            _ => throttle_ms,
        };
        // The field is as wide as this, and so is Kafka's.
        if throttle_ms >= f64::from(i32::MAX) { i32::MAX } else { throttle_ms as i32 }
    }

    /// Counts time of a thread that a client's request has taken.
    pub(crate) fn record_time(&self, context: &RequestContext, busy: Duration) -> i32 {
        self.record(QuotaKey::RequestPercentage, context, busy.as_secs_f64() * 100.0)
    }

    /// The most that one fetch can bring without being over the quota by itself.
    pub(crate) fn fetch_bytes_max(&self, context: &RequestContext) -> Option<usize> {
        let quota = self.applied(QuotaKey::ConsumerByteRate, context)?;
        let seconds = f64::from(self.window.samples - 1) * self.window.sample_ms as f64 / 1000.0;
        Some((quota.limit.get() * seconds) as usize)
    }

    /// A connection has come from this address: for how long nobody listens to it before it is closed, if it is one too
    /// many.
    pub(crate) fn connection_throttle(&self, address: IpAddr) -> Option<Duration> {
        let kind = QuotaKey::ConnectionCreationRate;
        if !self.limits(kind) {
            return None;
        }
        let name = address.to_canonical().to_string();
        let limit = self.metadata.image().client_quotas().of_address(&name)?;
        let (key, now) = ((kind, Arc::from(name), Arc::from("")), clock::monotonic());
        let throttle_ms = self.count(key.clone(), 1.0, limit.get(), now);
        if throttle_ms <= 0 {
            return None;
        }
        self.counts.lock().of(key, self.window, now).record(-1.0, self.window, now);
        Some(Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{QuotaEntity, QuotaEntityType, QuotaName, QuotaValue};
    use moldau_model::{LeaderEpoch, Offset, Principal};

    use super::*;

    fn quotas(entity_type: QuotaEntityType, key: QuotaKey, limit: f64) -> ClientQuotas {
        let entity = QuotaEntity([(entity_type, QuotaName::Default)].into());
        let record = entity.to_record(key, QuotaValue::new(limit));
        let batch = moldau_metadata::MetadataBatch::from(vec![record.into()]);
        let image = MetadataImage::empty().replay_image(&batch, Offset(0), LeaderEpoch(1)).unwrap();
        let quotas = ClientQuotas::new(&BTreeMap::new(), Arc::new(MetadataCache::new(image.clone())));
        assert!(!quotas.limits(key), "not before it is told");
        quotas.apply(&image);
        quotas
    }

    fn context(client_id: &str) -> RequestContext {
        RequestContext {
            api_key: 0,
            api_version: 0,
            correlation_id: 0,
            client_id: Some(client_id.into()),
            listener: "PLAINTEXT".into(),
            client_address: ([127, 0, 0, 1], 1).into(),
            principal: Principal::anonymous(),
            may_manage_tokens: false,
            authorizer: None,
            received_at: std::time::Instant::now(),
            peer: Arc::default(),
        }
    }

    #[test]
    fn each_client_waits_for_what_it_took_itself() {
        let quotas = quotas(QuotaEntityType::ClientId, QuotaKey::ProducerByteRate, 100.0);
        let key = QuotaKey::ProducerByteRate;
        assert_eq!(quotas.record(key, &context("a"), 1000.0), 0, "a window's worth may come at once");
        assert!(quotas.record(key, &context("a"), 500.0) > 1000);
        assert_eq!(quotas.record(key, &context("b"), 500.0), 0);
        assert_eq!(
            quotas.record(QuotaKey::ConsumerByteRate, &context("a"), 1e9),
            0,
            "another kind has no quota"
        );
        quotas.apply(&MetadataImage::empty());
        assert_eq!(quotas.record(key, &context("a"), 1e9), 0, "the quota is gone");
    }

    #[test]
    fn many_clients_are_counted_together_and_not_without_bound() {
        let quotas = quotas(QuotaEntityType::ClientId, QuotaKey::ProducerByteRate, 100.0);
        for client in 0..CLIENTS_MAX {
            quotas.record(QuotaKey::ProducerByteRate, &context(&client.to_string()), 1.0);
        }
        let waits = (0..1000)
            .filter(|n| quotas.record(QuotaKey::ProducerByteRate, &context(&format!("more-{n}")), 100.0) > 0);
        assert!(waits.count() > 900);
        assert!(quotas.counts.lock().clients.len() <= CLIENTS_MAX + 1);
    }

    #[test]
    fn an_address_that_connects_too_often_waits_no_longer_than_a_sample() {
        let quotas = quotas(QuotaEntityType::Ip, QuotaKey::ConnectionCreationRate, 1.0);
        let address = IpAddr::from([127, 0, 0, 1]);
        let refused = (0..1000).filter_map(|_| quotas.connection_throttle(address)).collect::<Vec<_>>();
        assert!((900..1000).contains(&refused.len()), "{}", refused.len());
        assert!(refused.iter().all(|pause| *pause <= Duration::from_secs(1)));
        assert_eq!(quotas.connection_throttle(IpAddr::from([127, 0, 0, 2])), None);
    }
}
