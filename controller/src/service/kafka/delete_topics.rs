//! DeleteTopics, versions 1 to 6: by name, from 6 on by id as well.

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_model::{Offset, TopicId};
use uuid::Uuid;

use super::{Service, error_fields, text};
use crate::manage::{DeleteTopicsResult, Mutator, TopicToDelete, delete_topics};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    mutator: Mutator,
    request: DeleteTopicsRequest,
) -> Result<(DeleteTopicsResponse, Offset), ControllerError> {
    let topics: Vec<TopicToDelete> = if version >= 6 {
        let topic =
            |topic: kafka_protocol::messages::delete_topics_request::DeleteTopicState| TopicToDelete {
                name: topic.name.map(|name| name.to_string()),
                topic_id: TopicId::from_bytes(*topic.topic_id.as_bytes()),
            };
        request.topics.into_iter().map(topic).collect()
    } else {
        request.topic_names.into_iter().map(|name| TopicToDelete::by_name(name.to_string())).collect()
    };
    let asked = topics.clone();
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.within_quota(&mutator, |image, inputs| delete_topics(image, &topics, inputs))
        })
        .await?;
    let (results, throttle_time_ms) = result.unwrap_or_else(|error| {
        let refused = |topic: TopicToDelete| DeleteTopicsResult {
            name: topic.name,
            topic_id: topic.topic_id,
            result: Err(error.clone()),
        };
        (asked.into_iter().map(refused).collect(), 0)
    });
    let responses = results.into_iter().map(|result| topic_result(version, result)).collect();
    let response =
        DeleteTopicsResponse::default().with_throttle_time_ms(throttle_time_ms).with_responses(responses);
    Ok((response, offset))
}

fn topic_result(version: i16, result: DeleteTopicsResult) -> DeletableTopicResult {
    let (code, message) = error_fields(&result.result);
    let name = if version >= 6 { result.name } else { Some(result.name.unwrap_or_default()) };
    let mut answer = DeletableTopicResult::default()
        .with_name(name.map(|name| TopicName(text(name))))
        .with_error_code(code);
    if version >= 5 {
        answer.error_message = message;
    }
    if version >= 6 {
        answer.topic_id = Uuid::from_bytes(*result.topic_id.as_bytes());
    }
    answer
}
