//! AlterConfigs, versions 0 to 2: replaces all configs of a resource.

use std::collections::HashMap;

use kafka_protocol::messages::alter_configs_request::AlterableConfig;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use moldau_cluster::ControllerError;
use moldau_metadata::{ConfigResourceType, Resource};
use moldau_model::{BrokerId, ErrorCode, Offset, Operation};

use super::{Service, check_broker_resource, error_fields, text};
use crate::manage::{
    self, Access, AlterConfigsResult, ApiError, Asker, Decision, LegacyResourceAlteration,
    legacy_alter_configs,
};

pub(super) async fn handle(
    service: &Service,
    asked_by: BrokerId,
    asker: Asker,
    request: AlterConfigsRequest,
) -> Result<(AlterConfigsResponse, Offset), ControllerError> {
    let mut refused = Vec::new();
    let mut resources = Vec::new();
    for resource in request.resources {
        let (resource_type, resource_name) = (resource.resource_type, resource.resource_name.to_string());
        if let Err(error) = check_broker_resource(asked_by, resource_type, &resource_name) {
            refused.push(AlterConfigsResult { resource_type, resource_name, result: Err(error) });
            continue;
        }
        let config =
            |config: AlterableConfig| (config.name.to_string(), config.value.map(|value| value.to_string()));
        let configs = resource.configs.into_iter().map(config).collect();
        resources.push(LegacyResourceAlteration { resource_type, resource_name, configs });
    }
    let mut question = manage::AlterConfigsRequest { resources, validate_only: request.validate_only };
    let asked: Vec<(i8, String)> = question
        .resources
        .iter()
        .map(|resource: &LegacyResourceAlteration| (resource.resource_type, resource.resource_name.clone()))
        .collect();
    let (result, offset) = service
        .decide(move |deciding| {
            let access = deciding.access(&asker);
            let refused = take_unauthorized(&access, &mut question.resources, |resource| {
                (resource.resource_type, resource.resource_name.as_str())
            });
            let decided = legacy_alter_configs(deciding.image, &question, &deciding.inputs)?;
            Ok(with_refused(decided, refused))
        })
        .await?;
    let responses = results(asked, result).into_iter().chain(refused).map(|result| {
        let (code, message) = error_fields(&result.result);
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(result.resource_type)
            .with_resource_name(text(result.resource_name))
    });
    Ok((AlterConfigsResponse::default().with_responses(responses.collect()), offset))
}

/// Takes out the resources whose configs the asker may not alter, with what it is told. What comes twice is wrong whoever
/// asks.
pub(super) fn take_unauthorized<R>(
    access: &Access<'_>,
    resources: &mut Vec<R>,
    resource_of: impl Fn(&R) -> (i8, &str),
) -> Vec<AlterConfigsResult> {
    if access.is_open() {
        return Vec::new();
    }
    let mut counts: HashMap<(i8, String), usize> = HashMap::new();
    for resource in resources.iter() {
        let (resource_type, name) = resource_of(resource);
        *counts.entry((resource_type, name.to_owned())).or_default() += 1;
    }
    let mut refused = Vec::new();
    resources.retain(|resource| {
        let (resource_type, name) = resource_of(resource);
        let is_repeated = counts.get(&(resource_type, name.to_owned())).is_some_and(|count| *count > 1);
        let checked = if is_repeated { Ok(()) } else { check_alteration(access, resource_type, name) };
        if let Err(code) = checked {
            refused.push(AlterConfigsResult {
                resource_type,
                resource_name: name.to_owned(),
                result: Err(ApiError::standard(code)),
            });
        }
        checked.is_ok()
    });
    refused
}

/// Whether the asker may alter the configs of a resource. The decision refuses types that there are not.
fn check_alteration(access: &Access<'_>, resource_type: i8, name: &str) -> Result<(), ErrorCode> {
    use ConfigResourceType::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
    let (operation, resource, code) = match ConfigResourceType::from_code(resource_type) {
        Some(Topic) => (Operation::AlterConfigs, Resource::topic(name), ErrorCode::TopicAuthorizationFailed),
        Some(Group) => (Operation::AlterConfigs, Resource::group(name), ErrorCode::GroupAuthorizationFailed),
        Some(Broker | ClientMetrics) => {
            (Operation::AlterConfigs, Resource::CLUSTER, ErrorCode::ClusterAuthorizationFailed)
        }
        Some(BrokerLogger) => {
            (Operation::ClusterAction, Resource::CLUSTER, ErrorCode::ClusterAuthorizationFailed)
        }
        None => return Ok(()),
    };
    if access.may(operation, resource) { Ok(()) } else { Err(code) }
}

/// A decision on what was left of a request, whose answer tells what was taken out, too.
pub(super) fn with_refused(
    decided: Decision<Vec<AlterConfigsResult>>,
    refused: Vec<AlterConfigsResult>,
) -> Decision<Vec<AlterConfigsResult>> {
    let Decision { records, mut response } = decided;
    response.extend(refused);
    Decision { records, response }
}

/// The results resource by resource, also where the request was refused as a whole.
pub(super) fn results(
    asked: Vec<(i8, String)>,
    result: Result<Vec<AlterConfigsResult>, manage::ApiError>,
) -> Vec<AlterConfigsResult> {
    result.unwrap_or_else(|error| {
        let refused = |(resource_type, resource_name)| AlterConfigsResult {
            resource_type,
            resource_name,
            result: Err(error.clone()),
        };
        asked.into_iter().map(refused).collect()
    })
}
