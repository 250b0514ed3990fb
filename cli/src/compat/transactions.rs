//! `kafka-transactions`: what transactions there are, and how to end those that hang.

mod hanging;

use std::io;
use std::sync::Arc;

use super::subcommands::{Command, CommandLine, Read, required, table, usage, value};
use super::tool::{KAFKA_VERSION, admin_servers, default_bootstrap};
use crate::client::transactions::ProducerState;
use crate::client::{API_TIMEOUT, Client, ClientError, ClientOptions, WhenUnreachable, security};
use crate::console::{Console, errln, outln};
use crate::properties;

const HELP: &str = include_str!("usage/kafka-transactions-help.txt");
const LINE: CommandLine = CommandLine {
    options: &[
        value("--bootstrap-server"),
        value("--command-config"),
        super::subcommands::flag("-v"),
        super::subcommands::flag("--version"),
    ],
    commands: &[
        Command {
            name: "list",
            help: include_str!("usage/kafka-transactions-list-help.txt"),
            options: &[value("--duration-filter"), value("--transactional-id-pattern")],
        },
        Command {
            name: "describe",
            help: include_str!("usage/kafka-transactions-describe-help.txt"),
            options: &[required("--transactional-id")],
        },
        Command {
            name: "describe-producers",
            help: include_str!("usage/kafka-transactions-describe-producers-help.txt"),
            options: &[value("--broker-id"), required("--topic"), required("--partition")],
        },
        Command {
            name: "abort",
            help: include_str!("usage/kafka-transactions-abort-help.txt"),
            options: &[
                required("--topic"),
                required("--partition"),
                value("--start-offset"),
                value("--producer-id"),
                value("--producer-epoch"),
                value("--coordinator-epoch"),
            ],
        },
        Command {
            name: "find-hanging",
            help: include_str!("usage/kafka-transactions-find-hanging-help.txt"),
            options: &[
                value("--broker-id"),
                value("--max-transaction-timeout"),
                value("--topic"),
                value("--partition"),
            ],
        },
        Command {
            name: "forceTerminateTransaction",
            help: include_str!("usage/kafka-transactions-forceTerminateTransaction-help.txt"),
            options: &[required("--transactionalId")],
        },
    ],
};

/// Why the tool ends early.
enum Failed {
    Text(String),
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn failed<T>(text: impl Into<String>) -> Result<T, Failed> {
    Err(Failed::Text(text.into()))
}

/// What went wrong, with what was tried, in the words of Kafka's tool.
fn because(what: impl std::fmt::Display) -> impl FnOnce(ClientError) -> Failed {
    move |error| Failed::Text(format!("{what}: {error}. Enable debug logging for additional detail."))
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let mut read = Read::default();
    let result = LINE.read(arguments, &mut read);
    if read.command.is_none() && (read.has("-v") || read.has("--version")) {
        outln!(console, "{KAFKA_VERSION}");
        return Ok(0);
    }
    let help = read.command.map_or(HELP, |command| LINE.commands[command].help);
    if let Err(text) = result {
        errln!(console, "{}kafka-transactions.sh: error: {text}", usage(help));
        return Ok(1);
    }
    let Some(command) = read.command.filter(|_| !read.asks_for_help) else {
        write!(console.out, "{help}")?;
        return Ok(1);
    };
    match run(LINE.commands[command].name, &read, console) {
        Ok(()) => Ok(0),
        Err(Failed::Io(error)) => Err(error),
        Err(Failed::Text(text)) => {
            console.out.flush()?;
            errln!(console, "{text}");
            Ok(1)
        }
    }
}

fn run(command: &str, read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    match command {
        "list" => list(read, console),
        "describe" => describe(read, console),
        "describe-producers" => describe_producers(read, console),
        "abort" => abort(read),
        "find-hanging" => hanging::find(read, console),
        _ => {
            let id = read.one("--transactionalId").unwrap_or_default();
            let what = format!("Failed to force terminate transactionalId `{id}`");
            connect(read)?.fence_producer(id).map_err(because(what))
        }
    }
}

fn connect(read: &Read) -> Result<Client, Failed> {
    let text = |error: String| Failed::Text(error);
    let properties = match read.one("--command-config") {
        None => Vec::new(),
        Some(path) => {
            let content = std::fs::read_to_string(path).map_err(|error| text(format!("{path}: {error}")))?;
            properties::parse(&content).map_err(|error| text(format!("{path}: {error}")))?
        }
    };
    let dialer = security::dialer(&properties).map_err(text)?;
    let servers = read.one("--bootstrap-server").map_or_else(default_bootstrap, str::to_owned);
    let bootstrap = admin_servers(&servers).map_err(text)?;
    let client = Client::new(ClientOptions {
        bootstrap,
        client_id: "adminclient-1".to_owned(),
        api_timeout: API_TIMEOUT,
        when_unreachable: WhenUnreachable::Retry,
    });
    Ok(client.dialing(Arc::new(dialer)))
}

fn number<T: std::str::FromStr>(read: &Read, option: &str, kind: &str) -> Result<Option<T>, Failed> {
    let Some(text) = read.one(option) else { return Ok(None) };
    text.parse().map(Some).or_else(|_| {
        failed(format!(
            "{}kafka-transactions.sh: error: argument {option}: could not convert '{text}' to {kind}",
            read.command.map_or("", |command| usage(LINE.commands[command].help))
        ))
    })
}

fn now_ms() -> i64 {
    crate::client::producer::now().0
}

fn list(read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    let duration_ms = number(read, "--duration-filter", "Long")?;
    let listed = connect(read)?
        .list_transactions(&[], duration_ms, read.one("--transactional-id-pattern"))
        .map_err(because("Failed to list transactions"))?;
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|row| {
            vec![row.transactional_id, row.coordinator.to_string(), row.producer_id.to_string(), row.state]
        })
        .collect();
    let heads = ["TransactionalId", "Coordinator", "ProducerId", "TransactionState"];
    Ok(write!(console.out, "{}", table(&heads, &rows))?)
}

fn describe(read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    let id = read.one("--transactional-id").unwrap_or_default();
    let what = format!("Failed to describe transaction state of transactional-id `{id}`");
    let described = match connect(read)?.describe_transaction(id) {
        Err(ClientError::Broker { code: moldau_model::ErrorCode::TransactionalIdNotFound, .. }) => {
            return failed(format!(
                "{what}: DescribeTransactions request for transactionalId `{id}` failed because the ID could not be \
                 found. Enable debug logging for additional detail."
            ));
        }
        other => other.map_err(because(what))?,
    };
    let none = || "None".to_owned();
    let partitions: Vec<String> =
        described.partitions.iter().map(|(topic, partition)| format!("{topic}-{partition}")).collect();
    let row = vec![
        described.coordinator.to_string(),
        id.to_owned(),
        described.producer_id.to_string(),
        described.producer_epoch.to_string(),
        described.state,
        described.timeout_ms.to_string(),
        described.start_ms.map_or_else(none, |start| start.to_string()),
        described.start_ms.map_or_else(none, |start| (now_ms() - start).to_string()),
        partitions.join(","),
    ];
    let heads = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    Ok(write!(console.out, "{}", table(&heads, &[row]))?)
}

/// Topic and partition of the line.
fn place(read: &Read) -> Result<(String, i32), Failed> {
    let partition = number(read, "--partition", "Integer")?.unwrap_or_default();
    Ok((read.one("--topic").unwrap_or_default().to_owned(), partition))
}

fn producers(
    client: &mut Client,
    broker: Option<i32>,
    place: &(String, i32),
) -> Result<Vec<ProducerState>, ClientError> {
    let broker = match broker {
        Some(broker) => broker,
        None => client.leader_of(&place.0, place.1)?,
    };
    Ok(client.describe_producers(broker, std::slice::from_ref(place))?.remove(place).unwrap_or_default())
}

fn describe_producers(read: &Read, console: &mut Console<'_>) -> Result<(), Failed> {
    let place = place(read)?;
    let broker: Option<i32> = number(read, "--broker-id", "Integer")?;
    let whom = broker.map_or_else(|| "leader".to_owned(), |broker| format!("broker {broker}"));
    let what = format!("Failed to describe producers for partition {}-{} on {whom}", place.0, place.1);
    let found = producers(&mut connect(read)?, broker, &place).map_err(because(what))?;
    Ok(write!(console.out, "{}", producer_table(&found))?)
}

fn producer_table(producers: &[ProducerState]) -> String {
    let row = |producer: &ProducerState| {
        vec![
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.max(-1).to_string(),
            producer.last_sequence.to_string(),
            producer.last_timestamp_ms.to_string(),
            producer.transaction_start.map_or_else(|| "None".to_owned(), |start| start.to_string()),
        ]
    };
    let heads = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    table(&heads, &producers.iter().map(row).collect::<Vec<_>>())
}

fn abort(read: &Read) -> Result<(), Failed> {
    let place = place(read)?;
    let start_offset: Option<i64> = number(read, "--start-offset", "Long")?;
    let producer_id: Option<i64> = number(read, "--producer-id", "Long")?;
    let producer_epoch: Option<i16> = number(read, "--producer-epoch", "Short")?;
    let coordinator_epoch: Option<i32> = number(read, "--coordinator-epoch", "Integer")?;
    let (producer_id, producer_epoch, coordinator_epoch, mut client) = match (start_offset, producer_id) {
        (None, None) => {
            return failed(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) \
                 or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)",
            );
        }
        (None, Some(producer_id)) => {
            let Some(producer_epoch) = producer_epoch else {
                return failed("Missing required argument --producer-epoch");
            };
            let Some(coordinator_epoch) = coordinator_epoch else {
                return failed("Missing required argument --coordinator-epoch");
            };
            (producer_id, producer_epoch, coordinator_epoch, connect(read)?)
        }
        (Some(start), _) => {
            let mut client = connect(read)?;
            let what = format!("Failed to validate producer state for partition {}-{}", place.0, place.1);
            let found = producers(&mut client, None, &place).map_err(because(what))?;
            let Some(producer) = found.iter().find(|producer| producer.transaction_start == Some(start))
            else {
                return failed(format!(
                    "Could not find any open transactions starting at offset {start} on partition {}-{}",
                    place.0, place.1
                ));
            };
            let epoch = i16::try_from(producer.producer_epoch).unwrap_or(-1);
            (producer.producer_id, epoch, producer.coordinator_epoch, client)
        }
    };
    // A producer whose transactions no coordinator has ended yet: 0 is before any coordinator's epoch.
    let coordinator_epoch = coordinator_epoch.max(0);
    let what = format!(
        "Failed to abort transaction AbortTransactionSpec(topicPartition={}-{}, producerId={producer_id}, \
         producerEpoch={producer_epoch}, coordinatorEpoch={coordinator_epoch})",
        place.0, place.1
    );
    client
        .abort_in_partition(&place.0, place.1, producer_id, producer_epoch, coordinator_epoch)
        .map_err(because(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_line(line: &str) -> (u8, String, String) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        let usage_of = |command: &str| {
            let command = LINE.commands.iter().find(|known| known.name == command);
            usage(command.map_or(HELP, |command| command.help)).to_owned()
        };
        for (line, command, text) in [
            ("", "", "too few arguments"),
            ("describe", "describe", "argument --transactional-id is required"),
            (
                "forceTerminateTransaction --transactional-id none",
                "forceTerminateTransaction",
                "unrecognized arguments: '--transactional-id'",
            ),
        ] {
            let expected = format!("{}kafka-transactions.sh: error: {text}\n", usage_of(command));
            assert_eq!(run_line(line), (1, String::new(), expected), "{line}");
        }
        for (line, text) in [
            (
                "abort --topic none --partition 0",
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or with \
                 --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)\n",
            ),
            (
                "abort --topic none --partition 0 --producer-id 1 --producer-epoch 0",
                "Missing required argument --coordinator-epoch\n",
            ),
            (
                "find-hanging",
                "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search\n",
            ),
            (
                "find-hanging --broker-id 1 --partition 0",
                "The --partition argument requires --topic to be provided\n",
            ),
        ] {
            assert_eq!(run_line(line), (1, String::new(), text.to_owned()), "{line}");
        }
        assert_eq!(run_line("--help"), (1, HELP.to_owned(), String::new()));
        assert_eq!(run_line("--version"), (0, format!("{KAFKA_VERSION}\n"), String::new()));
    }

    #[test]
    fn tables_are_apache_kafkas() {
        assert_eq!(
            table(&["TransactionalId", "Coordinator"], &[]),
            "TransactionalId\tCoordinator\t\n",
            "heads alone, as for a cluster without transactions"
        );
        let producer = ProducerState {
            producer_id: 7,
            producer_epoch: 1,
            coordinator_epoch: -1,
            last_sequence: 4,
            last_timestamp_ms: 1_795_466_756_456,
            transaction_start: None,
        };
        assert_eq!(
            producer_table(&[producer]),
            "ProducerId\tProducerEpoch\tLatestCoordinatorEpoch\tLastSequence\tLastTimestamp\tCurrentTransactionStartOffset\t\n\
             7         \t1            \t-1                    \t4           \t1795466756456\tNone                         \t\n"
        );
    }
}
