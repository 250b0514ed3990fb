//! Which instance has which input partitions, for the interactive queries of the application's other instances.

use std::sync::Arc;

use moldau_model::PartitionIndex;

use super::configure::ConfiguredTopology;
use super::group::StreamsGroup;
use super::message::StreamsEndpointPartitions;
use super::tasks::StreamsTasks;
use crate::consumer::CoordinatorMetadata;

/// Partitions that one answer names. With more of them no endpoint is told: the application's instances ask for what they need
/// to know again, and members by the thousand must not be sent megabytes each.
const PARTITIONS_MAX: usize = 20_000;

/// What the members have that said an endpoint.
pub(crate) fn of_group(
    group: &StreamsGroup,
    configured: &ConfiguredTopology,
    metadata: &dyn CoordinatorMetadata,
) -> Vec<StreamsEndpointPartitions> {
    let with_endpoints = group.members().filter_map(|(_, member)| {
        let endpoint = member.metadata.user_endpoint.clone()?;
        let assigned = member.current.assigned.assignment();
        Some(StreamsEndpointPartitions {
            endpoint,
            active: partitions(&assigned.active, configured, metadata),
            standby: partitions(&assigned.standby, configured, metadata),
        })
    });
    let mut named = 0;
    let mut endpoints = Vec::new();
    for endpoint in with_endpoints {
        let topics = endpoint.active.iter().chain(&endpoint.standby);
        // A topic without one costs something, too.
        named += topics.map(|(_, partitions)| 1 + partitions.len()).sum::<usize>();
        if named > PARTITIONS_MAX {
            return Vec::new();
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// A task has the partition of its number of each topic that its subtopology reads, of those that have so many.
fn partitions(
    tasks: &StreamsTasks,
    configured: &ConfiguredTopology,
    metadata: &dyn CoordinatorMetadata,
) -> Vec<(String, Vec<PartitionIndex>)> {
    let mut topics = Vec::new();
    for (subtopology_id, partitions) in tasks {
        let subtopology = configured.subtopologies.as_ref().and_then(|all| all.get(subtopology_id));
        let Some(subtopology) = subtopology else { continue };
        let repartition = subtopology.repartition_source_topics.iter().map(|topic| topic.name.as_str());
        for topic in subtopology.source_topics.iter().map(Arc::as_ref).chain(repartition) {
            let count = metadata.topic(topic).map_or(0, |topic| topic.partition_count);
            let own = partitions.iter().copied().filter(|partition| partition.0 < count);
            topics.push((topic.to_owned(), own.collect()));
        }
    }
    topics
}
