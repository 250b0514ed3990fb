//! AlterConfigs, versions 0 to 2: replaces all configs of a resource.

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use moldau_cluster::ControllerError;
use moldau_model::Offset;

use super::{Service, error_fields, text};
use crate::manage::{self, AlterConfigsResult, LegacyResourceAlteration, legacy_alter_configs};

pub(super) async fn handle(
    service: &Service,
    request: AlterConfigsRequest,
) -> Result<(AlterConfigsResponse, Offset), ControllerError> {
    let resources = request.resources.into_iter().map(|resource| LegacyResourceAlteration {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string(),
        configs: resource
            .configs
            .into_iter()
            .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
            .collect(),
    });
    let question =
        manage::AlterConfigsRequest { resources: resources.collect(), validate_only: request.validate_only };
    let asked: Vec<(i8, String)> = question
        .resources
        .iter()
        .map(|resource: &LegacyResourceAlteration| (resource.resource_type, resource.resource_name.clone()))
        .collect();
    let (result, offset) = service
        .decide(move |deciding| legacy_alter_configs(deciding.image, &question, &deciding.inputs))
        .await?;
    let responses = results(asked, result).into_iter().map(|result| {
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
