//! CreatePartitions, versions 0 to 3.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_metadata::Resource;
use moldau_model::{BrokerId, ErrorCode, Offset, Operation};

use super::{Service, error_fields, text};
use crate::manage::{
    self, Access, ApiError, Asker, CreatePartitionsResult, Decision, MorePartitions, Mutator,
    create_partitions,
};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    mutator: Mutator,
    request: CreatePartitionsRequest,
) -> Result<(CreatePartitionsResponse, Offset), ControllerError> {
    let names: BTreeSet<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let topics = request.topics.into_iter().map(|topic| MorePartitions {
        name: topic.name.to_string(),
        count: topic.count,
        assignments: topic.assignments.map(|assignments| {
            let replicas =
                |ids: Vec<kafka_protocol::messages::BrokerId>| ids.iter().map(|id| BrokerId(id.0)).collect();
            assignments.into_iter().map(|assignment| replicas(assignment.broker_ids)).collect()
        }),
    });
    let mut question =
        manage::CreatePartitionsRequest { topics: topics.collect(), validate_only: request.validate_only };
    let (result, offset) = service
        .decide(move |deciding| {
            let refused = take_unauthorized(&deciding.access(&asker), &mut question);
            let decided = deciding
                .within_quota(&mutator, |image, inputs| create_partitions(image, &question, inputs))?;
            let (mut results, throttle_time_ms) = decided.response;
            results.extend(refused);
            Ok(Decision { records: decided.records, response: (results, throttle_time_ms) })
        })
        .await?;
    let (results, throttle_time_ms) = result
        .unwrap_or_else(|error| (names.into_iter().map(|name| (name, Err(error.clone()))).collect(), 0));
    let results = results.into_iter().map(|(name, result)| {
        let (code, message) = error_fields(&result);
        CreatePartitionsTopicResult::default()
            .with_name(TopicName(text(name)))
            .with_error_code(code)
            .with_error_message(message)
    });
    let response = CreatePartitionsResponse::default()
        .with_throttle_time_ms(throttle_time_ms)
        .with_results(results.collect());
    Ok((response, offset))
}

/// Takes out what the asker may not alter, with what it is told. A name that comes twice is wrong whoever asks.
fn take_unauthorized(
    access: &Access<'_>,
    question: &mut manage::CreatePartitionsRequest,
) -> Vec<CreatePartitionsResult> {
    if access.is_open() {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let names = question.topics.iter().map(|topic| topic.name.clone());
    let repeated: BTreeSet<String> = names.filter(|name| !seen.insert(name.clone())).collect();
    let mut refused = Vec::new();
    question.topics.retain(|topic| {
        let is_kept =
            repeated.contains(&topic.name) || access.may(Operation::Alter, Resource::topic(&topic.name));
        if !is_kept {
            refused.push((topic.name.clone(), Err(ApiError::bare(ErrorCode::TopicAuthorizationFailed))));
        }
        is_kept
    });
    refused
}
