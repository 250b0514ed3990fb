//! ListGroups (16), versions 0 to 5: the groups this broker coordinates.
//!
//! - 4: states, and a filter by them (KIP-518). 5: types, and a filter by them (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use moldau_group::{ListGroupsRequest as List, Request as GroupRequest, Response as GroupResponse};
use moldau_model::ErrorCode;

use super::group_request::{all, mismatched};
use super::message::{group_id, text};
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(16, "ListGroups", 0, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ListGroupsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let sees_all = is_visible(&context, Operation::Describe, Resource::CLUSTER);
    let list = List {
        states_filter: request.states_filter.iter().map(ToString::to_string).collect(),
        types_filter: request.types_filter.iter().map(ToString::to_string).collect(),
    };
    let coordinator = &broker.control.coordinator;
    let answers = coordinator
        .partitions()
        .into_iter()
        .map(|partition| coordinator.submit_to(partition, GroupRequest::ListGroups(list.clone())));
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let mut response = ListGroupsResponse::default();
        for answer in answers.await {
            let error = match answer {
                Ok(GroupResponse::ListGroups(listed)) => {
                    let is_shown =
                        |id: &str| sees_all || is_visible(&context, Operation::Describe, Resource::group(id));
                    let groups = listed.groups.into_iter().filter(|group| is_shown(&group.group_id));
                    let groups = groups.map(|group| {
                        let mut told = ListedGroup::default()
                            .with_group_id(group_id(group.group_id))
                            .with_protocol_type(text(group.protocol_type));
                        if context.api_version >= 4 {
                            told.group_state = text(group.state);
                        }
                        if context.api_version >= 5 {
                            told.group_type = text(group.group_type);
                        }
                        told
                    });
                    response.groups.extend(groups);
                    listed.error
                }
                // A leadership that ended meanwhile: its groups are listed elsewhere.
                Err(ErrorCode::NotCoordinator) => ErrorCode::None,
                Ok(other) => mismatched(&other),
                Err(error) => error,
            };
            if !error.is_none() && error != ErrorCode::NotCoordinator {
                response.error_code = error.code();
            }
        }
        if response.error_code != ErrorCode::None.code() {
            // Half a list would pass for a whole one.
            response.groups.clear();
        }
        context.response(&response)
    }))
}
