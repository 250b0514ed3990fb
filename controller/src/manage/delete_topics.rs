//! DeleteTopics, by name or by id.

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_metadata::{MetadataImage, TopicImage, records};
use moldau_model::{ErrorCode, TopicId};

use super::{ApiError, Decision, Inputs};

/// How a request names a topic: by its name or, with the name absent, by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicToDelete {
    pub name: Option<String>,
    /// Zero where the topic is given by its name.
    pub topic_id: TopicId,
}

impl TopicToDelete {
    /// As versions before 6 name it.
    pub fn by_name(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), topic_id: TopicId::ZERO }
    }

    /// As versions from 6 on may name it.
    #[must_use]
    pub const fn by_id(topic_id: TopicId) -> Self {
        Self { name: None, topic_id }
    }
}

/// One topic's result, with as much of name and id as may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicsResult {
    pub name: Option<String>,
    pub topic_id: TopicId,
    pub result: Result<(), ApiError>,
}

/// Deletes topics, each by itself. What a request names twice is refused, once.
///
/// # Errors
/// `TOPIC_DELETION_DISABLED` where `delete.topic.enable` is false.
pub fn delete_topics(
    image: &MetadataImage,
    topics: &[TopicToDelete],
    inputs: &mut Inputs<'_>,
) -> Result<Decision<Vec<DeleteTopicsResult>>, ApiError> {
    if !inputs.settings.delete_topic_enable() {
        return Err(ApiError::bare(ErrorCode::TopicDeletionDisabled));
    }
    let mut response = Vec::new();
    let mut answer = |topic: &TopicToDelete, topic_id: TopicId, result: Result<(), ApiError>| {
        response.push(DeleteTopicsResult { name: topic.name.clone(), topic_id, result });
    };
    let invalid = |text: &str| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<&TopicToDelete> = topics.iter().filter(|topic| !seen.insert(*topic)).collect();
    let mut refused = BTreeSet::new();
    let mut found: Vec<(&TopicToDelete, &Arc<TopicImage>)> = Vec::new();
    for topic in topics {
        match (&topic.name, topic.topic_id.is_zero()) {
            (None, true) => {
                answer(topic, TopicId::ZERO, invalid("Neither topic name nor id were specified."))
            }
            (Some(_), false) => {
                answer(topic, topic.topic_id, invalid("You may not specify both topic name and topic id."));
            }
            (Some(_), true) if repeated.contains(topic) => {
                if refused.insert(topic) {
                    answer(topic, TopicId::ZERO, invalid("Duplicate topic name."));
                }
            }
            (None, false) if repeated.contains(topic) => {
                if refused.insert(topic) {
                    answer(topic, topic.topic_id, invalid("Duplicate topic id."));
                }
            }
            (Some(name), true) => match image.topics().by_name(name) {
                Some(image) => found.push((topic, image)),
                None => {
                    let error = ApiError::standard(ErrorCode::UnknownTopicOrPartition);
                    answer(topic, TopicId::ZERO, Err(error));
                }
            },
            (None, false) => match image.topics().by_id(topic.topic_id) {
                Some(image) => found.push((topic, image)),
                None => answer(topic, topic.topic_id, Err(ApiError::standard(ErrorCode::UnknownTopicId))),
            },
        }
    }
    let mut records = Vec::new();
    let given_by_both =
        |image: &TopicImage| found.iter().filter(|(_, other)| other.id() == image.id()).count() > 1;
    for (topic, image) in &found {
        let by_repeated_id = repeated.contains(&TopicToDelete::by_id(image.id()));
        if given_by_both(image) || by_repeated_id {
            // Kafka answers once for the pair, under the name.
            if topic.name.is_some() {
                let text = "The provided topic name maps to an ID that was already supplied.";
                response.push(DeleteTopicsResult {
                    name: topic.name.clone(),
                    topic_id: image.id(),
                    result: Err(ApiError::new(ErrorCode::InvalidRequest, text)),
                });
            }
            continue;
        }
        let result = inputs.mutation_quota.apply(image.partition_count() as usize);
        if result.is_ok() {
            records.push(records::RemoveTopic { topic_id: image.id().as_bytes().to_vec() }.into());
        }
        let name = Some(image.name().to_string());
        response.push(DeleteTopicsResult { name, topic_id: image.id(), result });
    }
    Decision { records, response }.bounded()
}

#[cfg(test)]
mod tests;
