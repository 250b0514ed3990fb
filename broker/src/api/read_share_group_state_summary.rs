//! ReadShareGroupStateSummary (87), versions 0 and 1: where a share group stands in partitions.
//!
//! - 1: how many deliveries are done (KIP-1226).

use std::sync::Arc;

use kafka_protocol::messages::ReadShareGroupStateSummaryRequest;
use moldau_kafka::{ReadShareGroupStateSummaryResponse, ShareStateSummary};
use moldau_model::{ErrorCode, PartitionIndex, TopicId};
use moldau_share::{
    DELIVERY_COMPLETE_COUNT_UNKNOWN, Refusal, Request as StateRequest, Response, START_OFFSET_UNKNOWN,
};

use super::message::model_uuid;
use super::share_state::{ask_all, key};
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(87, "ReadShareGroupStateSummary", 0, 1, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    // Both versions of the request are the same.
    let (context, request) = match request.decode_as::<ReadShareGroupStateSummaryRequest>(0) {
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
        let answers = ask_all(&broker, &context, asked).await.into_iter();
        let summaries = answers.map(|(topic_id, partition, response)| summary(topic_id, partition, response));
        let response = ReadShareGroupStateSummaryResponse { summaries: summaries.collect() };
        match response.encode(context.api_version, context.correlation_id) {
            Ok(frame) => ResponseFrame::new(frame),
            Err(error) => {
                tracing::error!(%error, "cannot encode a ReadShareGroupStateSummary response");
                ResponseFrame::unanswerable()
            }
        }
    }))
}

fn summary(topic_id: TopicId, partition: i32, response: Response) -> ShareStateSummary {
    let mut told = ShareStateSummary {
        topic_id,
        partition: PartitionIndex(partition),
        error_code: 0,
        error_message: None,
        state_epoch: 0,
        leader_epoch: 0,
        start_offset: START_OFFSET_UNKNOWN,
        delivery_complete_count: DELIVERY_COMPLETE_COUNT_UNKNOWN,
    };
    let summary = match response {
        Response::Summary(summary) => summary,
        Response::Changed(_) | Response::Read(_) => Err(Refusal::from(ErrorCode::UnknownServerError)),
    };
    match summary {
        Ok(summary) => {
            told.state_epoch = summary.state_epoch;
            told.leader_epoch = summary.leader_epoch;
            told.start_offset = summary.start_offset;
            told.delivery_complete_count = summary.delivery_complete_count;
        }
        Err(refusal) => {
            told.start_offset = 0;
            told.error_code = refusal.error.code();
            told.error_message = Some(refusal.message);
        }
    }
    told
}
