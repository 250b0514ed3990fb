//! AddOffsetsToTxn (25), versions 0 to 4: a transaction will commit offsets of a group.
//!
//! - 2: PRODUCER_FENCED (KIP-588). 3: flexible. 4: TRANSACTION_ABORTABLE. Producers that know `transaction.version` 2 do not
//!   send it: the group's coordinator adds its partition itself.
//!
//! The group's partition of `__consumer_offsets` comes into the transaction as any other.

use std::sync::Arc;

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};
use moldau_txn::{AddPartitionsRequest, Request as TransactionRequest, Response as TransactionResponse};

use super::transaction_request::{ask, check_transactional_id, fenced_code, mismatched};
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::coordinator::OFFSETS_TOPIC;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(25, "AddOffsetsToTxn", 0, 4, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<AddOffsetsToTxnRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let id = request.transactional_id.to_string();
    if let Err(error) = check_transactional_id(&context, &id) {
        return context.ready(&response(error));
    }
    if !is_authorized(&context, Operation::Read, Resource::group(&request.group_id)) {
        return context.ready(&response(ErrorCode::GroupAuthorizationFailed));
    }
    let partition = broker.control.coordinator.partition_for(&request.group_id);
    let add = AddPartitionsRequest {
        transactional_id: id.clone(),
        producer_id: ProducerId(request.producer_id.0),
        producer_epoch: ProducerEpoch(request.producer_epoch),
        partitions: vec![TopicPartition { topic: OFFSETS_TOPIC.into(), partition }],
        transaction_version: 0,
    };
    ask(&broker.control, context, &id, TransactionRequest::AddPartitions(add), |context, answer| {
        let error = match answer {
            Ok(TransactionResponse::AddPartitions(added)) => {
                added.partitions.first().map_or(ErrorCode::UnknownServerError, |(_, error)| *error)
            }
            Ok(other) => mismatched(&other),
            Err(error) => error,
        };
        response(fenced_code(error, context.api_version, 2))
    })
}

fn response(error: ErrorCode) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(error.code())
}
