//! `kafka-console-share-consumer`: records of a topic to standard output, as a member of a share group.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::console_consumer::{formatter, key_values, warn_renamed};
use super::formatter::Formatter;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, NO_CONSUMER, ToolInfo, connect_dialing, dialer};
use crate::client::share_consumer::{Acknowledge, ShareConsumer};
use crate::client::{API_TIMEOUT, Client};
use crate::console::{Console, errln};
use crate::consume::{self, ConsumeError, Stop};
use crate::start::storage::random_id;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("command-property", Argument::Required),
            ("consumer-config", Argument::Required),
            ("consumer-property", Argument::Required),
            ("enable-systest-events", Argument::No),
            ("formatter", Argument::Required),
            ("formatter-config", Argument::Required),
            ("formatter-property", Argument::Required),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("key-deserializer", Argument::Required),
            ("max-messages", Argument::Required),
            ("property", Argument::Required),
            ("reject", Argument::No),
            ("reject-message-on-error", Argument::No),
            ("release", Argument::No),
            ("timeout-ms", Argument::Required),
            ("topic", Argument::Required),
            ("value-deserializer", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-console-share-consumer.txt"),
    about: "This tool helps to read data from Kafka topics using share groups and outputs it to standard output.",
};

/// The group of who names none.
const DEFAULT_GROUP: &str = "console-share-consumer";
const POLL: Duration = Duration::from_millis(500);

/// What to read, and what to say of it.
struct Terms {
    topic: String,
    group: String,
    acknowledge: Acknowledge,
    rejects_on_error: bool,
    records_max: Option<u64>,
    /// Stop after this long without a record.
    idle_max: Option<Duration>,
    /// Of the files, and over them those of the line.
    properties: Vec<(String, String)>,
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "", console)
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    let renamed = [
        ("property", "formatter-property"),
        ("consumer-property", "command-property"),
        ("consumer-config", "command-config"),
    ];
    warn_renamed(&options, &renamed, false, console)?;
    let terms = terms(&options)?;
    let formatter = formatter(&options, console)?;
    let mut client = connect_dialing(
        &options,
        "console-share-consumer",
        API_TIMEOUT,
        dialer(&terms.properties)?,
        NO_CONSUMER,
    )?;
    let stop = consume::stop_on_signals();
    let mut consumer = ShareConsumer::new(&terms.group, &terms.topic, random_id()?.to_string());
    let mut count = 0;
    let read = read(&mut client, &mut consumer, &terms, formatter.as_ref(), &stop, &mut count, console);
    let closed = consumer.close(&mut client);
    errln!(console, "Processed a total of {count} messages");
    match read.and(closed.map_err(ConsumeError::from)) {
        Ok(()) => Ok(()),
        Err(ConsumeError::Output(error)) => Err(Failure::Io(error)),
        Err(ConsumeError::Client(error)) => Err(Failure::Text(error.java())),
    }
}

fn terms(options: &Options) -> Result<Terms, Failure> {
    let Some(topic) = options.one("topic")? else {
        return usage("--topic is a required argument");
    };
    if options.has("reject") && options.has("release") {
        return usage("At most one of --reject and --release may be specified.");
    }
    let acknowledge = match (options.has("reject"), options.has("release")) {
        (true, _) => Acknowledge::Reject,
        (_, true) => Acknowledge::Release,
        _ => Acknowledge::Accept,
    };
    let files = key_values(options, &["consumer-config", "command-config"], &[])?;
    let properties = key_values(options, &[], &["consumer-property", "command-property"])?;
    let number = |name: &str| -> Result<Option<u64>, Failure> {
        Ok(options.number::<i64>(name)?.and_then(|number| u64::try_from(number).ok()))
    };
    Ok(Terms {
        topic: topic.to_owned(),
        group: group(options.one("group")?, &properties, &files)?,
        acknowledge,
        rejects_on_error: options.has("reject-message-on-error"),
        records_max: number("max-messages")?,
        idle_max: number("timeout-ms")?.map(Duration::from_millis),
        properties: files.into_iter().chain(properties).collect(),
    })
}

/// The one group that the line and the properties name.
fn group(
    named: Option<&str>,
    properties: &[(String, String)],
    files: &[(String, String)],
) -> Result<String, Failure> {
    let of = |all: &[(String, String)]| {
        all.iter().rev().find(|(key, _)| key == "group.id").map(|(_, value)| value.clone())
    };
    let given: BTreeSet<String> =
        [named.map(str::to_owned), of(properties), of(files)].into_iter().flatten().collect();
    if given.len() > 1 {
        let given: Vec<String> = given.iter().map(|group| format!("'{group}'")).collect();
        return usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer-config') do not match. Detected group ids: {}",
            given.join(", ")
        ));
    }
    Ok(given.into_iter().next().unwrap_or_else(|| DEFAULT_GROUP.to_owned()))
}

/// Reads until told to stop. Records that came and are not printed any more are not spoken of: the end of the session gives them
/// back.
fn read(
    client: &mut Client,
    consumer: &mut ShareConsumer,
    terms: &Terms,
    formatter: Option<&Formatter>,
    stop: &Stop,
    count: &mut u64,
    console: &mut Console<'_>,
) -> Result<(), ConsumeError> {
    let mut idle_since = Instant::now();
    let mut was_assigned = false;
    loop {
        let is_over = |count: u64| {
            stop.load(Ordering::SeqCst) || terms.records_max.is_some_and(|records_max| count >= records_max)
        };
        if is_over(*count) {
            return Ok(());
        }
        // Joining is no want of records.
        if !was_assigned && consumer.is_assigned() {
            was_assigned = true;
            idle_since = Instant::now();
        }
        let wait = match terms.idle_max {
            Some(idle_max) if idle_since.elapsed() >= idle_max => return Ok(()),
            Some(idle_max) => idle_max.saturating_sub(idle_since.elapsed()).min(POLL),
            None => POLL,
        };
        for record in consumer.poll(client, wait)? {
            if is_over(*count) {
                break;
            }
            let printed = formatter.map_or(Ok(()), |formatter| formatter.write(&record, &mut *console.out));
            match printed {
                Ok(()) => consumer.acknowledge(&record, terms.acknowledge),
                Err(error) if terms.rejects_on_error && error.kind() == io::ErrorKind::Other => {
                    errln!(console, "Error processing message, rejecting this message: {error}");
                    consumer.acknowledge(&record, Acknowledge::Reject);
                }
                Err(error) => return Err(error.into()),
            }
            *count += 1;
            idle_since = Instant::now();
        }
        console.out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            ("", TOOL.about),
            ("--bootstrap-server h:1", "--topic is a required argument"),
            ("--topic t --reject --release", "At most one of --reject and --release may be specified."),
            (
                "--topic t --group a --command-property group.id=b",
                "The group ids provided in different places (directly using '--group', via '--consumer-property', or \
                 via '--consumer-config') do not match. Detected group ids: 'a', 'b'",
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len()), (1, 0), "{line}");
            assert_eq!(String::from_utf8(err).unwrap(), format!("{text}\n{}", TOOL.usage), "{line}");
        }
    }

    #[test]
    fn a_group_that_nobody_names_is_kafkas() {
        let property = |value: &str| vec![("group.id".to_owned(), value.to_owned())];
        assert_eq!(group(None, &[], &[]).unwrap(), "console-share-consumer");
        assert_eq!(group(None, &property("g"), &property("g")).unwrap(), "g");
        assert!(group(Some("h"), &[], &property("g")).is_err());
    }
}
