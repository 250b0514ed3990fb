//! CreateTopics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_metadata::config::{DescribedConfig, describe_topic};
use moldau_metadata::{
    ConfigResource, LeaderRecoveryState, MetadataImage, MetadataRecord, PartitionRegistration,
    ResourceConfigs, records,
};
use moldau_model::{
    BrokerId, ErrorCode, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, validate_topic_name,
};

use super::alter_configs::{ConfigAlteration, ConfigOperation, alter_incrementally, config_records};
use super::placement::{Placement, active, check_manual, default_directories};
use super::{ApiError, Decision, Inputs};

/// How many partitions one request may create; Kafka's bound.
pub(super) const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

/// The name of Kafka's own metadata log. Nobody may create a topic of this name.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Topics to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTopicsRequest {
    pub topics: Vec<NewTopic>,
    /// Whether to check only.
    pub validate_only: bool,
}

/// One topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1: the default, or what `assignments` says.
    pub num_partitions: i32,
    /// -1: the default, or what `assignments` says.
    pub replication_factor: i16,
    pub assignments: Vec<ManualAssignment>,
    /// Keys and values; a value of `None` is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// Where a user wants a partition's replicas, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualAssignment {
    pub partition: PartitionIndex,
    pub replicas: Vec<BrokerId>,
}

/// One topic's result, by its name.
pub type CreateTopicsResult = (String, Result<CreatedTopic, ApiError>);

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub topic_id: TopicId,
    pub num_partitions: i32,
    pub replication_factor: i16,
    /// All configs in force, by name. Only for who may describe configs.
    pub configs: Vec<DescribedConfig>,
}

/// Creates topics, each by itself: those that can be are, even if others are refused.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn create_topics(
    image: &MetadataImage,
    request: &CreateTopicsRequest,
    inputs: &mut Inputs<'_>,
) -> Result<Decision<Vec<CreateTopicsResult>>, ApiError> {
    let (unique, repeated) = split_repeated(&request.topics);
    check_partition_count(unique.iter().map(|topic| match topic.assignments.len() {
        0 if topic.num_partitions == -1 => i64::from(inputs.settings.num_partitions()),
        0 => i64::from(topic.num_partitions.max(0)),
        assigned => assigned as i64,
    }))?;
    let collisions = Collisions::new(image, &unique);
    let mut records = Vec::new();
    let mut response = Vec::new();
    for topic in unique {
        let result = check_name(image, &collisions, topic).and_then(|()| create_topic(image, topic, inputs));
        let result = result.map(|(created, topic_records)| {
            records.extend(topic_records);
            created
        });
        response.push((topic.name.clone(), result));
    }
    let duplicate = || Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name."));
    response.extend(repeated.into_iter().map(|name| (name.to_owned(), duplicate())));
    let mut decision = Decision { records, response }.bounded()?;
    if request.validate_only {
        decision.records.clear();
    }
    Ok(decision)
}

/// Refuses more partitions than one request may make.
pub(super) fn check_partition_count(counts: impl Iterator<Item = i64>) -> Result<(), ApiError> {
    if counts.sum::<i64>() > PARTITIONS_PER_REQUEST_MAX {
        return Err(ApiError::new(
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    Ok(())
}

/// The topics whose names come once, and the names that come more often.
fn split_repeated(topics: &[NewTopic]) -> (Vec<&NewTopic>, BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<&str> =
        topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    (topics.iter().filter(|topic| !repeated.contains(topic.name.as_str())).collect(), repeated)
}

/// Names with `.` and `_` as they are in metrics, where both are `_`: two topics of one such name cannot be told apart.
struct Collisions<'a> {
    topics: BTreeMap<String, &'a str>,
}

impl<'a> Collisions<'a> {
    fn new(image: &'a MetadataImage, topics: &[&NewTopic]) -> Self {
        // Only names with such a character can collide, and most requests have none.
        if !topics.iter().any(|topic| Self::may_collide(&topic.name)) {
            return Self { topics: BTreeMap::new() };
        }
        let names = image.topics().iter().map(|topic| &**topic.name()).filter(|name| Self::may_collide(name));
        Self { topics: names.map(|name| (name.replace('.', "_"), name)).collect() }
    }

    fn may_collide(name: &str) -> bool {
        name.contains(['.', '_'])
    }

    fn of(&self, name: &str) -> Option<&'a str> {
        Self::may_collide(name).then(|| self.topics.get(&name.replace('.', "_")).copied()).flatten()
    }
}

fn check_name(image: &MetadataImage, collisions: &Collisions<'_>, topic: &NewTopic) -> Result<(), ApiError> {
    let name = &topic.name;
    if name == CLUSTER_METADATA_TOPIC {
        let text = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.");
        return Err(ApiError::new(ErrorCode::InvalidRequest, text));
    }
    if image.topics().by_name(name).is_some() {
        return Err(ApiError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if let Err(error) = validate_topic_name(name) {
        return Err(ApiError::new(ErrorCode::InvalidTopicException, error.to_string()));
    }
    if let Some(other) = collisions.of(name) {
        let text = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(ApiError::new(ErrorCode::InvalidTopicException, text));
    }
    Ok(())
}

fn create_topic(
    image: &MetadataImage,
    topic: &NewTopic,
    inputs: &mut Inputs<'_>,
) -> Result<(CreatedTopic, Vec<MetadataRecord>), ApiError> {
    let resource = ConfigResource::topic(topic.name.as_str());
    let configs = creation_configs(image, &resource, topic, inputs)?;
    let partitions = if topic.assignments.is_empty() {
        placed_partitions(image, topic, inputs)?
    } else {
        assigned_partitions(image, topic)?
    };
    inputs.mutation_quota.apply(partitions.len())?;
    let topic_id = inputs.random.uuid();
    let mut records: Vec<MetadataRecord> =
        vec![records::Topic { name: topic.name.clone(), topic_id: topic_id.as_bytes().to_vec() }.into()];
    records.extend(config_records(
        &resource,
        &configs.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect(),
    ));
    let indexed = partitions
        .iter()
        .zip(0..)
        .map(|(partition, index)| partition.to_record(topic_id, PartitionIndex(index)));
    records.extend(indexed.map(MetadataRecord::from));

    let own_resource = inputs.settings.own_resource();
    let broker = inputs.settings.broker_settings(image, &own_resource);
    let own: ResourceConfigs =
        configs.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect();
    let created = CreatedTopic {
        topic_id,
        num_partitions: partitions.len() as i32,
        replication_factor: partitions[0].replicas.len() as i16,
        configs: describe_topic(Some(&own), &broker),
    };
    Ok((created, records))
}

fn creation_configs(
    image: &MetadataImage,
    resource: &ConfigResource,
    topic: &NewTopic,
    inputs: &Inputs<'_>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !nulls.is_empty() {
        let text = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(ApiError::new(ErrorCode::InvalidConfig, text));
    }
    let operations = topic.configs.iter().map(|(key, value)| ConfigAlteration {
        key: key.clone(),
        operation: ConfigOperation::Set,
        value: value.clone(),
    });
    let altered = alter_incrementally(image, resource, &operations.collect::<Vec<_>>(), inputs.settings)?;
    Ok(altered.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

/// Partitions where the placement puts them.
fn placed_partitions(
    image: &MetadataImage,
    topic: &NewTopic,
    inputs: &mut Inputs<'_>,
) -> Result<Vec<PartitionRegistration>, ApiError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        let text = "Number of partitions was set to an invalid non-positive value.";
        return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    }
    let count =
        if topic.num_partitions == -1 { inputs.settings.num_partitions() } else { topic.num_partitions };
    let replication_factor = match topic.replication_factor {
        -1 => inputs.settings.default_replication_factor(),
        given => given,
    };
    let mut placement = Placement::new(image, inputs.random);
    let partition = |_| {
        let replicas = placement.place(replication_factor).map_err(|why| unable(replication_factor, &why))?;
        new_partition(image, replicas).ok_or_else(|| {
            unable(replication_factor, "All brokers are currently fenced or in controlled shutdown.")
        })
    };
    (0..count).map(partition).collect()
}

/// Partitions where the user wants them.
fn assigned_partitions(
    image: &MetadataImage,
    topic: &NewTopic,
) -> Result<Vec<PartitionRegistration>, ApiError> {
    let invalid = |code, text: &str| Err(ApiError::new(code, text));
    if topic.replication_factor != -1 {
        let text = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return invalid(ErrorCode::InvalidRequest, text);
    }
    if topic.num_partitions != -1 {
        let text = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return invalid(ErrorCode::InvalidRequest, text);
    }
    let mut partitions = BTreeMap::new();
    let mut replication_factor = None;
    for ManualAssignment { partition, replicas } in &topic.assignments {
        if partitions.contains_key(partition) {
            let text = format!("Found multiple manual partition assignments for partition {partition}");
            return invalid(ErrorCode::InvalidReplicaAssignment, &text);
        }
        check_manual(image, replicas, replication_factor)?;
        replication_factor = Some(replicas.len());
        let created = new_partition(image, replicas.clone()).ok_or_else(|| all_inactive(*partition))?;
        partitions.insert(*partition, created);
    }
    if !partitions.keys().map(|index| index.0).eq(0..partitions.len() as i32) {
        let text = "partitions should be a consecutive 0-based integer sequence";
        return invalid(ErrorCode::InvalidReplicaAssignment, text);
    }
    Ok(partitions.into_values().collect())
}

/// A partition in its first epoch, led by the first active replica; nothing if none is active.
pub(super) fn new_partition(image: &MetadataImage, replicas: Vec<BrokerId>) -> Option<PartitionRegistration> {
    let isr = active(image, &replicas);
    let leader = *isr.first()?;
    Some(PartitionRegistration {
        directories: default_directories(image, &replicas),
        replicas,
        isr,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        adding_replicas: Vec::new(),
        removing_replicas: Vec::new(),
        leader,
        leader_recovery_state: LeaderRecoveryState::Recovered,
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: PartitionEpoch(0),
    })
}

/// That a manual assignment leaves a partition without a leader.
pub(super) fn all_inactive(partition: PartitionIndex) -> ApiError {
    let text = format!(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
         controlled shutdown."
    );
    ApiError::new(ErrorCode::InvalidReplicaAssignment, text)
}

fn unable(replication_factor: i16, why: &str) -> ApiError {
    let text = format!("Unable to replicate the partition {replication_factor} time(s): {why}");
    ApiError::new(ErrorCode::InvalidReplicationFactor, text)
}

#[cfg(test)]
mod tests;
