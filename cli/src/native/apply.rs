//! `moldau apply`: topics as a file says they should be. What changes is shown first, and a second time nothing changes.

mod file;
mod plan;

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Failure};
use crate::client::Client;
use crate::client::configs::{ConfigChange, ConfigSource, ResourceKind};
use crate::client::topics::NewTopic;
use crate::console::{Console, errln, outln};
use file::Wanted;
use plan::{Change, ConfigStep, Present};

/// A file larger than this is none of topics.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Topics whose settings are asked for at once.
const TOPICS_AT_ONCE: usize = 500;

#[derive(Args)]
pub(super) struct Arguments {
    /// The file, in YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    /// Only show what would change; the cluster checks it
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    let name = arguments.file.display();
    let text = read(arguments).map_err(|error| Failure::Text(format!("cannot read {name}: {error}")))?;
    let wanted =
        file::read(&text).map_err(|problems| Failure::Text(lines(&format!("{name}: "), &problems)))?;
    let mut client = common.client("moldau")?;
    let present = present(&mut client, &wanted)?;
    let changes = plan::plan(&wanted, &present)
        .map_err(|refused| Failure::Text(lines("nothing was changed: ", &refused)))?;
    // Whatever the cluster would refuse is refused before the first change.
    for change in &changes {
        make(&mut client, change, true).map_err(|error| refused_by_cluster(change, error))?;
    }
    if common.is_json() {
        return as_json(arguments, &mut client, &changes, console);
    }
    if changes.is_empty() {
        outln!(console, "{} topics are as the file says, nothing to change", wanted.len());
        return Ok(());
    }
    for change in &changes {
        console.out.write_all(plan::describe(change).as_bytes())?;
    }
    if arguments.dry_run {
        outln!(console, "\n{} topics would change; the cluster would take it", changes.len());
        return Ok(());
    }
    if !arguments.yes && !agreed(&arguments.file, changes.len(), console)? {
        return Err(Failure::Text("nothing was changed".to_owned()));
    }
    for change in &changes {
        make(&mut client, change, false).map_err(|error| refused_by_cluster(change, error))?;
    }
    outln!(console, "\n{} topics changed", changes.len());
    Ok(())
}

fn as_json(
    arguments: &Arguments,
    client: &mut Client,
    changes: &[Change],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if !arguments.dry_run && !arguments.yes && !changes.is_empty() {
        return Err(Failure::Text(
            "nothing was changed: with --format json add --yes or --dry-run".to_owned(),
        ));
    }
    if arguments.yes {
        for change in changes {
            make(client, change, false).map_err(|error| refused_by_cluster(change, error))?;
        }
    }
    let configs = |steps: &[ConfigStep]| -> Value {
        let steps = steps.iter().map(|s| (s.key.clone(), json!({"from": s.from, "to": s.to})));
        Value::Object(steps.collect())
    };
    let list: Vec<Value> = changes
        .iter()
        .map(|change| match change {
            Change::Create { name, partitions, replication_factor, configs: steps } => {
                json!({"topic": name, "change": "create", "partitions": {"from": null, "to": partitions},
                    "replication_factor": replication_factor, "configs": configs(steps)})
            }
            Change::Alter { name, partitions, configs: steps } => {
                json!({"topic": name, "change": "alter",
                    "partitions": partitions.map(|(from, to)| json!({"from": from, "to": to})),
                    "configs": configs(steps)})
            }
            Change::Delete { name } => json!({"topic": name, "change": "delete"}),
        })
        .collect();
    Ok(super::json(&json!({"applied": arguments.yes, "changes": list}), console)?)
}

fn read(arguments: &Arguments) -> io::Result<String> {
    if arguments.file.as_os_str() == "-" {
        read_whole(io::stdin().lock())
    } else {
        read_whole(std::fs::File::open(&arguments.file)?)
    }
}

/// Half a file would be other topics than its author meant.
fn read_whole(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok(text)
}

/// Several sentences behind one beginning, a line each.
fn lines(beginning: &str, sentences: &[String]) -> String {
    let between = if sentences.len() > 1 { "\n  " } else { "" };
    format!("{beginning}{between}{}", sentences.join("\n  "))
}

fn refused_by_cluster(change: &Change, error: crate::client::ClientError) -> Failure {
    if error.is_unreachable() {
        return error.into();
    }
    let name = match change {
        Change::Create { name, .. } | Change::Alter { name, .. } | Change::Delete { name } => name,
    };
    Failure::Text(format!("{name}: {error}"))
}

/// Asks on the terminal. Where there is none, nobody agrees.
fn agreed(file: &std::path::Path, count: usize, console: &mut Console<'_>) -> Result<bool, Failure> {
    if file.as_os_str() == "-" || !io::stdin().is_terminal() {
        return Err(Failure::Text(
            "nothing was changed: add --yes to do it, or --dry-run to only see it".to_owned(),
        ));
    }
    console.out.flush()?;
    write!(console.err, "\nchange {count} topics? [y/N] ")?;
    console.err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if answer.is_empty() {
        errln!(console);
    }
    Ok(is_yes)
}

/// The topics of the file that exist, with what was set on them.
fn present(client: &mut Client, wanted: &[Wanted]) -> Result<BTreeMap<String, Present>, Failure> {
    let deadline = client.deadline();
    let names: Vec<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
    let mut present = BTreeMap::new();
    for names in names.chunks(TOPICS_AT_ONCE) {
        let response = client.metadata(Some(names), deadline)?;
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
            // A missing topic is the usual case here; other errors are the later requests' to tell.
            if topic.error_code != 0 {
                continue;
            }
            let replicas = topic.partitions.first().map_or(0, |p| p.replica_nodes.len());
            present.insert(
                name,
                Present {
                    partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                    replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
                    configs: BTreeMap::new(),
                },
            );
        }
    }
    let existing: Vec<String> = present.keys().cloned().collect();
    for names in existing.chunks(TOPICS_AT_ONCE) {
        for (name, entries) in client.describe_configs(ResourceKind::Topic, names, false)? {
            let set = entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            if let Some(topic) = present.get_mut(&name) {
                topic.configs = set.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            }
        }
    }
    Ok(present)
}

fn make(client: &mut Client, change: &Change, validate_only: bool) -> Result<(), crate::client::ClientError> {
    match change {
        Change::Create { name, partitions, replication_factor, configs } => {
            let configs = configs.iter().filter_map(|step| Some((step.key.clone(), step.to.clone()?)));
            let topic = NewTopic {
                name: name.clone(),
                partitions: *partitions,
                replication_factor: *replication_factor,
                assignments: None,
                configs: configs.collect(),
            };
            client.create_topic(&topic, validate_only)
        }
        Change::Alter { name, partitions, configs } => {
            if let Some((_, count)) = partitions {
                client.grow_topics(&[(name.clone(), None)], *count, validate_only)?;
            }
            let changes: Vec<ConfigChange> = configs
                .iter()
                .map(|step| match &step.to {
                    Some(value) => ConfigChange::Set(step.key.clone(), value.clone()),
                    None => ConfigChange::Delete(step.key.clone()),
                })
                .collect();
            if changes.is_empty() {
                return Ok(());
            }
            client.change_configs(ResourceKind::Topic, name, &changes, validate_only)
        }
        Change::Delete { .. } if validate_only => Ok(()),
        Change::Delete { name } => client.delete_topics(std::slice::from_ref(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let line = b"- a-topic-of-sixteen";
        let whole = FILE_BYTES_MAX;
        let text = |bytes: u64| line.iter().copied().cycle().take(bytes as usize).collect::<Vec<u8>>();
        assert_eq!(read_whole(text(whole).as_slice()).unwrap().len() as u64, whole);
        let refused = read_whole(text(whole + 1).as_slice()).unwrap_err();
        assert!(refused.to_string().contains("more than 16 MiB"), "{refused}");
    }
}
