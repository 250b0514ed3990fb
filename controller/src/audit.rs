//! The controller's part of the audit log: what was denied to whom, and what was changed by whom.

use std::time::{Duration, Instant};

use moldau_cluster::Forward;
use moldau_kafka::ApiKey;
use moldau_metadata::{AUDIT_TARGET, AuditLine, DENIALS_PER_SECOND_MAX, shortened};
use moldau_security::Throttled;

use crate::manage::Audit;
use crate::service::Change;

/// The target of the lines on changes.
const CHANGES_TARGET: &str = "moldau.audit";

/// See the module.
#[derive(Debug)]
pub(crate) struct AuditLog {
    denials: Throttled,
    /// Changes of which nothing was carried out: whoever is refused may ask as often as it likes.
    refusals: Throttled,
}

impl Default for AuditLog {
    fn default() -> Self {
        let throttled = || Throttled::new(DENIALS_PER_SECOND_MAX, Duration::from_secs(1));
        Self { denials: throttled(), refusals: throttled() }
    }
}

impl AuditLog {
    /// Whether anybody reads of changes.
    pub(crate) fn tells_changes() -> bool {
        tracing::enabled!(target: CHANGES_TARGET, tracing::Level::INFO)
    }

    /// A change was answered. Each that did something is told, whoever asked for it.
    pub(crate) fn tell_change(
        &self,
        request: &Forward,
        api_key: ApiKey,
        change: &Change,
        only_validated: bool,
    ) {
        let left_out = if change.is_refused() || only_validated {
            let Some(left_out) = self.refusals.take(Instant::now()) else { return };
            left_out
        } else {
            0
        };
        tracing::info!(
            target: CHANGES_TARGET,
            principal = ?shortened(&request.principal),
            host = ?request.client_host,
            client_id = ?shortened(request.client_id.as_deref().unwrap_or_default()),
            listener = ?request.listener,
            request = api_key.name(),
            resources = ?change.resources,
            count = change.count,
            refused = change.refused,
            only_validated,
            left_out,
            "a change was answered"
        );
    }
}

impl Audit for AuditLog {
    fn tell(&self, line: &AuditLine<'_>) {
        if line.is_allowed {
            tracing::debug!(target: AUDIT_TARGET, "{line}");
        } else if let Some(left_out) = self.denials.take(Instant::now()) {
            tracing::info!(target: AUDIT_TARGET, left_out, "{line}");
        }
    }
}
