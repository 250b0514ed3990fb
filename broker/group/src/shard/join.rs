//! JoinGroup (key 11), versions 0 to 9.
//!
//! - 4: a new dynamic member is sent back with an id, to join with that (KIP-394).
//! - 5: static members (KIP-345). 9: a leader may be told to skip the assignment (KIP-814).

use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, Uuid};

use super::append::{Completion, PendingAppend, StaticMemberReplaced};
use super::consumer::ConsumerSlot;
use super::streams::StreamsSlot;
use super::{CoordinatorRecord, GroupShard, Output};
use crate::group::{ClassicGroup, GroupState, Member, metadata_bytes, own_protocols};
use crate::rebalance::{Rebalance, join_refused};
use crate::records::group_key;
use crate::request::{JoinGroupRequest, RequestToken};
use crate::response::Response;

const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

/// Answers with an error that no state of the group would change.
pub(super) fn check(config: &crate::GroupConfig, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    let session_timeouts_ms = config.min_session_timeout_ms..=config.max_session_timeout_ms;
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    if !session_timeouts_ms.contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    // What could not be kept, or not be written, is refused before anything is made of it. An id is made of
    // the client's or the instance's and 37 characters.
    let text_bytes_max = crate::records::STRING_BYTES_MAX - 64;
    let texts = [&request.client_id, &request.client_host, &request.member_id, &request.protocol_type];
    let too_long =
        texts.into_iter().chain(&request.group_instance_id).any(|text| text.len() > text_bytes_max)
            || request.protocols.iter().any(|protocol| protocol.name.len() > text_bytes_max);
    if too_long
        || request.protocols.len() > config.protocols_per_member_max
        || metadata_bytes(&request.protocols) > config.member_metadata_bytes_max
    {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(())
}

impl GroupShard {
    pub(super) fn join(
        &mut self,
        token: RequestToken,
        request: JoinGroupRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let is_new_member = request.member_id.is_empty();
        let group_id = request.group_id.as_str();
        if self.share_groups.by_id.contains_key(group_id)
            || !self.consumer_groups.by_id.get(group_id).is_none_or(ConsumerSlot::is_idle_and_empty)
            || !self.streams_groups.by_id.get(group_id).is_none_or(StreamsSlot::is_idle_and_empty)
        {
            let response = join_refused(ErrorCode::InconsistentGroupProtocol, &request.member_id);
            return out.push(Output::Reply { token, response });
        }
        let is_new_group = !self.groups.contains_key(&*request.group_id);
        if is_new_group {
            let refusal = if !is_new_member {
                Some(join_refused(ErrorCode::UnknownMemberId, &request.member_id))
            } else if self.groups.len() >= self.config.groups_per_shard_max {
                Some(join_refused(ErrorCode::GroupMaxSizeReached, ""))
            } else if request.protocol_type.is_empty() || request.protocols.is_empty() {
                Some(join_refused(ErrorCode::InconsistentGroupProtocol, ""))
            } else {
                None
            };
            if let Some(response) = refusal {
                return out.push(Output::Reply { token, response });
            }
        }
        // Who is let in takes the place of an empty group of another kind, by one append.
        let retired = self
            .retire_empty_consumer_group(&request.group_id)
            .or_else(|| self.retire_empty_streams_group(&request.group_id));
        let (mut records, retired) =
            retired.map_or_else(Default::default, |(records, group)| (records, Some(group)));
        if is_new_group {
            let group_id: Arc<str> = request.group_id.as_str().into();
            self.groups.insert(Arc::clone(&group_id), ClassicGroup::new(group_id, now_ms));
        }
        let Some(mut rebalance) = self.rebalance(&request.group_id, now_ms, out) else { return };
        join_group(&mut rebalance, token, request);
        if is_new_group {
            // A group is written when it comes to be, before anything happened to it; if that fails it never was.
            let group_id = Arc::clone(&rebalance.group.group_id);
            let empty = ClassicGroup::new(Arc::clone(&group_id), now_ms);
            let value = Some(empty.to_record(|_| Bytes::new()));
            records.push(CoordinatorRecord { key: group_key(&group_id), value });
            let completion = Some(Completion::NewGroup { group_id });
            let append = PendingAppend { records, completion, retired, ..PendingAppend::default() };
            self.append(append, now_ms, out);
        } else if !records.is_empty() {
            self.append(PendingAppend { records, retired, ..PendingAppend::default() }, now_ms, out);
        }
    }

    /// The record of a replaced static member is written, or not.
    pub(super) fn static_member_written(
        &mut self,
        replaced: StaticMemberReplaced,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(mut rebalance) = self.rebalance(&replaced.group_id, now_ms, out) else { return };
        let group = &rebalance.group;
        let is_parked =
            group.member(&replaced.new_member_id).and_then(|m| m.awaiting_join) == Some(replaced.token);
        // If a rebalance began meanwhile, the parked JoinGroup is part of it.
        if !is_parked || group.state() != GroupState::Stable || group.generation_id != replaced.generation_id
        {
            return;
        }
        rebalance.group.update(&replaced.new_member_id, |member| member.awaiting_join = None);
        let mut response = rebalance.joined(&replaced.new_member_id);
        match result {
            Ok(()) if replaced.api_version >= SKIP_ASSIGNMENT_SINCE => {
                response.skip_assignment = rebalance.group.is_leader(&replaced.new_member_id);
            }
            Ok(()) => {
                // An older leader must not assign anew: it is told that somebody else leads.
                response.leader = replaced.leader;
                response.members = Vec::new();
            }
            Err(error) => {
                response.error = error;
                response.member_id = String::new();
                response.leader = replaced.leader;
                response.members = Vec::new();
                give_back(&mut rebalance, &replaced.old_member, &replaced.new_member_id);
            }
        }
        rebalance.renew_session(&replaced.new_member_id);
        rebalance.reply(replaced.token, Response::Join(response));
    }
}

/// Reverts the replacement of a static member.
fn give_back(rebalance: &mut Rebalance<'_>, old_member: &Member, new_member_id: &Arc<str>) {
    rebalance.group.replace_static_member(new_member_id, &old_member.member_id);
    rebalance.group.update(&old_member.member_id, |member| {
        member.protocols.clone_from(&old_member.protocols);
        member.rebalance_timeout_ms = old_member.rebalance_timeout_ms;
        member.session_timeout_ms = old_member.session_timeout_ms;
        member.client_id = Arc::clone(&old_member.client_id);
        member.client_host = Arc::clone(&old_member.client_host);
    });
    rebalance.retire_session(new_member_id);
    rebalance.renew_session(&old_member.member_id);
}

fn join_group(rebalance: &mut Rebalance<'_>, token: RequestToken, request: JoinGroupRequest) {
    let config = rebalance.config;
    if !accepts(rebalance, &request) {
        rebalance.remove_member(&request.member_id);
        rebalance.reply(token, join_refused(ErrorCode::GroupMaxSizeReached, ""));
        // Nobody else needs to wait for it. (Kafka's members wait on, until their rebalance timeout.)
        return rebalance.complete_join_if_all_joined();
    }
    let others_bytes = rebalance.group.metadata_bytes()
        - rebalance.group.member(&request.member_id).map_or(0, Member::metadata_bytes);
    if others_bytes + metadata_bytes(&request.protocols) > config.group_metadata_bytes_max {
        return rebalance.reply(token, join_refused(ErrorCode::GroupMaxSizeReached, ""));
    }
    if !rebalance.group.supports_protocols(&request.protocol_type, &request.protocols) {
        return rebalance
            .reply(token, join_refused(ErrorCode::InconsistentGroupProtocol, &request.member_id));
    }
    if request.member_id.is_empty() {
        join_new_member(rebalance, token, request);
    } else {
        join_existing_member(rebalance, token, request);
    }
}

/// Whether the group is not too large for this member. While it prepares a rebalance those who wait are
/// counted: a group that was larger than the bound, when the bound was another, shrinks to it.
fn accepts(rebalance: &Rebalance<'_>, request: &JoinGroupRequest) -> bool {
    let (group, max) = (&rebalance.group, rebalance.config.group_max_size);
    let member = group.member(&request.member_id);
    match group.state() {
        GroupState::Empty | GroupState::Dead => true,
        GroupState::PreparingRebalance => {
            member.is_some_and(|member| member.awaiting_join.is_some()) || group.members_awaiting_join() < max
        }
        GroupState::CompletingRebalance | GroupState::Stable => {
            member.is_some() || group.member_count() < max
        }
    }
}

fn join_new_member(rebalance: &mut Rebalance<'_>, token: RequestToken, request: JoinGroupRequest) {
    let prefix = request.group_instance_id.as_deref().unwrap_or(&request.client_id);
    let new_member_id: Arc<str> = format!("{prefix}-{}", java_uuid_text(request.new_member_uuid)).into();
    if rebalance.group.member(&new_member_id).is_some() || rebalance.group.is_pending(&new_member_id) {
        // Two equal random ids: the client is to try another.
        return rebalance.reply(token, join_refused(ErrorCode::CoordinatorNotAvailable, ""));
    }
    if let Some(instance_id) = &request.group_instance_id {
        match rebalance.group.static_member_id(instance_id).cloned() {
            Some(old_member_id) => {
                replace_static_member(rebalance, token, request, &old_member_id, &new_member_id)
            }
            None => add_member(rebalance, token, request, new_member_id),
        }
    } else if request.api_version >= MEMBER_ID_REQUIRED_SINCE {
        if rebalance.group.pending_join.len() >= rebalance.config.pending_joins_per_group_max {
            return rebalance.reply(token, join_refused(ErrorCode::GroupMaxSizeReached, ""));
        }
        rebalance.group.pending_join.insert(Arc::clone(&new_member_id));
        rebalance.schedule_session(&new_member_id, i64::from(request.session_timeout_ms));
        rebalance.reply(token, join_refused(ErrorCode::MemberIdRequired, &new_member_id));
    } else {
        add_member(rebalance, token, request, new_member_id);
    }
}

fn add_member(
    rebalance: &mut Rebalance<'_>,
    token: RequestToken,
    request: JoinGroupRequest,
    member_id: Arc<str>,
) {
    let member = Member {
        member_id,
        group_instance_id: request.group_instance_id.map(Arc::from),
        client_id: request.client_id.into(),
        client_host: request.client_host.into(),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        session_timeout_ms: request.session_timeout_ms,
        protocols: own_protocols(request.protocols),
        assignment: Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: true,
    };
    rebalance.add_member(member, &request.protocol_type, token);
}

fn join_existing_member(rebalance: &mut Rebalance<'_>, token: RequestToken, request: JoinGroupRequest) {
    let member_id: Arc<str> = request.member_id.as_str().into();
    if rebalance.group.is_pending(&member_id) {
        if request.group_instance_id.is_some() {
            // Only dynamic members are sent back for an id.
            return rebalance.reply(token, join_refused(ErrorCode::UnknownMemberId, &member_id));
        }
        return add_member(rebalance, token, request, member_id);
    }
    let protocols = own_protocols(request.protocols);
    let has_changed = match rebalance.group.validate_member(&member_id, request.group_instance_id.as_deref())
    {
        Ok(member) => member.protocols != protocols,
        Err(error) => return rebalance.reply(token, join_refused(error, &member_id)),
    };
    let must_rebalance = match rebalance.group.state() {
        GroupState::PreparingRebalance => true,
        GroupState::CompletingRebalance => has_changed,
        // A leader that joins again wants a rebalance: what it assigns has changed.
        GroupState::Stable => has_changed || rebalance.group.is_leader(&member_id),
        GroupState::Empty | GroupState::Dead => {
            return rebalance.reply(token, join_refused(ErrorCode::UnknownMemberId, &member_id));
        }
    };
    if must_rebalance {
        rebalance.rejoin(&member_id, token, |member| {
            member.protocols = protocols;
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.session_timeout_ms = request.session_timeout_ms;
        });
    } else {
        // It missed the answer to its earlier JoinGroup: the generation goes on.
        let response = rebalance.joined(&member_id);
        rebalance.reply(token, Response::Join(response));
    }
}

/// A static member came back without its id (KIP-345).
fn replace_static_member(
    rebalance: &mut Rebalance<'_>,
    token: RequestToken,
    request: JoinGroupRequest,
    old_member_id: &Arc<str>,
    new_member_id: &Arc<str>,
) {
    let leader = rebalance.group.leader().map(|id| id.to_string()).unwrap_or_default();
    let Some(old_member) = rebalance.group.replace_static_member(old_member_id, new_member_id) else {
        return;
    };
    rebalance.answer_parked(&old_member, ErrorCode::FencedInstanceId, old_member_id);
    rebalance.retire_session(old_member_id);
    rebalance.park_join(new_member_id, token, |member| {
        member.protocols = own_protocols(request.protocols);
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        member.client_id = request.client_id.into();
        member.client_host = request.client_host.into();
    });
    rebalance.renew_session(new_member_id);
    let group = &rebalance.group;
    match group.state() {
        GroupState::Stable if group.select_protocol() == group.protocol_name => {
            // Nobody else needs to know: the new id is written, with the assignments as they are.
            let record = rebalance.metadata_record(|member| member.assignment.clone());
            let completion = Completion::StaticMember(Box::new(StaticMemberReplaced {
                api_version: request.api_version,
                group_id: Arc::clone(&group.group_id),
                generation_id: group.generation_id,
                leader,
                old_member: Member { awaiting_join: None, awaiting_sync: None, ..old_member },
                new_member_id: Arc::clone(new_member_id),
                token,
            }));
            rebalance.append(record, completion);
        }
        // The leader may be assigning to the old id at this moment.
        GroupState::CompletingRebalance | GroupState::Stable => rebalance.prepare_rebalance(),
        _ => rebalance.complete_join_if_all_joined(),
    }
}

/// A random id as Java prints one, which is what the tail of Kafka's member ids looks like.
fn java_uuid_text(uuid: Uuid) -> String {
    let hex: String = uuid.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
