//! ShareGroupDescribe (77), version 1: epochs, members and assignments of share groups (KIP-932).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use moldau_group::{
    DescribedPartitions, DescribedShareGroup as Described, DescribedShareMember, Request as GroupRequest,
    Response as GroupResponse,
};
use moldau_model::ErrorCode;

use super::group_request::{UNSEEN_TOPICS, all, may_see, mismatched};
use super::message::{OPERATIONS_NOT_ASKED, group_id, text, topic_name, wire_uuid};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, authorized_operations, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(77, "ShareGroupDescribe", 1, 1, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<ShareGroupDescribeRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let asks_operations = request.include_authorized_operations;
    // A group is described once, however often it is named: a small request must not make a huge answer.
    let mut seen = HashSet::new();
    let distinct = request.group_ids.iter().filter(|group| seen.insert(group.as_str()));
    let names: Vec<String> = distinct.map(|group| group.to_string()).collect();
    let is_served = broker.share.is_served();
    let answers = names.iter().map(|name| {
        if !is_authorized(&context, Operation::Describe, Resource::group(name)) {
            return Err(ErrorCode::GroupAuthorizationFailed);
        }
        if !is_served {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let describe = GroupRequest::ShareGroupDescribe(vec![name.clone()]);
        broker.control.coordinator.submit(name, describe)
    });
    let answers = all(answers.collect());
    Reply::Pending(Box::pin(async move {
        let groups = names.iter().zip(answers.await).map(|(name, answer)| match answer {
            Ok(GroupResponse::ShareGroupDescribe(mut described)) => match described.pop() {
                Some(group) => on_the_wire(&context, group, asks_operations),
                None => failed(name, ErrorCode::UnknownServerError),
            },
            Ok(other) => failed(name, mismatched(&other)),
            Err(error) => failed(name, error),
        });
        context.response(&ShareGroupDescribeResponse::default().with_groups(groups.collect()))
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
    if !may_see(context, group.members.iter().flat_map(|member| &member.assignment)) {
        return failed(&group.group_id, ErrorCode::TopicAuthorizationFailed)
            .with_error_message(Some(text(UNSEEN_TOPICS)));
    }
    let asked = asks_operations && group.error.is_none();
    let operations = authorized_operations(context, asked, Resource::group(&group.group_id));
    let members = group.members.into_iter().map(on_the_wire_member);
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

fn on_the_wire_member(member: DescribedShareMember) -> Member {
    let names = member.subscribed_topic_names.into_iter().map(topic_name);
    Member::default()
        .with_member_id(text(member.member_id))
        .with_rack_id(member.rack_id.map(text))
        .with_member_epoch(member.member_epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(names.collect())
        .with_assignment(assignment(member.assignment))
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
