//! CreateTopics, versions 2 to 7.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset, PartitionIndex};
use uuid::Uuid;

use super::{Service, error_fields, text};
use crate::manage::{self, ApiError, CreatedTopic, ManualAssignment, Mutator, NewTopic, create_topics};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    mutator: Mutator,
    request: CreateTopicsRequest,
) -> Result<(CreateTopicsResponse, Offset), ControllerError> {
    let names: BTreeSet<String> = request.topics.iter().map(|topic| topic.name.to_string()).collect();
    let question = question(request);
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.within_quota(&mutator, |image, inputs| create_topics(image, &question, inputs))
        })
        .await?;
    // A refusal as a whole is told topic by topic, for the response has no other place.
    let (results, throttle_time_ms) = result
        .unwrap_or_else(|error| (names.into_iter().map(|name| (name, Err(error.clone()))).collect(), 0));
    let topics = results.into_iter().map(|(name, result)| topic_result(version, name, result)).collect();
    let response =
        CreateTopicsResponse::default().with_throttle_time_ms(throttle_time_ms).with_topics(topics);
    Ok((response, offset))
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

fn topic_result(version: i16, name: String, result: Result<CreatedTopic, ApiError>) -> CreatableTopicResult {
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
