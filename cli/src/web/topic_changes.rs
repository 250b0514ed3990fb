//! Creating, growing and deleting topics.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::json;

use super::Shared;
use super::answer::{Answer, Body, Failure, Json};
use super::clients::{CHANGE, QUESTION};
use super::topics::{find, is_internal};
use crate::client::topics::NewTopic;

pub(super) async fn create(State(web): State<Shared>, body: Bytes) -> Answer {
    let body = Body::parse(&body)?;
    let name = body.text("name")?.ok_or_else(|| Failure::bad_request("name says what to create"))?.to_owned();
    let number = |key: &str| -> Result<Option<i32>, Failure> {
        let wrong = || Failure::bad_request(format!("{key} is a number from 1"));
        body.integer(key)?
            .map(|number| i32::try_from(number).ok().filter(|n| *n > 0).ok_or_else(wrong))
            .transpose()
    };
    let replication_factor = number("replication_factor")?
        .map(|factor| {
            i16::try_from(factor).map_err(|_| Failure::bad_request("replication_factor is too large"))
        })
        .transpose()?;
    let topic = NewTopic {
        name: name.clone(),
        partitions: number("partitions")?,
        replication_factor,
        assignments: None,
        configs: body.texts("configs")?,
    };
    let validate_only = body.flag("validate_only", false)?;
    web.clients()?.run(&CHANGE, move |client| client.create_topic(&topic, validate_only)).await?;
    if !validate_only {
        // The page that shows the topic next asks this node, which is not to say that there is none.
        let is_known = |image: &moldau_metadata::MetadataImage| image.topics().by_name(&name).is_some();
        web.node.broker()?.control.metadata.wait_until(QUESTION.each, is_known).await;
    }
    Ok(Json(json!({"created": !validate_only, "name": name})))
}

pub(super) async fn delete(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    let topic = find(&web.node.image(), &name)?;
    if is_internal(&name) {
        return Err(Failure::bad_request("Kafka's own topics are not deleted from here"));
    }
    web.clients()?.run(&CHANGE, move |client| client.delete_topics(&[name])).await?;
    let is_gone = |image: &moldau_metadata::MetadataImage| image.topics().by_id(topic.id()).is_none();
    web.node.broker()?.control.metadata.wait_until(QUESTION.each, is_gone).await;
    Ok(Json(json!({"deleted": true})))
}

pub(super) async fn add_partitions(
    State(web): State<Shared>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let count = Body::parse(&body)?.integer("count")?.and_then(|count| i32::try_from(count).ok());
    let count =
        count.ok_or_else(|| Failure::bad_request("count says how many partitions there are to be in all"))?;
    find(&web.node.image(), &name)?;
    // Which partition of theirs a group or a transaction belongs to goes by their number.
    if is_internal(&name) {
        return Err(Failure::bad_request("Kafka's own topics get no partitions from here"));
    }
    web.clients()?.run(&CHANGE, move |client| client.create_partitions(&[(name, None)], count)).await?;
    Ok(Json(json!({"partitions": count})))
}
