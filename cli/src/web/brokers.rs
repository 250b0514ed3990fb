//! The brokers.

use axum::extract::{Path, State};
use moldau_metadata::BrokerRegistration;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Failure, Json};
use super::health::load;
use super::quorum::{Fencing, fencing};

pub(super) async fn list(State(web): State<Shared>) -> Answer {
    let fencing = fencing(&web).await;
    let image = web.node.image();
    let load = load(&image);
    let own = web.node.is_broker().then_some(web.node.config().node_id);
    let brokers = image.brokers().map(|broker| {
        let (led, held) = load.get(&broker.id.0).copied().unwrap_or_default();
        let listeners = broker
            .listeners
            .iter()
            .map(|l| json!({"name": &*l.name, "host": &*l.host, "port": l.port, "protocol": l.security_protocol.name()}));
        json!({
            "id": broker.id.0,
            "is_this_node": Some(broker.id) == own,
            "state": state(broker, Some(broker.id) == own, &fencing),
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

/// What this node knows of a broker. Where no majority of controllers can fence the dead, the metadata says nothing of those
/// that are not fenced yet: this node knows of itself, and of the voters that the controllers' leader misses.
fn state(broker: &BrokerRegistration, is_this_node: bool, fencing: &Fencing) -> &'static str {
    match (broker.fenced, fencing) {
        (true, _) => "down",
        (false, Fencing::NoMajority(silent)) if !is_this_node && silent.contains(&broker.id.0) => {
            "not_heard_of"
        }
        (false, Fencing::NoMajority(_) | Fencing::NoController) if !is_this_node => "unknown",
        (false, _) if broker.in_controlled_shutdown => "stopping",
        (false, _) => "in_service",
    }
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

#[cfg(test)]
mod tests {
    use moldau_model::{BrokerEpoch, BrokerId, Uuid};

    use super::*;

    /// The states of brokers 1 to 4, the last of them fenced, as broker 1 tells them.
    fn states(fencing: &Fencing) -> Vec<&'static str> {
        let broker = |id| BrokerRegistration {
            id: BrokerId(id),
            epoch: BrokerEpoch(1),
            incarnation_id: Uuid::ZERO,
            listeners: Vec::new(),
            features: Vec::new(),
            rack: None,
            fenced: id == 4,
            in_controlled_shutdown: false,
            log_directories: Vec::new(),
            full_log_directories: Vec::new(),
            cordoned_log_directories: Vec::new(),
        };
        (1..=4).map(|id| state(&broker(id), id == 1, fencing)).collect()
    }

    #[test]
    fn of_brokers_that_nobody_could_fence_nobody_says_that_they_serve() {
        assert_eq!(states(&Fencing::Works), ["in_service", "in_service", "in_service", "down"]);
        assert_eq!(states(&Fencing::NoController), ["in_service", "unknown", "unknown", "down"]);
        let away = Fencing::NoMajority(vec![1, 3]);
        assert_eq!(states(&away), ["in_service", "unknown", "not_heard_of", "down"]);
    }
}
