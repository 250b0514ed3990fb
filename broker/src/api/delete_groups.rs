//! DeleteGroups (42), versions 0 to 2: groups without members are forgotten, with their offsets (KIP-229). Of a share group the
//! state of its partitions goes first, at their share coordinators (KIP-932).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use moldau_group::{Request as GroupRequest, Response as GroupResponse, ShareOffsetsChange};
use moldau_model::ErrorCode;

use super::group_request::{all, mismatched};
use super::message::group_id;
use super::share_offsets;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
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
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let is_allowed = |name: &&String| is_authorized(&context, Operation::Delete, Resource::group(name));
        let mut kept: HashMap<String, ErrorCode> = names
            .iter()
            .filter(|name| !is_allowed(name))
            .map(|name| (name.clone(), ErrorCode::GroupAuthorizationFailed))
            .collect();
        for name in names.iter().filter(|name| !name.is_empty()) {
            if kept.contains_key(name) {
                continue;
            }
            if let Err(error) = delete_share_state(&broker, name).await {
                kept.insert(name.clone(), error);
            }
        }
        let answers = names.iter().map(|name| match kept.get(name) {
            Some(error) => Err(*error),
            None => {
                let delete = GroupRequest::DeleteGroups(vec![name.clone()]);
                broker.control.coordinator.submit(name, delete)
            }
        });
        let answers = all(answers.collect()).await;
        let results = names.iter().zip(answers).map(|(name, answer)| {
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

/// Deletes what share coordinators know of a share group; of another group they know nothing. What they cannot forget keeps the
/// group.
async fn delete_share_state(broker: &Arc<Broker>, name: &str) -> Result<(), ErrorCode> {
    let begun = match share_offsets::change(broker, name, ShareOffsetsChange::DeleteAll).await {
        Ok(begun) => begun,
        Err(refusal) if refusal.error == ErrorCode::GroupIdNotFound => return Ok(()),
        Err(refusal) => return Err(refusal.error),
    };
    let outcomes = share_offsets::delete_state(broker, name, &begun.topics).await;
    let outcomes = outcomes.map_err(|refusal| refusal.error)?;
    let failed = outcomes.into_iter().find_map(|(_, outcome)| outcome.err());
    failed.map_or(Ok(()), |refusal| Err(refusal.error))
}
