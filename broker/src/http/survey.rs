//! The partitions of the cluster that need one broker, as its metadata shows them, and whether the controllers need its vote.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use moldau_cluster::{ControllerError, QuorumDescription};
use moldau_metadata::{ConfigResource, MetadataImage, PartitionRegistration};
use moldau_model::BrokerId;

use crate::control::ControlPlane;

/// Of the partitions that need this node, so many are named.
const NAMED_MAX: usize = 10;
/// A voter that the leader has not heard for longer is away: its vote cannot replace another's.
const VOTER_SILENT_MAX_MS: i64 = 5_000;

/// What one look at the metadata has counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Partitions that would fall below their min ISR without this node.
    pub(super) needs_this_node: usize,
    /// Partitions that only this node has: no order of restarts keeps them available.
    pub(super) only_here: usize,
    /// The first of those that need this node.
    named: Vec<String>,
}

impl Survey {
    pub(super) fn of(control: &ControlPlane) -> Self {
        let image = control.image();
        let settings = control.settings(&image);
        let min_isr = |topic: &Arc<str>| {
            let configs = image.configs().of(&ConfigResource::topic(Arc::clone(topic)));
            let config = settings.topic_config(configs.map(|configs| &**configs));
            usize::try_from(config.min_insync_replicas).unwrap_or(1)
        };
        Self::over(&image, control.node_id, &min_isr)
    }

    fn over(image: &MetadataImage, node_id: BrokerId, min_isr: &dyn Fn(&Arc<str>) -> usize) -> Self {
        let mut survey = Self::default();
        let mut min_isr_of: HashMap<&Arc<str>, usize> = HashMap::new();
        for topic in image.topics().iter() {
            for (index, partition) in topic.partitions() {
                if partition.replicas.contains(&node_id) {
                    let min_isr = *min_isr_of.entry(topic.name()).or_insert_with(|| min_isr(topic.name()));
                    let needs_this_node = survey.count(partition, node_id, min_isr);
                    if needs_this_node && survey.named.len() < NAMED_MAX {
                        survey.named.push(format!("{}-{index}", topic.name()));
                    }
                }
            }
        }
        survey
    }

    /// Counts a partition that this node holds; says whether it needs this node.
    fn count(&mut self, partition: &PartitionRegistration, node_id: BrokerId, min_isr: usize) -> bool {
        let needed = min_isr.min(partition.replicas.len());
        let in_sync = partition.isr.len();
        if partition.replicas.len() == 1 {
            self.only_here += 1;
            return false;
        }
        let needs_this_node = partition.isr.contains(&node_id) && in_sync <= needed;
        self.needs_this_node += usize::from(needs_this_node);
        needs_this_node
    }

    /// What an operator reads who asked whether this node may restart.
    pub(super) fn restart_text(&self, is_safe: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if is_safe {
            text.push_str("ok\n");
        } else if self.needs_this_node > 0 {
            let more = if self.needs_this_node > self.named.len() { ", ..." } else { "" };
            let _ = writeln!(
                text,
                "without this node {} partition(s) fall below min.insync.replicas: {}{more}",
                self.needs_this_node,
                self.named.join(", ")
            );
        }
        if self.only_here > 0 {
            let _ = writeln!(
                text,
                "{} partition(s) have no other replica and are away during a restart",
                self.only_here
            );
        }
        text
    }
}

/// Why the controllers cannot do without this node now. Where they never could, since they are one or two, no order of
/// restarts helps, and nothing is said.
pub(super) fn needed_vote(
    quorum: &Result<QuorumDescription, ControllerError>,
    node_id: BrokerId,
) -> Option<String> {
    let quorum = match quorum {
        Ok(quorum) if quorum.leader_id == BrokerId::NONE => {
            return Some("no controller is active\n".to_owned());
        }
        Ok(quorum) => quorum,
        Err(error) => return Some(format!("the controllers do not answer: {error}\n")),
    };
    let leader = quorum.voters.iter().find(|voter| voter.node_id == quorum.leader_id)?;
    let now = leader.last_fetch_timestamp_ms.0;
    let (heard, silent): (Vec<_>, Vec<_>) = quorum.voters.iter().partition(|voter| {
        voter.node_id == leader.node_id || now - voter.last_fetch_timestamp_ms.0 <= VOTER_SILENT_MAX_MS
    });
    let left = heard.iter().filter(|voter| voter.node_id != node_id).count();
    let needed = quorum.voters.len() / 2 + 1;
    if silent.is_empty() || left == heard.len() || left >= needed {
        return None;
    }
    let silent: Vec<String> = silent.iter().map(|voter| voter.node_id.to_string()).collect();
    Some(format!(
        "without this node {left} of {} controllers are left, {needed} are needed; not heard of: {}\n",
        quorum.voters.len(),
        silent.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use moldau_cluster::QuorumReplica;
    use moldau_metadata::{MetadataBatch, MetadataRecord, records};
    use moldau_model::{LeaderEpoch, Offset, TimestampMs, Uuid};

    use super::*;

    /// Topics `t0`, `t1`, ... of one partition each: replicas, ISR and leader.
    fn image(partitions: &[(&[i32], &[i32], i32)]) -> MetadataImage {
        let mut all: Vec<MetadataRecord> = Vec::new();
        for (number, (replicas, isr, leader)) in partitions.iter().enumerate() {
            let topic_id = Uuid::from_bytes([number as u8 + 10; 16]).as_bytes().to_vec();
            all.push(records::Topic { name: format!("t{number}"), topic_id: topic_id.clone() }.into());
            all.push(
                records::Partition {
                    topic_id,
                    replicas: replicas.to_vec(),
                    isr: isr.to_vec(),
                    leader: *leader,
                    directories: vec![vec![0; 16]; replicas.len()],
                    ..records::Partition::default()
                }
                .into(),
            );
        }
        MetadataImage::empty().replay_image(&MetadataBatch::from(all), Offset(1), LeaderEpoch(1)).unwrap()
    }

    fn survey(partitions: &[(&[i32], &[i32], i32)]) -> Survey {
        Survey::over(&image(partitions), BrokerId(1), &|_| 2)
    }

    #[test]
    fn a_restart_is_safe_where_enough_others_are_in_sync() {
        for (partition, is_safe) in [
            ((&[1, 2, 3][..], &[1, 2, 3][..], 1), true),
            ((&[1, 2, 3], &[1, 2], 2), false),
            ((&[1, 2, 3], &[2, 3], 2), true),
            ((&[1, 2, 3], &[1], 1), false),
            ((&[1, 2], &[1, 2], 1), false),
            ((&[2, 3], &[2], 2), true),
        ] {
            let survey = survey(&[partition]);
            assert_eq!(survey.needs_this_node == 0, is_safe, "{partition:?}");
            assert_eq!(survey.restart_text(is_safe).starts_with("ok"), is_safe, "{partition:?}");
        }
    }

    #[test]
    fn a_lone_replica_is_told_of_and_does_not_stop_a_restart() {
        let survey = survey(&[(&[1], &[1], 1)]);
        assert_eq!((survey.needs_this_node, survey.only_here), (0, 1));
        assert!(survey.restart_text(true).contains("1 partition(s) have no other replica"));
    }

    /// Voters 1, 2, ... of which 1 leads, by how long ago each was heard.
    fn quorum(silent_ms: &[i64]) -> QuorumDescription {
        let voter = |(node_id, silent_ms): (i32, &i64)| QuorumReplica {
            node_id: BrokerId(node_id),
            directory_id: Uuid::ZERO,
            log_end_offset: Offset(1),
            last_fetch_timestamp_ms: TimestampMs(100_000 - silent_ms),
            last_caught_up_timestamp_ms: TimestampMs::NONE,
        };
        QuorumDescription {
            leader_id: BrokerId(1),
            leader_epoch: LeaderEpoch(1),
            high_watermark: Offset(1),
            voters: (1..).zip(silent_ms).map(voter).collect(),
            observers: Vec::new(),
            nodes: Vec::new(),
        }
    }

    #[test]
    fn a_vote_is_needed_where_another_is_missing() {
        for (silent_ms, node_id, is_needed) in [
            (&[0, 10, 10][..], 1, false),
            (&[0, 5_000, 10], 1, false),
            (&[0, 5_001, 10], 1, true),
            (&[0, 5_001, 10], 3, true),
            // It is the one that is not heard, by a leader that cannot hear it.
            (&[0, 10, 60_000], 3, false),
            (&[0, 60_000, 60_000], 1, true),
            (&[0, 10, 10, 10, 60_000], 2, false),
            (&[0, 10, 10, 60_000, 60_000], 2, true),
            // A broker that does not vote.
            (&[0, 10, 60_000], 9, false),
            // Never without: there is no better moment to wait for.
            (&[0], 1, false),
            (&[0, 10], 1, false),
        ] {
            let told = needed_vote(&Ok(quorum(silent_ms)), BrokerId(node_id));
            assert_eq!(told.is_some(), is_needed, "{silent_ms:?} without {node_id}: {told:?}");
        }
        let told = needed_vote(&Ok(quorum(&[0, 60_000, 10])), BrokerId(3));
        let expected = "without this node 1 of 3 controllers are left, 2 are needed; not heard of: 2\n";
        assert_eq!(told.as_deref(), Some(expected));
        assert!(needed_vote(&Err(ControllerError::Timeout), BrokerId(1)).is_some());
        let election = QuorumDescription { leader_id: BrokerId::NONE, ..quorum(&[0, 10, 10]) };
        assert!(needed_vote(&Ok(election), BrokerId(1)).is_some());
    }
}
