//! WriteShareGroupState (85), version 0: what members of a share group have said of records.

use std::sync::Arc;

use kafka_protocol::messages::write_share_group_state_request::PartitionData;
use kafka_protocol::messages::write_share_group_state_response::{PartitionResult, WriteStateResult};
use kafka_protocol::messages::{WriteShareGroupStateRequest, WriteShareGroupStateResponse};
use moldau_share::{
    DELIVERY_COMPLETE_COUNT_UNKNOWN, DeliveryState, Request as StateRequest, SharePartitionKey, StateBatch,
};

use super::message::{model_uuid, text, wire_uuid};
use super::share_state::{ask_all, by_topic, key, outcome};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(85, "WriteShareGroupState", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<WriteShareGroupStateRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id: Arc<str> = request.group_id.as_str().into();
    let asked = request.topics.iter().flat_map(|topic| {
        let (topic_id, group_id) = (model_uuid(topic.topic_id), &group_id);
        topic.partitions.iter().map(move |data| {
            let key = key(group_id, topic_id, data.partition);
            (topic_id, data.partition, write(key, data))
        })
    });
    let (broker, asked) = (Arc::clone(broker), asked.collect());
    Reply::Pending(Box::pin(async move {
        let answers = ask_all(&broker, &context, asked).await;
        let topics = by_topic(answers, |partition, response| {
            let (code, message) = outcome(response);
            PartitionResult::default()
                .with_partition(partition)
                .with_error_code(code)
                .with_error_message(message.map(text))
        });
        let results = topics.into_iter().map(|(topic_id, partitions)| {
            WriteStateResult::default().with_topic_id(wire_uuid(topic_id)).with_partitions(partitions)
        });
        context.response(&WriteShareGroupStateResponse::default().with_results(results.collect()))
    }))
}

fn write(key: SharePartitionKey, data: &PartitionData) -> StateRequest {
    let batches =
        data.state_batches.iter().map(|batch| match DeliveryState::from_code(batch.delivery_state) {
            Some(state) => StateBatch {
                first: batch.first_offset,
                last: batch.last_offset,
                state,
                delivery_count: batch.delivery_count,
            },
            // A state that is none makes a batch that is refused.
            None => StateBatch { first: -1, last: -1, state: DeliveryState::Available, delivery_count: -1 },
        });
    StateRequest::Write {
        key,
        state_epoch: data.state_epoch,
        leader_epoch: data.leader_epoch,
        start_offset: data.start_offset,
        delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
        batches: batches.collect(),
    }
}
