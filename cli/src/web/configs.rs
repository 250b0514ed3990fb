//! Settings of topics and brokers, with where each value comes from.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Body, Failure, Json};
use super::brokers::broker_id;
use super::clients::CHANGE;
use super::topics::{find, is_internal};
use crate::client::configs::{ConfigChange, ConfigEntry, ConfigSource, ResourceKind};

pub(super) async fn of_topic(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    find(&web.node.image(), &name)?;
    describe(&web, ResourceKind::Topic, name).await
}

pub(super) async fn of_broker(State(web): State<Shared>, Path(id): Path<String>) -> Answer {
    describe(&web, ResourceKind::Broker, broker_id(&id)?.to_string()).await
}

async fn describe(web: &Shared, kind: ResourceKind, name: String) -> Answer {
    let asked = vec![name.clone()];
    let mut described = web.clients()?.ask(move |client| client.describe_configs(kind, &asked, true)).await?;
    let entries = described.remove(&name).unwrap_or_default();
    Ok(Json(json!({ "configs": entries.iter().map(entry_json).collect::<Vec<Value>>() })))
}

fn entry_json(entry: &ConfigEntry) -> Value {
    // The first one is the value itself.
    let others = entry.synonyms.iter().skip(1);
    let others = others
        .map(|(source, name, value)| json!({"source": source_name(*source), "name": name, "value": value}));
    json!({
        "name": entry.name,
        "value": entry.value,
        "source": source_name(entry.source),
        "is_sensitive": entry.sensitive,
        "is_default": entry.is_default(),
        "otherwise": others.collect::<Vec<Value>>(),
    })
}

/// In words: where somebody would have to look to change it.
fn source_name(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::DynamicTopic => "topic",
        ConfigSource::DynamicBroker => "broker",
        ConfigSource::DynamicDefaultBroker => "all brokers",
        ConfigSource::StaticBroker => "file",
        ConfigSource::Default => "default",
        ConfigSource::DynamicGroup => "group",
        other => other.name(),
    }
}

pub(super) async fn change(State(web): State<Shared>, Path(name): Path<String>, body: Bytes) -> Answer {
    let body = Body::parse(&body)?;
    find(&web.node.image(), &name)?;
    if is_internal(&name) {
        return Err(Failure::bad_request("Kafka's own topics are not changed from here"));
    }
    let set = body.texts("set")?.into_iter().map(|(key, value)| ConfigChange::Set(key, value));
    let delete = body.list("delete")?.into_iter().map(ConfigChange::Delete);
    let changes: Vec<ConfigChange> = set.chain(delete).collect();
    if changes.is_empty() {
        return Err(Failure::bad_request("set or delete says what to change"));
    }
    web.clients()?
        .run(&CHANGE, move |client| client.alter_configs(ResourceKind::Topic, &name, &changes))
        .await?;
    Ok(Json(json!({"changed": true})))
}
