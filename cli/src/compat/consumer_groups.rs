//! `kafka-consumer-groups`: list, describe, reset and delete offsets, delete groups. Kafka's tool exits 0 when its
//! work failed; this one exits 1 with the same text, so that scripts notice.

mod delete;
mod describe;
pub(super) mod reset;
pub(super) mod time;

use std::io;
use std::time::Duration;

use moldau_model::ErrorCode;

use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect_within, refuse_beside};
use crate::client::{Client, ClientError};
use crate::console::{Console, errln, outln};

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("all-groups", Argument::No),
            ("all-topics", Argument::No),
            ("bootstrap-server", Argument::Required),
            ("by-duration", Argument::Required),
            ("command-config", Argument::Required),
            ("delete", Argument::No),
            ("delete-offsets", Argument::No),
            ("describe", Argument::No),
            ("dry-run", Argument::No),
            ("execute", Argument::No),
            ("export", Argument::No),
            ("from-file", Argument::Required),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("list", Argument::No),
            ("members", Argument::No),
            ("offsets", Argument::No),
            ("reset-offsets", Argument::No),
            ("shift-by", Argument::Required),
            ("state", Argument::Optional),
            ("timeout", Argument::Required),
            ("to-current", Argument::No),
            ("to-datetime", Argument::Required),
            ("to-earliest", Argument::No),
            ("to-latest", Argument::No),
            ("to-offset", Argument::Required),
            ("topic", Argument::Required),
            ("type", Argument::Optional),
            ("validate-regex", Argument::Required),
            ("verbose", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-consumer-groups.txt"),
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or \
            reset consumer group offsets.",
};

const ACTIONS: &[&str] = &["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
/// In the order in which Kafka's tool checks them against one another.
const SCENARIOS: &[&str] = &[
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "shift-by",
    "to-current",
    "from-file",
];
const STATES: &[&str] =
    &["Dead", "CompletingRebalance", "Empty", "Reconciling", "PreparingRebalance", "Stable", "Assigning"];
const TYPES: &[&str] = &["Consumer", "Classic"];
const NO_EXECUTE_WARNING: &str = "WARN: No action will be performed as the --execute option is missing. In version \
    5.0, this command will require either --dry-run or --execute to be specified. You should add the --dry-run option \
    explicitly if you are scripting this command and want to keep the current default behavior without prompting.";
pub(super) const MISSING: &str = "-";

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = run(arguments, console);
    TOOL.finish(result, "\nError: Executing consumer group command failed due to ", console)
}

fn usage<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    check(&options, console)?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return usage(format!("Command must include exactly one action: --{}", ACTIONS.join(", --")));
    }
    if let Some(pattern) = options.one("validate-regex")? {
        return validate_regex(pattern, console);
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

fn check(options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let has_group = options.has("group") || options.has("all-groups");
    if options.has("describe") {
        if !has_group {
            return usage("Option [describe] takes one of these options: [group], [all-groups]");
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
            return usage("Option [delete] takes one of these options: [group], [all-groups]");
        }
        if options.has("topic") {
            return usage(
                "The consumer does not support topic-specific offset deletion from a consumer group.",
            );
        }
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]");
    }
    if options.has("reset-offsets") {
        if options.has("dry-run") && options.has("execute") {
            return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
        }
        if !options.has("dry-run") && !options.has("execute") {
            errln!(console, "{NO_EXECUTE_WARNING}");
        }
        if !has_group {
            return usage("Option [reset-offsets] takes one of these options: [group], [all-groups]");
        }
        for scenario in SCENARIOS {
            let others: Vec<&str> = SCENARIOS.iter().copied().filter(|other| other != scenario).collect();
            refuse_beside(options, scenario, &others)?;
        }
        if !SCENARIOS.iter().any(|scenario| options.has(scenario)) {
            return usage(
                "Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], [to-earliest], \
                 [to-current], [to-latest], [by-duration], [to-datetime], [from-file], [shift-by]]",
            );
        }
        if !options.has("from-file") && !options.has("topic") && !options.has("all-topics") {
            return usage("One of the reset scopes should be defined: --all-topics, --topic.");
        }
    }
    refuse_beside(options, "group", &["all-groups", "list"])?;
    refuse_beside(options, "all-groups", &["list"])
}

/// A failure of the work itself, with a text of its own.
pub(super) fn failed(text: impl Into<String>) -> Failure {
    Failure::Client(ClientError::Broker { code: ErrorCode::InvalidRequest, message: text.into() })
}

fn validate_regex(pattern: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    match regex::Regex::new(pattern) {
        Ok(_) => outln!(console, "The regular expression `{pattern}` is valid."),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            outln!(console, "The regular expression `{pattern}` is invalid: {reason}.");
        }
    }
    Ok(())
}

/// The groups that the line names, or all.
fn groups(client: &mut Client, options: &Options) -> Result<Vec<String>, Failure> {
    if options.has("all-groups") {
        return Ok(client.list_groups()?.into_iter().map(|group| group.group).collect());
    }
    Ok(options.all("group").to_vec())
}

/// The names of a comma-separated filter, each in the spelling of `valid`.
fn filter(
    given: &[String],
    what: &str,
    valid: &'static [&'static str],
) -> Result<Vec<&'static str>, Failure> {
    let mut names = Vec::new();
    for name in given.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        match valid.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => names.push(*known),
            None => {
                let many = if what == "state" { "state" } else { "types" };
                return usage(format!(
                    "Invalid {many} list '{}'. Valid {what}s are: {}",
                    given.join(","),
                    valid.join(", ")
                ));
            }
        }
    }
    Ok(names)
}

fn list(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let states = filter(options.all("state"), "state", STATES)?;
    let types = filter(options.all("type"), "type", TYPES)?;
    let mut groups = client.list_groups()?;
    for group in &mut groups {
        // The protocol says "classic", Kafka's tool "Classic".
        if let Some(name) = TYPES.iter().find(|name| name.eq_ignore_ascii_case(&group.group_type)) {
            (*name).clone_into(&mut group.group_type);
        }
    }
    groups.retain(|group| {
        (states.is_empty() || states.contains(&group.state.as_str()))
            && (types.is_empty() || types.contains(&group.group_type.as_str()))
    });
    let longest = groups.iter().map(|group| group.group.chars().count()).max().unwrap_or(0).max(15);
    let width = longest + 10;
    let (by_state, by_type) = (options.has("state"), options.has("type"));
    let mut line = |group: &str, kind: &str, state: &str| -> io::Result<()> {
        match (by_type, by_state) {
            (false, false) => outln!(console, "{group}"),
            (true, true) => outln!(console, "{group:<width$} {kind:<20} {state:<20}"),
            (true, false) => outln!(console, "{group:<width$} {kind:<20}"),
            (false, true) => outln!(console, "{group:<width$} {state:<20}"),
        }
        Ok(())
    };
    if by_state || by_type {
        line("GROUP", "TYPE", "STATE")?;
    }
    for group in &groups {
        line(&group.group, &group.group_type, &group.state)?;
    }
    Ok(())
}

/// `topic` or `topic:0,1` per argument; without partitions, all of the topic's.
pub(super) fn scoped_partitions(
    client: &mut Client,
    topics: &[String],
) -> Result<Vec<crate::client::offsets::Partition>, Failure> {
    let mut partitions = Vec::new();
    for argument in topics {
        match argument.split_once(':') {
            Some((topic, list)) => {
                for index in list.split(',') {
                    let index = index.trim();
                    let number =
                        index.parse().map_err(|_| failed(format!("For input string: \"{index}\"")))?;
                    partitions.push((topic.to_owned(), number));
                }
            }
            None => partitions.extend(client.partitions_of(&[argument])?),
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, text) in [
            (
                "--bootstrap-server h:1",
                "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex",
            ),
            ("--describe", "Option [describe] takes one of these options: [group], [all-groups]"),
            (
                "--describe --group g --state --members",
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            ),
            ("--delete", "Option [delete] takes one of these options: [group], [all-groups]"),
            (
                "--delete-offsets --group g",
                "Option [delete-offsets] takes the following options: [group], [topic]",
            ),
            (
                "--reset-offsets --group g --topic t --to-earliest --dry-run --execute",
                "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
            ),
            (
                "--reset-offsets --dry-run --group g --topic t --to-earliest --to-latest",
                "Option \"[to-earliest]\" can't be used with option \"[to-latest]\"",
            ),
            (
                "--reset-offsets --dry-run --group g --to-earliest",
                "One of the reset scopes should be defined: --all-topics, --topic.",
            ),
            (
                "--list --state foo",
                "Invalid state list 'foo'. Valid states are: Dead, CompletingRebalance, Empty, Reconciling, PreparingRebalance, Stable, Assigning",
            ),
            ("--list --type foo", "Invalid types list 'foo'. Valid types are: Consumer, Classic"),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len()), (1, 0), "{line}");
            assert_eq!(String::from_utf8(err).unwrap(), format!("{text}\n{}", TOOL.usage), "{line}");
        }
    }

    #[test]
    fn a_pattern_is_judged() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = ["--validate-regex".to_owned(), "a.*".to_owned()];
        assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 0);
        assert_eq!(String::from_utf8(out).unwrap(), "The regular expression `a.*` is valid.\n");
    }
}
