//! Moving a group's offsets, after a look at where they would go, and deleting groups.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use moldau_model::ErrorCode;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Body, Failure, Json};
use super::clients::CHANGE;
use crate::client::offsets::{EARLIEST, LATEST, Partition};
use crate::client::reset::{Target, commit, new_offsets};
use crate::client::{Client, ClientError};

pub(super) async fn reset(State(web): State<Shared>, Path(group): Path<String>, body: Bytes) -> Answer {
    let body = Body::parse(&body)?;
    let target = target(&body)?;
    let topics = body.list("topics")?;
    let only = body.integer("partition")?;
    // Nothing is moved by one who forgets to say so.
    let dry_run = body.flag("dry_run", true)?;
    let answer = web.clients()?.run(&CHANGE, move |client| -> Result<Value, Failure> {
        let listed = client.list_all_groups()?.into_iter().find(|listing| listing.group == group);
        let is_share = listed.as_ref().is_some_and(|listing| listing.group_type.eq_ignore_ascii_case("share"));
        let state = listed.map_or_else(|| "Dead".to_owned(), |listing| listing.state);
        let is_active = !["empty", "dead"].contains(&state.to_lowercase().as_str());
        let committed = current(client, &group, is_share)?;
        let mut partitions: Vec<Partition> = if topics.is_empty() {
            committed.keys().cloned().collect()
        } else {
            client.partitions_of(&topics.iter().map(String::as_str).collect::<Vec<_>>())?
        };
        partitions.retain(|(_, partition)| only.is_none_or(|only| i64::from(*partition) == only));
        if partitions.is_empty() {
            return Err(Failure::bad_request("no partition is meant: the group has no offsets there"));
        }
        let goal = new_offsets(client, &partitions, &committed, target)?;
        let blocked = is_active.then(|| format!("the group is {state}: its members have to stop first"));
        if !dry_run {
            if let Some(reason) = blocked {
                return Err(Failure::new(StatusCode::CONFLICT, ErrorCode::NonEmptyGroup.name(), reason));
            }
            if is_share {
                client.alter_share_offsets(&group, &goal)?;
            } else {
                commit(client, &group, &goal)?;
            }
        }
        let rows = goal.iter().map(|(partition, to)| {
            json!({"topic": partition.0, "partition": partition.1, "from": committed.get(partition), "to": to})
        });
        Ok(json!({"group": group, "dry_run": dry_run, "blocked": blocked, "offsets": rows.collect::<Vec<Value>>()}))
    });
    Ok(Json(answer.await?))
}

fn current(
    client: &mut Client,
    group: &str,
    is_share: bool,
) -> Result<BTreeMap<Partition, i64>, ClientError> {
    if !is_share {
        return client.committed_offsets(group, None);
    }
    let offsets = client.share_offsets(group)?.into_iter();
    Ok(offsets.filter_map(|(partition, offset)| Some((partition, offset?.start_offset))).collect())
}

/// `to` is `earliest`, `latest`, or one of `offset`, `time_ms` and `shift` with `at`.
fn target(body: &Body) -> Result<Target, Failure> {
    let at = || body.integer("at")?.ok_or_else(|| Failure::bad_request("at says where to"));
    match body.text("to")? {
        Some("earliest") => Ok(Target::Time(EARLIEST)),
        Some("latest") => Ok(Target::Time(LATEST)),
        Some("offset") => Ok(Target::Offset(at()?)),
        Some("time_ms") => match at()? {
            // Negative ones are no times, but have meanings of their own on the wire.
            time if time >= 0 => Ok(Target::Time(time)),
            _ => Err(Failure::bad_request("a time is not before 1970")),
        },
        Some("shift") => Ok(Target::Shift(at()?)),
        _ => Err(Failure::bad_request("to is earliest, latest, offset, time_ms or shift")),
    }
}

pub(super) async fn delete(State(web): State<Shared>, Path(group): Path<String>) -> Answer {
    web.clients()?.run(&CHANGE, move |client| client.delete_group(&group)).await?;
    Ok(Json(json!({"deleted": true})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Target, Failure> {
        target(&Body::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn where_to_is_said_in_one_of_five_ways() {
        assert_eq!(parsed(r#"{"to": "earliest"}"#), Ok(Target::Time(EARLIEST)));
        assert_eq!(parsed(r#"{"to": "shift", "at": -5}"#), Ok(Target::Shift(-5)));
        assert_eq!(parsed(r#"{"to": "time_ms", "at": 12}"#), Ok(Target::Time(12)));
        for text in [r#"{"to": "time_ms", "at": -2}"#, r#"{"to": "offset"}"#, r#"{"to": "x"}"#, "{}"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
