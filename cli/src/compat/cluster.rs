//! `kafka-cluster`: the cluster's id, its endpoints, and a broker out of it.

use std::io;
use std::sync::Arc;

use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::subcommands::{Command, CommandLine, Read, flag, usage, value};
use super::tool::{admin_servers, default_bootstrap};
use crate::client::{API_TIMEOUT, Client, ClientError, ClientOptions, WhenUnreachable, security};
use crate::console::{Console, errln};
use crate::properties;

const HELP: &str = include_str!("usage/kafka-cluster-help.txt");
const LINE: CommandLine = CommandLine {
    options: &[],
    commands: &[
        Command {
            name: "cluster-id",
            help: include_str!("usage/kafka-cluster-cluster-id-help.txt"),
            options: &[
                value("--bootstrap-server"),
                value("--bootstrap-controller"),
                value("--config"),
                value("--command-config"),
            ],
        },
        Command {
            name: "unregister",
            help: include_str!("usage/kafka-cluster-unregister-help.txt"),
            options: &[
                value("--bootstrap-server"),
                value("--bootstrap-controller"),
                value("--config"),
                value("--command-config"),
                value("--id"),
            ],
        },
        Command {
            name: "list-endpoints",
            help: include_str!("usage/kafka-cluster-list-endpoints-help.txt"),
            options: &[
                value("--bootstrap-server"),
                value("--bootstrap-controller"),
                value("--config"),
                value("--command-config"),
                flag("--include-fenced-brokers"),
            ],
        },
    ],
};

/// The short names, each behind the command that has it.
const SHORT: [(&str, &str); 4] = [
    ("-b", "--bootstrap-server"),
    ("-C", "--bootstrap-controller"),
    ("-c", "--command-config"),
    ("-i", "--id"),
];

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let long = |word: &String| {
        let known = SHORT.iter().find(|(short, _)| short == word);
        known.map_or_else(|| word.clone(), |(_, long)| (*long).to_owned())
    };
    let words: Vec<String> = arguments.iter().map(long).collect();
    let mut read = Read::default();
    if let Err(text) = LINE.read(&words, &mut read) {
        return wrong_line(&read, &text, console);
    }
    let Some(command) = read.command.filter(|_| !read.asks_for_help) else {
        let help = read.command.map_or(HELP, |command| LINE.commands[command].help);
        write!(console.out, "{help}")?;
        return Ok(1);
    };
    let name = LINE.commands[command].name;
    if name == "unregister" && !read.has("--id") {
        return wrong_line(&read, "argument --id/-i is required", console);
    }
    let result = connect(&read).and_then(|mut client| match name {
        "cluster-id" => cluster_id(&mut client),
        "unregister" => unregister(&mut client, read.one("--id").unwrap_or_default()),
        _ => endpoints(&mut client, read.has("--include-fenced-brokers")),
    });
    match result {
        Ok(text) => {
            write!(console.out, "{text}")?;
            Ok(0)
        }
        Err(text) => {
            errln!(console, "{text}");
            Ok(1)
        }
    }
}

fn wrong_line(read: &Read, text: &str, console: &mut Console<'_>) -> io::Result<u8> {
    let help = read.command.map_or(HELP, |command| LINE.commands[command].help);
    write!(console.err, "{}", usage(help))?;
    errln!(console, "kafka-cluster: error: {text}");
    Ok(1)
}

fn connect(read: &Read) -> Result<Client, String> {
    if read.has("--bootstrap-controller") {
        return Err(
            "--bootstrap-controller is not supported yet: ask a broker by --bootstrap-server".to_owned()
        );
    }
    let properties = match read.one("--command-config").or_else(|| read.one("--config")) {
        None => Vec::new(),
        Some(path) => {
            let content = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            properties::parse(&content).map_err(|error| format!("{path}: {error}"))?
        }
    };
    let dialer = security::dialer(&properties)?;
    let servers = read.one("--bootstrap-server").map_or_else(default_bootstrap, str::to_owned);
    let bootstrap = admin_servers(&servers)?;
    let client = Client::new(ClientOptions {
        bootstrap,
        client_id: "adminclient-1".to_owned(),
        api_timeout: API_TIMEOUT,
        when_unreachable: WhenUnreachable::Retry,
    });
    Ok(client.dialing(Arc::new(dialer)))
}

fn describe(client: &mut Client, with_fenced: bool) -> Result<DescribeClusterResponse, String> {
    let request =
        DescribeClusterRequest::default().with_endpoint_type(1).with_include_fenced_brokers(with_fenced);
    let response = client.call(&request).map_err(|error| error.java())?;
    ClientError::check(response.error_code, response.error_message.as_deref())
        .map_err(|error| error.java())?;
    Ok(response)
}

fn cluster_id(client: &mut Client) -> Result<String, String> {
    Ok(format!("Cluster ID: {}\n", describe(client, false)?.cluster_id.as_str()))
}

fn unregister(client: &mut Client, id: &str) -> Result<String, String> {
    let id: i32 = id.parse().map_err(|_| format!("argument --id/-i: could not convert '{id}' to Integer"))?;
    match client.unregister_broker(id) {
        Ok(()) => Ok(format!("Broker {id} is no longer registered.\n")),
        Err(ClientError::Unsupported { .. }) => {
            Ok("The target cluster does not support the broker unregistration API.\n".to_owned())
        }
        Err(error) => Err(error.java()),
    }
}

fn endpoints(client: &mut Client, with_fenced: bool) -> Result<String, String> {
    let response = describe(client, with_fenced)?;
    let mut brokers = response.brokers;
    brokers.sort_by_key(|broker| broker.broker_id);
    let rows: Vec<[String; 6]> = brokers
        .iter()
        .map(|broker| {
            let rack = broker.rack.as_ref().map_or_else(|| "null".to_owned(), ToString::to_string);
            let state = if broker.is_fenced { "fenced" } else { "unfenced" };
            [
                broker.broker_id.0.to_string(),
                broker.host.to_string(),
                broker.port.to_string(),
                rack,
                state.to_owned(),
                "broker".to_owned(),
            ]
        })
        .collect();
    Ok(table(&rows))
}

/// Rows under their heads: the id, port, rack, state and kind in columns of fixed widths, the host as wide as the widest.
fn table(rows: &[[String; 6]]) -> String {
    let width = rows.iter().map(|row| row[1].len()).max().unwrap_or(0);
    let line = |[id, host, port, rack, state, kind]: [&str; 6]| {
        format!("{id:<10} {host:<width$} {port:<10} {rack:<10} {state:<10} {kind:<15}\n")
    };
    let head = line(["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"]);
    rows.iter().fold(head, |text, row| text + &line([&row[0], &row[1], &row[2], &row[3], &row[4], &row[5]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_the_recorded_ones() {
        let row =
            |id: &str, port: &str| [id, "127.0.0.1", port, "null", "unfenced", "broker"].map(str::to_owned);
        let expected = "\
ID         HOST      PORT       RACK       STATE      ENDPOINT_TYPE  
1          127.0.0.1 39192      null       unfenced   broker         
2          127.0.0.1 39292      null       unfenced   broker         
";
        assert_eq!(table(&[row("1", "39192"), row("2", "39292")]), expected);
    }

    #[test]
    fn wrong_lines_show_the_usage_of_what_was_meant() {
        for (line, first, last) in [
            ("", "usage: kafka-cluster [-h]", "kafka-cluster: error: too few arguments\n"),
            (
                "unregister -b a:1",
                "usage: kafka-cluster unregister",
                "kafka-cluster: error: argument --id/-i is required\n",
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1, "{line}");
            let said = String::from_utf8(err).unwrap();
            assert!(said.starts_with(first) && said.ends_with(last), "{line}: {said}");
        }
    }
}
