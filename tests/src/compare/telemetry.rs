//! Clients' metrics: what they are asked for, and pushes that are not taken.

use kafka_protocol::messages::{self as m, ApiKey, RequestKind};

use super::Case;

fn ask(client: u128) -> RequestKind {
    RequestKind::GetTelemetrySubscriptions(
        m::GetTelemetrySubscriptionsRequest::default().with_client_instance_id(uuid::Uuid::from_u128(client)),
    )
}

fn push(client: u128, subscription_id: i32, terminating: bool) -> RequestKind {
    RequestKind::PushTelemetry(
        m::PushTelemetryRequest::default()
            .with_client_instance_id(uuid::Uuid::from_u128(client))
            .with_subscription_id(subscription_id)
            .with_terminating(terminating),
    )
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{GetTelemetrySubscriptions, PushTelemetry};
    vec![
        Case::new("metrics of a client that has no name yet", GetTelemetrySubscriptions, 0, 0, |_, _| ask(0)),
        Case::new("metrics of a client that has one", GetTelemetrySubscriptions, 0, 0, |_, _| ask(7)),
        Case::new("metrics of a client that asks too soon", GetTelemetrySubscriptions, 0, 0, |_, _| ask(7)),
        Case::new("a push without a name", PushTelemetry, 0, 0, |_, _| push(0, 1, false)),
        Case::new("a push by a reserved name", PushTelemetry, 0, 0, |_, _| push(1, 1, false)),
        Case::new("a push that nobody asked for", PushTelemetry, 0, 0, |_, _| push(8, 1, false)),
        Case::new("a last push that nobody asked for", PushTelemetry, 0, 0, |_, _| push(9, 1, true)),
        Case::new("a push after the last", PushTelemetry, 0, 0, |_, _| push(9, 1, true)),
    ]
}
