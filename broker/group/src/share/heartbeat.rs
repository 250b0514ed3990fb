//! ShareGroupHeartbeat (key 76), version 1: a member joins, stays or leaves, and is told what to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, PartitionIndex, TopicId};

use super::ShareDraft;
use super::assignor::{self, Subscriptions};
use super::group::{ShareMember, ShareMemberAssignment, ShareMemberMetadata, member_tombstones};
use super::state_partitions::StateTopic;
use crate::GroupConfig;
use crate::consumer::{Assignment, Context, Refused, TimerChange, metadata_hash};
use crate::records::{GroupEpoch, STRING_BYTES_MAX, ShareRecord, TargetEpoch};
use crate::request::{ShareGroupHeartbeatRequest, TopicPartitions};
use crate::response::{ShareGroupHeartbeatResponse, ShareStateToInitialize};

const LEAVE_EPOCH: i32 = -1;

/// What is wrong with the request itself, whatever the group's state.
pub(crate) fn check(config: &GroupConfig, request: &ShareGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    if is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    let names = request.subscribed_topic_names.as_deref().unwrap_or_default();
    if request.member_epoch == 0 && names.is_empty() {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    if request.member_epoch < LEAVE_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    let texts = [&request.group_id, &request.member_id, &request.client_id, &request.client_host];
    let mut texts = texts.into_iter().chain(&request.rack_id).chain(names);
    let subscription_bytes: usize = names.iter().map(String::len).sum();
    if texts.any(|text| text.len() > STRING_BYTES_MAX)
        || subscription_bytes > config.member_metadata_bytes_max
    {
        return invalid("The request's texts are too long to be kept.");
    }
    Ok(())
}

/// A heartbeat of who joins or stays.
pub(crate) fn heartbeat(
    draft: &mut ShareDraft<'_>,
    context: &Context<'_>,
    request: &ShareGroupHeartbeatRequest,
) -> Result<ShareGroupHeartbeatResponse, Refused> {
    let group = draft.group();
    let size_max = context.config.share.size_max;
    if group.member_count() >= size_max && group.member(&request.member_id).is_none() {
        let message = format!("The share group has reached its maximum capacity of {size_max} members.");
        return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
    }
    let member_id: Arc<str> = request.member_id.as_str().into();
    let before = match group.member(&member_id) {
        Some(member) => check_epoch(member, request).map(|()| (**member).clone())?,
        None if request.member_epoch == 0 => ShareMember::default(),
        None => return Err(unknown_member(&member_id, &group.group_id)),
    };
    let is_new = group.member(&member_id).is_none();
    let metadata = updated(&before.metadata, request);
    let others_bytes = group.metadata_bytes() - before.metadata.bytes().min(group.metadata_bytes());
    if metadata.bytes() > before.metadata.bytes()
        && others_bytes + metadata.bytes() > context.config.group_metadata_bytes_max
    {
        let message = "The subscriptions of the share group's members are too large.";
        return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
    }

    let has_subscription_changed = metadata.topic_names != before.metadata.topic_names;
    if is_new || metadata != before.metadata {
        draft.write(ShareRecord::Member { member_id: Arc::clone(&member_id), metadata: Some(metadata) });
    }
    bump_epoch(draft, context, has_subscription_changed);
    assign(draft, context);
    let current = reconcile(draft, &member_id);
    let initialize = initialize(draft, context);
    draft.timers.push(TimerChange::Session {
        member_id: Arc::clone(&member_id),
        timeout_ms: context.share_session_timeout_ms(&request.group_id),
    });
    let tells_assignment = request.member_epoch == 0 || current.assigned != before.current.assigned;
    Ok(ShareGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: Some(member_id.to_string()),
        member_epoch: current.member_epoch,
        heartbeat_interval_ms: context.share_heartbeat_interval_ms(&request.group_id),
        assignment: tells_assignment.then(|| on_the_wire(&current.assigned)),
        initialize,
    })
}

/// A heartbeat of who leaves.
pub(crate) fn leave(
    draft: &mut ShareDraft<'_>,
    context: &Context<'_>,
    request: &ShareGroupHeartbeatRequest,
) -> Result<ShareGroupHeartbeatResponse, Refused> {
    let member_id: Arc<str> = request.member_id.as_str().into();
    if draft.group().member(&member_id).is_none() {
        return Err(unknown_member(&member_id, &draft.group().group_id));
    }
    fence_member(draft, context, &member_id);
    Ok(ShareGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: Some(request.member_id.clone()),
        member_epoch: request.member_epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
        initialize: None,
    })
}

/// Takes a member out, and begins the next epoch.
pub(crate) fn fence_member(draft: &mut ShareDraft<'_>, context: &Context<'_>, member_id: &Arc<str>) {
    for record in member_tombstones(member_id) {
        draft.write(record);
    }
    let metadata_hash = metadata_hash(&draft.group().subscribed_topics(), context.metadata);
    let epoch = draft.group().epoch + 1;
    draft.write(ShareRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
    draft.timers.push(TimerChange::Ends { member_id: Arc::clone(member_id) });
}

fn unknown_member(member_id: &str, group_id: &str) -> Refused {
    let message = format!("Member {member_id} is not a member of group {group_id}.");
    Refused::new(ErrorCode::UnknownMemberId, message)
}

fn check_epoch(member: &ShareMember, request: &ShareGroupHeartbeatRequest) -> Result<(), Refused> {
    let (said, is) = (request.member_epoch, member.current.member_epoch);
    let previous = member.current.previous_member_epoch;
    if said == 0 || said == is || (said < is && said == previous) {
        return Ok(());
    }
    let end = "The member must abandon all its partitions and rejoin.";
    let message = if said > is {
        format!(
            "The share group member has a greater member epoch ({said}) than the one known by the group coordinator \
             ({is}). {end}"
        )
    } else {
        format!(
            "The share group member has a smaller member epoch ({said}) than the one known by the group coordinator \
             ({is}), and it does not match the previous member epoch ({previous}). {end}"
        )
    };
    Err(Refused::new(ErrorCode::FencedMemberEpoch, message))
}

fn updated(before: &ShareMemberMetadata, request: &ShareGroupHeartbeatRequest) -> ShareMemberMetadata {
    ShareMemberMetadata {
        rack_id: request.rack_id.as_deref().map(Arc::from).or_else(|| before.rack_id.clone()),
        client_id: request.client_id.as_str().into(),
        client_host: request.client_host.as_str().into(),
        topic_names: match &request.subscribed_topic_names {
            Some(names) => names.iter().map(|name| Arc::from(name.as_str())).collect(),
            None => before.topic_names.clone(),
        },
    }
}

/// Begins the next group epoch if a subscription has changed, or what is known of its topics, or which of their partitions
/// can be assigned.
fn bump_epoch(draft: &mut ShareDraft<'_>, context: &Context<'_>, has_subscription_changed: bool) {
    let group = draft.group();
    // An epoch whose target is yet to come will see what can be assigned then.
    let is_outdated = group.epoch <= group.target_epoch && group.is_assignment_outdated(context.metadata);
    if !has_subscription_changed && !draft.is_metadata_stale && !is_outdated {
        return;
    }
    draft.is_metadata_stale = false;
    let metadata_hash = metadata_hash(&draft.group().subscribed_topics(), context.metadata);
    if has_subscription_changed || is_outdated || metadata_hash != draft.group().metadata_hash {
        let epoch = draft.group().epoch + 1;
        draft.write(ShareRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
    }
}

/// Computes the target assignment of the group epoch, if it has none yet and the last one is old enough (KIP-1263).
fn assign(draft: &mut ShareDraft<'_>, context: &Context<'_>) {
    let group = draft.group();
    let interval_ms = context.share_assignment_interval_ms(&group.group_id);
    let is_too_soon = group.target_timestamp_ms != 0
        && interval_ms != 0
        && context.now_ms < group.target_timestamp_ms.saturating_add(interval_ms);
    if group.target_epoch >= group.epoch || is_too_soon {
        return;
    }
    let mut assignable: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
    let mut subscriptions = Subscriptions::new();
    for (member_id, member) in group.members() {
        let names = member.metadata.topic_names.iter();
        let topics: BTreeSet<TopicId> =
            names.filter_map(|name| context.metadata.topic(name)).map(|topic| topic.topic_id).collect();
        for topic_id in &topics {
            assignable.entry(*topic_id).or_insert_with(|| group.assignable(*topic_id));
        }
        let target = group.target(member_id).cloned().unwrap_or_default();
        subscriptions.insert(Arc::clone(member_id), (topics, target));
    }
    let epoch = group.epoch;
    for (member_id, target) in assignor::assign(&subscriptions, &assignable) {
        if draft.group().target(&member_id).map(|known| &**known) != Some(&target) {
            draft.write(ShareRecord::TargetMember { member_id, target: Some(target) });
        }
    }
    let timestamp_ms = context.now_ms;
    draft.write(ShareRecord::TargetEpoch(Some(TargetEpoch { epoch, timestamp_ms })));
}

/// Takes the member to the target, and gives what it reads then.
fn reconcile(draft: &mut ShareDraft<'_>, member_id: &Arc<str>) -> ShareMemberAssignment {
    let group = draft.group();
    let Some(member) = group.member(member_id) else { return ShareMemberAssignment::default() };
    if member.current.member_epoch == group.target_epoch {
        return member.current.clone();
    }
    let target = group.target(member_id).map(|target| (**target).clone()).unwrap_or_default();
    let next = ShareMemberAssignment {
        member_epoch: group.target_epoch,
        previous_member_epoch: member.current.member_epoch,
        assigned: target,
    };
    let current = Some(next.clone());
    draft.write(ShareRecord::CurrentAssignment { member_id: Arc::clone(member_id), current });
    next
}

/// The partitions of subscribed topics that the share coordinator is to be told of: all that it was not yet. Those that it was a
/// while ago, and of which no answer came, it is told again.
fn initialize(draft: &mut ShareDraft<'_>, context: &Context<'_>) -> Option<ShareStateToInitialize> {
    let group = draft.group();
    let known = &group.state_partitions;
    let retry_ms = context.config.share.initialize_retry_interval_ms;
    let is_due =
        draft.asked_to_initialize_ms.is_none_or(|asked| context.now_ms >= asked.saturating_add(retry_ms));
    let mut missing: BTreeMap<TopicId, StateTopic> = BTreeMap::new();
    let mut is_new = false;
    for name in group.subscribed_topics() {
        let Some(topic) = context.metadata.topic(&name) else { continue };
        let mut partitions = BTreeSet::new();
        for partition in (0..topic.partition_count).map(PartitionIndex) {
            let is_initializing = known.is_initializing(topic.topic_id, partition);
            if !known.is_initialized(topic.topic_id, partition) && (is_due || !is_initializing) {
                is_new |= !is_initializing;
                partitions.insert(partition);
            }
        }
        if !partitions.is_empty() {
            missing.insert(topic.topic_id, StateTopic { name, partitions });
        }
    }
    if missing.is_empty() {
        return None;
    }
    if is_new {
        let mut state_partitions = draft.group().state_partitions.clone();
        state_partitions.begin_initializing(&missing);
        draft.write(ShareRecord::StatePartitions(Some(state_partitions)));
    }
    draft.asked_to_initialize_ms = Some(context.now_ms);
    let topics = missing.into_iter().map(|(topic_id, topic)| TopicPartitions {
        topic_id,
        partitions: topic.partitions.into_iter().collect(),
    });
    let state_epoch = draft.group().epoch;
    Some(ShareStateToInitialize { state_epoch, topics: topics.collect() })
}

fn on_the_wire(assigned: &Assignment) -> Vec<TopicPartitions> {
    let topic = |(topic_id, partitions): (&TopicId, &BTreeSet<PartitionIndex>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
    };
    assigned.iter().map(topic).collect()
}
