//! DescribeGroups (15), versions 0 to 6: state, protocol and members of groups.
//!
//! - 3: authorized operations (KIP-430). 4: static members (KIP-345). 6: an unknown group is an error (KIP-1043).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use moldau_group::{
    DescribeGroupsRequest as Describe, DescribedGroup as Described, Request as GroupRequest,
    Response as GroupResponse,
};
use moldau_model::ErrorCode;

use super::group_request::{all, mismatched};
use super::message::{OPERATIONS_NOT_ASKED, group_id, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, authorized_operations, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(15, "DescribeGroups", 0, 6, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeGroupsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let asks_operations = request.include_authorized_operations;
    // A group is described once, however often it is named: a small request must not make a huge answer.
    let mut seen = HashSet::new();
    let names: Vec<String> = request
        .groups
        .iter()
        .filter(|group| seen.insert(group.as_str()))
        .map(|group| group.to_string())
        .collect();
    let answers = names.iter().map(|name| {
        if !is_authorized(&context, Operation::Describe, Resource::group(name)) {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        let describe = Describe { api_version: context.api_version, groups: vec![name.clone()] };
        broker.control.coordinator.submit(name, GroupRequest::DescribeGroups(describe))
    });
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let groups = names.iter().zip(answers.await).map(|(name, answer)| match answer {
            Ok(GroupResponse::DescribeGroups(mut described)) => match described.pop() {
                Some(group) => on_the_wire(&context, group, asks_operations),
                None => failed(name, ErrorCode::UnknownServerError),
            },
            Ok(other) => failed(name, mismatched(&other)),
            Err(error) => failed(name, error),
        });
        context.response(&DescribeGroupsResponse::default().with_groups(groups.collect()))
    }))
}

fn failed(name: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(error.code())
        .with_group_id(group_id(name))
        .with_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn on_the_wire(context: &RequestContext, group: Described, asks_operations: bool) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        let told = DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment);
        if context.api_version >= 4 {
            told.with_group_instance_id(member.group_instance_id.map(text))
        } else {
            told
        }
    });
    let asked = asks_operations && context.api_version >= 3;
    let operations = asked && group.error.is_none();
    let operations = authorized_operations(context, operations, Resource::group(&group.group_id));
    let told = DescribedGroup::default()
        .with_error_code(group.error.code())
        .with_group_id(group_id(group.group_id))
        .with_group_state(text(group.state))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol_data))
        .with_members(members.collect())
        .with_authorized_operations(operations);
    if context.api_version >= 6 { told.with_error_message(group.error_message.map(text)) } else { told }
}
