//! DescribeCluster (60), versions 0 to 2: cluster id, brokers, the controller (KIP-700).
//!
//! - 1: which endpoints are asked for (KIP-919); a broker knows of brokers alone. 2: fenced brokers, if asked for.

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use moldau_model::ErrorCode;

use super::message::{broker_id, text};
use super::{ApiSupport, Reply, Request};
use crate::authorize::cluster_operations;
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(60, "DescribeCluster", 0, 2, handle);

const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeClusterRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let asked = if context.api_version == 0 { ENDPOINT_BROKERS } else { request.endpoint_type };
    if asked != ENDPOINT_BROKERS {
        let (error, message) = if asked == ENDPOINT_CONTROLLERS {
            (
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                    .to_owned(),
            )
        } else {
            (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {asked}"))
        };
        let response = DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)));
        return context.ready(&response);
    }
    let control = &broker.control;
    let image = control.image();
    let tells_fenced = context.api_version >= 2 && request.include_fenced_brokers;
    let brokers = image.brokers().filter(|broker| tells_fenced || !broker.fenced).filter_map(|broker| {
        let listener = broker.listener(&context.listener)?;
        let told = DescribeClusterBroker::default()
            .with_broker_id(broker_id(broker.id))
            .with_host(text(&listener.host))
            .with_port(i32::from(listener.port))
            .with_rack(broker.rack.as_ref().map(text));
        Some(if context.api_version >= 2 { told.with_is_fenced(broker.fenced) } else { told })
    });
    let mut response = DescribeClusterResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(text(&control.cluster_id))
        .with_controller_id(broker_id(control.controller_for_clients(&image)))
        .with_cluster_authorized_operations(cluster_operations(
            &context,
            request.include_cluster_authorized_operations,
        ));
    if context.api_version >= 1 {
        response.endpoint_type = ENDPOINT_BROKERS;
    }
    context.ready(&response)
}
