//! ReadShareGroupState (84), version 0: a partition's new leader learns what members of a share group have said of records.

use std::sync::Arc;

use kafka_protocol::messages::read_share_group_state_response::{
    PartitionResult, ReadStateResult, StateBatch,
};
use kafka_protocol::messages::{ReadShareGroupStateRequest, ReadShareGroupStateResponse};
use moldau_share::{Request as StateRequest, Response};

use super::message::{model_uuid, text, wire_uuid};
use super::share_state::{ask_all, by_topic, key, outcome};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(84, "ReadShareGroupState", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ReadShareGroupStateRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id: Arc<str> = request.group_id.as_str().into();
    let asked = request.topics.iter().flat_map(|topic| {
        let (topic_id, group_id) = (model_uuid(topic.topic_id), &group_id);
        topic.partitions.iter().map(move |data| {
            let key = key(group_id, topic_id, data.partition);
            (topic_id, data.partition, StateRequest::Read { key, leader_epoch: data.leader_epoch })
        })
    });
    let (broker, asked) = (Arc::clone(broker), asked.collect());
    Reply::Pending(Box::pin(async move {
        let answers = ask_all(&broker, &context, asked).await;
        let topics = by_topic(answers, |partition, response| {
            let result = PartitionResult::default().with_partition(partition);
            match response {
                Response::Read(Ok(state)) => {
                    let batches = state.batches.iter().map(|batch| {
                        StateBatch::default()
                            .with_first_offset(batch.first)
                            .with_last_offset(batch.last)
                            .with_delivery_state(batch.state.code())
                            .with_delivery_count(batch.delivery_count)
                    });
                    result
                        .with_state_epoch(state.state_epoch)
                        .with_start_offset(state.start_offset)
                        .with_state_batches(batches.collect())
                }
                other => {
                    let (code, message) = outcome(other);
                    result.with_error_code(code).with_error_message(message.map(text))
                }
            }
        });
        let results = topics.into_iter().map(|(topic_id, partitions)| {
            ReadStateResult::default().with_topic_id(wire_uuid(topic_id)).with_partitions(partitions)
        });
        context.response(&ReadShareGroupStateResponse::default().with_results(results.collect()))
    }))
}
