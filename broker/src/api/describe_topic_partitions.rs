//! DescribeTopicPartitions (75), version 0: topics with their partitions, a page at a time (KIP-966).
//!
//! Topics come by name. A page ends after as many partitions as the request and `max.request.partition.size.limit` allow;
//! its cursor is where the next one starts. With no topic named, all of them are described.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use moldau_metadata::{MetadataImage, PartitionRegistration, TopicImage};
use moldau_model::{ErrorCode, PartitionIndex, validate_topic_name};

use super::message::{broker_id, broker_ids, topic_name, wire_uuid};
use super::topic_view::{is_internal, view};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, authorized_operations, is_authorized, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(75, "DescribeTopicPartitions", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeTopicPartitionsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let is_odd = |cursor: &kafka_protocol::messages::describe_topic_partitions_request::Cursor| {
        let is_asked_for = request.topics.iter().any(|topic| topic.name == cursor.topic_name);
        cursor.partition_index < 0 || !(request.topics.is_empty() || is_asked_for)
    };
    if request.cursor.as_ref().is_some_and(is_odd) {
        let topics = request.topics.into_iter().map(|topic| {
            DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_name(Some(topic.name))
        });
        return context.ready(&DescribeTopicPartitionsResponse::default().with_topics(topics.collect()));
    }
    let image = broker.control.image();
    let limit = request.response_partition_limit.min(broker.control.config.request_partitions_max).max(1);
    let cursor = request.cursor.as_ref().map(|c| (c.topic_name.to_string(), c.partition_index));
    let from = cursor.as_ref().map_or("", |(name, _)| name.as_str());
    let names: BTreeSet<String> = if request.topics.is_empty() {
        let names = image.topics().iter_from(from).map(|topic| topic.name().to_string());
        names.filter(|name| is_visible(&context, Operation::Describe, Resource::topic(name))).collect()
    } else {
        request
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .filter(|name| name.as_str() >= from)
            .collect()
    };
    let mut page = Page { image: &image, context: &context, rest: limit as usize, next: None };
    let mut topics = Vec::new();
    for name in &names {
        if page.next.is_some() {
            break;
        }
        let first = match &cursor {
            Some((cursor_name, partition)) if cursor_name == name => *partition,
            _ => 0,
        };
        if let Some(topic) = page.topic(name, first, request.topics.is_empty()) {
            topics.push(topic);
        }
    }
    let response = DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(page.next);
    context.ready(&response)
}

/// One answer as it fills.
struct Page<'a> {
    image: &'a MetadataImage,
    context: &'a RequestContext,
    /// Partitions that still fit.
    rest: usize,
    next: Option<Cursor>,
}

impl Page<'_> {
    fn topic(
        &mut self,
        name: &str,
        first: i32,
        asked_for_all: bool,
    ) -> Option<DescribeTopicPartitionsResponseTopic> {
        if !asked_for_all && !is_authorized(self.context, Operation::Describe, Resource::topic(name)) {
            return Some(refused(name, ErrorCode::TopicAuthorizationFailed));
        }
        let Some(topic) = self.image.topics().by_name(name) else {
            // Asked for all, a topic that is gone meanwhile is none.
            return (!asked_for_all).then(|| unknown(self.context, name));
        };
        if self.rest == 0 {
            self.next = Some(cursor(name, 0));
            return None;
        }
        Some(self.known(topic, first))
    }

    fn known(&mut self, topic: &TopicImage, first: i32) -> DescribeTopicPartitionsResponseTopic {
        let mut partitions = Vec::new();
        for (index, partition) in topic.partitions().filter(|(index, _)| index.0 >= first) {
            if self.rest == 0 {
                self.next = Some(cursor(topic.name(), index.0));
                break;
            }
            self.rest -= 1;
            partitions.push(self.partition(index, partition));
        }
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic_name(topic.name())))
            .with_topic_id(wire_uuid(topic.id()))
            .with_is_internal(is_internal(topic.name()))
            .with_partitions(partitions)
            .with_topic_authorized_operations(authorized_operations(
                self.context,
                true,
                Resource::topic(topic.name()),
            ))
    }

    fn partition(
        &self,
        index: PartitionIndex,
        partition: &PartitionRegistration,
    ) -> DescribeTopicPartitionsResponsePartition {
        let view = view(self.image, &self.context.listener, partition, true);
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(view.error.code())
            .with_partition_index(index.0)
            .with_leader_id(broker_id(view.leader))
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(broker_ids(&partition.replicas))
            .with_isr_nodes(broker_ids(&partition.isr))
            .with_eligible_leader_replicas(Some(broker_ids(&partition.elr)))
            .with_last_known_elr(Some(broker_ids(&partition.last_known_elr)))
            .with_offline_replicas(broker_ids(&view.offline_replicas))
    }
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(topic_name(topic)).with_partition_index(partition)
}

fn refused(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(topic_name(name)))
}

fn unknown(context: &RequestContext, name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match validate_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    refused(name, error)
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(authorized_operations(context, true, Resource::topic(name)))
}
