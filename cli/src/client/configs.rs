//! Configurations of topics, brokers and groups: describe and change.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use super::metadata::string;
use super::{Client, ClientError};

/// What a configuration belongs to; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

/// Where a value comes from; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConfigSource {
    #[default]
    Unknown = 0,
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    DynamicClientMetrics = 7,
    DynamicGroup = 8,
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            7 => Self::DynamicClientMetrics,
            8 => Self::DynamicGroup,
            _ => Self::Unknown,
        }
    }

    /// The name that Kafka's tools print.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::DynamicTopic => "DYNAMIC_TOPIC_CONFIG",
            Self::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            Self::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Self::StaticBroker => "STATIC_BROKER_CONFIG",
            Self::Default => "DEFAULT_CONFIG",
            Self::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            Self::DynamicClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
            Self::DynamicGroup => "DYNAMIC_GROUP_CONFIG",
        }
    }
}

/// One value with its history: `synonyms` are the values that would hold, the present one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigEntry {
    pub(crate) name: String,
    /// `None` for a secret.
    pub(crate) value: Option<String>,
    pub(crate) source: ConfigSource,
    pub(crate) sensitive: bool,
    pub(crate) synonyms: Vec<(ConfigSource, String, Option<String>)>,
}

impl ConfigEntry {
    pub(crate) fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }
}

/// One change: set a key, or remove it so that its default holds again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigChange {
    Set(String, String),
    Delete(String),
}

impl Client {
    /// The configurations of resources by name. A broker's own are asked of that broker.
    pub(crate) fn describe_configs(
        &mut self,
        kind: ResourceKind,
        names: &[String],
        synonyms: bool,
    ) -> Result<BTreeMap<String, Vec<ConfigEntry>>, ClientError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let resource = |name: &String| {
            DescribeConfigsResource::default()
                .with_resource_type(kind as i8)
                .with_resource_name(string(name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_resources(names.iter().map(resource).collect())
            .with_include_synonyms(synonyms);
        let response = match own_broker(kind, names) {
            Some(broker) => {
                let deadline = self.deadline();
                self.retry(deadline, |client| client.call_broker(broker, &request, deadline))?
            }
            None => self.call(&request)?,
        };
        let mut described = BTreeMap::new();
        for result in response.results {
            ClientError::check(result.error_code, result.error_message.as_deref())?;
            let entries = result.configs.into_iter().map(|config| ConfigEntry {
                name: config.name.to_string(),
                value: config.value.map(|value| value.to_string()),
                source: ConfigSource::from_code(config.config_source),
                sensitive: config.is_sensitive,
                synonyms: config
                    .synonyms
                    .into_iter()
                    .map(|s| {
                        (
                            ConfigSource::from_code(s.source),
                            s.name.to_string(),
                            s.value.map(|v| v.to_string()),
                        )
                    })
                    .collect(),
            });
            described.insert(result.resource_name.to_string(), entries.collect());
        }
        Ok(described)
    }

    /// Changes a resource's configuration, all or nothing.
    pub(crate) fn alter_configs(
        &mut self,
        kind: ResourceKind,
        name: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        self.change_configs(kind, name, changes, false)
    }

    /// As `alter_configs`; `validate_only` asks whether it could be.
    pub(crate) fn change_configs(
        &mut self,
        kind: ResourceKind,
        name: &str,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let configs = changes
            .iter()
            .map(|change| match change {
                ConfigChange::Set(key, value) => AlterableConfig::default()
                    .with_name(string(key))
                    .with_config_operation(0)
                    .with_value(Some(string(value))),
                ConfigChange::Delete(key) => AlterableConfig::default()
                    .with_name(string(key))
                    .with_config_operation(1)
                    .with_value(None),
            })
            .collect();
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind as i8)
            .with_resource_name(string(name))
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate_only);
        let response = match own_broker(kind, &[name.to_owned()]) {
            Some(broker) => {
                let deadline = self.deadline();
                self.retry(deadline, |client| client.call_broker(broker, &request, deadline))?
            }
            None => self.call(&request)?,
        };
        response
            .responses
            .iter()
            .try_for_each(|r| ClientError::check(r.error_code, r.error_message.as_deref()))
    }

    /// The names of the resources of a kind that have a configuration of their own.
    pub(crate) fn list_config_resources(&mut self, kind: ResourceKind) -> Result<Vec<String>, ClientError> {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![kind as i8]);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, None)?;
        Ok(response.config_resources.iter().map(|resource| resource.resource_name.to_string()).collect())
    }
}

/// The broker that alone can answer for its own configuration; the defaults of all (an empty name) any can tell.
fn own_broker(kind: ResourceKind, names: &[String]) -> Option<i32> {
    match (kind, names) {
        (ResourceKind::Broker | ResourceKind::BrokerLogger, [name]) => name.parse().ok(),
        _ => None,
    }
}
