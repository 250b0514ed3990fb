//! Moves partitions between brokers, and takes a move back (KIP-455).

use moldau_metadata::{MetadataImage, MetadataRecord, PartitionRegistration, TopicImage};
use moldau_model::{BrokerId, ErrorCode, PartitionIndex};

use super::assignment::Assignment;
use super::partition_change::{CachedRules, Election, Wish, has_online_directory};
use super::placement::{check_manual, default_directories};
use super::{ApiError, Decision, Inputs};

/// What is to become of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReassignablePartition {
    pub partition: PartitionIndex,
    /// The brokers that are to hold it, the preferred leader first; `None` takes the reassignment under way back.
    pub replicas: Option<Vec<BrokerId>>,
}

/// The moves that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReassignPartitionsRequest {
    /// By topic, in the order of the request.
    pub topics: Vec<(String, Vec<ReassignablePartition>)>,
    /// Whether a partition may get more or fewer replicas than it has (KIP-860).
    pub allow_replication_factor_change: bool,
}

/// One topic's results, partition by partition.
pub type ReassignPartitionsResult = (String, Vec<(PartitionIndex, Result<(), ApiError>)>);

/// Decides on each move by itself.
///
/// # Errors
/// `POLICY_VIOLATION` if the request moves too much at once.
pub fn reassign_partitions(
    image: &MetadataImage,
    request: &ReassignPartitionsRequest,
    inputs: &Inputs<'_>,
) -> Result<Decision<Vec<ReassignPartitionsResult>>, ApiError> {
    let mut moving = Moving {
        image,
        rules: CachedRules::new(image, inputs.settings),
        allow_replication_factor_change: request.allow_replication_factor_change,
        records: Vec::new(),
        moved: std::collections::BTreeSet::new(),
    };
    let mut response = Vec::with_capacity(request.topics.len());
    for (name, partitions) in &request.topics {
        let results = partitions.iter().map(|asked| (asked.partition, moving.reassign(name, asked)));
        response.push((name.clone(), results.collect()));
    }
    Decision { records: moving.records, response }.bounded()
}

struct Moving<'a> {
    image: &'a MetadataImage,
    rules: CachedRules<'a>,
    allow_replication_factor_change: bool,
    records: Vec<MetadataRecord>,
    /// A second move of the same partition would be decided on what the first has changed already.
    moved: std::collections::BTreeSet<(moldau_model::TopicId, PartitionIndex)>,
}

impl Moving<'_> {
    fn reassign(&mut self, name: &str, asked: &ReassignablePartition) -> Result<(), ApiError> {
        let unknown = |text: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, text);
        let index = asked.partition;
        let topic = self
            .image
            .topics()
            .by_name(name)
            .ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let partition = topic
            .partition(index)
            .ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        if self.moved.contains(&(topic.id(), index)) {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                format!("Partition {name}:{index} is named more than once."),
            ));
        }
        let change = match &asked.replicas {
            Some(target) => self.change(topic, index, partition, target)?,
            None => self.cancel(topic, index, partition)?,
        };
        if let Some(change) = change {
            self.moved.insert((topic.id(), index));
            self.records.push(change);
        }
        Ok(())
    }

    fn change(
        &mut self,
        topic: &TopicImage,
        index: PartitionIndex,
        partition: &PartitionRegistration,
        target: &[BrokerId],
    ) -> Result<Option<MetadataRecord>, ApiError> {
        let image = self.image;
        check_manual(image, target, None)?;
        let staying =
            partition.replicas.iter().filter(|id| !partition.removing_replicas.contains(id)).count();
        if !self.allow_replication_factor_change && staying != target.len() {
            let text = format!("The replication factor is changed from {staying} to {}", target.len());
            return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
        }
        let may_lead =
            |id: BrokerId| image.is_active_broker(id) && has_online_directory(image, partition, id);
        let mut wish = Wish::new(topic, index, partition, self.rules.of(topic), &may_lead);
        let directory = |id| default_directories(image, &[id]).first().copied().unwrap_or_default();
        wish.assignment = Assignment::towards(partition, target, directory);
        Ok(wish.record().map(MetadataRecord::from))
    }

    fn cancel(
        &mut self,
        topic: &TopicImage,
        index: PartitionIndex,
        partition: &PartitionRegistration,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        if !partition.is_reassigning() {
            return Err(ApiError::bare(ErrorCode::NoReassignmentInProgress));
        }
        let image = self.image;
        let may_lead =
            |id: BrokerId| image.is_active_broker(id) && has_online_directory(image, partition, id);
        let mut wish = Wish::new(topic, index, partition, self.rules.of(topic), &may_lead);
        wish.assignment = Assignment::reverted(partition);
        wish.isr.retain(|id| wish.assignment.contains(*id));
        let has_nobody_with_all =
            wish.isr.is_empty() && !partition.elr.iter().any(|id| wish.assignment.contains(*id));
        let may_elect_uncleanly =
            wish.election == Election::Unclean && wish.assignment.replicas().any(may_lead);
        if has_nobody_with_all && !may_elect_uncleanly {
            let text = format!(
                "Unable to revert partition assignment for {}:{index} because it would require an unclean leader election.",
                topic.name()
            );
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        Ok(wish.record().map(MetadataRecord::from))
    }
}

/// A partition on the move, as ListPartitionReassignments tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingReassignment {
    pub partition: PartitionIndex,
    pub replicas: Vec<BrokerId>,
    pub adding: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
}

/// The reassignments under way, by topic: of these partitions, or of all. What is not on the move, or not there, is not in
/// the answer.
#[must_use]
pub fn ongoing_reassignments(
    image: &MetadataImage,
    asked: Option<&[(String, Vec<PartitionIndex>)]>,
) -> Vec<(String, Vec<OngoingReassignment>)> {
    let ongoing = |index: PartitionIndex, partition: &PartitionRegistration| {
        partition.is_reassigning().then(|| OngoingReassignment {
            partition: index,
            replicas: partition.replicas.clone(),
            adding: partition.adding_replicas.clone(),
            removing: partition.removing_replicas.clone(),
        })
    };
    let mut found: Vec<(String, Vec<OngoingReassignment>)> = match asked {
        None => image
            .topics()
            .iter()
            .map(|topic| {
                let partitions = topic.partitions().filter_map(|(index, p)| ongoing(index, p));
                (topic.name().to_string(), partitions.collect())
            })
            .collect(),
        Some(topics) => topics
            .iter()
            .filter_map(|(name, indexes)| {
                let topic = image.topics().by_name(name)?;
                let partitions = indexes.iter().filter_map(|index| ongoing(*index, topic.partition(*index)?));
                Some((name.clone(), partitions.collect()))
            })
            .collect(),
    };
    found.retain(|(_, partitions)| !partitions.is_empty());
    found
}

#[cfg(test)]
mod tests;
