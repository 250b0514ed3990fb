//! `--reset-offsets`: where a group's offsets would go, and putting them there.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::ErrorCode;

use super::{Failure, failed, groups, scoped_partitions, time};
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::reset::{Target, new_offsets, new_offsets_telling};
use crate::client::{Client, ClientError};
use crate::compat::java_order;
use crate::compat::options::Options;
use crate::console::{Console, outln};

/// Group, partition, new offset.
pub(in crate::compat) type Row = (String, Partition, i64);

pub(super) fn run(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let names = groups(client, options)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut any_failed = false;
    for group in &names {
        let state = match client.describe_group(group) {
            Ok(described) => described.state,
            // A group may get offsets before its first member comes.
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if !["Empty", "Dead"].contains(&state.as_str()) {
            any_failed = true;
            outln!(
                console,
                "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is \
                 {state}."
            );
            continue;
        }
        let mut goal: Vec<(Partition, i64)> =
            goal(client, options, group, names.len() > 1, console)?.into_iter().collect();
        if options.has("execute") {
            let offsets = goal.iter().cloned().collect();
            if let Some(code) = client.commit_offsets(group, "", -1, &offsets)? {
                return Err(ClientError::broker(code.code(), None).into());
            }
        }
        java_order::sort_partitions(&mut goal);
        rows.extend(goal.into_iter().map(|(partition, offset)| (group.clone(), partition, offset)));
    }
    if options.has("export") {
        for (group, (topic, partition), offset) in &rows {
            let group = if names.len() > 1 { format!("{group},") } else { String::new() };
            outln!(console, "{group}{topic},{partition},{offset}");
        }
        outln!(console);
    } else if !rows.is_empty() {
        print(&rows, console)?;
    }
    if any_failed { Err(Failure::Exit(1)) } else { Ok(()) }
}

fn goal(
    client: &mut Client,
    options: &Options,
    group: &str,
    several: bool,
    console: &mut Console<'_>,
) -> Result<BTreeMap<Partition, i64>, Failure> {
    if let Some(path) = options.one("from-file")? {
        let asked = from_file(path, group, several)?;
        let mut goal = BTreeMap::new();
        for (partition, offset) in asked {
            let target = Target::Offset(offset);
            goal.extend(new_offsets_telling(client, &[partition], &BTreeMap::new(), target, &mut warn)?);
        }
        return Ok(goal);
    }
    let committed = client.committed_offsets(group, None)?;
    let partitions: Vec<Partition> = if options.has("all-topics") {
        committed.keys().cloned().collect()
    } else {
        scoped_partitions(client, options.all("topic"))?
    };
    if options.has("to-current") {
        // Where nothing is committed, the end is where a reader would start.
        let latest = new_offsets(client, &partitions, &committed, Target::Time(LATEST))?;
        let current = latest.into_iter().map(|(p, end)| (committed.get(&p).copied().unwrap_or(end), p));
        return Ok(current.map(|(offset, p)| (p, offset)).collect());
    }
    let target = if options.has("to-earliest") {
        Target::Time(EARLIEST)
    } else if options.has("to-latest") {
        Target::Time(LATEST)
    } else if let Some(offset) = options.number::<i64>("to-offset")? {
        Target::Offset(offset)
    } else if let Some(by) = options.number::<i64>("shift-by")? {
        if let Some((topic, partition)) = partitions.iter().find(|p| !committed.contains_key(*p)) {
            return Err(failed(format!(
                "Cannot shift offset for partition {topic}-{partition} since there is no current committed offset"
            )));
        }
        Target::Shift(by)
    } else {
        let time = match (options.one("to-datetime")?, options.one("by-duration")?) {
            (Some(text), _) => time::datetime_ms(text).map_err(|error| failed(error.to_string()))?,
            (None, text) => {
                let ms =
                    time::duration_ms(text.unwrap_or_default()).map_err(|error| failed(error.to_string()))?;
                crate::client::producer::now().0 - ms
            }
        };
        warn_of_empty(client, &partitions, time, console)?;
        Target::Time(time)
    };
    Ok(new_offsets_telling(client, &partitions, &committed, target, &mut warn)?)
}

/// A warning, as Kafka's tool logs it.
fn warn(text: &str) {
    crate::console::note(&format!("WARN {text}"));
}

/// Says of which partitions no record is that young.
pub(in crate::compat) fn warn_of_empty(
    client: &mut Client,
    partitions: &[Partition],
    time: i64,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let asked: Vec<(Partition, i64)> = partitions.iter().map(|p| (p.clone(), time)).collect();
    let mut empty: Vec<(Partition, i64)> = Vec::new();
    for (partition, at) in client.list_offsets(&asked, false)? {
        if at?.offset < 0 {
            empty.push((partition, 0));
        }
    }
    java_order::sort_partitions(&mut empty);
    for ((topic, partition), _) in &empty {
        outln!(
            console,
            "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."
        );
    }
    Ok(())
}

/// Lines of `topic,partition,offset`, or with the group before them where there are several.
fn from_file(path: &str, group: &str, several: bool) -> Result<BTreeMap<Partition, i64>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("{path}: {error}")))?;
    let mut asked = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || failed(format!("{path}: not topic,partition,offset: {line}"));
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let cells = match cells.as_slice() {
            [of, rest @ ..] if rest.len() == 3 => {
                if *of != group {
                    continue;
                }
                rest
            }
            rest if rest.len() == 3 && !several => rest,
            _ => return Err(wrong()),
        };
        let partition = cells[1].parse().map_err(|_| wrong())?;
        asked.insert((cells[0].to_owned(), partition), cells[2].parse().map_err(|_| wrong())?);
    }
    Ok(asked)
}

pub(in crate::compat) fn print(rows: &[Row], console: &mut Console<'_>) -> std::io::Result<()> {
    let longest =
        |cells: BTreeSet<&str>| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0).max(15);
    let group_width = longest(rows.iter().map(|(group, _, _)| group.as_str()).collect());
    let topic_width = longest(rows.iter().map(|(_, (topic, _), _)| topic.as_str()).collect());
    outln!(console);
    let mut line = |group: &str, topic: &str, partition: &str, offset: &str| -> std::io::Result<()> {
        outln!(console, "{group:<group_width$} {topic:<topic_width$} {partition:<10} {offset}");
        Ok(())
    };
    line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")?;
    for (group, (topic, partition), offset) in rows {
        line(group, topic, &partition.to_string(), &offset.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_apache_kafkas_to_the_byte() {
        let mut goal = vec![(("pageview".to_owned(), 1), 0), (("pageview".to_owned(), 0), 0)];
        java_order::sort_partitions(&mut goal);
        let rows: Vec<Row> = goal.into_iter().map(|(p, offset)| ("g1".to_owned(), p, offset)).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&rows, &mut Console { out: &mut out, err: &mut err }).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), include_str!("../../../tests/golden/g_reset.out"));
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv");
        std::fs::write(&path, "\"t\",0,5\ng1,t,1,6\ng2,t,2,7\n").unwrap();
        let asked = from_file(path.to_str().unwrap(), "g1", false).unwrap();
        assert_eq!(asked, BTreeMap::from([(("t".to_owned(), 0), 5), (("t".to_owned(), 1), 6)]));
        assert!(from_file(path.to_str().unwrap(), "g1", true).is_err());
    }
}
