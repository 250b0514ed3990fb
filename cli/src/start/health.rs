//! HTTP of a controller that runs without a broker: `/livez` says that the process serves, `/readyz` that the quorum
//! has a leader this node knows of, `/metrics` what it has of the quorum; and the console, as far as the metadata goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use moldau_broker::http::{BoundedListener, HostCheck, KnownHosts, Scrapes, check_host, controller_text};
use moldau_cluster::ControllerChannel as _;
use moldau_controller::ControllerHandle;
use moldau_metadata::config::HttpListener;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::web::{self, ControllerNode};

/// The server. Ends with the process's runtime.
pub(super) struct ControllerHealth {
    address: Option<SocketAddr>,
    task: JoinHandle<()>,
    /// Ends answers without an end when it goes.
    _stop: watch::Sender<bool>,
}

impl ControllerHealth {
    /// Serves health and console of a controller; nothing where the listener is off, or its default port is taken.
    pub(super) async fn start(node: ControllerNode) -> Result<Option<Self>, String> {
        let HttpListener::At { address, chosen } = node.config.http_listener else { return Ok(None) };
        let socket = match TcpListener::bind(address).await {
            Ok(socket) => socket,
            Err(error) if chosen => return Err(format!("cannot serve HTTP on {address}: {error}")),
            Err(error) => {
                tracing::warn!(%address, %error, "no HTTP: the default address cannot be used");
                return Ok(None);
            }
        };
        let address = socket.local_addr().ok();
        let controller = node.controller.clone();
        let (settings, scrapes) = (Arc::new(node.config.settings.clone()), Scrapes::default());
        let metrics = move |controller| metrics(controller, Arc::clone(&settings), scrapes.clone());
        let hosts = Arc::new(KnownHosts::of(&node.config));
        let of_image = controller.clone();
        let check: HostCheck = (hosts, Arc::new(move || Arc::new(of_image.image())));
        let (stop, stopped) = watch::channel(false);
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route_layer(middleware::from_fn_with_state(check, check_host))
            .route("/livez", get(|| async { (StatusCode::OK, "ok\n") }))
            .route("/readyz", get(readyz))
            .route("/healthz", get(readyz))
            .with_state(controller)
            .merge(web::routes_of_controller(node, stopped));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(BoundedListener::new(socket), routes).await {
                tracing::error!(%error, "HTTP ended");
            }
        });
        Ok(Some(Self { address, task, _stop: stop }))
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for ControllerHealth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn metrics(
    State(controller): State<ControllerHandle>,
    settings: Arc<BTreeMap<String, String>>,
    scrapes: Scrapes,
) -> Response {
    let make = || async move {
        // Looks into `/proc`.
        let text = tokio::task::spawn_blocking(move || {
            let statistics = controller.local_statistics();
            statistics.map(|statistics| controller_text(&settings, &statistics)).unwrap_or_default()
        });
        text.await.ok()
    };
    scrapes.answer(make).await
}

async fn readyz(State(controller): State<ControllerHandle>) -> (StatusCode, &'static str) {
    if controller.has_leader() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the quorum has no leader\n")
    }
}
