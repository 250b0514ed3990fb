//! DescribeConfigs (32), versions 1 to 4: the settings of topics, brokers, groups, client metrics and loggers.
//!
//! - 1: sources and synonyms (KIP-226). 3: types and documentation, if asked for.
//!
//! A broker answers for itself alone: clients send a broker's resource to that broker. Its loggers have no levels of their
//! own here, so that the one logger shown is the root.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use moldau_metadata::config::{
    self, ConfigSource, DescribedConfig, describe_broker, describe_broker_defaults, describe_client_metrics,
    describe_group, describe_topic,
};
use moldau_metadata::{ConfigResource, ConfigResourceType, MetadataImage};
use moldau_model::{ErrorCode, validate_topic_name};

use super::message::text;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::control::ControlPlane;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(32, "DescribeConfigs", 1, 4, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeConfigsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let control = &broker.control;
    let image = control.image();
    let tells_types = context.api_version >= 3;
    // As in Kafka, a kind of resource that there is not makes the whole request one that cannot be understood.
    let is_unknown =
        |resource: &DescribeConfigsResource| ConfigResourceType::from_code(resource.resource_type).is_none();
    if request.resources.iter().any(is_unknown) {
        let refused = request.resources.iter().map(|resource| {
            DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_error_message(Some(text(ErrorCode::InvalidRequest.message())))
        });
        return context.ready(&DescribeConfigsResponse::default().with_results(refused.collect()));
    }
    // Once each: ten bytes that are repeated a hundred thousand times would otherwise be answered by a hundred megabytes.
    let mut seen = HashSet::new();
    let resources = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.as_str())));
    let results = resources.map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match check(&context, resource).and_then(|()| describe(control, &image, resource)) {
            Ok(configs) => {
                let is_asked = |config: &DescribedConfig| match &resource.configuration_keys {
                    Some(keys) if !keys.is_empty() => keys.iter().any(|key| key.as_str() == config.name),
                    _ => true,
                };
                let configs = configs.into_iter().filter(is_asked).map(|config| {
                    on_the_wire(
                        config,
                        request.include_synonyms,
                        tells_types,
                        tells_types && request.include_documentation,
                    )
                });
                result.with_configs(configs.collect())
            }
            Err((error, message)) => {
                result.with_error_code(error.code()).with_error_message(Some(text(message)))
            }
        }
    });
    let response = DescribeConfigsResponse::default().with_results(results.collect());
    context.ready(&response)
}

type Refusal = (ErrorCode, String);

/// Whether the asker may see the configs of a resource.
fn check(context: &RequestContext, resource: &DescribeConfigsResource) -> Result<(), Refusal> {
    let name = resource.resource_name.as_str();
    let (guarded, code) = match ConfigResourceType::from_code(resource.resource_type) {
        Some(ConfigResourceType::Topic) => (Resource::topic(name), ErrorCode::TopicAuthorizationFailed),
        Some(ConfigResourceType::Group) => (Resource::group(name), ErrorCode::GroupAuthorizationFailed),
        _ => (Resource::CLUSTER, ErrorCode::ClusterAuthorizationFailed),
    };
    if is_authorized(context, Operation::DescribeConfigs, guarded) {
        return Ok(());
    }
    Err((code, code.message().to_owned()))
}

fn describe(
    control: &ControlPlane,
    image: &MetadataImage,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, Refusal> {
    let name = resource.resource_name.as_str();
    let of = |kind: ConfigResourceType| image.configs().of(&ConfigResource::new(kind, name)).map(|c| &**c);
    let settings = control.settings(image);
    match ConfigResourceType::from_code(resource.resource_type) {
        Some(ConfigResourceType::Topic) => {
            validate_topic_name(name)
                .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
            if image.topics().by_name(name).is_none() {
                // As Kafka, which has no message of its own for it here.
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            Ok(describe_topic(of(ConfigResourceType::Topic), &settings))
        }
        Some(ConfigResourceType::Broker) if name.is_empty() => {
            Ok(describe_broker_defaults(settings.of_all_brokers))
        }
        Some(ConfigResourceType::Broker) => {
            check_broker(control, name, " or empty string,")?;
            Ok(describe_broker(&settings))
        }
        Some(ConfigResourceType::BrokerLogger) => {
            if name.is_empty() {
                return Err((ErrorCode::InvalidRequest, "Broker id must not be empty".into()));
            }
            check_broker(control, name, "")?;
            Ok(vec![root_logger()])
        }
        Some(ConfigResourceType::Group) if name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "Group name must not be empty".into()))
        }
        Some(ConfigResourceType::Group) => Ok(describe_group(of(ConfigResourceType::Group), &settings)),
        Some(ConfigResourceType::ClientMetrics) if name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "Client metrics subscription name must not be empty".into()))
        }
        Some(ConfigResourceType::ClientMetrics) => {
            Ok(describe_client_metrics(of(ConfigResourceType::ClientMetrics)))
        }
        None => Err((ErrorCode::InvalidRequest, ErrorCode::InvalidRequest.message().to_owned())),
    }
}

/// A broker speaks for itself alone. `or_else` is what else could have been asked for.
fn check_broker(control: &ControlPlane, name: &str, or_else: &str) -> Result<(), Refusal> {
    match name.parse::<i32>() {
        Ok(id) if id == control.node_id.0 => Ok(()),
        Ok(id) => Err((
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {}{or_else} but received {id}", control.node_id),
        )),
        Err(_) => {
            Err((ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")))
        }
    }
}

fn root_logger() -> DescribedConfig {
    let level = tracing::level_filters::LevelFilter::current();
    let level = level.into_level().map_or_else(|| "OFF".to_owned(), |level| level.to_string());
    DescribedConfig {
        name: "root".into(),
        value: Some(level),
        read_only: true,
        source: ConfigSource::DynamicBrokerLogger,
        is_sensitive: false,
        synonyms: Vec::new(),
        config_type: None,
        doc: None,
    }
}

fn on_the_wire(
    described: DescribedConfig,
    with_synonyms: bool,
    with_type: bool,
    with_doc: bool,
) -> DescribeConfigsResourceResult {
    let synonyms = described.synonyms.into_iter().filter(|_| with_synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(synonym.value.map(text))
            .with_source(synonym.source.code())
    });
    let result = DescribeConfigsResourceResult::default()
        .with_name(text(described.name))
        .with_value(described.value.map(text))
        .with_read_only(described.read_only)
        .with_config_source(described.source.code())
        .with_is_sensitive(described.is_sensitive)
        .with_synonyms(synonyms.collect());
    if !with_type {
        return result;
    }
    let doc = described.doc.filter(|_| with_doc).map(text);
    result
        .with_config_type(described.config_type.map_or(0, config::ConfigType::wire_code))
        .with_documentation(doc)
}
