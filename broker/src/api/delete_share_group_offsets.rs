//! DeleteShareGroupOffsets (92), version 0: a share group without members forgets topics (KIP-932).

use std::sync::Arc;

use kafka_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use kafka_protocol::messages::{DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse};
use moldau_group::ShareOffsetsChange;
use moldau_model::{ErrorCode, TopicId};
use moldau_share::Refusal;

use super::message::{text, wire_uuid};
use super::share_offsets::{change, delete_state};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(92, "DeleteShareGroupOffsets", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DeleteShareGroupOffsetsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match delete(&broker, &context, &request).await {
            Ok(topics) => DeleteShareGroupOffsetsResponse::default().with_responses(topics),
            Err(refusal) => DeleteShareGroupOffsetsResponse::default()
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(refusal.message))),
        };
        context.response(&response)
    }))
}

async fn delete(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: &DeleteShareGroupOffsetsRequest,
) -> Result<Vec<DeleteShareGroupOffsetsResponseTopic>, Refusal> {
    if !broker.share.is_served() {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let group_id = request.group_id.to_string();
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    if !is_authorized(context, Operation::Delete, Resource::group(&group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed.into());
    }
    let is_allowed = |name: &str| is_authorized(context, Operation::Read, Resource::topic(name));
    let allowed: Vec<bool> = request.topics.iter().map(|topic| is_allowed(&topic.topic_name)).collect();
    let image = broker.control.image();
    let ids: Vec<Option<TopicId>> = request
        .topics
        .iter()
        .zip(&allowed)
        .map(|(topic, is_allowed)| {
            let known = image.topics().by_name(&topic.topic_name).filter(|_| *is_allowed);
            known.map(|topic| topic.id())
        })
        .collect();
    let known = ids.iter().copied().flatten().collect();
    let begun = change(broker, &group_id, ShareOffsetsChange::Delete(known)).await?;
    let outcomes = delete_state(broker, &group_id, &begun.topics).await?;
    let topics = request.topics.iter().zip(ids.iter().zip(allowed)).map(|(topic, (id, is_allowed))| {
        let outcome = match id {
            None if !is_allowed => Err(ErrorCode::TopicAuthorizationFailed.into()),
            None => Err(ErrorCode::UnknownTopicOrPartition.into()),
            Some(id) => {
                let found = outcomes.iter().find(|(topic_id, _)| topic_id == id);
                found.map_or_else(|| Err(nothing_to_delete()), |(_, outcome)| outcome.clone())
            }
        };
        let is_told = outcomes.iter().any(|(topic_id, _)| Some(*topic_id) == *id);
        let told = DeleteShareGroupOffsetsResponseTopic::default()
            .with_topic_name(topic.topic_name.clone())
            .with_topic_id(wire_uuid(id.filter(|_| is_told).unwrap_or(TopicId::ZERO)))
            .with_error_message(None);
        match outcome {
            Ok(()) => told,
            Err(refusal) => {
                told.with_error_code(refusal.error.code()).with_error_message(Some(text(refusal.message)))
            }
        }
    });
    Ok(topics.collect())
}

/// The group knows nothing of the topic.
fn nothing_to_delete() -> Refusal {
    let message = "There is no offset information to delete.".to_owned();
    Refusal { error: ErrorCode::UnknownTopicOrPartition, message }
}
