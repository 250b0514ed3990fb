//! What the transaction APIs share: a request goes to the shard of its transactional id, its answer comes back in time.

use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_protocol::protocol::Encodable;
use moldau_model::ErrorCode;
use moldau_txn::{Request as TransactionRequest, Response as TransactionResponse, TransactionShard};

use super::{Reply, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::control::ControlPlane;
use crate::coordinator::Answer;

/// Whether the request's principal may use the transactional id.
pub(crate) fn check_transactional_id(context: &RequestContext, id: &str) -> Result<(), ErrorCode> {
    if is_authorized(context, Operation::Write, Resource::transactional_id(id)) {
        Ok(())
    } else {
        Err(ErrorCode::TransactionalIdAuthorizationFailed)
    }
}

/// Submits a request and answers when its shard does. The request has taken its place when this returns.
pub(crate) fn ask<R: Encodable + Send + 'static>(
    control: &Arc<ControlPlane>,
    context: RequestContext,
    transactional_id: &str,
    request: TransactionRequest,
    answer: impl FnOnce(&RequestContext, Result<TransactionResponse, ErrorCode>) -> R + Send + 'static,
) -> Reply {
    // No shard has an empty id; Kafka looks at that before it asks who coordinates it.
    if transactional_id.is_empty() {
        let response = answer(&context, Err(ErrorCode::InvalidRequest));
        return context.ready(&response);
    }
    match control.transactions.submit(transactional_id, request) {
        Err(error) => {
            let response = answer(&context, Err(error));
            context.ready(&response)
        }
        Ok(receiver) => Reply::Pending(Box::pin(async move {
            let response = answer(&context, outcome(receiver).await);
            context.response(&response)
        })),
    }
}

/// The shard's answer. A shard that ended without one was not the coordinator any more.
async fn outcome(receiver: Answer<TransactionShard>) -> Result<TransactionResponse, ErrorCode> {
    receiver.await.map_err(|_| ErrorCode::NotCoordinator)
}

/// The answers of several shards, in the order they were submitted in.
pub(crate) fn all(
    answers: Vec<Result<Answer<TransactionShard>, ErrorCode>>,
) -> BoxFuture<'static, Vec<Result<TransactionResponse, ErrorCode>>> {
    Box::pin(async move {
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(match answer {
                Ok(receiver) => outcome(receiver).await,
                Err(error) => Err(error),
            });
        }
        outcomes
    })
}

/// A shard answered with another kind of response than was asked for: a fault of ours.
pub(crate) fn mismatched(response: &TransactionResponse) -> ErrorCode {
    tracing::error!(?response, "the coordinator's answer is of another kind than the request");
    ErrorCode::UnknownServerError
}

/// A fenced producer's code: clients before `first_version` know the older one alone (KIP-588).
pub(crate) fn fenced_code(error: ErrorCode, version: i16, first_version: i16) -> ErrorCode {
    if error == ErrorCode::ProducerFenced && version < first_version {
        ErrorCode::InvalidProducerEpoch
    } else {
        error
    }
}
