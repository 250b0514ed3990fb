//! The verdict on the cluster, with its reasons.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_metadata::config::BrokerSettings;
use moldau_metadata::{ConfigResource, MetadataImage, PartitionRegistration};
use serde_json::{Value, json};

use super::quorum::{Fencing, silent_voters};
use crate::client::quorum::Quorum;

/// Of the partitions with a fault, so many are named.
const NAMED_MAX: usize = 5;

/// All partitions of the cluster, counted by what is wrong with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) under_replicated: Fault,
    pub(super) under_min_isr: Fault,
    pub(super) offline: Fault,
    pub(super) not_preferred: usize,
}

/// Partitions with one fault, the first ones by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) count: usize,
    named: Vec<String>,
}

impl Fault {
    fn add(&mut self, topic: &str, index: i32) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{topic}-{index}"));
        }
    }

    fn names(&self) -> String {
        let more = if self.count > self.named.len() { ", …" } else { "" };
        format!("{}{more}", self.named.join(", "))
    }
}

/// What is wrong with one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) under_replicated: bool,
    pub(super) under_min_isr: bool,
    pub(super) offline: bool,
}

impl Faults {
    pub(super) fn of(partition: &PartitionRegistration, min_isr: usize) -> Self {
        Self {
            under_replicated: partition.isr.len() < partition.replicas.len(),
            under_min_isr: partition.isr.len() < min_isr.min(partition.replicas.len()),
            offline: !partition.has_leader(),
        }
    }
}

/// Looks up `min.insync.replicas` of topics, each once.
pub(super) struct MinIsr<'a> {
    settings: BrokerSettings<'a>,
    image: &'a MetadataImage,
    default: usize,
}

impl<'a> MinIsr<'a> {
    pub(super) fn new(settings: BrokerSettings<'a>, image: &'a MetadataImage) -> Self {
        let mut found = Self { settings, image, default: 1 };
        found.default = found.look_up(None);
        found
    }

    pub(super) fn of(&self, topic: &Arc<str>) -> usize {
        // Most topics have no settings of their own.
        match self.image.configs().of(&ConfigResource::topic(Arc::clone(topic))) {
            Some(configs) => self.look_up(Some(&**configs)),
            None => self.default,
        }
    }

    fn look_up(&self, configs: Option<&moldau_metadata::ResourceConfigs>) -> usize {
        let config = self.settings.topic_config(configs);
        usize::try_from(config.min_insync_replicas).unwrap_or(1)
    }
}

impl Counts {
    pub(super) fn over(image: &MetadataImage, min_isr: impl Fn(&Arc<str>) -> usize) -> Self {
        let mut counts = Self::default();
        for topic in image.topics().iter() {
            let min_isr = min_isr(topic.name());
            for (index, partition) in topic.partitions() {
                let faults = Faults::of(partition, min_isr);
                for (is_so, fault) in [
                    (faults.under_replicated, &mut counts.under_replicated),
                    (faults.under_min_isr, &mut counts.under_min_isr),
                    (faults.offline, &mut counts.offline),
                ] {
                    if is_so {
                        fault.add(topic.name(), index.0);
                    }
                }
                let is_preferred = partition.leader == partition.preferred_replica();
                counts.not_preferred += usize::from(partition.has_leader() && !is_preferred);
            }
        }
        counts
    }
}

/// One reason why the cluster is not well.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// Whether something does not work now, and not only may soon.
    pub(super) is_error: bool,
    pub(super) code: &'static str,
    pub(super) text: String,
    /// What can be done, or what it means.
    pub(super) advice: &'static str,
}

impl Reason {
    pub(super) fn json(&self) -> Value {
        let severity = if self.is_error { "error" } else { "warning" };
        json!({"severity": severity, "code": self.code, "text": self.text, "advice": self.advice})
    }
}

/// Everything that is not well. `offline_dirs` are this node's own log directories that failed.
pub(super) fn reasons(
    image: &MetadataImage,
    counts: &Counts,
    quorum: &Result<Quorum, String>,
    offline_dirs: usize,
    now_ms: i64,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut say =
        |is_error, code, text: String, advice| reasons.push(Reason { is_error, code, text, advice });
    let partitions = |fault: &Fault| {
        if fault.count == 1 { "1 partition" } else { "partitions" }
            .replace("partitions", &format!("{} partitions", fault.count))
    };
    // First, as the rest is how it was before where this is so.
    of_quorum(quorum, now_ms, &mut say);
    if counts.offline.count > 0 {
        let (count, names) = (partitions(&counts.offline), counts.offline.names());
        say(
            true,
            "OFFLINE_PARTITIONS",
            format!("{count} without a leader: {names}"),
            "Nobody can write or read them until a broker that was in sync is back.",
        );
    }
    if counts.under_min_isr.count > 0 {
        let (count, names) = (partitions(&counts.under_min_isr), counts.under_min_isr.names());
        say(
            true,
            "UNDER_MIN_ISR",
            format!("{count} below min.insync.replicas: {names}"),
            "Writes with acks=all are refused there until more replicas are in sync.",
        );
    }
    of_brokers(image, &mut say);
    if offline_dirs > 0 {
        say(
            true,
            "OFFLINE_LOG_DIRS",
            format!("This node has {} that failed", directories(offline_dirs)),
            "Replace the disk and start the node again; its replicas are fetched anew.",
        );
    }
    if counts.under_replicated.count > 0 {
        let (count, names) = (partitions(&counts.under_replicated), counts.under_replicated.names());
        say(
            false,
            "UNDER_REPLICATED",
            format!("{count} with replicas out of sync: {names}"),
            "Followers are away or catch up.",
        );
    }
    // Those that are equally bad stay as they are here.
    reasons.sort_by_key(|reason| !reason.is_error);
    reasons
}

fn of_quorum(
    quorum: &Result<Quorum, String>,
    now_ms: i64,
    say: &mut dyn FnMut(bool, &'static str, String, &'static str),
) {
    match quorum {
        Err(reason) => say(
            true,
            "NO_CONTROLLER",
            format!("The controllers do not answer: {reason}"),
            "Nothing can be created, changed or elected until a majority of them is there.",
        ),
        Ok(quorum) => {
            if let Fencing::NoMajority(silent) = Fencing::of(Some(quorum), now_ms) {
                let (count, needed) = (quorum.voters.len(), quorum.majority());
                let ids: Vec<String> = silent.iter().map(i32::to_string).collect();
                say(
                    true,
                    "NO_MAJORITY",
                    format!(
                        "{} of {count} controllers are there, {needed} are needed; not heard of: {}",
                        count - silent.len(),
                        ids.join(", ")
                    ),
                    "Nothing can be created, changed or elected until a majority of them is there. What is shown of brokers, \
                     leaders and replicas is how it was before.",
                );
                return;
            }
            for voter in silent_voters(quorum, now_ms) {
                let seconds = (now_ms - voter.last_fetch_ms) / 1000;
                say(
                    false,
                    "SILENT_CONTROLLER",
                    format!("Controller {} was not heard of for {seconds} s", voter.id),
                    "Without a majority of controllers nothing can be changed.",
                );
            }
        }
    }
}

fn of_brokers(image: &MetadataImage, say: &mut dyn FnMut(bool, &'static str, String, &'static str)) {
    for broker in image.brokers() {
        let id = broker.id;
        if broker.fenced {
            say(
                false,
                "BROKER_DOWN",
                format!("Broker {id} is out of service"),
                "It is down, or starts and catches up; unregister it if it does not come back.",
            );
        } else if broker.in_controlled_shutdown {
            say(
                false,
                "BROKER_STOPPING",
                format!("Broker {id} is shutting down"),
                "It hands its partitions over.",
            );
        }
        if !broker.full_log_directories.is_empty() {
            let count = broker.full_log_directories.len();
            say(
                true,
                "DISK_FULL",
                format!("Broker {id} has {} without room", directories(count)),
                "Its leaderships go to others where that can be; make room or shorten retention.",
            );
        }
    }
}

fn directories(count: usize) -> String {
    if count == 1 { "1 log directory".to_owned() } else { format!("{count} log directories") }
}

/// Partitions that each broker leads and holds.
pub(super) fn load(image: &MetadataImage) -> HashMap<i32, (usize, usize)> {
    let mut load: HashMap<i32, (usize, usize)> = HashMap::new();
    for topic in image.topics().iter() {
        for (_, partition) in topic.partitions() {
            if partition.has_leader() {
                load.entry(partition.leader.0).or_default().0 += 1;
            }
            for replica in &partition.replicas {
                load.entry(replica.0).or_default().1 += 1;
            }
        }
    }
    load
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

    fn quorum(silent_ms: i64) -> Quorum {
        let voter = |id, last_fetch_ms| crate::client::quorum::QuorumReplica {
            id,
            directory_id: Uuid::ZERO,
            log_end_offset: 1,
            last_fetch_ms,
            last_caught_up_ms: last_fetch_ms,
        };
        let voters = vec![voter(1, -1), voter(2, 100_000 - silent_ms), voter(3, 100_000 - 500)];
        Quorum {
            leader_id: 1,
            leader_epoch: 1,
            high_watermark: 1,
            voters,
            observers: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    fn codes(image: &MetadataImage, quorum: &Result<Quorum, String>, dirs: usize) -> Vec<&'static str> {
        let counts = Counts::over(image, |_| 2);
        reasons(image, &counts, quorum, dirs, 100_000).iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_cluster_without_a_fault_has_no_reason_to_be_unwell() {
        let image = image(&[(&[1, 2, 3], &[1, 2, 3], 1), (&[1], &[1], 1)]);
        assert!(codes(&image, &Ok(quorum(500)), 0).is_empty());
    }

    #[test]
    fn each_fault_is_a_reason_and_the_worst_come_first() {
        let image = image(&[(&[1, 2, 3], &[1, 2], 1), (&[1, 2, 3], &[1], 1), (&[2, 3], &[2], -1)]);
        assert_eq!(
            codes(&image, &Ok(quorum(20_000)), 1),
            [
                "OFFLINE_PARTITIONS",
                "UNDER_MIN_ISR",
                "OFFLINE_LOG_DIRS",
                "SILENT_CONTROLLER",
                "UNDER_REPLICATED"
            ]
        );
        assert_eq!(codes(&image, &Err("no answer".into()), 0).first(), Some(&"NO_CONTROLLER"));
        let mut alone = quorum(20_000);
        alone.voters[2].last_fetch_ms = 80_000;
        assert_eq!(codes(&image, &Ok(alone), 0).first(), Some(&"NO_MAJORITY"));
        let counts = Counts::over(&image, |_| 2);
        assert_eq!(
            (counts.offline.count, counts.under_min_isr.count, counts.under_replicated.count),
            (1, 2, 3)
        );
        assert_eq!(counts.offline.names(), "t2-0");
    }
}
