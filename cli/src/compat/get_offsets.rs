//! `kafka-get-offsets`: the offsets of partitions at a time, a line `topic:partition:offset` each.

use std::io;

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, unresolvable};
use crate::client::Client;
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::regex::TopicPattern;
use crate::console::{Console, errln, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("exclude-internal-topics", Argument::No),
            ("help", Argument::No),
            ("partitions", Argument::Required),
            ("time", Argument::Required),
            ("topic", Argument::Required),
            ("topic-partitions", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-get-offsets.txt"),
    about: "An interactive shell for getting topic-partition offsets.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        Err(Failure::Client(error)) => Err(Failure::Text(format!("Error occurred: {error}"))),
        Err(Failure::Option(error)) => Err(Failure::Text(format!("Error occurred: {error}"))),
        Err(Failure::Unresolvable(made)) => {
            Err(Failure::Text(format!("Error occurred: {}", unresolvable(made))))
        }
        other => other,
    };
    TOOL.finish(result, "", console)
}

fn wrong<T>(text: impl std::fmt::Display) -> Result<T, Failure> {
    Err(Failure::Text(format!("Error occurred: {text}")))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    if options.has("topic-partitions") && (options.has("topic") || options.has("partitions")) {
        return wrong("--topic-partitions cannot be used with --topic or --partitions");
    }
    let time = parse_time(options.one("time")?.unwrap_or("latest"))?;
    let filters = filters(&options)?;
    let mut client = connect(&options, "GetOffsetShell")?;
    let mut partitions = matching(&mut client, &filters, options.has("exclude-internal-topics"))?;
    if partitions.is_empty() {
        return wrong("Could not match any topic-partitions with the specified filters");
    }
    // Kafka's order: by name, and then by the index as a text.
    partitions.sort_by_cached_key(|(topic, index)| (topic.clone(), index.to_string()));
    let asked: Vec<(Partition, i64)> = partitions.iter().map(|p| (p.clone(), time)).collect();
    let mut answers = client.list_offsets(&asked, false)?;
    for partition in partitions {
        match answers.remove(&partition) {
            Some(Ok(at)) if at.offset >= 0 => {
                outln!(console, "{}:{}:{}", partition.0, partition.1, at.offset)
            }
            Some(Err(error)) => errln!(
                console,
                "Skip getting offsets for topic-partition {}-{} due to error: {error}",
                partition.0,
                partition.1
            ),
            // No record is that young.
            _ => {}
        }
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<i64, Failure> {
    match text {
        "latest" => Ok(LATEST),
        "earliest" => Ok(EARLIEST),
        "max-timestamp" => Ok(-3),
        "earliest-local" => Ok(-4),
        "latest-tiered" => Ok(-5),
        "earliest-pending-upload" => Ok(-6),
        number => number.parse().or_else(|_| {
            wrong(format!(
                "Malformed time argument {number}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / \
                 -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long \
                 format timestamp"
            ))
        }),
    }
}

/// Which partitions of the topics that a pattern matches: from the first to before the second.
struct Filter {
    pattern: Option<TopicPattern>,
    from: i32,
    to: i32,
}

fn pattern(text: &str) -> Result<Option<TopicPattern>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    TopicPattern::new(text).map(Some).or_else(wrong)
}

fn filters(options: &Options) -> Result<Vec<Filter>, Failure> {
    if let Some(list) = options.one("topic-partitions")? {
        return list.split(',').map(topic_partition_filter).collect();
    }
    let topic = options.one("topic")?.unwrap_or_default();
    let Some(list) = options.one("partitions")? else {
        return Ok(vec![Filter { pattern: pattern(topic)?, from: 0, to: i32::MAX }]);
    };
    list.split(',')
        .map(|index| match index.trim().parse::<i32>() {
            Ok(index) => Ok(Filter { pattern: pattern(topic)?, from: index, to: index.saturating_add(1) }),
            Err(_) => wrong(format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {list}"
            )),
        })
        .collect()
}

/// `topic`, `topic:3`, `topic:0-3`, `topic:4-`, `topic:-3`, each with or without the topic.
fn topic_partition_filter(text: &str) -> Result<Filter, Failure> {
    let (topic, range) = text.split_once(':').unwrap_or((text, "-"));
    let invalid = || Failure::Text(format!("Error occurred: Invalid rule: {text}"));
    let bound =
        |text: &str, open: i32| if text.is_empty() { Ok(open) } else { text.parse().map_err(|_| invalid()) };
    let (from, to) = match range.split_once('-') {
        Some((from, to)) => (bound(from, 0)?, bound(to, i32::MAX)?),
        None => {
            let only: i32 = range.parse().map_err(|_| invalid())?;
            (only, only.saturating_add(1))
        }
    };
    Ok(Filter { pattern: pattern(topic)?, from, to })
}

fn matching(
    client: &mut Client,
    filters: &[Filter],
    exclude_internal: bool,
) -> Result<Vec<Partition>, Failure> {
    let deadline = client.deadline();
    let response = client.metadata(None, deadline)?;
    let mut partitions = Vec::new();
    for topic in &response.topics {
        let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
        if exclude_internal && topic.is_internal {
            continue;
        }
        let wanted = |index: i32| {
            filters.iter().any(|filter| {
                filter.pattern.as_ref().is_none_or(|pattern| pattern.matches(&name))
                    && (filter.from..filter.to).contains(&index)
            })
        };
        let indexes = topic.partitions.iter().map(|p| p.partition_index).filter(|index| wanted(*index));
        partitions.extend(indexes.map(|index| (name.clone(), index)));
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_names_and_numbers() {
        for (text, time) in [("latest", -1), ("earliest", -2), ("-3", -3), ("max-timestamp", -3), ("5", 5)] {
            assert_eq!(parse_time(text).unwrap(), time, "{text}");
        }
        assert!(
            matches!(parse_time("foo"), Err(Failure::Text(text)) if text.contains("Malformed time argument foo."))
        );
    }

    #[test]
    fn partitions_are_named_in_ranges() {
        for (text, from, to) in
            [("a", 0, i32::MAX), ("a:1", 1, 2), ("a:0-3", 0, 3), ("a:4-", 4, i32::MAX), (":-3", 0, 3)]
        {
            let filter = topic_partition_filter(text).unwrap();
            assert_eq!((filter.from, filter.to), (from, to), "{text}");
        }
        assert!(topic_partition_filter("a:x").is_err());
    }
}
