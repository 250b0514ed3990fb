//! AlterShareGroupOffsets (91), version 0: a share group without members is to go on somewhere else (KIP-932).

use std::sync::Arc;

use kafka_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::{AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse};
use moldau_group::{ShareOffsetsChange, TopicPartitions};
use moldau_model::{ErrorCode, PartitionIndex, TopicId};
use moldau_share::{Refusal, Request as StateRequest};

use super::message::{text, wire_uuid};
use super::share_offsets::{ask_all, change};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(91, "AlterShareGroupOffsets", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<AlterShareGroupOffsetsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match alter(&broker, &context, &request).await {
            Ok(topics) => AlterShareGroupOffsetsResponse::default().with_responses(topics),
            Err(refusal) => AlterShareGroupOffsetsResponse::default()
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(refusal.message))),
        };
        context.response(&response)
    }))
}

/// One partition of the request.
struct Wanted {
    topic: usize,
    topic_id: TopicId,
    partition: PartitionIndex,
    start_offset: i64,
    result: Result<(), Refusal>,
}

async fn alter(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: &AlterShareGroupOffsetsRequest,
) -> Result<Vec<AlterShareGroupOffsetsResponseTopic>, Refusal> {
    if !broker.share.is_served() {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let group_id = request.group_id.to_string();
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    if !is_authorized(context, Operation::Read, Resource::group(&group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed.into());
    }
    let mut wanted = wanted(broker, context, &request.topics);
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for wanted in wanted.iter().filter(|wanted| wanted.result.is_ok()) {
        match topics.last_mut() {
            Some(topic) if topic.topic_id == wanted.topic_id => topic.partitions.push(wanted.partition),
            _ => {
                topics.push(TopicPartitions { topic_id: wanted.topic_id, partitions: vec![wanted.partition] })
            }
        }
    }
    // Who may alter none of them makes no group by asking.
    if topics.is_empty() && !wanted.is_empty() {
        return Ok(response(request, &wanted));
    }
    let begun = change(broker, &group_id, ShareOffsetsChange::Alter(topics)).await?;
    let start_offset_of = |topic_id: TopicId, partition: PartitionIndex| {
        let found = wanted.iter().find(|wanted| wanted.topic_id == topic_id && wanted.partition == partition);
        found.map_or(0, |wanted| wanted.start_offset)
    };
    let partitions = begun
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)));
    let answers = ask_all(broker, &group_id, partitions.collect(), |key| {
        let start_offset = start_offset_of(key.topic_id, key.partition);
        StateRequest::Initialize { key, state_epoch: begun.state_epoch, start_offset }
    })
    .await;
    let mut initialized: Vec<TopicPartitions> = Vec::new();
    for (topic_id, partition, result) in answers {
        if result.is_ok() {
            initialized.push(TopicPartitions { topic_id, partitions: vec![partition] });
        }
        let of = |wanted: &&mut Wanted| wanted.topic_id == topic_id && wanted.partition == partition;
        if let Some(wanted) = wanted.iter_mut().find(of) {
            wanted.result = result;
        }
    }
    change(broker, &group_id, ShareOffsetsChange::Initialized(initialized)).await?;
    Ok(response(request, &wanted))
}

fn wanted(
    broker: &Broker,
    context: &RequestContext,
    topics: &[AlterShareGroupOffsetsRequestTopic],
) -> Vec<Wanted> {
    let image = broker.control.image();
    let mut wanted = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let is_allowed = is_authorized(context, Operation::Read, Resource::topic(&topic.topic_name));
        let known = image.topics().by_name(&topic.topic_name).filter(|_| is_allowed);
        for asked in &topic.partitions {
            let partition = PartitionIndex(asked.partition_index);
            let found = known.and_then(|topic| topic.partition(partition).map(|_| topic.id()));
            wanted.push(Wanted {
                topic: index,
                topic_id: found.unwrap_or(TopicId::ZERO),
                partition,
                start_offset: asked.start_offset,
                result: match found {
                    Some(_) => Ok(()),
                    None if !is_allowed => Err(ErrorCode::TopicAuthorizationFailed.into()),
                    None => Err(ErrorCode::UnknownTopicOrPartition.into()),
                },
            });
        }
    }
    wanted
}

fn response(
    request: &AlterShareGroupOffsetsRequest,
    wanted: &[Wanted],
) -> Vec<AlterShareGroupOffsetsResponseTopic> {
    let is_first = |(index, topic): &(usize, &AlterShareGroupOffsetsRequestTopic)| {
        request.topics.iter().position(|other| other.topic_name == topic.topic_name) == Some(*index)
    };
    let topics = request.topics.iter().enumerate().filter(is_first).map(|(_, topic)| {
        let name_of = |wanted: &Wanted| request.topics.get(wanted.topic).map(|topic| &topic.topic_name);
        let of_topic = || wanted.iter().filter(|wanted| name_of(wanted) == Some(&topic.topic_name));
        let topic_id = of_topic().map(|wanted| wanted.topic_id).find(|id| !id.is_zero());
        let partitions = of_topic().map(|wanted| {
            let partition = AlterShareGroupOffsetsResponsePartition::default()
                .with_partition_index(wanted.partition.0)
                .with_error_message(None);
            match &wanted.result {
                Ok(()) => partition,
                Err(refusal) => partition
                    .with_error_code(refusal.error.code())
                    .with_error_message(Some(text(&refusal.message))),
            }
        });
        AlterShareGroupOffsetsResponseTopic::default()
            .with_topic_name(topic.topic_name.clone())
            .with_topic_id(wire_uuid(topic_id.unwrap_or(TopicId::ZERO)))
            .with_partitions(partitions.collect())
    });
    topics.collect()
}
