//! SyncGroup (14), versions 0 to 5: the leader brings the assignments, every member takes its own.
//!
//! - 3: static membership (KIP-345). 5: protocol type and name, to be checked (KIP-559).

use std::sync::Arc;

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use moldau_group::{
    Request as GroupRequest, Response as GroupResponse, SyncGroupAssignment, SyncGroupRequest as Sync,
};
use moldau_model::{ErrorCode, GenerationId};

use super::group_request::{ask, check_group_id, mismatched};
use super::message::{detached, owned, text};
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(14, "SyncGroup", 0, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<SyncGroupRequest>() {
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
    let assignments = request.assignments.iter().map(|assignment| SyncGroupAssignment {
        member_id: assignment.member_id.to_string(),
        assignment: detached(&assignment.assignment),
    });
    let sync = Sync {
        api_version: context.api_version,
        group_id: group_id.clone(),
        generation_id: GenerationId(request.generation_id),
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id),
        protocol_type: owned(request.protocol_type),
        protocol_name: owned(request.protocol_name),
        assignments: assignments.collect(),
    };
    ask(&broker.control, context, &group_id, GroupRequest::Sync(sync), |context, answer| match answer {
        Ok(GroupResponse::Sync(synced)) => {
            let mut response = SyncGroupResponse::default()
                .with_error_code(synced.error.code())
                .with_assignment(synced.assignment);
            if context.api_version >= 5 {
                response.protocol_type = synced.protocol_type.map(text);
                response.protocol_name = synced.protocol_name.map(text);
            }
            response
        }
        Ok(other) => failed(mismatched(&other)),
        Err(error) => failed(error),
    })
}

fn failed(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
