//! `kafka-client-metrics`: which metrics clients are asked for.

use std::io;

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect};
use crate::client::Client;
use crate::client::configs::{ConfigChange, ResourceKind};
use crate::console::{Console, outln};
use moldau_model::Uuid;

const KIND: ResourceKind = ResourceKind::ClientMetrics;
const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("alter", Argument::No),
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("delete", Argument::No),
            ("describe", Argument::No),
            ("generate-name", Argument::No),
            ("help", Argument::No),
            ("interval", Argument::Required),
            ("list", Argument::No),
            ("match", Argument::Required),
            ("metrics", Argument::Required),
            ("name", Argument::Required),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-client-metrics.txt"),
    about: "This tool helps to manipulate and describe client metrics configurations.",
};

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "Error while executing client metrics command : ", console)
}

fn text<T>(text: &str) -> Result<T, Failure> {
    Err(Failure::Text(text.to_owned()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    if ["alter", "delete", "describe", "list"].iter().filter(|action| options.has(action)).count() != 1 {
        let text = "Command must include exactly one action: --alter, --delete, --describe or --list.";
        return Err(Failure::Usage(text.into()));
    }
    let altering = ["generate-name", "interval", "match", "metrics"];
    super::tool::refuse_beside(&options, "delete", &altering)?;
    super::tool::refuse_beside(&options, "describe", &altering)?;
    super::tool::refuse_beside(&options, "list", &["name"])?;
    super::tool::refuse_beside(&options, "list", &altering)?;
    if options.has("alter") {
        return alter(&options, console);
    }
    if options.has("delete") && !options.has("name") {
        return text("A client metrics resource name must be specified with --delete.");
    }
    let mut client = connect(&options, "adminclient-1")?;
    if options.has("list") {
        outln!(console, "{}", client.list_config_resources(KIND)?.join("\n"));
        return Ok(());
    }
    let name = options.one("name")?;
    match name.filter(|_| options.has("delete")) {
        Some(name) => delete(&mut client, name, console),
        None => describe(&mut client, name, console),
    }
}

fn alter(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let name = match (options.one("name")?, options.has("generate-name")) {
        (Some(name), false) => name.to_owned(),
        (None, true) => generated_name()?,
        (Some(_), true) => return text("One of --name or --generate-name must be specified with --alter."),
        (None, false) => return text("One of --name or --generate-name must be specified with --alter."),
    };
    let interval = options.one("interval")?;
    if interval.is_some_and(|interval| !interval.is_empty() && interval.parse::<i32>().is_err()) {
        return text("Invalid interval value. Enter an integer, or leave empty to reset.");
    }
    let mut changes = Vec::new();
    for (option, key) in [("interval", "interval.ms"), ("match", "match"), ("metrics", "metrics")] {
        match options.one(option)? {
            None => {}
            Some("") => changes.push(ConfigChange::Delete(key.to_owned())),
            Some(value) => changes.push(ConfigChange::Set(key.to_owned(), value.to_owned())),
        }
    }
    connect(options, "adminclient-1")?.alter_configs(KIND, &name, &changes)?;
    outln!(console, "Altered client metrics config for {name}.");
    Ok(())
}

/// An id that nobody else has, in Kafka's writing.
fn generated_name() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Text(format!("no randomness: {error}")))?;
    Ok(Uuid::from_bytes(bytes).to_string())
}

/// What a subscription sets itself, and its defaults.
fn settings(client: &mut Client, name: &str) -> Result<Vec<(String, String)>, Failure> {
    let described = client.describe_configs(KIND, &[name.to_owned()], false)?;
    let entries = described.into_values().next().unwrap_or_default();
    let mut settings: Vec<(String, String)> =
        entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default())).collect();
    settings.sort();
    Ok(settings)
}

fn delete(client: &mut Client, name: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    let changes: Vec<ConfigChange> =
        settings(client, name)?.into_iter().map(|(key, _)| ConfigChange::Delete(key)).collect();
    client.alter_configs(KIND, name, &changes)?;
    outln!(console, "Deleted client metrics config for {name}.");
    Ok(())
}

fn describe(client: &mut Client, name: Option<&str>, console: &mut Console<'_>) -> Result<(), Failure> {
    let names = client.list_config_resources(KIND)?;
    if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
        outln!(console, "The client metric resource {name} doesn't exist and doesn't have dynamic config.");
        return Ok(());
    }
    for name in name.map_or(names, |name| vec![name.to_owned()]) {
        outln!(console, "Client metrics configs for {name} are:");
        for (key, value) in settings(client, &name)? {
            outln!(console, "  {key}={value}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        let usage = |text: &str| format!("{text}\n{}", TOOL.usage);
        let one_action = "Command must include exactly one action: --alter, --delete, --describe or --list.";
        for (line, expected) in [
            ("", usage(TOOL.about)),
            ("--bootstrap-server h:1", usage(one_action)),
            ("--list --delete", usage(one_action)),
            ("--alter", "One of --name or --generate-name must be specified with --alter.\n".to_owned()),
            ("--delete", "A client metrics resource name must be specified with --delete.\n".to_owned()),
            (
                "--alter --name m --interval abc",
                "Invalid interval value. Enter an integer, or leave empty to reset.\n".to_owned(),
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len(), String::from_utf8(err).unwrap()), (1, 0, expected), "{line}");
        }
    }
}
