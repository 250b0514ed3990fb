//! `--describe`: offsets and lag, members, state.

use std::collections::BTreeMap;
use std::io;

use super::{Failure, failed, groups};
use crate::client::offsets::Partition;
use crate::client::share_groups::{ShareGroupDescription, ShareOffset};
use crate::client::{Client, ClientError};
use crate::compat::consumer_groups::MISSING;
use crate::compat::options::Options;
use crate::console::{Console, errln, outln};

pub(super) fn run(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut names = groups(client, options)?;
    names.sort();
    names.dedup();
    let is_verbose = options.has("verbose");
    // Nothing is printed where one of them cannot be described.
    let mut described = Vec::with_capacity(names.len());
    for group in &names {
        described.push(client.describe_share_group(group).map_err(|error| match error {
            // Java's tool shows the exception whole here, since it came wrapped in another.
            error @ ClientError::Broker { .. } => failed(error.java()),
            error => error.into(),
        })?);
    }
    for group in &described {
        if options.has("members") {
            say_inactive(group, console)?;
            if !group.members.is_empty() {
                members(group, is_verbose, console)?;
            }
        } else if options.has("state") {
            say_inactive(group, console)?;
            state(group, is_verbose, console)?;
        } else {
            offsets(&group.group, &client.share_offsets(&group.group)?, is_verbose, console)?;
        }
    }
    Ok(())
}

fn say_inactive(group: &ShareGroupDescription, console: &mut Console<'_>) -> io::Result<()> {
    if group.state == "Empty" {
        errln!(console, "\nShare group '{}' has no active members.", group.group);
    }
    Ok(())
}

fn width<'a>(minimum: usize, cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(minimum)
}

fn offsets(
    group: &str,
    offsets: &BTreeMap<Partition, Option<ShareOffset>>,
    is_verbose: bool,
    console: &mut Console<'_>,
) -> io::Result<()> {
    if offsets.is_empty() {
        outln!(console, "\nShare group '{group}' has no offset information.");
        return Ok(());
    }
    let group_width = width(15, std::iter::once(group));
    let topic_width = width(15, offsets.keys().map(|(topic, _)| topic.as_str()));
    outln!(console);
    let mut line = |cells: [&str; 6]| -> io::Result<()> {
        let [group, topic, partition, epoch, start, lag] = cells;
        let epoch = if is_verbose { format!("{epoch:<13} ") } else { String::new() };
        outln!(
            console,
            "{group:<group_width$} {topic:<topic_width$} {partition:<10} {epoch}{start:<13} {lag}"
        );
        Ok(())
    };
    line(["GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "START-OFFSET", "LAG"])?;
    for ((topic, partition), offset) in offsets {
        let text = |pick: fn(&ShareOffset) -> Option<i64>| {
            offset.as_ref().and_then(pick).map_or_else(|| MISSING.to_owned(), |number| number.to_string())
        };
        line([
            group,
            topic,
            &partition.to_string(),
            &text(|offset| Some(i64::from(offset.leader_epoch))),
            &text(|offset| Some(offset.start_offset)),
            &text(|offset| offset.lag),
        ])?;
    }
    Ok(())
}

fn members(group: &ShareGroupDescription, is_verbose: bool, console: &mut Console<'_>) -> io::Result<()> {
    let group_width = width(15, std::iter::once(group.group.as_str()));
    let member_width = width(15, group.members.iter().map(|member| member.member_id.as_str()));
    let host_width = width(15, group.members.iter().map(|member| member.host.as_str()));
    let client_width = width(15, group.members.iter().map(|member| member.client_id.as_str()));
    outln!(console);
    let mut line = |cells: [&str; 7]| -> io::Result<()> {
        let [group, member, host, client, count, epoch, assignment] = cells;
        let epoch = if is_verbose { format!("{epoch:<13} ") } else { String::new() };
        outln!(
            console,
            "{group:<group_width$} {member:<member_width$} {host:<host_width$} {client:<client_width$} \
             {count:<12} {epoch}{assignment}"
        );
        Ok(())
    };
    line(["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "MEMBER-EPOCH", "ASSIGNMENT"])?;
    for member in &group.members {
        line([
            &group.group,
            &member.member_id,
            &member.host,
            &member.client_id,
            &member.assignment.len().to_string(),
            &member.epoch.to_string(),
            &assignment_text(&member.assignment),
        ])?;
    }
    Ok(())
}

/// `pageview:0,1;other:2`; nothing for nothing.
fn assignment_text(assignment: &[Partition]) -> String {
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

fn state(group: &ShareGroupDescription, is_verbose: bool, console: &mut Console<'_>) -> io::Result<()> {
    let address = group.coordinator_address.as_ref().map(ToString::to_string).unwrap_or_default();
    let coordinator = format!("{address}  ({})", group.coordinator);
    let group_width = width(15, std::iter::once(group.group.as_str()));
    let coordinator_width = width(25, std::iter::once(coordinator.as_str()));
    outln!(console);
    let mut line = |cells: [&str; 6]| -> io::Result<()> {
        let [group, coordinator, state, epoch, target, count] = cells;
        let epochs = if is_verbose { format!("{epoch:<12} {target:<17} ") } else { String::new() };
        outln!(
            console,
            "{group:<group_width$} {coordinator:<coordinator_width$} {state:<15} {epochs}{count}"
        );
        Ok(())
    };
    line(["GROUP", "COORDINATOR (ID)", "STATE", "GROUP-EPOCH", "ASSIGNMENT-EPOCH", "#MEMBERS"])?;
    line([
        &group.group,
        &coordinator,
        &group.state,
        &group.epochs.group.to_string(),
        &group.epochs.target.to_string(),
        &group.members.len().to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::HostPort;
    use crate::client::groups::GroupEpochs;
    use crate::client::share_groups::ShareGroupMember;

    fn printed(print: impl FnOnce(&mut Console<'_>) -> io::Result<()>) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&mut Console { out: &mut out, err: &mut err }).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn group() -> ShareGroupDescription {
        ShareGroupDescription {
            group: "g".to_owned(),
            state: "Stable".to_owned(),
            coordinator: 1,
            coordinator_address: Some(HostPort { host: "127.0.0.1".to_owned(), port: 22811 }),
            epochs: GroupEpochs { group: 3, target: 3 },
            members: vec![ShareGroupMember {
                member_id: "gqaJzojWSHe8ACqYWgoYrw".to_owned(),
                client_id: "consumer-g-1".to_owned(),
                host: "/127.0.0.1".to_owned(),
                epoch: 3,
                assignment: vec![("t".to_owned(), 1), ("t".to_owned(), 0)],
            }],
        }
    }

    #[test]
    fn the_tables_are_apache_kafkas_to_the_byte() {
        let known = ShareOffset { start_offset: 0, leader_epoch: 0, lag: Some(10) };
        let known = BTreeMap::from([(("t".to_owned(), 0), Some(known)), (("t".to_owned(), 1), None)]);
        assert_eq!(
            printed(|console| offsets("g", &known, false, console)),
            "\nGROUP           TOPIC           PARTITION  START-OFFSET  LAG\n\
             g               t               0          0             10\n\
             g               t               1          -             -\n"
        );
        assert_eq!(
            printed(|console| offsets("g", &known, true, console)),
            "\nGROUP           TOPIC           PARTITION  LEADER-EPOCH  START-OFFSET  LAG\n\
             g               t               0          0             0             10\n\
             g               t               1          -             -             -\n"
        );
        assert_eq!(
            printed(|console| offsets("g", &BTreeMap::new(), true, console)),
            "\nShare group 'g' has no offset information.\n"
        );
        assert_eq!(
            printed(|console| members(&group(), false, console)),
            "\nGROUP           CONSUMER-ID            HOST            CLIENT-ID       #PARTITIONS  ASSIGNMENT\n\
             g               gqaJzojWSHe8ACqYWgoYrw /127.0.0.1      consumer-g-1    2            t:0,1\n"
        );
        assert_eq!(
            printed(|console| members(&group(), true, console)),
            "\nGROUP           CONSUMER-ID            HOST            CLIENT-ID       #PARTITIONS  MEMBER-EPOCH  \
             ASSIGNMENT\n\
             g               gqaJzojWSHe8ACqYWgoYrw /127.0.0.1      consumer-g-1    2            3             t:0,1\n"
        );
        assert_eq!(
            printed(|console| state(&group(), false, console)),
            "\nGROUP           COORDINATOR (ID)          STATE           #MEMBERS\n\
             g               127.0.0.1:22811  (1)      Stable          1\n"
        );
        assert_eq!(
            printed(|console| state(&group(), true, console)),
            "\nGROUP           COORDINATOR (ID)          STATE           GROUP-EPOCH  ASSIGNMENT-EPOCH  #MEMBERS\n\
             g               127.0.0.1:22811  (1)      Stable          3            3                 1\n"
        );
    }
}
