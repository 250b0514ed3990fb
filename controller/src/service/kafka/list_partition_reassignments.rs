//! ListPartitionReassignments, version 0: the partitions on the move.

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId as KafkaBrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    TopicName,
};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset, Operation, PartitionIndex};

use super::{Service, error_fields, text};
use crate::manage::{Asker, Decision, OngoingReassignment, ongoing_reassignments};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: ListPartitionReassignmentsRequest,
) -> Result<(ListPartitionReassignmentsResponse, Offset), ControllerError> {
    let asked: Option<Vec<(String, Vec<PartitionIndex>)>> = request.topics.map(|topics| {
        let indexes = |indexes: Vec<i32>| indexes.into_iter().map(PartitionIndex).collect();
        topics.into_iter().map(|topic| (topic.name.to_string(), indexes(topic.partition_indexes))).collect()
    });
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Describe)?;
            Ok(Decision::unchanged(ongoing_reassignments(deciding.image, asked.as_deref())))
        })
        .await?;
    let (code, message) = error_fields(&result);
    let response = ListPartitionReassignmentsResponse::default()
        .with_error_code(code)
        .with_error_message(message)
        .with_topics(result.unwrap_or_default().into_iter().map(topic).collect());
    Ok((response, offset))
}

fn topic((name, partitions): (String, Vec<OngoingReassignment>)) -> OngoingTopicReassignment {
    let ids = |ids: Vec<BrokerId>| ids.into_iter().map(|id| KafkaBrokerId(id.0)).collect::<Vec<_>>();
    let partitions = partitions.into_iter().map(|ongoing| {
        OngoingPartitionReassignment::default()
            .with_partition_index(ongoing.partition.0)
            .with_replicas(ids(ongoing.replicas))
            .with_adding_replicas(ids(ongoing.adding))
            .with_removing_replicas(ids(ongoing.removing))
    });
    OngoingTopicReassignment::default().with_name(TopicName(text(name))).with_partitions(partitions.collect())
}
