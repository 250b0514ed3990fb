//! IncrementalAlterConfigs, versions 0 and 1: changes some configs of a resource (KIP-339).

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset};

use super::alter_configs::{results, take_unauthorized, with_refused};
use super::{Service, check_broker_resource, error_fields, text};
use crate::manage::{
    self, AlterConfigsResult, ApiError, Asker, ConfigAlteration, ConfigOperation, ResourceAlteration,
    incremental_alter_configs,
};

pub(super) async fn handle(
    service: &Service,
    asked_by: BrokerId,
    asker: Asker,
    request: IncrementalAlterConfigsRequest,
) -> Result<(IncrementalAlterConfigsResponse, Offset), ControllerError> {
    let mut refused = Vec::new();
    let mut resources = Vec::new();
    for resource in request.resources {
        let (resource_type, resource_name) = (resource.resource_type, resource.resource_name.to_string());
        let checked = check_broker_resource(asked_by, resource_type, &resource_name);
        match checked.and_then(|()| alterations(resource)) {
            Ok(alterations) => {
                resources.push(ResourceAlteration { resource_type, resource_name, alterations })
            }
            Err(error) => {
                refused.push(AlterConfigsResult { resource_type, resource_name, result: Err(error) })
            }
        }
    }
    let asked =
        resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone())).collect();
    let mut question = manage::AlterConfigsRequest { resources, validate_only: request.validate_only };
    let (result, offset) = service
        .decide(move |deciding| {
            let access = deciding.access(&asker);
            let refused =
                take_unauthorized(&access, &mut question.resources, |resource: &ResourceAlteration| {
                    (resource.resource_type, resource.resource_name.as_str())
                });
            let decided = incremental_alter_configs(deciding.image, &question, &deciding.inputs)?;
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
    Ok((IncrementalAlterConfigsResponse::default().with_responses(responses.collect()), offset))
}

/// An operation that does not exist refuses its resource, and no other.
fn alterations(resource: AlterConfigsResource) -> Result<Vec<ConfigAlteration>, ApiError> {
    let alteration =
        |config: kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig| -> Result<_, ApiError> {
            Ok(ConfigAlteration {
                key: config.name.to_string(),
                operation: ConfigOperation::from_code(config.config_operation)?,
                value: config.value.map(|value| value.to_string()),
            })
        };
    resource.configs.into_iter().map(alteration).collect()
}
