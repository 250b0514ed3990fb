//! Share groups (KIP-932): describe, where they stand, delete and set their offsets.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::share_group_describe_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequest, GroupId,
    ShareGroupDescribeRequest,
};
use moldau_kafka::decode_described_share_offsets;
use moldau_model::ErrorCode;

use super::groups::{GroupEpochs, GroupListing};
use super::metadata::{string, topic_name};
use super::offsets::Partition;
use super::{Client, ClientError, HostPort};

/// What a list calls these groups.
const SHARE: &str = "share";
/// The version that tells how much is left (KIP-1226).
const LAG_VERSION: i16 = 1;

/// A share group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareGroupDescription {
    pub(crate) group: String,
    pub(crate) state: String,
    pub(crate) coordinator: i32,
    pub(crate) coordinator_address: Option<HostPort>,
    pub(crate) epochs: GroupEpochs,
    /// By their ids.
    pub(crate) members: Vec<ShareGroupMember>,
}

/// A member of a share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareGroupMember {
    pub(crate) member_id: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) epoch: i32,
    pub(crate) assignment: Vec<Partition>,
}

/// Where a share group stands in a partition that it has begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareOffset {
    pub(crate) start_offset: i64,
    pub(crate) leader_epoch: i32,
    /// `None` from brokers that do not tell.
    pub(crate) lag: Option<i64>,
}

impl Client {
    /// Every share group.
    pub(crate) fn list_share_groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut listed = self.list_all_groups()?;
        listed.retain(|group| group.group_type.eq_ignore_ascii_case(SHARE));
        Ok(listed)
    }

    /// Describes a share group. One that does not exist is `GROUP_ID_NOT_FOUND`.
    pub(crate) fn describe_share_group(&mut self, group: &str) -> Result<ShareGroupDescription, ClientError> {
        let request = ShareGroupDescribeRequest::default().with_group_ids(vec![GroupId(string(group))]);
        let response = self.call_coordinator(group, &request, |response| {
            response.groups.first().map_or(0, |described| described.error_code)
        })?;
        let described = response.groups.into_iter().next();
        let described =
            described.ok_or_else(|| ClientError::broker(ErrorCode::GroupIdNotFound.code(), None))?;
        ClientError::check(described.error_code, described.error_message.as_deref())?;
        let deadline = self.deadline();
        let coordinator = self.coordinator(group, deadline)?;
        let partitions = |assignment: Assignment| -> Vec<Partition> {
            let of_topic = |topic: TopicPartitions| {
                let name = topic.topic_name.0.to_string();
                topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
            };
            assignment.topic_partitions.into_iter().flat_map(of_topic).collect()
        };
        let members = described.members.into_iter().map(|member| ShareGroupMember {
            member_id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            epoch: member.member_epoch,
            assignment: partitions(member.assignment),
        });
        let mut members: Vec<ShareGroupMember> = members.collect();
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        Ok(ShareGroupDescription {
            group: group.to_owned(),
            state: described.group_state.to_string(),
            coordinator,
            coordinator_address: self.brokers().get(&coordinator).map(|node| node.address.clone()),
            epochs: GroupEpochs { group: described.group_epoch, target: described.assignment_epoch },
            members,
        })
    }

    /// Where a share group stands in the partitions that it reads; `None` where it has not begun.
    pub(crate) fn share_offsets(
        &mut self,
        group: &str,
    ) -> Result<BTreeMap<Partition, Option<ShareOffset>>, ClientError> {
        let asked = DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(GroupId(string(group)))
            .with_topics(None);
        let request = DescribeShareGroupOffsetsRequest::default().with_groups(vec![asked]);
        let deadline = self.deadline();
        let groups = self.retry(deadline, |client| {
            let coordinator = client.coordinator(group, deadline)?;
            let connection = client.broker(coordinator, deadline)?;
            let groups = connection.call_decoding(
                &request,
                LAG_VERSION,
                super::request_deadline(deadline),
                decode_described_share_offsets,
            );
            if matches!(groups, Err(ClientError::Connection { .. } | ClientError::Malformed { .. })) {
                client.forget_broker(coordinator);
            }
            let groups = groups?;
            for group in &groups {
                ClientError::check(group.error_code, group.error_message.as_deref())?;
            }
            Ok(groups)
        })?;
        let offsets = groups.into_iter().flat_map(|group| group.offsets).map(|offset| {
            let is_known = offset.error_code == 0 && offset.start_offset >= 0;
            let known = ShareOffset {
                start_offset: offset.start_offset,
                leader_epoch: offset.leader_epoch,
                lag: Some(offset.lag).filter(|lag| *lag >= 0),
            };
            ((offset.topic_name, offset.partition.0), is_known.then_some(known))
        });
        Ok(offsets.collect())
    }

    /// Forgets where a share group stands in these topics; the answer for each.
    pub(crate) fn delete_share_offsets(
        &mut self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<String, Result<(), ClientError>>, ClientError> {
        let asked = topics
            .iter()
            .map(|name| DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(topic_name(name)));
        let request = DeleteShareGroupOffsetsRequest::default()
            .with_group_id(GroupId(string(group)))
            .with_topics(asked.collect());
        let response = self.call_coordinator(group, &request, |response| response.error_code)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let results = response.responses.iter().map(|topic| {
            let result = ClientError::check(topic.error_code, topic.error_message.as_deref());
            (topic.topic_name.0.to_string(), result)
        });
        Ok(results.collect())
    }

    /// Sets where a share group without members stands.
    pub(crate) fn alter_share_offsets(
        &mut self,
        group: &str,
        offsets: &BTreeMap<Partition, i64>,
    ) -> Result<(), ClientError> {
        let mut by_topic: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            let partition = AlterShareGroupOffsetsRequestPartition::default()
                .with_partition_index(*partition)
                .with_start_offset(*offset);
            by_topic.entry(topic).or_default().push(partition);
        }
        let topics = by_topic.into_iter().map(|(name, partitions)| {
            AlterShareGroupOffsetsRequestTopic::default()
                .with_topic_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = AlterShareGroupOffsetsRequest::default()
            .with_group_id(GroupId(string(group)))
            .with_topics(topics.collect());
        let response = self.call_coordinator(group, &request, |response| response.error_code)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.try_for_each(|partition| {
            ClientError::check(partition.error_code, partition.error_message.as_deref())
        })
    }
}
