//! AddPartitionsToTxn (24) as a partition's leader sends it, version 5: whether transactions include partitions, or that they
//! are to from now on (KIP-890).

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProducerId, TransactionalId,
};
use moldau_kafka::{WireError, decode_response, encode_request};
use moldau_model::ErrorCode;

use super::message::{text, topic_name};
use crate::verification::{ClientSupport, Question, Verdict};

/// Transactions of many producers in one request.
const VERSION: i16 = 5;

/// The frame that asks these questions, each of another transactional id.
pub(crate) fn encode<'a>(
    correlation_id: i32,
    client_id: &str,
    questions: impl Iterator<Item = &'a Question>,
) -> Result<BytesMut, WireError> {
    let transactions = questions.map(|question| {
        let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
        for (topic, partition) in &question.partitions {
            match topics.iter_mut().find(|known| *known.name == **topic) {
                Some(known) => known.partitions.push(partition.0),
                None => topics.push(
                    AddPartitionsToTxnTopic::default()
                        .with_name(topic_name(topic))
                        .with_partitions(vec![partition.0]),
                ),
            }
        }
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(TransactionalId(text(&question.transactional_id)))
            .with_producer_id(ProducerId(question.producer_id.0))
            .with_producer_epoch(question.producer_epoch.0)
            .with_verify_only(question.support < ClientSupport::AddedByBroker)
            .with_topics(topics)
    });
    let request = AddPartitionsToTxnRequest::default().with_transactions(transactions.collect());
    encode_request(VERSION, correlation_id, Some(&text(client_id)), &request)
}

/// What the coordinator answered.
pub(crate) struct Answer(AddPartitionsToTxnResponse);

/// Reads an answer. Returns its correlation id as well.
pub(crate) fn decode(frame: &mut Bytes) -> Result<(i32, Answer), WireError> {
    let (correlation_id, response) = decode_response::<AddPartitionsToTxnRequest>(VERSION, frame)?;
    Ok((correlation_id, Answer(response)))
}

impl Answer {
    /// Of the request as a whole.
    pub(crate) fn code(&self) -> ErrorCode {
        ErrorCode::from_code(self.0.error_code)
    }

    pub(crate) fn verdict(&self, question: &Question) -> Verdict {
        let results = &self.0.results_by_transaction;
        match results.iter().find(|result| **result.transactional_id == *question.transactional_id) {
            Some(result) => verdict(question, result),
            None => vec![ErrorCode::NetworkException; question.partitions.len()],
        }
    }
}

fn verdict(question: &Question, result: &AddPartitionsToTxnResult) -> Verdict {
    let code_of = |topic: &str, partition: i32| {
        let topic = result.topic_results.iter().find(|known| *known.name == *topic)?;
        let partition = topic.results_by_partition.iter().find(|known| known.partition_index == partition)?;
        Some(ErrorCode::from_code(partition.partition_error_code))
    };
    let understood = |code| match code {
        // Producers know this one.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if question.support == ClientSupport::DefaultErrors => {
            ErrorCode::InvalidTxnState
        }
        code => code,
    };
    let codes = question.partitions.iter().map(|(topic, partition)| {
        // What is not answered is not known to be included.
        code_of(topic, partition.0).map_or(ErrorCode::NetworkException, understood)
    });
    codes.collect()
}

#[cfg(test)]
mod tests;
