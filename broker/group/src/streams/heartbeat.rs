//! StreamsGroupHeartbeat (key 88), version 0: joins, stays, and moves towards the target.
//!
//! Whatever could be wrong with a request is found out before the first record of it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::assignor::{self, AssignmentMember, SubtopologyTasks};
use super::configure::{ConfiguredTopology, configure};
use super::draft::StreamsDraft;
use super::endpoints;
use super::group::{NO_TOPOLOGY_EPOCH, StreamsGroup, member_tombstones};
use super::member::{CurrentTasks, LEAVE_EPOCH, StreamsMember, StreamsMemberMetadata, StreamsMemberState};
use super::message::{
    StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, StreamsStatus, StreamsStatusCode,
};
use super::reconcile::{HeldByOthers, TaskReconciliation};
use super::tasks::{StreamsAssignment, StreamsTasks};
use super::topology::{self, StreamsTopology};
use crate::GroupConfig;
use crate::consumer::{Context, Refused, TimerChange, metadata_hash};
use crate::records::{STRING_BYTES_MAX, StreamsEpoch, StreamsRecord, TargetEpoch};

/// The epoch by which a static member says that it comes back; static members there are none of yet.
const STATIC_LEAVE_EPOCH: i32 = -2;
/// The one setting that an assignment follows, by Kafka's name for it.
const STANDBY_REPLICAS_CONFIG: &str = "num.standby.replicas";

/// What is wrong with the request itself, whatever the group's state.
pub(crate) fn check(config: &GroupConfig, request: &StreamsGroupHeartbeatRequest) -> Result<(), Refused> {
    if let Some(topology) = &request.topology {
        topology::check(topology, config.streams.topology_bytes_max)?;
    }
    check_unsupported(request)?;
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
    let is_not_empty = |tasks: &Option<StreamsTasks>| tasks.as_ref().is_none_or(|tasks| !tasks.is_empty());
    match request.member_epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if is_not_empty(&request.active_tasks) => {
            return invalid("ActiveTasks must be empty when (re-)joining.");
        }
        0 if is_not_empty(&request.standby_tasks) => {
            return invalid("StandbyTasks must be empty when (re-)joining.");
        }
        0 if is_not_empty(&request.warmup_tasks) => {
            return invalid("WarmupTasks must be empty when (re-)joining.");
        }
        0 => match &request.topology {
            None => return invalid("Topology must be non-null when (re-)joining."),
            Some(topology) => topology::check_changelogs(topology)?,
        },
        // Static members were refused above.
        STATIC_LEAVE_EPOCH => return invalid("InstanceId can't be null."),
        epoch @ ..STATIC_LEAVE_EPOCH => {
            let message = format!("MemberEpoch is {epoch}, but must be greater than or equal to -2.");
            return Err(Refused::new(ErrorCode::InvalidRequest, message));
        }
        _ => {}
    }
    let told = [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks];
    if told.iter().any(|tasks| tasks.is_some()) && told.iter().any(|tasks| tasks.is_none()) {
        return invalid("If one task-type is non-null, all must be non-null.");
    }
    if request.member_epoch != 0 && request.topology.is_some() {
        return invalid("Topology can only be provided when (re-)joining.");
    }
    check_sizes(config, request)
}

/// What Kafka 4.3 has in the protocol and does not serve.
fn check_unsupported(request: &StreamsGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(ErrorCode::InvalidRequest, message));
    if request.instance_id.is_some() {
        return invalid("Static membership is not yet supported.");
    }
    if request.has_task_offsets {
        return invalid("TaskOffsets are not supported yet.");
    }
    if request.has_task_end_offsets {
        return invalid("TaskEndOffsets are not supported yet.");
    }
    if request.warmup_tasks.as_ref().is_some_and(|tasks| !tasks.is_empty()) {
        return invalid("WarmupTasks are not supported yet.");
    }
    let mut subtopologies = request.topology.iter().flat_map(|topology| &topology.subtopologies);
    if subtopologies.any(|subtopology| !subtopology.source_topic_regexes.is_empty()) {
        return invalid("Regular expressions for source topics are not supported yet.");
    }
    Ok(())
}

/// What could not be kept, or not be written, is refused before anything is made of it.
fn check_sizes(config: &GroupConfig, request: &StreamsGroupHeartbeatRequest) -> Result<(), Refused> {
    let tags = request.client_tags.iter().flatten();
    let tag_texts = tags.flat_map(|(name, value)| [name, value]);
    let texts = [&request.group_id, &request.member_id, &request.client_id, &request.client_host];
    let optional = [&request.rack_id, &request.process_id].into_iter().flatten();
    let endpoint = request.user_endpoint.iter().map(|endpoint| &endpoint.host);
    let mut bytes = 0;
    for text in texts.into_iter().chain(optional).chain(endpoint).chain(tag_texts) {
        bytes += text.len();
        if text.len() > STRING_BYTES_MAX || bytes > config.member_metadata_bytes_max {
            let message = "The request's texts are too long to be kept.";
            return Err(Refused::new(ErrorCode::InvalidRequest, message));
        }
    }
    Ok(())
}

/// A heartbeat of who joins or stays.
pub(crate) fn heartbeat(
    draft: &mut StreamsDraft<'_>,
    context: &Context<'_>,
    request: &StreamsGroupHeartbeatRequest,
) -> Result<StreamsGroupHeartbeatResponse, Refused> {
    let is_joining = request.member_epoch == 0;
    let group = draft.group();
    let config = &context.config.streams;
    if is_joining && group.member_count() >= config.size_max {
        let message =
            format!("The streams group has reached its maximum capacity of {} members.", config.size_max);
        return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
    }
    let member_id: Arc<str> = request.member_id.as_str().into();
    let reported = reported(request);
    let before = match group.member(&member_id) {
        Some(member) => check_epoch(member, request, reported.as_ref()).map(|()| (**member).clone())?,
        None if is_joining => StreamsMember::default(),
        None => return Err(unknown_member(&member_id, &group.group_id)),
    };
    let is_new = group.member(&member_id).is_none();
    let metadata = updated(&before.metadata, request);
    check_room(group, context, &before.metadata, &metadata)?;
    let topology = topology_of(group, request)?;
    let configured = current_topology(draft, context, &topology)?;
    if let Some(reported) = &reported {
        check_tasks(&configured, reported)?;
    }
    if before.current.state == StreamsMemberState::Unknown
        && reported.as_ref().is_none_or(|reported| reported.all().next().is_some())
    {
        let message = "The streams group member is in a unknown state. The member must abandon all its tasks and \
                       rejoin.";
        return Err(Refused::new(ErrorCode::FencedMemberEpoch, message));
    }

    // Nothing is wrong: from here on the request takes effect.
    let mut statuses = Vec::new();
    if metadata.topology_epoch < topology.epoch && draft.group().topology.is_some() {
        let detail = format!(
            "The member's topology epoch {} is behind the group's topology epoch {}.",
            metadata.topology_epoch, topology.epoch
        );
        statuses.push(StreamsStatus { code: StreamsStatusCode::StaleTopology, detail });
    }
    let was_empty = draft.group().is_empty();
    let has_changed = is_new || metadata != before.metadata;
    let has_endpoint = metadata.user_endpoint.is_some();
    if has_changed {
        draft.write(StreamsRecord::Member { member_id: Arc::clone(&member_id), metadata: Some(metadata) });
    }
    if draft.group().topology.is_none() {
        draft.write(StreamsRecord::Topology(Some(Arc::clone(&topology))));
    }
    bump_epoch(draft, context, &topology, &configured, has_changed);
    let initial_delay_ms = context.streams_initial_delay_ms(&request.group_id);
    if was_empty && initial_delay_ms > 0 && !draft.memory.is_initial_delay_running {
        draft.memory.is_initial_delay_running = true;
        draft.initial_delay_ms = Some(initial_delay_ms);
    }
    if let Some(detail) = assign(draft, context, &configured) {
        statuses
            .push(StreamsStatus { code: StreamsStatusCode::AssignmentDelayed, detail: detail.to_owned() });
    }
    let current = reconcile(draft, &member_id, reported.as_ref(), is_joining);
    draft.timers.push(TimerChange::Session {
        member_id: Arc::clone(&member_id),
        timeout_ms: context.streams_session_timeout_ms(&request.group_id),
    });
    if request.shutdown_application {
        draft.memory.shutdown_requested_by.get_or_insert_with(|| Arc::clone(&member_id));
    }

    let is_new_to_it = is_joining || current.assigned != before.current.assigned;
    // Who says what it has may not have got the answer that told it of a change. (Kafka says nothing then, and the member waits
    // for good, or takes what is another's by now.)
    let tells_assignment = is_new_to_it || reported.is_some();
    let known_endpoint_epoch = draft.memory.endpoint_epoch;
    let endpoint_epoch = known_endpoint_epoch.wrapping_add(i32::from(is_new_to_it && has_endpoint));
    if draft.is_written {
        draft.memory.endpoint_epoch = endpoint_epoch;
    }
    let endpoints = (endpoint_epoch != request.endpoint_epoch)
        .then(|| endpoints::of_group(draft.group(), &configured, context.metadata));
    statuses.extend(configured.problem.clone());
    if let Some(requested_by) = &draft.memory.shutdown_requested_by {
        let detail = format!(
            "Streams group member {requested_by} encountered a fatal error and requested a shutdown for the entire \
             application."
        );
        statuses.push(StreamsStatus { code: StreamsStatusCode::ShutdownApplication, detail });
    }
    Ok(StreamsGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: request.member_id.clone(),
        member_epoch: current.member_epoch,
        heartbeat_interval_ms: interval_ms(
            draft,
            context,
            current.is_reconciled_to(draft.group().target_epoch),
        ),
        statuses,
        assignment: tells_assignment.then(|| current.assigned.assignment()),
        endpoint_epoch: draft.memory.endpoint_epoch,
        endpoints,
        topics_to_create: configured.missing_topics.clone(),
    })
}

/// A heartbeat of who leaves.
pub(crate) fn leave(
    draft: &mut StreamsDraft<'_>,
    request: &StreamsGroupHeartbeatRequest,
) -> Result<StreamsGroupHeartbeatResponse, Refused> {
    let member_id: Arc<str> = request.member_id.as_str().into();
    if draft.group().member(&member_id).is_none() {
        return Err(unknown_member(&member_id, &draft.group().group_id));
    }
    if request.shutdown_application {
        draft.memory.shutdown_requested_by.get_or_insert_with(|| Arc::clone(&member_id));
    }
    fence_member(draft, &member_id);
    Ok(StreamsGroupHeartbeatResponse {
        error: ErrorCode::None,
        error_message: None,
        member_id: request.member_id.clone(),
        member_epoch: LEAVE_EPOCH,
        heartbeat_interval_ms: 0,
        statuses: Vec::new(),
        assignment: None,
        endpoint_epoch: 0,
        endpoints: None,
        topics_to_create: Vec::new(),
    })
}

/// Takes a member out: what it had is free, and the next epoch begins.
pub(crate) fn fence_member(draft: &mut StreamsDraft<'_>, member_id: &Arc<str>) {
    for record in member_tombstones(member_id) {
        draft.write(record);
    }
    let group = draft.group();
    let epoch = StreamsEpoch {
        epoch: group.epoch + 1,
        metadata_hash: group.metadata_hash,
        validated_topology_epoch: group.validated_topology_epoch,
        assignment_configs: group.assignment_configs.clone(),
    };
    draft.write(StreamsRecord::Epoch(Some(epoch)));
    draft.timers.push(TimerChange::Ends { member_id: Arc::clone(member_id) });
    if draft.group().is_empty() {
        // The application is down: whoever starts it again wants it to run.
        draft.memory.shutdown_requested_by = None;
    }
}

/// The time has come that the first members of a group wait for: all that are there by now are assigned together.
pub(crate) fn initial_delay_ends(draft: &mut StreamsDraft<'_>, context: &Context<'_>) {
    draft.memory.is_initial_delay_running = false;
    let Some(topology) = draft.group().topology.clone() else { return };
    if draft.group().is_empty() {
        return;
    }
    if let Ok(configured) = current_topology(draft, context, &topology) {
        assign(draft, context, &configured);
    }
}

fn unknown_member(member_id: &str, group_id: &str) -> Refused {
    let message = format!("Member {member_id} is not a member of group {group_id}.");
    Refused::new(ErrorCode::UnknownMemberId, message)
}

/// What the member says that it has; `None` if it says nothing.
fn reported(request: &StreamsGroupHeartbeatRequest) -> Option<StreamsAssignment> {
    Some(StreamsAssignment {
        active: request.active_tasks.clone()?,
        standby: request.standby_tasks.clone()?,
        warmup: request.warmup_tasks.clone()?,
    })
}

fn check_epoch(
    member: &StreamsMember,
    request: &StreamsGroupHeartbeatRequest,
    reported: Option<&StreamsAssignment>,
) -> Result<(), Refused> {
    let (said, is) = (request.member_epoch, member.current.member_epoch);
    // The answer that told of the new epoch may have been lost.
    let is_late = || {
        said == member.current.previous_member_epoch
            && reported.is_some_and(|reported| reported.is_within(&member.current.assigned))
    };
    if said == 0 || said == is || (said < is && is_late()) {
        return Ok(());
    }
    let relation = if said > is { "greater" } else { "smaller" };
    let message = format!(
        "The streams group member has a {relation} member epoch ({said}) than the one known by the group coordinator \
         ({is}). The member must abandon all its partitions and rejoin."
    );
    Err(Refused::new(ErrorCode::FencedMemberEpoch, message))
}

fn updated(before: &StreamsMemberMetadata, request: &StreamsGroupHeartbeatRequest) -> StreamsMemberMetadata {
    let tags = request.client_tags.as_ref().map(|tags| tags.iter().cloned().collect());
    StreamsMemberMetadata {
        instance_id: before.instance_id.clone(),
        rack_id: request.rack_id.as_deref().map(Arc::from).or_else(|| before.rack_id.clone()),
        client_id: request.client_id.as_str().into(),
        client_host: request.client_host.as_str().into(),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout_ms => timeout_ms,
        },
        topology_epoch: request.topology.as_ref().map_or(before.topology_epoch, |topology| topology.epoch),
        process_id: match &request.process_id {
            Some(process_id) => process_id.as_str().into(),
            None => Arc::clone(&before.process_id),
        },
        user_endpoint: request.user_endpoint.clone().or_else(|| before.user_endpoint.clone()),
        client_tags: tags.unwrap_or_else(|| before.client_tags.clone()),
    }
}

fn check_room(
    group: &StreamsGroup,
    context: &Context<'_>,
    before: &StreamsMemberMetadata,
    after: &StreamsMemberMetadata,
) -> Result<(), Refused> {
    if after.bytes() > before.bytes() {
        let others = group.metadata_bytes() - before.bytes().min(group.metadata_bytes());
        if others + after.bytes() > context.config.group_metadata_bytes_max {
            let message = "What the streams group's members say of themselves is too large.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
    }
    Ok(())
}

/// The group's topology, or the member's if there is none yet.
fn topology_of(
    group: &StreamsGroup,
    request: &StreamsGroupHeartbeatRequest,
) -> Result<Arc<StreamsTopology>, Refused> {
    match (&group.topology, &request.topology) {
        (Some(own), Some(said)) if own.epoch <= said.epoch && !own.is_same(said) => {
            Err(Refused::new(ErrorCode::InvalidRequest, "Topology updates are not supported yet."))
        }
        (Some(own), _) => Ok(Arc::clone(own)),
        (None, Some(said)) => Ok(Arc::new(said.clone())),
        // The group's record of it got lost: members bring it when they join again.
        (None, None) => {
            let message =
                "The streams group has no topology. The member must abandon all its partitions and rejoin.";
            Err(Refused::new(ErrorCode::FencedMemberEpoch, message))
        }
    }
}

/// The topology with the numbers that it has now.
fn current_topology(
    draft: &mut StreamsDraft<'_>,
    context: &Context<'_>,
    topology: &StreamsTopology,
) -> Result<Arc<ConfiguredTopology>, Refused> {
    if let Some(known) = draft.memory.configured.as_ref().filter(|_| !draft.is_metadata_stale) {
        return Ok(Arc::clone(known));
    }
    let configured = Arc::new(configure(topology, context.metadata, context.config.streams.tasks_max)?);
    if draft.group().topology.is_some() {
        draft.memory.configured = Some(Arc::clone(&configured));
    }
    Ok(configured)
}

fn check_tasks(configured: &ConfiguredTopology, reported: &StreamsAssignment) -> Result<(), Refused> {
    let Some(subtopologies) = configured.subtopologies.as_ref().filter(|_| configured.is_ready()) else {
        return Ok(());
    };
    let invalid = |message: String| Err(Refused::new(ErrorCode::InvalidRequest, message));
    for (subtopology_id, partitions) in reported.all() {
        let Some(subtopology) = subtopologies.get(subtopology_id) else {
            return invalid(format!("Subtopology {subtopology_id} does not exist in the topology."));
        };
        let count = subtopology.task_count;
        if let Some(partition) = partitions.iter().find(|partition| !(0..count).contains(&partition.0)) {
            return invalid(format!(
                "Task {} for subtopology {subtopology_id} is invalid. Number of tasks for this subtopology: {count}",
                partition.0
            ));
        }
    }
    Ok(())
}

/// Begins the next group epoch if a member, the topics or the settings have changed.
fn bump_epoch(
    draft: &mut StreamsDraft<'_>,
    context: &Context<'_>,
    topology: &StreamsTopology,
    configured: &ConfiguredTopology,
    has_changed: bool,
) {
    let group = draft.group();
    let metadata_hash = if draft.is_metadata_stale {
        metadata_hash(&topology.required_topics(), context.metadata)
    } else {
        group.metadata_hash
    };
    let validated_topology_epoch = if configured.is_ready() { topology.epoch } else { NO_TOPOLOGY_EPOCH };
    let assignment_configs = BTreeMap::from([(
        STANDBY_REPLICAS_CONFIG.to_owned(),
        context.streams_standby_replicas(&group.group_id).to_string(),
    )]);
    let is_due = has_changed
        || metadata_hash != group.metadata_hash
        || validated_topology_epoch != group.validated_topology_epoch
        || assignment_configs != group.assignment_configs;
    let epoch = group.epoch + 1;
    draft.is_metadata_stale = false;
    if is_due {
        draft.write(StreamsRecord::Epoch(Some(StreamsEpoch {
            epoch,
            metadata_hash,
            validated_topology_epoch,
            assignment_configs,
        })));
    }
}

/// Computes the target assignment of the group epoch if it has none yet. Says why not yet, if it is due.
fn assign(
    draft: &mut StreamsDraft<'_>,
    context: &Context<'_>,
    configured: &ConfiguredTopology,
) -> Option<&'static str> {
    let group = draft.group();
    if draft.memory.is_initial_delay_running {
        return Some("Assignment delayed due to the configured initial rebalance delay.");
    }
    if group.target_epoch >= group.epoch {
        return None;
    }
    let interval_ms = context.streams_assignment_interval_ms(&group.group_id);
    let is_too_soon = group.target_timestamp_ms != 0
        && interval_ms != 0
        // A target from a time to come is by another broker's clock.
        && context.now_ms >= group.target_timestamp_ms
        && context.now_ms < group.target_timestamp_ms.saturating_add(interval_ms);
    if is_too_soon {
        return Some("Assignment delayed due to the configured assignment interval.");
    }
    let subtopologies = configured.subtopologies.as_ref().filter(|_| configured.is_ready());
    let targets = match subtopologies {
        Some(subtopologies) => {
            let tasks = subtopologies.iter().map(|(id, each)| {
                let tasks = SubtopologyTasks { task_count: each.task_count, is_stateful: each.is_stateful };
                (Arc::clone(id), tasks)
            });
            let members = group.members().map(|(member_id, member)| {
                let before = group.target(member_id).map(|target| (**target).clone()).unwrap_or_default();
                let process_id = Arc::clone(&member.metadata.process_id);
                (Arc::clone(member_id), AssignmentMember { process_id, before })
            });
            let standby_replicas = group.assignment_configs.get(STANDBY_REPLICAS_CONFIG);
            let standby_replicas = standby_replicas.and_then(|count| count.parse().ok()).unwrap_or(0);
            assignor::assign(&members.collect(), &tasks.collect(), standby_replicas)
        }
        // Nobody can work before the topics are there.
        None => group.members().map(|(id, _)| (Arc::clone(id), StreamsAssignment::default())).collect(),
    };
    let epoch = group.epoch;
    for (member_id, target) in targets {
        if draft.group().target(&member_id).map(|known| &**known) != Some(&target) {
            draft.write(StreamsRecord::TargetMember { member_id, target: Some(target) });
        }
    }
    let timestamp_ms = context.now_ms;
    draft.write(StreamsRecord::TargetEpoch(Some(TargetEpoch { epoch, timestamp_ms })));
    None
}

/// Takes the member a step towards its target, and gives where it is then.
fn reconcile(
    draft: &mut StreamsDraft<'_>,
    member_id: &Arc<str>,
    reported: Option<&StreamsAssignment>,
    is_joining: bool,
) -> CurrentTasks {
    let group = draft.group();
    let Some(member) = group.member(member_id).cloned() else { return CurrentTasks::default() };
    if member.current.is_reconciled_to(group.target_epoch) {
        return member.current.clone();
    }
    // While the first members wait, nobody has a target.
    let target = match group.target(member_id) {
        Some(target) if !draft.memory.is_initial_delay_running => Arc::clone(target),
        _ => Arc::default(),
    };
    let held = HeldByOthers::than(group, member_id, &member.metadata.process_id);
    let step = TaskReconciliation {
        current: &member.current,
        target_epoch: group.target_epoch,
        target: &target,
        reported,
        is_joining,
        held: &held,
    };
    let Some(next) = step.next().filter(|next| *next != member.current) else {
        return member.current.clone();
    };
    draft.timers.push(if next.state == StreamsMemberState::UnrevokedTasks {
        let timeout_ms = i64::from(member.metadata.rebalance_timeout_ms);
        TimerChange::Revocation { member_id: Arc::clone(member_id), timeout_ms }
    } else {
        TimerChange::RevocationEnds { member_id: Arc::clone(member_id) }
    });
    let current = Some(next.clone());
    draft.write(StreamsRecord::CurrentAssignment { member_id: Arc::clone(member_id), current });
    next
}

/// When the member is to come again: soon while tasks are on their way, for every step of that waits for somebody's next
/// heartbeat. (Kafka tells the setting alone.)
fn interval_ms(draft: &StreamsDraft<'_>, context: &Context<'_>, is_reconciled: bool) -> i32 {
    let group = draft.group();
    let setting_ms = context.streams_heartbeat_interval_ms(&group.group_id);
    let changed_ago_ms = context.now_ms.saturating_sub(group.target_timestamp_ms);
    let is_settled =
        group.epoch == group.target_epoch && is_reconciled && changed_ago_ms >= i64::from(setting_ms);
    if is_settled {
        setting_ms
    } else {
        setting_ms.min(context.config.streams.unsettled_heartbeat_interval_ms)
    }
}
