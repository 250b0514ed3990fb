//! The cluster that a controller without an identity belongs to, where it is one of several that nobody gave an id.

use moldau_controller::{Name, NamingOptions, name_cluster};
use moldau_metadata::config::BrokerConfig;
use tokio::runtime::Builder;

use super::{listeners, node, security};

/// Asks the other controllers, and answers them meanwhile, until it is known. `None`: it is a new one, which this node names.
pub(super) fn cluster_id(config: &BrokerConfig) -> Result<Option<String>, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start threads: {error}"))?;
    let options = NamingOptions {
        node_id: config.node_id,
        voters: node::quorum_voters(config),
        secret: config.cluster_secret.clone(),
        security: security::of_controllers(config)?,
    };
    let sockets = listeners::bind_for_now(config)?.sockets();
    // What is begun ends with the runtime, and the controller itself finds its address free.
    match runtime.block_on(name_cluster(options, sockets))? {
        Name::Known(cluster_id) => Ok(Some(cluster_id)),
        Name::ToBeDrawn => Ok(None),
    }
}
