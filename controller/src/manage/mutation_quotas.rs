//! Controller mutation quotas (KIP-599): how many partitions a second a client may have created and deleted.
//!
//! Each client has a bucket of tokens that fills at the quota's rate. What is done takes a token for each partition, and
//! may take more than there are; until the debt is paid off, nothing more is done for that client. Clients whose version
//! does not know the refusal are only told to wait.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_metadata::{MetadataImage, QuotaKey};
use moldau_model::{ErrorCode, TimestampMs};

use super::{ApiError, Settings};

/// How many clients' buckets are kept. Beyond, full ones are forgotten: one that is made anew is full, too.
const BUCKETS_MAX: usize = 10_000;

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct Mutator {
    pub user: Arc<str>,
    /// Empty where there is none.
    pub client_id: Arc<str>,
    /// Whether a refusal is understood, by the version of the request.
    pub knows_refusals: bool,
}

/// The tokens of all clients that have a quota. They are this controller's own: a successor starts with full buckets.
#[derive(Debug, Default)]
pub struct MutationQuotas {
    buckets: HashMap<(Arc<str>, Arc<str>), Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: TimestampMs,
}

/// What one request may still change, and what it has changed. The default has no limit.
#[derive(Debug, Default)]
pub struct MutationQuota(Option<Limited>);

#[derive(Debug)]
struct Limited {
    key: (Arc<str>, Arc<str>),
    tokens: f64,
    rate: f64,
    is_strict: bool,
    throttle_time_ms: i32,
}

impl MutationQuotas {
    /// The quota of one request; to be given back by [`Self::put_back`].
    #[must_use]
    pub fn take(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        mutator: &Mutator,
        now: TimestampMs,
    ) -> MutationQuota {
        let quotas = image.client_quotas();
        let Some(quota) = quotas.applied(&mutator.user, &mutator.client_id, QuotaKey::ControllerMutationRate)
        else {
            return MutationQuota(None);
        };
        let (key, rate) = ((quota.user, quota.client_id), quota.limit.get());
        let most = rate * settings.mutation_window_seconds();
        let tokens = self.buckets.get(&key).map_or(most, |bucket| bucket.refilled(rate, most, now));
        MutationQuota(Some(Limited {
            key,
            tokens,
            rate,
            is_strict: mutator.knows_refusals,
            throttle_time_ms: 0,
        }))
    }

    /// Keeps what is left, and says for how long the client is to wait.
    pub fn put_back(&mut self, quota: MutationQuota, now: TimestampMs) -> i32 {
        let Some(limited) = quota.0 else { return 0 };
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&limited.key) {
            // The ones that were used last are the ones in debt, if any are.
            self.buckets.retain(|_, bucket| bucket.tokens < 0.0);
            if self.buckets.len() >= BUCKETS_MAX {
                self.buckets.clear();
            }
        }
        self.buckets.insert(limited.key, Bucket { tokens: limited.tokens, at: now });
        limited.throttle_time_ms
    }
}

impl Bucket {
    fn refilled(&self, rate: f64, most: f64, now: TimestampMs) -> f64 {
        let elapsed_ms = now.0.saturating_sub(self.at.0).max(0);
        (self.tokens + rate * elapsed_ms as f64 / 1000.0).min(most)
    }
}

impl MutationQuota {
    /// Takes a token for each partition that is to be created or deleted.
    ///
    /// # Errors
    /// `THROTTLING_QUOTA_EXCEEDED`: there is a debt already.
    pub(super) fn apply(&mut self, partitions: usize) -> Result<(), ApiError> {
        let Some(limited) = &mut self.0 else { return Ok(()) };
        if limited.is_strict && limited.tokens < 0.0 {
            limited.note_throttled();
            return Err(ApiError::standard(ErrorCode::ThrottlingQuotaExceeded));
        }
        limited.tokens -= partitions as f64;
        if !limited.is_strict && limited.tokens < 0.0 {
            limited.note_throttled();
        }
        Ok(())
    }
}

impl Limited {
    /// The wait lasts until the debt is paid off.
    fn note_throttled(&mut self) {
        let wait_ms = (-self.tokens / self.rate * 1000.0).round();
        // Kafka's own bound: the field is as wide as this.
        self.throttle_time_ms = if wait_ms >= f64::from(i32::MAX) { i32::MAX } else { wait_ms as i32 };
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{QuotaEntity, QuotaEntityType, QuotaName, QuotaValue};

    use super::super::testing::Cluster;
    use super::*;

    /// A client that may have two partitions a second, and twenty-two at once.
    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(1);
        let entity = QuotaEntity([(QuotaEntityType::ClientId, QuotaName::Default)].into());
        let record = entity.to_record(QuotaKey::ControllerMutationRate, QuotaValue::new(2.0));
        cluster.commit(vec![record.into()]);
        cluster
    }

    fn mutate(
        quotas: &mut MutationQuotas,
        client_id: &str,
        strict: bool,
        now: i64,
        changes: &[usize],
    ) -> (usize, i32) {
        let cluster = cluster();
        let mutator = Mutator { user: "u".into(), client_id: client_id.into(), knows_refusals: strict };
        let mut quota = quotas.take(&cluster.image, &cluster.settings, &mutator, TimestampMs(now));
        let done = changes.iter().filter(|partitions| quota.apply(**partitions).is_ok()).count();
        (done, quotas.put_back(quota, TimestampMs(now)))
    }

    #[test]
    fn what_goes_beyond_the_quota_is_done_once_and_paid_off_before_anything_more_is() {
        let mut quotas = MutationQuotas::default();
        assert_eq!(
            mutate(&mut quotas, "c", true, 0, &[20, 12, 1]),
            (2, 5000),
            "a debt of ten at two a second"
        );
        assert_eq!(mutate(&mut quotas, "c", true, 4000, &[1]), (0, 1000));
        assert_eq!(mutate(&mut quotas, "d", true, 4000, &[1]), (1, 0), "another client has its own");
        assert_eq!(mutate(&mut quotas, "c", true, 5000, &[1]), (1, 0));
        assert_eq!(
            mutate(&mut quotas, "c", true, 1_000_000, &[22, 1, 1]),
            (2, 500),
            "no more is saved up than that"
        );
    }

    #[test]
    fn who_does_not_know_the_refusal_is_told_to_wait() {
        let mut quotas = MutationQuotas::default();
        assert_eq!(mutate(&mut quotas, "c", false, 0, &[22]), (1, 0));
        assert_eq!(mutate(&mut quotas, "c", false, 0, &[2, 2]), (2, 2000));
    }

    #[test]
    fn who_has_no_quota_is_not_counted() {
        let mut quotas = MutationQuotas::default();
        assert_eq!(mutate(&mut quotas, "", true, 0, &[1000, 1000]), (2, 0));
        assert!(quotas.buckets.is_empty());
    }

    #[test]
    fn the_buckets_are_bounded_and_a_debt_outlives_those_that_have_none() {
        let mut quotas = MutationQuotas::default();
        assert_eq!(mutate(&mut quotas, "debtor", true, 0, &[100]), (1, 0));
        for client in 0..2 * BUCKETS_MAX {
            let key = (Arc::from(""), Arc::from(client.to_string()));
            let limited = Limited { key, tokens: 1.0, rate: 2.0, is_strict: true, throttle_time_ms: 0 };
            quotas.put_back(MutationQuota(Some(limited)), TimestampMs(0));
        }
        assert!(quotas.buckets.len() <= BUCKETS_MAX);
        assert_eq!(mutate(&mut quotas, "debtor", true, 0, &[1]).0, 0);
    }
}
