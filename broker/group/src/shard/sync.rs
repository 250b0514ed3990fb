//! SyncGroup (key 14), versions 0 to 5. Everyone waits for the leader's assignments; they go out once written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId};

use super::append::{Completion, append_error_to_response};
use super::{GroupShard, Output};
use crate::group::{ClassicGroup, GroupState};
use crate::rebalance::{Rebalance, sync_refused};
use crate::request::{RequestToken, SyncGroupAssignment, SyncGroupRequest};

/// From this version on protocol type and name must be there (KIP-559).
const PROTOCOL_REQUIRED_SINCE: i16 = 5;

/// Answers with an error that no state of the group would change.
pub(super) fn check(request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    let has_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if request.api_version >= PROTOCOL_REQUIRED_SINCE && !has_protocol {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

impl GroupShard {
    pub(super) fn sync(
        &mut self,
        token: RequestToken,
        request: SyncGroupRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(mut rebalance) = self.rebalance(&request.group_id, now_ms, out) else {
            return out.push(Output::Reply { token, response: sync_refused(ErrorCode::UnknownMemberId) });
        };
        if let Err(error) = validate(rebalance.group, &request) {
            return rebalance.reply(token, sync_refused(error));
        }
        match rebalance.group.state() {
            GroupState::CompletingRebalance => {
                rebalance.park_sync(&request.member_id, token);
                if rebalance.group.is_leader(&request.member_id) {
                    write_assignments(&mut rebalance, request.assignments);
                }
            }
            GroupState::Stable => {
                rebalance.synced(&request.member_id);
                let response = rebalance.assigned(&request.member_id);
                rebalance.reply(token, response);
            }
            GroupState::PreparingRebalance => {
                rebalance.reply(token, sync_refused(ErrorCode::RebalanceInProgress))
            }
            GroupState::Empty | GroupState::Dead => {
                rebalance.reply(token, sync_refused(ErrorCode::UnknownMemberId))
            }
        }
    }

    /// The assignments of a generation are written, or not.
    pub(super) fn assignment_written(
        &mut self,
        group_id: &Arc<str>,
        generation_id: GenerationId,
        assignments: &BTreeMap<String, Bytes>,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let Some(mut rebalance) = self.rebalance(group_id, now_ms, out) else { return };
        let group = &rebalance.group;
        // A member may have come or gone meanwhile: then this generation is over and nobody waits for it.
        if group.state() == GroupState::CompletingRebalance && group.generation_id == generation_id {
            finish_assignment(&mut rebalance, assignments, result);
        }
    }
}

fn validate(group: &ClassicGroup, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation_id {
        return Err(ErrorCode::IllegalGeneration);
    }
    let differs =
        |said: &Option<String>, is: &Option<String>| matches!((said, is), (Some(a), Some(b)) if a != b);
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol_name)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

fn write_assignments(rebalance: &mut Rebalance<'_>, assignments: Vec<SyncGroupAssignment>) {
    // Who is no member is not kept, and a slice would keep the whole request in memory.
    let assignments: BTreeMap<String, Bytes> = assignments
        .into_iter()
        .filter(|given| rebalance.group.member(&given.member_id).is_some())
        .map(|given| (given.member_id, Bytes::copy_from_slice(&given.assignment)))
        .collect();
    let record =
        rebalance.metadata_record(|member| assignments.get(&*member.member_id).cloned().unwrap_or_default());
    let record_bytes = record.value.as_ref().map_or(0, Bytes::len);
    if record_bytes > rebalance.config.group_record_bytes_max {
        let error = append_error_to_response(ErrorCode::MessageTooLarge);
        return finish_assignment(rebalance, &assignments, Err(error));
    }
    let completion = Completion::Assignment {
        group_id: Arc::clone(&rebalance.group.group_id),
        generation_id: rebalance.group.generation_id,
        assignments,
    };
    rebalance.append(record, completion);
}

fn finish_assignment(
    rebalance: &mut Rebalance<'_>,
    assignments: &BTreeMap<String, Bytes>,
    result: Result<(), ErrorCode>,
) {
    match result {
        Ok(()) => rebalance.assign(|member_id| assignments.get(member_id).cloned().unwrap_or_default()),
        Err(error) => {
            rebalance.propagate_error(error);
            rebalance.prepare_rebalance();
        }
    }
}
