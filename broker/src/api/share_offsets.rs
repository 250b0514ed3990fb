//! What APIs that change a share group's offsets have in common: the group's coordinator is told, then the share coordinators, then
//! the group's coordinator again.

use std::sync::Arc;

use futures::future::join_all;
use moldau_group::{
    Request as GroupRequest, Response as GroupResponse, ShareOffsetsAnswer, ShareOffsetsChange,
    ShareOffsetsRequest, TopicPartitions,
};
use moldau_model::{ErrorCode, PartitionIndex, TopicId};
use moldau_share::{Refusal, Request as StateRequest, Response as StateResponse, SharePartitionKey};

use crate::broker::Broker;

/// A step of the group's coordinator.
pub(super) async fn change(
    broker: &Arc<Broker>,
    group_id: &str,
    change: ShareOffsetsChange,
) -> Result<ShareOffsetsAnswer, Refusal> {
    let request = ShareOffsetsRequest { group_id: group_id.to_owned(), change };
    let answer = broker.control.coordinator.submit(group_id, GroupRequest::ShareOffsets(request))?;
    match answer.await {
        Ok(GroupResponse::ShareOffsets(answer)) => {
            answer.map_err(|(error, message)| Refusal { error, message })
        }
        Ok(_) => Err(ErrorCode::UnknownServerError.into()),
        Err(_) => Err(ErrorCode::NotCoordinator.into()),
    }
}

/// Asks the share coordinators of all these partitions the same.
pub(super) async fn ask_all(
    broker: &Arc<Broker>,
    group_id: &str,
    partitions: Vec<(TopicId, PartitionIndex)>,
    request: impl Fn(SharePartitionKey) -> StateRequest,
) -> Vec<(TopicId, PartitionIndex, Result<(), Refusal>)> {
    let asked = partitions.into_iter().map(|(topic_id, partition)| {
        let request = request(SharePartitionKey { group_id: group_id.into(), topic_id, partition });
        async move {
            let result = match broker.share.persister.ask(request).await {
                StateResponse::Changed(result) => result,
                StateResponse::Read(_) | StateResponse::Summary(_) => {
                    Err(ErrorCode::UnknownServerError.into())
                }
            };
            (topic_id, partition, result)
        }
    });
    join_all(asked.collect::<Vec<_>>()).await
}

/// Deletes the state of topics at their share coordinators, and tells the group's. Gives what went wrong, by topic. A topic
/// without partitions has all that there are.
pub(super) async fn delete_state(
    broker: &Arc<Broker>,
    group_id: &str,
    topics: &[TopicPartitions],
) -> Result<Vec<(TopicId, Result<(), Refusal>)>, Refusal> {
    let image = broker.control.image();
    let partitions = topics.iter().flat_map(|topic| {
        let count = image.topics().by_id(topic.topic_id).map_or(0, |topic| topic.partition_count());
        let all = if topic.partitions.is_empty() { count } else { 0 };
        let named = topic.partitions.iter().copied().chain((0..all).map(PartitionIndex));
        named.map(|partition| (topic.topic_id, partition)).collect::<Vec<_>>()
    });
    let answers = ask_all(broker, group_id, partitions.collect(), |key| StateRequest::Delete { key }).await;
    let outcomes: Vec<(TopicId, Result<(), Refusal>)> = topics
        .iter()
        .map(|topic| {
            let mut of_topic = answers.iter().filter(|(topic_id, ..)| *topic_id == topic.topic_id);
            let failed = of_topic.find_map(|(_, _, result)| result.clone().err());
            (topic.topic_id, failed.map_or(Ok(()), Err))
        })
        .collect();
    let deleted: Vec<TopicId> =
        outcomes.iter().filter(|(_, result)| result.is_ok()).map(|(topic_id, _)| *topic_id).collect();
    if !deleted.is_empty() {
        change(broker, group_id, ShareOffsetsChange::Deleted(deleted)).await?;
    }
    Ok(outcomes)
}
