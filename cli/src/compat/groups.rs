//! `kafka-groups`: lists groups of all kinds.

use std::io;

use super::java_order::{DEFAULT_CAPACITY, sort};
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, refuse_beside, with_java_names};
use crate::client::groups::GroupListing;
use crate::console::Console;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("bootstrap-server", Argument::Required),
            ("command-config", Argument::Required),
            ("consumer", Argument::No),
            ("group-type", Argument::Required),
            ("help", Argument::No),
            ("list", Argument::No),
            ("protocol", Argument::Required),
            ("share", Argument::No),
            ("streams", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-groups.txt"),
    about: "This tool helps to list groups of all types.",
};

const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];
/// Columns are at least so wide.
const WIDTH_MIN: usize = 20;

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = with_java_names(run(arguments, console));
    TOOL.finish(result, "", console)
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    if !options.has("list") {
        return Err(Failure::Usage("Command must include exactly one action: --list.".into()));
    }
    let group_type = options.one("group-type")?;
    if group_type.is_some_and(|name| !TYPES.contains(&name.to_ascii_lowercase().as_str())) {
        return Err(Failure::Text("--group-type must be a valid group type.".into()));
    }
    refuse_beside(&options, "consumer", &["group-type", "protocol", "share", "streams"])?;
    refuse_beside(&options, "share", &["consumer", "group-type", "protocol", "streams"])?;
    refuse_beside(&options, "streams", &["consumer", "group-type", "protocol", "share"])?;
    let mut client = connect(&options, "adminclient-1")?;
    let mut groups = client.list_all_groups()?;
    sort(&mut groups, DEFAULT_CAPACITY, |group| &group.group);
    let mut rows = Vec::new();
    for group in groups {
        if is_wanted(&group, &options)? {
            rows.push([group.group, shown(&group.group_type), group.protocol_type]);
        }
    }
    write!(console.out, "{}", table(&rows))?;
    Ok(())
}

/// The type as Java's client writes it.
fn shown(group_type: &str) -> String {
    let mut letters = group_type.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A later filter stands in place of an earlier one, as in Kafka's tool.
fn is_wanted(group: &GroupListing, options: &Options) -> Result<bool, Failure> {
    let is_of = |name: &str| group.group_type.eq_ignore_ascii_case(name);
    let mut wanted = true;
    if let Some(name) = options.one("group-type")? {
        wanted =
            is_of(name) && options.one("protocol")?.is_none_or(|protocol| group.protocol_type == protocol);
    } else if let Some(protocol) = options.one("protocol")? {
        wanted = group.protocol_type == protocol;
    }
    if options.has("consumer") {
        wanted = ["consumer", ""].contains(&group.protocol_type.as_str()) || is_of("consumer");
    } else if options.has("share") {
        wanted = is_of("share");
    } else if options.has("streams") {
        wanted = is_of("streams");
    }
    Ok(wanted)
}

/// The heads, and rows that each end in a blank: the real tool prints it.
fn table(rows: &[[String; 3]]) -> String {
    let width =
        rows.iter().flatten().map(|cell| cell.encode_utf16().count()).max().unwrap_or(0).max(WIDTH_MIN);
    let mut text = format!("{:<width$} {:<width$} {:<width$}\n", "GROUP", "TYPE", "PROTOCOL");
    for [group, group_type, protocol] in rows {
        text.push_str(&format!("{group:<width$} {group_type:<width$} {protocol:<width$} \n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_tools_own() {
        assert_eq!(table(&[]), "GROUP                TYPE                 PROTOCOL            \n");
        let row = ["g1".to_owned(), shown("classic"), "consumer".to_owned()];
        assert_eq!(
            table(&[row]),
            "GROUP                TYPE                 PROTOCOL            \n\
             g1                   Classic              consumer             \n"
        );
    }

    #[test]
    fn wrong_lines_have_the_tools_own_words() {
        for (line, text) in [
            ("--consumer", "Command must include exactly one action: --list.\nOption "),
            ("--list --group-type frob", "--group-type must be a valid group type.\n"),
            (
                "--list --share --consumer",
                "Option \"[consumer]\" can't be used with option \"[share]\"\nOption ",
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap(), 1, "{line}");
            let said = String::from_utf8(err).unwrap();
            assert!(said.starts_with(text), "{line}: {said}");
        }
    }
}
