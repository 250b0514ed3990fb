//! ConsumerGroupHeartbeat (key 68), versions 0 and 1: joins, stays, and moves towards the target.
//!
//! Whatever could be wrong with a request is found out before the first record of it is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use moldau_model::{ErrorCode, TopicId};

use super::assignor::{GroupSubscriptions, MemberSubscription};
use super::draft::{Context, Draft, Refused, TimerChange};
use super::fence::replace_static_member;
use super::group::ConsumerGroup;
use super::member::{
    Assignment, ConsumerMember, ConsumerMemberMetadata, CurrentAssignment, LEAVE_EPOCH, MemberState,
    OwnedPartitions, STATIC_LEAVE_EPOCH,
};
use super::metadata::metadata_hash;
use super::reconcile::Reconciliation;
use super::regex;
use crate::records::{ConsumerRecord, GroupEpoch, ResolvedRegex, STRING_BYTES_MAX, TargetEpoch};
use crate::request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use crate::response::ConsumerGroupHeartbeatResponse;
use crate::{GroupConfig, TopicFilter};

/// From this version on clients make their member ids (KIP-1082).
const OWN_MEMBER_ID_SINCE: i16 = 1;

/// A refresh of regular expressions looks at every topic of the cluster, and every heartbeat may ask for one.
const REGEX_REFRESH_INTERVAL_MS_MIN: i64 = 1_000;

/// What is wrong with the request itself, whatever the group's state.
pub(crate) fn check(config: &GroupConfig, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::InvalidRequest, message));
    let epoch = request.member_epoch;
    let is_blank = |text: &str| text.trim().is_empty();
    if (request.api_version >= OWN_MEMBER_ID_SINCE || epoch > 0 || epoch == LEAVE_EPOCH)
        && is_blank(&request.member_id)
    {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        ..STATIC_LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    let assignors: Vec<&str> = config.consumer.assignors.iter().map(|assignor| assignor.name()).collect();
    if let Some(assignor) = &request.server_assignor
        && !assignors.contains(&assignor.as_str())
    {
        let supported = assignors.join(", ");
        let message =
            format!("ServerAssignor {assignor} is not supported. Supported assignors: {supported}.");
        return Err(Refused::new(ErrorCode::UnsupportedAssignor, message));
    }
    check_sizes(config, request)
}

/// What could not be kept, or not be written, is refused before anything is made of it.
fn check_sizes(config: &GroupConfig, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let names = request.subscribed_topic_names.iter().flatten();
    let texts = [&request.group_id, &request.member_id, &request.client_id, &request.client_host];
    let optional = [&request.instance_id, &request.rack_id, &request.subscribed_topic_regex];
    let mut texts = texts.into_iter().chain(optional.into_iter().flatten()).chain(names.clone());
    let subscription_bytes = names.map(String::len).sum::<usize>();
    if texts.any(|text| text.len() > STRING_BYTES_MAX)
        || subscription_bytes > config.member_metadata_bytes_max
    {
        return Err(Refused::new(ErrorCode::InvalidRequest, "The request's texts are too long to be kept."));
    }
    Ok(())
}

/// A heartbeat of who joins or stays.
pub(crate) fn heartbeat(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
    let group = draft.group();
    let config = &context.config.consumer;
    if group.member_count() >= config.size_max && group.member(&request.member_id).is_none() {
        let message =
            format!("The consumer group has reached its maximum capacity of {} members.", config.size_max);
        return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
    }
    let member_id: Arc<str> = match request.member_id.as_str() {
        "" => request.new_member_uuid.to_string().into(),
        member_id => member_id.into(),
    };
    let replaced = known_member(draft, &member_id, request)?;
    let before = match &replaced {
        Some(old) => rejoining(draft.group().member(old).map(|member| &**member)),
        None => draft.group().member(&member_id).map(|member| (**member).clone()).unwrap_or_default(),
    };
    let metadata = updated_metadata(&before.metadata, request);
    check_change(draft, context, &before.metadata, &metadata)?;

    let reported = request.topic_partitions.as_deref();
    let step = MemberStep {
        member_id: &member_id,
        replaced: replaced.as_ref(),
        before: &before,
        metadata: &metadata,
        reported,
        is_joining: request.member_epoch == 0,
        visible_topics: Some(&request.visible_topics),
    };
    let current = advance(draft, context, &step);
    draft.timers.push(TimerChange::Session {
        member_id: Arc::clone(&member_id),
        timeout_ms: context.session_timeout_ms(&request.group_id),
    });

    let is_full_request = request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && reported.is_some();
    let tells_assignment =
        request.member_epoch == 0 || is_full_request || current.assigned != before.current.assigned;
    Ok(ConsumerGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: Some(member_id.to_string()),
        member_epoch: current.member_epoch,
        heartbeat_interval_ms: interval_ms(draft.group(), context, &current),
        assignment: tells_assignment.then(|| on_the_wire(&current.assigned)),
    })
}

/// When the member is to come again: soon while partitions are on their way, or have just been, for every step of that waits
/// for somebody's next heartbeat. (Kafka tells the setting alone, and a group of any size takes two intervals to settle.) A small
/// group comes sooner than a large one, so that all of them together are a thousand heartbeats a second, or few more.
fn interval_ms(group: &ConsumerGroup, context: &Context<'_>, current: &CurrentAssignment) -> i32 {
    let setting_ms = context.heartbeat_interval_ms(&group.group_id);
    let changed_ago_ms = context.now_ms.saturating_sub(group.target_timestamp_ms);
    let is_settled = group.epoch == group.target_epoch
        && current.is_reconciled_to(group.target_epoch)
        && changed_ago_ms >= i64::from(setting_ms);
    if is_settled {
        setting_ms
    } else {
        let members = i32::try_from(group.member_count()).unwrap_or(i32::MAX);
        let config = &context.config.consumer;
        let soon_ms = members.clamp(config.unsettled_heartbeat_min_ms, config.unsettled_heartbeat_max_ms);
        setting_ms.min(soon_ms)
    }
}

/// What a member says, checked.
pub(super) struct MemberStep<'a> {
    pub(super) member_id: &'a Arc<str>,
    /// The static member whose place it takes.
    pub(super) replaced: Option<&'a Arc<str>>,
    pub(super) before: &'a ConsumerMember,
    pub(super) metadata: &'a ConsumerMemberMetadata,
    /// What it says it has; `None` if it says nothing.
    pub(super) reported: Option<&'a [TopicPartitions]>,
    pub(super) is_joining: bool,
    /// What expressions may find that are looked at now; `None` leaves that to somebody else.
    pub(super) visible_topics: Option<&'a TopicFilter>,
}

/// Takes in what a member says of itself, assigns anew where that changes who reads what, and takes the member a step
/// towards its target. Gives what it has then.
pub(super) fn advance(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    step: &MemberStep<'_>,
) -> CurrentAssignment {
    let MemberStep { member_id, before, metadata, .. } = step;
    if let Some(old) = step.replaced {
        replace_static_member(draft, old, member_id, before);
    }
    let is_new = draft.group().member(member_id).is_none();
    if is_new || **metadata != before.metadata {
        draft.write(ConsumerRecord::Member {
            member_id: Arc::clone(member_id),
            metadata: Some((*metadata).clone()),
        });
    }
    let has_subscription_changed = metadata.topic_names != before.metadata.topic_names
        || metadata.topic_regex != before.metadata.topic_regex;
    let have_regexes_changed = refresh_regexes(draft, context, step.visible_topics);
    bump_epoch(draft, context, has_subscription_changed || have_regexes_changed);
    assign(draft, context);
    reconcile(draft, context, step, has_subscription_changed)
}

/// Checks that the member is who it says it is, and gives the id of the static member whose place it takes.
fn known_member(
    draft: &Draft<'_>,
    member_id: &Arc<str>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Option<Arc<str>>, Refused> {
    let group = draft.group();
    let is_joining = request.member_epoch == 0;
    let Some(instance_id) = &request.instance_id else {
        return match group.member(member_id) {
            Some(member) => check_epoch(member, request).map(|()| None),
            None if is_joining => Ok(None),
            None => Err(unknown_member(member_id, &group.group_id)),
        };
    };
    let Some(holder_id) = group.static_member_id(instance_id) else {
        return if is_joining {
            Ok(None)
        } else {
            let message = format!("Instance id {instance_id} is unknown.");
            Err(Refused::new(ErrorCode::UnknownMemberId, message))
        };
    };
    let Some(holder) = group.member(holder_id) else { return Ok(None) };
    if !is_joining {
        check_instance(instance_id, holder_id, member_id)?;
        return check_epoch(holder, request).map(|()| None);
    }
    if !holder.uses_classic_protocol() && holder.current.member_epoch != STATIC_LEAVE_EPOCH {
        let message = format!(
            "Static member {member_id} with instance id {instance_id} cannot join the group because the instance \
             id is owned by {holder_id} member."
        );
        return Err(Refused::new(ErrorCode::UnreleasedInstanceId, message));
    }
    Ok(Some(Arc::clone(holder_id)))
}

pub(super) fn unknown_member(member_id: &str, group_id: &str) -> Refused {
    let message = format!("Member {member_id} is not a member of group {group_id}.");
    Refused::new(ErrorCode::UnknownMemberId, message)
}

/// Another member may have taken the instance's place.
pub(super) fn check_instance(instance_id: &str, holder_id: &str, member_id: &str) -> Result<(), Refused> {
    if holder_id == member_id {
        return Ok(());
    }
    let message =
        format!("Static member {member_id} with instance id {instance_id} was fenced by member {holder_id}.");
    Err(Refused::new(ErrorCode::FencedInstanceId, message))
}

fn check_epoch(member: &ConsumerMember, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let (said, is) = (request.member_epoch, member.current.member_epoch);
    let owned = request.topic_partitions.as_deref();
    let fenced = |message: String| Err(Refused::new(ErrorCode::FencedMemberEpoch, message));
    if member.current.state == MemberState::Unknown && owned.is_none_or(|owned| !owned.is_empty()) {
        return fenced(
            "The consumer group member is in a unknown state. The member must abandon all its partitions and \
             rejoin."
                .to_owned(),
        );
    }
    // Who joins anew has given up everything; and the answer that told of the new epoch may have been lost.
    let is_late = said == member.current.previous_member_epoch && is_subset(owned, &member.current.assigned);
    if said == 0 || said == is || (said < is && is_late) {
        return Ok(());
    }
    let relation = if said > is { "greater" } else { "smaller" };
    fenced(format!(
        "The consumer group member has a {relation} member epoch ({said}) than the one known by the group \
         coordinator ({is}). The member must abandon all its partitions and rejoin."
    ))
}

fn is_subset(owned: Option<&[TopicPartitions]>, assigned: &OwnedPartitions) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|topic| {
            assigned
                .get(&topic.topic_id)
                .is_some_and(|assigned| topic.partitions.iter().all(|p| assigned.contains_key(p)))
        })
    })
}

/// A static member that came back, before it says anything: it is at the beginning, with what it had.
pub(super) fn rejoining(old: Option<&ConsumerMember>) -> ConsumerMember {
    let mut member = old.cloned().unwrap_or_default();
    member.current.member_epoch = 0;
    member.current.previous_member_epoch = 0;
    member
}

fn updated_metadata(
    before: &ConsumerMemberMetadata,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerMemberMetadata {
    let or_before = |said: &Option<String>, before: &Option<Arc<str>>| match said {
        Some(said) if before.as_deref() == Some(said) => before.clone(),
        Some(said) => Some(said.as_str().into()),
        None => before.clone(),
    };
    ConsumerMemberMetadata {
        instance_id: or_before(&request.instance_id, &before.instance_id),
        rack_id: or_before(&request.rack_id, &before.rack_id),
        client_id: request.client_id.as_str().into(),
        client_host: request.client_host.as_str().into(),
        topic_names: match &request.subscribed_topic_names {
            Some(names) => names.iter().map(|name| Arc::from(name.as_str())).collect(),
            None => before.topic_names.clone(),
        },
        topic_regex: match &request.subscribed_topic_regex {
            Some(regex) => regex.as_str().into(),
            None => Arc::clone(&before.topic_regex),
        },
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout_ms => timeout_ms,
        },
        server_assignor: or_before(&request.server_assignor, &before.server_assignor),
        classic: None,
    }
}

pub(super) fn check_change(
    draft: &Draft<'_>,
    context: &Context<'_>,
    before: &ConsumerMemberMetadata,
    after: &ConsumerMemberMetadata,
) -> Result<(), Refused> {
    if after.topic_regex != before.topic_regex
        && let Some(regex) = after.regex()
        && !draft.group().regexes().contains_key(regex)
    {
        regex::check(regex)?;
    }
    if after.bytes() > before.bytes() {
        let bytes = draft.group().metadata_bytes() - before.bytes().min(draft.group().metadata_bytes());
        if bytes + after.bytes() > context.config.group_metadata_bytes_max {
            let message = "The subscriptions of the consumer group's members are too large.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
    }
    Ok(())
}

/// Resolves the group's regular expressions if that is due, forgets those that nobody subscribes to, and says whether
/// other topics match now. They match what the member that is heard may know of, as in Kafka.
fn refresh_regexes(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    visible_topics: Option<&TopicFilter>,
) -> bool {
    let group = draft.group();
    let regexes = group.subscribed_regexes();
    let known = group.regexes();
    if regexes.is_empty() && known.is_empty() {
        return false;
    }
    let unused: Vec<Arc<str>> = known.keys().filter(|regex| !regexes.contains(*regex)).cloned().collect();
    let is_new = regexes.iter().any(|regex| !known.contains_key(regex));
    let age_ms = known.values().map(|known| context.now_ms.saturating_sub(known.timestamp_ms)).max();
    let is_outdated = known.values().any(|known| known.version < context.metadata.version());
    let is_due = age_ms.is_some_and(|age_ms| {
        age_ms >= REGEX_REFRESH_INTERVAL_MS_MIN && is_outdated
            || age_ms >= context.config.consumer.regex_refresh_interval_ms
    });
    let mut has_changed = !unused.is_empty();
    for regex in unused {
        draft.write(ConsumerRecord::Regex { regex, resolved: None });
    }
    let Some(visible_topics) = visible_topics.filter(|_| is_new || is_due) else { return has_changed };
    for (regex, topics) in regex::resolve(&regexes, context.metadata, visible_topics) {
        let is_same = draft.group().regexes().get(&regex).is_some_and(|known| known.topics == topics);
        has_changed |= !is_same;
        let version = context.metadata.version();
        let resolved = ResolvedRegex { topics, version, timestamp_ms: context.now_ms };
        draft.write(ConsumerRecord::Regex { regex, resolved: Some(resolved) });
    }
    has_changed
}

/// Begins the next group epoch if a subscription, or what is known of its topics, has changed.
fn bump_epoch(draft: &mut Draft<'_>, context: &Context<'_>, has_subscription_changed: bool) {
    if !has_subscription_changed && !draft.is_metadata_stale {
        return;
    }
    draft.is_metadata_stale = false;
    let metadata_hash = metadata_hash(&draft.group().subscribed_topics(), context.metadata);
    if has_subscription_changed || metadata_hash != draft.group().metadata_hash {
        let epoch = draft.group().epoch + 1;
        draft.write(ConsumerRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
    }
    if draft.group().has_subscription_metadata {
        draft.write(ConsumerRecord::SubscriptionMetadata { is_present: false });
    }
}

/// Computes the target assignment of the group epoch, if it has none yet and the last one is old enough (KIP-1263).
fn assign(draft: &mut Draft<'_>, context: &Context<'_>) {
    let group = draft.group();
    let interval_ms = context.assignment_interval_ms(&group.group_id, group.member_count());
    let is_too_soon = group.target_timestamp_ms != 0
        && interval_ms != 0
        && context.now_ms < group.target_timestamp_ms.saturating_add(interval_ms);
    if group.target_epoch >= group.epoch || is_too_soon {
        return;
    }
    let mut subscriptions = GroupSubscriptions::default();
    for name in group.subscribed_topics() {
        if let Some(topic) = context.metadata.topic(&name) {
            subscriptions.partition_counts.insert(topic.topic_id, topic.partition_count);
        }
    }
    for (member_id, member) in group.members() {
        let subscription = MemberSubscription {
            instance_id: member.metadata.instance_id.clone(),
            topics: group.subscribed_topic_ids(member, context.metadata),
            target: group.target(member_id).cloned().unwrap_or_default(),
        };
        subscriptions.members.insert(Arc::clone(member_id), subscription);
    }
    let targets = group.preferred_assignor(&context.config.consumer.assignors).assign(&subscriptions);
    let epoch = group.epoch;
    for (member_id, target) in targets {
        if draft.group().target(&member_id).map(|known| &**known) != Some(&target) {
            draft.write(ConsumerRecord::TargetMember { member_id, target: Some(target) });
        }
    }
    let timestamp_ms = context.now_ms;
    draft.write(ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch, timestamp_ms })));
}

/// Takes the member a step towards its target, and gives what it has then.
fn reconcile(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    step: &MemberStep<'_>,
    has_subscription_changed: bool,
) -> CurrentAssignment {
    let group = draft.group();
    let member_id = step.member_id;
    let Some(member) = group.member(member_id).cloned() else { return CurrentAssignment::default() };
    if !has_subscription_changed && member.current.is_reconciled_to(group.target_epoch) {
        return member.current.clone();
    }
    let target = group.target(member_id).cloned().unwrap_or_else(|| Arc::new(Assignment::new()));
    let subscribed: BTreeSet<TopicId> = group.subscribed_topic_ids(&member, context.metadata);
    let next = Reconciliation {
        current: &member.current,
        target_epoch: group.target_epoch,
        target: &target,
        subscribed: &subscribed,
        has_subscription_changed,
        reported: step.reported,
        is_joining: step.is_joining,
        is_owned_by_another: &|topic_id, partition| {
            group.owner(topic_id, partition).is_some_and(|owner| owner != member_id)
        },
    }
    .next();
    if next == member.current {
        return next;
    }
    draft.timers.push(if next.state == MemberState::UnrevokedPartitions {
        let timeout_ms = i64::from(member.metadata.rebalance_timeout_ms);
        TimerChange::Revocation { member_id: Arc::clone(member_id), timeout_ms }
    } else {
        TimerChange::RevocationEnds { member_id: Arc::clone(member_id) }
    });
    draft.write(ConsumerRecord::CurrentAssignment {
        member_id: Arc::clone(member_id),
        current: Some(next.clone()),
    });
    next
}

fn on_the_wire(assigned: &OwnedPartitions) -> Vec<TopicPartitions> {
    let topic = |(topic_id, partitions): (&TopicId, &std::collections::BTreeMap<_, _>)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
    };
    assigned.iter().map(topic).collect()
}
