//! Streams groups (KIP-1071): describe.

use std::collections::BTreeMap;

use moldau_kafka::{
    StreamsDescribeRequest, StreamsDescribeResponse, StreamsDescribedGroup, StreamsDescribedMember,
    StreamsTaskIds,
};
use moldau_model::ErrorCode;

use super::offsets::Partition;
use super::{Client, ClientError};

/// The API's key.
const STREAMS_GROUP_DESCRIBE: i16 = 89;

/// A streams group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsGroupDescription {
    pub(crate) coordinator: i32,
    pub(crate) epoch: i32,
    /// By their ids.
    pub(crate) members: Vec<StreamsGroupMember>,
}

/// A member of a streams group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsGroupMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) host: String,
    pub(crate) epoch: i32,
    pub(crate) process_id: String,
    /// What its active tasks read.
    pub(crate) assignment: Vec<Partition>,
    /// Tasks as the application numbers them: subtopology and partition.
    pub(crate) active: Vec<String>,
    pub(crate) standby: Vec<String>,
    pub(crate) warmup: Vec<String>,
}

impl Client {
    /// Describes a streams group. One that does not exist is `GROUP_ID_NOT_FOUND`.
    pub(crate) fn describe_streams_group(
        &mut self,
        group: &str,
    ) -> Result<StreamsGroupDescription, ClientError> {
        let deadline = self.deadline();
        let request = StreamsDescribeRequest {
            group_ids: vec![group.to_owned()],
            include_authorized_operations: false,
        };
        let (coordinator, described) = self.retry(deadline, |client| {
            let coordinator = client.coordinator(group, deadline)?;
            let connection = client.broker(coordinator, deadline)?;
            let answered = connection.call_encoded(
                STREAMS_GROUP_DESCRIBE,
                deadline,
                |correlation_id, client_id| request.encode(correlation_id, Some(client_id)),
                StreamsDescribeResponse::decode,
            );
            if matches!(answered, Err(ClientError::Connection { .. } | ClientError::Malformed { .. })) {
                client.forget_broker(coordinator);
            }
            let described = answered?.groups.into_iter().next();
            let described =
                described.ok_or_else(|| ClientError::broker(ErrorCode::GroupIdNotFound.code(), None))?;
            ClientError::check(described.error_code, described.error_message.as_deref())?;
            Ok((coordinator, described))
        })?;
        Ok(description(coordinator, described))
    }
}

fn description(coordinator: i32, described: StreamsDescribedGroup) -> StreamsGroupDescription {
    let parts = described.topology.and_then(|(_, parts)| parts).unwrap_or_default();
    let sources: BTreeMap<&str, Vec<&str>> = parts
        .iter()
        .map(|part| {
            let repartitions = part.repartition_source_topics.iter().map(|topic| topic.name.as_str());
            let topics = part.source_topics.iter().map(String::as_str).chain(repartitions);
            (part.subtopology_id.as_str(), topics.collect())
        })
        .collect();
    let mut members: Vec<StreamsGroupMember> =
        described.members.into_iter().map(|member| self::member(member, &sources)).collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    StreamsGroupDescription { coordinator, epoch: described.group_epoch, members }
}

fn member(member: StreamsDescribedMember, sources: &BTreeMap<&str, Vec<&str>>) -> StreamsGroupMember {
    let roles = &member.assignment;
    // A task reads its partition of each topic that its subtopology reads.
    let read = roles.active_tasks.iter().flat_map(|tasks| {
        let topics = sources.get(tasks.subtopology_id.as_str()).into_iter().flatten();
        topics.flat_map(|topic| tasks.partitions.iter().map(|index| ((*topic).to_owned(), *index)))
    });
    let mut assignment: Vec<Partition> = read.collect();
    assignment.sort();
    StreamsGroupMember {
        assignment,
        active: names(&roles.active_tasks),
        standby: names(&roles.standby_tasks),
        warmup: names(&roles.warmup_tasks),
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        epoch: member.member_epoch,
        process_id: member.process_id,
    }
}

fn names(tasks: &[StreamsTaskIds]) -> Vec<String> {
    let of = |tasks: &StreamsTaskIds| {
        let id = tasks.subtopology_id.clone();
        tasks.partitions.clone().into_iter().map(move |partition| format!("{id}_{partition}"))
    };
    tasks.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use moldau_kafka::{StreamsInternalTopic, StreamsTaskRoles, StreamsTopologyPart};

    use super::*;

    #[test]
    fn an_active_task_reads_its_partition_of_every_topic_of_its_subtopology() {
        let tasks = |id: &str, partitions: &[i32]| StreamsTaskIds {
            subtopology_id: id.to_owned(),
            partitions: partitions.to_vec(),
        };
        let described = StreamsDescribedGroup {
            group_epoch: 4,
            topology: Some((
                1,
                Some(vec![StreamsTopologyPart {
                    subtopology_id: "0".to_owned(),
                    source_topics: vec!["in".to_owned()],
                    repartition_source_topics: vec![StreamsInternalTopic {
                        name: "by-key".to_owned(),
                        ..StreamsInternalTopic::default()
                    }],
                    ..StreamsTopologyPart::default()
                }]),
            )),
            members: vec![StreamsDescribedMember {
                member_id: "m".to_owned(),
                assignment: StreamsTaskRoles {
                    active_tasks: vec![tasks("0", &[1, 2])],
                    standby_tasks: vec![tasks("1", &[0])],
                    warmup_tasks: Vec::new(),
                },
                ..StreamsDescribedMember::default()
            }],
            ..StreamsDescribedGroup::default()
        };
        let described = description(7, described);
        assert_eq!((described.coordinator, described.epoch), (7, 4));
        let member = &described.members[0];
        let of = |topic: &str, index: i32| (topic.to_owned(), index);
        assert_eq!(member.assignment, [of("by-key", 1), of("by-key", 2), of("in", 1), of("in", 2)]);
        assert_eq!(
            (&member.active[..], &member.standby[..]),
            (&["0_1", "0_2"].map(str::to_owned)[..], &["1_0".to_owned()][..])
        );
    }
}
