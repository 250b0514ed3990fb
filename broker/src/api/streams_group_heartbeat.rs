//! StreamsGroupHeartbeat (88), version 0: a member of a streams group joins, stays or leaves, and is told its tasks (KIP-1071).
//!
//! Topics that the application needs for itself are created behind the answer.

use std::sync::Arc;
use std::time::Duration;

use moldau_group::{
    Request as GroupRequest, Response as GroupResponse, StreamsAssignment, StreamsCopartitionGroup,
    StreamsEndpoint, StreamsEndpointPartitions, StreamsGroupHeartbeatRequest as Beat,
    StreamsGroupHeartbeatResponse as Heard, StreamsStatusCode, StreamsSubtopology, StreamsTasks,
    StreamsTopicInfo, StreamsTopology,
};
use moldau_kafka::{
    StreamsEndpointToPartitions, StreamsHeartbeatRequest, StreamsHeartbeatResponse, StreamsHostAndPort,
    StreamsInternalTopic, StreamsTaskIds, StreamsTopicPartitions, StreamsTopologyPart,
};
use moldau_model::{ErrorCode, PartitionIndex};

use super::auto_create::Requester;
use super::group_request::{check_member, mismatched, outcome, serves_streams_groups};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(88, "StreamsGroupHeartbeat", 0, 0, handle);

/// A topic that was refused is tried again after as many heartbeat intervals.
const REFUSAL_HEARTBEATS: u32 = 2;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match StreamsHeartbeatRequest::decode(&body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    if !serves_streams_groups(&broker.control) {
        return Reply::Ready(encoded(&context, &failed(ErrorCode::UnsupportedVersion)));
    }
    let beat = beat(&context, request);
    let group_id = beat.group_id.clone();
    let subtopologies = beat.topology.iter().flat_map(|topology| &topology.subtopologies);
    if let Err(error) = check_member(&context, &group_id, subtopologies.flat_map(topic_names)) {
        return Reply::Ready(encoded(&context, &failed(error)));
    }
    let request = GroupRequest::StreamsGroupHeartbeat(Box::new(beat));
    let answer = match broker.control.coordinator.submit(&group_id, request) {
        Ok(answer) => answer,
        Err(error) => return Reply::Ready(encoded(&context, &failed(error))),
    };
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let response = match outcome(answer).await {
            Ok(GroupResponse::StreamsGroupHeartbeat(mut heard)) => {
                create_topics(&broker, &context, &mut heard);
                response(*heard)
            }
            Ok(other) => failed(mismatched(&other)),
            Err(error) => failed(error),
        };
        encoded(&context, &response)
    }))
}

/// Has the topics created that are missing, and says in the answer what was refused before.
fn create_topics(broker: &Arc<Broker>, context: &RequestContext, heard: &mut Heard) {
    let topics = std::mem::take(&mut heard.topics_to_create);
    if topics.is_empty() {
        return;
    }
    let interval_ms = broker.control.config.group.streams.heartbeat_interval_ms;
    let patience = Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0)) * REFUSAL_HEARTBEATS;
    let requester = Requester::of(context);
    let problem = broker.streams_topics.ask_for(&broker.control, topics, requester, patience);
    let mut statuses = heard.statuses.iter_mut();
    if let Some(problem) = problem
        && let Some(status) = statuses.find(|status| status.code == StreamsStatusCode::MissingInternalTopics)
    {
        status.detail = format!("{}; Creation failed: {problem}.", status.detail);
    }
}

fn encoded(context: &RequestContext, response: &StreamsHeartbeatResponse) -> ResponseFrame {
    match response.encode(context.correlation_id) {
        Ok(frame) => ResponseFrame::new(frame),
        Err(error) => {
            tracing::error!(%error, "cannot encode a StreamsGroupHeartbeat response");
            ResponseFrame::unanswerable()
        }
    }
}

fn beat(context: &RequestContext, request: StreamsHeartbeatRequest) -> Beat {
    let topology = request.topology.map(|(epoch, parts)| StreamsTopology {
        epoch,
        subtopologies: parts.into_iter().map(subtopology).collect(),
    });
    Beat {
        group_id: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        endpoint_epoch: request.endpoint_information_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topology,
        active_tasks: request.active_tasks.map(tasks),
        standby_tasks: request.standby_tasks.map(tasks),
        warmup_tasks: request.warmup_tasks.map(tasks),
        process_id: request.process_id,
        user_endpoint: request
            .user_endpoint
            .map(|endpoint| StreamsEndpoint { host: endpoint.host, port: endpoint.port }),
        client_tags: request.client_tags,
        has_task_offsets: request.task_offsets.is_some(),
        has_task_end_offsets: request.task_end_offsets.is_some(),
        shutdown_application: request.shutdown_application,
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client_address.ip().to_canonical()),
    }
}

fn subtopology(part: StreamsTopologyPart) -> StreamsSubtopology {
    let infos = |topics: Vec<StreamsInternalTopic>| topics.into_iter().map(topic_info).collect::<Vec<_>>();
    StreamsSubtopology {
        subtopology_id: part.subtopology_id,
        source_topics: part.source_topics,
        source_topic_regexes: part.source_topic_regexes,
        changelog_topics: infos(part.changelog_topics),
        repartition_sink_topics: part.repartition_sink_topics,
        repartition_source_topics: infos(part.repartition_source_topics),
        copartition_groups: part
            .copartition_groups
            .into_iter()
            .map(|group| StreamsCopartitionGroup {
                source_topics: group.source_topics,
                source_topic_regexes: group.source_topic_regexes,
                repartition_source_topics: group.repartition_source_topics,
            })
            .collect(),
    }
}

/// All topics that a part of a topology names.
pub(super) fn topic_names(part: &StreamsSubtopology) -> impl Iterator<Item = &str> {
    let internal = part.changelog_topics.iter().chain(&part.repartition_source_topics);
    let named = part.source_topics.iter().chain(&part.repartition_sink_topics);
    named.map(String::as_str).chain(internal.map(|topic| topic.name.as_str()))
}

fn topic_info(topic: StreamsInternalTopic) -> StreamsTopicInfo {
    StreamsTopicInfo {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
    }
}

fn tasks(all: Vec<StreamsTaskIds>) -> StreamsTasks {
    let mut tasks = StreamsTasks::new();
    for ids in all {
        let partitions = ids.partitions.into_iter().map(PartitionIndex);
        tasks.entry(ids.subtopology_id.into()).or_default().extend(partitions);
    }
    tasks
}

/// Tasks as the wire has them.
pub(super) fn task_ids(tasks: StreamsTasks) -> Vec<StreamsTaskIds> {
    let ids = tasks.into_iter().map(|(subtopology_id, partitions)| StreamsTaskIds {
        subtopology_id: subtopology_id.to_string(),
        partitions: partitions.into_iter().map(|partition| partition.0).collect(),
    });
    ids.collect()
}

/// An endpoint as the wire has it.
pub(super) fn host_and_port(endpoint: StreamsEndpoint) -> StreamsHostAndPort {
    StreamsHostAndPort { host: endpoint.host, port: endpoint.port }
}

fn failed(error: ErrorCode) -> StreamsHeartbeatResponse {
    StreamsHeartbeatResponse {
        error_code: error.code(),
        error_message: Some(error.message().to_owned()),
        status: Some(Vec::new()),
        ..StreamsHeartbeatResponse::default()
    }
}

fn response(heard: Heard) -> StreamsHeartbeatResponse {
    if !heard.error.is_none() {
        let message = heard.error_message.unwrap_or_else(|| heard.error.message().to_owned());
        return StreamsHeartbeatResponse { error_message: Some(message), ..failed(heard.error) };
    }
    let status = heard.statuses.into_iter().map(|status| (status.code as i8, status.detail));
    let (active, standby, warmup) = match heard.assignment {
        Some(StreamsAssignment { active, standby, warmup }) => (Some(active), Some(standby), Some(warmup)),
        None => (None, None, None),
    };
    StreamsHeartbeatResponse {
        member_id: heard.member_id,
        member_epoch: heard.member_epoch,
        heartbeat_interval_ms: heard.heartbeat_interval_ms,
        status: Some(status.collect()),
        active_tasks: active.map(task_ids),
        standby_tasks: standby.map(task_ids),
        warmup_tasks: warmup.map(task_ids),
        endpoint_information_epoch: heard.endpoint_epoch,
        partitions_by_user_endpoint: heard
            .endpoints
            .map(|endpoints| endpoints.into_iter().map(endpoint_to_partitions).collect()),
        ..StreamsHeartbeatResponse::default()
    }
}

fn endpoint_to_partitions(each: StreamsEndpointPartitions) -> StreamsEndpointToPartitions {
    let topics = |topics: Vec<(String, Vec<PartitionIndex>)>| {
        let topic = |(topic, partitions): (String, Vec<PartitionIndex>)| StreamsTopicPartitions {
            topic,
            partitions: partitions.into_iter().map(|partition| partition.0).collect(),
        };
        topics.into_iter().map(topic).collect()
    };
    StreamsEndpointToPartitions {
        user_endpoint: host_and_port(each.endpoint),
        active_partitions: topics(each.active),
        standby_partitions: topics(each.standby),
    }
}
