//! AlterConfigs, versions 0 to 2: replaces all configs of a resource.

use kafka_protocol::messages::alter_configs_request::AlterableConfig;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset};

use super::{Service, check_broker_resource, error_fields, text};
use crate::manage::{self, AlterConfigsResult, LegacyResourceAlteration, legacy_alter_configs};

pub(super) async fn handle(
    service: &Service,
    asked_by: BrokerId,
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
    let question = manage::AlterConfigsRequest { resources, validate_only: request.validate_only };
    let asked: Vec<(i8, String)> = question
        .resources
        .iter()
        .map(|resource: &LegacyResourceAlteration| (resource.resource_type, resource.resource_name.clone()))
        .collect();
    let (result, offset) = service
        .decide(move |deciding| legacy_alter_configs(deciding.image, &question, &deciding.inputs))
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
