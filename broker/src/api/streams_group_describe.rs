//! StreamsGroupDescribe (89), version 0: topology, epochs, members and tasks of streams groups (KIP-1071).

use std::collections::HashSet;
use std::sync::Arc;

use moldau_group::{
    DescribedStreamsGroup as Described, DescribedStreamsMember, Request as GroupRequest,
    Response as GroupResponse, StreamsAssignment, StreamsSubtopology, StreamsTopicInfo,
};
use moldau_kafka::{
    StreamsDescribeRequest, StreamsDescribeResponse, StreamsDescribedGroup, StreamsDescribedMember,
    StreamsInternalTopic, StreamsTaskRoles, StreamsTopologyPart,
};
use moldau_model::ErrorCode;

use super::group_request::{all, mismatched, serves_streams_groups};
use super::message::OPERATIONS_NOT_ASKED;
use super::streams_group_heartbeat::{host_and_port, task_ids, topic_names};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, authorized_operations, is_authorized, is_visible};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(89, "StreamsGroupDescribe", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match StreamsDescribeRequest::decode(&body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    let asks_operations = request.include_authorized_operations;
    // A group is described once, however often it is named: a small request must not make a huge answer.
    let mut seen = HashSet::new();
    let names: Vec<String> =
        request.group_ids.into_iter().filter(|group_id| seen.insert(group_id.clone())).collect();
    let is_served = serves_streams_groups(&broker.control);
    let answers = names.iter().map(|name| {
        if !is_authorized(&context, Operation::Describe, Resource::group(name)) {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        if !is_served {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let describe = GroupRequest::StreamsGroupDescribe(vec![name.clone()]);
        broker.control.coordinator.submit(name, describe)
    });
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let groups = names.iter().zip(answers.await).map(|(name, answer)| match answer {
            Ok(GroupResponse::StreamsGroupDescribe(mut described)) => match described.pop() {
                Some(group) => on_the_wire(&context, group, asks_operations),
                None => failed(name, ErrorCode::UnknownServerError),
            },
            Ok(other) => failed(name, mismatched(&other)),
            Err(error) => failed(name, error),
        });
        let response = StreamsDescribeResponse { throttle_time_ms: 0, groups: groups.collect() };
        match response.encode(context.correlation_id) {
            Ok(frame) => ResponseFrame::new(frame),
            Err(error) => {
                tracing::error!(%error, "cannot encode a StreamsGroupDescribe response");
                ResponseFrame::unanswerable()
            }
        }
    }))
}

fn failed(name: &str, error: ErrorCode) -> StreamsDescribedGroup {
    StreamsDescribedGroup {
        error_code: error.code(),
        group_id: name.to_owned(),
        authorized_operations: OPERATIONS_NOT_ASKED,
        ..StreamsDescribedGroup::default()
    }
}

fn on_the_wire(context: &RequestContext, group: Described, asks_operations: bool) -> StreamsDescribedGroup {
    let subtopologies = group.topology.iter().flat_map(|topology| &topology.subtopologies);
    let sees_all = subtopologies
        .flat_map(topic_names)
        .all(|topic| is_visible(context, Operation::Describe, Resource::topic(topic)));
    if !sees_all {
        let text = "The described group uses topics that the client is not authorized to describe.";
        return StreamsDescribedGroup {
            error_message: Some(text.to_owned()),
            ..failed(&group.group_id, ErrorCode::TopicAuthorizationFailed)
        };
    }
    let asked = asks_operations && group.error.is_none();
    let operations = authorized_operations(context, asked, Resource::group(&group.group_id));
    StreamsDescribedGroup {
        error_code: group.error.code(),
        error_message: group.error_message,
        group_id: group.group_id,
        group_state: group.state,
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        topology: group
            .topology
            .map(|topology| (topology.epoch, Some(topology.subtopologies.into_iter().map(part).collect()))),
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: operations,
    }
}

fn part(subtopology: StreamsSubtopology) -> StreamsTopologyPart {
    let topics = |infos: Vec<StreamsTopicInfo>| infos.into_iter().map(internal_topic).collect::<Vec<_>>();
    StreamsTopologyPart {
        subtopology_id: subtopology.subtopology_id,
        source_topics: subtopology.source_topics,
        changelog_topics: topics(subtopology.changelog_topics),
        repartition_sink_topics: subtopology.repartition_sink_topics,
        repartition_source_topics: topics(subtopology.repartition_source_topics),
        ..StreamsTopologyPart::default()
    }
}

fn internal_topic(info: StreamsTopicInfo) -> StreamsInternalTopic {
    StreamsInternalTopic {
        name: info.name,
        partitions: info.partitions,
        replication_factor: info.replication_factor,
        configs: info.configs,
    }
}

fn member(member: DescribedStreamsMember) -> StreamsDescribedMember {
    StreamsDescribedMember {
        member_id: member.member_id,
        member_epoch: member.member_epoch,
        instance_id: member.instance_id,
        rack_id: member.rack_id,
        client_id: member.client_id,
        client_host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        user_endpoint: member.user_endpoint.map(host_and_port),
        client_tags: member.client_tags,
        assignment: roles(member.assignment),
        target_assignment: roles(member.target_assignment),
        // The coordinator keeps no offsets of tasks, and takes no members of the classic protocol.
        ..StreamsDescribedMember::default()
    }
}

fn roles(assignment: StreamsAssignment) -> StreamsTaskRoles {
    StreamsTaskRoles {
        active_tasks: task_ids(assignment.active),
        standby_tasks: task_ids(assignment.standby),
        warmup_tasks: task_ids(assignment.warmup),
    }
}
