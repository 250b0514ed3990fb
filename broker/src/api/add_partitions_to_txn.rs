//! AddPartitionsToTxn (24), versions 0 to 5: partitions that a transaction writes to.
//!
//! - 0 to 3: a producer, for its own transaction. 2: PRODUCER_FENCED (KIP-588). 3: flexible.
//! - 4: brokers alone, for many transactions at once, to verify what a producer writes or, for producers that know
//!   `transaction.version` 2, to add it (KIP-890). 5: TRANSACTION_ABORTABLE.
//!
//! If one partition does not exist, none is added, and the others say OPERATION_NOT_ATTEMPTED.

use std::sync::Arc;

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use moldau_txn::{
    AddPartitionsRequest, Request as TransactionRequest, Response as TransactionResponse, TransactionShard,
};

use super::topic_view::is_internal;
use super::transaction_request::{all, check_transactional_id, fenced_code, mismatched};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::control::ControlPlane;
use crate::coordinator::Answer;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(24, "AddPartitionsToTxn", 0, 5, handle);

/// The first version that brokers send.
const BROKERS_VERSION: i16 = 4;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<AddPartitionsToTxnRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let is_from_broker = context.api_version >= BROKERS_VERSION;
    if is_from_broker && !is_authorized(&context, Operation::ClusterAction, Resource::CLUSTER) {
        let code = ErrorCode::ClusterAuthorizationFailed.code();
        return context.ready(&AddPartitionsToTxnResponse::default().with_error_code(code));
    }
    let transactions = if is_from_broker { request.transactions } else { vec![of_producer(request)] };
    let image = broker.control.image();
    let mut asked = Vec::with_capacity(transactions.len());
    let mut answers = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        match submit(&broker.control, &context, &image, &transaction) {
            Ok(answer) => {
                asked.push((transaction, None));
                answers.push(answer);
            }
            Err(refusal) => asked.push((transaction, Some(refusal))),
        }
    }
    let answers = all(answers);
    Reply::Pending(Box::pin(async move {
        let mut answers = answers.await.into_iter();
        let results = asked.into_iter().map(|(transaction, refusal)| {
            let codes = match refusal {
                Some(refusal) => refusal,
                None => codes(answers.next(), &transaction.topics),
            };
            result(&context, &transaction, codes)
        });
        let results: Vec<AddPartitionsToTxnResult> = results.collect();
        context.response(&response(&context, results))
    }))
}

/// A producer's request in the shape of a broker's.
fn of_producer(request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.v3_and_below_transactional_id)
        .with_producer_id(request.v3_and_below_producer_id)
        .with_producer_epoch(request.v3_and_below_producer_epoch)
        .with_topics(request.v3_and_below_topics)
}

/// A code for each partition of a request, in its order.
type Codes = Vec<ErrorCode>;

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = (&str, PartitionIndex)> {
    topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.name.as_str(), PartitionIndex(*partition)))
    })
}

/// Hands one transaction's request to its shard, unless something is wrong with it beforehand.
fn submit(
    control: &Arc<ControlPlane>,
    context: &RequestContext,
    image: &MetadataImage,
    transaction: &AddPartitionsToTxnTransaction,
) -> Result<Result<Answer<TransactionShard>, ErrorCode>, Codes> {
    let count = partitions(&transaction.topics).count();
    let is_from_broker = context.api_version >= BROKERS_VERSION;
    let id = transaction.transactional_id.to_string();
    // A broker has asked on behalf of its client already.
    if !is_from_broker {
        check_transactional_id(context, &id).map_err(|error| vec![error; count])?;
    }
    let refusal = |(topic, partition): (&str, PartitionIndex)| {
        let may_write =
            || !is_internal(topic) && is_authorized(context, Operation::Write, Resource::topic(topic));
        if !is_from_broker && !may_write() {
            Some(ErrorCode::TopicAuthorizationFailed)
        } else if image.partition_by_name(topic, partition).is_none() {
            Some(ErrorCode::UnknownTopicOrPartition)
        } else {
            None
        }
    };
    let refusals: Vec<Option<ErrorCode>> = partitions(&transaction.topics).map(refusal).collect();
    if refusals.iter().any(Option::is_some) {
        let not_attempted = ErrorCode::OperationNotAttempted;
        return Err(refusals.into_iter().map(|refusal| refusal.unwrap_or(not_attempted)).collect());
    }
    if id.is_empty() {
        return Err(vec![ErrorCode::InvalidRequest; count]);
    }
    let request = AddPartitionsRequest {
        transactional_id: id.clone(),
        producer_id: ProducerId(transaction.producer_id.0),
        producer_epoch: ProducerEpoch(transaction.producer_epoch),
        partitions: partitions(&transaction.topics)
            .map(|(topic, partition)| TopicPartition { topic: topic.into(), partition })
            .collect(),
        transaction_version: if is_from_broker { 2 } else { 0 },
    };
    let request = if transaction.verify_only {
        TransactionRequest::VerifyPartitions(request)
    } else {
        TransactionRequest::AddPartitions(request)
    };
    Ok(control.transactions.submit(&id, request))
}

fn codes(
    answer: Option<Result<TransactionResponse, ErrorCode>>,
    topics: &[AddPartitionsToTxnTopic],
) -> Codes {
    let count = partitions(topics).count();
    match answer {
        Some(Ok(
            TransactionResponse::AddPartitions(added) | TransactionResponse::VerifyPartitions(added),
        )) => added.partitions.into_iter().map(|(_, code)| code).collect(),
        Some(Ok(other)) => vec![mismatched(&other); count],
        Some(Err(error)) => vec![error; count],
        None => vec![ErrorCode::UnknownServerError; count],
    }
}

fn result(
    context: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
    codes: Codes,
) -> AddPartitionsToTxnResult {
    let mut codes = codes.into_iter();
    let topics = transaction.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let code = codes.next().unwrap_or(ErrorCode::UnknownServerError);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(fenced_code(code, context.api_version, 2).code())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResult::default()
        .with_transactional_id(transaction.transactional_id.clone())
        .with_topic_results(topics.collect())
}

fn response(context: &RequestContext, results: Vec<AddPartitionsToTxnResult>) -> AddPartitionsToTxnResponse {
    if context.api_version >= BROKERS_VERSION {
        return AddPartitionsToTxnResponse::default().with_results_by_transaction(results);
    }
    let topics = results.into_iter().flat_map(|result| result.topic_results);
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}
