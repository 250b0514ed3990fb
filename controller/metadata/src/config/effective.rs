//! Which value is in force, where it comes from, and what stands behind it: the answers of DescribeConfigs.
//!
//! A broker setting is looked for among the broker's own dynamic ones, the dynamic ones of all brokers, the static ones it
//! was started with, and the defaults, in this order. A topic setting is looked for on the topic first, then as the
//! broker setting of the same meaning.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::{self, ConfigDefinition, ConfigType};
use super::synonyms::{self, broker_synonyms, group_broker_synonym, topic_broker_synonym};
use super::topic_config::TopicConfig;
use crate::ResourceConfigs;

/// Where a value comes from; Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

impl ConfigSource {
    /// Kafka's number of the source.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// One place a value was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// Nothing for a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    pub name: String,
    /// Nothing for a secret, and where there is none.
    pub value: Option<String>,
    pub read_only: bool,
    pub source: ConfigSource,
    pub is_sensitive: bool,
    /// The strongest first; the first is the one in force.
    pub synonyms: Vec<Synonym>,
    /// Nothing for a name that is not known.
    pub config_type: Option<ConfigType>,
    pub doc: Option<&'static str>,
}

/// All that is set for one broker, apart from the defaults.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSettings<'a> {
    /// What the broker was started with.
    pub statics: &'a BTreeMap<String, String>,
    /// What was set for this broker while it ran.
    pub of_this_broker: Option<&'a ResourceConfigs>,
    /// What was set for all brokers while they ran.
    pub of_all_brokers: Option<&'a ResourceConfigs>,
}

fn dynamic<'a>(configs: Option<&'a ResourceConfigs>, name: &str) -> Option<&'a str> {
    configs.and_then(|configs| configs.get(name)).map(|value| &**value)
}

impl<'a> BrokerSettings<'a> {
    /// The settings of a broker that was started with these and never changed.
    #[must_use]
    pub const fn of_statics(statics: &'a BTreeMap<String, String>) -> Self {
        Self { statics, of_this_broker: None, of_all_brokers: None }
    }

    /// The value of a setting that was set by somebody, without the defaults.
    #[must_use]
    pub fn set_value(&self, name: &str) -> Option<&'a str> {
        dynamic(self.of_this_broker, name)
            .or_else(|| dynamic(self.of_all_brokers, name))
            .or_else(|| self.statics.get(name).map(String::as_str))
    }

    /// The value in force under exactly this name; nothing where the default is null.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.set_value(name).or_else(|| default_text(name))
    }

    /// The typed settings of a topic that sets these itself.
    #[must_use]
    pub fn topic_config(&self, topic: Option<&ResourceConfigs>) -> TopicConfig {
        let values = effective_topic_values(topic, self);
        TopicConfig::from_values(|name| values.get(name).map(String::as_str))
    }

    /// Everywhere a setting's value is found, the strongest first. A stronger name of another unit hides nothing here:
    /// Kafka lists from the asked name on.
    fn synonyms(&self, asked: &str, names: &[&str], is_sensitive: bool) -> Vec<Synonym> {
        let mut found = Vec::new();
        let mut add = |source: ConfigSource, value_of: &dyn Fn(&str) -> Option<&'a str>| {
            for name in names {
                if let Some(value) = value_of(name) {
                    let value = (!is_sensitive).then(|| value.to_owned());
                    found.push(Synonym { name: (*name).to_owned(), value, source });
                }
            }
        };
        add(ConfigSource::DynamicBroker, &|name| dynamic(self.of_this_broker, name));
        add(ConfigSource::DynamicDefaultBroker, &|name| dynamic(self.of_all_brokers, name));
        add(ConfigSource::StaticBroker, &|name| self.statics.get(name).map(String::as_str));
        // Kafka has no default for a node's number, so that no tool expects one.
        add(ConfigSource::Default, &|name| default_text(name).filter(|_| name != "node.id"));
        let first = found.iter().position(|synonym| synonym.name == asked).unwrap_or(found.len());
        found.split_off(first)
    }
}

/// The default of a broker setting, ours where it deviates from Kafka's.
fn default_text(name: &str) -> Option<&'static str> {
    let deviation = super::DEVIATIONS.iter().find(|deviation| deviation.name == name);
    deviation
        .map(|deviation| deviation.value)
        .or_else(|| definitions::dynamic_broker_definition(name).and_then(|d| d.default.text()))
}

/// All values in force for a topic, by the topic's names of the settings.
#[must_use]
pub fn effective_topic_values(
    topic: Option<&ResourceConfigs>,
    broker: &BrokerSettings<'_>,
) -> BTreeMap<&'static str, String> {
    definitions::TOPIC
        .iter()
        .filter_map(|definition| Some((definition.name, effective_topic_value(definition, topic, broker)?)))
        .collect()
}

fn effective_topic_value(
    definition: &ConfigDefinition,
    topic: Option<&ResourceConfigs>,
    broker: &BrokerSettings<'_>,
) -> Option<String> {
    if let Some(own) = dynamic(topic, definition.name) {
        return Some(own.to_owned());
    }
    let synonyms = synonyms::of_topic(definition.name);
    let from_broker = synonyms.iter().find_map(|(name, factor)| {
        let value = broker.value(name)?;
        if *factor == 1 && definition.name != "retention.ms" {
            return Some(value.to_owned());
        }
        // A text that is no number falls through to the next unit: it was refused at the start already.
        let amount: i64 = value.trim().parse().ok()?;
        Some(if amount < 0 { "-1".to_owned() } else { amount.saturating_mul(*factor).to_string() })
    });
    from_broker.or_else(|| definition.default.text().map(str::to_owned))
}

/// The settings of a topic that sets `topic` itself.
#[must_use]
pub fn describe_topic(topic: Option<&ResourceConfigs>, broker: &BrokerSettings<'_>) -> Vec<DescribedConfig> {
    let shown =
        |definition: &&ConfigDefinition| !definition.is_internal || dynamic(topic, definition.name).is_some();
    definitions::TOPIC
        .iter()
        .filter(shown)
        .map(|definition| {
            let inherited = topic_broker_synonym(definition.name)
                .map(|name| broker.synonyms(name, &broker_synonyms(name), definition.is_sensitive()))
                .unwrap_or_default();
            let own = dynamic(topic, definition.name).map(|value| Synonym {
                name: definition.name.to_owned(),
                value: Some(value.to_owned()),
                source: ConfigSource::Topic,
            });
            let synonyms: Vec<Synonym> = own.into_iter().chain(inherited).collect();
            described(definition, effective_topic_value(definition, topic, broker), synonyms, false)
        })
        .collect()
}

/// The settings of one broker: all known ones, and those it was started with that nobody knows.
#[must_use]
pub fn describe_broker(broker: &BrokerSettings<'_>) -> Vec<DescribedConfig> {
    let mut names: BTreeSet<&str> =
        definitions::broker().filter(|definition| !definition.is_internal).map(|d| d.name).collect();
    names.extend(broker.statics.keys().map(String::as_str));
    for configs in [broker.of_this_broker, broker.of_all_brokers].into_iter().flatten() {
        names.extend(configs.keys().map(|name| &**name));
    }
    names.into_iter().map(|name| describe_broker_setting(name, broker)).collect()
}

/// The settings that were made for all brokers while they ran.
#[must_use]
pub fn describe_broker_defaults(of_all_brokers: Option<&ResourceConfigs>) -> Vec<DescribedConfig> {
    let statics = BTreeMap::new();
    let settings = BrokerSettings { statics: &statics, of_this_broker: None, of_all_brokers };
    let names = of_all_brokers.into_iter().flat_map(|configs| configs.keys());
    names
        .map(|name| {
            let mut config = describe_broker_setting(name, &settings);
            config.synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
            config
        })
        .collect()
}

fn describe_broker_setting(name: &str, broker: &BrokerSettings<'_>) -> DescribedConfig {
    let definition = definitions::dynamic_broker_definition(name).or_else(|| {
        broker_synonyms(name).last().and_then(|base| definitions::dynamic_broker_definition(base))
    });
    // What is not known may be a secret.
    let is_sensitive = definition.is_none_or(ConfigDefinition::is_sensitive);
    let synonyms = broker.synonyms(name, &broker_synonyms(name), is_sensitive);
    let value = broker.value(name).filter(|_| !is_sensitive).map(str::to_owned);
    DescribedConfig {
        name: name.to_owned(),
        value,
        read_only: definition.is_none_or(|d| d.update_mode == definitions::UpdateMode::ReadOnly),
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        is_sensitive,
        synonyms,
        config_type: definition.map(|d| d.config_type),
        doc: definition.map(|d| d.doc),
    }
}

/// The settings of a group that sets `group` itself.
#[must_use]
pub fn describe_group(group: Option<&ResourceConfigs>, broker: &BrokerSettings<'_>) -> Vec<DescribedConfig> {
    definitions::GROUP
        .iter()
        .map(|definition| {
            let broker_name = group_broker_synonym(definition.name);
            let mut synonyms: Vec<Synonym> = dynamic(group, definition.name)
                .map(|value| Synonym {
                    name: definition.name.to_owned(),
                    value: Some(value.to_owned()),
                    source: ConfigSource::Group,
                })
                .into_iter()
                .collect();
            match broker_name {
                Some(name) => synonyms.extend(broker.synonyms(name, &[name], false)),
                None => synonyms.extend(definition.default.text().map(|value| Synonym {
                    name: definition.name.to_owned(),
                    value: Some(value.to_owned()),
                    source: ConfigSource::Default,
                })),
            }
            let value = synonyms.first().and_then(|synonym| synonym.value.clone());
            described(definition, value, synonyms, false)
        })
        .collect()
}

/// The settings of a client metrics subscription that sets `own` itself.
#[must_use]
pub fn describe_client_metrics(own: Option<&ResourceConfigs>) -> Vec<DescribedConfig> {
    definitions::CLIENT_METRICS
        .iter()
        .map(|definition| {
            let set = dynamic(own, definition.name);
            let value = set.or(definition.default.text()).map(str::to_owned);
            let synonyms = set
                .map(|value| Synonym {
                    name: definition.name.to_owned(),
                    value: Some(value.to_owned()),
                    source: ConfigSource::ClientMetrics,
                })
                .into_iter()
                .collect();
            described(definition, value, synonyms, false)
        })
        .collect()
}

fn described(
    definition: &ConfigDefinition,
    value: Option<String>,
    synonyms: Vec<Synonym>,
    read_only: bool,
) -> DescribedConfig {
    let is_sensitive = definition.is_sensitive();
    DescribedConfig {
        name: definition.name.to_owned(),
        value: value.filter(|_| !is_sensitive),
        read_only,
        source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
        is_sensitive,
        synonyms,
        config_type: Some(definition.config_type),
        doc: Some(definition.doc),
    }
}

#[cfg(test)]
mod tests;
