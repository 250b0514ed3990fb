//! The file of `moldau apply`: topics as they should be, in YAML or, which is YAML too, in JSON.
//!
//! Topics come as a list or by their names below `topics:`, as a bare list, or as the `KafkaTopic` resources of Strimzi, in one
//! document or several.

mod bounds;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

const FIELDS: [&str; 5] = ["name", "partitions", "replication_factor", "configs", "state"];
/// YAML's way to take fields over from elsewhere in the file.
const MERGE: &str = "<<";
const STRIMZI_KIND: &str = "KafkaTopic";

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
    bounds::check(text).map_err(|problem| vec![problem])?;
    let documents = YamlLoader::load_from_str(text)
        .map_err(|error| vec![format!("line {}: {}", error.marker().line(), error.info())])?;
    let mut reading = Reading::default();
    for document in &documents {
        match document {
            // Behind a last `---` there is nothing.
            Yaml::BadValue | Yaml::Null => {}
            Yaml::Array(list) => reading.list(list),
            Yaml::Hash(fields) if !document["kind"].is_badvalue() => reading.resource(document, fields),
            Yaml::Hash(fields) => reading.topics(document, fields),
            _ => reading.problems.push("a list `topics:` is expected at the top".to_owned()),
        }
    }
    if documents.iter().all(|document| document.is_badvalue() || document.is_null()) {
        reading.problems.push("a list `topics:` is expected at the top".to_owned());
    }
    reading.end()
}

/// What was read so far, and what is wrong with it.
#[derive(Default)]
struct Reading {
    topics: Vec<Wanted>,
    names: BTreeSet<String>,
    problems: Vec<String>,
}

impl Reading {
    fn end(self) -> Result<Vec<Wanted>, Vec<String>> {
        if self.problems.is_empty() { Ok(self.topics) } else { Err(self.problems) }
    }

    fn push(&mut self, topic: Wanted) {
        if !topic.name.is_empty() && !self.names.insert(topic.name.clone()) {
            self.problems.push(format!("topics[{}]: {} stands there twice", self.topics.len(), topic.name));
        }
        self.topics.push(topic);
    }

    /// A document with `topics:`.
    fn topics(&mut self, document: &Yaml, fields: &Hash) {
        // What begins with `x-` is the author's own: there go the things that are taken over by `<<`.
        let keys = fields.keys().filter_map(Yaml::as_str);
        for key in keys.filter(|key| *key != "topics" && !key.starts_with("x-")) {
            self.problems.push(format!("{key}: no such field at the top; `topics:` is the only one"));
        }
        match &document["topics"] {
            Yaml::Array(list) => self.list(list),
            Yaml::Hash(by_name) => {
                for (name, fields) in by_name {
                    self.named(name, fields);
                }
            }
            Yaml::Null | Yaml::BadValue => {}
            _ => self.problems.push("topics: a list is expected, or topics by their names".to_owned()),
        }
    }

    fn list(&mut self, list: &[Yaml]) {
        for item in list {
            let index = self.topics.len();
            let mut topic = Wanted::default();
            // A bare name is a topic with the cluster's defaults.
            if let Some(name) = item.as_str() {
                name.clone_into(&mut topic.name);
            } else if let Some(fields) = item.as_hash() {
                let fields = merged(fields);
                let place = match fields.get(&Yaml::String("name".to_owned())).and_then(scalar) {
                    Some(name) => {
                        topic.name.clone_from(&name);
                        name
                    }
                    None => {
                        self.problems.push(format!("topics[{index}]: name is missing"));
                        format!("topics[{index}]")
                    }
                };
                self.fields(&mut topic, &place, &fields);
            } else {
                let fields = FIELDS.join(", ");
                self.problems.push(format!("topics[{index}]: a name, or fields ({fields}) are expected"));
            }
            self.push(topic);
        }
    }

    /// `orders: {partitions: 3}`.
    fn named(&mut self, name: &Yaml, fields: &Yaml) {
        let index = self.topics.len();
        let mut topic = Wanted { name: scalar(name).unwrap_or_default(), ..Wanted::default() };
        if topic.name.is_empty() {
            self.problems.push(format!("topics[{index}]: a topic's name is expected"));
        }
        match fields {
            Yaml::Null => {}
            Yaml::Hash(fields) => {
                let (fields, place) = (merged(fields), topic.name.clone());
                let inner = fields.get(&Yaml::String("name".to_owned())).and_then(scalar);
                if inner.is_some_and(|inner| inner != place) {
                    self.problems.push(format!("{place}: name is another one"));
                }
                self.fields(&mut topic, &place, &fields);
            }
            _ => self.problems.push(format!("{}: fields ({}) are expected", topic.name, FIELDS.join(", "))),
        }
        self.push(topic);
    }

    /// A resource of Kubernetes, as Strimzi's users have their topics.
    fn resource(&mut self, document: &Yaml, fields: &Hash) {
        let kind = document["kind"].as_str().unwrap_or_default();
        if kind != STRIMZI_KIND {
            self.problems.push(format!("kind: {kind} is none that is applied here; {STRIMZI_KIND} is"));
            return;
        }
        let keys = fields.keys().filter_map(Yaml::as_str);
        for key in keys.filter(|key| !["apiVersion", "kind", "metadata", "spec", "status"].contains(key)) {
            self.problems.push(format!("{key}: no such field of a {STRIMZI_KIND}"));
        }
        let named = [&document["spec"]["topicName"], &document["metadata"]["name"]];
        let mut topic = Wanted::default();
        match named.into_iter().find_map(scalar) {
            Some(name) => topic.name = name,
            None => self.problems.push(format!("a {STRIMZI_KIND} without a name in its metadata")),
        }
        let place = topic.name.clone();
        match &document["spec"] {
            Yaml::Hash(spec) => {
                let mut spec = merged(spec).into_owned();
                spec.remove(&Yaml::String("topicName".to_owned()));
                self.fields(&mut topic, &place, &spec);
            }
            Yaml::Null | Yaml::BadValue => {}
            _ => self.problems.push(format!("{place}: spec has fields")),
        }
        self.push(topic);
    }

    fn fields(&mut self, topic: &mut Wanted, place: &str, fields: &Hash) {
        let problems = &mut self.problems;
        for (key, value) in fields {
            // As the API spells it, or as other tools do.
            let key = key.as_str().unwrap_or_default();
            let mut wrong = |what: &str| problems.push(format!("{place}: {key} is {what}"));
            match key {
                "name" => {}
                "partitions" => match number(value).and_then(|n| i32::try_from(n).ok()) {
                    Some(count) => topic.partitions = Some(count),
                    None => wrong("a number from 1 on"),
                },
                "replication_factor" | "replication-factor" | "replicationFactor" | "replicas" => {
                    match number(value).and_then(|n| i16::try_from(n).ok()) {
                        Some(factor) => topic.replication_factor = Some(factor),
                        None => wrong("a number from 1 on"),
                    }
                }
                "configs" | "config" => match value {
                    Yaml::Hash(configs) => settings(topic, place, "", configs, problems),
                    Yaml::Null => {}
                    _ => wrong("a list of KEY: VALUE"),
                },
                "state" => match value.as_str() {
                    Some("present") => topic.is_absent = false,
                    Some("absent") => topic.is_absent = true,
                    _ => wrong("present or absent"),
                },
                setting if setting.contains('.') => {
                    problems.push(format!("{place}: {setting} is a setting, which stands below `configs:`"));
                }
                other => {
                    problems.push(format!("{place}: {other} is no field; these are: {}", FIELDS.join(", ")));
                }
            }
        }
    }
}

/// Settings, also nested ones: `retention: {ms: 1}` is `retention.ms`.
fn settings(topic: &mut Wanted, place: &str, before: &str, configs: &Hash, problems: &mut Vec<String>) {
    for (name, value) in merged(configs).iter() {
        let name = format!("{before}{}", scalar(name).unwrap_or_default());
        match value {
            Yaml::Hash(inner) if !inner.is_empty() => {
                settings(topic, place, &format!("{name}."), inner, problems);
            }
            other => match config_value(other) {
                Some(value) => {
                    if topic.configs.insert(name.clone(), value).is_some() {
                        problems.push(format!("{place}: {name} stands there twice"));
                    }
                }
                None => problems.push(format!("{place}: {name} is a text, a number or a list")),
            },
        }
    }
}

/// The fields together with those that are taken over by `<<`, which the own ones go before.
fn merged(fields: &Hash) -> Cow<'_, Hash> {
    let Some(others) = fields.get(&Yaml::String(MERGE.to_owned())) else { return Cow::Borrowed(fields) };
    let others = match others {
        Yaml::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut all = Hash::new();
    // Of several the first one counts.
    for other in others.iter().rev().filter_map(Yaml::as_hash) {
        all.extend(merged(other).iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    let own = fields.iter().filter(|(key, _)| key.as_str() != Some(MERGE));
    all.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    Cow::Owned(all)
}

/// A number from 1 on, in quotes or not.
fn number(value: &Yaml) -> Option<i64> {
    let number = match value {
        Yaml::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    number.filter(|number| *number > 0)
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

    #[test]
    fn files_as_people_have_them_are_read() {
        let orders = Wanted {
            name: "orders".into(),
            partitions: Some(3),
            replication_factor: Some(2),
            configs: [("retention.ms", "1000"), ("cleanup.policy", "delete")]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
                .collect(),
            ..Wanted::default()
        };
        let by_name = "
topics:
  orders:
    partitions: 3
    replication_factor: \"2\"
    configs:
      retention:
        ms: 1000
      cleanup.policy: delete
";
        let taken_over = "
x-usual: &usual
  partitions: 12
  replication_factor: 2
  configs: {retention.ms: 1000, cleanup.policy: delete}
topics:
  - <<: *usual
    name: orders
    partitions: 3
";
        let bare = "- {name: orders, partitions: 3, replicas: 2, config: {retention.ms: 1000, cleanup.policy: delete}}";
        let strimzi = "
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: orders-resource
  labels: {strimzi.io/cluster: my-cluster}
spec:
  topicName: orders
  partitions: 3
  replicas: 2
  config:
    retention.ms: 1000
    cleanup.policy: delete
---
";
        for text in [by_name, taken_over, bare, strimzi] {
            assert_eq!(read(text), Ok(vec![orders.clone()]), "{text}");
        }
        let two = format!("{strimzi}topics:\n  payments:\n");
        assert_eq!(read(&two).unwrap()[1], Wanted { name: "payments".into(), ..Wanted::default() });
    }

    #[test]
    fn what_a_file_cannot_mean_is_said() {
        for (text, problem) in [
            ("", "a list `topics:` is expected at the top"),
            ("orders", "a list `topics:` is expected at the top"),
            ("topics: 3", "topics: a list is expected, or topics by their names"),
            (
                "topics: {a: 3}",
                "a: fields (name, partitions, replication_factor, configs, state) are expected",
            ),
            ("topics: {a: {name: b}}", "a: name is another one"),
            (
                "topics: [{name: a, retention.ms: 1}]",
                "a: retention.ms is a setting, which stands below `configs:`",
            ),
            ("topics: [{name: a, configs: {retention: {}}}]", "a: retention is a text, a number or a list"),
            ("topics: [{name: a, configs: {b.c: 1, b: {c: 2}}}]", "a: b.c stands there twice"),
            ("kind: KafkaUser", "kind: KafkaUser is none that is applied here; KafkaTopic is"),
            ("kind: KafkaTopic", "a KafkaTopic without a name in its metadata"),
            ("topics: [a]\n---\ntopics: [a]", "topics[1]: a stands there twice"),
        ] {
            assert_eq!(read(text), Err(vec![problem.to_owned()]), "{text}");
        }
    }
}
