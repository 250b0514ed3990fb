//! Health and metrics over HTTP, for orchestrators and Prometheus.
//!
//! `/livez`: the process serves. `/readyz`: clients are sent here; about this node alone, never about the cluster, or one
//! sick node would take all others out of service. `/restart-safe`: no partition falls below its min ISR when this node
//! stops, and the controllers keep their majority; for those who roll a cluster. `/metrics`: Prometheus' text format.

mod hosts;
mod listener;
mod metrics;
mod scrapes;
mod survey;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use moldau_cluster::ControllerError;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::net;
use crate::options::BoundAddress;
pub use hosts::{HostCheck, KnownHosts, check_host};
pub use listener::BoundedListener;
use metrics::MetricsSettings;
pub use metrics::{CONTENT_TYPE, controller_text};
pub use scrapes::Scrapes;
use survey::Survey;

/// How long the controllers may take to tell of themselves.
const QUORUM_MAX: Duration = Duration::from_secs(3);

/// Makes what else a node serves over HTTP, once the broker is there: of the broker, of where its listeners are, and of what
/// tells that the node stops, when answers without an end have to end.
pub type MoreRoutes = Box<dyn FnOnce(&Arc<Broker>, &[BoundAddress], watch::Receiver<bool>) -> Router + Send>;

/// Serves these routes and `more` until `stop` says so.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    more: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let settings = Arc::new(MetricsSettings::of(&broker.options.config.settings));
    let scrapes = Scrapes::default();
    let metrics = move |broker: State<Arc<Broker>>| metrics(broker, Arc::clone(&settings), scrapes.clone());
    let hosts = Arc::new(KnownHosts::of(&broker.options.config));
    let control = Arc::clone(&broker.control);
    let check: HostCheck = (hosts, Arc::new(move || control.image()));
    let routes = Router::new()
        .route("/restart-safe", get(restart_safe))
        .route("/metrics", get(metrics.clone()))
        .route("/public_metrics", get(metrics))
        .route_layer(middleware::from_fn_with_state(check, check_host))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        // Where probes written for Redpanda look.
        .route("/v1/status/ready", get(readyz))
        .with_state(broker)
        .merge(more);
    let stopped = async move { net::stopped(&mut stop).await };
    axum::serve(BoundedListener::new(listener), routes).with_graceful_shutdown(stopped).await
}

/// Alive as long as one log directory is: without any, only a restart helps.
async fn livez(State(broker): State<Arc<Broker>>) -> (StatusCode, &'static str) {
    if broker.replica_manager.dirs().online_ids().is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "every log directory is offline\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// Ready once the controller has unfenced this broker.
async fn readyz(State(broker): State<Arc<Broker>>) -> (StatusCode, &'static str) {
    if broker.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the broker is not serving\n")
    }
}

/// Whether the partitions held here, and the controllers, can do without this node. Without a majority of controllers the metadata
/// shows the cluster as it was, so they are asked.
async fn restart_safe(State(broker): State<Arc<Broker>>) -> (StatusCode, String) {
    let asked = tokio::time::timeout(QUORUM_MAX, broker.control.channel.describe_quorum()).await;
    let quorum = asked.unwrap_or(Err(ControllerError::Timeout));
    let vote = survey::needed_vote(&quorum, broker.control.node_id);
    let survey = Survey::of(&broker.control);
    let is_safe = survey.needs_this_node == 0 && vote.is_none();
    let status = if is_safe { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, vote.unwrap_or_default() + &survey.restart_text(is_safe))
}

async fn metrics(
    State(broker): State<Arc<Broker>>,
    settings: Arc<MetricsSettings>,
    scrapes: Scrapes,
) -> Response {
    scrapes.answer(|| metrics::text(broker, settings)).await
}
