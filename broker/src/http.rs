//! Health over HTTP, for orchestrators: `/livez` says that the process serves, `/readyz` that clients are sent here.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::net;

/// Serves until `stop` says so.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .with_state(broker);
    let stopped = async move { net::stopped(&mut stop).await };
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await
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
