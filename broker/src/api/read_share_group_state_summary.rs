//! ReadShareGroupStateSummary (87), version 0: where a share group stands in partitions.

use std::sync::Arc;

use kafka_protocol::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadStateSummaryResult,
};
use kafka_protocol::messages::{ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse};
use moldau_share::{Request as StateRequest, Response};

use super::message::{model_uuid, text, wire_uuid};
use super::share_state::{ask_all, by_topic, key, outcome};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(87, "ReadShareGroupStateSummary", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ReadShareGroupStateSummaryRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id: Arc<str> = request.group_id.as_str().into();
    let asked = request.topics.iter().flat_map(|topic| {
        let (topic_id, group_id) = (model_uuid(topic.topic_id), &group_id);
        topic.partitions.iter().map(move |data| {
            let key = key(group_id, topic_id, data.partition);
            (topic_id, data.partition, StateRequest::ReadSummary { key })
        })
    });
    let (broker, asked) = (Arc::clone(broker), asked.collect());
    Reply::Pending(Box::pin(async move {
        let answers = ask_all(&broker, &context, asked).await;
        let topics = by_topic(answers, |partition, response| {
            let result = PartitionResult::default().with_partition(partition);
            match response {
                Response::Summary(Ok(summary)) => result
                    .with_state_epoch(summary.state_epoch)
                    .with_leader_epoch(summary.leader_epoch)
                    .with_start_offset(summary.start_offset),
                other => {
                    let (code, message) = outcome(other);
                    result.with_error_code(code).with_error_message(message.map(text))
                }
            }
        });
        let results = topics.into_iter().map(|(topic_id, partitions)| {
            ReadStateSummaryResult::default().with_topic_id(wire_uuid(topic_id)).with_partitions(partitions)
        });
        context.response(&ReadShareGroupStateSummaryResponse::default().with_results(results.collect()))
    }))
}
