//! Heartbeat (12), versions 0 to 4: a member is alive, and learns whether its group rebalances.
//!
//! - 3: static membership (KIP-345).

use std::sync::Arc;

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use moldau_group::{HeartbeatRequest as Beat, Request as GroupRequest, Response as GroupResponse};
use moldau_model::{ErrorCode, GenerationId};

use super::group_request::{ask, check_group_id, mismatched};
use super::message::owned;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(12, "Heartbeat", 0, 4, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<HeartbeatRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let group_id = request.group_id.to_string();
    if !is_authorized(&context, Operation::Read, Resource::group(&group_id)) {
        return context.ready(&response(ErrorCode::GroupAuthorizationFailed));
    }
    if let Err(error) = check_group_id(&group_id) {
        return context.ready(&response(error));
    }
    let beat = Beat {
        group_id: group_id.clone(),
        generation_id: GenerationId(request.generation_id),
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id),
    };
    ask(&broker.control, context, &group_id, GroupRequest::Heartbeat(beat), |_, answer| match answer {
        Ok(GroupResponse::Heartbeat(error)) => response(error),
        Ok(other) => response(mismatched(&other)),
        // A coordinator that still loads knows of no rebalance: Kafka lets the member be.
        Err(ErrorCode::CoordinatorLoadInProgress) => response(ErrorCode::None),
        Err(error) => response(error),
    })
}

fn response(error: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(error.code())
}
