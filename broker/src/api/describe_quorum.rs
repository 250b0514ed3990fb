//! DescribeQuorum (55), versions 0 to 2: the controllers' quorum (KIP-595).
//!
//! - 1: when replicas last fetched and last were caught up (KIP-836). 2: directory ids, addresses, messages (KIP-853).

use std::sync::Arc;

use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use moldau_cluster::{QuorumDescription, QuorumReplica};
use moldau_model::ErrorCode;

use super::message::{broker_id, text, topic_name, wire_uuid};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(55, "DescribeQuorum", 0, 2, handle);

/// The only topic whose quorum there is.
const METADATA_TOPIC: &str = "__cluster_metadata";

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeQuorumRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !is_authorized(&context, Operation::Describe, Resource::CLUSTER) {
        return context.ready(&refused(&context, ErrorCode::ClusterAuthorizationFailed));
    }
    let is_metadata = matches!(
        request.topics.as_slice(),
        [topic] if topic.topic_name.as_str() == METADATA_TOPIC
            && matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == 0)
    );
    if !is_metadata {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                failed(&context, partition.partition_index, ErrorCode::UnknownTopicOrPartition)
            });
            TopicData::default()
                .with_topic_name(topic.topic_name.clone())
                .with_partitions(partitions.collect())
        });
        return context.ready(&DescribeQuorumResponse::default().with_topics(topics.collect()));
    }
    let control = Arc::clone(&broker.control);
    Reply::Pending(Box::pin(async move {
        let response = match control.channel.describe_quorum().await {
            Ok(quorum) => answer(&context, &quorum),
            Err(error) => refused(&context, error.error_code()),
        };
        context.response(&response)
    }))
}

fn refused(context: &RequestContext, code: ErrorCode) -> DescribeQuorumResponse {
    let response = DescribeQuorumResponse::default().with_error_code(code.code());
    if context.api_version >= 2 { response.with_error_message(Some(text(code.message()))) } else { response }
}

fn failed(context: &RequestContext, partition: i32, error: ErrorCode) -> PartitionData {
    let data = PartitionData::default().with_partition_index(partition).with_error_code(error.code());
    if context.api_version >= 2 { data.with_error_message(Some(text(error.message()))) } else { data }
}

fn answer(context: &RequestContext, quorum: &QuorumDescription) -> DescribeQuorumResponse {
    let states = |replicas: &[QuorumReplica]| replicas.iter().map(|r| state(context, r)).collect();
    let partition = PartitionData::default()
        .with_leader_id(broker_id(quorum.leader_id))
        .with_leader_epoch(quorum.leader_epoch.0)
        .with_high_watermark(quorum.high_watermark.0)
        .with_current_voters(states(&quorum.voters))
        .with_observers(states(&quorum.observers));
    let topic =
        TopicData::default().with_topic_name(topic_name(METADATA_TOPIC)).with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if context.api_version < 2 {
        return response;
    }
    let nodes = quorum.nodes.iter().map(|node| {
        let listeners = node.listeners.iter().map(|listener| {
            Listener::default()
                .with_name(text(&listener.name))
                .with_host(text(&listener.host))
                .with_port(listener.port)
        });
        Node::default().with_node_id(broker_id(node.node_id)).with_listeners(listeners.collect())
    });
    response.with_nodes(nodes.collect())
}

fn state(context: &RequestContext, replica: &QuorumReplica) -> ReplicaState {
    let mut state = ReplicaState::default()
        .with_replica_id(broker_id(replica.node_id))
        .with_log_end_offset(replica.log_end_offset.0);
    if context.api_version >= 1 {
        state.last_fetch_timestamp = replica.last_fetch_timestamp_ms.0;
        state.last_caught_up_timestamp = replica.last_caught_up_timestamp_ms.0;
    }
    if context.api_version >= 2 {
        state.replica_directory_id = wire_uuid(replica.directory_id);
    }
    state
}
