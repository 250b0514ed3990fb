//! ListConfigResources (74), versions 0 and 1: which resources have settings.
//!
//! - 0: client metrics subscriptions alone (KIP-714). 1: of the types asked for, or of all (KIP-1142).

use std::sync::Arc;

use kafka_protocol::messages::list_config_resources_response::ConfigResource as WireResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use moldau_metadata::{ConfigResourceType, MetadataImage};
use moldau_model::ErrorCode;

use super::message::text;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(74, "ListConfigResources", 0, 1, handle);

const ALL: [ConfigResourceType; 5] = [
    ConfigResourceType::Topic,
    ConfigResourceType::Broker,
    ConfigResourceType::BrokerLogger,
    ConfigResourceType::ClientMetrics,
    ConfigResourceType::Group,
];

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ListConfigResourcesRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !is_authorized(&context, Operation::DescribeConfigs, Resource::CLUSTER) {
        let code = ErrorCode::ClusterAuthorizationFailed.code();
        return context.ready(&ListConfigResourcesResponse::default().with_error_code(code));
    }
    let mut kinds = Vec::new();
    if context.api_version == 0 {
        kinds.push(ConfigResourceType::ClientMetrics);
    } else if request.resource_types.is_empty() {
        kinds.extend(ALL);
    } else {
        for code in &request.resource_types {
            match ConfigResourceType::from_code(*code) {
                Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
                Some(_) => {}
                None => {
                    let response = ListConfigResourcesResponse::default()
                        .with_error_code(ErrorCode::UnsupportedVersion.code());
                    return context.ready(&response);
                }
            }
        }
    }
    let image = broker.control.image();
    let resources = kinds.iter().flat_map(|kind| {
        let code = kind.code();
        names(&image, *kind).into_iter().map(move |name| {
            let resource = WireResource::default().with_resource_name(text(name));
            if context.api_version >= 1 { resource.with_resource_type(code) } else { resource }
        })
    });
    let response = ListConfigResourcesResponse::default().with_config_resources(resources.collect());
    context.ready(&response)
}

/// Topics and brokers are resources whether they have settings or not; groups and subscriptions are if they have.
fn names(image: &MetadataImage, kind: ConfigResourceType) -> Vec<String> {
    match kind {
        ConfigResourceType::Topic => image.topics().iter().map(|topic| topic.name().to_string()).collect(),
        ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => {
            image.brokers().map(|broker| broker.id.to_string()).collect()
        }
        ConfigResourceType::ClientMetrics | ConfigResourceType::Group => image
            .configs()
            .iter()
            .filter(|(resource, _)| resource.resource_type == kind)
            .map(|(resource, _)| resource.name.to_string())
            .collect(),
    }
}
