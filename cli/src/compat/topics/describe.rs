//! `kafka-topics --describe`: the topic line, the partition lines, and the filters for partitions in trouble.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, REPORTS, existing, failed, topic_id};
use crate::client::Client;
use crate::client::configs::{ConfigEntry, ResourceKind};
use crate::client::topics::{PartitionDescription, TopicDescription};
use crate::compat::java_order;
use crate::compat::options::Options;
use crate::console::{Console, errln, outln};

/// Which lines to print.
struct Filter {
    topics: bool,
    partitions: bool,
    overridden_only: bool,
    under_replicated: bool,
    under_min_isr: bool,
    at_min_isr: bool,
    unavailable: bool,
}

impl Filter {
    fn new(options: &Options) -> Self {
        Self {
            topics: !REPORTS.iter().any(|report| options.has(report)),
            partitions: !options.has("topics-with-overrides"),
            overridden_only: options.has("topics-with-overrides"),
            under_replicated: options.has("under-replicated-partitions"),
            under_min_isr: options.has("under-min-isr-partitions"),
            at_min_isr: options.has("at-min-isr-partitions"),
            unavailable: options.has("unavailable-partitions"),
        }
    }

    fn wants(&self, partition: &PartitionDescription, min_isr: usize, live: &BTreeSet<i32>) -> bool {
        self.topics
            || (self.under_replicated && replication_factor(partition) > partition.isr.len())
            || (self.under_min_isr && (partition.leader.is_none() || partition.isr.len() < min_isr))
            || (self.at_min_isr && partition.isr.len() == min_isr)
            || (self.unavailable && partition.leader.is_none_or(|leader| !live.contains(&leader)))
    }
}

pub(super) fn run(client: &mut Client, options: &Options, console: &mut Console<'_>) -> Result<(), Failure> {
    let names = match topic_id(options)? {
        Some(id) => match client.topic_name_of(id)? {
            Some(name) => vec![name],
            None if options.has("if-exists") => Vec::new(),
            None => return Err(failed(format!("TopicId '{id}' does not exist as expected"))),
        },
        None => existing(client, options)?,
    };
    let limit = options.number::<i32>("partition-size-limit-per-response")?;
    let mut topics = client.describe_topics(&names, limit)?;
    let asked = topics.len();
    java_order::sort(&mut topics, asked, |topic| &topic.name);
    let configs = client.describe_configs(ResourceKind::Topic, &names, false)?;
    let live = client.brokers().keys().copied().collect();
    if let Some(error) = client.note_reassignments(&mut topics)? {
        errln!(console, "WARN Couldn't query reassignments through the AdminClient API: {error}");
    }
    Ok(print(&topics, &configs, &live, &Filter::new(options), console)?)
}

fn print(
    topics: &[TopicDescription],
    configs: &BTreeMap<String, Vec<ConfigEntry>>,
    live: &BTreeSet<i32>,
    filter: &Filter,
    console: &mut Console<'_>,
) -> std::io::Result<()> {
    for topic in topics {
        let mut entries: Vec<&ConfigEntry> = configs.get(&topic.name).into_iter().flatten().collect();
        java_order::sort(&mut entries, java_order::DEFAULT_CAPACITY, |entry| &entry.name);
        let overrides: Vec<String> = entries
            .iter()
            .filter(|entry| !entry.is_default())
            .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null")))
            .collect();
        if filter.topics && (!filter.overridden_only || !overrides.is_empty()) {
            outln!(
                console,
                "Topic: {}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {}\tConfigs: {}",
                topic.name,
                topic.topic_id,
                topic.partitions.len(),
                topic.partitions.first().map_or(0, replication_factor),
                overrides.join(",")
            );
        }
        if !filter.partitions {
            continue;
        }
        let min_isr = entries
            .iter()
            .find(|entry| entry.name == "min.insync.replicas")
            .and_then(|entry| entry.value.as_deref()?.parse().ok())
            .unwrap_or(1);
        for partition in topic.partitions.iter().filter(|p| filter.wants(p, min_isr, live)) {
            outln!(console, "{}", partition_line(&topic.name, partition));
        }
    }
    Ok(())
}

/// The replicas that are meant to stay: those that a reassignment adds do not count yet.
fn replication_factor(partition: &PartitionDescription) -> usize {
    partition.replicas.len().saturating_sub(partition.adding.len())
}

fn partition_line(topic: &str, partition: &PartitionDescription) -> String {
    let mut line = format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {}\tReplicas: {}\tIsr: {}",
        partition.partition,
        partition.leader.map_or_else(|| "none".to_owned(), |id| id.to_string()),
        ids(&partition.replicas),
        ids(&partition.isr)
    );
    if !partition.adding.is_empty() || !partition.removing.is_empty() {
        line += &format!(
            "\tAdding Replicas: {}\tRemoving Replicas: {}",
            ids(&partition.adding),
            ids(&partition.removing)
        );
    }
    let known = |list: &Option<Vec<i32>>| list.as_deref().map_or_else(|| "N/A".to_owned(), ids);
    line + &format!("\tElr: {}\tLastKnownElr: {}", known(&partition.elr), known(&partition.last_known_elr))
}

fn ids(list: &[i32]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::configs::ConfigSource;

    fn partition(index: i32, leader: Option<i32>, replicas: &[i32], isr: &[i32]) -> PartitionDescription {
        PartitionDescription {
            partition: index,
            leader,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            elr: Some(vec![]),
            last_known_elr: Some(vec![]),
            ..PartitionDescription::default()
        }
    }

    fn printed(partitions: Vec<PartitionDescription>, configs: &[(&str, &str)], line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let options = super::super::TOOL.spec.parse(&words).unwrap();
        let topic_id = "EBNmtgplSSymRgVeLxgF4A".parse().unwrap();
        let topics = [TopicDescription { name: "pageview".into(), topic_id, partitions }];
        let entries = configs
            .iter()
            .map(|(name, value)| ConfigEntry {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                source: ConfigSource::DynamicTopic,
                ..ConfigEntry::default()
            })
            .collect();
        let configs = BTreeMap::from([("pageview".to_owned(), entries)]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let live = BTreeSet::from([1, 2]);
        print(
            &topics,
            &configs,
            &live,
            &Filter::new(&options),
            &mut Console { out: &mut out, err: &mut err },
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_topic_is_described_as_apache_kafka_printed_it() {
        let one = vec![partition(0, Some(1), &[1, 2, 3], &[1, 2, 3])];
        assert_eq!(
            printed(one, &[("min.insync.replicas", "1")], "--describe"),
            include_str!("../../../tests/golden/desc1.out")
        );
        let dead =
            vec![partition(0, Some(2), &[2, 3, 1], &[1, 2]), partition(1, Some(1), &[1, 2, 3], &[1, 2])];
        let configs = [("retention.ms", "60000"), ("min.insync.replicas", "1")];
        assert_eq!(
            printed(dead, &configs, "--describe"),
            include_str!("../../../tests/golden/dead_desc.out")
        );
    }

    #[test]
    fn reports_print_only_the_partitions_in_trouble() {
        let partitions = || {
            vec![
                partition(0, Some(1), &[1, 2], &[1, 2]),
                partition(1, Some(2), &[1, 2], &[2]),
                partition(2, None, &[3], &[]),
                partition(3, Some(3), &[3], &[3]),
            ]
        };
        let shown = |line: &str| -> Vec<String> {
            let text = printed(partitions(), &[("min.insync.replicas", "1")], line);
            text.lines().map(|l| l.split('\t').nth(2).unwrap()["Partition: ".len()..].to_owned()).collect()
        };
        assert_eq!(shown("--under-replicated-partitions"), ["1", "2"]);
        assert_eq!(shown("--under-min-isr-partitions"), ["2"]);
        assert_eq!(shown("--at-min-isr-partitions"), ["1", "3"]);
        assert_eq!(shown("--unavailable-partitions"), ["2", "3"]);
        assert_eq!(printed(partitions(), &[("a", "b")], "--topics-with-overrides").lines().count(), 1);
        assert_eq!(printed(partitions(), &[], "--topics-with-overrides"), "");
    }

    #[test]
    fn a_moving_partition_shows_what_comes_and_goes() {
        let mut moving = partition(0, None, &[1, 2, 3], &[1]);
        moving.adding = vec![3];
        moving.removing = vec![2];
        moving.elr = None;
        moving.last_known_elr = None;
        assert_eq!(
            partition_line("t", &moving),
            "\tTopic: t\tPartition: 0\tLeader: none\tReplicas: 1,2,3\tIsr: 1\tAdding Replicas: 3\t\
             Removing Replicas: 2\tElr: N/A\tLastKnownElr: N/A"
        );
    }
}
