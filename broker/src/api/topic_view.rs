//! A topic and its partitions as a client of one listener sees them: what Metadata and DescribeTopicPartitions share.

use moldau_metadata::{MetadataImage, PartitionRegistration};
use moldau_model::{BrokerId, ErrorCode};

/// The topics that Kafka keeps for itself.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Whether the topic is one of Kafka's own.
pub(crate) fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}

/// One partition, as told to clients of one listener.
pub(crate) struct PartitionView {
    pub(crate) error: ErrorCode,
    /// `BrokerId::NONE` where clients cannot reach it.
    pub(crate) leader: BrokerId,
    pub(crate) offline_replicas: Vec<BrokerId>,
}

/// Looks at a partition from a listener. `tells_listener` is whether the request's version knows `LISTENER_NOT_FOUND`.
pub(crate) fn view(
    image: &MetadataImage,
    listener: &str,
    partition: &PartitionRegistration,
    tells_listener: bool,
) -> PartitionView {
    let offline_replicas =
        partition.replicas.iter().copied().filter(|id| !is_reachable(image, listener, *id)).collect();
    let (error, leader) = if is_reachable(image, listener, partition.leader) {
        (ErrorCode::None, partition.leader)
    } else if image.is_alive_broker(partition.leader) && tells_listener {
        (ErrorCode::ListenerNotFound, BrokerId::NONE)
    } else {
        (ErrorCode::LeaderNotAvailable, BrokerId::NONE)
    };
    PartitionView { error, leader, offline_replicas }
}

/// Whether clients of this listener reach the broker.
pub(crate) fn is_reachable(image: &MetadataImage, listener: &str, id: BrokerId) -> bool {
    image.broker(id).is_some_and(|broker| !broker.fenced && broker.listener(listener).is_some())
}
