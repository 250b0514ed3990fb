//! `kafka-configs`: describe and alter the settings of topics, brokers, groups and client metrics, and quotas.

mod quotas;
mod scram;

use std::io;

use super::java_order;
use super::options::{Argument, Options, Spec};
use super::tool::{Failure, ToolInfo, connect, unresolvable};
use crate::client::configs::{ConfigChange, ConfigEntry, ConfigSource, ResourceKind};
use crate::client::{Client, ClientError};
use crate::console::{Console, outln};
use crate::properties;

const TOOL: ToolInfo = ToolInfo {
    spec: Spec {
        options: &[
            ("add-config", Argument::Required),
            ("add-config-file", Argument::Required),
            ("all", Argument::No),
            ("alter", Argument::No),
            ("bootstrap-controller", Argument::Required),
            ("bootstrap-server", Argument::Required),
            ("broker", Argument::Required),
            ("broker-defaults", Argument::No),
            ("broker-logger", Argument::Required),
            ("client", Argument::Required),
            ("client-defaults", Argument::No),
            ("client-metrics", Argument::Required),
            ("command-config", Argument::Required),
            ("delete-config", Argument::Required),
            ("describe", Argument::No),
            ("entity-default", Argument::No),
            ("entity-name", Argument::Required),
            ("entity-type", Argument::Required),
            ("force", Argument::No),
            ("group", Argument::Required),
            ("help", Argument::No),
            ("ip", Argument::Required),
            ("ip-defaults", Argument::No),
            ("topic", Argument::Required),
            ("user", Argument::Required),
            ("user-defaults", Argument::No),
            ("version", Argument::No),
        ],
    },
    usage: include_str!("usage/kafka-configs.txt"),
    about: "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, \
            client-metrics or group",
};

/// Entity types by their names on the command line, with the short option and what Kafka calls one of them.
const ENTITIES: &[Entity] = &[
    Entity { plural: "topics", option: "topic", kind: Some(ResourceKind::Topic) },
    Entity { plural: "clients", option: "client", kind: None },
    Entity { plural: "users", option: "user", kind: None },
    Entity { plural: "brokers", option: "broker", kind: Some(ResourceKind::Broker) },
    Entity { plural: "ips", option: "ip", kind: None },
    Entity { plural: "client-metrics", option: "client-metrics", kind: Some(ResourceKind::ClientMetrics) },
    Entity { plural: "groups", option: "group", kind: Some(ResourceKind::Group) },
    Entity { plural: "broker-loggers", option: "broker-logger", kind: Some(ResourceKind::BrokerLogger) },
];

/// One type of thing with settings.
#[derive(Clone, Copy)]
struct Entity {
    plural: &'static str,
    option: &'static str,
    /// `None`: quotas, which are other requests.
    kind: Option<ResourceKind>,
}

impl Entity {
    /// `broker` of `brokers`; client-metrics have no singular in Kafka's texts either.
    fn singular(&self) -> &'static str {
        self.plural.strip_suffix('s').filter(|_| self.plural != "client-metrics").unwrap_or(self.plural)
    }
}

/// Which of them: all, the defaults of all, or one by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    Every,
    Default,
    Named(String),
}

pub(crate) fn main(arguments: &[String], console: &mut Console<'_>) -> io::Result<u8> {
    let result = match run(arguments, console) {
        Err(Failure::Client(error @ ClientError::Broker { .. })) => Err(Failure::Text(format!(
            "Error while executing config command with args '{}'\njava.util.concurrent.ExecutionException: {}",
            arguments.join(" "),
            error.java()
        ))),
        Err(Failure::Client(error)) => Err(Failure::Text(format!(
            "Error while executing config command with args '{}'\n{error}",
            arguments.join(" ")
        ))),
        Err(Failure::Unresolvable(made)) => Err(Failure::Text(format!(
            "Error while executing config command with args '{}'\norg.apache.kafka.common.KafkaException: {}",
            arguments.join(" "),
            unresolvable(made)
        ))),
        Err(Failure::Option(error)) => Err(Failure::Text(error.to_string())),
        other => other,
    };
    TOOL.finish(result, "", console)
}

fn text<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

fn run(arguments: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let options = TOOL.parse_some(arguments, console)?;
    if options.has("alter") == options.has("describe") {
        return Err(Failure::Usage("Command must include exactly one action: --describe, --alter".into()));
    }
    if options.has("bootstrap-controller") {
        return text("--bootstrap-controller is not supported yet: ask a broker by --bootstrap-server");
    }
    let found = entities(&options)?;
    let Some((entity, which)) = found.first().cloned() else {
        return text("At least one entity type must be specified");
    };
    let Some(kind) = entity.kind else { return run_quotas(&options, &found, console) };
    if options.has("alter") {
        if which == Which::Every {
            return text(format!("An entity name must be specified with --alter of {}", entity.plural));
        }
        let changes = changes(&options)?;
        let mut client = connect(&options, "adminclient-1")?;
        alter(&mut client, entity, kind, &which, &changes, console)
    } else {
        let mut client = connect(&options, "adminclient-1")?;
        describe(&mut client, entity, kind, &which, options.has("all"), console)
    }
}

fn run_quotas(
    options: &Options,
    found: &[(&'static Entity, Which)],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    quotas::check(found, options.has("alter"))?;
    if options.has("alter") {
        let changes = changes(options)?;
        let passwords = scram::changes(found, &changes, quotas::is_known)?;
        let mut client = connect(options, "adminclient-1")?;
        if let (Some(passwords), Some((_, Which::Named(user)))) = (passwords, found.first()) {
            return scram::alter(&mut client, user, &passwords, console);
        }
        return quotas::alter(&mut client, found, &changes, console);
    }
    let mut client = connect(options, "adminclient-1")?;
    quotas::describe(&mut client, found, console)?;
    scram::describe(&mut client, found, console)
}

/// What the line is about: one entity, or a user and a client.
fn entities(options: &Options) -> Result<Vec<(&'static Entity, Which)>, Failure> {
    let mut found = Vec::new();
    for entity in ENTITIES {
        if let Some(name) = options.one(entity.option)? {
            found.push((entity, Which::Named(name.to_owned())));
        }
    }
    for entity in ENTITIES {
        if options.has(&format!("{}-defaults", entity.option)) {
            found.push((entity, Which::Default));
        }
    }
    for given in options.all("entity-type") {
        let Some(entity) = ENTITIES.iter().find(|entity| entity.plural == given) else {
            let known: Vec<&str> = ENTITIES.iter().map(|entity| entity.plural).collect();
            return text(format!(
                "Invalid entity type {given}, the entity type must be one of {} with a --bootstrap-server or \
                 --bootstrap-controller argument",
                known.join(", ")
            ));
        };
        let which = match options.all("entity-name").get(found.len()) {
            Some(name) => Which::Named(name.clone()),
            None if options.has("entity-default") => Which::Default,
            None => Which::Every,
        };
        found.push((entity, which));
    }
    let is_client = |entity: &Entity| ["user", "client"].contains(&entity.option);
    if found.len() > 1 && !(found.len() == 2 && found.iter().all(|(entity, _)| is_client(entity))) {
        return text("Only 'users' and 'clients' entity types may be specified together");
    }
    match found.first() {
        None => text("At least one entity type must be specified"),
        Some((entity, Which::Named(name)))
            if entity.kind == Some(ResourceKind::Broker) && name.parse::<i32>().is_err() =>
        {
            text(format!(
                "The entity name for {} must be a valid integer broker id, but it is: {name}",
                entity.plural
            ))
        }
        Some(_) => Ok(found),
    }
}

fn changes(options: &Options) -> Result<Vec<ConfigChange>, Failure> {
    if !["add-config", "add-config-file", "delete-config"].iter().any(|option| options.has(option)) {
        return text(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        );
    }
    if options.has("add-config") && options.has("add-config-file") {
        return text("Only one of --add-config or --add-config-file must be specified");
    }
    let mut added = Vec::new();
    if let Some(list) = options.one("add-config")? {
        added = add_config(list)?;
    }
    if let Some(path) = options.one("add-config-file")? {
        let content =
            std::fs::read_to_string(path).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
        added = properties::parse(&content).map_err(|error| Failure::Text(format!("{path}: {error}")))?;
    }
    let deleted = options.one("delete-config")?.unwrap_or_default();
    let deleted = deleted.split(',').map(str::trim).filter(|key| !key.is_empty());
    let added = added.into_iter().map(|(key, value)| ConfigChange::Set(key, value));
    Ok(added.chain(deleted.map(|key| ConfigChange::Delete(key.to_owned()))).collect())
}

/// `k1=v1,k2=[v1,v2]`: brackets hold commas together.
fn add_config(list: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut items = vec![String::new()];
    let mut depth = 0i32;
    for c in list.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth <= 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items
        .iter()
        .map(|item| item.trim())
        .filter(|item| !item.is_empty())
        .map(|item| match item.split_once('=') {
            Some((key, value)) => {
                let value = value.trim();
                let value = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).unwrap_or(value);
                Ok((key.trim().to_owned(), value.to_owned()))
            }
            None => text(
                "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" \
                 or  \"key=[val1,val2]\" to group values which contain commas.",
            ),
        })
        .collect()
}

fn alter(
    client: &mut Client,
    entity: &Entity,
    kind: ResourceKind,
    which: &Which,
    changes: &[ConfigChange],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let name = match which {
        Which::Named(name) => name.as_str(),
        _ => "",
    };
    client.alter_configs(kind, name, changes)?;
    match which {
        Which::Named(name) => outln!(console, "Completed updating config for {} {name}.", entity.singular()),
        _ => outln!(console, "Completed updating default config for {} in the cluster.", entity.plural),
    }
    Ok(())
}

fn describe(
    client: &mut Client,
    entity: &Entity,
    kind: ResourceKind,
    which: &Which,
    all: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let names = match which {
        Which::Named(name) => vec![name.clone()],
        Which::Default => vec![String::new()],
        Which::Every => every(client, kind)?,
    };
    if let (ResourceKind::Topic, Which::Named(name)) = (kind, which)
        && client.list_topics()?.iter().all(|topic| topic.name != *name)
    {
        outln!(console, "The topic '{name}' doesn't exist and doesn't have dynamic config.");
        return Ok(());
    }
    for name in names {
        let described = client.describe_configs(kind, std::slice::from_ref(&name), true)?;
        let entries = described.into_values().next().unwrap_or_default();
        print(entity, kind, &name, entries, all, console)?;
    }
    Ok(())
}

/// The names of all of a kind; for brokers, their common defaults come last.
fn every(client: &mut Client, kind: ResourceKind) -> Result<Vec<String>, Failure> {
    match kind {
        ResourceKind::Topic => {
            let mut names: Vec<String> = client.list_topics()?.into_iter().map(|topic| topic.name).collect();
            java_order::sort(&mut names, java_order::DEFAULT_CAPACITY, |name| name);
            Ok(names)
        }
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            let deadline = client.deadline();
            client.metadata(Some(&[]), deadline)?;
            let mut names: Vec<String> = client.brokers().keys().map(ToString::to_string).collect();
            if kind == ResourceKind::Broker {
                names.push(String::new());
            }
            Ok(names)
        }
        ResourceKind::Group | ResourceKind::ClientMetrics => Ok(client.list_config_resources(kind)?),
    }
}

fn print(
    entity: &Entity,
    kind: ResourceKind,
    name: &str,
    mut entries: Vec<ConfigEntry>,
    all: bool,
    console: &mut Console<'_>,
) -> io::Result<()> {
    match (name.is_empty(), all) {
        (true, _) => outln!(console, "Default configs for {} in the cluster are:", entity.plural),
        (false, true) => outln!(console, "All configs for {} {name} are:", entity.singular()),
        (false, false) => outln!(console, "Dynamic configs for {} {name} are:", entity.singular()),
    }
    let dynamic = match kind {
        ResourceKind::Topic => ConfigSource::DynamicTopic,
        ResourceKind::Broker if name.is_empty() => ConfigSource::DynamicDefaultBroker,
        ResourceKind::Broker => ConfigSource::DynamicBroker,
        ResourceKind::BrokerLogger => ConfigSource::DynamicBrokerLogger,
        ResourceKind::ClientMetrics => ConfigSource::DynamicClientMetrics,
        ResourceKind::Group => ConfigSource::DynamicGroup,
    };
    // Every logger's level is dynamic in Kafka's eyes.
    entries.retain(|entry| all || kind == ResourceKind::BrokerLogger || entry.source == dynamic);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    for entry in &entries {
        let synonyms: Vec<String> = entry
            .synonyms
            .iter()
            .map(|(source, name, value)| format!("{}:{name}={}", source.name(), shown(value)))
            .collect();
        outln!(
            console,
            "  {}={} sensitive={} synonyms={{{}}}",
            entry.name,
            shown(&entry.value),
            entry.sensitive,
            synonyms.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_printed_as_apache_kafka_printed_them() {
        let entry = |name: &str, value: &str, source| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source,
            sensitive: false,
            synonyms: vec![(source, name.to_owned(), Some(value.to_owned()))],
        };
        let entries = vec![
            entry("min.insync.replicas", "1", ConfigSource::DynamicDefaultBroker),
            entry("retention.ms", "60000", ConfigSource::DynamicTopic),
        ];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(
            &ENTITIES[0],
            ResourceKind::Topic,
            "pageview",
            entries,
            false,
            &mut Console { out: &mut out, err: &mut err },
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), include_str!("../../tests/golden/conf_d2.out"));
    }

    #[test]
    fn brackets_hold_commas_together() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            add_config("retention.ms=1,cleanup.policy=[delete,compact], a = b").unwrap(),
            [pair("retention.ms", "1"), pair("cleanup.policy", "delete,compact"), pair("a", "b")]
        );
    }

    #[test]
    fn wrong_lines_are_refused_in_kafkas_words() {
        for (line, expected) in [
            ("--describe --alter --topic t", format!("Command must include exactly one action: --describe, --alter\n{}", TOOL.usage)),
            ("--alter --add-config a=b", "At least one entity type must be specified\n".to_owned()),
            (
                "--alter --topic t",
                "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter\n".to_owned(),
            ),
            (
                "--alter --topic t --add-config a",
                "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.\n".to_owned(),
            ),
            ("--alter --entity-type topics --add-config a=b", "An entity name must be specified with --alter of topics\n".to_owned()),
            (
                "--describe --entity-type foo",
                "Invalid entity type foo, the entity type must be one of topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers with a --bootstrap-server or --bootstrap-controller argument\n".to_owned(),
            ),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = main(&words, &mut Console { out: &mut out, err: &mut err }).unwrap();
            assert_eq!((code, out.len(), String::from_utf8(err).unwrap()), (1, 0, expected), "{line}");
        }
    }
}
