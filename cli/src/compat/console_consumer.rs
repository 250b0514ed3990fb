//! `kafka-console-consumer`: records of topics to standard output, a line each.

use std::io;
use std::time::Duration;

use super::formatter::Formatter;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, NO_CONSUMER, ToolInfo, connect_dialing, dialer};
use crate::client::API_TIMEOUT;
use crate::client::consumer::parse_start;
use crate::client::offsets::{EARLIEST, LATEST};
use crate::client::regex::TopicPattern;
use crate::console::{Console, errln, outln};
use crate::consume::{self, ConsumeError, ConsumeOptions, Subscription};
use crate::properties;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("command-property", Argument::Required),
            ("consumer-property", Argument::Required),
            ("consumer.config", Argument::Required),
            ("enable-systest-events", Argument::No),
            ("formatter", Argument::Required),
            ("formatter-config", Argument::Required),
            ("formatter-property", Argument::Required),
            ("from-beginning", Argument::No),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("include", Argument::Required),
            ("isolation-level", Argument::Required),
            ("key-deserializer", Argument::Required),
            ("max-messages", Argument::Required),
            ("offset", Argument::Required),
            ("partition", Argument::Required),
            ("property", Argument::Required),
            ("skip-message-on-error", Argument::No),
            ("timeout-ms", Argument::Required),
            ("topic", Argument::Required),
            ("value-deserializer", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-console-consumer.txt"),
    about: "This tool helps to read data from Kafka topics and outputs it to standard output.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "", console)
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    let consumer_properties = consumer_properties(&options, console)?;
    let consume_options = consume_options(&options, &consumer_properties)?;
    let formatter = formatter(&options, console)?;
    let dialer = dialer(&consumer_properties)?;
    let mut client = connect_dialing(&options, "console-consumer", API_TIMEOUT, dialer, NO_CONSUMER)?;
    let stop = consume::stop_on_signals();
    // Both the records and the end of each round write to the one output.
    let out = std::cell::RefCell::new(&mut *console.out);
    let (count, result) = consume::run(
        &mut client,
        &consume_options,
        &stop,
        &mut |record| match &formatter {
            Some(formatter) => formatter.write(&record.to_incoming(), &mut **out.borrow_mut()),
            None => Ok(()),
        },
        &mut |_| out.borrow_mut().flush(),
    );
    errln!(console, "Processed a total of {count} messages");
    match result {
        Ok(()) => Ok(()),
        Err(ConsumeError::Output(error)) => Err(Failure::Io(error)),
        Err(ConsumeError::Client(error)) => Err(Failure::Text(error.java())),
    }
}

/// Properties given as `key=value`, after those of a file.
pub(super) fn key_values(
    options: &Options,
    file_options: &[&str],
    property_options: &[&str],
) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for option in file_options {
        if let Some(path) = options.one(option)? {
            let text =
                std::fs::read_to_string(path).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
            let parsed =
                properties::parse(&text).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
            all.extend(parsed);
        }
    }
    for option in property_options {
        for text in options.all(option) {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            // A shell passes the two characters \t on; every tutorial means the tabulator.
            all.push((key.to_owned(), value.replace("\\t", "\t")));
        }
    }
    Ok(all)
}

/// Says that an option's older name was used; refuses both names at once. `flags` are older, newer name.
pub(super) fn warn_renamed(
    options: &Options,
    flags: &[(&str, &str)],
    quoted: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    for (old, new) in flags {
        if !options.has(old) {
            continue;
        }
        if options.has(new) {
            return usage(format!("Options --{new} and --{old} cannot be specified together."));
        }
        let tail =
            format!("--{old} is deprecated and will be removed in a future version. Use --{new} instead.");
        outln!(console, "{} {tail}", if quoted { "Warning:" } else { "Option" });
    }
    Ok(())
}

fn consumer_properties(
    options: &Options,
    console: &mut Console<'_>,
) -> Result<Vec<(String, String)>, Failure> {
    let renamed = [
        ("property", "formatter-property"),
        ("consumer-property", "command-property"),
        ("consumer.config", "command-config"),
    ];
    warn_renamed(options, &renamed, false, console)?;
    key_values(options, &["consumer.config", "command-config"], &["consumer-property", "command-property"])
}

pub(super) fn formatter(options: &Options, console: &mut Console<'_>) -> Result<Option<Formatter>, Failure> {
    let class =
        options.one("formatter")?.unwrap_or("org.apache.kafka.tools.consumer.DefaultMessageFormatter");
    match class.rsplit('.').next().unwrap_or(class) {
        "DefaultMessageFormatter" => {}
        "NoOpMessageFormatter" => return Ok(None),
        _ => return Err(Failure::Text(format!("{class} is a Java class that this tool cannot load"))),
    }
    let mut all = key_values(options, &["formatter-config"], &["property", "formatter-property"])?;
    for (option, key) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = options.one(option)? {
            all.push((key.to_owned(), class.to_owned()));
        }
    }
    let _ = console;
    Formatter::configure(&all).map(Some).map_err(Failure::Text)
}

fn consume_options(options: &Options, consumer: &[(String, String)]) -> Result<ConsumeOptions, Failure> {
    let property = |key: &str| consumer.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let subscription = match (options.one("topic")?, options.one("include")?) {
        (Some(topic), None) => Subscription::Topic(topic.to_owned()),
        (None, Some(pattern)) => Subscription::Pattern(
            TopicPattern::new(pattern).map_err(|error| Failure::Text(error.to_string()))?,
        ),
        _ => return usage("Exactly one of the following arguments is required: [topic], [include]"),
    };
    let partition = options.number::<i32>("partition")?;
    if partition.is_some() && options.has("include") {
        return usage("The topic is required when partition is specified.");
    }
    let offset = match options.one("offset")? {
        None => None,
        Some(_) if partition.is_none() => {
            return usage("The partition is required when offset is specified.");
        }
        Some(_) if options.has("from-beginning") => {
            return usage("Options from-beginning and offset cannot be specified together.");
        }
        Some(text) => match parse_start(&text.to_ascii_lowercase()) {
            Some(start) => Some(start),
            None => {
                return usage(format!(
                    "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a \
                     non-negative long."
                ));
            }
        },
    };
    let start = match (offset, options.has("from-beginning"), property("auto.offset.reset")) {
        (Some(offset), _, _) => offset,
        (None, true, Some("latest")) => {
            return usage(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset=latest', please remove one \
                 option",
            );
        }
        (None, true, _) | (None, false, Some("earliest")) => EARLIEST,
        _ => LATEST,
    };
    let group = options.one("group")?.or_else(|| property("group.id")).map(str::to_owned);
    if group.is_some() && partition.is_some() {
        return usage("Options group and partition cannot be specified together.");
    }
    let isolation =
        options.one("isolation-level")?.or_else(|| property("isolation.level")).unwrap_or("read_uncommitted");
    if !["read_uncommitted", "read_committed"].contains(&isolation) {
        return Err(Failure::Text(format!(
            "Invalid value {isolation} for configuration isolation.level: String must be one of: \
             read_uncommitted, read_committed"
        )));
    }
    let idle_max = options.number::<i64>("timeout-ms")?.and_then(|ms| u64::try_from(ms).ok());
    Ok(ConsumeOptions {
        subscription,
        group,
        partition,
        start,
        read_committed: isolation == "read_committed",
        records_max: options.number::<i64>("max-messages")?.and_then(|count| u64::try_from(count).ok()),
        idle_max: idle_max.map(Duration::from_millis),
        partition_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            ("", "This tool helps to read data from Kafka topics and outputs it to standard output."),
            ("--from-beginning", "Exactly one of the following arguments is required: [topic], [include]"),
            (
                "--topic a --include b",
                "Exactly one of the following arguments is required: [topic], [include]",
            ),
            ("--topic a --offset 3", "The partition is required when offset is specified."),
            (
                "--topic a --partition 0 --offset -3",
                "The provided offset value '-3' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.",
            ),
            (
                "--topic a --partition 0 --offset 3 --from-beginning",
                "Options from-beginning and offset cannot be specified together.",
            ),
            (
                "--topic a --partition 0 --group g",
                "Options group and partition cannot be specified together.",
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len()), (1, 0), "{line}");
            assert_eq!(String::from_utf8(err).unwrap(), format!("{text}\n{}", TOOL.usage), "{line}");
        }
    }
}
