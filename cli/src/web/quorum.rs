//! The controllers: who leads, and how far behind the others are.

use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Json};
use crate::client::Client;
use crate::client::producer::now;

pub(super) async fn quorum(State(web): State<Shared>) -> Answer {
    let quorum = web.clients.ask(Client::describe_quorum).await?;
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
        "applied_here": web.broker.control.image().position().offset.0,
    })))
}
