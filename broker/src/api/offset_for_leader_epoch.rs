//! OffsetForLeaderEpoch (23), versions 2 to 4: where an epoch ended (KIP-101), by which clients and followers find out
//! whether what they have is still what the leader has.
//!
//! - 2: the reader's current epoch (KIP-320). 3: replica id. 4: flexible.

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(23, "OffsetForLeaderEpoch", 2, 4, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<OffsetForLeaderEpochRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let image = broker.control.image();
    let is_node = is_visible(&context, Operation::ClusterAction, Resource::CLUSTER);
    let topics = request.topics.iter().map(|topic| {
        let is_allowed =
            is_node || is_authorized(&context, Operation::Describe, Resource::topic(&topic.topic));
        let partitions = topic.partitions.iter().map(|partition| {
            let index = PartitionIndex(partition.partition);
            let result = if is_allowed {
                broker.replica_manager.by_name(&image, &topic.topic, index).and_then(|replica| {
                    let asked = LeaderEpoch(partition.leader_epoch);
                    replica.end_offset_for_epoch(asked, LeaderEpoch(partition.current_leader_epoch))
                })
            } else {
                Err(ErrorCode::TopicAuthorizationFailed)
            };
            let (code, end) = match result {
                Ok(end) => (ErrorCode::None, end),
                Err(code) => (code, None),
            };
            EpochEndOffset::default()
                .with_error_code(code.code())
                .with_partition(partition.partition)
                .with_leader_epoch(end.map_or(LeaderEpoch::NONE, |end| end.leader_epoch).0)
                .with_end_offset(end.map_or(Offset::NONE, |end| end.end_offset).0)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    context.ready(&OffsetForLeaderEpochResponse::default().with_topics(topics))
}
