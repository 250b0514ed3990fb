//! JoinGroup (11), versions 0 to 9: a member enters its group's next generation.
//!
//! - 1: rebalance timeout. 4: a new member is sent back for an id first (KIP-394). 5: static membership (KIP-345).
//! - 7: protocol type in the answer. 8: the reason to join (KIP-800). 9: the leader may skip the assignment (KIP-814).
//!
//! The answer comes when the group has gathered.

use std::sync::Arc;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use moldau_group::{
    JoinGroupProtocol, JoinGroupRequest as Join, JoinGroupResponse as Joined, Request as GroupRequest,
    Response as GroupResponse,
};
use moldau_model::{ErrorCode, Uuid};

use super::group_request::{ask, check_group_id, mismatched};
use super::message::{detached, owned, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(11, "JoinGroup", 0, 9, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<JoinGroupRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    let member_id = request.member_id.to_string();
    if !is_authorized(&context, Operation::Read, Resource::group(&group_id)) {
        return context.ready(&failed(&context, ErrorCode::GroupAuthorizationFailed, ""));
    }
    if let Err(error) = check_group_id(&group_id) {
        return context.ready(&failed(&context, error, &member_id));
    }
    let mut random = [0u8; 16];
    if getrandom::fill(&mut random).is_err() {
        return context.ready(&failed(&context, ErrorCode::UnknownServerError, &member_id));
    }
    let protocols = request.protocols.iter().map(|protocol| JoinGroupProtocol {
        name: protocol.name.to_string(),
        metadata: detached(&protocol.metadata),
    });
    let rebalance_timeout_ms =
        if context.api_version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    let join = Join {
        api_version: context.api_version,
        group_id: group_id.clone(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        member_id: member_id.clone(),
        group_instance_id: owned(request.group_instance_id),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        reason: owned(request.reason),
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client_address.ip().to_canonical()),
        new_member_uuid: Uuid::from_random_bytes(random),
    };
    ask(&broker.control, context, &group_id, GroupRequest::Join(join), move |context, answer| match answer {
        Ok(GroupResponse::Join(joined)) => response(context, joined),
        Ok(other) => failed(context, mismatched(&other), &member_id),
        Err(error) => failed(context, error, &member_id),
    })
}

fn failed(context: &RequestContext, error: ErrorCode, member_id: &str) -> JoinGroupResponse {
    let response = JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_member_id(text(member_id));
    // Null is allowed from version 7 on.
    if context.api_version >= 7 {
        response.with_protocol_type(None).with_protocol_name(None)
    } else {
        response.with_protocol_name(Some(text("")))
    }
}

fn response(context: &RequestContext, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        let told = JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_metadata(member.metadata);
        if context.api_version >= 5 {
            told.with_group_instance_id(member.group_instance_id.map(text))
        } else {
            told
        }
    });
    let mut response = JoinGroupResponse::default()
        .with_error_code(joined.error.code())
        .with_generation_id(joined.generation_id.0)
        .with_protocol_name(joined.protocol_name.map(text))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(members.collect());
    if context.api_version >= 7 {
        response.protocol_type = joined.protocol_type.map(text);
    } else if response.protocol_name.is_none() {
        response.protocol_name = Some(text(""));
    }
    if context.api_version >= 9 {
        response.skip_assignment = joined.skip_assignment;
    }
    response
}
