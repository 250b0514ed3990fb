//! Writing one record.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Body, Failure, Json};
use super::clients::CHANGE;
use super::payload::from_hex;
use super::topics::{find, is_internal};
use crate::client::Client;
use crate::client::producer::{OutgoingRecord, Producer, ProducerOptions};

/// Headers of one record.
const HEADERS_MAX: usize = 100;

pub(super) async fn produce(State(web): State<Shared>, Path(name): Path<String>, body: Bytes) -> Answer {
    let body = Body::parse(&body)?;
    let topic = find(&web.node.image(), &name)?;
    if is_internal(&name) {
        return Err(Failure::bad_request("Kafka's own topics are not written to from here"));
    }
    let no_partition =
        || Failure::bad_request(format!("{name} has the partitions 0 to {}", topic.partition_count() - 1));
    let partition = match body.integer("partition")? {
        None => None,
        Some(number) => Some(
            i32::try_from(number)
                .ok()
                .filter(|n| (0..topic.partition_count()).contains(n))
                .ok_or_else(no_partition)?,
        ),
    };
    let record = OutgoingRecord {
        key: bytes(&body, "key")?,
        value: bytes(&body, "value")?,
        headers: headers(&body)?,
        partition,
    };
    // The client is the producer's, and goes with it: a producer keeps what it has.
    let written = web.clients()?.run_owning(&CHANGE, move |client| (None, write(client, &name, &record)));
    Ok(Json(written.await?))
}

fn write(client: Client, topic: &str, record: &OutgoingRecord) -> Result<Value, Failure> {
    let options = ProducerOptions { delivery_timeout: CHANGE.each, ..ProducerOptions::default() };
    let mut producer = Producer::new(client, topic, options);
    let mut failures = producer.send(record)?;
    failures.extend(producer.flush()?);
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.error.into());
    }
    let (partition, offset) = producer.written().iter().next().map_or((-1, -1), |(p, offset)| (*p, *offset));
    Ok(json!({"partition": partition, "offset": offset}))
}

/// `NAME` as text, or `NAME_hex`; nothing where neither is there, which for a value is a tombstone.
fn bytes(body: &Body, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let hex_name = format!("{name}_hex");
    if let Some(hex) = body.text(&hex_name)? {
        let wrong = || Failure::bad_request(format!("{hex_name} is pairs of hexadecimal digits"));
        return Ok(Some(from_hex(hex).ok_or_else(wrong)?));
    }
    Ok(body.text(name)?.map(|text| text.as_bytes().to_vec()))
}

fn headers(body: &Body) -> Result<Vec<(String, Option<Vec<u8>>)>, Failure> {
    let wrong =
        || Failure::bad_request(format!("headers is a list of at most {HEADERS_MAX} with key and value"));
    let Some(value) = body.get("headers") else { return Ok(Vec::new()) };
    let list = value.as_array().filter(|list| list.len() <= HEADERS_MAX).ok_or_else(wrong)?;
    list.iter()
        .map(|header| {
            let key = header["key"].as_str().ok_or_else(wrong)?;
            Ok((key.to_owned(), header["value"].as_str().map(|value| value.as_bytes().to_vec())))
        })
        .collect()
}
