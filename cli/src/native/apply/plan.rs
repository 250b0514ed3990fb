//! From topics as they are to topics as they should be: the changes, or why they cannot be.

use std::collections::BTreeMap;

use super::file::Wanted;

/// A topic as it is. Of its settings, those that were set on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) partitions: i32,
    pub(super) replication_factor: i16,
    pub(super) configs: BTreeMap<String, String>,
}

/// One setting: from and to, where nothing is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigStep {
    pub(super) key: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// What is to be done to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create {
        name: String,
        partitions: Option<i32>,
        replication_factor: Option<i16>,
        configs: Vec<ConfigStep>,
    },
    Alter {
        name: String,
        partitions: Option<(i32, i32)>,
        configs: Vec<ConfigStep>,
    },
    Delete {
        name: String,
    },
}

/// The changes, in the order of the file; nothing where all is as it should be.
pub(super) fn plan(
    wanted: &[Wanted],
    present: &BTreeMap<String, Present>,
) -> Result<Vec<Change>, Vec<String>> {
    let mut changes = Vec::new();
    let mut refused = Vec::new();
    for topic in wanted {
        let name = &topic.name;
        match present.get(name) {
            None if topic.is_absent => {}
            None => changes.push(Change::Create {
                name: name.clone(),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs: steps(topic, &BTreeMap::new()),
            }),
            Some(_) if topic.is_absent => changes.push(Change::Delete { name: name.clone() }),
            Some(is) => {
                let partitions = match topic.partitions {
                    Some(count) if count < is.partitions => {
                        refused.push(format!(
                            "{name} has {} partitions and cannot have {count}: Kafka adds partitions but never removes them; create another topic and copy the records",
                            is.partitions
                        ));
                        continue;
                    }
                    Some(count) if count > is.partitions => Some((is.partitions, count)),
                    _ => None,
                };
                if let Some(factor) = topic.replication_factor.filter(|f| *f != is.replication_factor) {
                    refused.push(format!(
                        "{name} has {} replicas of each partition, not {factor}: replicas are moved by kafka-reassign-partitions, after which this file applies",
                        is.replication_factor
                    ));
                    continue;
                }
                let configs = steps(topic, &is.configs);
                if partitions.is_some() || !configs.is_empty() {
                    changes.push(Change::Alter { name: name.clone(), partitions, configs });
                }
            }
        }
    }
    if refused.is_empty() { Ok(changes) } else { Err(refused) }
}

/// Settings that the file names and that differ. Others that are set on the topic stay.
fn steps(topic: &Wanted, set: &BTreeMap<String, String>) -> Vec<ConfigStep> {
    let differs = |(key, to): &(&String, &Option<String>)| set.get(*key) != to.as_ref();
    let step = |(key, to): (&String, &Option<String>)| ConfigStep {
        key: key.clone(),
        from: set.get(key).cloned(),
        to: to.clone(),
    };
    topic.configs.iter().filter(differs).map(step).collect()
}

/// The change as a person reads it, with `+`, `~` or `-` in front.
pub(super) fn describe(change: &Change) -> String {
    let mut text = String::new();
    let mut line = |sign: &str, line: &str| {
        text.push_str(sign);
        text.push_str(line);
        text.push('\n');
    };
    match change {
        Change::Create { name, partitions, replication_factor, configs } => {
            line("+ ", name);
            let number = |n: Option<String>| n.unwrap_or_else(|| "the cluster's default".to_owned());
            line("    ", &format!("partitions          {}", number(partitions.map(|n| n.to_string()))));
            line(
                "    ",
                &format!("replication factor  {}", number(replication_factor.map(|n| n.to_string()))),
            );
            for step in configs {
                line("    ", &format!("{}={}", step.key, step.to.as_deref().unwrap_or("(default)")));
            }
        }
        Change::Alter { name, partitions, configs } => {
            line("~ ", name);
            if let Some((from, to)) = partitions {
                line("    ", &format!("partitions {from} -> {to}"));
            }
            for step in configs {
                let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(default)".to_owned());
                line("    ", &format!("{} {} -> {}", step.key, value(&step.from), value(&step.to)));
            }
        }
        Change::Delete { name } => line("- ", &format!("{name}, with all its records")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Wanted {
        Wanted { name: name.to_owned(), ..Wanted::default() }
    }

    fn present(name: &str, partitions: i32, configs: &[(&str, &str)]) -> BTreeMap<String, Present> {
        let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        BTreeMap::from([(name.to_owned(), Present { partitions, replication_factor: 1, configs })])
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let mut topic = wanted("a");
        topic.partitions = Some(3);
        topic.replication_factor = Some(1);
        topic.configs.insert("retention.ms".into(), Some("1".into()));
        topic.configs.insert("segment.bytes".into(), None);
        let is = present("a", 3, &[("retention.ms", "1"), ("cleanup.policy", "compact")]);
        assert_eq!(plan(&[topic, Wanted { is_absent: true, ..wanted("b") }], &is), Ok(vec![]));
    }

    #[test]
    fn partitions_grow_and_settings_change() {
        let mut topic = wanted("a");
        topic.partitions = Some(4);
        topic.configs.insert("retention.ms".into(), Some("2".into()));
        topic.configs.insert("segment.bytes".into(), None);
        let is = present("a", 3, &[("retention.ms", "1"), ("segment.bytes", "9")]);
        let changes = plan(&[topic, wanted("new")], &is).unwrap();
        let text: String = changes.iter().map(describe).collect();
        assert_eq!(
            text,
            "~ a
    partitions 3 -> 4
    retention.ms 1 -> 2
    segment.bytes 9 -> (default)
+ new
    partitions          the cluster's default
    replication factor  the cluster's default
"
        );
    }

    #[test]
    fn what_kafka_cannot_do_is_refused_for_every_topic_at_once() {
        let fewer = Wanted { partitions: Some(2), ..wanted("a") };
        let wider = Wanted { replication_factor: Some(3), ..wanted("b") };
        let mut is = present("a", 3, &[]);
        is.extend(present("b", 1, &[]));
        let refused = plan(&[fewer, wider, wanted("c")], &is).unwrap_err();
        assert_eq!(refused.len(), 2);
        assert!(refused[0].starts_with("a has 3 partitions and cannot have 2"), "{refused:?}");
    }

    #[test]
    fn only_what_is_named_absent_is_deleted() {
        let absent = Wanted { is_absent: true, ..wanted("a") };
        let mut is = present("a", 1, &[]);
        is.extend(present("b", 1, &[]));
        assert_eq!(plan(&[absent], &is), Ok(vec![Change::Delete { name: "a".into() }]));
    }
}
