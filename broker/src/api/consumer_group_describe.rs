//! ConsumerGroupDescribe (69), versions 0 and 1: epochs, members and assignments of consumer groups (KIP-848).
//!
//! - 1: whether a member speaks the consumer protocol or the classic one (KIP-1099).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use moldau_group::{
    DescribedConsumerGroup as Described, DescribedConsumerMember, DescribedPartitions,
    Request as GroupRequest, Response as GroupResponse,
};
use moldau_model::ErrorCode;

use super::group_request::{UNSEEN_TOPICS, all, may_see, mismatched, serves_consumer_groups};
use super::message::{OPERATIONS_NOT_ASKED, group_id, text, topic_name, wire_uuid};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, authorized_operations, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(69, "ConsumerGroupDescribe", 0, 1, handle);

/// The member types of version 1.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ConsumerGroupDescribeRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let asks_operations = request.include_authorized_operations;
    // A group is described once, however often it is named: a small request must not make a huge answer.
    let mut seen = HashSet::new();
    let distinct = request.group_ids.iter().filter(|group| seen.insert(group.as_str()));
    let names: Vec<String> = distinct.map(|group| group.to_string()).collect();
    let is_served = serves_consumer_groups(&broker.control);
    let answers = names.iter().map(|name| {
        if !is_authorized(&context, Operation::Describe, Resource::group(name)) {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        if !is_served {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let describe = GroupRequest::ConsumerGroupDescribe(vec![name.clone()]);
        broker.control.coordinator.submit(name, describe)
    });
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let groups = names.iter().zip(answers.await).map(|(name, answer)| match answer {
            Ok(GroupResponse::ConsumerGroupDescribe(mut described)) => match described.pop() {
                Some(group) => on_the_wire(&context, group, asks_operations),
                None => failed(name, ErrorCode::UnknownServerError),
            },
            Ok(other) => failed(name, mismatched(&other)),
            Err(error) => failed(name, error),
        });
        context.response(&ConsumerGroupDescribeResponse::default().with_groups(groups.collect()))
    }))
}

fn failed(name: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(error.code())
        .with_error_message(None)
        .with_group_id(group_id(name))
        .with_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn on_the_wire(context: &RequestContext, group: Described, asks_operations: bool) -> DescribedGroup {
    let assigned = group.members.iter().flat_map(|member| [&member.assignment, &member.target_assignment]);
    if !may_see(context, assigned.flatten()) {
        return failed(&group.group_id, ErrorCode::TopicAuthorizationFailed)
            .with_error_message(Some(text(UNSEEN_TOPICS)));
    }
    let asked = asks_operations && group.error.is_none();
    let operations = authorized_operations(context, asked, Resource::group(&group.group_id));
    let members = group.members.into_iter().map(|member| on_the_wire_member(context, member));
    DescribedGroup::default()
        .with_error_code(group.error.code())
        .with_error_message(group.error_message.map(text))
        .with_group_id(group_id(group.group_id))
        .with_group_state(text(group.state))
        .with_group_epoch(group.group_epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(text(group.assignor_name))
        .with_members(members.collect())
        .with_authorized_operations(operations)
}

fn on_the_wire_member(context: &RequestContext, member: DescribedConsumerMember) -> Member {
    let names = member.subscribed_topic_names.into_iter().map(topic_name);
    let told = Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(member.instance_id.map(text))
        .with_rack_id(member.rack_id.map(text))
        .with_member_epoch(member.member_epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(Some(text(member.subscribed_topic_regex)))
        .with_assignment(assignment(member.assignment))
        .with_target_assignment(assignment(member.target_assignment));
    if context.api_version >= 1 {
        let member_type = if member.uses_classic_protocol { CLASSIC_MEMBER } else { CONSUMER_MEMBER };
        told.with_member_type(member_type)
    } else {
        told
    }
}

fn assignment(topics: Vec<DescribedPartitions>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(wire_uuid(topic.topic_id))
            .with_topic_name(topic_name(topic.topic_name))
            .with_partitions(topic.partitions.into_iter().map(|partition| partition.0).collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
