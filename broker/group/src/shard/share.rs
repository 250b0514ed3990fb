//! Share groups in a shard.

use std::convert::Infallible;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::append::PendingAppend;
use super::slot::{Becomes, GroupKind, GroupSlot, Groups};
use super::{AppendId, CoordinatorRecord, GroupShard, Output};
use crate::consumer::{Context, Refused, TimerChange};
use crate::records::ShareRecord;
use crate::request::{RequestToken, ShareGroupHeartbeatRequest, ShareOffsetsChange, ShareOffsetsRequest};
use crate::response::{Response, ShareGroupHeartbeatResponse};
use crate::share::{self, ShareDraft, ShareGroup};
use crate::timers::TimerKey;

/// Share groups.
#[derive(Debug)]
pub(crate) struct Shares;

pub(crate) type ShareGroups = Groups<Shares>;

#[derive(Debug)]
pub(crate) enum Work {
    Heartbeat(RequestToken, Box<ShareGroupHeartbeatRequest>),
    Offsets(RequestToken, ShareOffsetsChange),
    SessionEnds(Arc<str>),
    TopicsDeleted,
}

/// What a share group's coordinator remembers of it.
#[derive(Debug, Default)]
pub(crate) struct ShareMemory {
    asked_to_initialize_ms: Option<i64>,
}

impl GroupKind for Shares {
    type Group = ShareGroup;
    type Work = Work;
    type Successor = Infallible;
    type Memory = ShareMemory;

    fn new_group(group_id: Arc<str>) -> ShareGroup {
        ShareGroup::new(group_id)
    }

    fn is_empty(group: &ShareGroup) -> bool {
        group.is_empty()
    }

    fn refused(work: &Work, error: ErrorCode) -> Option<Output> {
        let (token, response) = match work {
            Work::Heartbeat(token, _) => (*token, refused(error)),
            Work::Offsets(token, _) => (*token, offsets_refused(error)),
            Work::SessionEnds(_) | Work::TopicsDeleted => return None,
        };
        Some(Output::Reply { token, response })
    }

    fn failed(response: &Response, error: ErrorCode) -> Response {
        match response {
            Response::ShareOffsets(_) => offsets_refused(error),
            _ => refused(error),
        }
    }
}

impl ShareGroups {
    /// Takes in a record of a load.
    pub(super) fn replay_record(&mut self, group_id: &str, record: &ShareRecord) {
        if matches!(record, ShareRecord::Epoch(None)) {
            self.by_id.remove(group_id);
        } else {
            self.replay(group_id, record.is_tombstone(), |group| group.apply(record));
        }
    }
}

impl GroupShard {
    pub(super) fn share_group_heartbeat(
        &mut self,
        token: RequestToken,
        request: Box<ShareGroupHeartbeatRequest>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        match self.share_group_for(&request) {
            Ok(group_id) => self.share_group_work(&group_id, Work::Heartbeat(token, request), now_ms, out),
            Err(refused) => out.push(Output::Reply { token, response: response_of(refused) }),
        }
    }

    pub(super) fn share_offsets(
        &mut self,
        token: RequestToken,
        request: ShareOffsetsRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let group_id: Arc<str> = request.group_id.as_str().into();
        let makes_group = matches!(request.change, ShareOffsetsChange::Alter(_));
        if makes_group && let Err(refused) = self.share_group_or_new(&group_id) {
            let response = Response::ShareOffsets(Err((refused.error, refused.message)));
            return out.push(Output::Reply { token, response });
        }
        if !makes_group && self.share_groups.get(&group_id).is_none() {
            let response = Response::ShareOffsets(Err(self.no_share_group(&group_id)));
            return out.push(Output::Reply { token, response });
        }
        self.share_group_work(&group_id, Work::Offsets(token, request.change), now_ms, out);
    }

    /// The partitions of a share group that have a state.
    pub(super) fn view_share_offsets(&self, group_id: &str) -> Response {
        let view = self.share_groups.get(group_id).map(share::view_offsets);
        Response::ShareOffsets(view.ok_or_else(|| self.no_share_group(group_id)))
    }

    /// Why there is no share group of this id.
    pub(super) fn no_share_group(&self, group_id: &str) -> (ErrorCode, String) {
        let is_other = self.has_group_besides_share_groups(group_id);
        let reason = if is_other { "is not a share group" } else { "not found" };
        (ErrorCode::GroupIdNotFound, format!("Group {group_id} {reason}."))
    }

    fn has_group_besides_share_groups(&self, group_id: &str) -> bool {
        self.groups.contains_key(group_id)
            || self.consumer_groups.by_id.contains_key(group_id)
            || self.streams_groups.by_id.contains_key(group_id)
    }

    /// The group that the heartbeat is for; who joins makes it if there is none.
    fn share_group_for(&mut self, request: &ShareGroupHeartbeatRequest) -> Result<Arc<str>, Refused> {
        let group_id = request.group_id.as_str();
        let is_known =
            self.share_groups.by_id.contains_key(group_id) || self.has_group_besides_share_groups(group_id);
        if !is_known && request.member_epoch != 0 {
            let kind = if request.member_epoch > 0 { "Share group" } else { "Group" };
            return Err(Refused::new(ErrorCode::GroupIdNotFound, format!("{kind} {group_id} not found.")));
        }
        self.share_group_or_new(group_id)
    }

    /// The share group of this id, which is made if there is none.
    fn share_group_or_new(&mut self, group_id: &str) -> Result<Arc<str>, Refused> {
        if let Some((group_id, _)) = self.share_groups.by_id.get_key_value(group_id) {
            return Ok(Arc::clone(group_id));
        }
        let is_other = self.has_group_besides_share_groups(group_id);
        if is_other {
            let message = format!("Group {group_id} is not a share group.");
            return Err(Refused::new(ErrorCode::GroupIdNotFound, message));
        }
        if self.group_count() >= self.config.groups_per_shard_max {
            let message = "The coordinator has as many groups as it may have.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(self.share_groups.make(group_id))
    }

    fn share_group_work(&mut self, group_id: &Arc<str>, work: Work, now_ms: i64, out: &mut Vec<Output>) {
        if let Some(refusal) = self.share_groups.queue(group_id, work, self.config.share.waiting_max) {
            return out.push(refusal);
        }
        self.run_share_group(group_id, now_ms, out);
    }

    /// Decides on all that waits for the group, unless an append of it is under way.
    fn run_share_group(&mut self, group_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let Some(slot) = self.share_groups.by_id.get_mut(group_id) else { return };
        if slot.has_append_under_way() {
            return;
        }
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let is_metadata_stale = slot.metadata_version != Some(metadata.version());
        let mut draft = ShareDraft::new(
            &slot.group,
            is_metadata_stale,
            slot.memory.asked_to_initialize_ms,
            slot.is_written,
        );
        let mut replies = Vec::new();
        let mut records: Vec<CoordinatorRecord> = Vec::new();
        let mut bytes = 0;
        while bytes < context.config.share.append_bytes
            && let Some(work) = slot.waiting.pop_front()
        {
            decide(&mut draft, &context, work, &mut replies);
            for record in &draft.records[records.len()..] {
                let record = record.encode(group_id);
                bytes += record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len);
                records.push(record);
            }
        }
        let timers = std::mem::take(&mut draft.timers);
        let memory = ShareMemory { asked_to_initialize_ms: draft.asked_to_initialize_ms };
        if !draft.is_metadata_stale {
            slot.metadata_version = Some(metadata.version());
        }
        if records.is_empty() {
            drop(draft);
            slot.memory = memory;
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.share_groups.forget_unwritten(group_id);
        } else {
            let becomes = Becomes::Group(draft.into_group());
            let append = PendingAppend { records, ..PendingAppend::default() };
            let append_id = self.appends.append_with(append, out);
            let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
            self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
            self.share_groups.begin_append(group_id, append_id, becomes, memory, replies);
        }
        self.set_share_timers(group_id, timers, now_ms);
    }

    /// The outcome of an append that changes share groups is known.
    pub(super) fn share_groups_appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        for group_id in self.share_groups.take_appended(append_id) {
            self.share_groups.settle(&group_id, append_id, result, out);
            if result.is_err() {
                // The draft set the timers for what did not come to be.
                self.arm_share_timers(&group_id, now_ms);
            }
            self.run_share_group(&group_id, now_ms, out);
            self.share_groups.forget_unwritten(&group_id);
        }
    }

    fn set_share_timers(&mut self, group_id: &Arc<str>, changes: Vec<TimerChange>, now_ms: i64) {
        let session = |member_id| TimerKey::Session { group_id: Arc::clone(group_id), member_id };
        for change in changes {
            match change {
                TimerChange::Session { member_id, timeout_ms } => {
                    self.timers.schedule(session(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::Ends { member_id } => self.timers.cancel(&session(member_id)),
                // Nothing is ever to be given up.
                TimerChange::Revocation { .. }
                | TimerChange::RevocationEnds { .. }
                | TimerChange::Rejoin { .. }
                | TimerChange::RejoinEnds { .. } => {}
            }
        }
    }

    pub(super) fn share_session_ended(
        &mut self,
        group_id: &Arc<str>,
        member_id: Arc<str>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.share_groups.by_id.get_mut(group_id) {
            slot.waiting.push_back(Work::SessionEnds(member_id));
            self.run_share_group(group_id, now_ms, out);
        }
    }

    /// Topics are no more: what is kept of their partitions goes.
    pub(super) fn share_topics_deleted(&mut self, now_ms: i64, out: &mut Vec<Output>) {
        let metadata = self.metadata.current();
        let is_concerned = |slot: &GroupSlot<Shares>| {
            let topics = slot.group.state_partitions.topic_ids();
            topics.iter().any(|topic_id| metadata.topic_name(*topic_id).is_none())
        };
        let concerned = self.share_groups.by_id.iter().filter(|(_, slot)| is_concerned(slot));
        let group_ids: Vec<Arc<str>> = concerned.map(|(group_id, _)| Arc::clone(group_id)).collect();
        for group_id in group_ids {
            if let Some(slot) = self.share_groups.by_id.get_mut(&group_id) {
                slot.waiting.push_back(Work::TopicsDeleted);
                self.run_share_group(&group_id, now_ms, out);
            }
        }
    }

    /// The load is over: members get fresh sessions.
    pub(super) fn finish_load_of_share_groups(&mut self, now_ms: i64) {
        let group_ids: Vec<Arc<str>> = self.share_groups.by_id.keys().cloned().collect();
        for group_id in group_ids {
            self.arm_share_timers(&group_id, now_ms);
        }
    }

    /// Starts all timers of a group's members anew.
    fn arm_share_timers(&mut self, group_id: &Arc<str>, now_ms: i64) {
        let Some(slot) = self.share_groups.by_id.get(group_id) else { return };
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let timeout_ms = context.share_session_timeout_ms(group_id);
        let session =
            |member_id: &Arc<str>| TimerChange::Session { member_id: Arc::clone(member_id), timeout_ms };
        let changes = slot.group.members().map(|(member_id, _)| session(member_id)).collect();
        self.set_share_timers(group_id, changes, now_ms);
    }

    /// Writes tombstones for all that is written of an empty share group; it stays if they cannot be written.
    pub(super) fn remove_share_group(&self, group_id: &str, append: &mut PendingAppend) -> bool {
        let Some(slot) = self.share_groups.by_id.get(group_id) else { return false };
        if !slot.is_idle_and_empty() {
            return false;
        }
        append.records.extend(slot.group.tombstones().iter().map(|record| record.encode(group_id)));
        true
    }
}

fn decide(
    draft: &mut ShareDraft<'_>,
    context: &Context<'_>,
    work: Work,
    replies: &mut Vec<(RequestToken, Response)>,
) {
    match work {
        Work::Heartbeat(token, request) => {
            let answer = if request.member_epoch < 0 {
                share::leave(draft, context, &request)
            } else {
                share::heartbeat(draft, context, &request)
            };
            replies.push((token, answer.map_or_else(response_of, Response::ShareGroupHeartbeat)));
        }
        Work::Offsets(token, change) => {
            let answer = share::decide_offsets(draft, context.metadata, &change);
            let answer = answer.map_err(|refused| (refused.error, refused.message));
            replies.push((token, Response::ShareOffsets(answer)));
        }
        Work::TopicsDeleted => share::forget_deleted_topics(draft, context.metadata),
        Work::SessionEnds(member_id) => {
            if draft.group().member(&member_id).is_some() {
                share::fence_member(draft, context, &member_id);
            }
        }
    }
}

/// The answer to a heartbeat that is refused without a word.
pub(super) fn refused(error: ErrorCode) -> Response {
    Response::ShareGroupHeartbeat(ShareGroupHeartbeatResponse {
        error,
        error_message: None,
        member_id: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
        initialize: None,
    })
}

pub(super) fn offsets_refused(error: ErrorCode) -> Response {
    Response::ShareOffsets(Err((error, error.message().to_owned())))
}

pub(super) fn response_of(why: Refused) -> Response {
    match refused(why.error) {
        Response::ShareGroupHeartbeat(response) => {
            Response::ShareGroupHeartbeat(ShareGroupHeartbeatResponse {
                error_message: Some(why.message),
                ..response
            })
        }
        other => other,
    }
}
