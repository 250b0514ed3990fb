//! What a broker itself has to look at before it passes an alteration of its configs on: the controller does not know its
//! log directories. Kafka's broker checks this, too, and answers for the resource; the others of the request are passed on.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as AlteredResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementallyAlteredResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use moldau_kafka::ApiKey;
use moldau_metadata::config::{as_list, check_cordoned_log_dirs};
use moldau_metadata::{ConfigResource, ConfigResourceType};
use moldau_model::ErrorCode;

use super::super::message::text;
use crate::control::ControlPlane;

const CORDONED: &str = "cordoned.log.dirs";
/// Kafka's numbers of the operations on a key.
const SET: i8 = 0;
const APPEND: i8 = 2;

/// A request without what was refused, and what its answer lacks.
pub(super) struct Checked {
    /// What is left to be passed on.
    pub(super) body: Bytes,
    refused: Vec<Refused>,
    /// Nothing is left.
    pub(super) is_empty: bool,
}

struct Refused {
    index: usize,
    resource_type: i8,
    name: String,
    message: String,
}

/// Looks at what the request makes of this broker's `cordoned.log.dirs`. `None` where nothing is wrong with it, as nearly
/// always.
pub(super) fn check(control: &ControlPlane, api_key: ApiKey, version: i16, body: &Bytes) -> Option<Checked> {
    match api_key {
        ApiKey::IncrementalAlterConfigs => {
            let mut request =
                moldau_kafka::decode::<IncrementalAlterConfigsRequest>(version, &mut body.clone()).ok()?;
            let mut refused = Vec::new();
            for (index, resource) in request.resources.iter().enumerate() {
                let wished = resource.configs.iter().rfind(|config| config.name.as_str() == CORDONED);
                let value = wished.and_then(|config| Some((config.config_operation, config.value.as_ref()?)));
                let (resource_type, name) = (resource.resource_type, resource.resource_name.as_str());
                let value = match value {
                    Some((SET, value)) => value.to_string(),
                    Some((APPEND, value)) => format!("{},{value}", present(control)),
                    _ => continue,
                };
                refused.extend(refuse(control, index, resource_type, name, &value));
            }
            let is_refused = |index: usize| refused.iter().any(|refused| refused.index == index);
            let mut index = 0..;
            request.resources.retain(|_| !index.next().is_some_and(is_refused));
            let is_empty = request.resources.is_empty();
            checked(version, &request, refused, is_empty)
        }
        ApiKey::AlterConfigs => {
            let mut request = moldau_kafka::decode::<AlterConfigsRequest>(version, &mut body.clone()).ok()?;
            let mut refused = Vec::new();
            for (index, resource) in request.resources.iter().enumerate() {
                let wished = resource.configs.iter().rfind(|config| config.name.as_str() == CORDONED);
                let Some(value) = wished.and_then(|config| config.value.as_ref()) else { continue };
                let (resource_type, name) = (resource.resource_type, resource.resource_name.as_str());
                refused.extend(refuse(control, index, resource_type, name, value));
            }
            let is_refused = |index: usize| refused.iter().any(|refused| refused.index == index);
            let mut index = 0..;
            request.resources.retain(|_| !index.next().is_some_and(is_refused));
            let is_empty = request.resources.is_empty();
            checked(version, &request, refused, is_empty)
        }
        _ => None,
    }
}

fn checked<R: Encodable>(
    version: i16,
    request: &R,
    refused: Vec<Refused>,
    is_empty: bool,
) -> Option<Checked> {
    if refused.is_empty() {
        return None;
    }
    let mut body = BytesMut::new();
    request.encode(&mut body, version).ok()?;
    Some(Checked { body: body.freeze(), refused, is_empty })
}

/// What the broker sets so far of its own.
fn present(control: &ControlPlane) -> String {
    let image = control.image();
    let own = image.configs().of(&ConfigResource::broker(control.node_id));
    own.and_then(|configs| configs.get(CORDONED)).map(|value| value.to_string()).unwrap_or_default()
}

/// A broker's configs can be altered there alone; what is asked of another one is for the controller to refuse.
fn refuse(
    control: &ControlPlane,
    index: usize,
    resource_type: i8,
    name: &str,
    value: &str,
) -> Option<Refused> {
    let is_own =
        resource_type == ConfigResourceType::Broker.code() && name == control.node_id.0.to_string().as_str();
    if !is_own {
        return None;
    }
    let cordoned: Vec<&str> = as_list(value).into_iter().filter(|dir| !dir.is_empty()).collect();
    let error = check_cordoned_log_dirs(&cordoned, &control.config.log_dirs_as_named()).err()?;
    let message = format!("requirement failed: {error}");
    Some(Refused { index, resource_type, name: name.to_owned(), message })
}

impl Checked {
    /// The controller's answer with the refusals in their places; without one, the refusals alone.
    pub(super) fn completed(self, api_key: ApiKey, version: i16, mut answer: Bytes) -> Option<Bytes> {
        let code = ErrorCode::InvalidRequest.code();
        let mut body = BytesMut::new();
        if api_key == ApiKey::AlterConfigs {
            let mut response = match answer.is_empty() {
                true => AlterConfigsResponse::default(),
                false => AlterConfigsResponse::decode(&mut answer, version).ok()?,
            };
            for refused in self.refused {
                let result = AlteredResource::default()
                    .with_error_code(code)
                    .with_error_message(Some(text(refused.message)))
                    .with_resource_type(refused.resource_type)
                    .with_resource_name(text(refused.name));
                response.responses.insert(refused.index.min(response.responses.len()), result);
            }
            response.encode(&mut body, version).ok()?;
        } else {
            let mut response = match answer.is_empty() {
                true => IncrementalAlterConfigsResponse::default(),
                false => IncrementalAlterConfigsResponse::decode(&mut answer, version).ok()?,
            };
            for refused in self.refused {
                let result = IncrementallyAlteredResource::default()
                    .with_error_code(code)
                    .with_error_message(Some(text(refused.message)))
                    .with_resource_type(refused.resource_type)
                    .with_resource_name(text(refused.name));
                response.responses.insert(refused.index.min(response.responses.len()), result);
            }
            response.encode(&mut body, version).ok()?;
        }
        Some(body.freeze())
    }
}
