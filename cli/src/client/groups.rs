//! Consumer groups: list, describe, their offsets, delete.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::messages::consumer_group_describe_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest,
    OffsetDeleteRequest, OffsetFetchRequest,
};
use moldau_model::ErrorCode;

use super::membership::decode_assignment;
use super::metadata::{string, topic_name};
use super::offsets::Partition;
use super::{Client, ClientError, HostPort};

/// Names, not ids, go with every version up to this one.
const OFFSET_FETCH_VERSION_MAX: i16 = 9;
/// The first version that names its group among several.
const OFFSET_FETCH_GROUPS_VERSION: i16 = 8;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupListing {
    pub(crate) group: String,
    pub(crate) protocol_type: String,
    pub(crate) state: String,
    /// Empty from brokers that do not tell.
    pub(crate) group_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    pub(crate) group: String,
    pub(crate) state: String,
    /// The assignor, while there are members.
    pub(crate) assignor: String,
    pub(crate) coordinator: i32,
    pub(crate) coordinator_address: Option<HostPort>,
    pub(crate) members: Vec<GroupMember>,
    /// Of a consumer group alone.
    pub(crate) epochs: Option<GroupEpochs>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) assignment: Vec<Partition>,
    /// Of a consumer group's member alone.
    pub(crate) target: Option<MemberTarget>,
}

/// Where a member of a consumer group (KIP-848) is, and what it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberTarget {
    pub(crate) epoch: i32,
    pub(crate) assignment: Vec<Partition>,
}

/// The epochs of a consumer group (KIP-848).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupEpochs {
    pub(crate) group: i32,
    pub(crate) target: i32,
}

impl Client {
    /// Every group that uses the consumers' protocol, or offsets alone.
    pub(crate) fn list_groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut listed = self.list_all_groups()?;
        listed.retain(|group| ["consumer", ""].contains(&group.protocol_type.as_str()));
        Ok(listed)
    }

    /// Every group of any kind.
    pub(crate) fn list_all_groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let deadline = self.deadline();
        self.metadata(Some(&[]), deadline)?;
        let brokers: Vec<i32> = self.brokers().keys().copied().collect();
        let mut listed = Vec::new();
        for broker in brokers {
            listed.extend(self.retry(deadline, |client| client.groups_of(broker, deadline))?);
        }
        Ok(listed)
    }

    /// The groups of the brokers that answer, and those that do not: one that hangs is not to hide the others' groups.
    pub(crate) fn list_groups_that_are_told(&mut self) -> Result<(Vec<GroupListing>, Vec<i32>), ClientError> {
        let deadline = self.deadline();
        self.metadata(Some(&[]), deadline)?;
        let brokers: Vec<i32> = self.brokers().keys().copied().collect();
        let (mut listed, mut silent) = (Vec::new(), Vec::new());
        for broker in &brokers {
            // Each has its own time: what one takes is not the next one's.
            let deadline = self.deadline();
            match self.groups_of(*broker, deadline) {
                Ok(groups) => listed.extend(groups),
                Err(error) if brokers.len() == 1 => return Err(error),
                Err(_) => {
                    self.forget_broker(*broker);
                    silent.push(*broker);
                }
            }
        }
        Ok((listed, silent))
    }

    fn groups_of(&mut self, broker: i32, deadline: Instant) -> Result<Vec<GroupListing>, ClientError> {
        let response = self.call_broker(broker, &ListGroupsRequest::default(), deadline)?;
        ClientError::check(response.error_code, None)?;
        let groups = response.groups.into_iter().map(|group| GroupListing {
            group: group.group_id.0.to_string(),
            protocol_type: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
            group_type: group.group_type.to_string(),
        });
        Ok(groups.collect())
    }

    /// Describes a group. One that does not exist is `GROUP_ID_NOT_FOUND`.
    pub(crate) fn describe_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        // As Kafka's own client does: a group is a consumer group, or else a classic one.
        match self.describe_consumer_group(group)? {
            Some(described) => Ok(described),
            None => self.describe_classic_group(group),
        }
    }

    /// `None`: it is none, or the broker knows of no such groups.
    fn describe_consumer_group(&mut self, group: &str) -> Result<Option<GroupDescription>, ClientError> {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(string(group))]);
        let response = match self.call_coordinator(group, &request, |response| {
            response.groups.first().map_or(0, |described| described.error_code)
        }) {
            Ok(response) => response,
            Err(ClientError::Unsupported { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(described) = response.groups.into_iter().next() else { return Ok(None) };
        let error = ErrorCode::from_code(described.error_code);
        if matches!(error, ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion) {
            return Ok(None);
        }
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
        let members = described.members.into_iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: partitions(member.assignment),
            target: Some(MemberTarget {
                epoch: member.member_epoch,
                assignment: partitions(member.target_assignment),
            }),
        });
        Ok(Some(GroupDescription {
            group: group.to_owned(),
            state: described.group_state.to_string(),
            assignor: described.assignor_name.to_string(),
            coordinator,
            coordinator_address: self.brokers().get(&coordinator).map(|node| node.address.clone()),
            members: members.collect(),
            epochs: Some(GroupEpochs { group: described.group_epoch, target: described.assignment_epoch }),
        }))
    }

    fn describe_classic_group(&mut self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(string(group))]);
        let response = self.call_coordinator(group, &request, |response| {
            response.groups.first().map_or(0, |described| described.error_code)
        })?;
        let not_found = || {
            let text = format!("Group {group} not found.");
            ClientError::broker(ErrorCode::GroupIdNotFound.code(), Some(&text))
        };
        let described = response.groups.into_iter().next().ok_or_else(not_found)?;
        ClientError::check(described.error_code, described.error_message.as_deref())?;
        let state = described.group_state.to_string();
        // Before version 6 of the answer, a group that is not there was dead.
        if state == "Dead" {
            return Err(not_found());
        }
        let deadline = self.deadline();
        let coordinator = self.coordinator(group, deadline)?;
        let members = described.members.into_iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: decode_assignment(&member.member_assignment).unwrap_or_default(),
            target: None,
        });
        Ok(GroupDescription {
            group: group.to_owned(),
            state,
            assignor: described.protocol_data.to_string(),
            coordinator,
            coordinator_address: self.brokers().get(&coordinator).map(|node| node.address.clone()),
            members: members.collect(),
            epochs: None,
        })
    }

    /// A group's committed offsets: of these partitions, or all there are.
    pub(crate) fn committed_offsets(
        &mut self,
        group: &str,
        partitions: Option<&[Partition]>,
    ) -> Result<BTreeMap<Partition, i64>, ClientError> {
        let deadline = self.deadline();
        let mut by_topic: Option<BTreeMap<&str, Vec<i32>>> = partitions.map(|_| BTreeMap::new());
        for (topic, partition) in partitions.into_iter().flatten() {
            by_topic.get_or_insert_default().entry(topic).or_default().push(*partition);
        }
        let response = self.retry(deadline, |client| {
            let coordinator = client.coordinator(group, deadline)?;
            let connection = client.broker(coordinator, deadline)?;
            let version = connection.version_of::<OffsetFetchRequest>()?.min(OFFSET_FETCH_VERSION_MAX);
            let request = offset_fetch(group, by_topic.as_ref(), version);
            let response = connection.call_version(&request, version, super::request_deadline(deadline));
            if response.is_err() {
                client.forget_broker(coordinator);
            }
            let response = response?;
            let code = response.groups.first().map_or(response.error_code, |group| group.error_code);
            ClientError::check(code, None)?;
            Ok(response)
        })?;
        let mut offsets = BTreeMap::new();
        for topic in response.groups.iter().flat_map(|group| &group.topics) {
            for p in &topic.partitions {
                ClientError::check(p.error_code, None)?;
                offsets.insert((topic.name.0.to_string(), p.partition_index), p.committed_offset);
            }
        }
        for topic in &response.topics {
            for p in &topic.partitions {
                ClientError::check(p.error_code, None)?;
                offsets.insert((topic.name.0.to_string(), p.partition_index), p.committed_offset);
            }
        }
        offsets.retain(|_, offset| *offset >= 0);
        Ok(offsets)
    }

    /// Deletes a group and its offsets.
    pub(crate) fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(string(group))]);
        let response = self.call_coordinator(group, &request, |response| {
            response.results.first().map_or(0, |result| result.error_code)
        })?;
        response.results.iter().try_for_each(|result| ClientError::check(result.error_code, None))
    }

    /// Deletes committed offsets; the answer per partition.
    pub(crate) fn delete_offsets(
        &mut self,
        group: &str,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Result<(), ClientError>>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition) in partitions {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(*partition);
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, list)| {
            OffsetDeleteRequestTopic::default().with_name(topic_name(name)).with_partitions(list)
        });
        let request = OffsetDeleteRequest::default()
            .with_group_id(GroupId(string(group)))
            .with_topics(topics.collect());
        let response = self.call_coordinator(group, &request, |response| response.error_code)?;
        ClientError::check(response.error_code, None)?;
        let mut results = BTreeMap::new();
        for topic in &response.topics {
            for p in &topic.partitions {
                let key = (topic.name.0.to_string(), p.partition_index);
                results.insert(key, ClientError::check(p.error_code, None));
            }
        }
        Ok(results)
    }
}

fn offset_fetch(
    group: &str,
    by_topic: Option<&BTreeMap<&str, Vec<i32>>>,
    version: i16,
) -> OffsetFetchRequest {
    let group = GroupId(string(group));
    if version >= OFFSET_FETCH_GROUPS_VERSION {
        let topics = by_topic.map(|by_topic| {
            let topic = |(name, indexes): (&&str, &Vec<i32>)| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic_name(name))
                    .with_partition_indexes(indexes.clone())
            };
            by_topic.iter().map(topic).collect()
        });
        let asked =
            OffsetFetchRequestGroup::default().with_group_id(group).with_member_epoch(-1).with_topics(topics);
        return OffsetFetchRequest::default().with_groups(vec![asked]);
    }
    let topics = by_topic.map(|by_topic| {
        let topic = |(name, indexes): (&&str, &Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(indexes.clone())
        };
        by_topic.iter().map(topic).collect()
    });
    OffsetFetchRequest::default().with_group_id(group).with_topics(topics)
}
