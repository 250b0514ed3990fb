//! The node that serves the console: a broker, or a controller that runs without one and knows the metadata only.

use std::sync::Arc;

use moldau_broker::Broker;
use moldau_cluster::ControllerChannel;
use moldau_controller::ControllerHandle;
use moldau_metadata::config::{BrokerConfig, BrokerSettings};
use moldau_metadata::{ConfigResource, MetadataImage};
use moldau_model::Offset;
use tokio::sync::watch;

use axum::http::StatusCode;

use super::answer::Failure;

/// A controller without a broker.
pub(crate) struct ControllerNode {
    pub(crate) controller: ControllerHandle,
    /// The way to whichever controller is the active one.
    pub(crate) channel: Arc<dyn ControllerChannel>,
    pub(crate) config: BrokerConfig,
    pub(crate) cluster_id: String,
}

/// See the module.
pub(super) enum Node {
    Broker(Arc<Broker>),
    Controller(Box<ControllerNode>),
}

impl Node {
    /// The broker, for what only one can do.
    pub(super) fn broker(&self) -> Result<&Arc<Broker>, Failure> {
        match self {
            Self::Broker(broker) => Ok(broker),
            Self::Controller(_) => Err(no_broker()),
        }
    }

    pub(super) fn is_broker(&self) -> bool {
        matches!(self, Self::Broker(_))
    }

    pub(super) fn config(&self) -> &BrokerConfig {
        match self {
            Self::Broker(broker) => &broker.options.config,
            Self::Controller(node) => &node.config,
        }
    }

    pub(super) fn cluster_id(&self) -> &str {
        match self {
            Self::Broker(broker) => &broker.control.cluster_id,
            Self::Controller(node) => &node.cluster_id,
        }
    }

    /// The newest metadata that this node has applied.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        match self {
            Self::Broker(broker) => broker.control.image(),
            Self::Controller(node) => Arc::new(node.controller.image()),
        }
    }

    /// Tells of every change of the last applied offset.
    pub(super) fn watch_applied(&self) -> watch::Receiver<Offset> {
        match self {
            Self::Broker(broker) => broker.control.metadata.watch_applied(),
            Self::Controller(node) => node.controller.watch_applied(),
        }
    }

    /// What topics' settings fall back to, as far as this node knows: brokers may have been started with others.
    pub(super) fn settings<'a>(&'a self, image: &'a MetadataImage) -> BrokerSettings<'a> {
        match self {
            Self::Broker(broker) => broker.control.settings(image),
            Self::Controller(node) => BrokerSettings {
                statics: &node.config.settings,
                of_this_broker: None,
                of_all_brokers: image.configs().of(&ConfigResource::default_broker()).map(|c| &**c),
            },
        }
    }

    /// Whether clients are sent here, or, of a controller, whether it knows who leads.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Broker(broker) => broker.is_ready(),
            Self::Controller(node) => node.controller.has_leader(),
        }
    }

    /// Log directories of this node that have failed.
    pub(super) fn offline_dirs(&self) -> usize {
        match self {
            Self::Broker(broker) => broker.replica_manager.dirs().offline_count(),
            // Without its only one it does not run.
            Self::Controller(_) => 0,
        }
    }
}

/// What a controller alone says of logs, groups and all that is asked of brokers.
pub(super) fn no_broker() -> Failure {
    let message = "this node is a controller without a broker: a broker's console tells that";
    Failure::new(StatusCode::NOT_IMPLEMENTED, "NO_BROKER", message)
}
