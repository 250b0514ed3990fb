//! The partitions of the cluster that need one broker, as its metadata shows them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use moldau_metadata::{ConfigResource, MetadataImage, PartitionRegistration};
use moldau_model::BrokerId;

use crate::control::ControlPlane;

/// Of the partitions that need this node, so many are named.
const NAMED_MAX: usize = 10;

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
    pub(super) fn restart_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if self.needs_this_node == 0 {
            text.push_str("ok\n");
        } else {
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

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataBatch, MetadataRecord, records};
    use moldau_model::{LeaderEpoch, Offset, Uuid};

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
            assert_eq!(survey.restart_text().starts_with("ok"), is_safe, "{partition:?}");
        }
    }

    #[test]
    fn a_lone_replica_is_told_of_and_does_not_stop_a_restart() {
        let survey = survey(&[(&[1], &[1], 1)]);
        assert_eq!((survey.needs_this_node, survey.only_here), (0, 1));
        assert!(survey.restart_text().contains("1 partition(s) have no other replica"));
    }
}
