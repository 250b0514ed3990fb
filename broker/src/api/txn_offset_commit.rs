//! TxnOffsetCommit (28), versions 0 to 5: a producer notes, in its transaction, how far a group has read (KIP-98).
//!
//! - 2: leader epochs. 3: the member that it commits for (KIP-447). 4: TRANSACTION_ABORTABLE. 5: the broker adds the group's
//!   partition to the transaction itself (KIP-890).
//!
//! The transaction's coordinator is asked before the first offsets of a transaction are written, as for a batch of records.
//! Topics and partitions that do not exist are refused one by one, the others are committed.

use std::sync::Arc;

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use moldau_group::{
    InTransaction, OffsetCommitPartition, OffsetCommitRequest as Commit, OffsetCommitResponse as Committed,
    OffsetCommitTopic, Request as GroupRequest, Response as GroupResponse,
    TxnOffsetCommitRequest as TxnCommit,
};
use moldau_metadata::MetadataImage;
use moldau_model::{
    ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    VerificationGuard,
};

use super::commit_results::{self, CommitResults};
use super::group_request::{check_group_id, mismatched, outcome};
use super::message::owned;
use super::transaction_request::check_transactional_id;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::coordinator::OFFSETS_TOPIC;
use crate::transaction_markers::NO_SEQUENCE;
use crate::verification::{ClientSupport, Question};

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(28, "TxnOffsetCommit", 0, 5, handle);

/// From here on a client leaves it to the broker to add the group's partition to its transaction.
const VERSION_ADDED_BY_BROKER: i16 = 5;
/// From here on a client knows TRANSACTION_ABORTABLE.
const VERSION_ABORTABLE: i16 = 4;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, mut request) = match request.decode::<TxnOffsetCommitRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let image = broker.control.image();
    if let Err(error) = check_transactional_id(&context, &request.transactional_id) {
        return context.ready(&all(&request, error));
    }
    if !is_authorized(&context, Operation::Read, Resource::group(&request.group_id)) {
        return context.ready(&all(&request, ErrorCode::GroupAuthorizationFailed));
    }
    let refused = take_unauthorized(&context, &mut request);
    let topics: Vec<OffsetCommitTopic> =
        request.topics.iter().filter_map(|topic| committable(&image, topic)).collect();
    if topics.is_empty() {
        return context.ready(&with_refused(merged(&image, &request, Err(ErrorCode::None)), refused));
    }
    if let Err(error) = check_group_id(&request.group_id) {
        return context.ready(&with_refused(merged(&image, &request, Err(error)), refused));
    }
    let commit = Commit {
        api_version: context.api_version,
        group_id: request.group_id.to_string(),
        generation_id: GenerationId(request.generation_id),
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id.clone()),
        retention_time_ms: None,
        topics,
    };
    let broker = Arc::clone(broker);
    // Later requests of the producer, the end of its transaction among them, come behind this one.
    Reply::Deferred(Box::pin(async move {
        let submitted = match verified(&broker, &request, context.api_version).await {
            Ok(transaction) => {
                let commit = GroupRequest::TxnOffsetCommit(TxnCommit { transaction, commit });
                broker.control.coordinator.submit(&request.group_id, commit)
            }
            Err(error) => Err(error),
        };
        let answer = match submitted {
            Ok(answer) => answer,
            Err(error) => {
                return context.ready(&with_refused(merged(&image, &request, Err(error)), refused));
            }
        };
        Reply::Pending(Box::pin(async move {
            let outcome = match outcome(answer).await {
                Ok(GroupResponse::OffsetCommit(committed)) => Ok(committed),
                Ok(other) => Err(mismatched(&other)),
                Err(error) => Err(error),
            };
            context.response(&with_refused(merged(&image, &request, outcome), refused))
        }))
    }))
}

/// Takes out the topics that the asker may not read, with what it is told of them.
fn take_unauthorized(
    context: &RequestContext,
    request: &mut TxnOffsetCommitRequest,
) -> Vec<TxnOffsetCommitResponseTopic> {
    let is_allowed = |topic: &TxnOffsetCommitRequestTopic| {
        is_authorized(context, Operation::Read, Resource::topic(&topic.name))
    };
    let (kept, taken) = std::mem::take(&mut request.topics).into_iter().partition(is_allowed);
    request.topics = kept;
    let taken = TxnOffsetCommitRequest::default().with_topics(taken);
    all(&taken, ErrorCode::TopicAuthorizationFailed).topics
}

fn with_refused(
    mut response: TxnOffsetCommitResponse,
    refused: Vec<TxnOffsetCommitResponseTopic>,
) -> TxnOffsetCommitResponse {
    response.topics.extend(refused);
    response
}

/// Asks the transaction's coordinator, unless the transaction is open in the group's partition.
async fn verified(
    broker: &Arc<Broker>,
    request: &TxnOffsetCommitRequest,
    api_version: i16,
) -> Result<InTransaction, ErrorCode> {
    let support = match api_version {
        VERSION_ADDED_BY_BROKER.. => ClientSupport::AddedByBroker,
        VERSION_ABORTABLE => ClientSupport::AbortableErrors,
        _ => ClientSupport::DefaultErrors,
    };
    let adds_partition = support == ClientSupport::AddedByBroker;
    let needs_verification = broker.verifies_transactions();
    let producer_id = ProducerId(request.producer_id.0);
    let producer_epoch = ProducerEpoch(request.producer_epoch);
    let partition = broker.control.coordinator.partition_for(&request.group_id);
    let mut transaction =
        InTransaction { producer_id, producer_epoch, needs_verification, verification: None };
    if !needs_verification && !adds_partition {
        return Ok(transaction);
    }
    let begin = || -> Result<Option<VerificationGuard>, ErrorCode> {
        let image = broker.control.image();
        let replica = broker
            .replica_manager
            .by_name(&image, OFFSETS_TOPIC, partition)
            .map_err(|_| ErrorCode::NotCoordinator)?;
        replica
            .begin_verification(producer_id, producer_epoch, NO_SEQUENCE, adds_partition)
            .map_err(|_| ErrorCode::NotCoordinator)
    };
    let Some(guard) = begin()? else { return Ok(transaction) };
    transaction.verification = Some(guard);
    let question = Question {
        transactional_id: request.transactional_id.to_string(),
        producer_id,
        producer_epoch,
        support,
        partitions: vec![(OFFSETS_TOPIC.into(), partition)],
    };
    let renew = || match begin() {
        Ok(Some(renewed)) => transaction.verification.replace(renewed) != Some(renewed),
        _ => false,
    };
    let verdict = broker.transaction_verifier.ask(|| broker.control.image(), &question, renew).await;
    match verdict.first().copied().unwrap_or(ErrorCode::NetworkException) {
        ErrorCode::None => Ok(transaction),
        // Clients repeat after it without looking for the coordinator anew.
        ErrorCode::NetworkException => Err(ErrorCode::CoordinatorLoadInProgress),
        // So does Kafka put what passes: the transaction's coordinator may not have heard of the offsets' topic yet.
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            Err(ErrorCode::CoordinatorNotAvailable)
        }
        code => Err(code),
    }
}

fn committable(image: &MetadataImage, topic: &TxnOffsetCommitRequestTopic) -> Option<OffsetCommitTopic> {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitPartition {
        partition: PartitionIndex(partition.partition_index),
        committed_offset: Offset(partition.committed_offset),
        committed_leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: owned(partition.committed_metadata.clone()),
    });
    commit_results::committable(image, &topic.name, partitions)
}

fn merged(
    image: &MetadataImage,
    request: &TxnOffsetCommitRequest,
    outcome: Result<Committed, ErrorCode>,
) -> TxnOffsetCommitResponse {
    let mut results = CommitResults::new(image, outcome);
    response(request, |topic, partition| results.next(topic, partition))
}

/// The answer that says the same of every partition.
fn all(request: &TxnOffsetCommitRequest, error: ErrorCode) -> TxnOffsetCommitResponse {
    response(request, |_, _| error)
}

fn response(
    request: &TxnOffsetCommitRequest,
    mut code_of: impl FnMut(&str, i32) -> ErrorCode,
) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code_of(&topic.name, index).code())
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
