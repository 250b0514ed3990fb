//! `moldau`'s own commands: nouns and verbs, text or JSON, exit codes that scripts can tell apart.
//!
//! 0 done, 1 failed, 2 wrong usage, 3 no broker reachable, 4 not healthy.

mod acl;
mod apply;
mod bench;
mod broker;
mod cluster;
mod completion;
mod config;
mod dev;
mod doctor;
mod group;
mod health;
mod histogram;
mod http;
mod load;
mod progress;
mod records;
mod token;
mod top;
mod topic;
mod verify;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::{ADVERTISED, Client, ClientError, ClientOptions, HostPort, WhenUnreachable, security};
use crate::compat::tool::default_bootstrap;
use crate::console::{Console, errln, outln};
use crate::start::{self, StartArguments};

const AFTER_HELP: &str = "\
First steps, each in a terminal of its own:
  moldau dev                                    a broker on localhost:9092, its console at http://localhost:9644/ui/
  echo hello | moldau produce orders            the topic comes into being with its first record
  moldau consume orders --from-beginning        prints the records, and waits for more

Kafka's own tools are here too: moldau compat topics --list, or as kafka-topics.sh by a link.";

/// A Kafka-compatible broker and its tools in one binary.
#[derive(Parser)]
#[command(name = "moldau", version, about, disable_help_subcommand = true)]
#[command(after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How to reach the cluster, and how to print.
#[derive(Args, Clone)]
pub(super) struct Common {
    /// Brokers to ask first, host:port[,host:port]; default KAFKA_BOOTSTRAP_SERVERS, else localhost:9092
    #[arg(short, long, global = true, value_name = "SERVERS")]
    bootstrap_server: Option<String>,
    /// A client's properties: security.protocol, sasl.* and ssl.*
    #[arg(long, global = true, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Give up after this many milliseconds
    #[arg(long, global = true, default_value_t = 10_000)]
    pub(super) timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node; without any setting, one on localhost:9092 with its data in ./moldau-data
    Start {
        /// A properties file in Kafka's format; of several, the later ones win
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
        /// One setting, over the environment and the files
        #[arg(long = "override", value_name = "KEY=VALUE")]
        overrides: Vec<String>,
        /// Stop when the process that started this one ends
        #[arg(long, hide = true)]
        end_with_parent: bool,
        /// Begin with the settings of the container image that this runs in
        #[arg(long, hide = true)]
        container: bool,
    },
    /// A whole cluster in this terminal, for trying things out; Ctrl-C ends it
    Dev(dev::Arguments),
    /// Topics: list, create, describe, alter, delete, apply
    Topic {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: topic::Verb,
    },
    /// Consumer groups: list, describe, reset, delete
    Group {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: group::Verb,
    },
    /// Send each line of standard input as a record
    Produce {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: records::ProduceArguments,
    },
    /// Print the records of a topic
    Consume {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: records::ConsumeArguments,
    },
    /// Make topics as a file says they should be, showing first what changes
    Apply {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: apply::Arguments,
    },
    /// Who may do what: list, create, delete
    Acl {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: acl::Verb,
    },
    /// Delegation tokens, by which others may act for a user: list, create, renew, expire
    Token {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: token::Verb,
    },
    /// Brokers: list, drain, decommission
    Broker {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: broker::Verb,
    },
    /// Settings: explain, diff
    Config {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: config::Verb,
    },
    /// The cluster: info, health, quorum, restart-safe, rolling-restart
    Cluster {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        verb: cluster::Verb,
    },
    /// Measure how many records a second the cluster takes and gives, and how long each is on its way
    Bench {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: bench::Arguments,
    },
    /// Write and read while you break things, and see whether a record is lost; exit code 4 if one is
    Verify {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: verify::Arguments,
    },
    /// Look for what usually keeps a cluster from working, and say what to do; exit code 4 if something does
    Doctor {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: doctor::Arguments,
    },
    /// Whether this node is ready, for a container's HEALTHCHECK
    Health {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: health::Arguments,
    },
    /// The busiest topics, the groups that are behind and what is amiss, drawn anew each second
    Top {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: top::Arguments,
    },
    /// One of Kafka's tools by its name, for example: moldau compat topics --list
    Compat {
        /// topics, console-producer, consumer-groups ... and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A completion script for a shell, which knows the topics, groups and brokers there are
    Completions { shell: clap_complete::Shell },
    /// Names for completion scripts
    #[command(hide = true)]
    Names {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: completion::NamesArguments,
    },
    /// The version
    Version,
}

/// Why a command failed, by exit code.
#[derive(Debug)]
pub(super) enum Failure {
    Client(ClientError),
    Text(String),
    Unhealthy,
    Io(io::Error),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// As people count.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) fn run(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let words = std::iter::once("moldau".to_owned()).chain(arguments.iter().cloned());
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and go to standard output; the rest is wrong usage.
            let is_error = error.use_stderr();
            let text = if crate::console::colours() {
                error.render().ansi().to_string()
            } else {
                error.render().to_string()
            };
            if is_error {
                write!(console.err, "{text}")?;
            } else {
                write!(console.out, "{text}")?;
            }
            return Ok(if is_error { 2 } else { 0 });
        }
    };
    let result = match cli.command {
        Command::Start { config, overrides, end_with_parent, container } => {
            if end_with_parent {
                start::end_with_parent();
            }
            let arguments = StartArguments { files: config, overrides, is_container: container };
            return start::run(&arguments, console);
        }
        Command::Dev(arguments) => dev::run(&arguments, console),
        Command::Compat { arguments } => {
            let names = crate::compat::names().collect::<Vec<_>>().join(", ");
            debug_assert!(arguments.is_empty(), "main takes these before");
            errln!(console, "moldau compat TOOL ARGUMENTS; the tools are: {names}");
            return Ok(2);
        }
        Command::Completions { shell } => {
            completion::script(shell, console)?;
            return Ok(0);
        }
        Command::Version => {
            outln!(console, "moldau {}", env!("CARGO_PKG_VERSION"));
            return Ok(0);
        }
        Command::Topic { common, verb } => topic::run(&common, verb, console),
        Command::Group { common, verb } => group::run(&common, verb, console),
        Command::Produce { common, arguments } => records::produce(&common, &arguments, console),
        Command::Consume { common, arguments } => records::consume(&common, &arguments, console),
        Command::Apply { common, arguments } => apply::run(&common, &arguments, console),
        Command::Acl { common, verb } => acl::run(&common, &verb, console),
        Command::Token { common, verb } => token::run(&common, &verb, console),
        Command::Broker { common, verb } => broker::run(&common, &verb, console),
        Command::Config { common, verb } => config::run(&common, &verb, console),
        Command::Cluster { common, verb } => cluster::run(&common, &verb, console),
        Command::Bench { common, arguments } => bench::run(&common, &arguments, console),
        Command::Verify { common, arguments } => verify::run(&common, &arguments, console),
        Command::Top { common, arguments } => top::run(&common, &arguments, console),
        Command::Names { common, arguments } => completion::names(&common, &arguments, console),
        Command::Doctor { common, arguments } => doctor::run(&common, &arguments, console),
        Command::Health { common, arguments } => health::run(&common, &arguments, console),
    };
    finish(result, console)
}

fn finish(result: Result<(), Failure>, console: &mut Console<'_>) -> io::Result<u8> {
    match result {
        Ok(()) => Ok(0),
        Err(Failure::Io(error)) => Err(error),
        Err(Failure::Unhealthy) => Ok(4),
        Err(Failure::Text(text)) => {
            console.out.flush()?;
            errln!(console, "error: {text}");
            Ok(1)
        }
        Err(Failure::Client(error)) => {
            console.out.flush()?;
            errln!(console, "error: {error}{}", next_step(&error));
            Ok(if error.is_unreachable() { 3 } else { 1 })
        }
    }
}

/// What the user may do about an error, where there is something to say.
fn next_step(error: &ClientError) -> &'static str {
    use moldau_model::ErrorCode;
    match error {
        ClientError::Unreachable { .. } => {
            "\n  is it running? start one with `moldau start`, or name another with -b HOST:PORT"
        }
        ClientError::Connection { address, .. } if address.ends_with(ADVERTISED) => {
            "\n  the cluster told clients to connect there: check advertised.listeners"
        }
        ClientError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. } => {
            "\n  see what there is with `moldau topic list`"
        }
        ClientError::Broker { code: ErrorCode::GroupIdNotFound, .. } => {
            "\n  see what there is with `moldau group list`"
        }
        ClientError::Broker { code: ErrorCode::InvalidReplicationFactor, .. } => {
            "\n  see the brokers with `moldau cluster info`"
        }
        ClientError::Broker { code: ErrorCode::NonEmptyGroup, .. } => "\n  stop its members first",
        _ => "",
    }
}

impl Common {
    pub(super) fn client(&self, client_id: &str) -> Result<Client, Failure> {
        let servers = self.bootstrap_server.clone().unwrap_or_else(default_bootstrap);
        let client = Client::new(ClientOptions {
            bootstrap: HostPort::parse_list(&servers).map_err(|error| Failure::Text(error.to_string()))?,
            client_id: client_id.to_owned(),
            api_timeout: Duration::from_millis(self.timeout_ms),
            when_unreachable: WhenUnreachable::Fail,
        });
        let Some(path) = &self.command_config else { return Ok(client) };
        let unreadable = |error: String| Failure::Text(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let properties = crate::properties::parse(&text).map_err(|error| unreadable(error.to_string()))?;
        let dialer = security::dialer(&properties).map_err(unreadable)?;
        Ok(client.dialing(Arc::new(dialer)))
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { bootstrap_server: None, command_config: None, format: Format::Text, timeout_ms: 1 }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Prints a value as JSON, a line that other programs read.
pub(super) fn json(value: &serde_json::Value, console: &mut Console<'_>) -> io::Result<()> {
    outln!(console, "{value}");
    Ok(())
}

/// Prints rows in columns as wide as their widest cell.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>], console: &mut Console<'_>) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    outln!(console, "{}", line(&mut heads.iter().copied()));
    for row in rows {
        outln!(console, "{}", line(&mut row.iter().map(String::as_str)));
    }
    Ok(())
}

/// Numbers as `1,2,3`.
pub(super) fn join(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn outcome(line: &str) -> (u8, String, String) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_two_and_goes_to_standard_error() {
        for line in ["", "topic", "topic frobnicate", "topic create", "--nope"] {
            let (code, out, err) = outcome(line);
            assert_eq!((code, out.as_str(), err.is_empty()), (2, "", false), "{line}");
        }
    }

    #[test]
    fn a_wrong_flag_names_the_nearest_and_kafkas_own_word_for_the_beginning_is_known() {
        for (line, nearest) in [
            ("topic create --partition 3 t", "--partitions"),
            ("start --overide a=b", "--override"),
            ("consume --form-beginning t", "--from-beginning"),
            ("topic lst", "'list'"),
        ] {
            let (code, _, err) = outcome(line);
            assert!(code == 2 && err.contains(nearest), "{line}: {err}");
        }
        assert!(Cli::try_parse_from("moldau consume --from-beginning t".split(' ')).is_ok());
        assert!(Cli::try_parse_from("moldau consume --from-beginning -o latest t".split(' ')).is_err());
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["--help", "topic --help", "version", "--version", "completions bash"] {
            let (code, out, err) = outcome(line);
            assert_eq!((code, err.as_str(), out.is_empty()), (0, "", false), "{line}");
        }
    }

    #[test]
    fn a_broker_that_is_not_there_is_three_with_cause_and_next_step() {
        // Port 1 of the loopback: nobody listens there.
        let (code, out, err) = outcome("topic list -b 127.0.0.1:1");
        assert_eq!((code, out.as_str()), (3, ""));
        assert!(
            err.starts_with("error: cannot reach a broker at 127.0.0.1:1: connection refused\n"),
            "{err}"
        );
        assert!(err.contains("moldau start"), "{err}");
    }
}
