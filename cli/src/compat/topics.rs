//! `kafka-topics`: list, describe, create, alter, delete. Errors of the work itself go to standard output, as in
//! Apache Kafka's tool.

mod describe;

use std::io;

use moldau_model::{ErrorCode, Uuid};

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, refuse_beside, require, unresolvable};
use crate::client::regex::TopicPattern;
use crate::client::topics::{NewTopic, TopicListing};
use crate::client::{Client, ClientError};
use crate::console::{Console, errln, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("alter", Argument::No),
            ("at-min-isr-partitions", Argument::No),
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("config", Argument::Required),
            ("create", Argument::No),
            ("delete", Argument::No),
            ("delete-config", Argument::Required),
            ("describe", Argument::No),
            ("exclude-internal", Argument::No),
            ("help", Argument::No),
            ("if-exists", Argument::No),
            ("if-not-exists", Argument::No),
            ("list", Argument::No),
            ("partition-size-limit-per-response", Argument::Required),
            ("partitions", Argument::Required),
            ("replica-assignment", Argument::Required),
            ("replication-factor", Argument::Required),
            ("topic", Argument::Required),
            ("topic-id", Argument::Required),
            ("topics-with-overrides", Argument::No),
            ("unavailable-partitions", Argument::No),
            ("under-min-isr-partitions", Argument::No),
            ("under-replicated-partitions", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-topics.txt"),
    about: "This tool helps to create, delete, describe, or change a topic.",
};

const ACTIONS: &[&str] = &["create", "delete", "list", "alter", "describe"];
const REPORTS: &[&str] = &[
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "at-min-isr-partitions",
    "unavailable-partitions",
];

const METRIC_NAMES_WARNING: &str = "WARNING: Due to limitations in metric names, topics with a period ('.') or \
    underscore ('_') could collide. To avoid issues it is best to use either, but not both.";

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        // Why stands on standard error already; this is what Java's client says after its minute.
        Err(Failure::Client(error @ ClientError::Unreachable { .. })) if !error.is_refusal() => {
            let call =
                if arguments.iter().any(|word| word == "--create") { "createTopics" } else { "listTopics" };
            Err(failed(format!("Timed out waiting for a node assignment. Call: {call}")))
        }
        // Not the work's error for Kafka: no client, no command.
        Err(Failure::Unresolvable(made)) => Err(Failure::Text(unresolvable(made))),
        result => result,
    };
    TOOL.finish(result, "Error while executing topic command : ", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    if arguments.is_empty() {
        return Err(Failure::Usage("Create, delete, describe, or change a topic.".into()));
    }
    let options = TOOL.parse(arguments, console)?;
    check(&options, console)?;
    let mut client = connect(&options, "adminclient-1")?;
    if options.has("create") {
        create(&mut client, &options, console)
    } else if options.has("alter") {
        alter(&mut client, &options)
    } else if options.has("list") {
        list(&mut client, &options, console)
    } else if options.has("describe") {
        describe::run(&mut client, &options, console)
    } else {
        delete(&mut client, &options)
    }
}

/// The checks of Kafka's tool, in its order: the first wrong thing is the one that is reported.
fn check(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return Err(Failure::Usage(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete"
                .into(),
        ));
    }
    if options.has("delete-config") {
        errln!(
            console,
            "delete-config option is no longer supported and deprecated since version 4.0. \
             The config will be fully removed in future releases."
        );
    }
    if options.has("describe") && options.has("if-exists") && !options.has("topic-id") {
        require(options, &["topic"])?;
    }
    if !options.has("list") && !options.has("describe") {
        require(options, &["topic"])?;
    }
    if options.has("alter") {
        if options.has("config") {
            return Err(Failure::Usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" \
                 (To alter topic configurations, the kafka-configs tool can be used.)"
                    .into(),
            ));
        }
        require(options, &["partitions"])?;
    }
    let besides: &[(&str, &[&str])] = &[
        ("config", &["delete", "list", "describe"]),
        ("partitions", &["delete", "list", "describe"]),
        ("replication-factor", &["delete", "list", "alter", "describe"]),
        ("replica-assignment", &["delete", "list", "describe"]),
    ];
    for (option, others) in besides {
        refuse_beside(options, option, others)?;
    }
    if options.has("create") {
        refuse_beside(options, "replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        refuse_beside(options, report, &["create", "delete", "list", "alter", "topics-with-overrides"])?;
    }
    refuse_beside(options, "topics-with-overrides", &["create", "delete", "list", "alter"])?;
    refuse_beside(options, "if-exists", &["create", "list"])?;
    refuse_beside(options, "if-not-exists", &["delete", "list", "alter", "describe"])?;
    refuse_beside(options, "exclude-internal", &["create", "delete", "alter"])
}

/// A failure of the work itself, in Kafka's words.
fn failed(text: String) -> Failure {
    Failure::Client(ClientError::Broker { code: ErrorCode::InvalidRequest, message: text })
}

/// The topics that `--topic` stands for, by name.
fn matching(client: &mut Client, options: &Options) -> Result<Vec<TopicListing>, Failure> {
    let pattern = match options.one("topic")? {
        Some(pattern) => Some(TopicPattern::new(pattern).map_err(|error| failed(error.to_string()))?),
        None => None,
    };
    let mut topics = client.list_topics()?;
    topics.retain(|topic| {
        pattern.as_ref().is_none_or(|pattern| pattern.matches(&topic.name))
            && !(options.has("exclude-internal") && topic.internal)
    });
    Ok(topics)
}

/// As `matching`, where none is an error unless `--if-exists` allows it.
fn existing(client: &mut Client, options: &Options) -> Result<Vec<String>, Failure> {
    let topics = matching(client, options)?;
    if let (true, Some(topic), false) = (topics.is_empty(), options.one("topic")?, options.has("if-exists")) {
        return Err(failed(format!("Topic '{topic}' does not exist as expected")));
    }
    Ok(topics.into_iter().map(|topic| topic.name).collect())
}

fn list(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let names: Vec<String> = matching(client, options)?.into_iter().map(|topic| topic.name).collect();
    outln!(console, "{}", names.join("\n"));
    Ok(())
}

fn create(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let partitions = options.number::<i32>("partitions")?;
    let replication_factor = options.number::<i32>("replication-factor")?;
    let topic = NewTopic {
        name: options.one("topic")?.unwrap_or_default().to_owned(),
        partitions,
        replication_factor: replication_factor.and_then(|factor| i16::try_from(factor).ok()),
        assignments: options.one("replica-assignment")?.map(replica_assignment).transpose()?,
        configs: topic_configs(options.all("config"))?,
    };
    if topic.name.contains(['.', '_']) {
        outln!(console, "{METRIC_NAMES_WARNING}");
    }
    if replication_factor.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
        return Err(failed("The replication factor must be between 1 and 32767 inclusive".into()));
    }
    if partitions.is_some_and(|partitions| partitions < 1) {
        return Err(failed("The partitions must be greater than 0".into()));
    }
    if topic.name.is_empty() {
        return Err(failed("The given topic name '' cannot be represented in a request.".into()));
    }
    match client.create_topic(&topic, false) {
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) && options.has("if-not-exists") => {
            Ok(())
        }
        result => {
            result?;
            outln!(console, "Created topic {}.", topic.name);
            Ok(())
        }
    }
}

/// `key=value` per `--config`; blanks around the sign do not count.
fn topic_configs(given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    given
        .iter()
        .map(|config| match config.split_once('=') {
            Some((key, value)) if !value.trim().is_empty() && !value.contains('=') => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(failed(
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\"."
                    .into(),
            )),
        })
        .collect()
}

/// `1:2,2:1`: per partition its brokers.
fn replica_assignment(text: &str) -> Result<Vec<Vec<i32>>, Failure> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, list) in text.split(',').enumerate() {
        let mut brokers = Vec::new();
        for broker in list.split(':') {
            let id: i32 = broker
                .trim()
                .parse()
                .map_err(|_| failed(format!("For input string: \"{}\"", broker.trim())))?;
            if brokers.contains(&id) {
                return Err(failed(format!(
                    "Partition replica lists may not contain duplicate entries: {id}"
                )));
            }
            brokers.push(id);
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            let brokers: Vec<String> = brokers.iter().map(ToString::to_string).collect();
            return Err(failed(format!(
                "Partition {index} has different replication factor: [{}]",
                brokers.join(", ")
            )));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

fn alter(client: &mut Client, options: &Options) -> Result<(), Failure> {
    let partitions = options.number::<i32>("partitions")?.unwrap_or_default();
    let assignment = options.one("replica-assignment")?.map(replica_assignment).transpose()?;
    let names = existing(client, options)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut topics = Vec::with_capacity(names.len());
    match assignment {
        None => topics.extend(names.into_iter().map(|name| (name, None))),
        Some(assignment) => {
            for topic in client.describe_topics(&names, None)? {
                // Only the partitions to come; those that are stay where they are.
                let new = assignment.get(topic.partitions.len()..).unwrap_or_default().to_vec();
                topics.push((topic.name, Some(new)));
            }
        }
    }
    Ok(client.create_partitions(&topics, partitions)?)
}

fn delete(client: &mut Client, options: &Options) -> Result<(), Failure> {
    let names = existing(client, options)?;
    if names.is_empty() {
        return Ok(());
    }
    Ok(client.delete_topics(&names)?)
}

/// The id of `--topic-id`, where it is one at all.
fn topic_id(options: &Options) -> Result<Option<Uuid>, Failure> {
    let Some(text) = options.one("topic-id")? else { return Ok(None) };
    let id: Uuid = text.parse().map_err(|_| {
        failed(format!(
            "Input string `{text}` decoded as {} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID",
            text.len() * 3 / 4
        ))
    })?;
    Ok(Some(id).filter(|id| !id.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (u8, String, String) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    /// The texts are Apache Kafka 4.3.0's; each line comes before the option table.
    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            ("", "Create, delete, describe, or change a topic."),
            (
                "--bootstrap-server h:1",
                "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
            ),
            (
                "--list --describe",
                "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
            ),
            ("--help --list", "This tool helps to create, delete, describe, or change a topic."),
            ("--create", "Missing required argument \"[topic]\""),
            ("--delete", "Missing required argument \"[topic]\""),
            ("--alter --partitions 4", "Missing required argument \"[topic]\""),
            ("--alter --topic a", "Missing required argument \"[partitions]\""),
            ("--list --partitions 3", "Option \"[partitions]\" can't be used with option \"[list]\""),
            (
                "--create --topic a --if-exists",
                "Option \"[if-exists]\" can't be used with option \"[create]\"",
            ),
            ("--list --if-not-exists", "Option \"[if-not-exists]\" can't be used with option \"[list]\""),
            (
                "--alter --topic a --partitions 4 --replication-factor 2",
                "Option \"[replication-factor]\" can't be used with option \"[alter]\"",
            ),
            (
                "--create --topic a --replica-assignment 1 --partitions 2",
                "Option \"[replica-assignment]\" can't be used with option \"[partitions]\"",
            ),
            (
                "--alter --topic a --config a=b",
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)",
            ),
        ] {
            let (code, out, err) = refused(line);
            assert_eq!((code, out.as_str()), (1, ""), "{line}");
            assert_eq!(err, format!("{text}\n{}", TOOL.usage), "{line}");
        }
    }

    #[test]
    fn words_that_are_no_options_are_named() {
        for (line, text) in [
            ("--list --foo", "foo is not a recognized option\n"),
            ("--list --topic", "Option topic requires an argument\n"),
        ] {
            assert_eq!(refused(line), (1, String::new(), text.to_owned()), "{line}");
        }
    }

    #[test]
    fn servers_without_an_address_are_refused_at_once() {
        let text = "Failed to create new KafkaAdminClient\n\
            Caused by: org.apache.kafka.common.config.ConfigException: No resolvable bootstrap urls given in bootstrap.servers\n";
        let said = refused("--bootstrap-server no..such:9092 --list");
        assert_eq!(said, (1, String::new(), text.to_owned()));
    }

    #[test]
    fn a_topic_without_a_name_cannot_be_asked_for() {
        let words = ["--bootstrap-server", "127.0.0.1:1", "--create", "--topic", ""].map(str::to_owned);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Error while executing topic command : The given topic name '' cannot be represented in a request.\n"
        );
    }

    #[test]
    fn the_version_is_kafkas() {
        assert_eq!(refused("--version"), (0, "4.3.0\n".to_owned(), String::new()));
    }

    #[test]
    fn what_fails_before_the_cluster_is_asked_goes_to_standard_output() {
        let prefix = "Error while executing topic command : ";
        for (line, text) in [
            ("--partitions x", "Cannot parse argument 'x' of option partitions"),
            ("--partitions 0", "The partitions must be greater than 0"),
            ("--replication-factor 0", "The replication factor must be between 1 and 32767 inclusive"),
            ("--replica-assignment 1:1", "Partition replica lists may not contain duplicate entries: 1"),
            ("--replica-assignment 1:2,3", "Partition 1 has different replication factor: [3]"),
            (
                "--config foo",
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
            ),
        ] {
            let (code, out, err) = refused(&format!("--create --topic a {line}"));
            assert_eq!((code, out, err.as_str()), (1, format!("{prefix}{text}\n"), ""), "{line}");
        }
    }

    #[test]
    fn a_replica_assignment_is_read_partition_by_partition() {
        assert_eq!(replica_assignment("1:2,2:1").unwrap(), [[1, 2], [2, 1]]);
    }
}
