//! Streams groups in a shard.

use std::convert::Infallible;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::append::{PendingAppend, Retired};
use super::offset_commit::CommitKind;
use super::slot::{Becomes, GroupKind, GroupSlot, Groups};
use super::{AppendId, CoordinatorRecord, GroupShard, Output};
use crate::consumer::{Context, Refused, TimerChange};
use crate::group::{ClassicGroup, GroupState};
use crate::records::{StreamsRecord, group_key};
use crate::request::{OffsetCommitRequest, RequestToken};
use crate::response::Response;
use crate::streams::{
    self, StreamsDraft, StreamsGroup, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse,
    StreamsMemory,
};
use crate::timers::TimerKey;

/// Streams groups.
#[derive(Debug)]
pub(crate) struct Streams;

pub(crate) type StreamsSlot = GroupSlot<Streams>;
pub(crate) type StreamsGroups = Groups<Streams>;

#[derive(Debug)]
pub(crate) enum Work {
    Heartbeat(RequestToken, Box<StreamsGroupHeartbeatRequest>),
    SessionEnds(Arc<str>),
    RevocationEnds(Arc<str>),
    InitialDelayEnds,
}

impl GroupKind for Streams {
    type Group = StreamsGroup;
    type Work = Work;
    type Successor = Infallible;
    type Memory = StreamsMemory;

    fn new_group(group_id: Arc<str>) -> StreamsGroup {
        StreamsGroup::new(group_id)
    }

    fn is_empty(group: &StreamsGroup) -> bool {
        group.is_empty()
    }

    fn refused(work: &Work, error: ErrorCode) -> Option<Output> {
        match work {
            Work::Heartbeat(token, _) => Some(Output::Reply { token: *token, response: refused(error) }),
            Work::SessionEnds(_) | Work::RevocationEnds(_) | Work::InitialDelayEnds => None,
        }
    }

    fn failed(_: &Response, error: ErrorCode) -> Response {
        refused(error)
    }
}

impl StreamsSlot {
    /// Whether this client may commit for the group. While the group is coming to be, or is going, it is to come again.
    pub(super) fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        kind: CommitKind,
    ) -> Result<(), ErrorCode> {
        match self.becomes() {
            Some(Becomes::Nothing) => return Err(ErrorCode::CoordinatorNotAvailable),
            Some(Becomes::Group(_)) if !self.is_written && request.generation_id.0 >= 0 => {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            _ => {}
        }
        streams::validate_commit(&self.group, request, kind)
    }
}

impl StreamsGroups {
    /// Takes in a record of a load. A group's topology is the last of it that a deletion writes a tombstone for, when the group
    /// is gone already.
    pub(super) fn replay_record(&mut self, group_id: &str, record: &StreamsRecord) {
        if matches!(record, StreamsRecord::Epoch(None)) {
            self.by_id.remove(group_id);
        } else {
            self.replay(group_id, record.is_tombstone(), |group| group.apply(record));
        }
    }
}

impl GroupShard {
    pub(super) fn streams_group_heartbeat(
        &mut self,
        token: RequestToken,
        request: Box<StreamsGroupHeartbeatRequest>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let group_id = match self.streams_group_for(&request) {
            Ok(group_id) => group_id,
            Err(refused) => return out.push(Output::Reply { token, response: response_of(refused) }),
        };
        let waiting_max = self.config.streams.waiting_max;
        match self.streams_groups.queue(&group_id, Work::Heartbeat(token, request), waiting_max) {
            Some(refusal) => out.push(refusal),
            None => self.run_streams_group(&group_id, now_ms, out),
        }
    }

    /// The group that the heartbeat is for; who joins makes it if there is none, or if there is an empty classic one.
    fn streams_group_for(&mut self, request: &StreamsGroupHeartbeatRequest) -> Result<Arc<str>, Refused> {
        let group_id = request.group_id.as_str();
        if let Some((group_id, _)) = self.streams_groups.by_id.get_key_value(group_id) {
            return Ok(Arc::clone(group_id));
        }
        let not_found = |message: String| Err(Refused::new(ErrorCode::GroupIdNotFound, message));
        let is_joining = request.member_epoch == 0;
        let classic = self.groups.get(group_id).map(ClassicGroup::state);
        if self.consumer_groups.by_id.contains_key(group_id)
            || self.share_groups.by_id.contains_key(group_id)
            || classic.is_some_and(|state| !is_joining || state != GroupState::Empty)
        {
            return not_found(format!("Group {group_id} is not a streams group."));
        }
        if !is_joining {
            let kind = if request.member_epoch > 0 { "Streams group" } else { "Group" };
            return not_found(format!("{kind} {group_id} not found."));
        }
        if classic.is_none() && self.group_count() >= self.config.groups_per_shard_max {
            let message = "The coordinator has as many groups as it may have.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(self.streams_groups.make(group_id))
    }

    /// Why there is no streams group of this id.
    pub(super) fn no_streams_group(&self, group_id: &str) -> (ErrorCode, String) {
        let is_other = self.groups.contains_key(group_id)
            || self.consumer_groups.by_id.contains_key(group_id)
            || self.share_groups.by_id.contains_key(group_id);
        let reason = if is_other { "is not a streams group" } else { "not found" };
        (ErrorCode::GroupIdNotFound, format!("Group {group_id} {reason}."))
    }

    /// What time has brought about takes its turn.
    pub(super) fn streams_group_timer(
        &mut self,
        group_id: &Arc<str>,
        work: Work,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.streams_groups.by_id.get_mut(group_id) {
            slot.waiting.push_back(work);
            self.run_streams_group(group_id, now_ms, out);
        }
    }

    /// Decides on all that waits for the group, unless an append of it is under way.
    fn run_streams_group(&mut self, group_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let Some(slot) = self.streams_groups.by_id.get_mut(group_id) else { return };
        if slot.has_append_under_way() {
            return;
        }
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let is_metadata_stale = slot.metadata_version != Some(metadata.version());
        let mut draft =
            StreamsDraft::new(&slot.group, slot.memory.clone(), is_metadata_stale, slot.is_written);
        let mut replies = Vec::new();
        let mut records: Vec<CoordinatorRecord> = Vec::new();
        let mut bytes = 0;
        while bytes < context.config.streams.append_bytes
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
        let initial_delay_ms = draft.initial_delay_ms;
        let memory = draft.memory.clone();
        slot.metadata_version = (!draft.is_metadata_stale).then(|| metadata.version());
        if records.is_empty() {
            drop(draft);
            slot.memory = memory;
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.forget_unwritten_streams_group(group_id);
        } else {
            let becomes = Becomes::Group(draft.into_group());
            // An empty classic group gives its place, and its offsets, in the same append.
            let removed_groups: Vec<ClassicGroup> =
                self.retire_classic_group(group_id, out).into_iter().collect();
            if !removed_groups.is_empty() {
                records.insert(0, CoordinatorRecord { key: group_key(group_id), value: None });
            }
            let append = PendingAppend { records, removed_groups, ..PendingAppend::default() };
            let append_id = self.appends.append_with(append, out);
            let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
            self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
            self.streams_groups.begin_append(group_id, append_id, becomes, memory, replies);
        }
        if let Some(delay_ms) = initial_delay_ms {
            let key = TimerKey::InitialDelay { group_id: Arc::clone(group_id) };
            self.timers.schedule(key, now_ms.saturating_add(delay_ms));
        }
        self.set_timers(group_id, timers, now_ms);
    }

    /// The outcome of an append that changes streams groups is known.
    pub(super) fn streams_groups_appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        for group_id in self.streams_groups.take_appended(append_id) {
            self.streams_groups.settle(&group_id, append_id, result, out);
            if result.is_err() {
                // The draft set the timers for what did not come to be.
                self.arm_streams_timers(&group_id, now_ms);
            }
            self.run_streams_group(&group_id, now_ms, out);
            self.forget_unwritten_streams_group(&group_id);
        }
    }

    fn forget_unwritten_streams_group(&mut self, group_id: &Arc<str>) {
        if self.streams_groups.forget_unwritten(group_id)
            && self.has_offsets(group_id)
            && !self.groups.contains_key(group_id)
        {
            // Somebody has committed for it meanwhile: that much of it stays.
            self.groups.insert(Arc::clone(group_id), ClassicGroup::new(Arc::clone(group_id), 0));
        }
    }

    /// The load is over: members get fresh sessions, and those that were giving up tasks have their time for it again.
    pub(super) fn finish_load_of_streams_groups(&mut self, now_ms: i64) {
        for group_id in self.streams_groups.settle_kinds(&mut self.groups) {
            self.arm_streams_timers(&group_id, now_ms);
        }
    }

    /// Starts all timers of a group's members anew.
    fn arm_streams_timers(&mut self, group_id: &Arc<str>, now_ms: i64) {
        let Some(slot) = self.streams_groups.by_id.get(group_id) else { return };
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let timeout_ms = context.streams_session_timeout_ms(group_id);
        let session =
            |member_id: &Arc<str>| TimerChange::Session { member_id: Arc::clone(member_id), timeout_ms };
        let revocation = |(member_id, timeout_ms): (&Arc<str>, i32)| TimerChange::Revocation {
            member_id: Arc::clone(member_id),
            timeout_ms: i64::from(timeout_ms),
        };
        let sessions = slot.group.members().map(|(member_id, _)| session(member_id));
        let changes = sessions.chain(slot.group.revoking_members().map(revocation)).collect();
        self.set_timers(group_id, changes, now_ms);
    }

    /// Makes room for a classic group of this id: an empty streams group goes, and its offsets stay. Gives the tombstones, and
    /// what comes back if they cannot be written. Nothing happens to one in use.
    pub(super) fn retire_empty_streams_group(
        &mut self,
        group_id: &str,
    ) -> Option<(Vec<CoordinatorRecord>, Retired)> {
        let slot = self.streams_groups.by_id.get(group_id)?;
        if !slot.is_idle_and_empty() {
            return None;
        }
        let records = slot.group.tombstones().iter().map(|record| record.encode(group_id)).collect();
        let slot = self.streams_groups.by_id.remove(group_id)?;
        Some((records, Retired::Streams(Box::new(slot.group))))
    }

    /// Takes an empty streams group out, with tombstones for all that is written of it; it stays if they cannot be written.
    pub(super) fn remove_streams_group(&self, group_id: &str, append: &mut PendingAppend) -> bool {
        let Some((group_id, slot)) = self.streams_groups.by_id.get_key_value(group_id) else { return false };
        if !slot.is_idle_and_empty() {
            return false;
        }
        self.append_offset_tombstones(group_id, append);
        append.records.extend(slot.group.tombstones().iter().map(|record| record.encode(group_id)));
        append.offsets_of.insert(Arc::clone(group_id));
        true
    }
}

fn decide(
    draft: &mut StreamsDraft<'_>,
    context: &Context<'_>,
    work: Work,
    replies: &mut Vec<(RequestToken, Response)>,
) {
    match work {
        Work::Heartbeat(token, request) => {
            let answer = if request.member_epoch < 0 {
                streams::leave(draft, &request)
            } else {
                streams::heartbeat(draft, context, &request)
            };
            let response =
                answer.map_or_else(response_of, |heard| Response::StreamsGroupHeartbeat(Box::new(heard)));
            replies.push((token, response));
        }
        Work::SessionEnds(member_id) => {
            if draft.group().member(&member_id).is_some() {
                streams::fence_member(draft, &member_id);
            }
        }
        Work::RevocationEnds(member_id) => {
            let is_revoking = draft.group().revoking_members().any(|(id, _)| *id == member_id);
            if is_revoking {
                streams::fence_member(draft, &member_id);
            }
        }
        Work::InitialDelayEnds => streams::initial_delay_ends(draft, context),
    }
}

/// The answer to a heartbeat that is refused without a word.
pub(super) fn refused(error: ErrorCode) -> Response {
    Response::StreamsGroupHeartbeat(Box::new(StreamsGroupHeartbeatResponse {
        error,
        error_message: None,
        member_id: String::new(),
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        statuses: Vec::new(),
        assignment: None,
        endpoint_epoch: 0,
        endpoints: None,
        topics_to_create: Vec::new(),
    }))
}

pub(super) fn response_of(why: Refused) -> Response {
    match refused(why.error) {
        Response::StreamsGroupHeartbeat(response) => {
            Response::StreamsGroupHeartbeat(Box::new(StreamsGroupHeartbeatResponse {
                error_message: Some(why.message),
                ..*response
            }))
        }
        other => other,
    }
}
