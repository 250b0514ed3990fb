//! `kafka-console-producer`: lines of standard input to a topic.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use moldau_record::Compression;

use super::console_consumer::{key_values, warn_renamed};
use super::line_reader::LineReader;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, NO_PRODUCER, ToolInfo, connect_dialing, dialer, require};
use crate::client::ClientError;
use crate::client::producer::{Producer, ProducerOptions, SendFailure};
use crate::console::{Console, errln};
use crate::produce::{self, ProduceError};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("batch-size", Argument::Required),
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("command-property", Argument::Required),
            ("compression-codec", Argument::Optional),
            ("help", Argument::No),
            ("line-reader", Argument::Required),
            ("max-block-ms", Argument::Required),
            ("max-memory-bytes", Argument::Required),
            ("max-partition-memory-bytes", Argument::Required),
            ("message-send-max-retries", Argument::Required),
            ("metadata-expiry-ms", Argument::Required),
            ("producer-property", Argument::Required),
            ("producer.config", Argument::Required),
            ("property", Argument::Required),
            ("reader-config", Argument::Required),
            ("reader-property", Argument::Required),
            ("request-required-acks", Argument::Required),
            ("request-timeout-ms", Argument::Required),
            ("retry-backoff-ms", Argument::Required),
            ("socket-buffer-size", Argument::Required),
            ("sync", Argument::No),
            ("timeout", Argument::Required),
            ("topic", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-console-producer.txt"),
    about: "This tool helps to read data from standard input and publish it to Kafka.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    require(&options, &["topic"])?;
    let renamed = [
        ("property", "reader-property"),
        ("producer-property", "command-property"),
        ("producer.config", "command-config"),
    ];
    warn_renamed(&options, &renamed, true, console)?;
    let given = key_values(
        &options,
        &["producer.config", "command-config"],
        &["producer-property", "command-property"],
    )?;
    let producer_options = producer_options(&options, &given)?;
    let reader = key_values(&options, &["reader-config"], &["property", "reader-property"])?;
    let reader = LineReader::configure(&reader)
        .map_err(|text| Failure::Text(format!("org.apache.kafka.common.KafkaException: {text}")))?;
    let topic = options.one("topic")?.unwrap_or_default().to_owned();
    let block = options.number::<u64>("max-block-ms")?.unwrap_or(60_000);
    let block = Duration::from_millis(block);
    let client = connect_dialing(&options, "console-producer", block, dialer(&given)?, NO_PRODUCER)?;
    console.out.flush()?;
    let mut producer = Producer::new(client, &topic, producer_options);
    let mut any_failed = false;
    let sent = produce::run(&mut producer, &reader, options.has("sync"), &mut |failure| {
        any_failed = true;
        // A standard error that cannot be written leaves nobody to tell.
        drop(write_failure(&topic, failure, console));
        ControlFlow::Continue(())
    });
    match sent {
        Ok(_) if any_failed => Err(Failure::Exit(1)),
        Ok(_) => Ok(()),
        Err(ProduceError::Line(text)) => {
            Err(Failure::Text(format!("org.apache.kafka.common.KafkaException: {text}")))
        }
        Err(ProduceError::Client(error)) => Err(Failure::Text(error_line(&topic, &error))),
        Err(error @ ProduceError::Input(_)) => Err(Failure::Text(error.to_string())),
    }
}

fn error_line(topic: &str, error: &ClientError) -> String {
    format!("ERROR Error when sending message to topic {topic}: {}", error.java())
}

/// A line for each record that was not written, as the log line of Kafka's tool says it.
fn write_failure(topic: &str, failure: &SendFailure, console: &mut Console<'_>) -> io::Result<()> {
    let size =
        |bytes: &Option<usize>| bytes.map_or_else(|| "null".to_owned(), |count| format!("{count} bytes"));
    for (key, value) in &failure.records {
        errln!(
            console,
            "ERROR Error when sending message to topic {topic} with key: {}, value: {} with error: {}",
            size(key),
            size(value),
            failure.error.java()
        );
    }
    Ok(())
}

fn producer_options(options: &Options, given: &[(String, String)]) -> Result<ProducerOptions, Failure> {
    let property = |key: &str| given.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let invalid = |name: &str, value: &str, what: &str| {
        Failure::Text(format!(
            "org.apache.kafka.common.config.ConfigException: Invalid value {value} for configuration {name}: {what}"
        ))
    };
    let mut chosen = ProducerOptions { tells_waits: true, ..ProducerOptions::default() };
    let codec = match (options.has("compression-codec"), options.one("compression-codec")?) {
        (true, None) => "gzip",
        (_, Some(codec)) => codec,
        (false, None) => property("compression.type").unwrap_or("none"),
    };
    chosen.compression = Compression::from_name(codec).ok_or_else(|| {
        invalid("compression.type", codec, "String must be one of: none, gzip, snappy, lz4, zstd")
    })?;
    let acks = options.one("request-required-acks")?.or_else(|| property("acks")).unwrap_or("-1");
    chosen.acks = match acks {
        "all" | "-1" => -1,
        "0" => 0,
        "1" => 1,
        other => return Err(invalid("acks", other, "String must be one of: all, -1, 0, 1")),
    };
    chosen.idempotent = property("enable.idempotence").is_none_or(|value| value != "false");
    if let Some(bytes) =
        options.number::<usize>("batch-size")?.or(options.number("max-partition-memory-bytes")?)
    {
        chosen.batch_bytes = bytes;
    }
    if let Some(ms) = options.number("request-timeout-ms")? {
        chosen.request_timeout_ms = ms;
    }
    // Kafka's tool gives up after three attempts; unless told so, go on until a failover has had its time.
    if let Some(retries) = options.number("message-send-max-retries")? {
        chosen.retries_max = retries;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        assert_eq!((code, out.len()), (1, 0), "{line}");
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        assert_eq!(refused("--sync"), format!("Missing required argument \"[topic]\"\n{}", TOOL.usage));
        assert_eq!(
            refused("--topic a --property parse.key=true --reader-property key.separator=:"),
            format!("Options --reader-property and --property cannot be specified together.\n{}", TOOL.usage)
        );
        let exception = "org.apache.kafka.common.config.ConfigException: Invalid value";
        assert_eq!(
            refused("--topic a --compression-codec foo"),
            format!(
                "{exception} foo for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd\n"
            )
        );
        assert_eq!(
            refused("--topic a --request-required-acks 7"),
            format!("{exception} 7 for configuration acks: String must be one of: all, -1, 0, 1\n")
        );
    }
}
