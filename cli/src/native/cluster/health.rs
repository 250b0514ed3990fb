//! `moldau cluster health`: the one question to ask first.
//!
//! Metadata alone does not tell: where the controllers have no majority nobody can change it, and it shows the cluster as it
//! was before. So every broker and the quorum are asked, too.

use std::time::{Duration, Instant};

use moldau_broker::log_dirs::has_room;
use moldau_model::ErrorCode;
use serde_json::json;

use super::super::doctor::size;
use super::super::{Common, Failure, join};
use crate::client::log_dirs::LogDirDescription;
use crate::client::quorum::Quorum;
use crate::client::{Client, ClientError};
use crate::console::{Console, outln};

/// How long one broker may take to describe its directories: one that hangs is no reason to keep the verdict back.
const BROKER_MAX: Duration = Duration::from_secs(3);
/// How many partitions a line names.
const NAMED_MAX: usize = 10;

/// What is wrong with the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
struct Health {
    leaderless: Vec<String>,
    under_replicated: Vec<String>,
    /// Brokers that the metadata shows in service, and that do not answer.
    unreachable: Vec<i32>,
    /// Registered brokers that are not in service.
    fenced: Vec<i32>,
    controllers: Option<String>,
    /// Sentences.
    log_dirs: Vec<String>,
}

pub(super) fn run(common: &Common, client: &mut Client, console: &mut Console<'_>) -> Result<(), Failure> {
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
        match client.describe_log_dirs_until(broker, deadline.min(Instant::now() + BROKER_MAX)) {
            Ok(described) => {
                let troubled = described.iter().filter_map(trouble);
                found.log_dirs.extend(troubled.map(|trouble| format!("broker {broker}: {trouble}")));
            }
            // Who may not ask for them was answered all the same.
            Err(ClientError::Broker { .. } | ClientError::Unsupported { .. }) => {}
            Err(_) => found.unreachable.push(broker),
        }
    }
    found.fenced = client.fenced_brokers();
    found.controllers = match client.describe_quorum() {
        Ok(quorum) => silent_controllers(&quorum),
        // Who may not ask, or asks a cluster that does not tell, is not told.
        Err(ClientError::Unsupported { .. }) => None,
        Err(error) if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => None,
        Err(_) => Some("none is active: without a majority of them nothing can be changed".to_owned()),
    };
    let is_healthy = found == Health::default();
    if common.is_json() {
        let value = json!({"healthy": is_healthy, "brokers": brokers, "controller_id": response.controller_id.0,
            "leaderless_partitions": found.leaderless, "under_replicated_partitions": found.under_replicated,
            "unreachable_brokers": found.unreachable, "fenced_brokers": found.fenced,
            "controllers": found.controllers, "log_dirs": found.log_dirs});
        super::super::json(&value, console)?;
    } else {
        outln!(console, "healthy           {}", if is_healthy { "yes" } else { "no" });
        outln!(console, "brokers           {}", join(&brokers));
        outln!(console, "leaderless        {}", some(&found.leaderless));
        outln!(console, "under-replicated  {}", some(&found.under_replicated));
        if !found.unreachable.is_empty() {
            outln!(console, "no answer from    {}", join(&found.unreachable));
        }
        if !found.fenced.is_empty() {
            outln!(console, "not in service    {}", join(&found.fenced));
        }
        if let Some(controllers) = &found.controllers {
            outln!(console, "controllers       {controllers}");
        }
        for trouble in &found.log_dirs {
            outln!(console, "log directory     {trouble}");
        }
    }
    if is_healthy { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// Which voters the leader does not hear, and what that means.
fn silent_controllers(quorum: &Quorum) -> Option<String> {
    quorum.leader()?;
    let silent: Vec<i32> = quorum.silent_voters().collect();
    if silent.is_empty() {
        return None;
    }
    let (count, needed) = (quorum.voters.len(), quorum.majority());
    let heard = count - silent.len();
    let meaning =
        if heard < needed { format!(", {needed} are needed to change anything") } else { String::new() };
    Some(format!("{heard} of {count} heard{meaning}; silent: {}", join(&silent)))
}

/// Why a log directory cannot be written.
fn trouble(directory: &LogDirDescription) -> Option<String> {
    let path = &directory.path;
    if let Some(error) = directory.error {
        return Some(format!("{path}: {}", error.message()));
    }
    let (total, usable) = (directory.total_bytes?, directory.usable_bytes?);
    (!has_room(usable, total)).then(|| format!("{path} is full: {} of {} free", size(usable), size(total)))
}

/// How many, and the first few by name.
fn some(partitions: &[String]) -> String {
    match partitions.len() {
        0 => "none".to_owned(),
        count => {
            let shown = partitions.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if count > NAMED_MAX { ", ..." } else { "" };
            format!("{count}: {shown}{more}")
        }
    }
}

#[cfg(test)]
mod tests {
    use moldau_model::ErrorCode;

    use super::*;
    use crate::client::quorum::QuorumReplica;

    #[test]
    fn a_silent_controller_is_told_and_whether_a_majority_is_left() {
        let quorum = |last_fetch_ms: &[i64]| Quorum {
            leader_id: 1,
            leader_epoch: 1,
            high_watermark: 0,
            voters: (1..)
                .zip(last_fetch_ms)
                .map(|(id, last_fetch_ms)| QuorumReplica {
                    id,
                    directory_id: moldau_model::Uuid::ZERO,
                    log_end_offset: 0,
                    last_fetch_ms: *last_fetch_ms,
                    last_caught_up_ms: -1,
                })
                .collect(),
            observers: Vec::new(),
            endpoints: Vec::new(),
        };
        for (last_fetch_ms, expected) in [
            (&[9_000][..], None),
            (&[9_000, 4_000, 8_900], None),
            (&[9_000, 3_999, 8_900], Some("2 of 3 heard; silent: 2")),
            (&[9_000, 3_999, -1], Some("1 of 3 heard, 2 are needed to change anything; silent: 2,3")),
        ] {
            assert_eq!(silent_controllers(&quorum(last_fetch_ms)).as_deref(), expected, "{last_fetch_ms:?}");
        }
    }

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
