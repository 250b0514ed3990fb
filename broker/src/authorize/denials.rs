//! The audit log of what was denied.

use std::time::{Duration, Instant};

use moldau_security::Throttled;

use super::{Operation, Resource};
use crate::api::RequestContext;

/// The target of these lines, for who wants them in a place of their own; Kafka's name of it.
const TARGET: &str = "kafka.authorizer.logger";
/// How many denials are told a second. Whoever asks for what is denied asks again, thousands of times a second if need be:
/// that must not fill the disk.
const TOLD_PER_SECOND_MAX: u32 = 20;

/// What was told lately.
pub(super) struct Denials(Throttled);

impl Default for Denials {
    fn default() -> Self {
        Self(Throttled::new(TOLD_PER_SECOND_MAX, Duration::from_secs(1)))
    }
}

impl Denials {
    pub(super) fn tell(&self, context: &RequestContext, operation: Operation, resource: Resource<'_>) {
        let Some(left_out) = self.0.take(Instant::now()) else { return };
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
