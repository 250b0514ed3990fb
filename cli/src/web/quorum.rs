//! The controllers: who leads, and how far behind the others are.

use axum::extract::State;
use axum::http::StatusCode;
use moldau_cluster::QuorumDescription;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Failure, Json};
use super::node::Node;
use crate::client::Client;
use crate::client::producer::now;
use crate::client::quorum::{Quorum, QuorumReplica};

pub(super) async fn quorum(State(web): State<Shared>) -> Answer {
    let quorum = describe(&web).await?;
    let now_ms = now().0;
    let ago = |at_ms: i64| (at_ms >= 0).then(|| (now_ms - at_ms).max(0));
    let replicas = quorum.replicas().map(|(replica, role)| {
        let is_leader = replica.id == quorum.leader_id;
        let endpoints =
            quorum.endpoints.iter().find(|(id, _)| *id == replica.id).map(|(_, listeners)| listeners);
        json!({
            "id": replica.id,
            "role": role.to_ascii_lowercase(),
            "directory_id": replica.directory_id.to_string(),
            "log_end_offset": replica.log_end_offset,
            "lag": quorum.lag(replica).max(0),
            "last_fetch_ms_ago": if is_leader { None } else { ago(replica.last_fetch_ms) },
            "last_caught_up_ms_ago": if is_leader { None } else { ago(replica.last_caught_up_ms) },
            "endpoints": endpoints,
        })
    });
    Ok(Json(json!({
        "leader_id": quorum.leader_id,
        "leader_epoch": quorum.leader_epoch,
        "high_watermark": quorum.high_watermark,
        "replicas": replicas.collect::<Vec<Value>>(),
        "applied_here": web.node.image().position().offset.0,
    })))
}

/// The quorum as its leader has it: by way of the own broker, or of a controller's own way to the others.
pub(super) async fn describe(web: &Shared) -> Result<Quorum, Failure> {
    match &web.node {
        Node::Broker(_) => web.clients()?.ask(Client::describe_quorum).await,
        Node::Controller(node) => match node.channel.describe_quorum().await {
            Ok(described) => Ok(of_description(&described)),
            Err(error) => Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.error_code().name(),
                error.to_string(),
            )),
        },
    }
}

fn of_description(described: &QuorumDescription) -> Quorum {
    let replicas = |replicas: &[moldau_cluster::QuorumReplica]| {
        let replica = |replica: &moldau_cluster::QuorumReplica| QuorumReplica {
            id: replica.node_id.0,
            directory_id: replica.directory_id,
            log_end_offset: replica.log_end_offset.0,
            last_fetch_ms: replica.last_fetch_timestamp_ms.0,
            last_caught_up_ms: replica.last_caught_up_timestamp_ms.0,
        };
        replicas.iter().map(replica).collect()
    };
    let endpoints = described.nodes.iter().map(|node| {
        let listeners = node.listeners.iter().map(|l| format!("{}://{}:{}", l.name, l.host, l.port));
        (node.node_id.0, listeners.collect())
    });
    Quorum {
        leader_id: described.leader_id.0,
        leader_epoch: described.leader_epoch.0,
        high_watermark: described.high_watermark.0,
        voters: replicas(&described.voters),
        observers: replicas(&described.observers),
        endpoints: endpoints.collect(),
    }
}
