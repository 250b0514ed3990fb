//! The brokers.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Failure, Json};
use super::health::load;

pub(super) async fn list(State(web): State<Shared>) -> Answer {
    let image = web.node.image();
    let load = load(&image);
    let own = web.node.is_broker().then_some(web.node.config().node_id);
    let brokers = image.brokers().map(|broker| {
        let (led, held) = load.get(&broker.id.0).copied().unwrap_or_default();
        let listeners = broker
            .listeners
            .iter()
            .map(|l| json!({"name": &*l.name, "host": &*l.host, "port": l.port, "protocol": l.security_protocol.name()}));
        let state = match (broker.fenced, broker.in_controlled_shutdown) {
            (true, _) => "down",
            (false, true) => "stopping",
            (false, false) => "in_service",
        };
        json!({
            "id": broker.id.0,
            "is_this_node": Some(broker.id) == own,
            "state": state,
            "rack": broker.rack.as_deref(),
            "epoch": broker.epoch.0,
            "listeners": listeners.collect::<Vec<Value>>(),
            "partitions_led": led,
            "partitions_held": held,
            "log_directories": broker.log_directories.len(),
            "full_log_directories": broker.full_log_directories.len(),
            "cordoned_log_directories": broker.cordoned_log_directories.len(),
        })
    });
    Ok(Json(json!({ "brokers": brokers.collect::<Vec<Value>>() })))
}

pub(super) async fn log_dirs(State(web): State<Shared>, Path(id): Path<String>) -> Answer {
    let id = broker_id(&id)?;
    let directories = web.clients()?.ask(move |client| client.log_directories(id)).await?;
    let known = |bytes: i64| (bytes >= 0).then_some(bytes);
    let directories = directories.iter().map(|directory| {
        json!({
            "path": directory.path,
            "error": directory.error,
            "total_bytes": known(directory.total_bytes),
            "usable_bytes": known(directory.usable_bytes),
            "partitions": directory.partitions,
            "log_bytes": directory.log_bytes,
        })
    });
    Ok(Json(json!({ "log_dirs": directories.collect::<Vec<Value>>() })))
}

/// A broker's number out of the address of a call.
pub(super) fn broker_id(text: &str) -> Result<i32, Failure> {
    text.parse().map_err(|_| Failure::bad_request("a broker is named by its number"))
}
