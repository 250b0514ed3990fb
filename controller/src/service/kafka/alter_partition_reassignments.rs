//! AlterPartitionReassignments, versions 0 and 1: moves partitions (KIP-455); from 1 on a request may forbid that the
//! number of replicas changes (KIP-860).

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, TopicName,
};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset, Operation, PartitionIndex};

use super::{Service, error_fields, text};
use crate::manage::{self, Asker, ReassignPartitionsRequest, ReassignablePartition, reassign_partitions};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: AlterPartitionReassignmentsRequest,
) -> Result<(AlterPartitionReassignmentsResponse, Offset), ControllerError> {
    let question = ReassignPartitionsRequest {
        allow_replication_factor_change: request.allow_replication_factor_change,
        topics: request
            .topics
            .into_iter()
            .map(|topic| {
                let asked = topic.partitions.into_iter().map(|partition| ReassignablePartition {
                    partition: PartitionIndex(partition.partition_index),
                    replicas: partition
                        .replicas
                        .map(|replicas| replicas.into_iter().map(|id| BrokerId(id.0)).collect()),
                });
                (topic.name.to_string(), asked.collect())
            })
            .collect(),
    };
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            reassign_partitions(deciding.image, &question, &deciding.inputs)
        })
        .await?;
    let (code, message) = error_fields(&result);
    // Kafka's own answer to a request for nothing.
    let message = if result.as_ref().is_ok_and(Vec::is_empty) { Some(text("")) } else { message };
    let response = AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_code(code)
        .with_error_message(message)
        .with_responses(result.unwrap_or_default().into_iter().map(topic).collect());
    Ok((response, offset))
}

fn topic((name, results): manage::ReassignPartitionsResult) -> ReassignableTopicResponse {
    let partitions = results.into_iter().map(|(index, result)| {
        let (code, message) = error_fields(&result);
        ReassignablePartitionResponse::default()
            .with_partition_index(index.0)
            .with_error_code(code)
            .with_error_message(message)
    });
    ReassignableTopicResponse::default()
        .with_name(TopicName(text(name)))
        .with_partitions(partitions.collect())
}
