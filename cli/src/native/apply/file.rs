//! The file of `moldau apply`: topics as they should be, in YAML or, which is YAML too, in JSON.

use std::collections::BTreeMap;

use yaml_rust2::{Yaml, YamlLoader};

const FIELDS: [&str; 5] = ["name", "partitions", "replication_factor", "configs", "state"];

/// A topic as it should be. What is not said stays as it is, or is the cluster's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) is_absent: bool,
    pub(super) partitions: Option<i32>,
    pub(super) replication_factor: Option<i16>,
    /// `None`: back to the default.
    pub(super) configs: BTreeMap<String, Option<String>>,
}

/// Reads the file. Everything that is wrong with it comes at once, a line each.
pub(super) fn read(text: &str) -> Result<Vec<Wanted>, Vec<String>> {
    let documents = YamlLoader::load_from_str(text)
        .map_err(|error| vec![format!("line {}: {}", error.marker().line(), error.info())])?;
    let [document] = documents.as_slice() else {
        return Err(vec!["one document with a list `topics:` is expected".to_owned()]);
    };
    let mut problems = Vec::new();
    let Some(fields) = document.as_hash() else {
        return Err(vec!["a list `topics:` is expected at the top".to_owned()]);
    };
    for key in fields.keys().filter_map(Yaml::as_str).filter(|key| *key != "topics") {
        problems.push(format!("{key}: no such field at the top; `topics:` is the only one"));
    }
    let list = match &document["topics"] {
        Yaml::Array(list) => list.as_slice(),
        Yaml::Null => &[],
        _ => {
            problems.push("topics: a list is expected".to_owned());
            &[]
        }
    };
    let mut topics: Vec<Wanted> = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let topic = topic(index, item, &mut problems);
        if topics.iter().any(|other| other.name == topic.name) && !topic.name.is_empty() {
            problems.push(format!("topics[{index}]: {} stands there twice", topic.name));
        }
        topics.push(topic);
    }
    if problems.is_empty() { Ok(topics) } else { Err(problems) }
}

fn topic(index: usize, item: &Yaml, problems: &mut Vec<String>) -> Wanted {
    let mut topic = Wanted::default();
    // A bare name is a topic with the cluster's defaults.
    if let Some(name) = item.as_str() {
        name.clone_into(&mut topic.name);
        return topic;
    }
    let Some(fields) = item.as_hash() else {
        problems.push(format!("topics[{index}]: a name, or fields ({}) are expected", FIELDS.join(", ")));
        return topic;
    };
    let place = match scalar(&item["name"]) {
        Some(name) => {
            topic.name.clone_from(&name);
            name
        }
        None => {
            problems.push(format!("topics[{index}]: name is missing"));
            format!("topics[{index}]")
        }
    };
    for (key, value) in fields {
        // As the API spells it, or as other tools do.
        let key = key.as_str().unwrap_or_default();
        let mut wrong = |what: &str| problems.push(format!("{place}: {key} is {what}"));
        match key {
            "name" => {}
            "partitions" => match value.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0) {
                Some(count) => topic.partitions = Some(count),
                None => wrong("a number from 1 on"),
            },
            "replication_factor" | "replication-factor" | "replicationFactor" | "replicas" => {
                match value.as_i64().and_then(|n| i16::try_from(n).ok()).filter(|n| *n > 0) {
                    Some(factor) => topic.replication_factor = Some(factor),
                    None => wrong("a number from 1 on"),
                }
            }
            "configs" | "config" => match value {
                Yaml::Hash(configs) => {
                    for (name, value) in configs {
                        let name = scalar(name).unwrap_or_default();
                        match config_value(value) {
                            Some(value) => {
                                topic.configs.insert(name, value);
                            }
                            None => problems.push(format!("{place}: {name} is a text, a number or a list")),
                        }
                    }
                }
                Yaml::Null => {}
                _ => wrong("a list of KEY: VALUE"),
            },
            "state" => match value.as_str() {
                Some("present") => topic.is_absent = false,
                Some("absent") => topic.is_absent = true,
                _ => wrong("present or absent"),
            },
            other => problems.push(format!("{place}: {other} is no field; these are: {}", FIELDS.join(", "))),
        }
    }
    topic
}

/// A setting's value as Kafka writes it; the inner `None` is null.
fn config_value(value: &Yaml) -> Option<Option<String>> {
    match value {
        Yaml::Null => Some(None),
        Yaml::Array(list) => {
            list.iter().map(scalar).collect::<Option<Vec<_>>>().map(|list| Some(list.join(",")))
        }
        other => scalar(other).map(Some),
    }
}

fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_yaml_and_from_json() {
        let yaml = "
topics:
  - orders
  - name: payments
    partitions: 6
    replication_factor: 3
    configs:
      retention.ms: 604800000
      cleanup.policy: [compact, delete]
      preallocate: true
      segment.bytes: null
  - {name: old, state: absent}
";
        let topics = read(yaml).unwrap();
        assert_eq!(topics[0], Wanted { name: "orders".into(), ..Wanted::default() });
        assert_eq!((topics[1].partitions, topics[1].replication_factor), (Some(6), Some(3)));
        let configs: Vec<_> = topics[1].configs.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(
            configs,
            [
                ("cleanup.policy", Some("compact,delete")),
                ("preallocate", Some("true")),
                ("retention.ms", Some("604800000")),
                ("segment.bytes", None),
            ]
        );
        assert!(topics[2].is_absent);
        assert_eq!(read(r#"{"topics": [{"name": "orders"}]}"#).unwrap()[0].name, "orders");
    }

    #[test]
    fn everything_wrong_is_said_at_once_and_where() {
        let problems = read(
            "
brokers: 1
topics:
  - name: a
    partitons: 3
    replication_factor: none
  - partitions: 0
  - name: a
  - 3
",
        )
        .unwrap_err();
        assert_eq!(
            problems,
            [
                "brokers: no such field at the top; `topics:` is the only one",
                "a: partitons is no field; these are: name, partitions, replication_factor, configs, state",
                "a: replication_factor is a number from 1 on",
                "topics[1]: name is missing",
                "topics[1]: partitions is a number from 1 on",
                "topics[2]: a stands there twice",
                "topics[3]: a name, or fields (name, partitions, replication_factor, configs, state) are expected",
            ]
        );
        let broken = read("topics:\n  - name: [a\n").unwrap_err();
        assert!(broken[0].starts_with("line "), "{broken:?}");
    }
}
