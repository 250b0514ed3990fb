//! Heartbeat (key 12), versions 0 to 4, and LeaveGroup (key 13), versions 0 to 5.

use moldau_model::ErrorCode;

use super::{GroupShard, Output};
use crate::group::GroupState;
use crate::rebalance::Rebalance;
use crate::request::{HeartbeatRequest, LeaveGroupRequest, LeavingMember, RequestToken};
use crate::response::{LeaveGroupResponse, LeftMember, Response};

impl GroupShard {
    pub(super) fn heartbeat(
        &mut self,
        token: RequestToken,
        request: &HeartbeatRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let error = match self.rebalance(&request.group_id, now_ms, out) {
            Some(mut rebalance) => heartbeat(&mut rebalance, request),
            None => ErrorCode::UnknownMemberId,
        };
        out.push(Output::Reply { token, response: Response::Heartbeat(error) });
    }

    pub(super) fn leave(
        &mut self,
        token: RequestToken,
        request: LeaveGroupRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let mut rebalance = self.rebalance(&request.group_id, now_ms, out);
        let members: Vec<LeftMember> = request
            .members
            .into_iter()
            .map(|leaving| {
                let error = match &mut rebalance {
                    Some(rebalance) => leave(rebalance, &leaving).err().unwrap_or(ErrorCode::None),
                    None => ErrorCode::UnknownMemberId,
                };
                LeftMember {
                    member_id: leaving.member_id,
                    group_instance_id: leaving.group_instance_id,
                    error,
                }
            })
            .collect();
        if let Some(mut rebalance) = rebalance
            && members.iter().any(|member| member.error.is_none())
        {
            rebalance.after_removal();
        }
        let response = Response::Leave(LeaveGroupResponse { error: ErrorCode::None, members });
        out.push(Output::Reply { token, response });
    }
}

fn heartbeat(rebalance: &mut Rebalance<'_>, request: &HeartbeatRequest) -> ErrorCode {
    let group = &rebalance.group;
    if let Err(error) = group.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
        return error;
    }
    if request.generation_id != group.generation_id {
        return ErrorCode::IllegalGeneration;
    }
    rebalance.renew_session(&request.member_id);
    match rebalance.group.state() {
        GroupState::PreparingRebalance => ErrorCode::RebalanceInProgress,
        GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::None,
        GroupState::Empty | GroupState::Dead => ErrorCode::UnknownMemberId,
    }
}

fn leave(rebalance: &mut Rebalance<'_>, leaving: &LeavingMember) -> Result<(), ErrorCode> {
    let instance_id = leaving.group_instance_id.as_deref();
    if leaving.member_id.is_empty() {
        // An administrator removes a static member and does not know its id.
        let member_id = instance_id.and_then(|id| rebalance.group.static_member_id(id)).cloned();
        let member_id = member_id.ok_or(ErrorCode::UnknownMemberId)?;
        rebalance.remove_member(&member_id);
        return Ok(());
    }
    if !rebalance.group.is_pending(&leaving.member_id) {
        rebalance.group.validate_member(&leaving.member_id, instance_id)?;
    }
    rebalance.remove_member(&leaving.member_id);
    Ok(())
}
