//! The audit log of what was denied.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Operation, Resource};
use crate::api::RequestContext;

/// The target of these lines, for who wants them in a place of their own; Kafka's name of it.
const TARGET: &str = "kafka.authorizer.logger";
/// How many denials are told a second. Whoever asks for what is denied asks again, thousands of times a second if need be:
/// that must not fill the disk.
const TOLD_PER_SECOND_MAX: u32 = 20;

/// What was told lately.
#[derive(Default)]
pub(super) struct Denials(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    since: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Lately {
    /// Whether one more may be told now; with how many were left out since the last one that was told.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.told = 0;
        }
        if self.told == TOLD_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Denials {
    pub(super) fn tell(&self, context: &RequestContext, operation: Operation, resource: Resource<'_>) {
        let Some(left_out) = self.0.lock().take(Instant::now()) else { return };
        tracing::info!(
            target: TARGET,
            principal = %context.principal,
            host = %context.client_address.ip().to_canonical(),
            %operation,
            resource_type = %resource.resource_type,
            resource = resource.name,
            api = moldau_kafka::ApiKey::from_code(context.api_key).map_or("unknown", moldau_kafka::ApiKey::name),
            left_out,
            "denied"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_denials_is_counted_and_not_told() {
        let mut lately = Lately::default();
        let start = Instant::now();
        let told = (0..1000).filter(|_| lately.take(start).is_some()).count();
        assert_eq!(told, TOLD_PER_SECOND_MAX as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(lately.take(later), Some(1000 - u64::from(TOLD_PER_SECOND_MAX)));
        assert_eq!(lately.take(later), Some(0));
    }
}
