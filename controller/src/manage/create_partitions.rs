//! CreatePartitions: topics grow, and never shrink.

use std::collections::BTreeSet;

use moldau_metadata::{MetadataImage, MetadataRecord};
use moldau_model::{BrokerId, ErrorCode, PartitionIndex};

use super::create_topics::{all_inactive, check_partition_count, new_partition};
use super::placement::{Placement, check_manual};
use super::{ApiError, Decision, Inputs};

/// Topics that are to grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatePartitionsRequest {
    pub topics: Vec<MorePartitions>,
    /// Whether to check only.
    pub validate_only: bool,
}

/// One topic that is to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    pub name: String,
    /// How many partitions it is to have in all.
    pub count: i32,
    /// The replicas of each new partition; `None`: as the placement puts them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// One topic's result, by its name.
pub type CreatePartitionsResult = (String, Result<(), ApiError>);

/// Lets topics grow, each by itself.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn create_partitions(
    image: &MetadataImage,
    request: &CreatePartitionsRequest,
    inputs: &mut Inputs<'_>,
) -> Result<Decision<Vec<CreatePartitionsResult>>, ApiError> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<&str> =
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    let unique = || request.topics.iter().filter(|topic| !repeated.contains(topic.name.as_str()));
    check_partition_count(unique().map(|topic| {
        let present =
            image.topics().by_name(&topic.name).map_or(i64::MAX, |topic| topic.partition_count().into());
        let additional = i64::from(topic.count).saturating_sub(present).max(0);
        // As many as are not assigned is a mistake of its own.
        topic.assignments.as_ref().map_or(additional, |assigned| additional.min(assigned.len() as i64))
    }))?;
    let mut records = Vec::new();
    let mut response: Vec<CreatePartitionsResult> = repeated
        .iter()
        .map(|name| {
            let duplicate = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            ((*name).to_owned(), Err(duplicate))
        })
        .collect();
    for topic in unique() {
        let result = more_partitions(image, topic, inputs).map(|created| records.extend(created));
        response.push((topic.name.clone(), result));
    }
    let mut decision = Decision { records, response }.bounded()?;
    if request.validate_only {
        decision.records.clear();
    }
    Ok(decision)
}

fn more_partitions(
    image: &MetadataImage,
    request: &MorePartitions,
    inputs: &mut Inputs<'_>,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let Some(topic) = image.topics().by_name(&request.name) else {
        return Err(ApiError::bare(ErrorCode::UnknownTopicOrPartition));
    };
    let present = topic.partition_count();
    if request.count == present {
        let text = format!("Topic already has {present} partition(s).");
        return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
    }
    if request.count < present {
        return Err(ApiError::new(
            ErrorCode::InvalidPartitions,
            format!(
                "The topic {} currently has {present} partition(s); {} would not be an increase.",
                request.name, request.count
            ),
        ));
    }
    let additional = (request.count - present) as usize;
    // A new partition has as many replicas as the first one.
    let first = topic.partition(PartitionIndex(0));
    let replication_factor = first.map_or(1, |partition| partition.replicas.len());
    if let Some(assignments) = &request.assignments
        && assignments.len() != additional
    {
        return Err(ApiError::new(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            ),
        ));
    }
    inputs.mutation_quota.apply(additional)?;
    let replicas: Vec<Vec<BrokerId>> = if let Some(assignments) = &request.assignments {
        for (replicas, index) in assignments.iter().zip(present..) {
            check_manual(image, replicas, Some(replication_factor))?;
            if new_partition(image, replicas.clone()).is_none() {
                return Err(all_inactive(PartitionIndex(index)));
            }
        }
        assignments.clone()
    } else {
        let mut placement = Placement::new(image, inputs.random);
        let place = |_| placement.place(replication_factor as i16);
        let refused = |why| ApiError::new(ErrorCode::InvalidReplicationFactor, why);
        (0..additional).map(place).collect::<Result<_, String>>().map_err(refused)?
    };
    let record = |(replicas, index): (Vec<BrokerId>, i32)| {
        let partition = new_partition(image, replicas).ok_or_else(|| {
            let text = format!(
                "Unable to replicate the partition {replication_factor} time(s): All brokers are currently fenced or \
                 in controlled shutdown."
            );
            ApiError::new(ErrorCode::InvalidReplicationFactor, text)
        })?;
        Ok(partition.to_record(topic.id(), PartitionIndex(index)).into())
    };
    replicas.into_iter().zip(present..).map(record).collect()
}

#[cfg(test)]
mod tests;
