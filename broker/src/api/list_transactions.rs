//! ListTransactions (66), versions 0 to 2: the transactional ids this broker coordinates (KIP-664).
//!
//! - 1: those that run for longer than a time (KIP-994). 2: those whose id matches a regular expression (KIP-1152).

use std::sync::Arc;

use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, ProducerId as WireProducerId, TransactionalId,
};
use moldau_model::{ErrorCode, ProducerId};
use moldau_txn::{
    ListTransactionsRequest as List, Request as TransactionRequest, Response as TransactionResponse,
};
use regex::Regex;

use super::message::text;
use super::transaction_request::{all, mismatched};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(66, "ListTransactions", 0, 2, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ListTransactionsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let pattern = match pattern(request.transactional_id_pattern.as_deref()) {
        Ok(pattern) => pattern,
        Err(error) => return context.ready(&refused(error)),
    };
    let list = List {
        states_filter: request.state_filters.iter().map(ToString::to_string).collect(),
        producer_ids_filter: request.producer_id_filters.iter().map(|id| ProducerId(id.0)).collect(),
        duration_filter_ms: (request.duration_filter >= 0).then_some(request.duration_filter),
    };
    let transactions = &broker.control.transactions;
    let answers = transactions.partitions().into_iter().map(|partition| {
        transactions.submit_to(partition, TransactionRequest::ListTransactions(list.clone()))
    });
    let unknown_states: Vec<String> = list
        .states_filter
        .iter()
        .filter(|name| moldau_txn::TransactionState::from_name(name).is_none())
        .cloned()
        .collect();
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let outcomes = answers.await;
        context.response(&merged(&context, outcomes, pattern.as_ref(), &unknown_states))
    }))
}

/// The expression that a whole id must match; none lets all pass.
fn pattern(pattern: Option<&str>) -> Result<Option<Regex>, ErrorCode> {
    match pattern.filter(|pattern| !pattern.is_empty()) {
        None => Ok(None),
        Some(pattern) => Regex::new(&format!("^(?:{pattern})$")).map(Some).map_err(|error| {
            tracing::debug!(%error, "not a regular expression");
            ErrorCode::InvalidRegularExpression
        }),
    }
}

fn merged(
    context: &RequestContext,
    outcomes: Vec<Result<TransactionResponse, ErrorCode>>,
    pattern: Option<&Regex>,
    unknown_states: &[String],
) -> ListTransactionsResponse {
    let mut states = Vec::new();
    for outcome in outcomes {
        let listed = match outcome {
            Ok(TransactionResponse::ListTransactions(listed)) if listed.error.is_none() => listed,
            Ok(TransactionResponse::ListTransactions(listed)) => return refused(listed.error),
            // A leadership that ended meanwhile: its ids are listed elsewhere.
            Err(ErrorCode::NotCoordinator) => continue,
            // Half a list would pass for a whole one.
            Ok(other) => return refused(mismatched(&other)),
            Err(error) => return refused(error),
        };
        let shown = listed.transactions.into_iter().filter(|transaction| {
            let id = &*transaction.transactional_id;
            pattern.is_none_or(|pattern| pattern.is_match(id))
                && is_authorized(context, Operation::Describe, Resource::transactional_id(id))
        });
        states.extend(shown.map(|transaction| {
            TransactionState::default()
                .with_transactional_id(TransactionalId(text(&transaction.transactional_id)))
                .with_producer_id(WireProducerId(transaction.producer_id.0))
                .with_transaction_state(text(transaction.state.name()))
        }));
    }
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown_states.iter().map(text).collect())
        .with_transaction_states(states)
}

fn refused(error: ErrorCode) -> ListTransactionsResponse {
    ListTransactionsResponse::default().with_error_code(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_held_against_the_whole_id() {
        for (expression, id, expected) in [
            ("orders-.*", "orders-1", true),
            ("orders", "orders-1", false),
            ("a|b", "b", true),
            ("a|b", "ab", false),
        ] {
            let pattern = pattern(Some(expression)).unwrap().unwrap();
            assert_eq!(pattern.is_match(id), expected, "{expression} {id}");
        }
        assert!(pattern(None).unwrap().is_none() && pattern(Some("")).unwrap().is_none());
        assert_eq!(pattern(Some("(")).err(), Some(ErrorCode::InvalidRegularExpression));
    }
}
