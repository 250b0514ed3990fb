//! `kafka-leader-election`: has preferred, or out-of-sync, replicas elected.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use moldau_model::ErrorCode;
use serde_json::Value;

use super::java_order::sort_partitions;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect_within};
use crate::client::metadata::topic_name;
use crate::client::offsets::Partition;
use crate::client::{Client, ClientError};
use crate::console::{Console, outln};

/// The tool's own bound, which is shorter than other tools'.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// What the controller may take for it, told to it in the request.
const ELECTION_TIMEOUT_MS: i32 = 60_000;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("admin.config", Argument::Required),
            ("all-topic-partitions", Argument::No),
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("election-type", Argument::Required),
            ("help", Argument::No),
            ("partition", Argument::Required),
            ("path-to-json-file", Argument::Required),
            ("topic", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-leader-election.txt"),
    about: "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are \
            preferred replicas and unclean replicas.",
};

/// Of these exactly one says which partitions.
const PARTITIONS_BY: [&str; 3] = ["topic", "all-topic-partitions", "path-to-json-file"];

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        Err(Failure::Client(error)) => Err(Failure::Text(error.to_string())),
        Err(Failure::Option(error)) => Err(Failure::Text(error.to_string())),
        other => other,
    };
    TOOL.finish(result, "", console)
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

/// A kind of election, with its number in the protocol and the name that is printed.
#[derive(Clone, Copy)]
enum ElectionType {
    Preferred = 0,
    Unclean = 1,
}

impl ElectionType {
    const fn name(self) -> &'static str {
        match self {
            Self::Preferred => "PREFERRED",
            Self::Unclean => "UNCLEAN",
        }
    }
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    let (election, asked) = check(&options)?;
    let mut client = connect_within(&options, "adminclient-1", API_TIMEOUT)?;
    let outcomes = elect(&mut client, election, asked.as_deref()).map_err(|error| match error {
        ClientError::Timeout(_) | ClientError::Unreachable { .. } => {
            Failure::Text("Timeout waiting for election results".to_owned())
        }
        other => Failure::Client(other),
    })?;
    report(election, outcomes, console)
}

/// What is to be elected: `None` for every partition.
fn check(options: &Options) -> Result<(ElectionType, Option<Vec<Partition>>), Failure> {
    let Some(election) = options.one("election-type")? else {
        return wrong("Missing required option(s): election-type");
    };
    if PARTITIONS_BY.iter().filter(|name| options.has(name)).count() != 1 {
        let names = PARTITIONS_BY.join(", ");
        return wrong(format!("One and only one of the following options is required: {names}"));
    }
    match (options.has("topic"), options.has("partition")) {
        (true, false) => return wrong("Missing required option(s): partition"),
        (false, true) => return wrong("Option partition is only allowed if topic is used"),
        _ => {}
    }
    let election = match election.to_ascii_lowercase().as_str() {
        "preferred" => ElectionType::Preferred,
        "unclean" => ElectionType::Unclean,
        _ => return wrong(format!("Cannot parse argument '{election}' of option election-type")),
    };
    if let Some(topic) = options.one("topic")? {
        let partition = options.number("partition")?.unwrap_or_default();
        return Ok((election, Some(vec![(topic.to_owned(), partition)])));
    }
    match options.one("path-to-json-file")? {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|_| Failure::Text(format!("java.io.IOException: Unable to read file {path}")))?;
            Ok((election, Some(partitions(&text)?)))
        }
        None => Ok((election, None)),
    }
}

/// The partitions of the file.
fn partitions(text: &str) -> Result<Vec<Partition>, Failure> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return wrong("Replica election data is empty");
    };
    let Some(list) = value["partitions"].as_array() else {
        return wrong("Replica election data is missing \"partitions\" field");
    };
    let mut partitions = Vec::with_capacity(list.len());
    for item in list {
        let index = item["partition"].as_i64().and_then(|index| i32::try_from(index).ok());
        match (item["topic"].as_str(), index) {
            (Some(topic), Some(index)) => partitions.push(((topic.to_owned(), index), ())),
            _ => {
                return wrong(format!("Replica election data holds {item}, which is no topic and partition"));
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut twice: Vec<(Partition, ())> = Vec::new();
    for (partition, ()) in &partitions {
        if !seen.insert(partition) && !twice.iter().any(|(known, ())| known == partition) {
            twice.push((partition.clone(), ()));
        }
    }
    if !twice.is_empty() {
        sort_partitions(&mut twice);
        let names = joined(&twice);
        return wrong(format!("Replica election data contains duplicate partitions: [{names}]"));
    }
    Ok(partitions.into_iter().map(|(partition, ())| partition).collect())
}

type Outcome = (Partition, Option<ClientError>);

fn elect(
    client: &mut Client,
    election: ElectionType,
    asked: Option<&[Partition]>,
) -> Result<Vec<Outcome>, ClientError> {
    let topics = asked.map(|asked| {
        let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
        for (topic, partition) in asked {
            match topics.iter_mut().find(|(known, _)| known == topic) {
                Some((_, partitions)) => partitions.push(*partition),
                None => topics.push((topic, vec![*partition])),
            }
        }
        let of_topic = |(topic, partitions): (&str, Vec<i32>)| {
            TopicPartitions::default().with_topic(topic_name(topic)).with_partitions(partitions)
        };
        topics.into_iter().map(of_topic).collect()
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(election as i8)
        .with_topic_partitions(topics)
        .with_timeout_ms(ELECTION_TIMEOUT_MS);
    let response = client.call(&request)?;
    ClientError::check(response.error_code, None)?;
    let outcomes = response.replica_election_results.iter().flat_map(|topic| {
        topic.partition_result.iter().map(|p| {
            let error = ClientError::check(p.error_code, p.error_message.as_deref()).err();
            ((topic.topic.0.to_string(), p.partition_id), error)
        })
    });
    Ok(outcomes.collect())
}

fn report(election: ElectionType, outcomes: Vec<Outcome>, console: &mut Console<'_>) -> Result<(), Failure> {
    let name = election.name();
    let (mut elected, mut unneeded, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, error) in outcomes {
        match error {
            None => elected.push((partition, ())),
            Some(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {
                unneeded.push((partition, ()))
            }
            Some(error) => failed.push((partition, error)),
        }
    }
    sort_partitions(&mut elected);
    sort_partitions(&mut unneeded);
    sort_partitions(&mut failed);
    if !elected.is_empty() {
        outln!(
            console,
            "Successfully completed leader election ({name}) for partitions {}",
            joined(&elected)
        );
    }
    if !unneeded.is_empty() {
        outln!(console, "Valid replica already elected for partitions {}", joined(&unneeded));
    }
    for ((topic, index), error) in &failed {
        outln!(
            console,
            "Error completing leader election ({name}) for partition: {topic}-{index}: {}",
            error.java()
        );
    }
    match failed.len() {
        0 => Ok(()),
        count => wrong(format!("{count} replica(s) could not be elected")),
    }
}

fn joined(partitions: &[(Partition, ())]) -> String {
    let names: Vec<String> =
        partitions.iter().map(|((topic, index), ())| format!("{topic}-{index}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1, "{line}");
        assert_eq!(out, b"", "{line}");
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn wrong_lines_have_the_tools_own_words() {
        let one_of = "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file\n";
        for (line, text) in [
            ("--topic a --partition 0", "Missing required option(s): election-type\n"),
            ("--election-type preferred", one_of),
            ("--election-type preferred --partition 1", one_of),
            ("--election-type preferred --topic a --partition 1 --all-topic-partitions", one_of),
            ("--election-type preferred --topic a", "Missing required option(s): partition\n"),
            (
                "--election-type preferred --all-topic-partitions --partition 1",
                "Option partition is only allowed if topic is used\n",
            ),
            (
                "--election-type frob --topic a --partition 1",
                "Cannot parse argument 'frob' of option election-type\n",
            ),
        ] {
            assert_eq!(refusal(line), text, "{line}");
        }
    }

    #[test]
    fn a_file_names_each_partition_once() {
        let two = r#"{"partitions":[{"topic":"a","partition":0},{"topic":"a","partition":1}]}"#;
        assert_eq!(partitions(two).unwrap(), [("a".to_owned(), 0), ("a".to_owned(), 1)]);
        for (text, words) in [
            (two.replace(":1}", ":0}"), "Replica election data contains duplicate partitions: [a-0]"),
            ("x".to_owned(), "Replica election data is empty"),
            ("{}".to_owned(), "Replica election data is missing \"partitions\" field"),
        ] {
            assert!(matches!(partitions(&text), Err(Failure::Text(said)) if said == words), "{text}");
        }
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_tool() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, err: &mut err };
        let not_needed = || Some(ClientError::broker(ErrorCode::ElectionNotNeeded.code(), None));
        let unknown = Some(ClientError::broker(3, Some("No such topic as nope")));
        let outcomes = vec![
            (("a".to_owned(), 0), not_needed()),
            (("a".to_owned(), 1), not_needed()),
            (("b".to_owned(), 0), None),
            (("nope".to_owned(), 0), unknown),
        ];
        let failed = report(ElectionType::Preferred, outcomes, &mut console);
        assert!(matches!(failed, Err(Failure::Text(text)) if text == "1 replica(s) could not be elected"));
        let expected = "\
Successfully completed leader election (PREFERRED) for partitions b-0
Valid replica already elected for partitions a-1, a-0
Error completing leader election (PREFERRED) for partition: nope-0: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: No such topic as nope
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
