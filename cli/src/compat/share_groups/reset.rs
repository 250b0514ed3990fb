//! `--reset-offsets`: where a share group would begin, and putting it there.

use std::collections::BTreeMap;

use moldau_model::ErrorCode;

use super::{Failure, failed};
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::reset::{Target, new_offsets};
use crate::client::{Client, ClientError};
use crate::compat::consumer_groups::{reset, scoped_partitions, time};
use crate::compat::java_order;
use crate::compat::options::Options;
use crate::console::Console;

pub(super) fn run(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let group = options.one("group")?.unwrap_or_default();
    match client.describe_share_group(group) {
        Ok(described) if !["Empty", "Dead"].contains(&described.state.as_str()) => {
            return Err(Failure::Text(format!("Share group '{group}' is not empty.")));
        }
        Ok(_) => {}
        // A group may get offsets before its first member comes.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
        Err(error @ ClientError::Broker { .. }) => return Err(Failure::Text(error.to_string())),
        Err(error) => return Err(error.into()),
    }
    let partitions = partitions(client, options, group)?;
    let target = match options.one("to-datetime")? {
        _ if options.has("to-earliest") => Target::Time(EARLIEST),
        _ if options.has("to-latest") => Target::Time(LATEST),
        text => {
            let time = time::datetime_ms(text.unwrap_or_default());
            let time = time.map_err(|error| failed(error.to_string()))?;
            reset::warn_of_empty(client, &partitions, time, console)?;
            Target::Time(time)
        }
    };
    let offsets = new_offsets(client, &partitions, &BTreeMap::new(), target)?;
    if options.has("execute") {
        client.alter_share_offsets(group, &offsets)?;
    }
    let mut goal: Vec<(Partition, i64)> = offsets.into_iter().collect();
    java_order::sort_partitions(&mut goal);
    let rows = goal.into_iter().map(|(partition, offset)| (group.to_owned(), partition, offset));
    reset::print(&rows.collect::<Vec<_>>(), console)?;
    Ok(())
}

fn partitions(client: &mut Client, options: &Options, group: &str) -> Result<Vec<Partition>, Failure> {
    if !options.has("topic") {
        return Ok(client.share_offsets(group)?.into_keys().collect());
    }
    let partitions = scoped_partitions(client, options.all("topic"))?;
    let topics: Vec<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
    let known = client.partitions_of(&topics)?;
    let mut unknown: Vec<String> = partitions
        .iter()
        .filter(|partition| !known.contains(partition))
        .map(|(topic, partition)| format!("{topic}-{partition}"))
        .collect();
    if unknown.is_empty() {
        return Ok(partitions);
    }
    unknown.sort();
    let text = format!("The partitions \"{}\" do not exist", unknown.join(","));
    Err(ClientError::broker(ErrorCode::UnknownTopicOrPartition.code(), Some(&text)).into())
}
