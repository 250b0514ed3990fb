//! Elections that somebody asks for: preferred leaders, and unclean ones (KIP-183, KIP-460).

use moldau_metadata::{MetadataImage, MetadataRecord};
use moldau_model::{BrokerId, ErrorCode, PartitionIndex};

use super::partition_change::{CachedRules, Election, Wish, has_online_directory};
use super::{ApiError, Decision, Inputs, Settings};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica is to lead.
    Preferred,
    /// A partition without a leader is to get one, whatever is lost.
    Unclean,
}

impl ElectionKind {
    /// The kind of Kafka's number.
    pub fn from_code(code: i8) -> Result<Self, ApiError> {
        match code {
            0 => Ok(Self::Preferred),
            1 => Ok(Self::Unclean),
            _ => Err(ApiError::new(ErrorCode::InvalidRequest, format!("Unknown election type {code}"))),
        }
    }
}

/// For which partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeadersRequest {
    pub kind: ElectionKind,
    /// Topics with their partitions; `None`: all of all topics.
    pub partitions: Option<Vec<(String, Vec<PartitionIndex>)>>,
}

/// One topic's results, partition by partition. Of "all partitions" those are left out that needed no election.
pub type ElectLeadersResult = (String, Vec<(PartitionIndex, Result<(), ApiError>)>);

/// Holds the elections that are asked for.
pub fn elect_leaders(
    image: &MetadataImage,
    request: &ElectLeadersRequest,
    inputs: &Inputs<'_>,
) -> Result<Decision<Vec<ElectLeadersResult>>, ApiError> {
    let mut electing = Electing::new(image, inputs.settings, request.kind);
    let mut response: Vec<ElectLeadersResult> = Vec::new();
    if let Some(topics) = &request.partitions {
        for (topic, partitions) in topics {
            let results = partitions.iter().map(|index| (*index, electing.elect(topic, *index))).collect();
            response.push((topic.clone(), results));
        }
    } else {
        for topic in image.topics().iter() {
            let results = topic.partitions().map(|(index, _)| (index, electing.elect(topic.name(), index)));
            let is_needed = |result: &Result<(), ApiError>| !matches!(result, Err(error) if error.code == ErrorCode::ElectionNotNeeded);
            response
                .push((topic.name().to_string(), results.filter(|(_, result)| is_needed(result)).collect()));
        }
    }
    Decision { records: electing.records, response }.bounded()
}

/// Gives at most `count_max` partitions back to their preferred leaders: `auto.leader.rebalance.enable`.
#[must_use]
pub fn balance_leaders(image: &MetadataImage, settings: &Settings, count_max: usize) -> Vec<MetadataRecord> {
    let mut electing = Electing::new(image, settings, ElectionKind::Preferred);
    for topic in image.topics().iter() {
        for (index, partition) in topic.partitions() {
            if electing.records.len() >= count_max {
                return electing.records;
            }
            if partition.leader != partition.preferred_replica() {
                // Whoever cannot have its preferred leader now keeps the one it has.
                let _ = electing.elect(topic.name(), index);
            }
        }
    }
    electing.records
}

struct Electing<'a> {
    image: &'a MetadataImage,
    rules: CachedRules<'a>,
    kind: ElectionKind,
    records: Vec<MetadataRecord>,
    elected: std::collections::BTreeSet<(moldau_model::TopicId, PartitionIndex)>,
}

impl<'a> Electing<'a> {
    fn new(image: &'a MetadataImage, settings: &'a Settings, kind: ElectionKind) -> Self {
        let rules = CachedRules::new(image, settings);
        Self { image, rules, kind, records: Vec::new(), elected: std::collections::BTreeSet::new() }
    }

    fn elect(&mut self, name: &str, index: PartitionIndex) -> Result<(), ApiError> {
        let image = self.image;
        let unknown = |text: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, text);
        let topic =
            image.topics().by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition =
            topic.partition(index).ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        let is_needed = match self.kind {
            ElectionKind::Preferred => partition.leader != partition.preferred_replica(),
            ElectionKind::Unclean => !partition.has_leader(),
        };
        if !is_needed || self.elected.contains(&(topic.id(), index)) {
            return Err(ApiError::standard(ErrorCode::ElectionNotNeeded));
        }
        let may_lead =
            |id: BrokerId| image.is_active_broker(id) && has_online_directory(image, partition, id);
        let mut wish = Wish::new(topic, index, partition, self.rules.of(topic), &may_lead);
        wish.election = match self.kind {
            ElectionKind::Preferred => Election::Preferred,
            ElectionKind::Unclean => Election::Unclean,
        };
        let change = wish.record().ok_or_else(|| {
            ApiError::standard(match self.kind {
                ElectionKind::Preferred => ErrorCode::PreferredLeaderNotAvailable,
                ElectionKind::Unclean => ErrorCode::EligibleLeadersNotAvailable,
            })
        })?;
        self.records.push(change.into());
        self.elected.insert((topic.id(), index));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
