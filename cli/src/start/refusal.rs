//! What is said where the controllers do not take this broker.

use moldau_broker::lifecycle::BrokerState;
use moldau_broker::{BrokerFailure, BrokerHandle};
use moldau_metadata::config::BrokerConfig;
use moldau_metadata::{Listener, MetadataImage};
use moldau_model::ErrorCode;

use super::strangers::Strangers;

/// Why a broker does not come in.
pub(super) async fn of_broker(
    state: BrokerState,
    broker: Option<&BrokerHandle>,
    config: &BrokerConfig,
    strangers: &Strangers<'_>,
) -> String {
    let known = match (state, broker) {
        (BrokerState::Refused(ErrorCode::InconsistentClusterId), _) => strangers.line_about_any().await,
        (BrokerState::Refused(ErrorCode::DuplicateBrokerRegistration), Some(broker)) => {
            Some(namesake(&broker.image(), config))
        }
        _ => None,
    };
    known.unwrap_or_else(|| format!("the controller refused this broker: {state:?}"))
}

/// Waits until a broker cannot go on, and says why.
pub(super) async fn of_running(broker: &BrokerHandle, config: &BrokerConfig) -> String {
    match broker.wait_failed().await {
        BrokerFailure::Refused(ErrorCode::DuplicateBrokerRegistration) => namesake(&broker.image(), config),
        failure => format!("the broker cannot go on: {failure}"),
    }
}

/// The line about another broker that lives by this one's id.
fn namesake(image: &MetadataImage, config: &BrokerConfig) -> String {
    let address = |at: &Listener| format!("{}://{}:{}", at.name, at.host, at.port);
    let listeners = image.broker(config.node_id).map(|broker| broker.listeners.iter().map(address).collect());
    let listeners: Vec<String> = listeners.unwrap_or_default();
    format!(
        "another broker lives by node.id {}, at {}: give this one a node.id of its own, or stop the other first",
        config.node_id,
        listeners.join(",")
    )
}
