//! The broker's part of the audit log: what was denied, and at level debug what was not.

use std::time::{Duration, Instant};

use moldau_metadata::{AUDIT_TARGET, AuditLine, DENIALS_PER_SECOND_MAX};
use moldau_security::Throttled;

use super::{Operation, Resource};
use crate::api::RequestContext;

/// See the module.
pub(super) struct AuditLog {
    denials: Throttled,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self { denials: Throttled::new(DENIALS_PER_SECOND_MAX, Duration::from_secs(1)) }
    }
}

impl AuditLog {
    pub(super) fn tell(
        &self,
        context: &RequestContext,
        operation: Operation,
        resource: Resource<'_>,
        is_allowed: bool,
    ) {
        let line = AuditLine {
            principal: &context.principal,
            host: context.client_address.ip().to_canonical(),
            operation,
            resource,
            request: moldau_kafka::ApiKey::from_code(context.api_key)
                .map_or("unknown", moldau_kafka::ApiKey::name),
            is_allowed,
        };
        if is_allowed {
            tracing::debug!(target: AUDIT_TARGET, "{line}");
        } else if let Some(left_out) = self.denials.take(Instant::now()) {
            tracing::info!(target: AUDIT_TARGET, left_out, "{line}");
        }
    }
}
