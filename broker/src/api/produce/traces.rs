//! What traces tell of a produce request, in OpenTelemetry's words for messaging.

use moldau_kafka::ProduceRequestView;
use moldau_model::TopicId;

use super::Outcome;
use crate::api::{Request, RequestContext};
use crate::broker::Broker;
use crate::trace::{RequestTrace, Value};

/// Begins the request's trace, if it is to have one. The records may be nonsense still.
pub(super) fn begin(
    broker: &Broker,
    request: &Request,
    view: &ProduceRequestView,
) -> Option<Box<RequestTrace>> {
    let tracer = broker.tracer.as_ref()?;
    let body = request.body();
    let partitions = view.topics.iter().flat_map(|topic| &topic.partitions);
    let records = partitions.filter_map(|partition| body.get(partition.records.clone()?));
    tracer.begin("produce", request.context.received_at, records)
}

/// Who wrote what, and where it went. Of several topics the first is named.
pub(super) fn describe(
    trace: &mut RequestTrace,
    context: &RequestContext,
    view: &ProduceRequestView,
    topics: &[(String, TopicId, Vec<Outcome>)],
) {
    let partitions: usize = topics.iter().map(|(_, _, outcomes)| outcomes.len()).sum();
    trace.attribute("messaging.system", Value::Text("kafka".to_owned()));
    trace.attribute("messaging.operation.name", Value::Text("produce".to_owned()));
    if let Some((name, _, outcomes)) = topics.first() {
        trace.attribute("messaging.destination.name", Value::Text(name.clone()));
        if let ([only], 1) = (&outcomes[..], partitions) {
            let partition = only.id.partition.to_string();
            trace.attribute("messaging.destination.partition.id", Value::Text(partition));
            if let Ok(info) = &only.result {
                trace.attribute("messaging.kafka.offset", Value::Number(info.first_offset.0));
            }
        }
    }
    if let Some(client_id) = &context.client_id {
        trace.attribute("messaging.client.id", Value::Text(client_id.to_string()));
    }
    trace.attribute("network.peer.address", Value::Text(context.client_address.ip().to_string()));
    trace.attribute("network.peer.port", Value::Number(i64::from(context.client_address.port())));
    trace.attribute("moldau.produce.acks", Value::Number(i64::from(view.acks)));
    trace
        .attribute("moldau.produce.partitions", Value::Number(i64::try_from(partitions).unwrap_or(i64::MAX)));
}
