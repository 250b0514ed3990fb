//! InitializeShareGroupState (83), version 0: a share group begins to read partitions, or its offsets were altered.

use std::sync::Arc;

use kafka_protocol::messages::initialize_share_group_state_response::{
    InitializeStateResult, PartitionResult,
};
use kafka_protocol::messages::{InitializeShareGroupStateRequest, InitializeShareGroupStateResponse};
use moldau_share::Request as StateRequest;

use super::message::{model_uuid, text, wire_uuid};
use super::share_state::{ask_all, by_topic, key, outcome};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(83, "InitializeShareGroupState", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<InitializeShareGroupStateRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id: Arc<str> = request.group_id.as_str().into();
    let asked = request.topics.iter().flat_map(|topic| {
        let (topic_id, group_id) = (model_uuid(topic.topic_id), &group_id);
        topic.partitions.iter().map(move |data| {
            let key = key(group_id, topic_id, data.partition);
            (
                topic_id,
                data.partition,
                StateRequest::Initialize {
                    key,
                    state_epoch: data.state_epoch,
                    start_offset: data.start_offset,
                },
            )
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
            InitializeStateResult::default().with_topic_id(wire_uuid(topic_id)).with_partitions(partitions)
        });
        context.response(&InitializeShareGroupStateResponse::default().with_results(results.collect()))
    }))
}
