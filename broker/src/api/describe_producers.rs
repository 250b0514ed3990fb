//! DescribeProducers (61), version 0 (KIP-664): the producers that a partition's leader remembers.

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use moldau_log::ActiveProducer;
use moldau_model::{ErrorCode, PartitionIndex, validate_topic_name};

use super::message::text;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(61, "DescribeProducers", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeProducersRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let image = broker.control.image();
    let topics = request.topics.iter().map(|topic| {
        let is_allowed = is_authorized(&context, Operation::Read, Resource::topic(&topic.name));
        let is_known = is_allowed && image.topics().by_name(&topic.name).is_some();
        let name_error = validate_topic_name(&topic.name).err();
        let partitions = topic.partition_indexes.iter().map(|&index| {
            let producers = if is_allowed {
                let replica = broker.replica_manager.by_name(&image, &topic.name, PartitionIndex(index));
                replica.and_then(|replica| replica.active_producers())
            } else {
                Err(ErrorCode::TopicAuthorizationFailed)
            };
            let answer = PartitionResponse::default().with_partition_index(index);
            if let Some(error) = name_error.as_ref().filter(|_| is_allowed) {
                return answer
                    .with_error_code(ErrorCode::InvalidTopicException.code())
                    .with_error_message(Some(text(error.to_string())));
            }
            match producers {
                Ok(producers) => answer.with_active_producers(producers.iter().map(state).collect()),
                // As Kafka, which has a text only where it does not come to the topic's partitions.
                Err(code) => answer
                    .with_error_code(code.code())
                    .with_error_message((!is_known).then(|| text(code.message()))),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    context.ready(&DescribeProducersResponse::default().with_topics(topics))
}

fn state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.producer_id.0))
        .with_producer_epoch(i32::from(producer.producer_epoch.0))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp.0)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.current_transaction_start_offset.0)
}
