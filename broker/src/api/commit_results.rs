//! What OffsetCommit and TxnOffsetCommit share: what of a request can be committed, and its answer partition by partition.

use std::vec::IntoIter;

use moldau_group::{OffsetCommitPartition, OffsetCommitResponse, OffsetCommitTopic, PartitionResult};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex};

/// The part of a topic that can be committed: its partitions that exist.
pub(super) fn committable(
    image: &MetadataImage,
    topic: &str,
    partitions: impl Iterator<Item = OffsetCommitPartition>,
) -> Option<OffsetCommitTopic> {
    let known = image.topics().by_name(topic)?;
    let partitions: Vec<OffsetCommitPartition> =
        partitions.filter(|partition| known.partition(partition.partition).is_some()).collect();
    let name = topic.to_owned();
    (!partitions.is_empty()).then_some(OffsetCommitTopic { name, topic_id: known.id(), partitions })
}

/// One answer for every partition of the request, in its order: what the coordinator said, and that the others do not
/// exist. Partitions of a request that has nothing to commit take `Err`'s code only where they exist, so none do.
///
/// The coordinator answers in the order it was asked in, so one walk over both will do. To look each partition up would
/// take the square of what a request can name.
pub(super) struct CommitResults<'a> {
    image: &'a MetadataImage,
    outcome: Result<IntoIter<PartitionResult>, ErrorCode>,
}

impl<'a> CommitResults<'a> {
    pub(super) fn new(image: &'a MetadataImage, outcome: Result<OffsetCommitResponse, ErrorCode>) -> Self {
        let outcome = outcome.map(|committed| {
            let results: Vec<PartitionResult> =
                committed.topics.into_iter().flat_map(|topic| topic.partitions).collect();
            results.into_iter()
        });
        Self { image, outcome }
    }

    /// The code of the request's next partition.
    pub(super) fn next(&mut self, topic: &str, partition: i32) -> ErrorCode {
        if self.image.partition_by_name(topic, PartitionIndex(partition)).is_none() {
            return ErrorCode::UnknownTopicOrPartition;
        }
        match &mut self.outcome {
            Err(error) => *error,
            Ok(results) => results
                .next()
                .filter(|result| result.partition.0 == partition)
                .map_or(ErrorCode::UnknownServerError, |result| result.error),
        }
    }
}
