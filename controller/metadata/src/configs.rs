//! Dynamic configs: those that were set through the metadata log. Defaults and what a broker's file says are not here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::SortedMap;

/// What a config belongs to; Kafka's numbers. Broker loggers have no configs in the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ConfigResourceType {
    /// The type of this number, or nothing.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// Kafka's number of the type.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// The name as Kafka prints it, for example `BROKER_LOGGER`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// One resource. The broker resource with the empty name is the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub resource_type: ConfigResourceType,
    pub name: Arc<str>,
}

impl ConfigResource {
    #[must_use]
    pub fn new(resource_type: ConfigResourceType, name: impl Into<Arc<str>>) -> Self {
        Self { resource_type, name: name.into() }
    }

    #[must_use]
    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self::new(ConfigResourceType::Topic, name)
    }

    /// One broker's own configs.
    #[must_use]
    pub fn broker(id: moldau_model::BrokerId) -> Self {
        Self::new(ConfigResourceType::Broker, id.to_string())
    }

    /// The configs of all brokers that have none of their own.
    #[must_use]
    pub fn default_broker() -> Self {
        Self::new(ConfigResourceType::Broker, "")
    }

    #[must_use]
    pub fn group(name: impl Into<Arc<str>>) -> Self {
        Self::new(ConfigResourceType::Group, name)
    }
}

/// The keys of one resource with their values, by key.
pub type ResourceConfigs = BTreeMap<Arc<str>, Arc<str>>;

/// The configs of all resources that have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigsImage {
    pub(crate) resources: SortedMap<ConfigResource, Arc<ResourceConfigs>>,
}

impl ConfigsImage {
    /// All configs of one resource; nothing if it has none.
    #[must_use]
    pub fn of(&self, resource: &ConfigResource) -> Option<&Arc<ResourceConfigs>> {
        self.resources.get(resource)
    }

    /// One value.
    #[must_use]
    pub fn get(&self, resource: &ConfigResource, key: &str) -> Option<&Arc<str>> {
        self.resources.get(resource)?.get(key)
    }

    /// One of a topic's values.
    #[must_use]
    pub fn of_topic(&self, topic: &str, key: &str) -> Option<&Arc<str>> {
        self.get(&ConfigResource::topic(topic), key)
    }

    /// Every resource that has configs.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<ResourceConfigs>)> {
        self.resources.iter()
    }
}
