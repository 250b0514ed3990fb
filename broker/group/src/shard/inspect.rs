//! DescribeGroups (key 15), versions 0 to 6, ConsumerGroupDescribe (key 69), versions 0 and 1, ShareGroupDescribe (key 77),
//! version 1, StreamsGroupDescribe (key 89), version 0, and ListGroups (key 16), versions 0 to 5.

use bytes::Bytes;
use moldau_model::ErrorCode;

use super::GroupShard;
use crate::consumer::{self, Context, unknown_group};
use crate::group::{ClassicGroup, GroupState};
use crate::request::{DescribeGroupsRequest, ListGroupsRequest};
use crate::response::{DescribedGroup, DescribedMember, ListGroupsResponse, ListedGroup, Response};
use crate::{share, streams};

/// From this version on an unknown group is an error (KIP-1043).
const GROUP_ID_NOT_FOUND_SINCE: i16 = 6;
const CLASSIC_TYPE: &str = "classic";
const CONSUMER_TYPE: &str = "consumer";
const SHARE_TYPE: &str = "share";
const STREAMS_TYPE: &str = "streams";
/// The protocol type of consumer groups.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

impl GroupShard {
    pub(super) fn describe_groups(&self, request: &DescribeGroupsRequest) -> Response {
        let groups = request.groups.iter().map(|group_id| match self.groups.get(&**group_id) {
            Some(group) => described(group),
            None => {
                let is_other = self.consumer_groups.get(group_id).is_some()
                    || self.share_groups.get(group_id).is_some()
                    || self.streams_groups.get(group_id).is_some();
                let reason = if is_other { "is not a classic group" } else { "not found" };
                unknown(group_id, request.api_version, reason)
            }
        });
        Response::DescribeGroups(groups.collect())
    }

    pub(super) fn describe_consumer_groups(&self, group_ids: &[String], now_ms: i64) -> Response {
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let groups = group_ids.iter().map(|group_id| match self.consumer_groups.get(group_id) {
            _ if group_id.is_empty() => unknown_group(group_id, ErrorCode::InvalidGroupId, None),
            Some(group) => consumer::described(group, &context),
            None => {
                let is_other = self.groups.contains_key(&**group_id)
                    || self.share_groups.get(group_id).is_some()
                    || self.streams_groups.get(group_id).is_some();
                let reason = if is_other { "is not a consumer group" } else { "not found" };
                let message = format!("Group {group_id} {reason}.");
                unknown_group(group_id, ErrorCode::GroupIdNotFound, Some(message))
            }
        });
        Response::ConsumerGroupDescribe(groups.collect())
    }

    pub(super) fn describe_share_groups(&self, group_ids: &[String], now_ms: i64) -> Response {
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let groups = group_ids.iter().map(|group_id| match self.share_groups.get(group_id) {
            _ if group_id.is_empty() => share::unknown_group(group_id, ErrorCode::InvalidGroupId, None),
            Some(group) => share::described(group, &context),
            None => {
                let (error, message) = self.no_share_group(group_id);
                share::unknown_group(group_id, error, Some(message))
            }
        });
        Response::ShareGroupDescribe(groups.collect())
    }

    pub(super) fn describe_streams_groups(&self, group_ids: &[String], now_ms: i64) -> Response {
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let groups = group_ids.iter().map(|group_id| match self.streams_groups.get(group_id) {
            _ if group_id.is_empty() => streams::unknown_group(group_id, ErrorCode::InvalidGroupId, None),
            Some(group) => streams::described(group, &context),
            None => {
                let (error, message) = self.no_streams_group(group_id);
                streams::unknown_group(group_id, error, Some(message))
            }
        });
        Response::StreamsGroupDescribe(groups.collect())
    }

    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> Response {
        let passes = |filter: &[String], is: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(is))
        };
        let groups = self
            .groups
            .values()
            .filter(|group| passes(&request.states_filter, group.state().name()))
            .filter(|_| passes(&request.types_filter, CLASSIC_TYPE))
            .map(|group| ListedGroup {
                group_id: group.group_id.to_string(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state().name().to_owned(),
                group_type: CLASSIC_TYPE.to_owned(),
            });
        let consumer_groups = self
            .consumer_groups
            .written()
            .filter(|group| passes(&request.states_filter, group.state().name()))
            .filter(|_| passes(&request.types_filter, CONSUMER_TYPE))
            .map(|group| ListedGroup {
                group_id: group.group_id.to_string(),
                protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
                state: group.state().name().to_owned(),
                group_type: CONSUMER_TYPE.to_owned(),
            });
        let share_groups = self
            .share_groups
            .written()
            .filter(|group| passes(&request.states_filter, group.state()))
            .filter(|_| passes(&request.types_filter, SHARE_TYPE))
            .map(|group| ListedGroup {
                group_id: group.group_id.to_string(),
                protocol_type: SHARE_TYPE.to_owned(),
                state: group.state().to_owned(),
                group_type: SHARE_TYPE.to_owned(),
            });
        let streams_groups = self
            .streams_groups
            .written()
            .filter(|group| passes(&request.states_filter, group.state()))
            .filter(|_| passes(&request.types_filter, STREAMS_TYPE))
            .map(|group| ListedGroup {
                group_id: group.group_id.to_string(),
                protocol_type: STREAMS_TYPE.to_owned(),
                state: group.state().to_owned(),
                group_type: STREAMS_TYPE.to_owned(),
            });
        let groups = groups.chain(consumer_groups).chain(share_groups).chain(streams_groups).collect();
        Response::ListGroups(ListGroupsResponse { error: ErrorCode::None, groups })
    }
}

fn described(group: &ClassicGroup) -> DescribedGroup {
    // What is not settled yet is not shown.
    let protocol = group.protocol_name.as_deref().filter(|_| group.state() == GroupState::Stable);
    let members = group.members().map(|member| DescribedMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.group_instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        metadata: protocol.and_then(|name| member.metadata(name)).cloned().unwrap_or_else(Bytes::new),
        assignment: member.assignment.clone(),
    });
    DescribedGroup {
        group_id: group.group_id.to_string(),
        error: ErrorCode::None,
        error_message: None,
        state: group.state().name().to_owned(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}

fn unknown(group_id: &str, api_version: i16, reason: &str) -> DescribedGroup {
    let is_error = api_version >= GROUP_ID_NOT_FOUND_SINCE;
    DescribedGroup {
        group_id: group_id.to_owned(),
        error: if is_error { ErrorCode::GroupIdNotFound } else { ErrorCode::None },
        error_message: is_error.then(|| format!("Group {group_id} {reason}.")),
        state: GroupState::Dead.name().to_owned(),
        protocol_type: String::new(),
        protocol_data: String::new(),
        members: Vec::new(),
    }
}

/// The answer where the group cannot be looked at.
pub(super) fn describe_refused(group_id: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup { error, error_message: None, state: String::new(), ..unknown(group_id, 0, "") }
}
