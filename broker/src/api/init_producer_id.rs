//! InitProducerId (22), versions 0 to 5: an id for an idempotent producer (KIP-98), out of blocks from the controller.
//!
//! - 2: flexible. 3: the epoch may be bumped after an error (KIP-360). 4, 5: other codes for fenced producers, KIP-890.
//! - A producer without a transactional id gets a new id whatever it had before, as in Kafka.
//! - One with a transactional id is told that its coordinator is not available: that is so, until there is one.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use moldau_model::ErrorCode;

use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(22, "InitProducerId", 0, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<InitProducerIdRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let refusal = match &request.transactional_id {
        Some(id) if !is_authorized(&context, Operation::Write, Resource::TransactionalId(id)) => {
            Some(ErrorCode::TransactionalIdAuthorizationFailed)
        }
        Some(id) if id.is_empty() => Some(ErrorCode::InvalidRequest),
        Some(_) => Some(ErrorCode::CoordinatorNotAvailable),
        None if !is_authorized(&context, Operation::IdempotentWrite, Resource::Cluster) => {
            Some(ErrorCode::ClusterAuthorizationFailed)
        }
        None => None,
    };
    if let Some(code) = refusal {
        return context.ready(&refused(code));
    }
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match broker.producer_ids.next(broker.broker_epoch()).await {
            Ok(id) => {
                InitProducerIdResponse::default().with_producer_id(ProducerId(id.0)).with_producer_epoch(0)
            }
            Err(code) => refused(code),
        };
        context.response(&response)
    }))
}

fn refused(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
