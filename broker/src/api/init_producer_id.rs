//! InitProducerId (22), versions 0 to 5: an id and an epoch for an idempotent or transactional producer (KIP-98).
//!
//! - 2: flexible. 3: the epoch may be bumped after an error (KIP-360). 4: PRODUCER_FENCED (KIP-588). 5: KIP-890.
//! - A producer without a transactional id gets a new id whatever it had before, as in Kafka; ids come out of blocks from
//!   the controller.
//! - One with a transactional id is given its epoch by the id's coordinator, which fences all older ones.

use std::sync::Arc;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId};
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId};
use moldau_txn::{
    InitProducerIdRequest as Init, Request as TransactionRequest, Response as TransactionResponse,
};

use super::transaction_request::{ask, check_transactional_id, fenced_code, mismatched};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, ResourceType, is_authorized_for_some, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(22, "InitProducerId", 0, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<InitProducerIdRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    match &request.transactional_id {
        Some(id) => match (check_transactional_id(&context, id), expected(&request)) {
            (Err(error), _) | (Ok(()), Err(error)) => context.ready(&refused(error)),
            (Ok(()), Ok(expected)) => transactional(broker, context, id, &request, expected),
        },
        None if !may_be_idempotent(&context) => {
            context.ready(&refused(ErrorCode::ClusterAuthorizationFailed))
        }
        None => idempotent(broker, context),
    }
}

/// Who may write to some topic may do so idempotently (KIP-679).
fn may_be_idempotent(context: &RequestContext) -> bool {
    is_visible(context, Operation::IdempotentWrite, Resource::CLUSTER)
        || is_authorized_for_some(context, Operation::Write, ResourceType::Topic)
}

/// What the producer goes on from: an id and an epoch, or neither.
fn expected(request: &InitProducerIdRequest) -> Result<Option<(ProducerId, ProducerEpoch)>, ErrorCode> {
    let (id, epoch) = (ProducerId(request.producer_id.0), ProducerEpoch(request.producer_epoch));
    match (id == ProducerId::NONE, epoch == ProducerEpoch::NONE) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some((id, epoch))),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn transactional(
    broker: &Arc<Broker>,
    context: RequestContext,
    id: &str,
    request: &InitProducerIdRequest,
    expected: Option<(ProducerId, ProducerEpoch)>,
) -> Reply {
    let init = Init {
        transactional_id: id.to_owned(),
        transaction_timeout_ms: request.transaction_timeout_ms,
        expected,
    };
    let request = TransactionRequest::InitProducerId(init);
    ask(&broker.control, context, id, request, |context, answer| {
        let error = match answer {
            Ok(TransactionResponse::InitProducerId(producer)) if producer.error.is_none() => {
                return response(producer.producer_id, producer.producer_epoch);
            }
            Ok(TransactionResponse::InitProducerId(producer)) => producer.error,
            Ok(other) => mismatched(&other),
            Err(error) => error,
        };
        refused(fenced_code(error, context.api_version, 4))
    })
}

fn idempotent(broker: &Arc<Broker>, context: RequestContext) -> Reply {
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match broker.producer_ids.next(broker.broker_epoch()).await {
            Ok(id) => response(id, ProducerEpoch(0)),
            Err(error) => refused(error),
        };
        context.response(&response)
    }))
}

fn response(id: ProducerId, epoch: ProducerEpoch) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(WireProducerId(id.0)).with_producer_epoch(epoch.0)
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    response(ProducerId::NONE, ProducerEpoch::NONE).with_error_code(error.code())
}
