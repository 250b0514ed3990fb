//! `kafka-metadata-quorum`: describe tells the state of the controllers' quorum, add-controller and remove-controller
//! change who votes in it.

mod voters;

use std::io;
use std::sync::Arc;

use kafka_protocol::messages::DescribeClusterRequest;
use moldau_security::link::Dialer;

use super::tool::{self, Failure, admin_servers, default_bootstrap};
use crate::client::quorum::{Quorum, QuorumReplica};
use crate::client::{API_TIMEOUT, Client, ClientError, ClientOptions, HostPort, WhenUnreachable};
use crate::console::{Console, errln, outln};

/// Kafka's numbers of what DescribeCluster is asked for.
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;
const USAGE: &str = include_str!("usage/kafka-metadata-quorum.txt");
const HELP: &str = include_str!("usage/kafka-metadata-quorum-help.txt");
const DESCRIBE_HELP: &str = include_str!("usage/kafka-metadata-quorum-describe-help.txt");
const ADD_HELP: &str = include_str!("usage/kafka-metadata-quorum-add-controller-help.txt");
const REMOVE_HELP: &str = include_str!("usage/kafka-metadata-quorum-remove-controller-help.txt");

/// What the line says. The real tool reads it by another library than the others: short help, one subcommand.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    bootstrap: Option<String>,
    /// Whether `bootstrap` names controllers.
    is_controller: bool,
    /// `--command-config`, which is the new controller's own file where one is added.
    config: Option<String>,
    command: Option<String>,
    help: bool,
    dry_run: bool,
    controller_id: Option<String>,
    controller_directory_id: Option<String>,
    status: bool,
    replication: bool,
    human_readable: bool,
}

/// A wrong line: the usage of what it is for, and what is wrong.
#[derive(Debug)]
struct WrongLine {
    usage: &'static str,
    text: String,
}

/// The usage of a subcommand, or of the whole.
fn usage(command: Option<&str>) -> &'static str {
    let help = match command {
        Some("describe") => DESCRIBE_HELP,
        Some("add-controller") => ADD_HELP,
        Some("remove-controller") => REMOVE_HELP,
        _ => return USAGE,
    };
    help.find("\n\n").map_or(help, |end| &help[..=end])
}

fn parse(arguments: &[String]) -> Result<Line, WrongLine> {
    let mut line = Line::default();
    let text = read(arguments, &mut line);
    text.map_err(|text| WrongLine { usage: usage(line.command.as_deref()), text })?;
    Ok(line)
}

/// Reads the words into `line`, as far as they can be understood.
fn read(arguments: &[String], line: &mut Line) -> Result<(), String> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (name, mut inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut argument = || {
            inline.take().or_else(|| words.next().cloned()).ok_or_else(|| match name {
                // As the real tool breaks its lines.
                "-i" | "--controller-id" => {
                    "kafka-metadata-quorum: error:  argument  --controller-id/-i:  expected  one\nargument"
                        .to_owned()
                }
                name => format!("kafka-metadata-quorum: error: argument {name}: expected one argument"),
            })
        };
        let removes = line.command.as_deref() == Some("remove-controller");
        match name {
            "--bootstrap-server" | "--bootstrap-controller" => {
                line.bootstrap = Some(argument()?);
                line.is_controller = name == "--bootstrap-controller";
            }
            "--command-config" => line.config = Some(argument()?),
            "--dry-run" if removes || line.command.as_deref() == Some("add-controller") => {
                line.dry_run = true
            }
            "--controller-id" | "-i" if removes => line.controller_id = Some(argument()?),
            "--controller-directory-id" | "-d" if removes => line.controller_directory_id = Some(argument()?),
            "-h" | "--help" => line.help = true,
            "--status" => line.status = true,
            "--replication" => line.replication = true,
            "--human-readable" => line.human_readable = true,
            other if other.starts_with('-') => {
                return Err(format!("kafka-metadata-quorum: error: unrecognized arguments: '{other}'"));
            }
            other if ["describe", "add-controller", "remove-controller"].contains(&other) => {
                line.command = Some(other.to_owned());
            }
            other => {
                return Err(format!(
                    "kafka-metadata-quorum:  error:   invalid   choice:   '{other}'   (choose   from\n'describe', \
                     'add-controller', 'remove-controller')"
                ));
            }
        }
    }
    Ok(())
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let line = match parse(arguments) {
        Ok(line) => line,
        Err(WrongLine { usage, text }) => {
            errln!(console, "{usage}{text}");
            return Ok(1);
        }
    };
    let outcome = match line.command.as_deref() {
        command if line.help => {
            let help = match command {
                Some("describe") => DESCRIBE_HELP,
                Some("add-controller") => ADD_HELP,
                Some(_) => REMOVE_HELP,
                None => HELP,
            };
            write!(console.out, "{help}")?;
            return Ok(0);
        }
        None => {
            errln!(console, "{USAGE}kafka-metadata-quorum: error: too few arguments");
            return Ok(1);
        }
        Some("describe") => describe(&line, console),
        Some("add-controller") => voters::add(&line, console),
        Some(_) => voters::remove(&line, console),
    };
    match outcome {
        Ok(()) => Ok(0),
        Err(Failure::Io(error)) => Err(error),
        Err(Failure::Client(error)) => {
            console.out.flush()?;
            errln!(console, "Error: {error}");
            Ok(1)
        }
        Err(Failure::Text(text)) => {
            errln!(console, "{text}");
            Ok(1)
        }
        Err(other) => {
            errln!(console, "Error: {other:?}");
            Ok(1)
        }
    }
}

fn client(bootstrap: Vec<HostPort>, dialer: &Arc<Dialer>) -> Client {
    let client = Client::new(ClientOptions {
        bootstrap,
        client_id: "adminclient-1".to_owned(),
        api_timeout: API_TIMEOUT,
        when_unreachable: WhenUnreachable::Retry,
    });
    client.dialing(Arc::clone(dialer))
}

/// How the line's file says that servers are dialled.
fn dialer(line: &Line) -> Result<Arc<Dialer>, Failure> {
    let Some(path) = &line.config else { return Ok(Arc::new(Dialer::plain())) };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
    let properties =
        crate::properties::parse(&text).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
    tool::dialer(&properties).map(Arc::new)
}

/// A client that reaches the active controller, and the cluster's id.
fn connect(line: &Line) -> Result<(Client, String), Failure> {
    let servers = line.bootstrap.clone().unwrap_or_else(default_bootstrap);
    let servers = admin_servers(&servers).map_err(Failure::Text)?;
    let dialer = dialer(line)?;
    let mut client = client(servers, &dialer);
    let endpoint = if line.is_controller { ENDPOINT_CONTROLLERS } else { ENDPOINT_BROKERS };
    let cluster = client.call(&DescribeClusterRequest::default().with_endpoint_type(endpoint))?;
    ClientError::check(cluster.error_code, cluster.error_message.as_deref())?;
    // A broker asks the active controller by itself; among controllers it is for us to find.
    let active = cluster.brokers.iter().find(|node| node.broker_id == cluster.controller_id);
    if let Some(active) = active.filter(|_| line.is_controller) {
        let port = u16::try_from(active.port).unwrap_or_default();
        client = self::client(vec![HostPort { host: active.host.to_string(), port }], &dialer);
    }
    Ok((client, cluster.cluster_id.to_string()))
}

fn describe(line: &Line, console: &mut Console<'_>) -> Result<(), Failure> {
    let wrong = |text: &str| Err(Failure::Text(text.to_owned()));
    match (line.status, line.replication) {
        (true, true) => {
            return wrong(
                "Only one of --status or --replication should be specified with describe sub-command",
            );
        }
        (false, false) => {
            return wrong("One of --status or --replication must be specified with describe sub-command");
        }
        (true, false) if line.human_readable => {
            return wrong("The option --human-readable is only supported along with --replication");
        }
        _ => {}
    }
    let (mut client, cluster_id) = connect(line)?;
    let quorum = client.describe_quorum()?;
    if line.status {
        status(&quorum, &cluster_id, console)?;
    } else {
        let now = crate::client::producer::now().0;
        replication(&quorum, line.human_readable.then_some(now), console)?;
    }
    Ok(())
}

fn status(quorum: &Quorum, cluster_id: &str, console: &mut Console<'_>) -> io::Result<()> {
    let leader_end = quorum.leader().map_or(0, |leader| leader.log_end_offset);
    let leader_time = quorum.leader().map_or(-1, |leader| leader.last_caught_up_ms);
    let slowest = quorum.voters.iter().min_by_key(|replica| replica.log_end_offset);
    let lag = slowest.map_or(0, |slowest| leader_end - slowest.log_end_offset);
    let lag_ms = match slowest {
        Some(slowest) if slowest.id == quorum.leader_id => 0,
        Some(slowest) if slowest.last_caught_up_ms >= 0 => leader_time - slowest.last_caught_up_ms,
        _ => -1,
    };
    let voters = members(quorum, &quorum.voters);
    let observers = members(quorum, &quorum.observers);
    for (name, value) in [
        ("ClusterId:", cluster_id.to_owned()),
        ("LeaderId:", quorum.leader_id.to_string()),
        ("LeaderEpoch:", quorum.leader_epoch.to_string()),
        ("HighWatermark:", quorum.high_watermark.to_string()),
        ("MaxFollowerLag:", lag.to_string()),
        ("MaxFollowerLagTimeMs:", lag_ms.to_string()),
        ("CurrentVoters:", voters),
        ("CurrentObservers:", observers),
    ] {
        outln!(console, "{name:<23} {value}");
    }
    Ok(())
}

/// `[{"id": 1, "endpoints": ["CONTROLLER://h:9093"]}]`, with directory ids where the quorum has them.
fn members(quorum: &Quorum, replicas: &[QuorumReplica]) -> String {
    let mut sorted: Vec<&QuorumReplica> = replicas.iter().collect();
    sorted.sort_by_key(|replica| replica.id);
    let members = sorted.into_iter().map(|replica| {
        let mut fields = vec![format!("\"id\": {}", replica.id)];
        if !replica.directory_id.is_zero() {
            fields.push(format!("\"directoryId\": \"{}\"", replica.directory_id));
        }
        if let Some((_, listeners)) = quorum.endpoints.iter().find(|(id, _)| *id == replica.id) {
            let listeners: Vec<String> = listeners.iter().map(|listener| format!("\"{listener}\"")).collect();
            fields.push(format!("\"endpoints\": [{}]", listeners.join(", ")));
        }
        format!("{{{}}}", fields.join(", "))
    });
    format!("[{}]", members.collect::<Vec<_>>().join(", "))
}

/// Times are milliseconds since 1970 or, where `now` is given, how long ago.
fn replication(quorum: &Quorum, now: Option<i64>, console: &mut Console<'_>) -> io::Result<()> {
    let time = |ms: i64| match (ms, now) {
        (-1, _) => "-1".to_owned(),
        (ms, Some(now)) => format!("{} ms ago", now - ms),
        (ms, None) => ms.to_string(),
    };
    let heads = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    let mut rows: Vec<[String; 7]> = vec![heads.map(str::to_owned)];
    rows.extend(quorum.replicas().map(|(replica, status)| {
        [
            replica.id.to_string(),
            replica.directory_id.to_string(),
            replica.log_end_offset.to_string(),
            quorum.lag(replica).to_string(),
            time(replica.last_fetch_ms),
            time(replica.last_caught_up_ms),
            status.to_owned(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let cells: String =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}\t")).collect();
        outln!(console, "{cells}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moldau_model::Uuid;

    fn quorum(leader: i32, epoch: i32, high_watermark: i64, replicas: &[(i32, i64, i64)]) -> Quorum {
        let replica = |(id, end, time): &(i32, i64, i64)| QuorumReplica {
            id: *id,
            directory_id: Uuid::ZERO,
            log_end_offset: *end,
            last_fetch_ms: *time,
            last_caught_up_ms: *time,
        };
        let endpoint = |(id, ..): &(i32, i64, i64)| (*id, vec![format!("CONTROLLER://127.0.0.1:39{id}93")]);
        Quorum {
            leader_id: leader,
            leader_epoch: epoch,
            high_watermark,
            voters: replicas.iter().map(replica).collect(),
            observers: vec![],
            endpoints: replicas.iter().map(endpoint).collect(),
        }
    }

    fn printed(print: impl FnOnce(&mut Console<'_>) -> io::Result<()>) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&mut Console { out: &mut out, err: &mut err }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_status_is_apache_kafkas_to_the_byte() {
        let id = "7ja9YcYrQLCm7A8M4_lZgw";
        let healthy = quorum(3, 1, 781, &[(3, 782, 1000), (1, 782, 534), (2, 782, 534)]);
        // Of equals, Kafka takes a follower.
        let mut voters = healthy.voters.clone();
        voters.rotate_left(1);
        let healthy = Quorum { voters, ..healthy };
        assert_eq!(printed(|c| status(&healthy, id, c)), include_str!("../../tests/golden/quorum_s.out"));
        let dead = quorum(1, 3, 1007, &[(1, 1007, 1000), (2, 1007, 900), (3, -1, -1)]);
        assert_eq!(printed(|c| status(&dead, id, c)), include_str!("../../tests/golden/dead_q.out"));
    }

    #[test]
    fn the_replication_table_is_apache_kafkas_to_the_byte() {
        let time = 1_795_466_756_456;
        let q = quorum(3, 1, 784, &[(3, 784, 1_795_466_756_862), (1, 784, time), (2, 784, time)]);
        assert_eq!(printed(|c| replication(&q, None, c)), include_str!("../../tests/golden/quorum_r.out"));
        let q = quorum(3, 1, 787, &[(3, 787, 990), (1, 787, 745), (2, 787, 746)]);
        assert_eq!(
            printed(|c| replication(&q, Some(1000), c)),
            include_str!("../../tests/golden/quorum_rh.out")
        );
    }

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            ("", format!("{USAGE}kafka-metadata-quorum: error: too few arguments\n")),
            (
                "describe",
                "One of --status or --replication must be specified with describe sub-command\n".to_owned(),
            ),
            (
                "describe --status --replication",
                "Only one of --status or --replication should be specified with describe sub-command\n"
                    .to_owned(),
            ),
            (
                "describe --status --human-readable",
                "The option --human-readable is only supported along with --replication\n".to_owned(),
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1);
            assert_eq!(String::from_utf8(err).unwrap(), text, "{line}");
        }
    }
}
