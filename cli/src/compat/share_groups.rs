//! `kafka-share-groups`: list, describe, reset and delete offsets, delete groups. Kafka's tool exits 0 when its work
//! failed; this one exits 1 with the same text, so that scripts notice.

mod delete;
mod describe;
mod reset;

use std::io;
use std::time::Duration;

use super::consumer_groups::failed;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect_within, refuse_beside};
use crate::client::Client;
use crate::console::{Console, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("all-groups", Argument::No),
            ("all-topics", Argument::No),
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("delete", Argument::No),
            ("delete-offsets", Argument::No),
            ("describe", Argument::No),
            ("dry-run", Argument::No),
            ("execute", Argument::No),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("list", Argument::No),
            ("members", Argument::No),
            ("offsets", Argument::No),
            ("reset-offsets", Argument::No),
            ("state", Argument::Optional),
            ("timeout", Argument::Required),
            ("to-datetime", Argument::Required),
            ("to-earliest", Argument::No),
            ("to-latest", Argument::No),
            ("topic", Argument::Required),
            ("verbose", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-share-groups.txt"),
    about: "This tool helps to list, describe, reset and delete share groups.",
};

const ACTIONS: &[&str] = &["list", "describe", "delete", "reset-offsets", "delete-offsets"];
/// In the order in which Kafka's tool checks them against one another.
const SCENARIOS: &[&str] = &["to-datetime", "to-earliest", "to-latest"];
const STATES: &[&str] = &["Empty", "Stable", "Dead"];

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "\nError: Executing share group command failed due to ", console)
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    check(&options)?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return usage(format!("Command must include exactly one action: --{}.", ACTIONS.join(", --")));
    }
    let timeout = options.number::<u64>("timeout")?.unwrap_or(30_000);
    let mut client = connect_within(&options, "adminclient-1", Duration::from_millis(timeout))?;
    if options.has("list") {
        list(&mut client, &options, console)
    } else if options.has("describe") {
        describe::run(&mut client, &options, console)
    } else if options.has("delete") {
        delete::groups(&mut client, &options, console)
    } else if options.has("delete-offsets") {
        delete::offsets(&mut client, &options, console)
    } else {
        reset::run(&mut client, &options, console)
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    let has_group = options.has("group") || options.has("all-groups");
    if options.has("describe") {
        if !has_group {
            return usage("Option [describe] takes one of these options: [all-groups], [group]");
        }
        if ["members", "offsets", "state"].iter().filter(|sub| options.has(sub)).count() > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            );
        }
        if !options.all("state").is_empty() {
            return usage("Option [describe] does not take a value for [state]");
        }
    }
    if options.has("delete") {
        if !has_group {
            return usage("Option [delete] takes the options [group] or [all-groups]");
        }
        if options.has("group") && options.has("all-groups") {
            return usage("Option [delete] takes either [group] or [all-groups], not both.");
        }
        if options.has("topic") {
            return usage("Option [delete] does not take the option: [topic]");
        }
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]");
    }
    if options.has("reset-offsets") {
        check_reset(options)?;
    }
    refuse_beside(options, "group", &["all-groups", "list"])?;
    refuse_beside(options, "topic", &["describe", "list"])
}

fn check_reset(options: &Options) -> Result<(), Failure> {
    match (options.has("dry-run"), options.has("execute")) {
        (true, true) => return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]"),
        (false, false) => return usage("Option [reset-offsets] takes the option: [execute] or [dry-run]"),
        _ => {}
    }
    if !options.has("group") {
        return usage("Option [reset-offsets] takes the option: [group]");
    }
    if !options.has("topic") && !options.has("all-topics") {
        return usage("Option [reset-offsets] takes one of these options: [all-topics], [topic]");
    }
    if !SCENARIOS.iter().any(|scenario| options.has(scenario)) {
        return usage(
            "Option [reset-offsets] takes one of these options: [to-datetime], [to-earliest], [to-latest]",
        );
    }
    SCENARIOS.iter().try_for_each(|scenario| {
        let others: Vec<&str> = SCENARIOS.iter().copied().filter(|other| other != scenario).collect();
        refuse_beside(options, scenario, &others)
    })
}

/// The groups that the line names, or all.
fn groups(client: &mut Client, options: &Options) -> Result<Vec<String>, Failure> {
    if options.has("all-groups") {
        return Ok(client.list_share_groups()?.into_iter().map(|group| group.group).collect());
    }
    Ok(options.all("group").to_vec())
}

fn list(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let given = options.all("state");
    let mut states: Vec<&str> = Vec::new();
    for name in given.iter().flat_map(|list| list.split(',')).map(str::trim) {
        match STATES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => states.push(known),
            None => {
                let (given, valid) = (given.join(","), STATES.join(", "));
                return usage(format!("Invalid state list '{given}'. Valid states are: {valid}"));
            }
        }
    }
    let mut groups = client.list_share_groups()?;
    groups.retain(|group| states.is_empty() || states.contains(&group.state.as_str()));
    if !options.has("state") {
        for group in &groups {
            outln!(console, "{}", group.group);
        }
        return Ok(());
    }
    let width = groups.iter().map(|group| group.group.chars().count()).max().unwrap_or(0).max(15);
    outln!(console, "{:<width$} STATE", "GROUP");
    for group in &groups {
        outln!(console, "{:<width$} {}", group.group, group.state);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            (
                "--bootstrap-server h:1",
                "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets.",
            ),
            ("--describe", "Option [describe] takes one of these options: [all-groups], [group]"),
            (
                "--describe --group g --state --members",
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            ),
            ("--describe --group g --state Empty", "Option [describe] does not take a value for [state]"),
            ("--delete", "Option [delete] takes the options [group] or [all-groups]"),
            (
                "--delete --group g --all-groups",
                "Option [delete] takes either [group] or [all-groups], not both.",
            ),
            ("--delete --group g --topic t", "Option [delete] does not take the option: [topic]"),
            (
                "--delete-offsets --group g",
                "Option [delete-offsets] takes the following options: [group], [topic]",
            ),
            (
                "--reset-offsets --group g --topic t --to-latest --dry-run --execute",
                "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
            ),
            (
                "--reset-offsets --group g --topic t --to-latest",
                "Option [reset-offsets] takes the option: [execute] or [dry-run]",
            ),
            ("--reset-offsets --dry-run", "Option [reset-offsets] takes the option: [group]"),
            (
                "--reset-offsets --dry-run --group g",
                "Option [reset-offsets] takes one of these options: [all-topics], [topic]",
            ),
            (
                "--reset-offsets --dry-run --group g --topic t",
                "Option [reset-offsets] takes one of these options: [to-datetime], [to-earliest], [to-latest]",
            ),
            (
                "--reset-offsets --dry-run --group g --topic t --to-latest --to-earliest",
                "Option \"[to-earliest]\" can't be used with option \"[to-latest]\"",
            ),
            ("--list --group g", "Option \"[group]\" can't be used with option \"[list]\""),
            ("--list --topic t", "Option \"[topic]\" can't be used with option \"[list]\""),
            ("--describe --group g --topic t", "Option \"[topic]\" can't be used with option \"[describe]\""),
            (
                "--describe --group g --all-groups",
                "Option \"[group]\" can't be used with option \"[all-groups]\"",
            ),
            ("--list --state foo", "Invalid state list 'foo'. Valid states are: Empty, Stable, Dead"),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len()), (1, 0), "{line}");
            assert_eq!(String::from_utf8(err).unwrap(), format!("{text}\n{}", TOOL.usage), "{line}");
        }
    }
}
