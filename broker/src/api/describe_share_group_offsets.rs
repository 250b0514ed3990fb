//! DescribeShareGroupOffsets (90), versions 0 and 1: where share groups stand (KIP-932).
//!
//! - 1: how many records are left (KIP-1226).
//!
//! Where a group stands its share partitions' coordinators know; how much is left is counted from the high watermark, which is
//! asked of the partitions' leaders.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::DescribeShareGroupOffsetsRequest;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use moldau_group::{Request as GroupRequest, Response as GroupResponse, ShareOffsetsAnswer};
use moldau_kafka::{DescribedShareOffset, DescribedShareOffsets, encode_described_share_offsets};
use moldau_model::{ErrorCode, PartitionIndex, TopicId, TopicIdPartition};
use moldau_share::{
    Request as StateRequest, Response as StateResponse, START_OFFSET_UNKNOWN, SharePartitionKey,
};

use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(90, "DescribeShareGroupOffsets", 0, 1, handle);

/// A lag that is not known.
const LAG_UNKNOWN: i64 = -1;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode_as::<DescribeShareGroupOffsetsRequest>(0) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        // A group is described once, however often it is named: a small request must not make a huge answer.
        let mut seen = HashSet::new();
        let distinct = request.groups.iter().filter(|group| seen.insert(group.group_id.to_string()));
        let groups =
            join_all(distinct.map(|group| describe(&broker, &context, group)).collect::<Vec<_>>()).await;
        match encode_described_share_offsets(context.api_version, context.correlation_id, &groups) {
            Ok(frame) => ResponseFrame::new(frame),
            Err(error) => {
                tracing::error!(%error, "cannot encode a DescribeShareGroupOffsets response");
                ResponseFrame::unanswerable()
            }
        }
    }))
}

async fn describe(
    broker: &Arc<Broker>,
    context: &RequestContext,
    group: &DescribeShareGroupOffsetsRequestGroup,
) -> DescribedShareOffsets {
    let group_id = group.group_id.to_string();
    let failed = |error: ErrorCode, message: String| DescribedShareOffsets {
        group_id: group_id.clone(),
        offsets: Vec::new(),
        error_code: error.code(),
        error_message: Some(message),
    };
    if !broker.share.is_served() {
        let error = ErrorCode::UnsupportedVersion;
        return failed(error, error.message().to_owned());
    }
    if !is_authorized(context, Operation::Describe, Resource::group(&group_id)) {
        let error = ErrorCode::GroupAuthorizationFailed;
        return failed(error, error.message().to_owned());
    }
    let view = GroupRequest::ViewShareOffsets(group_id.clone());
    let answer = match broker.control.coordinator.submit(&group_id, view) {
        Ok(answer) => answer.await.map_err(|_| ErrorCode::NotCoordinator),
        Err(error) => Err(error),
    };
    let known = match answer {
        Ok(GroupResponse::ShareOffsets(Ok(known))) => known,
        // A group that there is none of has read nothing, as Kafka puts it.
        Ok(GroupResponse::ShareOffsets(Err((ErrorCode::GroupIdNotFound, _)))) => {
            ShareOffsetsAnswer { state_epoch: 0, topics: Vec::new() }
        }
        Ok(GroupResponse::ShareOffsets(Err((error, message)))) => return failed(error, message),
        Ok(_) => {
            return failed(ErrorCode::UnknownServerError, ErrorCode::UnknownServerError.message().to_owned());
        }
        Err(error) => return failed(error, error.message().to_owned()),
    };
    let wanted: Vec<(String, TopicId, PartitionIndex)> = match &group.topics {
        Some(topics) => topics
            .iter()
            .flat_map(|topic| {
                let name = topic.topic_name.to_string();
                let image = broker.control.image();
                let id = image.topics().by_name(&name).map_or(TopicId::ZERO, |topic| topic.id());
                topic.partitions.iter().map(move |index| (name.clone(), id, PartitionIndex(*index)))
            })
            .collect(),
        None => known
            .topics
            .iter()
            .filter_map(|topic| {
                let image = broker.control.image();
                let name = image.topics().by_id(topic.topic_id)?.name().to_string();
                Some((name, topic))
            })
            .flat_map(|(name, topic)| {
                topic.partitions.iter().map(move |index| (name.clone(), topic.topic_id, *index))
            })
            .collect(),
    };
    let asked_for_all = group.topics.is_none();
    let is_seen = |topic: &str| is_visible(context, Operation::Describe, Resource::topic(topic));
    let (seen, unseen): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(topic, ..)| is_seen(topic));
    let offsets = seen.into_iter().map(|(topic_name, topic_id, partition)| {
        describe_partition(broker, &group_id, topic_name, topic_id, partition)
    });
    let mut offsets = join_all(offsets.collect::<Vec<_>>()).await;
    // Who asked for all is told of those that it may see.
    let unseen = unseen.into_iter().filter(|_| !asked_for_all);
    offsets.extend(unseen.map(|(topic_name, _, partition)| DescribedShareOffset {
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        error_message: Some(ErrorCode::TopicAuthorizationFailed.message().to_owned()),
        ..not_known(topic_name, TopicId::ZERO, partition)
    }));
    DescribedShareOffsets { group_id: group_id.clone(), offsets, error_code: 0, error_message: None }
}

fn not_known(topic_name: String, topic_id: TopicId, partition: PartitionIndex) -> DescribedShareOffset {
    DescribedShareOffset {
        topic_id,
        topic_name,
        partition,
        start_offset: START_OFFSET_UNKNOWN,
        leader_epoch: 0,
        lag: LAG_UNKNOWN,
        error_code: 0,
        error_message: None,
    }
}

async fn describe_partition(
    broker: &Arc<Broker>,
    group_id: &str,
    topic_name: String,
    topic_id: TopicId,
    partition: PartitionIndex,
) -> DescribedShareOffset {
    let mut described = not_known(topic_name, topic_id, partition);
    let mut fail = |error: ErrorCode, message: String| {
        described.error_code = error.code();
        described.error_message = Some(message);
    };
    let at = TopicIdPartition { topic_id, partition };
    // Kafka says of what is not there that nobody has started.
    if broker.control.image().topics().partition(topic_id, partition).is_none() {
        return described;
    }
    let key = SharePartitionKey { group_id: group_id.into(), topic_id, partition };
    match broker.share.persister.ask(StateRequest::ReadSummary { key }).await {
        StateResponse::Summary(Ok(summary)) => {
            described.start_offset = summary.start_offset;
            described.leader_epoch = summary.leader_epoch;
            if summary.start_offset != START_OFFSET_UNKNOWN && summary.delivery_complete_count >= 0 {
                let done = summary.start_offset + i64::from(summary.delivery_complete_count);
                match broker.share.end_offsets.of(at).await {
                    Ok(end) => described.lag = (end - done).max(0),
                    Err(error) => fail(error, error.message().to_owned()),
                }
            }
        }
        StateResponse::Summary(Err(refusal)) => fail(refusal.error, refusal.message),
        StateResponse::Changed(_) | StateResponse::Read(_) => {
            fail(ErrorCode::UnknownServerError, ErrorCode::UnknownServerError.message().to_owned());
        }
    }
    described
}
