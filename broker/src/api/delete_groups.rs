//! DeleteGroups (42), versions 0 to 2: groups without members are forgotten, with their offsets (KIP-229).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use moldau_group::{Request as GroupRequest, Response as GroupResponse};
use moldau_model::ErrorCode;

use super::group_request::{all, mismatched};
use super::message::group_id;
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(42, "DeleteGroups", 0, 2, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DeleteGroupsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let mut seen = HashSet::new();
    let names: Vec<String> = request
        .groups_names
        .iter()
        .filter(|name| seen.insert(name.as_str()))
        .map(|name| name.to_string())
        .collect();
    let answers = names
        .iter()
        .map(|name| broker.control.coordinator.submit(name, GroupRequest::DeleteGroups(vec![name.clone()])));
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let results = names.iter().zip(answers.await).map(|(name, answer)| {
            let error = match answer {
                Ok(GroupResponse::DeleteGroups(deleted)) => {
                    deleted.first().map_or(ErrorCode::UnknownServerError, |group| group.error)
                }
                Ok(other) => mismatched(&other),
                Err(error) => error,
            };
            DeletableGroupResult::default().with_group_id(group_id(name)).with_error_code(error.code())
        });
        context.response(&DeleteGroupsResponse::default().with_results(results.collect()))
    }))
}
