//! ShareAcknowledge (79), versions 1 and 2: a member of a share group says what became of records (KIP-932).
//!
//! - 2: a member can ask for more time (KIP-1222), and is told how long that is.
//!
//! The answer comes when what was said is written. The last request of a session ends it: what the member has still is for others.

use std::sync::Arc;

use kafka_protocol::messages::ShareAcknowledgeResponse;
use kafka_protocol::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeTopicResponse,
};
use moldau_kafka::{ShareAcknowledgeRequest, encode_share_acknowledge_response};
use moldau_model::{ErrorCode, TopicIdPartition};
use moldau_share::ShareSessions;

use super::message::{broker_id, text, wire_uuid};
use super::share_request::{self, Leaders, message_of};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(79, "ShareAcknowledge", 1, 2, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match ShareAcknowledgeRequest::decode(context.api_version, &body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    drop(body);
    let (group_id, member_id) = (request.group_id.as_deref(), request.member_id.as_deref());
    let key = share_request::session_key(broker, &context, group_id, member_id).and_then(|key| {
        broker.share.sessions().acknowledge(&key, request.session_epoch)?;
        Ok(key)
    });
    let key = match key {
        Ok(key) => key,
        Err(refused) => return Reply::Ready(refuse(&context, refused)),
    };
    let image = broker.control.image();
    let settings = broker.share.settings(&image, &key.group_id);
    let said = share_request::said(&request.partitions, request.is_renewal && settings.may_renew);
    let is_final = ShareSessions::is_final(request.session_epoch);
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let outcomes = share_request::acknowledge(&broker, &context, &key, said).await;
        if is_final {
            let partitions = broker.share.sessions().close(&key);
            broker.share.release(&key, &partitions);
        }
        let lock_ms = i32::try_from(settings.limits.lock_duration_ms).unwrap_or(i32::MAX);
        frame(&context, &response(&broker, &context, outcomes), lock_ms)
    }))
}

fn refuse(context: &RequestContext, refused: ErrorCode) -> ResponseFrame {
    let body = ShareAcknowledgeResponse::default().with_error_code(refused.code()).with_error_message(None);
    frame(context, &body, 0)
}

fn response(
    broker: &Broker,
    context: &RequestContext,
    outcomes: Vec<(TopicIdPartition, ErrorCode)>,
) -> ShareAcknowledgeResponse {
    let image = broker.control.image();
    let mut leaders = Leaders::default();
    let mut topics: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
    for (at, error) in outcomes {
        let mut data = PartitionData::default()
            .with_partition_index(at.partition.0)
            .with_error_code(error.code())
            .with_error_message(message_of(error).map(text));
        if let Some((leader, epoch)) = leaders.of(broker, &image, at, error) {
            data.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(leader.0).with_leader_epoch(epoch.0);
        }
        let topic_id = wire_uuid(at.topic_id);
        match topics.last_mut() {
            Some(topic) if topic.topic_id == topic_id => topic.partitions.push(data),
            _ => topics.push(
                ShareAcknowledgeTopicResponse::default().with_topic_id(topic_id).with_partitions(vec![data]),
            ),
        }
    }
    let endpoints = leaders.endpoints(context, &image).into_iter().map(|endpoint| {
        NodeEndpoint::default()
            .with_node_id(broker_id(endpoint.id))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.map(text))
    });
    ShareAcknowledgeResponse::default().with_responses(topics).with_node_endpoints(endpoints.collect())
}

fn frame(context: &RequestContext, body: &ShareAcknowledgeResponse, lock_ms: i32) -> ResponseFrame {
    match encode_share_acknowledge_response(context.api_version, context.correlation_id, body, lock_ms) {
        Ok(frame) => ResponseFrame::new(frame),
        Err(error) => {
            tracing::error!(version = context.api_version, %error, "cannot encode a ShareAcknowledge response");
            ResponseFrame::unanswerable()
        }
    }
}
