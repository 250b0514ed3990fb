//! `kafka-log-dirs`: what lies in brokers' log directories, as JSON in the words and the order of the real tool.

use std::collections::BTreeSet;
use std::io;

use super::java_order;
use super::options::{Argument, Spec};
use super::tool::{Failure, ToolInfo, connect, require};
use crate::client::log_dirs::LogDirDescription;
use crate::console::{Console, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("broker-list", Argument::Required),
            ("command-config", Argument::Required),
            ("describe", Argument::No),
            ("help", Argument::No),
            ("topic-list", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-log-dirs.txt"),
    about: "This tool helps to query log directory usage on the specified brokers.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        Err(Failure::Client(error)) => Err(Failure::Text(error.java())),
        other => other,
    };
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    require(&options, &["describe"])?;
    let listed = |name: &str| -> Result<Vec<String>, Failure> {
        let text = options.one(name)?.unwrap_or_default();
        Ok(text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    };
    let topics: BTreeSet<String> = listed("topic-list")?.into_iter().collect();
    let number = |text: String| {
        text.parse::<i32>().map_err(|_| Failure::Text(format!("For input string: \"{text}\"")))
    };
    let wished = listed("broker-list")?.into_iter().map(number).collect::<Result<BTreeSet<i32>, _>>()?;
    let mut client = connect(&options, "log-dirs-tool")?;
    let all: BTreeSet<i32> = client.broker_ids()?.into_iter().collect();
    let missing: BTreeSet<i32> = wished.difference(&all).copied().collect();
    if !missing.is_empty() {
        return Err(Failure::Text(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            joined(&missing),
            joined(&all)
        )));
    }
    let brokers = if wished.is_empty() { all } else { wished };
    outln!(console, "Querying brokers for log directories information");
    let mut described = Vec::with_capacity(brokers.len());
    for broker in &brokers {
        described.push((*broker, client.describe_log_dirs(*broker)?));
    }
    outln!(console, "Received log directory information from brokers {}", joined(&brokers));
    let brokers: Vec<String> =
        described.into_iter().map(|(broker, dirs)| broker_json(broker, dirs, &topics)).collect();
    outln!(console, "{{\"brokers\":[{}],\"version\":1}}", brokers.join(","));
    Ok(())
}

fn joined(brokers: &BTreeSet<i32>) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn broker_json(broker: i32, mut dirs: Vec<LogDirDescription>, topics: &BTreeSet<String>) -> String {
    let count = dirs.len();
    java_order::sort(&mut dirs, count, |dir| &dir.path);
    let dirs: Vec<String> = dirs.into_iter().map(|dir| dir_json(dir, topics)).collect();
    format!("{{\"broker\":{broker},\"logDirs\":[{}]}}", dirs.join(","))
}

fn dir_json(dir: LogDirDescription, topics: &BTreeSet<String>) -> String {
    let LogDirDescription { path, error, replicas, .. } = dir;
    let mut replicas: Vec<_> =
        replicas.into_iter().filter(|((topic, _), _)| topics.is_empty() || topics.contains(topic)).collect();
    java_order::sort_partitions(&mut replicas);
    let replicas: Vec<String> = replicas
        .into_iter()
        .map(|((topic, partition), replica)| {
            format!(
                "{{\"partition\":\"{topic}-{partition}\",\"size\":{},\"offsetLag\":{},\"isFuture\":{}}}",
                replica.size_bytes, replica.offset_lag, replica.is_future
            )
        })
        .collect();
    let error = error.map_or_else(
        || "null".to_owned(),
        |code| format!("\"org.apache.kafka.common.errors.{}\"", code.exception()),
    );
    let path = serde_json::Value::from(path);
    format!("{{\"partitions\":[{}],\"error\":{error},\"logDir\":{path}}}", replicas.join(","))
}

#[cfg(test)]
mod tests {
    use moldau_model::ErrorCode;

    use super::*;
    use crate::client::log_dirs::ReplicaInDir;

    #[test]
    fn directories_are_printed_as_apache_kafka_printed_them() {
        let replica = |partition: i32, size_bytes: i64| {
            let info = ReplicaInDir { size_bytes, offset_lag: 0, is_future: false };
            (("pageview".to_owned(), partition), info)
        };
        let dir = LogDirDescription {
            path: "/var/lib/kafka/d1".to_owned(),
            error: None,
            total_bytes: None,
            usable_bytes: None,
            replicas: vec![replica(1, 126), replica(0, 0), (("other".to_owned(), 0), replica(0, 1).1)],
        };
        let of = BTreeSet::from(["pageview".to_owned()]);
        assert_eq!(
            broker_json(1, vec![dir], &of),
            r#"{"broker":1,"logDirs":[{"partitions":[{"partition":"pageview-0","size":0,"offsetLag":0,"isFuture":false},{"partition":"pageview-1","size":126,"offsetLag":0,"isFuture":false}],"error":null,"logDir":"/var/lib/kafka/d1"}]}"#
        );
        let failed = LogDirDescription {
            path: "/a \"b\"".to_owned(),
            error: Some(ErrorCode::KafkaStorageError),
            total_bytes: None,
            usable_bytes: None,
            replicas: Vec::new(),
        };
        assert_eq!(
            dir_json(failed, &of),
            r#"{"partitions":[],"error":"org.apache.kafka.common.errors.KafkaStorageException","logDir":"/a \"b\""}"#
        );
    }
}
