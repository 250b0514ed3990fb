//! CreateTopics, versions 2 to 7.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_metadata::Resource;
use moldau_model::{BrokerId, ErrorCode, Offset, Operation, PartitionIndex};
use uuid::Uuid;

use super::{Service, error_fields, text};
use crate::manage::{
    self, Access, ApiError, Asker, CLUSTER_METADATA_TOPIC, CreateTopicsResult, CreatedTopic, Decision,
    ManualAssignment, Mutator, NewTopic, create_topics,
};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    asker: Asker,
    mutator: Mutator,
    request: CreateTopicsRequest,
) -> Result<(CreateTopicsResponse, Offset), ControllerError> {
    let names: BTreeSet<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let mut question = question(request);
    let (result, offset) = service
        .decide(move |deciding| {
            let access = deciding.access(&asker);
            let refused = take_unauthorized(&access, &mut question);
            let hidden = undescribable(&access, &question);
            let decided =
                deciding.within_quota(&mutator, |image, inputs| create_topics(image, &question, inputs))?;
            let (mut results, throttle_time_ms) = decided.response;
            results.extend(refused);
            Ok(Decision { records: decided.records, response: (results, hidden, throttle_time_ms) })
        })
        .await?;
    // A refusal as a whole is told topic by topic, for the response has no other place.
    let (results, hidden, throttle_time_ms) = result.unwrap_or_else(|error| {
        (names.into_iter().map(|name| (name, Err(error.clone()))).collect(), BTreeSet::new(), 0)
    });
    let topics = results.into_iter().map(|(name, result)| {
        let is_hidden = hidden.contains(&name);
        topic_result(version, name, result, is_hidden)
    });
    let topics = topics.collect();
    let response =
        CreateTopicsResponse::default().with_throttle_time_ms(throttle_time_ms).with_topics(topics);
    Ok((response, offset))
}

/// Takes out what the asker may not create, with what it is told. A name that comes twice is wrong whoever asks.
fn take_unauthorized(
    access: &Access<'_>,
    question: &mut manage::CreateTopicsRequest,
) -> Vec<CreateTopicsResult> {
    if access.would_be_allowed(Operation::Create, Resource::CLUSTER) {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let names = question.topics.iter().map(|topic| topic.name.clone());
    let repeated: BTreeSet<String> = names.filter(|name| !seen.insert(name.clone())).collect();
    let mut refused = Vec::new();
    question.topics.retain(|topic| {
        let is_wrong_anyway = repeated.contains(&topic.name) || topic.name == CLUSTER_METADATA_TOPIC;
        let is_kept = is_wrong_anyway || access.may(Operation::Create, Resource::topic(&topic.name));
        if !is_kept {
            let error = ApiError::new(ErrorCode::TopicAuthorizationFailed, "Authorization failed.");
            refused.push((topic.name.clone(), Err(error)));
        }
        is_kept
    });
    refused
}

/// The topics of which the asker is not told the configs.
fn undescribable(access: &Access<'_>, question: &manage::CreateTopicsRequest) -> BTreeSet<String> {
    let names = question.topics.iter().map(|topic| &topic.name);
    names
        .filter(|name| !access.would_be_allowed(Operation::DescribeConfigs, Resource::topic(name)))
        .cloned()
        .collect()
}

fn question(request: CreateTopicsRequest) -> manage::CreateTopicsRequest {
    let topics = request.topics.into_iter().map(|topic| NewTopic {
        name: topic.name.to_string(),
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .into_iter()
            .map(|assignment| ManualAssignment {
                partition: PartitionIndex(assignment.partition_index),
                replicas: assignment.broker_ids.into_iter().map(|id| BrokerId(id.0)).collect(),
            })
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
            .collect(),
    });
    manage::CreateTopicsRequest { topics: topics.collect(), validate_only: request.validate_only }
}

fn topic_result(
    version: i16,
    name: String,
    result: Result<CreatedTopic, ApiError>,
    is_hidden: bool,
) -> CreatableTopicResult {
    let (code, message) = error_fields(&result);
    let answer = CreatableTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_code(code)
        .with_error_message(message);
    let Ok(created) = result else { return answer };
    let answer = if version >= 7 {
        answer.with_topic_id(Uuid::from_bytes(*created.topic_id.as_bytes()))
    } else {
        answer
    };
    if version < 5 {
        return answer;
    }
    if is_hidden {
        return answer.with_topic_config_error_code(ErrorCode::TopicAuthorizationFailed.code());
    }
    let configs = created.configs.into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(text(config.name))
            .with_value(config.value.map(text))
            .with_read_only(config.read_only)
            .with_config_source(config.source.code())
            .with_is_sensitive(config.is_sensitive)
    });
    answer
        .with_num_partitions(created.num_partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs.collect()))
}
