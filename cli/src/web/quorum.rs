//! The controllers: who leads, and how far behind the others are.

use std::time::Duration;

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

/// A voter that was not heard of for so long is told of: many times the interval at which it asks.
const VOTER_SILENT_MS: i64 = 10_000;
/// How long the list of brokers waits for the controllers: what it shows besides is in this node's memory.
const FENCING_WAIT_MAX: Duration = Duration::from_millis(1500);

/// Whether brokers that die can be taken out of service. Where they cannot, the metadata has them as they were before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fencing {
    Works,
    /// A controller leads, and these voters it has not heard of: without a majority it changes nothing.
    NoMajority(Vec<i32>),
    NoController,
}

impl Fencing {
    pub(super) fn of(quorum: Option<&Quorum>, now_ms: i64) -> Self {
        let Some(quorum) = quorum else { return Self::NoController };
        let silent: Vec<i32> = silent_voters(quorum, now_ms).map(|voter| voter.id).collect();
        if quorum.voters.len() - silent.len() < quorum.majority() {
            return Self::NoMajority(silent);
        }
        Self::Works
    }
}

/// What the controllers' own state says of the brokers' now.
pub(super) async fn fencing(web: &Shared) -> Fencing {
    let quorum = tokio::time::timeout(FENCING_WAIT_MAX, describe(web)).await;
    Fencing::of(quorum.ok().and_then(Result::ok).as_ref(), now().0)
}

pub(super) fn silent_voters(quorum: &Quorum, now_ms: i64) -> impl Iterator<Item = &QuorumReplica> {
    let is_silent = move |voter: &&QuorumReplica| {
        let was_heard_of = voter.last_fetch_ms >= 0;
        voter.id != quorum.leader_id && was_heard_of && now_ms - voter.last_fetch_ms > VOTER_SILENT_MS
    };
    quorum.voters.iter().filter(is_silent)
}

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
