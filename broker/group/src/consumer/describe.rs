//! ConsumerGroupDescribe (key 69), versions 0 and 1: a consumer group as an administrator sees it.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::{ErrorCode, PartitionIndex, TopicId};

use super::draft::Context;
use super::group::ConsumerGroup;
use super::member::Assignment;
use super::metadata::CoordinatorMetadata;
use crate::response::{DescribedConsumerGroup, DescribedConsumerMember, DescribedPartitions};

pub(crate) fn described(group: &ConsumerGroup, context: &Context<'_>) -> DescribedConsumerGroup {
    let members = group.members().map(|(member_id, member)| {
        let mut has: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
        for (topic_id, partition) in member.current.owned() {
            has.entry(topic_id).or_default().insert(partition);
        }
        let target = group.target(member_id).map(|target| named(target, context.metadata));
        let metadata = &member.metadata;
        DescribedConsumerMember {
            member_id: member_id.to_string(),
            instance_id: metadata.instance_id.as_deref().map(str::to_owned),
            rack_id: metadata.rack_id.as_deref().map(str::to_owned),
            member_epoch: member.current.member_epoch,
            client_id: metadata.client_id.to_string(),
            client_host: metadata.client_host.to_string(),
            subscribed_topic_names: metadata.topic_names.iter().map(ToString::to_string).collect(),
            subscribed_topic_regex: metadata.topic_regex.to_string(),
            assignment: named(&has, context.metadata),
            target_assignment: target.unwrap_or_default(),
            uses_classic_protocol: member.uses_classic_protocol(),
        }
    });
    DescribedConsumerGroup {
        group_id: group.group_id.to_string(),
        error: ErrorCode::None,
        error_message: None,
        state: group.state().name().to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.target_epoch,
        assignor_name: group.preferred_assignor(&context.config.consumer.assignors).name().to_owned(),
        members: members.collect(),
    }
}

/// The answer for a group that there is none of, or that is of another kind.
pub(crate) fn unknown(group_id: &str, error: ErrorCode, message: Option<String>) -> DescribedConsumerGroup {
    DescribedConsumerGroup {
        group_id: group_id.to_owned(),
        error,
        error_message: message,
        state: String::new(),
        group_epoch: 0,
        assignment_epoch: 0,
        assignor_name: String::new(),
        members: Vec::new(),
    }
}

/// Partitions of topics that are no more are not shown.
pub(crate) fn named(assignment: &Assignment, metadata: &dyn CoordinatorMetadata) -> Vec<DescribedPartitions> {
    let topics = assignment.iter().filter_map(|(topic_id, partitions)| {
        Some(DescribedPartitions {
            topic_id: *topic_id,
            topic_name: metadata.topic_name(*topic_id)?.to_string(),
            partitions: partitions.iter().copied().collect(),
        })
    });
    topics.collect()
}
