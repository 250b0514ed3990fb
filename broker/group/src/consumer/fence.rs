//! Members that go: by their own will, because they were silent, or because they did not give up in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::draft::{Context, Draft, Refused, TimerChange};
use super::group::member_tombstones;
use super::heartbeat::{check_instance, unknown_member};
use super::member::{Assignment, ConsumerMember, CurrentAssignment, OwnedPartitions, STATIC_LEAVE_EPOCH};
use super::metadata::metadata_hash;
use crate::records::{ConsumerRecord, GroupEpoch};
use crate::request::ConsumerGroupHeartbeatRequest;
use crate::response::ConsumerGroupHeartbeatResponse;

/// A heartbeat of who leaves, for good or (a static member) for a while.
pub(crate) fn leave(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
    let group = draft.group();
    let member_id: Arc<str> = request.member_id.as_str().into();
    if let Some(instance_id) = &request.instance_id {
        let Some(holder_id) = group.static_member_id(instance_id) else {
            let message = format!("Instance id {instance_id} is unknown.");
            return Err(Refused::new(ErrorCode::UnknownMemberId, message));
        };
        check_instance(instance_id, holder_id, &member_id)?;
    }
    let Some(member) = group.member(&member_id).cloned() else {
        return Err(unknown_member(&member_id, &group.group_id));
    };
    if request.instance_id.is_some() && request.member_epoch == STATIC_LEAVE_EPOCH {
        leave_for_a_while(draft, &member_id, &member);
    } else {
        fence_member(draft, context, &member_id);
    }
    Ok(ConsumerGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: Some(request.member_id.clone()),
        member_epoch: request.member_epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    })
}

/// The member keeps its partitions, all of them from the beginning, for the one that takes its place. Its session goes on:
/// if nobody comes, it ends with that.
fn leave_for_a_while(draft: &mut Draft<'_>, member_id: &Arc<str>, member: &ConsumerMember) {
    let from_the_beginning = |partitions: &BTreeMap<_, i32>| partitions.keys().map(|p| (*p, 0)).collect();
    let assigned: OwnedPartitions = member
        .current
        .assigned
        .iter()
        .map(|(topic_id, partitions)| (*topic_id, from_the_beginning(partitions)))
        .collect();
    let current = CurrentAssignment {
        member_epoch: STATIC_LEAVE_EPOCH,
        assigned,
        pending_revocation: OwnedPartitions::new(),
        ..member.current.clone()
    };
    draft.write(ConsumerRecord::CurrentAssignment {
        member_id: Arc::clone(member_id),
        current: Some(current),
    });
}

/// Takes a member out: what it had is free, and the next epoch begins.
pub(crate) fn fence_member(draft: &mut Draft<'_>, context: &Context<'_>, member_id: &Arc<str>) {
    fence_members(draft, context, std::slice::from_ref(member_id));
}

/// The same for several at once.
pub(super) fn fence_members(draft: &mut Draft<'_>, context: &Context<'_>, member_ids: &[Arc<str>]) {
    for member_id in member_ids {
        for record in member_tombstones(member_id) {
            draft.write(record);
        }
        draft.timers.push(TimerChange::Ends { member_id: Arc::clone(member_id) });
    }
    let subscribed = draft.group().subscribed_regexes();
    let unused: Vec<Arc<str>> =
        draft.group().regexes().keys().filter(|regex| !subscribed.contains(*regex)).cloned().collect();
    for regex in unused {
        draft.write(ConsumerRecord::Regex { regex, resolved: None });
    }
    let metadata_hash = metadata_hash(&draft.group().subscribed_topics(), context.metadata);
    let epoch = draft.group().epoch + 1;
    draft.write(ConsumerRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
}

/// Gives a static member's place to a new member id: its subscription, its target and its partitions.
pub(super) fn replace_static_member(
    draft: &mut Draft<'_>,
    old_member_id: &Arc<str>,
    new_member_id: &Arc<str>,
    member: &ConsumerMember,
) {
    let target: Option<Arc<Assignment>> = draft.group().target(old_member_id).cloned();
    for record in member_tombstones(old_member_id) {
        draft.write(record);
    }
    let member_id = || Arc::clone(new_member_id);
    draft.write(ConsumerRecord::Member { member_id: member_id(), metadata: Some(member.metadata.clone()) });
    let target = target.map(|target| (*target).clone()).unwrap_or_default();
    draft.write(ConsumerRecord::TargetMember { member_id: member_id(), target: Some(target) });
    draft.write(ConsumerRecord::CurrentAssignment {
        member_id: member_id(),
        current: Some(member.current.clone()),
    });
    if old_member_id != new_member_id {
        draft.timers.push(TimerChange::Ends { member_id: Arc::clone(old_member_id) });
    }
}
