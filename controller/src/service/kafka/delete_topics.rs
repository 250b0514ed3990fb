//! DeleteTopics, versions 1 to 6: by name, from 6 on by id as well.

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use moldau_cluster::ControllerError;
use moldau_metadata::{MetadataImage, Resource};
use moldau_model::{ErrorCode, Offset, Operation, TopicId};
use uuid::Uuid;

use super::{Service, error_fields, text};
use crate::manage::{
    Access, ApiError, Asker, Decision, DeleteTopicsResult, Mutator, TopicToDelete, delete_topics,
};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    asker: Asker,
    mutator: Mutator,
    request: DeleteTopicsRequest,
) -> Result<(DeleteTopicsResponse, Offset), ControllerError> {
    let mut topics: Vec<TopicToDelete> = if version >= 6 {
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
            let refused = take_unauthorized(&deciding.access(&asker), deciding.image, &mut topics);
            let decided =
                deciding.within_quota(&mutator, |image, inputs| delete_topics(image, &topics, inputs))?;
            let (mut results, throttle_time_ms) = decided.response;
            results.extend(refused);
            Ok(Decision { records: decided.records, response: (results, throttle_time_ms) })
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

/// Takes out what the asker may not delete, with what it is told: nothing of whether there is a topic of a name that it may
/// not see, nor which name an id has. What comes twice is wrong whoever asks.
fn take_unauthorized(
    access: &Access<'_>,
    image: &MetadataImage,
    topics: &mut Vec<TopicToDelete>,
) -> Vec<DeleteTopicsResult> {
    if access.would_be_allowed(Operation::Delete, Resource::CLUSTER) {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<TopicToDelete> =
        topics.iter().filter(|topic| !seen.insert(*topic)).cloned().collect();
    let mut refused = Vec::new();
    topics.retain(|topic| {
        let known = match (&topic.name, topic.topic_id.is_zero()) {
            _ if repeated.contains(topic) => return true,
            (Some(name), true) => image.topics().by_name(name),
            (None, false) => match image.topics().by_id(topic.topic_id) {
                Some(known) => Some(known),
                None => return true,
            },
            _ => return true,
        };
        let Some(name) = topic.name.as_deref().or(known.map(|topic| &**topic.name())) else { return true };
        let may_describe = access.may(Operation::Describe, Resource::topic(name));
        let is_kept =
            may_describe && (known.is_none() || access.may(Operation::Delete, Resource::topic(name)));
        if !is_kept {
            refused.push(DeleteTopicsResult {
                name: topic.name.clone().or_else(|| may_describe.then(|| name.to_owned())),
                topic_id: topic.topic_id,
                result: Err(ApiError::standard(ErrorCode::TopicAuthorizationFailed)),
            });
        }
        is_kept
    });
    refused
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
