//! `kafka-delete-records`: deletes the records of partitions before an offset. Kafka's tool waits a minute for a topic that
//! does not exist; this one says so at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use serde_json::Value;

use super::java_order::sort_partitions;
use super::options::{Argument, Spec};
use super::tool::{Failure, ToolInfo, connect, require, with_java_names};
use crate::client::metadata::topic_name;
use crate::client::offsets::Partition;
use crate::client::{Backoff, Client, ClientError};
use crate::console::{Console, outln};

/// What the brokers may take for it, told to them in the request.
const DELETING_TIMEOUT_MS: i32 = 60_000;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("help", Argument::No),
            ("offset-json-file", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-delete-records.txt"),
    about: "This tool helps to delete records of the given partitions down to the specified offset.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = with_java_names(run(arguments, console));
    TOOL.finish(result, "", console)
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    require(&options, &["offset-json-file"])?;
    let path = options.one("offset-json-file")?.unwrap_or_default();
    let text =
        std::fs::read_to_string(path).map_err(|_| Failure::Text(format!("Unable to read file {path}")))?;
    let goals = goals(&text)?;
    let mut client = connect(&options, "adminclient-1")?;
    outln!(console, "Executing records delete operation");
    console.out.flush()?;
    let mut outcomes = delete(&mut client, goals)?;
    outln!(console, "Records delete operation completed:");
    sort_partitions(&mut outcomes);
    for ((topic, index), outcome) in outcomes {
        match outcome {
            Ok(low_watermark) => {
                outln!(console, "partition: {topic}-{index}\tlow_watermark: {low_watermark}");
            }
            Err(error) => outln!(console, "partition: {topic}-{index}\terror: {}", error.java()),
        }
    }
    Ok(())
}

/// The partitions of the file, each with the offset before which everything goes.
fn goals(text: &str) -> Result<Vec<(Partition, i64)>, Failure> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return wrong("The input string is not a valid JSON");
    };
    // The first version is the only one.
    match value.get("version") {
        None => {}
        Some(version) if version.as_i64() == Some(1) => {}
        Some(version) => return wrong(format!("Not supported version field value {version}")),
    }
    let Some(list) = value["partitions"].as_array() else { return wrong("Missing partitions field") };
    let mut goals = Vec::with_capacity(list.len());
    for item in list {
        let index = item["partition"].as_i64().and_then(|index| i32::try_from(index).ok());
        match (item["topic"].as_str(), index, item["offset"].as_i64()) {
            (Some(topic), Some(index), Some(offset)) => goals.push(((topic.to_owned(), index), offset)),
            _ => return wrong(format!("{item} has no topic, partition and offset")),
        }
    }
    let mut seen = BTreeSet::new();
    let mut twice: Vec<(Partition, ())> = Vec::new();
    for (partition, _) in &goals {
        if !seen.insert(partition) && !twice.iter().any(|(known, ())| known == partition) {
            twice.push((partition.clone(), ()));
        }
    }
    if twice.is_empty() {
        return Ok(goals);
    }
    sort_partitions(&mut twice);
    let names: Vec<String> = twice.iter().map(|((topic, index), ())| format!("{topic}-{index}")).collect();
    wrong(format!("Offset json file contains duplicate topic partitions: {}", names.join(",")))
}

type Outcome = (Partition, Result<i64, ClientError>);

/// Asks each partition's leader, and looks for a new one where it moved.
fn delete(client: &mut Client, goals: Vec<(Partition, i64)>) -> Result<Vec<Outcome>, ClientError> {
    let deadline = client.deadline();
    let mut backoff = Backoff::new();
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(goals.len());
    let mut open = known(client, goals, &mut outcomes)?;
    while !open.is_empty() {
        let mut again = Vec::new();
        for (leader, group) in client.by_leader(&open, deadline)? {
            let answers = match leader {
                Some(leader) => delete_at(client, leader, &group, deadline),
                None => Err(ClientError::broker(5, None)),
            };
            match answers {
                Ok(mut answers) => {
                    for (partition, offset) in group {
                        let answer =
                            answers.remove(&partition).unwrap_or_else(|| Err(ClientError::broker(-1, None)));
                        match answer {
                            Err(error) if error.is_retriable() => again.push((partition, offset, error)),
                            answer => outcomes.push((partition, answer)),
                        }
                    }
                }
                Err(error) if error.is_retriable() => {
                    let text = error.to_string();
                    let later = |(partition, offset)| (partition, offset, ClientError::Timeout(text.clone()));
                    again.extend(group.into_iter().map(later));
                }
                Err(error) => return Err(error),
            }
        }
        if !again.is_empty() && !backoff.wait(deadline) {
            outcomes.extend(again.drain(..).map(|(partition, _, error)| (partition, Err(error))));
        }
        open = again.into_iter().map(|(partition, offset, _)| (partition, offset)).collect();
    }
    Ok(outcomes)
}

/// The partitions that there are; for others the outcome is known.
fn known(
    client: &mut Client,
    goals: Vec<(Partition, i64)>,
    outcomes: &mut Vec<Outcome>,
) -> Result<Vec<(Partition, i64)>, ClientError> {
    let names: BTreeSet<&str> = goals.iter().map(|((topic, _), _)| topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let deadline = client.deadline();
    let response = client.metadata(Some(&names), deadline)?;
    let mut there: BTreeSet<Partition> = BTreeSet::new();
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        there.extend(topic.partitions.iter().map(|p| (name.0.to_string(), p.partition_index)));
    }
    let (known, missing): (Vec<_>, Vec<_>) =
        goals.into_iter().partition(|(partition, _)| there.contains(partition));
    outcomes.extend(missing.into_iter().map(|(partition, _)| (partition, Err(ClientError::broker(3, None)))));
    Ok(known)
}

fn delete_at(
    client: &mut Client,
    leader: i32,
    goals: &[(Partition, i64)],
    deadline: std::time::Instant,
) -> Result<BTreeMap<Partition, Result<i64, ClientError>>, ClientError> {
    let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
    for ((topic, index), offset) in goals {
        let partition = DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset);
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    let request =
        DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(DELETING_TIMEOUT_MS);
    let response = client.call_broker(leader, &request, deadline)?;
    let mut answers = BTreeMap::new();
    for topic in &response.topics {
        for p in &topic.partitions {
            let answer = ClientError::check(p.error_code, None).map(|()| p.low_watermark);
            answers.insert((topic.name.0.to_string(), p.partition_index), answer);
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_each_partition_once_and_its_offset() {
        let text = r#"{"partitions":[{"topic":"a","partition":0,"offset":3}],"version":1}"#;
        assert_eq!(goals(text).unwrap(), [(("a".to_owned(), 0), 3)]);
        for (text, words) in [
            ("x", "The input string is not a valid JSON"),
            (r#"{"version":2,"partitions":[]}"#, "Not supported version field value 2"),
            ("{}", "Missing partitions field"),
            (
                r#"{"partitions":[{"topic":"a","partition":0,"offset":3},{"topic":"a","partition":0,"offset":1}]}"#,
                "Offset json file contains duplicate topic partitions: a-0",
            ),
        ] {
            assert!(matches!(goals(text), Err(Failure::Text(said)) if said == words), "{text}");
        }
    }

    #[test]
    fn the_file_is_needed() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = ["--bootstrap-server".to_owned(), "127.0.0.1:1".to_owned()];
        assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1);
        let text = String::from_utf8(err).unwrap();
        assert!(text.starts_with("Missing required argument \"[offset-json-file]\"\nOption "), "{text}");
    }
}
