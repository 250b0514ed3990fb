//! `moldau group`.

use std::collections::BTreeMap;

use clap::{ArgGroup, Subcommand};
use moldau_model::ErrorCode;
use serde_json::{Value, json};

use super::topic::done;
use super::{Common, Failure, table};
use crate::client::Client;
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::reset::{Target, commit, new_offsets_telling};
use crate::console::{Console, errln, note, outln};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the groups
    List,
    /// Show a group's members, offsets and lag
    Describe { group: String },
    /// Move a group's offsets; without --execute only show where to
    #[command(group(ArgGroup::new("to").required(true)))]
    Reset {
        group: String,
        /// The topics; default: all the group has offsets in
        #[arg(short, long)]
        topic: Vec<String>,
        /// To the first record there is
        #[arg(long, group = "to")]
        to_earliest: bool,
        /// Behind the last record
        #[arg(long, group = "to")]
        to_latest: bool,
        /// To this offset
        #[arg(long, group = "to")]
        to_offset: Option<i64>,
        /// To the first record from this time on, in milliseconds since 1970
        #[arg(long, group = "to")]
        to_timestamp_ms: Option<i64>,
        /// By this many records, back if negative
        #[arg(long, group = "to", allow_negative_numbers = true)]
        by: Option<i64>,
        /// Do it
        #[arg(long)]
        execute: bool,
    },
    /// Delete groups without members, and their offsets
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

pub(super) fn run(common: &Common, verb: Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut client = common.client("moldau")?;
    match verb {
        Verb::List => {
            let groups = client.list_groups()?;
            if common.is_json() {
                let list: Vec<Value> =
                    groups.iter().map(|g| json!({"group": g.group, "state": g.state})).collect();
                return Ok(super::json(&Value::Array(list), console)?);
            }
            let rows: Vec<Vec<String>> = groups.into_iter().map(|g| vec![g.group, g.state]).collect();
            Ok(table(&["GROUP", "STATE"], &rows, console)?)
        }
        Verb::Describe { group } => describe(common, &mut client, &group, console),
        Verb::Reset { group, topic, to_earliest, to_latest, to_offset, to_timestamp_ms, by, execute } => {
            let committed = client.committed_offsets(&group, None)?;
            let partitions = if topic.is_empty() {
                committed.keys().cloned().collect()
            } else {
                client.partitions_of(&topic.iter().map(String::as_str).collect::<Vec<_>>())?
            };
            let target = match (to_earliest, to_latest, to_offset, to_timestamp_ms, by) {
                (true, ..) => Target::Time(EARLIEST),
                (_, true, ..) => Target::Time(LATEST),
                (_, _, Some(offset), ..) => Target::Offset(offset),
                (_, _, _, Some(time), _) => Target::Time(time),
                (.., by) => Target::Shift(by.unwrap_or(0)),
            };
            let warn = &mut |text: &str| note(&format!("warning: {text}"));
            let goal = new_offsets_telling(&mut client, &partitions, &committed, target, warn)?;
            let in_use = in_use(&mut client, &group)?;
            if let (Some(text), false) = (&in_use, execute) {
                errln!(console, "warning: {text}");
            }
            if execute {
                if let Some(text) = in_use {
                    return Err(Failure::Text(text));
                }
                commit(&mut client, &group, &goal)?;
            }
            if common.is_json() {
                let list: Vec<Value> = goal
                    .iter()
                    .map(|((topic, partition), offset)| {
                        json!({"topic": topic, "partition": partition, "from": committed.get(&(topic.clone(), *partition)), "to": offset})
                    })
                    .collect();
                return Ok(super::json(
                    &json!({"group": group, "executed": execute, "offsets": list}),
                    console,
                )?);
            }
            let rows: Vec<Vec<String>> = goal
                .iter()
                .map(|(partition, offset)| {
                    let from = committed.get(partition).map_or_else(|| "-".to_owned(), i64::to_string);
                    vec![partition.0.clone(), partition.1.to_string(), from, offset.to_string()]
                })
                .collect();
            table(&["TOPIC", "PARTITION", "FROM", "TO"], &rows, console)?;
            if !execute {
                outln!(console, "nothing was changed; add --execute to do it");
            }
            Ok(())
        }
        Verb::Delete { groups } => {
            for group in &groups {
                client.delete_group(group)?;
            }
            done(common, &format!("deleted {}", groups.join(", ")), json!({"deleted": groups}), console)
        }
    }
}

/// Why a group's offsets cannot be moved now, if its members still read: in the words of Kafka's tool, and what to do.
fn in_use(client: &mut Client, group: &str) -> Result<Option<String>, Failure> {
    match client.describe_group(group) {
        Ok(described) => Ok(in_use_text(group, &described.state, described.members.len())),
        // A group may get offsets before its first member comes.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn in_use_text(group: &str, state: &str, members: usize) -> Option<String> {
    if ["Empty", "Dead"].contains(&state) {
        return None;
    }
    let s = if members == 1 { "" } else { "s" };
    Some(format!(
        "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}.\n  \
         it has {members} member{s}: see `moldau group describe {group}`, and stop them first"
    ))
}

fn describe(
    common: &Common,
    client: &mut Client,
    group: &str,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let described = client.describe_group(group)?;
    let committed = client.committed_offsets(group, None)?;
    let mut owners: BTreeMap<Partition, String> = BTreeMap::new();
    for member in &described.members {
        owners.extend(member.assignment.iter().map(|p| (p.clone(), member.member_id.clone())));
    }
    let partitions: std::collections::BTreeSet<Partition> =
        committed.keys().chain(owners.keys()).cloned().collect();
    let asked: Vec<(Partition, i64)> = partitions.iter().map(|p| (p.clone(), LATEST)).collect();
    let ends = client.list_offsets(&asked, false)?;
    let end = |p: &Partition| ends.get(p).and_then(|answer| answer.as_ref().ok()).map(|at| at.offset);
    let lag = |p: &Partition| Some((end(p)? - committed.get(p)?).max(0));
    if common.is_json() {
        let offsets: Vec<Value> = partitions
            .iter()
            .map(|p| {
                json!({"topic": p.0, "partition": p.1, "committed": committed.get(p), "end": end(p),
                    "lag": lag(p), "member": owners.get(p)})
            })
            .collect();
        let members: Vec<Value> = described
            .members
            .iter()
            .map(|m| json!({"member_id": m.member_id, "client_id": m.client_id, "host": m.host}))
            .collect();
        let value = json!({"group": group, "state": described.state, "coordinator": described.coordinator,
            "members": members, "offsets": offsets});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "group        {group}");
    outln!(console, "state        {}", described.state);
    outln!(console, "members      {}", described.members.len());
    outln!(console, "coordinator  {}\n", described.coordinator);
    let text = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let rows: Vec<Vec<String>> = partitions
        .iter()
        .map(|p| {
            let owner = owners.get(p).cloned().unwrap_or_else(|| "-".to_owned());
            vec![
                p.0.clone(),
                p.1.to_string(),
                text(committed.get(p).copied()),
                text(end(p)),
                text(lag(p)),
                owner,
            ]
        })
        .collect();
    Ok(table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"], &rows, console)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_read_by_somebody_cannot_be_moved() {
        assert_eq!(in_use_text("g", "Empty", 0), None);
        assert_eq!(in_use_text("g", "Dead", 0), None);
        let text = in_use_text("g", "Stable", 1).unwrap();
        assert!(
            text.starts_with(
                "Assignments can only be reset if the group 'g' is inactive, but the current state is Stable.\n"
            ),
            "{text}"
        );
        assert!(text.contains("it has 1 member:"), "{text}");
        assert!(in_use_text("g", "PreparingRebalance", 2).unwrap().contains("2 members"));
    }
}
