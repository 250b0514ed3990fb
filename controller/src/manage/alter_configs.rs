//! IncrementalAlterConfigs and the older AlterConfigs, for topics, brokers, groups and client metrics. (The levels of
//! a broker's loggers are not metadata: the broker keeps them itself.)

use std::collections::{BTreeMap, BTreeSet};

use moldau_metadata::config::{
    ConfigType, InvalidValue, as_list, definitions, effective_topic_values, validate_client_match,
    validate_client_metrics_config, validate_dynamic_broker_config, validate_group_configs,
    validate_topic_configs,
};
use moldau_metadata::{ConfigResource, ConfigResourceType, MetadataImage, MetadataRecord, records};
use moldau_model::{BrokerId, ErrorCode};

use super::{ApiError, Decision, Inputs, Settings, eligible_leaders};

/// Kafka's bound of one value's length.
const VALUE_LENGTH_MAX: usize = i16::MAX as usize;

/// What to do to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set,
    Delete,
    /// Adds to a list what it does not hold yet.
    Append,
    /// Takes out of a list what it holds.
    Subtract,
}

impl ConfigOperation {
    /// The operation of Kafka's number.
    pub fn from_code(code: i8) -> Result<Self, ApiError> {
        match code {
            0 => Ok(Self::Set),
            1 => Ok(Self::Delete),
            2 => Ok(Self::Append),
            3 => Ok(Self::Subtract),
            _ => Err(ApiError::new(ErrorCode::InvalidRequest, format!("Unknown operations type {code}"))),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One key of one resource, and what to do to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAlteration {
    pub key: String,
    pub operation: ConfigOperation,
    /// Needed by all operations but `Delete`.
    pub value: Option<String>,
}

/// One resource whose keys are to be altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceAlteration {
    /// Kafka's number of the resource's type, for a type that does not exist is answered too.
    pub resource_type: i8,
    pub resource_name: String,
    pub alterations: Vec<ConfigAlteration>,
}

/// IncrementalAlterConfigs (KIP-339).
pub type IncrementalAlterConfigsRequest = AlterConfigsRequest<ResourceAlteration>;

/// Resources to alter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlterConfigsRequest<R> {
    pub resources: Vec<R>,
    /// Whether to check only.
    pub validate_only: bool,
}

/// A key and its value.
pub type ConfigValue = (String, Option<String>);

/// One resource that is to have these configs and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyResourceAlteration {
    /// Kafka's number of the resource's type.
    pub resource_type: i8,
    pub resource_name: String,
    pub configs: Vec<ConfigValue>,
}

/// One resource's result: type, name, and whether it was altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfigsResult {
    pub resource_type: i8,
    pub resource_name: String,
    pub result: Result<(), ApiError>,
}

/// What becomes of keys: a value, or nothing more.
pub(super) type Altered = BTreeMap<String, Option<String>>;

trait Alteration {
    fn resource(&self) -> (i8, &str);
    fn keys(&self) -> Vec<&str>;
    /// The keys that need a value and have none.
    fn null_keys(&self) -> Vec<&str>;
    fn altered(
        &self,
        image: &MetadataImage,
        resource: &ConfigResource,
        settings: &Settings,
    ) -> Result<Altered, ApiError>;
}

impl Alteration for ResourceAlteration {
    fn resource(&self) -> (i8, &str) {
        (self.resource_type, &self.resource_name)
    }

    fn keys(&self) -> Vec<&str> {
        self.alterations.iter().map(|alteration| alteration.key.as_str()).collect()
    }

    fn null_keys(&self) -> Vec<&str> {
        let is_null = |alteration: &&ConfigAlteration| {
            alteration.operation != ConfigOperation::Delete && alteration.value.is_none()
        };
        self.alterations.iter().filter(is_null).map(|alteration| alteration.key.as_str()).collect()
    }

    fn altered(
        &self,
        image: &MetadataImage,
        resource: &ConfigResource,
        settings: &Settings,
    ) -> Result<Altered, ApiError> {
        alter_incrementally(image, resource, &self.alterations, settings)
    }
}

impl Alteration for LegacyResourceAlteration {
    fn resource(&self) -> (i8, &str) {
        (self.resource_type, &self.resource_name)
    }

    fn keys(&self) -> Vec<&str> {
        self.configs.iter().map(|(key, _)| key.as_str()).collect()
    }

    fn null_keys(&self) -> Vec<&str> {
        self.configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect()
    }

    fn altered(
        &self,
        image: &MetadataImage,
        resource: &ConfigResource,
        settings: &Settings,
    ) -> Result<Altered, ApiError> {
        let present = present(image, resource);
        let removed = present.keys().map(|key| (key.clone(), None));
        let mut altered: Altered = removed.chain(self.configs.iter().cloned()).collect();
        keep_changes(resource, &present, &mut altered);
        validate(image, resource, &present, &altered, settings)?;
        Ok(altered)
    }
}

/// Alters single keys of resources, each resource by itself.
pub fn incremental_alter_configs(
    image: &MetadataImage,
    request: &IncrementalAlterConfigsRequest,
    inputs: &Inputs<'_>,
) -> Result<Decision<Vec<AlterConfigsResult>>, ApiError> {
    alter(image, request, inputs.settings)
}

/// Replaces all keys of resources, each resource by itself.
pub fn legacy_alter_configs(
    image: &MetadataImage,
    request: &AlterConfigsRequest<LegacyResourceAlteration>,
    inputs: &Inputs<'_>,
) -> Result<Decision<Vec<AlterConfigsResult>>, ApiError> {
    alter(image, request, inputs.settings)
}

fn alter<R: Alteration>(
    image: &MetadataImage,
    request: &AlterConfigsRequest<R>,
    settings: &Settings,
) -> Result<Decision<Vec<AlterConfigsResult>>, ApiError> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<(i8, &str)> = request
        .resources
        .iter()
        .map(Alteration::resource)
        .filter(|resource| !seen.insert(*resource))
        .collect();
    let mut records = Vec::new();
    let mut response = Vec::new();
    for alteration in &request.resources {
        let (resource_type, resource_name) = alteration.resource();
        let result = if repeated.contains(&(resource_type, resource_name)) {
            Err(ApiError::new(ErrorCode::InvalidRequest, "Each resource must appear at most once."))
        } else {
            alter_resource(image, alteration, settings)
        };
        let result = result.map(|altered| records.extend(altered));
        response.push(AlterConfigsResult { resource_type, resource_name: resource_name.to_owned(), result });
    }
    let mut decision = Decision { records, response }.bounded()?;
    if request.validate_only {
        decision.records.clear();
    }
    Ok(decision)
}

fn alter_resource<R: Alteration>(
    image: &MetadataImage,
    alteration: &R,
    settings: &Settings,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::InvalidRequest, text);
    let keys = alteration.keys();
    if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
        return Err(invalid("Error due to duplicate config keys".into()));
    }
    let nulls = alteration.null_keys();
    if !nulls.is_empty() {
        return Err(invalid(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    let (resource_type, name) = alteration.resource();
    let resource_type = ConfigResourceType::from_code(resource_type)
        .filter(|resource_type| *resource_type != ConfigResourceType::BrokerLogger)
        .ok_or_else(|| invalid(format!("Unknown resource type {resource_type}")))?;
    let resource = ConfigResource::new(resource_type, name);
    check_name(&resource)?;
    let altered = alteration.altered(image, &resource, settings)?;
    check_existence(image, &resource)?;
    Ok(config_records(&resource, &altered))
}

/// What the operations make of the resource's keys, for those that change.
pub(super) fn alter_incrementally(
    image: &MetadataImage,
    resource: &ConfigResource,
    operations: &[ConfigAlteration],
    settings: &Settings,
) -> Result<Altered, ApiError> {
    let present = present(image, resource);
    let mut altered = Altered::new();
    for ConfigAlteration { key, operation, value } in operations {
        let given = || value.clone().unwrap_or_default();
        let new = match operation {
            ConfigOperation::Set => Some(given()),
            ConfigOperation::Delete => None,
            ConfigOperation::Append | ConfigOperation::Subtract => {
                if !is_list(resource.resource_type, key) {
                    let text =
                        format!("Can't {} to key {key} because its type is not LIST.", operation.name());
                    return Err(ApiError::new(ErrorCode::InvalidConfig, text));
                }
                let inherited = || inherited(image, resource, key, settings).unwrap_or_default();
                let value = present.get(key).cloned().unwrap_or_else(inherited);
                Some(alter_list(*operation, &value, &given()))
            }
        };
        altered.insert(key.clone(), new);
    }
    keep_changes(resource, &present, &mut altered);
    validate(image, resource, &present, &altered, settings)?;
    Ok(altered)
}

fn alter_list(operation: ConfigOperation, value: &str, given: &str) -> String {
    let mut elements: Vec<&str> = as_list(value).into_iter().filter(|element| !element.is_empty()).collect();
    for element in as_list(given) {
        if operation == ConfigOperation::Subtract {
            elements.retain(|present| *present != element);
        } else if !elements.contains(&element) {
            elements.push(element);
        }
    }
    elements.join(",")
}

/// The resource's own configs.
fn present(image: &MetadataImage, resource: &ConfigResource) -> BTreeMap<String, String> {
    let own = image.configs().of(resource).into_iter().flat_map(|configs| configs.iter());
    own.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// The value that a list has where the resource does not set it: what an append adds to.
fn inherited(
    image: &MetadataImage,
    resource: &ConfigResource,
    key: &str,
    settings: &Settings,
) -> Option<String> {
    let own = settings.own_resource();
    match resource.resource_type {
        ConfigResourceType::Topic => {
            effective_topic_values(None, &settings.broker_settings(image, &own)).remove(key)
        }
        _ => definition(resource.resource_type, key)?.default.text().map(str::to_owned),
    }
}

fn definition(
    resource_type: ConfigResourceType,
    key: &str,
) -> Option<&'static definitions::ConfigDefinition> {
    match resource_type {
        ConfigResourceType::Topic => definitions::topic_definition(key),
        ConfigResourceType::Broker => definitions::dynamic_broker_definition(key),
        ConfigResourceType::Group => definitions::group_definition(key),
        ConfigResourceType::ClientMetrics => definitions::client_metrics_definition(key),
        ConfigResourceType::BrokerLogger => None,
    }
}

/// As in Kafka, the lists of a client metrics subscription are set whole.
fn is_list(resource_type: ConfigResourceType, key: &str) -> bool {
    resource_type != ConfigResourceType::ClientMetrics
        && definition(resource_type, key).is_some_and(|definition| definition.config_type == ConfigType::List)
}

/// Drops what stays as it is. A broker is told of its configs again all the same: it may then read files anew.
fn keep_changes(resource: &ConfigResource, present: &BTreeMap<String, String>, altered: &mut Altered) {
    if resource.resource_type != ConfigResourceType::Broker {
        altered.retain(|key, value| present.get(key) != value.as_ref());
    }
}

/// Checks the configs as they would stand.
fn validate(
    image: &MetadataImage,
    resource: &ConfigResource,
    present: &BTreeMap<String, String>,
    altered: &Altered,
    settings: &Settings,
) -> Result<(), ApiError> {
    eligible_leaders::check_alteration(image, resource, altered)?;
    let mut configs = present.clone();
    for (key, value) in altered {
        match value {
            Some(value) if value.len() > VALUE_LENGTH_MAX => {
                let text = format!(
                    "The configuration value cannot be added because it exceeds the maximum value size of \
                     {VALUE_LENGTH_MAX} bytes."
                );
                return Err(ApiError::new(ErrorCode::InvalidConfig, text));
            }
            Some(value) => configs.insert(key.clone(), value.clone()),
            None => configs.remove(key),
        };
    }
    let all = |check: fn(&str, &str) -> Result<(), InvalidValue>| {
        configs.iter().try_for_each(|(key, value)| check(key, value))
    };
    let (result, code) = match resource.resource_type {
        ConfigResourceType::Topic => (validate_topic_configs(&configs), ErrorCode::InvalidConfig),
        ConfigResourceType::Broker => {
            (validate_dynamic_broker_config(&configs, !resource.name.is_empty()), ErrorCode::InvalidRequest)
        }
        ConfigResourceType::Group => {
            let own = settings.own_resource();
            let bounds = settings.broker_settings(image, &own);
            (validate_group_configs(&configs, &bounds), ErrorCode::InvalidConfig)
        }
        ConfigResourceType::ClientMetrics => match all(validate_client_metrics_config) {
            Ok(()) => {
                let patterns = configs.get("match").map(String::as_str);
                (validate_client_match(patterns.unwrap_or_default()), ErrorCode::InvalidConfig)
            }
            refused => (refused, ErrorCode::InvalidRequest),
        },
        ConfigResourceType::BrokerLogger => return Ok(()),
    };
    result.map_err(|error| ApiError::new(code, error.to_string()))
}

/// Whether a resource may have this name.
fn check_name(resource: &ConfigResource) -> Result<(), ApiError> {
    let invalid = |text: String| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    match resource.resource_type {
        ConfigResourceType::Topic => {
            if resource.name.is_empty() {
                return invalid("Default topic resources are not allowed.".into());
            }
            moldau_model::validate_topic_name(&resource.name)
                .map_err(|error| ApiError::new(ErrorCode::InvalidTopicException, error.to_string()))
        }
        ConfigResourceType::Broker if resource.name.is_empty() => Ok(()),
        ConfigResourceType::Broker => match resource.name.parse::<i32>() {
            Ok(id) if id >= 0 => Ok(()),
            Ok(id) => invalid(format!("Invalid negative broker ID: {id}.")),
            Err(_) => invalid(format!("Node id must be an integer, but it is: {}", resource.name)),
        },
        ConfigResourceType::ClientMetrics if resource.name.is_empty() => {
            invalid("Subscription name can't be empty".into())
        }
        ConfigResourceType::Group if resource.name.is_empty() => {
            invalid("Default group resources are not allowed.".into())
        }
        _ => Ok(()),
    }
}

/// Whether the resource is there to be altered. Groups and subscriptions need not be.
fn check_existence(image: &MetadataImage, resource: &ConfigResource) -> Result<(), ApiError> {
    match resource.resource_type {
        ConfigResourceType::Topic if image.topics().by_name(&resource.name).is_none() => {
            let text = format!("The topic '{}' does not exist.", resource.name);
            Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, text))
        }
        ConfigResourceType::Broker if !resource.name.is_empty() => {
            let id = resource.name.parse().map_or(BrokerId::NONE, BrokerId);
            if image.broker(id).is_some() {
                return Ok(());
            }
            Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not registered.")))
        }
        _ => Ok(()),
    }
}

/// The records that set or remove these keys.
pub(super) fn config_records(resource: &ConfigResource, altered: &Altered) -> Vec<MetadataRecord> {
    let record = |(key, value): (&String, &Option<String>)| {
        MetadataRecord::from(records::Config {
            resource_type: i32::from(resource.resource_type.code()),
            resource_name: resource.name.to_string(),
            key: key.clone(),
            value: value.clone(),
        })
    };
    altered.iter().map(record).collect()
}

#[cfg(test)]
mod tests;
