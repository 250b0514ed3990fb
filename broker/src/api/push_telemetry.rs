//! PushTelemetry (72), version 0: a client's metrics (KIP-714).

use std::sync::Arc;

use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use moldau_model::{ErrorCode, Uuid};
use moldau_record::Compression;

use super::message::model_uuid;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;
use crate::telemetry::Push;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(72, "PushTelemetry", 0, 0, handle);

/// Kafka's `telemetry.max.bytes` where nobody sets it.
const PUSH_BYTES_MAX: i32 = 1024 * 1024;

/// What one push may hold, compressed.
pub(super) fn push_bytes_max(broker: &Broker) -> i32 {
    let image = broker.control.image();
    let settings = broker.control.settings(&image);
    settings.value("telemetry.max.bytes").and_then(|text| text.trim().parse().ok()).unwrap_or(PUSH_BYTES_MAX)
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<PushTelemetryRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let client = model_uuid(request.client_instance_id);
    if client == Uuid::ZERO || client == Uuid::ONE {
        return answer(&context, ErrorCode::InvalidRequest);
    }
    let compression = Compression::from_id(i16::from(request.compression_type));
    let push = Push {
        client,
        subscription_id: request.subscription_id,
        is_terminating: request.terminating,
        has_known_compression: compression.is_some(),
        bytes: request.metrics.len(),
        bytes_max: usize::try_from(push_bytes_max(broker)).unwrap_or(0),
    };
    if let Err(code) = broker.control.telemetry.check_push(push, &context) {
        return answer(&context, code);
    }
    let Some(compression) = compression.filter(|_| !request.metrics.is_empty()) else {
        return answer(&context, ErrorCode::None);
    };
    let broker = Arc::clone(broker);
    Reply::Deferred(Box::pin(async move {
        let taken = tokio::task::spawn_blocking(move || {
            broker.control.telemetry.take(client, compression, &request.metrics)
        });
        let code = match taken.await {
            Ok(Ok(())) => ErrorCode::None,
            Ok(Err(code)) => code,
            Err(error) => {
                tracing::error!(%error, "a client's metrics could not be taken");
                ErrorCode::UnknownServerError
            }
        };
        answer(&context, code)
    }))
}

fn answer(context: &RequestContext, code: ErrorCode) -> Reply {
    context.ready(&PushTelemetryResponse::default().with_error_code(code.code()))
}
