//! EndTxn (26), versions 0 to 5: commits or aborts a transaction.
//!
//! - 2: PRODUCER_FENCED (KIP-588). 3: flexible. 4: TRANSACTION_ABORTABLE. 5: the epoch rises with every transaction, and
//!   the answer says what the producer goes on with (KIP-890).
//!
//! The answer comes when the outcome is committed; the partitions are told after it.

use std::sync::Arc;

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId as WireProducerId};
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId};
use moldau_txn::{
    EndTransactionRequest, ProducerResponse, Request as TransactionRequest, Response as TransactionResponse,
};

use super::transaction_request::{ask, check_transactional_id, fenced_code, mismatched};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(26, "EndTxn", 0, 5, handle);

/// The first version of producers whose epoch rises with every transaction.
const EPOCH_PER_TRANSACTION_VERSION: i16 = 5;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<EndTxnRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let id = request.transactional_id.to_string();
    if let Err(error) = check_transactional_id(&context, &id) {
        return context.ready(&refused(error));
    }
    let knows_epochs = context.api_version >= EPOCH_PER_TRANSACTION_VERSION;
    let end = EndTransactionRequest {
        transactional_id: id.clone(),
        producer_id: ProducerId(request.producer_id.0),
        producer_epoch: ProducerEpoch(request.producer_epoch),
        is_commit: request.committed,
        transaction_version: if knows_epochs { 2 } else { 0 },
    };
    ask(
        &broker.control,
        context,
        &id,
        TransactionRequest::EndTransaction(end),
        |context, answer| match answer {
            Ok(TransactionResponse::EndTransaction(producer)) => on_the_wire(context, producer),
            Ok(other) => refused(mismatched(&other)),
            Err(error) => refused(error),
        },
    )
}

fn on_the_wire(context: &RequestContext, producer: ProducerResponse) -> EndTxnResponse {
    let told = refused(fenced_code(producer.error, context.api_version, 2));
    if context.api_version < EPOCH_PER_TRANSACTION_VERSION {
        return told;
    }
    told.with_producer_id(WireProducerId(producer.producer_id.0))
        .with_producer_epoch(producer.producer_epoch.0)
}

fn refused(error: ErrorCode) -> EndTxnResponse {
    EndTxnResponse::default().with_error_code(error.code())
}
