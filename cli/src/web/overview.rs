//! The cluster at a glance.

use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Json};
use super::health::{Counts, MinIsr, Reason, reasons};
use super::quorum::{Fencing, describe};
use crate::client::producer::now;

pub(super) async fn overview(State(web): State<Shared>) -> Answer {
    let quorum = describe(&web).await.map_err(|failure| failure.message);
    let node = &web.node;
    let image = node.image();
    let min_isr = MinIsr::new(node.settings(&image), &image);
    let counts = Counts::over(&image, |topic| min_isr.of(topic));
    let now_ms = now().0;
    let is_known = Fencing::of(quorum.as_ref().ok(), now_ms) == Fencing::Works;
    let reasons = reasons(&image, &counts, &quorum, node.offline_dirs(), now_ms);
    let brokers = image.broker_count();
    let replicas: usize =
        image.topics().iter().flat_map(|topic| topic.partitions()).map(|(_, p)| p.replicas.len()).sum();
    let controller = quorum.as_ref().ok().map(|quorum| {
        json!({
            "leader_id": quorum.leader_id, "epoch": quorum.leader_epoch,
            "voters": quorum.voters.len(), "observers": quorum.observers.len(),
            "high_watermark": quorum.high_watermark,
        })
    });
    Ok(Json(json!({
        "cluster_id": node.cluster_id(),
        "node_id": node.config().node_id.0,
        // What changes something, a broker is asked for.
        "has_broker": node.is_broker(),
        "version": env!("CARGO_PKG_VERSION"),
        "read_only": web.guard.read_only || !node.is_broker(),
        "is_ready": node.is_ready(),
        "metadata_offset": image.position().offset.0,
        "verdict": verdict(&reasons),
        "reasons": reasons.iter().map(Reason::json).collect::<Vec<Value>>(),
        "brokers": {"registered": brokers, "in_service": image.alive_brokers().count(), "is_known": is_known},
        "controller": controller,
        "topics": image.topics().len(),
        "partitions": {
            "total": image.topics().partition_count(),
            "replicas": replicas,
            "under_replicated": counts.under_replicated.count,
            "under_min_isr": counts.under_min_isr.count,
            "offline": counts.offline.count,
            "not_preferred": counts.not_preferred,
        },
        "changes": web.feed.json(),
    })))
}

fn verdict(reasons: &[Reason]) -> &'static str {
    match reasons {
        [] => "healthy",
        some if some.iter().any(|reason| reason.is_error) => "unhealthy",
        _ => "degraded",
    }
}
