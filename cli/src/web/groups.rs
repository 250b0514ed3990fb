//! Groups of all kinds: who is in them, and how far behind they are.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use moldau_metadata::MetadataImage;
use moldau_model::ErrorCode;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Json, Page, Query};
use super::topics::find;
use crate::client::groups::GroupListing;
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::{Client, ClientError};

/// Groups of one topic that are looked at: each costs a question to its coordinator.
const TOPIC_GROUPS_MAX: usize = 200;

/// A group's kind in small letters; brokers of old do not tell, and know of classic ones alone.
fn kind(listing: &GroupListing) -> String {
    if listing.group_type.is_empty() { "classic".to_owned() } else { listing.group_type.to_lowercase() }
}

/// The groups by name, and the brokers that did not tell theirs.
fn sorted(client: &mut Client) -> Result<(Vec<GroupListing>, Vec<i32>), ClientError> {
    let (mut listed, silent) = client.list_groups_that_are_told()?;
    listed.sort_by(|a, b| a.group.cmp(&b.group));
    listed.dedup_by(|a, b| a.group == b.group);
    Ok((listed, silent))
}

pub(super) async fn list(State(web): State<Shared>, query: Query) -> Answer {
    let page = Page::of(&query)?;
    let search = query.text("search").unwrap_or_default().to_lowercase();
    let of_kind = query.text("type").map(str::to_lowercase);
    let of_state = query.text("state").map(str::to_lowercase);
    let with_details = query.is_true("details");
    let image = web.node.image();
    let answer = web.clients()?.ask(move |client| {
        let (mut listed, silent) = sorted(client)?;
        listed.retain(|listing| {
            listing.group.to_lowercase().contains(&search)
                && of_kind.as_ref().is_none_or(|wanted| kind(listing) == *wanted)
                && of_state.as_ref().is_none_or(|wanted| listing.state.to_lowercase() == *wanted)
        });
        let total = listed.len();
        let mut rows = Vec::new();
        let mut without_details = 0;
        for listing in listed.iter().skip(page.skip()).take(page.size) {
            let mut row = json!({"group": listing.group, "type": kind(listing), "state": listing.state});
            // A group that went meanwhile, or whose coordinator is being elected, is shown without; as is what there is no
            // more time for.
            if with_details {
                let described = (!client.is_spent()).then(|| describe_listed(client, &image, listing));
                if let Some(Ok(described)) = described {
                    row["lag"] = described["lag"].clone();
                    row["members"] = described["members"].as_array().map(Vec::len).into();
                    row["topics"] = described["topics"].clone();
                    row["coordinator"] = described["coordinator"].clone();
                } else {
                    without_details += 1;
                }
            }
            rows.push(row);
        }
        Ok(json!({"total": total, "page": page.number, "page_size": page.size, "groups": rows,
            "without_details": without_details, "silent_brokers": silent}))
    });
    Ok(Json(answer.await?))
}

pub(super) async fn describe(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    let image = web.node.image();
    Ok(Json(web.clients()?.ask(move |client| described(client, &image, &name)).await?))
}

pub(super) async fn of_topic(State(web): State<Shared>, Path(name): Path<String>) -> Answer {
    let image = web.node.image();
    find(&image, &name)?;
    let groups = web.clients()?.ask(move |client| {
        let mut rows = Vec::new();
        let (listed, silent) = sorted(client)?;
        let mut not_looked_at = listed.len().saturating_sub(TOPIC_GROUPS_MAX);
        for listing in listed.iter().take(TOPIC_GROUPS_MAX) {
            let described = (!client.is_spent()).then(|| describe_listed(client, &image, listing));
            let Some(Ok(described)) = described else {
                not_looked_at += 1;
                continue;
            };
            let offsets = described["offsets"].as_array();
            let of_topic: Vec<&Value> =
                offsets.into_iter().flatten().filter(|row| row["topic"] == *name).collect();
            if !of_topic.is_empty() {
                let committed = of_topic.iter().filter(|row| !row["committed"].is_null());
                let lag = sum_of_lags(committed.map(|row| row["lag"].as_i64()));
                rows.push(
                    json!({"group": listing.group, "type": kind(listing), "state": listing.state, "lag": lag,
                    "members": described["members"].as_array().map(Vec::len)}),
                );
            }
        }
        Ok(json!({"groups": rows, "not_looked_at": not_looked_at, "silent_brokers": silent}))
    });
    Ok(Json(groups.await?))
}

/// One group; `GROUP_ID_NOT_FOUND` where there is none.
pub(super) fn described(
    client: &mut Client,
    image: &MetadataImage,
    name: &str,
) -> Result<Value, ClientError> {
    let (listed, silent) = client.list_groups_that_are_told()?;
    let not_found = || match silent.first() {
        None => {
            let text = format!("there is no group {name}");
            ClientError::broker(ErrorCode::GroupIdNotFound.code(), Some(&text))
        }
        Some(broker) => ClientError::Timeout(format!("broker {broker} does not tell its groups now")),
    };
    let listing = listed.into_iter().find(|listing| listing.group == name).ok_or_else(not_found)?;
    describe_listed(client, image, &listing)
}

/// What a group's kind does not matter for.
struct Group {
    members: Vec<Value>,
    owners: BTreeMap<Partition, String>,
    committed: BTreeMap<Partition, i64>,
    /// Of share groups, whose coordinator tells it.
    told_lag: BTreeMap<Partition, i64>,
    coordinator: Option<i32>,
    assignor: Option<String>,
    epoch: Option<i32>,
}

fn describe_listed(
    client: &mut Client,
    image: &MetadataImage,
    listing: &GroupListing,
) -> Result<Value, ClientError> {
    let kind = kind(listing);
    let group = match kind.as_str() {
        "share" => share(client, &listing.group)?,
        "streams" => streams(client, &listing.group)?,
        _ => consumer(client, &listing.group)?,
    };
    let partitions: BTreeSet<&Partition> = group.committed.keys().chain(group.owners.keys()).collect();
    // Offsets may outlive their topic for a moment.
    let exists = |partition: &&Partition| image.topics().by_name(&partition.0).is_some();
    let partitions: Vec<Partition> = partitions.into_iter().filter(exists).cloned().collect();
    let at = |client: &mut Client, time: i64| {
        let asked: Vec<(Partition, i64)> =
            partitions.iter().map(|partition| (partition.clone(), time)).collect();
        client.list_offsets(&asked, false)
    };
    let (starts, ends) = (at(client, EARLIEST)?, at(client, LATEST)?);
    let (mut lags, mut rows, mut topics) = (Vec::new(), Vec::new(), BTreeSet::new());
    for partition in &partitions {
        let bound = |bounds: &BTreeMap<Partition, Result<_, ClientError>>| {
            bounds.get(partition)?.as_ref().ok().map(|at: &crate::client::offsets::OffsetAt| at.offset)
        };
        let (start, end) = (bound(&starts), bound(&ends));
        let committed = group.committed.get(partition).copied();
        let told = group.told_lag.get(partition).copied();
        let lag = told.or_else(|| lag(start?, end?, committed?));
        // Where nothing is committed there is nothing to be behind of.
        lags.extend(committed.map(|_| lag));
        topics.insert(partition.0.as_str());
        rows.push(
            json!({"topic": partition.0, "partition": partition.1, "committed": committed, "start": start,
            "end": end, "lag": lag, "member": group.owners.get(partition)}),
        );
    }
    Ok(json!({
        "group": listing.group,
        "type": kind,
        "state": listing.state,
        "protocol_type": listing.protocol_type,
        "coordinator": group.coordinator,
        "assignor": group.assignor,
        "epoch": group.epoch,
        "members": group.members,
        "topics": topics,
        "lag": sum_of_lags(lags.into_iter()),
        "offsets": rows,
    }))
}

/// What is left to read: what is deleted already is not.
fn lag(start: i64, end: i64, committed: i64) -> Option<i64> {
    Some((end - committed.max(start)).max(0))
}

/// Nothing where one of them is not known: a sum without it would look like a group that has caught up.
fn sum_of_lags(mut lags: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    lags.try_fold(0i64, |sum, lag| Some(sum.saturating_add(lag?)))
}

fn consumer(client: &mut Client, name: &str) -> Result<Group, ClientError> {
    let described = client.describe_group(name)?;
    let committed = client.committed_offsets(name, None)?;
    let mut owners = BTreeMap::new();
    let mut members = Vec::new();
    for member in &described.members {
        owners
            .extend(member.assignment.iter().map(|partition| (partition.clone(), member.member_id.clone())));
        members.push(json!({
            "member_id": member.member_id,
            "instance_id": member.instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "epoch": member.target.as_ref().map(|target| target.epoch),
            "assignment": partitions_json(&member.assignment),
        }));
    }
    Ok(Group {
        members,
        owners,
        committed,
        told_lag: BTreeMap::new(),
        coordinator: Some(described.coordinator),
        assignor: Some(described.assignor).filter(|assignor| !assignor.is_empty()),
        epoch: described.epochs.map(|epochs| epochs.group),
    })
}

fn share(client: &mut Client, name: &str) -> Result<Group, ClientError> {
    let described = client.describe_share_group(name)?;
    let offsets = client.share_offsets(name)?;
    let members = described.members.iter().map(|member| {
        json!({
            "member_id": member.member_id,
            "client_id": member.client_id,
            "host": member.host,
            "epoch": member.epoch,
            "assignment": partitions_json(&member.assignment),
        })
    });
    let begun = || offsets.iter().filter_map(|(partition, offset)| Some((partition, (*offset)?)));
    Ok(Group {
        members: members.collect(),
        // A partition is read by several at a time.
        owners: BTreeMap::new(),
        committed: begun().map(|(partition, offset)| (partition.clone(), offset.start_offset)).collect(),
        told_lag: begun().filter_map(|(partition, offset)| Some((partition.clone(), offset.lag?))).collect(),
        coordinator: Some(described.coordinator),
        assignor: None,
        epoch: Some(described.epochs.group),
    })
}

fn streams(client: &mut Client, name: &str) -> Result<Group, ClientError> {
    let described = client.describe_streams_group(name)?;
    let committed = client.committed_offsets(name, None)?;
    let mut owners = BTreeMap::new();
    let mut members = Vec::new();
    for member in &described.members {
        owners
            .extend(member.assignment.iter().map(|partition| (partition.clone(), member.member_id.clone())));
        members.push(json!({
            "member_id": member.member_id,
            "instance_id": member.instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "epoch": member.epoch,
            "process_id": member.process_id,
            "assignment": partitions_json(&member.assignment),
            "tasks": {"active": member.active, "standby": member.standby, "warmup": member.warmup},
        }));
    }
    Ok(Group {
        members,
        owners,
        committed,
        told_lag: BTreeMap::new(),
        coordinator: Some(described.coordinator),
        assignor: None,
        epoch: Some(described.epoch),
    })
}

fn partitions_json(partitions: &[Partition]) -> Vec<Value> {
    partitions.iter().map(|(topic, partition)| json!({"topic": topic, "partition": partition})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_lacks_a_part_is_not_told() {
        assert_eq!(sum_of_lags([Some(3), Some(4)].into_iter()), Some(7));
        assert_eq!(sum_of_lags([Some(3), None].into_iter()), None);
        assert_eq!(sum_of_lags([].into_iter()), Some(0));
    }

    #[test]
    fn what_retention_has_deleted_is_no_lag() {
        assert_eq!(lag(0, 100, 40), Some(60));
        assert_eq!(lag(70, 100, 40), Some(30));
        assert_eq!(lag(0, 100, 120), Some(0));
    }
}
