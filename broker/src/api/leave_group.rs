//! LeaveGroup (13), versions 0 to 5: members go.
//!
//! - 0 to 2: the one member that asks. 3: several, also static ones by their instance id (KIP-345). 5: reasons (KIP-800).

use std::sync::Arc;

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use moldau_group::{
    LeaveGroupRequest as Leave, LeaveGroupResponse as Left, LeavingMember, Request as GroupRequest,
    Response as GroupResponse,
};
use moldau_model::ErrorCode;

use super::group_request::{ask, check_group_id, mismatched};
use super::message::{owned, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(13, "LeaveGroup", 0, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<LeaveGroupRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    if !is_authorized(&context, Operation::Read, Resource::group(&group_id)) {
        return context.ready(&failed(ErrorCode::GroupAuthorizationFailed));
    }
    if let Err(error) = check_group_id(&group_id) {
        return context.ready(&failed(error));
    }
    let members = if context.api_version < 3 {
        vec![LeavingMember {
            member_id: request.member_id.to_string(),
            group_instance_id: None,
            reason: None,
        }]
    } else {
        let members = request.members.into_iter().map(|member| LeavingMember {
            member_id: member.member_id.to_string(),
            group_instance_id: owned(member.group_instance_id),
            reason: owned(member.reason),
        });
        members.collect()
    };
    let leave = Leave { group_id: group_id.clone(), members };
    ask(&broker.control, context, &group_id, GroupRequest::Leave(leave), |context, answer| match answer {
        Ok(GroupResponse::Leave(left)) => response(context, left),
        Ok(other) => failed(mismatched(&other)),
        Err(error) => failed(error),
    })
}

fn failed(error: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(error.code())
}

fn response(context: &RequestContext, left: Left) -> LeaveGroupResponse {
    if context.api_version < 3 {
        return failed(left.single_error());
    }
    let members = left.members.into_iter().map(|member| {
        MemberResponse::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.group_instance_id.map(text))
            .with_error_code(member.error.code())
    });
    LeaveGroupResponse::default().with_error_code(left.error.code()).with_members(members.collect())
}
