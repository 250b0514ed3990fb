//! `moldau cluster`.

mod restart;

use std::time::{Duration, Instant};

use clap::Subcommand;
use kafka_protocol::messages::DescribeClusterRequest;
use serde_json::{Value, json};

use super::doctor::size;
use super::{Common, Failure, join, table};
use crate::client::log_dirs::LogDirDescription;
use crate::client::{Client, ClientError};
use crate::console::{Console, outln};

/// How long one broker may take to describe its directories: one that hangs is no reason to keep the verdict on partitions back.
const DIRECTORIES_MAX: Duration = Duration::from_secs(5);
/// With less than this, or than a sixteenth of the disk, a node takes a directory that was full for full still.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// The cluster's id, controller and brokers
    Info,
    /// Whether every partition has a leader and all its replicas, and every log directory works and has room; exit code 4 if not
    Health,
    /// The metadata quorum
    Quorum,
    /// Whether a broker can be restarted without any partition missing it; exit code 4 if not
    RestartSafe { broker: i32 },
    /// Whether all brokers can be restarted one by one, and in which order; exit code 4 if not
    RollingRestart {
        /// Only check: the restarts are done by whatever runs the nodes
        #[arg(long, required = true)]
        check: bool,
    },
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut client = common.client("moldau")?;
    match verb {
        Verb::Info => info(common, &mut client, console),
        Verb::Health => health(common, &mut client, console),
        Verb::Quorum => quorum(common, &mut client, console),
        Verb::RestartSafe { broker } => restart::one(common, &mut client, *broker, console),
        Verb::RollingRestart { .. } => restart::rolling(common, &mut client, console),
    }
}

fn info(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    let response = client.call(&request)?;
    ClientError::check(response.error_code, response.error_message.as_deref())?;
    if common.is_json() {
        let brokers: Vec<Value> = response
            .brokers
            .iter()
            .map(|b| {
                json!({"id": b.broker_id.0, "host": b.host.to_string(), "port": b.port,
                    "rack": b.rack.as_ref().map(ToString::to_string)})
            })
            .collect();
        let value = json!({"cluster_id": response.cluster_id.to_string(),
            "controller_id": response.controller_id.0, "brokers": brokers});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "cluster     {}", response.cluster_id.as_str());
    outln!(console, "controller  {}\n", response.controller_id.0);
    let rows: Vec<Vec<String>> = response
        .brokers
        .iter()
        .map(|b| {
            let rack = b.rack.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            vec![b.broker_id.0.to_string(), format!("{}:{}", b.host.as_str(), b.port), rack]
        })
        .collect();
    Ok(table(&["BROKER", "ADDRESS", "RACK"], &rows, console)?)
}

/// What is wrong with the cluster's partitions and disks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Health {
    leaderless: Vec<String>,
    under_replicated: Vec<String>,
    /// Sentences.
    log_dirs: Vec<String>,
}

fn health(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let deadline = client.deadline();
    let response = client.metadata(None, deadline)?;
    let mut found = Health::default();
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        for p in &topic.partitions {
            let partition = format!("{}-{}", name.0.as_str(), p.partition_index);
            if p.leader_id.0 < 0 {
                found.leaderless.push(partition);
            } else if p.isr_nodes.len() < p.replica_nodes.len() {
                found.under_replicated.push(partition);
            }
        }
    }
    let brokers: Vec<i32> = client.brokers().keys().copied().collect();
    for &broker in &brokers {
        // Who may not ask for them, or gets no answer, is told of the partitions all the same.
        let described =
            client.describe_log_dirs_until(broker, deadline.min(Instant::now() + DIRECTORIES_MAX));
        let troubled = described.iter().flatten().filter_map(trouble);
        found.log_dirs.extend(troubled.map(|trouble| format!("broker {broker}: {trouble}")));
    }
    let healthy = found == Health::default();
    if common.is_json() {
        let value = json!({"healthy": healthy, "brokers": brokers, "controller_id": response.controller_id.0,
            "leaderless_partitions": found.leaderless, "under_replicated_partitions": found.under_replicated,
            "log_dirs": found.log_dirs});
        super::json(&value, console)?;
    } else {
        outln!(console, "healthy           {}", if healthy { "yes" } else { "no" });
        outln!(console, "brokers           {}", join(&brokers));
        outln!(console, "leaderless        {}", some(&found.leaderless));
        outln!(console, "under-replicated  {}", some(&found.under_replicated));
        for trouble in &found.log_dirs {
            outln!(console, "log directory     {trouble}");
        }
    }
    if healthy { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// Why a log directory cannot be written.
fn trouble(directory: &LogDirDescription) -> Option<String> {
    let path = &directory.path;
    if let Some(error) = directory.error {
        return Some(format!("{path}: {}", error.message()));
    }
    let (total, usable) = (directory.total_bytes?, directory.usable_bytes?);
    (usable < ROOM_BYTES_MIN.min(total / 16))
        .then(|| format!("{path} is full: {} of {} free", size(usable), size(total)))
}

/// How many, and the first few by name.
fn some(partitions: &[String]) -> String {
    const SHOWN_MAX: usize = 10;
    match partitions.len() {
        0 => "none".to_owned(),
        count => {
            let shown = partitions.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if count > SHOWN_MAX { ", ..." } else { "" };
            format!("{count}: {shown}{more}")
        }
    }
}

fn quorum(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let quorum = client.describe_quorum()?;
    if common.is_json() {
        let replicas: Vec<Value> = quorum
            .replicas()
            .map(|(replica, status)| {
                json!({"node_id": replica.id, "status": status.to_ascii_lowercase(),
                    "log_end_offset": replica.log_end_offset, "lag": quorum.lag(replica)})
            })
            .collect();
        let value = json!({"leader_id": quorum.leader_id, "leader_epoch": quorum.leader_epoch,
            "high_watermark": quorum.high_watermark, "replicas": replicas});
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "leader          {}", quorum.leader_id);
    outln!(console, "epoch           {}", quorum.leader_epoch);
    outln!(console, "high watermark  {}\n", quorum.high_watermark);
    let rows: Vec<Vec<String>> = quorum
        .replicas()
        .map(|(replica, status)| {
            vec![
                replica.id.to_string(),
                status.to_ascii_lowercase(),
                replica.log_end_offset.to_string(),
                quorum.lag(replica).to_string(),
            ]
        })
        .collect();
    Ok(table(&["NODE", "STATUS", "LOG END", "LAG"], &rows, console)?)
}

#[cfg(test)]
mod tests {
    use moldau_model::ErrorCode;

    use super::*;

    #[test]
    fn a_directory_is_in_trouble_when_it_failed_or_has_no_room() {
        let (mib, tib) = (1 << 20, 1 << 40);
        let of = |error, total_bytes, usable_bytes| {
            trouble(&LogDirDescription {
                path: "/d".to_owned(),
                error,
                total_bytes,
                usable_bytes,
                replicas: Vec::new(),
            })
        };
        for (total, usable, expected) in [
            (24 * mib, 12 << 10, Some("/d is full: 12.0 KiB of 24.0 MiB free")),
            (24 * mib, 2 * mib, None),
            (tib, 63 * mib, Some("/d is full: 63.0 MiB of 1.0 TiB free")),
            (tib, 64 * mib, None),
        ] {
            assert_eq!(of(None, Some(total), Some(usable)).as_deref(), expected, "{usable} of {total}");
        }
        assert_eq!(of(None, None, None), None, "who is not told of sizes says nothing");
        assert_eq!(
            of(Some(ErrorCode::KafkaStorageError), None, None).unwrap_or_default(),
            "/d: Disk error when trying to access log file on the disk."
        );
    }
}
