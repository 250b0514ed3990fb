//! `--describe`: offsets and lag, members, state.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, MISSING, failed, groups};
use crate::client::groups::{GroupDescription, GroupEpochs, MemberTarget};
use crate::client::offsets::{LATEST, Partition};
use crate::client::{Client, ClientError};
use crate::compat::options::Options;
use crate::console::{Console, errln, outln};

pub(super) fn run(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    for group in groups(client, options)? {
        let described = client.describe_group(&group).map_err(|error| match error {
            // Java's tool shows the exception whole here, since it came wrapped in another.
            error @ ClientError::Broker { .. } => failed(error.java()),
            error => error.into(),
        })?;
        if options.has("state") {
            say_inactive(&described, console)?;
            state(&described, options.has("verbose"), console)?;
        } else if options.has("members") {
            say_inactive(&described, console)?;
            members(&described, options.has("verbose"), console)?;
        } else {
            let committed = client.committed_offsets(&group, None)?;
            let rows = offset_rows(client, &described, &committed)?;
            say_inactive(&described, console)?;
            if !rows.is_empty() {
                offsets(&group, &rows, options.has("verbose"), console)?;
            }
        }
    }
    Ok(())
}

fn say_inactive(group: &GroupDescription, console: &mut Console<'_>) -> std::io::Result<()> {
    match group.state.as_str() {
        "Empty" => errln!(console, "\nConsumer group '{}' has no active members.", group.group),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            errln!(console, "\nWarning: Consumer group '{}' is rebalancing.", group.group);
        }
        "Stable" => {}
        other => errln!(console, "\nConsumer group '{}' has unknown state '{other}'.", group.group),
    }
    Ok(())
}

/// A partition's line.
struct OffsetRow {
    partition: Partition,
    committed: Option<i64>,
    end: Option<i64>,
    /// Member id, host, client id.
    owner: Option<(String, String, String)>,
}

/// Assigned partitions by member, the members with most first, and then those that nobody reads.
fn offset_rows(
    client: &mut Client,
    group: &GroupDescription,
    committed: &BTreeMap<Partition, i64>,
) -> Result<Vec<OffsetRow>, Failure> {
    let mut members: Vec<_> = group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let mut listed: Vec<(Partition, Option<(String, String, String)>)> = Vec::new();
    for member in members {
        let mut assignment = member.assignment.clone();
        assignment.sort();
        let owner = (member.member_id.clone(), member.host.clone(), member.client_id.clone());
        listed.extend(assignment.into_iter().map(|partition| (partition, Some(owner.clone()))));
    }
    let assigned: BTreeSet<Partition> = listed.iter().map(|(partition, _)| partition.clone()).collect();
    listed.extend(committed.keys().filter(|p| !assigned.contains(*p)).map(|p| (p.clone(), None)));
    let ends = ends(client, listed.iter().map(|(partition, _)| partition))?;
    Ok(listed
        .into_iter()
        .map(|(partition, owner)| OffsetRow {
            committed: committed.get(&partition).copied(),
            end: ends.get(&partition).copied(),
            partition,
            owner,
        })
        .collect())
}

/// The log ends, topic by topic, so that one which was deleted does not hide the others.
fn ends<'a>(
    client: &mut Client,
    partitions: impl Iterator<Item = &'a Partition>,
) -> Result<BTreeMap<Partition, i64>, Failure> {
    let mut by_topic: BTreeMap<&str, Vec<(Partition, i64)>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.0).or_default().push((partition.clone(), LATEST));
    }
    let mut ends = BTreeMap::new();
    for asked in by_topic.into_values() {
        match client.list_offsets(&asked, false) {
            Ok(answers) => {
                ends.extend(answers.into_iter().filter_map(|(p, answer)| Some((p, answer.ok()?.offset))));
            }
            Err(ClientError::Broker { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ends)
}

fn width<'a>(minimum: usize, cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(minimum)
}

fn offsets(group: &str, rows: &[OffsetRow], verbose: bool, console: &mut Console<'_>) -> std::io::Result<()> {
    let group_width = width(15, std::iter::once(group));
    let topic_width = width(15, rows.iter().map(|row| row.partition.0.as_str()));
    let owners = rows.iter().filter_map(|row| row.owner.as_ref());
    let member_width = width(15, owners.map(|(member, _, _)| member.as_str()));
    outln!(console);
    let mut line = |cells: [&str; 10]| -> std::io::Result<()> {
        let [group, topic, partition, epoch, current, end, lag, member, host, client] = cells;
        let epoch = if verbose { format!("{epoch:<15} ") } else { String::new() };
        outln!(
            console,
            "{group:<group_width$} {topic:<topic_width$} {partition:<10} {epoch}{current:<15} {end:<15} {lag:<15} \
             {member:<member_width$} {host:<15} {client}"
        );
        Ok(())
    };
    line([
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ])?;
    let text = |number: Option<i64>| number.map_or_else(|| MISSING.to_owned(), |n| n.to_string());
    for row in rows {
        let lag = row.end.zip(row.committed).map(|(end, committed)| end - committed);
        let owner = row.owner.as_ref();
        let cell =
            |pick: fn(&(String, String, String)) -> &String| owner.map_or(MISSING, |o| pick(o).as_str());
        line([
            group,
            &row.partition.0,
            &row.partition.1.to_string(),
            MISSING,
            &text(row.committed),
            &text(row.end),
            &text(lag),
            cell(|o| &o.0),
            cell(|o| &o.1),
            cell(|o| &o.2),
        ])?;
    }
    Ok(())
}

fn members(group: &GroupDescription, verbose: bool, console: &mut Console<'_>) -> std::io::Result<()> {
    let group_width = width(15, std::iter::once(group.group.as_str()));
    let member_width = width(15, group.members.iter().map(|m| m.member_id.as_str()));
    let host_width = width(15, group.members.iter().map(|m| m.host.as_str()));
    let client_width = width(15, group.members.iter().map(|m| m.client_id.as_str()));
    let has_instances = group.members.iter().any(|member| member.instance_id.is_some());
    let instance_width = width(17, group.members.iter().filter_map(|m| m.instance_id.as_deref()));
    let group_epochs = group.epochs;
    outln!(console);
    let mut line = |cells: [&str; 7], target: Option<&MemberTarget>| -> std::io::Result<()> {
        let [group, member, instance, host, client, count, assignment] = cells;
        let epoch = target.map_or_else(|| MISSING.to_owned(), |target| target.epoch.to_string());
        let target = target.map_or_else(|| MISSING.to_owned(), |target| assignment_text(&target.assignment));
        let target_epoch =
            group_epochs.map_or_else(|| MISSING.to_owned(), |epochs| epochs.target.to_string());
        let instance = if has_instances { format!("{instance:<instance_width$} ") } else { String::new() };
        let more = match (verbose, count) {
            (false, _) => String::new(),
            (true, "#PARTITIONS") => {
                format!(
                    "{:<15} {:<20} {:<15} {:<20}",
                    "CURRENT-EPOCH", assignment, "TARGET-EPOCH", "TARGET-ASSIGNMENT"
                )
            }
            (true, _) => format!("{epoch:<15} {assignment:<20} {target_epoch:<15} {target:<20}"),
        };
        outln!(
            console,
            "{group:<group_width$} {member:<member_width$} {instance}{host:<host_width$} {client:<client_width$} \
             {count:<15} {more}"
        );
        Ok(())
    };
    let heads = [
        "GROUP",
        "CONSUMER-ID",
        "GROUP-INSTANCE-ID",
        "HOST",
        "CLIENT-ID",
        "#PARTITIONS",
        "CURRENT-ASSIGNMENT",
    ];
    line(heads, None)?;
    for member in &group.members {
        let cells = [
            group.group.as_str(),
            &member.member_id,
            member.instance_id.as_deref().unwrap_or(MISSING),
            &member.host,
            &member.client_id,
            &member.assignment.len().to_string(),
            &assignment_text(&member.assignment),
        ];
        line(cells, member.target.as_ref())?;
    }
    Ok(())
}

/// `pageview:0,1;other:2`.
fn assignment_text(assignment: &[Partition]) -> String {
    if assignment.is_empty() {
        return MISSING.to_owned();
    }
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in assignment {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let topics = by_topic.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        let list: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", list.join(","))
    });
    topics.collect::<Vec<_>>().join(";")
}

fn state(group: &GroupDescription, verbose: bool, console: &mut Console<'_>) -> std::io::Result<()> {
    let address = group.coordinator_address.as_ref().map(ToString::to_string).unwrap_or_default();
    let coordinator = format!("{address}  ({})", group.coordinator);
    let group_width = width(15, std::iter::once(group.group.as_str()));
    let coordinator_width = width(25, std::iter::once(coordinator.as_str()));
    let assignor = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    outln!(console);
    let mut line = |cells: [&str; 7]| -> std::io::Result<()> {
        let [group, coordinator, assignor, state, epoch, target, count] = cells;
        let epochs = if verbose { format!("{epoch:<15} {target:<25} ") } else { String::new() };
        outln!(
            console,
            "{group:<group_width$} {coordinator:<coordinator_width$} {assignor:<20} {state:<20} {epochs}{count}"
        );
        Ok(())
    };
    let heads = [
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "GROUP-EPOCH",
        "TARGET-ASSIGNMENT-EPOCH",
        "#MEMBERS",
    ];
    line(heads)?;
    let count = group.members.len().to_string();
    let epoch = |pick: fn(GroupEpochs) -> i32| {
        group.epochs.map_or_else(|| MISSING.to_owned(), |epochs| pick(epochs).to_string())
    };
    let (epoch, target) = (epoch(|epochs| epochs.group), epoch(|epochs| epochs.target));
    line([&group.group, &coordinator, assignor, &group.state, &epoch, &target, &count])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::HostPort;
    use crate::client::groups::GroupMember;

    const MEMBER: &str = "console-consumer-705c5be3-58f2-4329-8b28-1db525672c33";

    fn printed(print: impl FnOnce(&mut Console<'_>) -> std::io::Result<()>) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&mut Console { out: &mut out, err: &mut err }).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn row(partition: i32, committed: Option<i64>, end: i64, owned: bool) -> OffsetRow {
        let owner =
            owned.then(|| (MEMBER.to_owned(), "/127.0.0.1".to_owned(), "console-consumer".to_owned()));
        OffsetRow { partition: ("pageview".to_owned(), partition), committed, end: Some(end), owner }
    }

    fn group(name: &str, port: u16, id: i32, active: bool) -> GroupDescription {
        let member = GroupMember {
            member_id: MEMBER.to_owned(),
            instance_id: None,
            client_id: "console-consumer".to_owned(),
            host: "/127.0.0.1".to_owned(),
            assignment: vec![("pageview".to_owned(), 0), ("pageview".to_owned(), 1)],
            target: None,
        };
        GroupDescription {
            group: name.to_owned(),
            state: if active { "Stable" } else { "Empty" }.to_owned(),
            assignor: if active { "range" } else { "" }.to_owned(),
            coordinator: id,
            coordinator_address: Some(HostPort { host: "127.0.0.1".to_owned(), port }),
            members: if active { vec![member] } else { vec![] },
            epochs: None,
        }
    }

    /// The files are what Apache Kafka 4.3.0 printed of a cluster in these states.
    #[test]
    fn tables_are_apache_kafkas_to_the_byte() {
        let idle = [row(0, Some(0), 0, false), row(1, Some(2), 2, false)];
        assert_eq!(
            printed(|c| offsets("g1", &idle, false, c)),
            include_str!("../../../tests/golden/g_desc.out")
        );
        let active = [row(0, None, 0, true), row(1, None, 2, true)];
        assert_eq!(
            printed(|c| offsets("g2", &active, false, c)),
            include_str!("../../../tests/golden/g2_desc.out")
        );
        let g1 = group("g1", 39292, 2, false);
        let g2 = group("g2", 39392, 3, true);
        assert_eq!(printed(|c| state(&g1, false, c)), include_str!("../../../tests/golden/g_state.out"));
        assert_eq!(printed(|c| state(&g2, false, c)), include_str!("../../../tests/golden/g2_state.out"));
        assert_eq!(printed(|c| members(&g1, true, c)), include_str!("../../../tests/golden/g_members.out"));
        assert_eq!(printed(|c| members(&g2, true, c)), include_str!("../../../tests/golden/g2_mem.out"));
    }
}
