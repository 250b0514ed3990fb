//! `moldau produce` and `moldau consume`.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, Failure};
use crate::client::consumer::{IncomingRecord, parse_start};
use crate::client::producer::{Producer, ProducerOptions};
use crate::compat::formatter::Formatter;
use crate::compat::line_reader::LineReader;
use crate::console::{Console, errln};
use crate::consume::{self, ConsumeError, ConsumeOptions, Subscription};
use crate::produce::{self, ProduceError};

/// How long a broker may wait for its replicas, whatever time there is.
const REQUEST_TIMEOUT_MS_MAX: i32 = 30_000;

#[derive(Args)]
pub(super) struct ProduceArguments {
    /// The topic to write to
    topic: String,
    /// Each line is a key, this sign, and a value
    #[arg(short = 'k', long, value_name = "SIGN")]
    key_separator: Option<String>,
    /// all, 1 or 0: how many replicas have a record before it counts
    #[arg(long, default_value = "all", value_parser = ["all", "1", "0"])]
    acks: String,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, default_value = "none")]
    compression: String,
}

#[derive(Args)]
pub(super) struct ConsumeArguments {
    /// The topic to read
    topic: String,
    /// earliest, latest, or an offset (that with --partition)
    #[arg(short, long, default_value = "latest")]
    offset: String,
    /// The same as --offset earliest, as Kafka's console consumer says it
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// One partition only
    #[arg(short, long)]
    partition: Option<i32>,
    /// Share the topic with the members of this group, and commit offsets
    #[arg(short, long, conflicts_with = "partition")]
    group: Option<String>,
    /// Stop after this many records
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Stop after this many milliseconds without a record
    #[arg(long)]
    idle_ms: Option<u64>,
    /// Print keys too, before a tab
    #[arg(short = 'K', long)]
    keys: bool,
}

pub(super) fn produce(
    common: &Common,
    arguments: &ProduceArguments,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let compression = moldau_record::Compression::from_name(&arguments.compression).ok_or_else(|| {
        Failure::Text(format!("{} is no compression; none, gzip, snappy, lz4 or zstd", arguments.compression))
    })?;
    let acks = match arguments.acks.as_str() {
        "0" => 0,
        "1" => 1,
        _ => -1,
    };
    let mut properties = Vec::new();
    if let Some(sign) = &arguments.key_separator {
        properties.push(("parse.key".to_owned(), "true".to_owned()));
        properties.push(("key.separator".to_owned(), sign.replace("\\t", "\t")));
    }
    let reader = LineReader::configure(&properties).map_err(Failure::Text)?;
    let client = common.client("moldau")?;
    let options = ProducerOptions {
        acks,
        compression,
        request_timeout_ms: i32::try_from(common.timeout_ms).unwrap_or(i32::MAX).min(REQUEST_TIMEOUT_MS_MAX),
        delivery_timeout: Duration::from_millis(common.timeout_ms),
        tells_waits: true,
        ..ProducerOptions::default()
    };
    let mut producer = Producer::new(client, &arguments.topic, options);
    let mut lost = 0usize;
    let mut reason = String::new();
    // Whoever types sees what became of a line, and what a program sends on is to have no hole.
    let ends_at_failure = !std::io::stdin().is_terminal();
    let sent = produce::run(&mut producer, &reader, false, &mut |failure| {
        lost += failure.records.len();
        reason = failure.error.to_string();
        if ends_at_failure { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let lines = match sent {
        Err(ProduceError::Client(error)) => return Err(error.into()),
        Err(error) => return Err(Failure::Text(error.to_string())),
        Ok(lines) => lines,
    };
    if lost > 0 {
        let text = format!("{lost} of the {lines} records that were read were not written: {reason}");
        return Err(Failure::Text(text));
    }
    if common.is_json() {
        let written: Vec<_> = producer
            .written()
            .iter()
            .map(|(p, offset)| json!({"partition": p, "last_batch_at": offset}))
            .collect();
        super::json(&json!({"topic": arguments.topic, "partitions": written}), console)?;
    }
    Ok(())
}

pub(super) fn consume(
    common: &Common,
    arguments: &ConsumeArguments,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let offset = if arguments.from_beginning { "earliest" } else { &arguments.offset };
    let start = parse_start(offset)
        .ok_or_else(|| Failure::Text(format!("{offset} is no offset: earliest, latest or a number")))?;
    if start >= 0 && arguments.partition.is_none() {
        return Err(Failure::Text("an offset belongs to a partition: add --partition".to_owned()));
    }
    let properties = [("print.key".to_owned(), arguments.keys.to_string())];
    let formatter = Formatter::configure(&properties).map_err(Failure::Text)?;
    let mut client = common.client("moldau")?;
    let options = ConsumeOptions {
        subscription: Subscription::Topic(arguments.topic.clone()),
        group: arguments.group.clone(),
        partition: arguments.partition,
        start,
        read_committed: false,
        records_max: arguments.count,
        idle_max: arguments.idle_ms.map(Duration::from_millis),
        partition_bytes: None,
    };
    let stop = consume::stop_on_signals();
    let out = std::cell::RefCell::new(&mut *console.out);
    let json = common.is_json();
    let (count, result) = consume::run(
        &mut client,
        &options,
        &stop,
        &mut |record| {
            let (record, mut out) = (record.to_incoming(), out.borrow_mut());
            if json { writeln!(out, "{}", as_json(&record)) } else { formatter.write(&record, &mut **out) }
        },
        &mut |_| out.borrow_mut().flush(),
    );
    match result {
        Ok(()) => {}
        Err(ConsumeError::Client(error)) => return Err(error.into()),
        Err(ConsumeError::Output(error)) => return Err(Failure::Io(error)),
    }
    if stop.load(std::sync::atomic::Ordering::SeqCst) && !json {
        errln!(console, "{count} records");
    }
    Ok(())
}

/// A record as a line of JSON. Bytes that are no text are shown with replacement characters.
fn as_json(record: &IncomingRecord) -> serde_json::Value {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let headers: Vec<_> =
        record.headers.iter().map(|(key, value)| json!({"key": key, "value": text(value)})).collect();
    json!({"topic": record.topic, "partition": record.partition, "offset": record.offset,
        "timestamp": record.timestamp, "key": text(&record.key), "value": text(&record.value), "headers": headers})
}
