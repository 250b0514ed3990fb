//! The console at `/ui/` and the calls of `/api/v1` that it is made of.
//!
//! What this node knows of the cluster's metadata it reads in its own memory; what only leaders, coordinators and controllers
//! know is asked over Kafka's wire, as any client would ask it (ADR 30). A controller without a broker tells of the metadata
//! alone, and names brokers for the rest. Read in this order: `answer` (how calls answer and fail), `guard` (who may call),
//! `node` (who serves them), then one file for each subject.

mod answer;
mod assets;
mod brokers;
mod clients;
mod configs;
mod events;
mod feed;
mod groups;
mod guard;
mod health;
mod history;
mod kept;
mod messages;
mod node;
mod overview;
mod payload;
mod produce;
mod quorum;
mod reset;
mod scan;
mod stream;
mod topic_changes;
mod topics;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{MethodRouter, delete, get, patch, post};
use moldau_broker::{BoundAddress, Broker};
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use answer::{Answer, Failure, Json};
use clients::Clients;
use feed::Feed;
use guard::Guard;
use history::History;
pub(crate) use node::ControllerNode;
use node::Node;

/// Event streams at a time: a browser tab holds one. Each is a task and a connection.
const EVENT_STREAMS_MAX: usize = 64;
/// Scans of messages at a time: each may hold a thread and a fetch's answer for as long as it runs.
const SCANS_MAX: usize = 4;

/// What the calls share.
pub(crate) struct Web {
    node: Node,
    /// None of a controller alone, which need not reach any broker.
    clients: Option<Clients>,
    guard: Guard,
    history: History,
    feed: Feed,
    event_streams: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Web {
    fn new(node: Node, clients: Option<Clients>, stop: watch::Receiver<bool>) -> Self {
        Self {
            guard: Guard::of(node.config()),
            node,
            clients,
            history: History::default(),
            feed: Feed::default(),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
            stop,
        }
    }

    /// Clients of the cluster, or that a broker is to be asked.
    fn clients(&self) -> Result<&Clients, Failure> {
        self.clients.as_ref().ok_or_else(node::no_broker)
    }
}

type Shared = Arc<Web>;

/// One call: method, path, what it is for, who answers it.
type Call = (&'static str, &'static str, &'static str, MethodRouter<Shared>);

/// Every call there is, in the order of `docs/API.md`, which a test holds equal.
fn calls() -> Vec<Call> {
    vec![
        ("GET", "/api/v1", "This list", get(list)),
        (
            "GET",
            "/api/v1/overview",
            "The cluster at a glance: health with its reasons, counts, recent changes",
            get(overview::overview),
        ),
        (
            "GET",
            "/api/v1/history",
            "The last 15 minutes of this node, a sample every five seconds",
            get(history::history),
        ),
        (
            "GET",
            "/api/v1/events",
            "Server-sent events: metadata that changed, samples, one group's lag",
            get(events::events),
        ),
        ("GET", "/api/v1/topics", "Topics by page, searched and sorted", get(topics::list)),
        ("POST", "/api/v1/topics", "Create a topic", post(topic_changes::create)),
        (
            "GET",
            "/api/v1/topics/{topic}",
            "A topic's partitions, each with the state of each replica",
            get(topics::describe),
        ),
        ("DELETE", "/api/v1/topics/{topic}", "Delete a topic", delete(topic_changes::delete)),
        (
            "GET",
            "/api/v1/topics/{topic}/offsets",
            "Where the partitions begin and end, and what their replicas hold",
            get(topics::offsets),
        ),
        ("POST", "/api/v1/topics/{topic}/partitions", "Add partitions", post(topic_changes::add_partitions)),
        (
            "GET",
            "/api/v1/topics/{topic}/configs",
            "A topic's settings, each with its source",
            get(configs::of_topic),
        ),
        ("PATCH", "/api/v1/topics/{topic}/configs", "Set settings, or set them back", patch(configs::change)),
        (
            "GET",
            "/api/v1/topics/{topic}/groups",
            "The groups that have offsets in a topic",
            get(groups::of_topic),
        ),
        (
            "GET",
            "/api/v1/topics/{topic}/messages",
            "Scan records, as lines of JSON with progress",
            get(messages::messages),
        ),
        ("POST", "/api/v1/topics/{topic}/messages", "Write a record", post(produce::produce)),
        ("GET", "/api/v1/groups", "Groups of all kinds, by page", get(groups::list)),
        ("GET", "/api/v1/groups/{group}", "A group's members, offsets and lag", get(groups::describe)),
        ("DELETE", "/api/v1/groups/{group}", "Delete a group without members", delete(reset::delete)),
        (
            "POST",
            "/api/v1/groups/{group}/reset",
            "Move a group's offsets, or show where to",
            post(reset::reset),
        ),
        ("GET", "/api/v1/brokers", "The brokers with what they lead and hold", get(brokers::list)),
        (
            "GET",
            "/api/v1/brokers/{broker}/configs",
            "A broker's settings, each with its source",
            get(configs::of_broker),
        ),
        (
            "GET",
            "/api/v1/brokers/{broker}/log-dirs",
            "A broker's log directories with their room",
            get(brokers::log_dirs),
        ),
        ("GET", "/api/v1/quorum", "The controllers, and how far behind each is", get(quorum::quorum)),
    ]
}

/// The routes of a broker's console, for [`moldau_broker::BrokerHandle::start_with_routes`].
pub(crate) fn routes(
    broker: &Arc<Broker>,
    addresses: &[BoundAddress],
    stop: watch::Receiver<bool>,
) -> Router {
    let clients = Clients::new(&broker.options.config, addresses, Arc::clone(&broker.dialer));
    router(Web::new(Node::Broker(Arc::clone(broker)), Some(clients), stop))
}

/// The routes of the console of a controller without a broker: what the metadata says, and where to ask for the rest.
pub(crate) fn routes_of_controller(node: ControllerNode, stop: watch::Receiver<bool>) -> Router {
    router(Web::new(Node::Controller(Box::new(node)), None, stop))
}

fn router(web: Web) -> Router {
    let web = Arc::new(web);
    tokio::spawn(history::run(Arc::clone(&web)));
    tokio::spawn(feed::run(Arc::clone(&web)));
    let mut router = Router::new();
    for (_, path, _, handler) in calls() {
        router = router.route(path, handler);
    }
    router
        .route("/", get(|| async { Redirect::temporary("/ui/") }))
        .route("/ui", get(|| async { Redirect::temporary("/ui/") }))
        .route("/ui/", get(assets::index))
        .route("/ui/{file}", get(assets::file))
        .route("/ui/{version}/{file}", get(assets::versioned))
        .layer(middleware::from_fn_with_state(Arc::clone(&web), guard::guard))
        .with_state(web)
}

async fn list(State(web): State<Shared>) -> Answer {
    let calls = calls()
        .into_iter()
        .map(|(method, path, summary, _)| json!({"method": method, "path": path, "summary": summary}));
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "read_only": web.guard.read_only || !web.node.is_broker(),
        "calls": calls.collect::<Vec<_>>(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- calls -->\n";
    const END: &str = "<!-- end of calls -->";

    /// `UPDATE_DOCS=1` writes the table anew.
    #[test]
    fn the_documented_calls_are_those_that_are_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/API.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut table = String::from("| Method | Path | What it does |\n|---|---|---|\n");
        for (method, path, summary, _) in calls() {
            table.push_str(&format!("| {method} | `{path}` | {summary} |\n"));
        }
        let (before, rest) = text.split_once(BEGIN).expect("docs/API.md has the mark before the calls");
        let (documented, after) = rest.split_once(END).expect("docs/API.md has the mark behind the calls");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(documented, table, "UPDATE_DOCS=1 writes it anew");
        }
    }
}
