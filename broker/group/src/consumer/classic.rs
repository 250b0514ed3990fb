//! Members that speak the classic protocol in a consumer group (KIP-848's migration): JoinGroup, SyncGroup, Heartbeat and
//! LeaveGroup against the group's epochs. The generation of such a member is its member epoch, and what it gets from
//! SyncGroup is its current assignment: there is no leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, PartitionIndex, TopicId};

use super::draft::{Context, Draft, TimerChange};
use super::fence::fence_members;
use super::group::ConsumerGroup;
use super::heartbeat::{MemberStep, advance, check_change, rejoining};
use super::member::{Assignment, ClassicMember, ConsumerMember, ConsumerMemberMetadata, MemberState};
use super::metadata::CoordinatorMetadata;
use crate::group::own_protocols;
use crate::rebalance::join_refusal;
use crate::records::{NamedPartitions, Subscription, encode_assignment, subscription_version};
use crate::request::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest, TopicPartitions,
};
use crate::response::{JoinGroupResponse, LeaveGroupResponse, LeftMember, SyncGroupResponse};

/// What the embedded protocol of consumers is called.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// From this version on a new dynamic member is sent back with an id (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;

/// A JoinGroup: the member says what it has, and moves towards its target.
pub(crate) fn join(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    request: &JoinGroupRequest,
) -> JoinGroupResponse {
    let group = draft.group();
    let refused = |error| join_refusal(error, &request.member_id);
    let is_known = group.member(&request.member_id).is_some();
    if group.member_count() >= context.config.consumer.size_max && !is_known {
        return refused(ErrorCode::GroupMaxSizeReached);
    }
    if request.protocol_type != CONSUMER_PROTOCOL_TYPE
        || !group.supports_classic_protocols(&request.protocols)
    {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    let protocols = own_protocols(request.protocols.clone());
    let Some(first) = protocols.first() else { return refused(ErrorCode::InconsistentGroupProtocol) };
    let protocol_name = first.name.clone();
    let Ok(subscription) = Subscription::decode(&first.metadata) else {
        return refused(ErrorCode::InconsistentGroupProtocol);
    };
    // Who owns something has been a member, and is none any more: others may have it. It has to give it up, which it does
    // when it is told so. (Kafka lets it in, and for a moment two members may read the same.)
    if !request.member_id.is_empty() && !is_known && !subscription.owned.iter().all(|(_, p)| p.is_empty()) {
        return refused(ErrorCode::UnknownMemberId);
    }
    let new_id = request.new_member_uuid.to_string();
    let is_new = request.member_id.is_empty();
    if is_new && request.group_instance_id.is_none() && request.api_version >= MEMBER_ID_REQUIRED_SINCE {
        return join_refusal(ErrorCode::MemberIdRequired, &new_id);
    }
    let member_id: Arc<str> = if is_new { new_id.into() } else { request.member_id.as_str().into() };
    let replaced = match replaced_static_member(group, request) {
        Ok(replaced) => replaced,
        Err(error) => return refused(error),
    };
    let before: ConsumerMember = match &replaced {
        Some(old) => rejoining(group.member(old).map(|member| &**member)),
        None => group.member(&member_id).map(|member| (**member).clone()).unwrap_or_default(),
    };
    let metadata = ConsumerMemberMetadata {
        instance_id: request
            .group_instance_id
            .as_deref()
            .map(Arc::from)
            .or(before.metadata.instance_id.clone()),
        rack_id: subscription.rack_id.map(Arc::from).or(before.metadata.rack_id.clone()),
        client_id: request.client_id.as_str().into(),
        client_host: request.client_host.as_str().into(),
        topic_names: subscription.topics.iter().copied().map(Arc::from).collect(),
        topic_regex: "".into(),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        server_assignor: before.metadata.server_assignor.clone(),
        classic: Some(ClassicMember {
            session_timeout_ms: request.session_timeout_ms,
            protocols: protocols.clone(),
        }),
    };
    if let Err(why) = check_change(draft, context, &before.metadata, &metadata) {
        return refused(why.error);
    }
    let owned = by_topic_id(&subscription.owned, context.metadata);
    let step = MemberStep {
        member_id: &member_id,
        replaced: replaced.as_ref(),
        before: &before,
        metadata: &metadata,
        reported: Some(&owned),
        // What it does not name here it has given up: a member joins with nothing on its way to it.
        is_joining: true,
        visible_topics: None,
    };
    let current = advance(draft, context, &step);
    draft.timers.extend([
        TimerChange::Session {
            member_id: Arc::clone(&member_id),
            timeout_ms: i64::from(request.session_timeout_ms),
        },
        TimerChange::Rejoin {
            member_id: Arc::clone(&member_id),
            timeout_ms: i64::from(request.rebalance_timeout_ms),
            moves: true,
        },
    ]);
    JoinGroupResponse {
        error: ErrorCode::None,
        generation_id: current.member_epoch.into(),
        protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
        protocol_name: Some(protocol_name),
        leader: String::new(),
        skip_assignment: false,
        member_id: member_id.to_string(),
        members: Vec::new(),
    }
}

/// A SyncGroup: what the member has now.
pub(crate) fn sync(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    request: &SyncGroupRequest,
) -> Result<SyncGroupResponse, ErrorCode> {
    let group = draft.group();
    let member_id: Arc<str> = request.member_id.as_str().into();
    let (member, classic) = classic_member(group, &member_id, request.group_instance_id.as_deref())?;
    if request.generation_id.0 != member.current.member_epoch {
        return Err(ErrorCode::IllegalGeneration);
    }
    let first = classic.protocols.first();
    let is_other =
        |said: &Option<String>, is: Option<&str>| said.as_deref().is_some_and(|said| Some(said) != is);
    if is_other(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
        || is_other(&request.protocol_name, first.map(|protocol| protocol.name.as_str()))
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    // Who has still to give something up has joined for that epoch, and is told by its next heartbeat.
    if group.epoch > member.current.member_epoch && member.current.state != MemberState::UnrevokedPartitions {
        let timeout_ms = i64::from(member.metadata.rebalance_timeout_ms);
        draft.timers.push(TimerChange::Rejoin { member_id, timeout_ms, moves: false });
        return Err(ErrorCode::RebalanceInProgress);
    }
    let version = first.and_then(|protocol| subscription_version(&protocol.metadata).ok()).unwrap_or(0);
    let assigned = member.current.assigned.iter();
    let assignment = encoded(
        version,
        assigned.map(|(topic_id, partitions)| (*topic_id, partitions.keys().copied().collect())),
        context.metadata,
    );
    let response = SyncGroupResponse {
        error: ErrorCode::None,
        protocol_type: request.protocol_type.clone(),
        protocol_name: request.protocol_name.clone(),
        assignment,
    };
    let timeout_ms = i64::from(classic.session_timeout_ms);
    draft.timers.extend([
        TimerChange::RejoinEnds { member_id: Arc::clone(&member_id) },
        TimerChange::Session { member_id, timeout_ms },
    ]);
    Ok(response)
}

/// A Heartbeat: whether the member has to join again.
pub(crate) fn heartbeat(draft: &mut Draft<'_>, request: &HeartbeatRequest) -> ErrorCode {
    let group = draft.group();
    let member_id: Arc<str> = request.member_id.as_str().into();
    let (member, classic) = match classic_member(group, &member_id, request.group_instance_id.as_deref()) {
        Ok(found) => found,
        Err(error) => return error,
    };
    if request.generation_id.0 != member.current.member_epoch {
        return ErrorCode::IllegalGeneration;
    }
    let has_to_rejoin = member.current.member_epoch < group.epoch
        || match member.current.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits_for_another(group, &member_id, &member),
            MemberState::Stable | MemberState::Unknown => false,
        };
    let session_ms = i64::from(classic.session_timeout_ms);
    let rebalance_ms = i64::from(member.metadata.rebalance_timeout_ms);
    draft.timers.push(TimerChange::Session { member_id: Arc::clone(&member_id), timeout_ms: session_ms });
    if !has_to_rejoin {
        return ErrorCode::None;
    }
    draft.timers.push(TimerChange::Rejoin { member_id, timeout_ms: rebalance_ms, moves: false });
    ErrorCode::RebalanceInProgress
}

/// A LeaveGroup. An administrator removes members of either protocol by it.
pub(crate) fn leave(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    request: &LeaveGroupRequest,
) -> LeaveGroupResponse {
    let mut gone: Vec<Arc<str>> = Vec::new();
    let mut members = Vec::with_capacity(request.members.len());
    for leaving in &request.members {
        let instance_id = leaving.group_instance_id.as_deref();
        let found = match instance_id {
            // An administrator removes a static member and does not know its id.
            Some(instance_id) if leaving.member_id.is_empty() => {
                draft.group().static_member_id(instance_id).cloned().ok_or(ErrorCode::UnknownMemberId)
            }
            _ => Ok(leaving.member_id.as_str().into()),
        };
        let found = found.and_then(|id| known_member(draft.group(), &id, instance_id).map(|_| id));
        let found =
            found.and_then(|id| if gone.contains(&id) { Err(ErrorCode::UnknownMemberId) } else { Ok(id) });
        let error = match found {
            Ok(member_id) => {
                gone.push(member_id);
                ErrorCode::None
            }
            Err(error) => error,
        };
        members.push(LeftMember {
            member_id: leaving.member_id.clone(),
            group_instance_id: leaving.group_instance_id.clone(),
            error,
        });
    }
    if !gone.is_empty() {
        fence_members(draft, context, &gone);
    }
    LeaveGroupResponse { error: ErrorCode::None, members }
}

/// The static member whose place the joining one takes.
fn replaced_static_member(
    group: &ConsumerGroup,
    request: &JoinGroupRequest,
) -> Result<Option<Arc<str>>, ErrorCode> {
    let Some(instance_id) = request.group_instance_id.as_deref() else { return Ok(None) };
    match group.static_member_id(instance_id) {
        holder if request.member_id.is_empty() => Ok(holder.cloned()),
        None => Err(ErrorCode::UnknownMemberId),
        Some(holder) if **holder != *request.member_id => Err(ErrorCode::FencedInstanceId),
        Some(_) => Ok(None),
    }
}

/// The member, if it is who it says it is and speaks the classic protocol.
fn classic_member(
    group: &ConsumerGroup,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<(Arc<ConsumerMember>, ClassicMember), ErrorCode> {
    let member = known_member(group, member_id, instance_id)?;
    let classic = member.metadata.classic.clone().ok_or(ErrorCode::UnknownMemberId)?;
    Ok((member, classic))
}

fn known_member(
    group: &ConsumerGroup,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<Arc<ConsumerMember>, ErrorCode> {
    if let Some(instance_id) = instance_id {
        let holder = group.static_member_id(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
        if **holder != *member_id {
            return Err(ErrorCode::FencedInstanceId);
        }
    }
    group.member(member_id).cloned().ok_or(ErrorCode::UnknownMemberId)
}

/// Whether a partition of the member's target still is somebody else's.
fn waits_for_another(group: &ConsumerGroup, member_id: &str, member: &ConsumerMember) -> bool {
    let target = group.target(member_id).into_iter().flat_map(|target| target.iter());
    let mut missing = target.flat_map(|(topic_id, partitions)| {
        let assigned = member.current.assigned.get(topic_id);
        partitions
            .iter()
            .filter(move |partition| assigned.is_none_or(|assigned| !assigned.contains_key(partition)))
            .map(move |partition| (*topic_id, *partition))
    });
    missing.any(|(topic_id, partition)| group.owner(topic_id, partition).is_some())
}

/// Partitions as the coordinator names them; topics that are not there any more are left out.
fn by_topic_id(partitions: &NamedPartitions<'_>, metadata: &dyn CoordinatorMetadata) -> Vec<TopicPartitions> {
    let topics = partitions.iter().filter_map(|(name, partitions)| {
        let topic_id = metadata.topic(name)?.topic_id;
        Some(TopicPartitions { topic_id, partitions: partitions.clone() })
    });
    topics.collect()
}

/// The same as an assignment.
pub(super) fn as_assignment(
    partitions: &NamedPartitions<'_>,
    metadata: &dyn CoordinatorMetadata,
) -> Assignment {
    let topics = by_topic_id(partitions, metadata).into_iter();
    topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect()
}

/// An assignment as consumers read it; topics that are not there any more are left out.
pub(super) fn encoded(
    version: i16,
    assignment: impl Iterator<Item = (TopicId, Vec<PartitionIndex>)>,
    metadata: &dyn CoordinatorMetadata,
) -> Bytes {
    let named: BTreeMap<Arc<str>, Vec<PartitionIndex>> = assignment
        .filter_map(|(topic_id, partitions)| Some((metadata.topic_name(topic_id)?, partitions)))
        .collect();
    encode_assignment(version, named.iter().map(|(name, partitions)| (&**name, partitions.clone())))
}
