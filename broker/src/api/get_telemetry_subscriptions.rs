//! GetTelemetrySubscriptions (71), version 0: which metrics a client is to push, and how often (KIP-714).

use std::sync::Arc;

use kafka_protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use moldau_model::{ErrorCode, Uuid};
use moldau_record::Compression;

use super::message::{model_uuid, text, wire_uuid};
use super::push_telemetry::push_bytes_max;
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(71, "GetTelemetrySubscriptions", 0, 0, handle);

/// The codecs in which a client may push, the best first.
const ACCEPTED: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<GetTelemetrySubscriptionsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let response = GetTelemetrySubscriptionsResponse::default();
    let client = match model_uuid(request.client_instance_id) {
        Uuid::ZERO => new_id(),
        given => Some(given),
    };
    let Some(client) = client else {
        return context.ready(&response.with_error_code(ErrorCode::UnknownServerError.code()));
    };
    let wanted = match broker.control.telemetry.ask(client, &context) {
        Ok(wanted) => wanted,
        Err(code) => return context.ready(&response.with_error_code(code.code())),
    };
    let response = response
        .with_client_instance_id(wire_uuid(client))
        .with_subscription_id(wanted.subscription_id)
        .with_accepted_compression_types(ACCEPTED.iter().map(|codec| codec.id() as i8).collect())
        .with_push_interval_ms(i32::try_from(wanted.interval_ms).unwrap_or(i32::MAX))
        .with_telemetry_max_bytes(push_bytes_max(broker))
        .with_delta_temporality(true)
        .with_requested_metrics(wanted.metrics.iter().map(text).collect());
    context.ready(&response)
}

/// A name for a client that has none yet. The reserved ones come up once in 2^128 times.
fn new_id() -> Option<Uuid> {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the operating system gives no randomness");
        return None;
    }
    Some(Uuid::from_bytes(bytes))
}
