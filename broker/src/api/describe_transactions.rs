//! DescribeTransactions (65), version 0: what the coordinator knows of transactional ids (KIP-664).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId as WireProducerId, TransactionalId,
};
use moldau_model::ErrorCode;
use moldau_txn::{DescribedTransaction, Request as TransactionRequest, Response as TransactionResponse};

use super::message::{text, topic_name};
use super::transaction_request::{all, mismatched};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(65, "DescribeTransactions", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeTransactionsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let ids: Vec<String> = request.transactional_ids.iter().map(|id| id.to_string()).collect();
    let answers = ids.iter().map(|id| {
        if !is_authorized(&context, Operation::Describe, Resource::transactional_id(id)) {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        broker.control.transactions.submit(id, TransactionRequest::DescribeTransaction(id.clone()))
    });
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let states = ids.iter().zip(answers.await).map(|(id, answer)| match answer {
            Ok(TransactionResponse::DescribeTransaction(described)) => on_the_wire(&context, described),
            Ok(other) => failed(id, mismatched(&other)),
            Err(error) => failed(id, error),
        });
        context.response(&DescribeTransactionsResponse::default().with_transaction_states(states.collect()))
    }))
}

fn failed(id: &str, error: ErrorCode) -> TransactionState {
    TransactionState::default()
        .with_error_code(error.code())
        .with_transactional_id(TransactionalId(text(id)))
        .with_producer_id(WireProducerId(0))
}

fn on_the_wire(context: &RequestContext, described: DescribedTransaction) -> TransactionState {
    let Some(state) = described.state else { return failed(&described.transactional_id, described.error) };
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &described.partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = by_topic
        .into_iter()
        .filter(|(topic, _)| is_authorized(context, Operation::Describe, Resource::topic(topic)))
        .map(|(topic, partitions)| {
            TopicData::default().with_topic(topic_name(topic)).with_partitions(partitions)
        });
    TransactionState::default()
        .with_transactional_id(TransactionalId(text(&described.transactional_id)))
        .with_transaction_state(text(state.name()))
        .with_transaction_timeout_ms(described.timeout_ms)
        .with_transaction_start_time_ms(described.started_at.0)
        .with_producer_id(WireProducerId(described.producer_id.0))
        .with_producer_epoch(described.producer_epoch.0)
        .with_topics(topics.collect())
}
