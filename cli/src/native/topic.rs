//! `moldau topic`.

use clap::Subcommand;
use moldau_model::ErrorCode;
use serde_json::{Value, json};

use super::{Common, Failure, join, table};
use crate::client::ClientError;
use crate::client::configs::{ConfigChange, ResourceKind};
use crate::client::topics::{NewTopic, TopicDescription};
use crate::console::{Console, outln};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// List the topics
    List {
        /// Kafka's own topics too
        #[arg(long)]
        internal: bool,
    },
    /// Create a topic
    Create {
        name: String,
        /// How many partitions; default: the cluster's
        #[arg(short, long)]
        partitions: Option<i32>,
        /// How many replicas each; default: the cluster's
        #[arg(short, long)]
        replication_factor: Option<i16>,
        /// A setting of the topic
        #[arg(short, long, value_name = "KEY=VALUE")]
        config: Vec<String>,
        /// No error if it exists
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Show a topic's partitions and settings
    Describe { name: String },
    /// Add partitions, set or remove settings
    Alter {
        name: String,
        /// The new number of partitions; it can only grow
        #[arg(short, long)]
        partitions: Option<i32>,
        /// Set a setting
        #[arg(short, long, value_name = "KEY=VALUE")]
        config: Vec<String>,
        /// Set a setting back to its default
        #[arg(long, value_name = "KEY")]
        delete_config: Vec<String>,
    },
    /// Make topics as a file says they should be; the same as `moldau apply`
    Apply(super::apply::Arguments),
    /// Delete topics with all their records
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) fn run(common: &Common, verb: Verb, console: &mut Console<'_>) -> Result<(), Failure> {
    if let Verb::Apply(arguments) = &verb {
        return super::apply::run(common, arguments, console);
    }
    let mut client = common.client("moldau")?;
    match verb {
        Verb::List { internal } => {
            let mut topics = client.list_topics()?;
            topics.retain(|topic| internal || !topic.internal);
            if common.is_json() {
                let list: Vec<Value> = topics
                    .iter()
                    .map(|t| json!({"name": t.name, "topic_id": t.topic_id.to_string(), "internal": t.internal}))
                    .collect();
                return Ok(super::json(&Value::Array(list), console)?);
            }
            for topic in topics {
                outln!(console, "{}", topic.name);
            }
            Ok(())
        }
        Verb::Create { name, partitions, replication_factor, config, if_not_exists } => {
            let topic = NewTopic {
                name: name.clone(),
                partitions,
                replication_factor,
                assignments: None,
                configs: config.iter().map(|text| key_value(text)).collect::<Result<_, _>>()?,
            };
            match client.create_topic(&topic, false) {
                Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
                result => result?,
            }
            done(common, &format!("created topic {name}"), json!({"created": name}), console)
        }
        Verb::Describe { name } => describe(common, &mut client, &name, console),
        Verb::Alter { name, partitions, config, delete_config } => {
            if partitions.is_none() && config.is_empty() && delete_config.is_empty() {
                return Err(Failure::Text(
                    "nothing to alter: give --partitions, --config or --delete-config".into(),
                ));
            }
            let missing = |error| name_missing(error, std::slice::from_ref(&name));
            if let Some(count) = partitions {
                client.create_partitions(&[(name.clone(), None)], count).map_err(missing)?;
            }
            let mut changes = Vec::new();
            for text in &config {
                let (key, value) = key_value(text)?;
                changes.push(ConfigChange::Set(key, value));
            }
            changes.extend(delete_config.into_iter().map(ConfigChange::Delete));
            if !changes.is_empty() {
                client.alter_configs(ResourceKind::Topic, &name, &changes).map_err(missing)?;
            }
            done(common, &format!("altered topic {name}"), json!({"altered": name}), console)
        }
        Verb::Apply(_) => Ok(()),
        Verb::Delete { names } => {
            // Of one, it is known which is not there; of several, those are deleted that are.
            let known = if names.len() > 1 { Some(client.list_topics()?) } else { None };
            client.delete_topics(&names).map_err(|error| match known {
                Some(topics) => {
                    let is_there = |name: &String| topics.iter().any(|topic| topic.name == *name);
                    name_missing(
                        error,
                        &names.iter().filter(|name| !is_there(name)).cloned().collect::<Vec<_>>(),
                    )
                }
                None => name_missing(error, &names),
            })?;
            done(common, &format!("deleted {}", names.join(", ")), json!({"deleted": names}), console)
        }
    }
}

/// The error with the names that it is about, where it is that there are no such topics.
fn name_missing(error: ClientError, missing: &[String]) -> ClientError {
    match error.code() {
        Some(code @ ErrorCode::UnknownTopicOrPartition) if !missing.is_empty() => {
            ClientError::broker(code.code(), Some(&format!("there is no topic {}", missing.join(", "))))
        }
        _ => error,
    }
}

fn key_value(text: &str) -> Result<(String, String), Failure> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| Failure::Text(format!("{text} is not KEY=VALUE")))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn done(
    common: &Common,
    text: &str,
    value: Value,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if common.is_json() {
        return Ok(super::json(&value, console)?);
    }
    outln!(console, "{text}");
    Ok(())
}

fn describe(
    common: &Common,
    client: &mut crate::client::Client,
    name: &str,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let names = [name.to_owned()];
    let missing = |error| name_missing(error, &names);
    let topics = client.describe_topics(&names, None).map_err(missing)?;
    let configs = client.describe_configs(ResourceKind::Topic, &names, false)?;
    let Some(topic) = topics.first() else { return Ok(()) };
    let mut set: Vec<(&str, &str)> = configs
        .values()
        .flatten()
        .filter(|entry| !entry.is_default())
        .map(|entry| (entry.name.as_str(), entry.value.as_deref().unwrap_or("(secret)")))
        .collect();
    set.sort_unstable();
    if common.is_json() {
        return Ok(super::json(&as_json(topic, &set), console)?);
    }
    outln!(console, "topic     {}", topic.name);
    outln!(console, "id        {}", topic.topic_id);
    for (key, value) in &set {
        outln!(console, "setting   {key}={value}");
    }
    outln!(console);
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|p| {
            let leader = p.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
            vec![p.partition.to_string(), leader, p.leader_epoch.to_string(), join(&p.replicas), join(&p.isr)]
        })
        .collect();
    Ok(table(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR"], &rows, console)?)
}

fn as_json(topic: &TopicDescription, set: &[(&str, &str)]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|p| {
            json!({"partition": p.partition, "leader": p.leader, "leader_epoch": p.leader_epoch,
                "replicas": p.replicas, "isr": p.isr})
        })
        .collect();
    let configs: serde_json::Map<String, Value> =
        set.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    json!({"name": topic.name, "topic_id": topic.topic_id.to_string(), "configs": configs, "partitions": partitions})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_there_is_named() {
        let unknown = || ClientError::broker(ErrorCode::UnknownTopicOrPartition.code(), None);
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(name_missing(unknown(), &names[..1]).to_string(), "there is no topic a");
        assert_eq!(name_missing(unknown(), &names).to_string(), "there is no topic a, b");
        let other = ClientError::broker(ErrorCode::TopicAlreadyExists.code(), Some("it is there"));
        assert_eq!(name_missing(other, &names).to_string(), "it is there");
    }
}
