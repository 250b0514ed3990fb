//! Answers that need no group: what is wrong with the request itself, and what a shard says that is not active.

use moldau_model::ErrorCode;

use super::{consumer, inspect, join, offset_commit, offset_fetch, share, streams, sync};
use crate::GroupConfig;
use crate::rebalance::{join_refused, sync_refused};
use crate::records::STRING_BYTES_MAX;
use crate::request::Request;
use crate::response::{DeletedGroup, LeaveGroupResponse, ListGroupsResponse, Response};
use crate::shard::deletion::offsets_refused;

/// What is wrong with the request itself, whatever the shard's state.
pub(super) fn check(config: &GroupConfig, request: &Request) -> Result<(), ErrorCode> {
    let (group_id, may_be_empty) = match request {
        Request::Join(r) => (&r.group_id, false),
        Request::Sync(r) => (&r.group_id, false),
        Request::Heartbeat(r) => (&r.group_id, false),
        Request::Leave(r) => (&r.group_id, false),
        // Old clients commit without a group id.
        Request::OffsetCommit(r) => (&r.group_id, true),
        Request::TxnOffsetCommit(r) => (&r.commit.group_id, false),
        Request::OffsetFetch(r) => (&r.group_id, true),
        Request::OffsetDelete(r) => (&r.group_id, true),
        Request::DeleteGroups(_)
        | Request::EndTransaction(_)
        | Request::DescribeGroups(_)
        | Request::ConsumerGroupHeartbeat(_)
        | Request::ConsumerGroupDescribe(_)
        | Request::ShareGroupHeartbeat(_)
        | Request::ShareGroupDescribe(_)
        | Request::StreamsGroupHeartbeat(_)
        | Request::StreamsGroupDescribe(_)
        | Request::ListGroups(_) => return Ok(()),
        Request::ViewShareOffsets(group_id) => (group_id, false),
        Request::ShareOffsets(r) => (&r.group_id, false),
    };
    // A longer id has no place in a record.
    if group_id.len() > STRING_BYTES_MAX || (group_id.is_empty() && !may_be_empty) {
        return Err(ErrorCode::InvalidGroupId);
    }
    match request {
        Request::Join(request) => join::check(config, request),
        Request::Sync(request) => sync::check(request),
        _ => Ok(()),
    }
}

/// Whether the request may need an append.
pub(super) fn may_append(request: &Request) -> bool {
    matches!(
        request,
        Request::Join(_)
            | Request::Sync(_)
            | Request::Leave(_)
            | Request::OffsetCommit(_)
            | Request::TxnOffsetCommit(_)
            | Request::EndTransaction(_)
            | Request::OffsetDelete(_)
            | Request::DeleteGroups(_)
            | Request::ConsumerGroupHeartbeat(_)
            | Request::ShareGroupHeartbeat(_)
            | Request::ShareOffsets(_)
            | Request::StreamsGroupHeartbeat(_)
    )
}

/// The request's kind of answer, saying `error`.
pub(super) fn refused(request: &Request, error: ErrorCode) -> Response {
    match request {
        Request::Join(request) => {
            // Kafka says whose request it was where the request itself is wrong.
            let is_own_fault = !matches!(
                error,
                ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorNotAvailable
            );
            join_refused(error, if is_own_fault { &request.member_id } else { "" })
        }
        Request::Sync(_) => sync_refused(error),
        Request::Heartbeat(_) => Response::Heartbeat(error),
        Request::Leave(_) => Response::Leave(LeaveGroupResponse { error, members: Vec::new() }),
        Request::OffsetCommit(request) => offset_commit::refused(request, error),
        Request::TxnOffsetCommit(request) => offset_commit::refused(&request.commit, error),
        Request::EndTransaction(_) => Response::EndTransaction(error),
        Request::OffsetFetch(request) => offset_fetch::refused(&request.group_id, error),
        Request::OffsetDelete(_) => offsets_refused(error),
        Request::DeleteGroups(group_ids) => Response::DeleteGroups(
            group_ids.iter().map(|group_id| DeletedGroup { group_id: group_id.clone(), error }).collect(),
        ),
        Request::DescribeGroups(request) => Response::DescribeGroups(
            request.groups.iter().map(|group_id| inspect::describe_refused(group_id, error)).collect(),
        ),
        Request::ConsumerGroupHeartbeat(_) => consumer::refused(error),
        Request::ConsumerGroupDescribe(group_ids) => Response::ConsumerGroupDescribe(
            group_ids.iter().map(|group_id| crate::consumer::unknown_group(group_id, error, None)).collect(),
        ),
        Request::ShareGroupHeartbeat(_) => share::refused(error),
        Request::ShareGroupDescribe(group_ids) => Response::ShareGroupDescribe(
            group_ids.iter().map(|group_id| crate::share::unknown_group(group_id, error, None)).collect(),
        ),
        Request::StreamsGroupHeartbeat(_) => streams::refused(error),
        Request::StreamsGroupDescribe(group_ids) => Response::StreamsGroupDescribe(
            group_ids.iter().map(|group_id| crate::streams::unknown_group(group_id, error, None)).collect(),
        ),
        Request::ViewShareOffsets(_) | Request::ShareOffsets(_) => share::offsets_refused(error),
        Request::ListGroups(_) => Response::ListGroups(ListGroupsResponse { error, groups: Vec::new() }),
    }
}

/// What a shard says that is still reading its partition. A heartbeat is not refused: the member's session is
/// not running, and Kafka lets it go on.
pub(super) fn loading(request: &Request) -> Response {
    match request {
        Request::Heartbeat(_) => Response::Heartbeat(ErrorCode::None),
        request => refused(request, ErrorCode::CoordinatorLoadInProgress),
    }
}

/// What a shard says that is not the coordinator. It simply has no groups to list.
pub(super) fn inactive(request: &Request) -> Response {
    match request {
        Request::ListGroups(_) => refused(request, ErrorCode::None),
        request => refused(request, ErrorCode::NotCoordinator),
    }
}

/// A response that was ready, when its append failed.
pub(super) fn with_error(response: Response, error: ErrorCode) -> Response {
    match response {
        Response::OffsetCommit(mut response) => {
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                partition.error = error;
            }
            Response::OffsetCommit(response)
        }
        Response::EndTransaction(_) => Response::EndTransaction(error),
        Response::OffsetDelete(_) => offsets_refused(error),
        Response::DeleteGroups(mut groups) => {
            for group in &mut groups {
                group.error = error;
            }
            Response::DeleteGroups(groups)
        }
        other => other,
    }
}
