//! `moldau config`: what a setting means, and which ones are not at their defaults.

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;
use moldau_metadata::config::definitions::{self, ConfigDefinition};
use moldau_metadata::config::{
    DEVIATIONS, DefaultValue, Effect, UpdateMode, ValidValues, broker_effect, broker_synonyms,
    client_metrics_effect, group_broker_synonym, group_effect, is_heard_at_run_time, nearest_name,
    topic_broker_synonym, topic_effect,
};
use serde_json::{Value, json};

use super::{Common, Failure, table};
use crate::client::Client;
use crate::client::configs::{ConfigEntry, ConfigSource, ResourceKind};
use crate::console::{Console, outln};

const SUGGESTIONS_MAX: usize = 5;
/// Settings in which the nodes of one cluster differ because they are different nodes.
const OF_EACH_NODE: &[&str] = &[
    "advertised.listeners",
    "broker.id",
    "broker.rack",
    "http.listener",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
];

#[derive(Subcommand)]
pub(super) enum Verb {
    /// What a setting means, its default, its values, and whether it can change at run time
    Explain { key: String },
    /// The settings of the brokers that are not at their defaults
    Diff {
        /// Only those in which the brokers differ from one another
        #[arg(long)]
        between: bool,
        /// With those that are each node's own, as node.id is
        #[arg(long)]
        all: bool,
    },
}

pub(super) fn run(common: &Common, verb: &Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    match verb {
        Verb::Explain { key } => explain(common, key, console),
        Verb::Diff { between, all } => diff(common, &mut common.client("moldau")?, *between, *all, console),
    }
}

/// A setting in one of the places where it can be set.
struct Explained {
    of: &'static str,
    definition: &'static ConfigDefinition,
    effect: Effect,
    changes: String,
    /// The setting whose value holds where this one is not set.
    falls_back_to: Option<&'static str>,
}

/// The setting's meanings: a name may be a topic's and a group's, say.
fn meanings(key: &str) -> Vec<Explained> {
    let at_once = || "at run time, at once".to_owned();
    let mut found = Vec::new();
    if let Some(definition) = definitions::topic_definition(key) {
        found.push(Explained {
            of: "topics",
            definition,
            effect: topic_effect(key),
            changes: at_once(),
            falls_back_to: topic_broker_synonym(key),
        });
    }
    let broker = definitions::broker_definition(key).or_else(|| definitions::dynamic_broker_definition(key));
    if let Some(definition) = broker {
        let changes = match definition.update_mode {
            UpdateMode::ReadOnly => "by a restart".to_owned(),
            mode => {
                let of =
                    if mode == UpdateMode::PerBroker { "for one broker" } else { "for one broker or all" };
                let then = if is_heard_at_run_time(key) { "at once" } else { "with effect after a restart" };
                format!("at run time {of}, {then}")
            }
        };
        found.push(Explained {
            of: "brokers and controllers",
            definition,
            effect: broker_effect(key),
            changes,
            falls_back_to: None,
        });
    }
    if let Some(definition) = definitions::group_definition(key) {
        found.push(Explained {
            of: "groups",
            definition,
            effect: group_effect(key),
            changes: at_once(),
            falls_back_to: group_broker_synonym(key),
        });
    }
    if let Some(definition) = definitions::client_metrics_definition(key) {
        found.push(Explained {
            of: "client metrics subscriptions",
            definition,
            effect: client_metrics_effect(),
            changes: at_once(),
            falls_back_to: None,
        });
    }
    found
}

/// Which settings may be meant: the one that is written nearly so, or those that have this word.
fn suggestions(key: &str) -> String {
    if let Some(name) = nearest_name(key) {
        return name.to_owned();
    }
    let of_topics = definitions::TOPIC.iter().chain(definitions::GROUP.iter());
    let names = of_topics.chain(definitions::broker()).map(|definition| definition.name);
    let has_word = |name: &&str| format!(".{name}.").contains(&format!(".{key}."));
    let mut found: Vec<&str> = names.filter(has_word).collect();
    found.sort_unstable_by_key(|name| (!name.starts_with(key), name.len(), *name));
    found.dedup();
    found.truncate(SUGGESTIONS_MAX);
    match found.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => found.concat(),
    }
}

fn explain(common: &Common, key: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    // As a variable of the environment, too.
    let variable = ["KAFKA_", "MOLDAU_"].iter().find_map(|prefix| key.strip_prefix(prefix));
    let key = variable.map_or_else(|| key.to_owned(), crate::start::environment::key_of);
    let found = meanings(&key);
    if found.is_empty() {
        let nearest = suggestions(&key);
        let nearest = if nearest.is_empty() { nearest } else { format!("; did you mean {nearest}?") };
        return Err(Failure::Text(format!("{key}: no such setting{nearest}")));
    }
    if common.is_json() {
        let list: Vec<Value> = found.iter().map(|meaning| as_json(&key, meaning)).collect();
        return Ok(super::json(&Value::Array(list), console)?);
    }
    for (index, meaning) in found.iter().enumerate() {
        if index > 0 {
            outln!(console);
        }
        let definition = meaning.definition;
        outln!(console, "{key}, a setting of {}", meaning.of);
        outln!(console, "  {}\n", definition.doc);
        outln!(console, "  type      {}", definition.config_type.name().to_ascii_lowercase());
        outln!(console, "  default   {}", default_text(definition, meaning.falls_back_to));
        if let Some(values) = values_text(definition.valid) {
            outln!(console, "  values    {values}");
        }
        outln!(console, "  changes   {}", meaning.changes);
        outln!(console, "  here      {}", effect_text(meaning.effect));
        if meaning.of == "brokers and controllers" {
            let others: Vec<&str> = broker_synonyms(&key).into_iter().filter(|name| *name != key).collect();
            if !others.is_empty() {
                outln!(
                    console,
                    "  see also  {} (the strongest first: {})",
                    others.join(", "),
                    broker_synonyms(&key).join(" > ")
                );
            }
            outln!(console, "  as        {}", variable_of(&key));
        }
    }
    Ok(())
}

fn as_json(key: &str, meaning: &Explained) -> Value {
    let definition = meaning.definition;
    json!({"key": key, "of": meaning.of, "meaning": definition.doc,
        "type": definition.config_type.name().to_ascii_lowercase(), "default": own_default(definition),
        "falls_back_to": meaning.falls_back_to, "values": values_text(definition.valid),
        "changes": meaning.changes, "here": effect_text(meaning.effect)})
}

/// The default that holds here, where it is not Kafka's.
fn own_default(definition: &ConfigDefinition) -> Option<&'static str> {
    let ours = DEVIATIONS.iter().find(|deviation| deviation.name == definition.name);
    ours.map(|ours| ours.value).or(definition.default.text())
}

fn default_text(definition: &ConfigDefinition, falls_back_to: Option<&str>) -> String {
    let kafkas = match definition.default {
        DefaultValue::Required => "none, it has to be set".to_owned(),
        DefaultValue::Null => "none".to_owned(),
        DefaultValue::Value("") => "empty".to_owned(),
        DefaultValue::Value(text) => text.to_owned(),
    };
    let ours = DEVIATIONS.iter().find(|deviation| deviation.name == definition.name);
    let text = ours.map_or_else(|| kafkas.clone(), |ours| format!("{} (Kafka: {kafkas})", ours.value));
    match falls_back_to {
        Some(broker) => format!("{text}, or the brokers' {broker}"),
        None => text,
    }
}

fn values_text(valid: ValidValues) -> Option<String> {
    Some(match valid {
        ValidValues::Any => return None,
        ValidValues::AtLeast(least) => format!("{least} or more"),
        ValidValues::Between(least, most) => format!("{least} to {most}"),
        ValidValues::Fraction(least, most) => format!("{least} to {most}"),
        ValidValues::GzipLevel => "1 to 9, or -1".to_owned(),
        ValidValues::OneOf(names) => names.join(", "),
        ValidValues::OneOfIgnoringCase(names) => format!("{}, in any case", names.join(", ")),
        ValidValues::ListOf(names) => format!("a list of {}, or empty", names.join(", ")),
        ValidValues::NonEmptyListOf(names) => format!("a list of {}", names.join(", ")),
        ValidValues::DistinctList => "a list, nothing in it twice".to_owned(),
        ValidValues::NonEmptyDistinctList => "a list, nothing in it twice, and not empty".to_owned(),
        ValidValues::NonEmptyString => "not empty".to_owned(),
        ValidValues::ThrottledReplicas => "* or a list of partition:broker".to_owned(),
        ValidValues::OffsetReset => "earliest, latest, or by_duration:P1D".to_owned(),
        ValidValues::QuorumVoters => "a list of id@host:port".to_owned(),
        ValidValues::BootstrapServers => "a list of host:port".to_owned(),
    })
}

fn effect_text(effect: Effect) -> String {
    match effect {
        Effect::Honoured => "honoured".to_owned(),
        Effect::WithoutEffect(why) => format!("without effect: {why}"),
        Effect::RefusedInPart(what) => format!("honoured, but refused: {what}"),
        Effect::Refused(why) => format!("refused at the start: {why}"),
    }
}

/// `log.dirs` is `KAFKA_LOG_DIRS`.
fn variable_of(key: &str) -> String {
    let name: String = key
        .chars()
        .map(|c| match c {
            '.' => "_".to_owned(),
            '_' => "__".to_owned(),
            '-' => "___".to_owned(),
            other => other.to_ascii_uppercase().to_string(),
        })
        .collect();
    format!("KAFKA_{name} in the environment, --override {key}=VALUE, or a line of the file")
}

/// What one setting is on each broker.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    default: Option<String>,
    /// Value and source by broker; a broker that has the default stands there with it, where another has not.
    values: BTreeMap<i32, (Option<String>, &'static str)>,
}

/// The settings that differ from their defaults, or between brokers.
fn rows(by_broker: &BTreeMap<i32, Vec<ConfigEntry>>, between: bool, all: bool) -> BTreeMap<String, Row> {
    let default = |entry: &ConfigEntry| {
        let default = entry.synonyms.iter().find(|(source, _, _)| *source == ConfigSource::Default);
        default.and_then(|(_, _, value)| value.clone())
    };
    // What was set to the value that it has anyway does not differ.
    let is_set =
        |entry: &&ConfigEntry| !entry.is_default() && (entry.sensitive || entry.value != default(entry));
    let set: BTreeSet<&str> = by_broker.values().flatten().filter(is_set).map(|e| e.name.as_str()).collect();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (broker, entries) in by_broker {
        for entry in entries.iter().filter(|entry| set.contains(entry.name.as_str())) {
            let row = rows.entry(entry.name.clone()).or_default();
            row.default = row.default.take().or_else(|| default(entry));
            let value = if entry.sensitive { Some("(secret)".to_owned()) } else { entry.value.clone() };
            row.values.insert(*broker, (value, source_text(entry.source)));
        }
    }
    rows.retain(|name, row| {
        let is_own = OF_EACH_NODE.contains(&name.as_str());
        let mut values = by_broker.keys().map(|id| row.values.get(id).map(|(value, _)| value));
        let first = values.next();
        let differs = values.any(|value| Some(value) != first);
        (all || !is_own) && (!between || differs)
    });
    rows
}

fn source_text(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::StaticBroker => "start",
        ConfigSource::DynamicBroker => "changed for this broker",
        ConfigSource::DynamicDefaultBroker => "changed for all",
        ConfigSource::Default => "default",
        other => other.name(),
    }
}

fn diff(
    common: &Common,
    client: &mut Client,
    between: bool,
    all: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let deadline = client.deadline();
    client.metadata(Some(&[]), deadline)?;
    let ids: Vec<i32> = client.brokers().keys().copied().collect();
    let mut by_broker = BTreeMap::new();
    for id in &ids {
        let described = client.describe_configs(ResourceKind::Broker, &[id.to_string()], true)?;
        by_broker.insert(*id, described.into_values().flatten().collect());
    }
    let rows = rows(&by_broker, between, all);
    if common.is_json() {
        let list = rows.iter().map(|(name, row)| {
            let values = row
                .values
                .iter()
                .map(|(id, (value, source))| (id.to_string(), json!({"value": value, "source": source})));
            (name.clone(), json!({"default": row.default, "brokers": Value::Object(values.collect())}))
        });
        return Ok(super::json(&Value::Object(list.collect()), console)?);
    }
    if rows.is_empty() {
        let text = if between { "the brokers do not differ" } else { "every setting is at its default" };
        outln!(console, "{text}");
        return Ok(());
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut lines = Vec::new();
    for (name, row) in &rows {
        let mut kinds: Vec<(&(Option<String>, &str), Vec<i32>)> = Vec::new();
        for (id, value) in &row.values {
            match kinds.iter_mut().find(|(known, _)| *known == value) {
                Some((_, brokers)) => brokers.push(*id),
                None => kinds.push((value, vec![*id])),
            }
        }
        for ((value, source), brokers) in kinds {
            let brokers = if brokers.len() == ids.len() { "all".to_owned() } else { super::join(&brokers) };
            lines.push(vec![name.clone(), text(&row.default), brokers, text(value), (*source).to_owned()]);
        }
    }
    Ok(table(&["SETTING", "DEFAULT", "BROKERS", "VALUE", "SET BY"], &lines, console)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(key: &str) -> Result<String, Failure> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let common = Common::for_tests();
        explain(&common, key, &mut Console { out: &mut out, err: &mut err })?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_setting_can_be_explained() {
        for definition in
            definitions::broker().chain(definitions::TOPIC.iter()).chain(definitions::GROUP.iter())
        {
            let text = explained(definition.name).unwrap();
            assert!(text.contains(definition.doc), "{}", definition.name);
        }
    }

    #[test]
    fn a_setting_of_topics_says_where_its_default_comes_from() {
        let text = explained("retention.ms").unwrap();
        assert!(text.starts_with("retention.ms, a setting of topics\n"), "{text}");
        assert!(text.contains("or the brokers' log.retention.ms"), "{text}");
    }

    #[test]
    fn a_variable_of_the_environment_is_its_setting() {
        let text = explained("KAFKA_NUM_PARTITIONS").unwrap();
        assert!(text.starts_with("num.partitions, a setting of brokers"), "{text}");
        assert!(text.contains("KAFKA_NUM_PARTITIONS in the environment"), "{text}");
    }

    #[test]
    fn a_name_that_is_none_gets_the_nearest() {
        let Err(Failure::Text(text)) = explained("num.partition") else { panic!("it was explained") };
        assert_eq!(text, "num.partition: no such setting; did you mean num.partitions?");
        let Err(Failure::Text(text)) = explained("retention") else { panic!("it was explained") };
        assert!(
            text.starts_with("retention: no such setting; did you mean retention.ms, retention.bytes, "),
            "{text}"
        );
        let Err(Failure::Text(text)) = explained("frobnicate") else { panic!("it was explained") };
        assert_eq!(text, "frobnicate: no such setting");
    }

    fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
        let synonyms = vec![(ConfigSource::Default, name.to_owned(), Some("1".to_owned()))];
        ConfigEntry {
            name: name.into(),
            value: Some(value.into()),
            source,
            synonyms,
            ..ConfigEntry::default()
        }
    }

    #[test]
    fn what_differs_from_the_default_or_between_brokers_is_shown() {
        use ConfigSource::{Default, StaticBroker};
        let by_broker = BTreeMap::from([
            (
                1,
                vec![
                    entry("a", "2", StaticBroker),
                    entry("b", "2", StaticBroker),
                    entry("c", "1", Default),
                    entry("node.id", "1", StaticBroker),
                ],
            ),
            (
                2,
                vec![
                    entry("a", "2", StaticBroker),
                    entry("b", "1", Default),
                    entry("c", "1", Default),
                    entry("node.id", "2", StaticBroker),
                ],
            ),
        ]);
        let names = |between, all| rows(&by_broker, between, all).into_keys().collect::<Vec<_>>();
        assert_eq!(names(false, false), ["a", "b"]);
        assert_eq!(names(true, false), ["b"]);
        assert_eq!(names(true, true), ["b", "node.id"]);
        let rows = rows(&by_broker, false, false);
        assert_eq!(rows["b"].values[&2], (Some("1".to_owned()), "default"));
        assert_eq!(rows["b"].default.as_deref(), Some("1"));
    }
}
