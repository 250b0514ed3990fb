//! What the group APIs share: a request goes to the shard of its group, its answer comes back in time.

use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_protocol::protocol::Encodable;
use moldau_group::{DescribedPartitions, GroupShard, Request as GroupRequest, Response as GroupResponse};
use moldau_model::ErrorCode;

use super::{Reply, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::control::ControlPlane;
use crate::coordinator::Answer;

/// The feature that brings consumer groups.
const GROUP_VERSION: &str = "group.version";
/// The feature that brings streams groups.
const STREAMS_VERSION: &str = "streams.version";

/// Whether the group id can be one: all but OffsetCommit, OffsetFetch and DescribeGroups refuse the empty one.
pub(crate) fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

/// Whether consumer groups (KIP-848) are served: the cluster's `group.version` and the broker's
/// `group.coordinator.rebalance.protocols` both say so.
pub(crate) fn serves_consumer_groups(control: &ControlPlane) -> bool {
    control.config.group.serves_consumer_groups && control.image().feature_level(GROUP_VERSION) > 0
}

/// Whether streams groups (KIP-1071) are served: the cluster's `streams.version` and the broker's
/// `group.coordinator.rebalance.protocols` both say so.
pub(crate) fn serves_streams_groups(control: &ControlPlane) -> bool {
    control.config.group.streams.is_served && control.image().feature_level(STREAMS_VERSION) > 0
}

/// What is told of a group that has to do with topics which the asker may not see.
pub(crate) const UNSEEN_TOPICS: &str =
    "The group has described topic(s) that the client is not authorized to describe.";

/// Whether the asker may see all of these topics.
pub(crate) fn may_see<'a>(
    context: &RequestContext,
    topics: impl IntoIterator<Item = &'a DescribedPartitions>,
) -> bool {
    let may_see = |topic: &DescribedPartitions| {
        is_visible(context, Operation::Describe, Resource::topic(&topic.topic_name))
    };
    topics.into_iter().all(may_see)
}

/// Whether the asker may be in a group that reads these topics; Kafka's code if not.
pub(crate) fn check_member<'a>(
    context: &RequestContext,
    group_id: &str,
    topics: impl IntoIterator<Item = &'a str>,
) -> Result<(), ErrorCode> {
    if !is_authorized(context, Operation::Read, Resource::group(group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let is_allowed = |topic: &str| is_authorized(context, Operation::Describe, Resource::topic(topic));
    if topics.into_iter().all(is_allowed) { Ok(()) } else { Err(ErrorCode::TopicAuthorizationFailed) }
}

/// Submits a request and answers when its shard does. The request has taken its place when this returns.
pub(crate) fn ask<R: Encodable + Send + 'static>(
    control: &Arc<ControlPlane>,
    context: RequestContext,
    group_id: &str,
    request: GroupRequest,
    answer: impl FnOnce(&RequestContext, Result<GroupResponse, ErrorCode>) -> R + Send + 'static,
) -> Reply {
    match control.coordinator.submit(group_id, request) {
        Err(error) => {
            let response = answer(&context, Err(error));
            context.ready(&response)
        }
        Ok(receiver) => Reply::Pending(Box::pin(async move {
            let response = answer(&context, outcome(receiver).await);
            context.response(&response)
        })),
    }
}

/// The shard's answer. A shard that ended without one was not the coordinator any more.
pub(crate) async fn outcome(receiver: Answer<GroupShard>) -> Result<GroupResponse, ErrorCode> {
    receiver.await.map_err(|_| ErrorCode::NotCoordinator)
}

/// The answers of several shards, in the order they were submitted in.
pub(crate) fn all(
    answers: Vec<Result<Answer<GroupShard>, ErrorCode>>,
) -> BoxFuture<'static, Vec<Result<GroupResponse, ErrorCode>>> {
    Box::pin(async move {
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(match answer {
                Ok(receiver) => outcome(receiver).await,
                Err(error) => Err(error),
            });
        }
        outcomes
    })
}

/// A shard answered with another kind of response than was asked for: a fault of ours.
pub(crate) fn mismatched(response: &GroupResponse) -> ErrorCode {
    tracing::error!(?response, "the coordinator's answer is of another kind than the request");
    ErrorCode::UnknownServerError
}
