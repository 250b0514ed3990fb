//! ElectLeaders, versions 0 to 2: preferred leaders, from 1 on unclean ones too (KIP-183, KIP-460).

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_model::{ErrorCode, Offset, Operation, PartitionIndex};

use super::{Service, error_fields, text};
use crate::manage::{self, ApiError, Asker, ElectionKind, elect_leaders};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    asker: Asker,
    request: ElectLeadersRequest,
) -> Result<(ElectLeadersResponse, Offset), ControllerError> {
    let partitions: Option<Vec<(String, Vec<PartitionIndex>)>> = request.topic_partitions.map(|topics| {
        let partitions = |indexes: Vec<i32>| indexes.into_iter().map(PartitionIndex).collect();
        topics.into_iter().map(|topic| (topic.topic.to_string(), partitions(topic.partitions))).collect()
    });
    let asked = partitions.clone().unwrap_or_default();
    let code = request.election_type;
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            let question = manage::ElectLeadersRequest { kind: ElectionKind::from_code(code)?, partitions };
            elect_leaders(deciding.image, &question, &deciding.inputs)
        })
        .await?;
    Ok((response(version, asked, result), offset))
}

fn response(
    version: i16,
    asked: Vec<(String, Vec<PartitionIndex>)>,
    result: Result<Vec<manage::ElectLeadersResult>, ApiError>,
) -> ElectLeadersResponse {
    let mut response = ElectLeadersResponse::default();
    let results = result.unwrap_or_else(|error| {
        if version >= 1 {
            response.error_code = error.code.code();
        }
        let refused = |index: PartitionIndex| (index, Err(error.clone()));
        asked
            .into_iter()
            .map(|(topic, indexes)| (topic, indexes.into_iter().map(refused).collect()))
            .collect()
    });
    let partition = |(index, result): (PartitionIndex, Result<(), ApiError>)| {
        let (code, message) = error_fields(&result);
        // Kafka's clients show no message of their own for what is no failure.
        let message = message.filter(|_| code != ErrorCode::None.code());
        PartitionResult::default()
            .with_partition_id(index.0)
            .with_error_code(code)
            .with_error_message(message)
    };
    let topic = |(topic, partitions): manage::ElectLeadersResult| {
        ReplicaElectionResult::default()
            .with_topic(TopicName(text(topic)))
            .with_partition_result(partitions.into_iter().map(partition).collect())
    };
    response.replica_election_results = results.into_iter().map(topic).collect();
    response
}
