//! Consumer groups in a shard. Heartbeats that wait are answered together: a hundred members that join at once cost a few
//! writes.

use std::sync::Arc;

use bytes::Bytes;
use moldau_model::ErrorCode;

use super::append::{PendingAppend, Retired};
use super::offset_commit::CommitKind;
use super::slot::{Becomes, GroupKind, GroupSlot, Groups};
use super::{AppendId, CoordinatorRecord, GroupShard, Output, refusal};
use crate::consumer::{
    self, ConsumerGroup, ConsumerMember, Context, Draft, Refused, TimerChange, classic, migration,
};
use crate::group::{ClassicGroup, GroupState};
use crate::rebalance::{join_refused, sync_refused};
use crate::records::{ConsumerRecord, group_key};
use crate::request::{ConsumerGroupHeartbeatRequest, OffsetCommitRequest, Request, RequestToken};
use crate::response::{ConsumerGroupHeartbeatResponse, LeaveGroupResponse, Response};
use crate::timers::TimerKey;

/// Consumer groups.
#[derive(Debug)]
pub(crate) struct Consumers;

pub(crate) type ConsumerSlot = GroupSlot<Consumers>;
pub(crate) type ConsumerGroups = Groups<Consumers>;

#[derive(Debug)]
pub(crate) enum Work {
    Heartbeat(RequestToken, Box<ConsumerGroupHeartbeatRequest>),
    /// JoinGroup, SyncGroup, Heartbeat or LeaveGroup.
    Classic(RequestToken, Box<Request>),
    SessionEnds(Arc<str>),
    RevocationEnds(Arc<str>),
    RejoinEnds(Arc<str>),
}

impl GroupKind for Consumers {
    type Group = ConsumerGroup;
    type Work = Work;
    /// A classic group, as its record.
    type Successor = Bytes;
    type Memory = ();

    fn new_group(group_id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup::new(group_id)
    }

    fn is_empty(group: &ConsumerGroup) -> bool {
        group.is_empty()
    }

    fn refused(work: &Work, error: ErrorCode) -> Option<Output> {
        let (token, response) = match work {
            Work::Heartbeat(token, _) => (*token, refused(error)),
            Work::Classic(token, request) => (*token, refusal::refused(request, error)),
            Work::SessionEnds(_) | Work::RevocationEnds(_) | Work::RejoinEnds(_) => return None,
        };
        Some(Output::Reply { token, response })
    }

    fn failed(response: &Response, error: ErrorCode) -> Response {
        match response {
            Response::Join(_) => join_refused(error, ""),
            Response::Sync(_) => sync_refused(error),
            Response::Heartbeat(_) => Response::Heartbeat(error),
            Response::Leave(_) => Response::Leave(LeaveGroupResponse { error, members: Vec::new() }),
            _ => refused(error),
        }
    }
}

impl ConsumerSlot {
    /// Whether this client may commit for the group. While the group is changing into another one, or is going, it is to
    /// come again.
    pub(super) fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        kind: CommitKind,
    ) -> Result<(), ErrorCode> {
        match self.becomes() {
            Some(Becomes::Nothing) => return Err(ErrorCode::CoordinatorNotAvailable),
            Some(Becomes::Successor(_)) => return Err(ErrorCode::CoordinatorLoadInProgress),
            Some(Becomes::Group(_)) if !self.is_written && request.generation_id.0 >= 0 => {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            Some(Becomes::Group(_)) | None => {}
        }
        consumer::validate_commit(&self.group, request, kind)
    }
}

impl ConsumerGroups {
    /// Takes in a record of a load.
    pub(super) fn replay_record(&mut self, group_id: &str, record: &ConsumerRecord) {
        if matches!(record, ConsumerRecord::Epoch(None)) {
            self.by_id.remove(group_id);
        } else {
            self.replay(group_id, is_tombstone(record), |group| group.apply(record));
        }
    }
}

fn is_tombstone(record: &ConsumerRecord) -> bool {
    match record {
        ConsumerRecord::Epoch(value) => value.is_none(),
        ConsumerRecord::SubscriptionMetadata { is_present } => !is_present,
        ConsumerRecord::Member { metadata, .. } => metadata.is_none(),
        ConsumerRecord::TargetEpoch(value) => value.is_none(),
        ConsumerRecord::TargetMember { target, .. } => target.is_none(),
        ConsumerRecord::CurrentAssignment { current, .. } => current.is_none(),
        ConsumerRecord::Regex { resolved, .. } => resolved.is_none(),
    }
}

impl GroupShard {
    pub(super) fn consumer_group_heartbeat(
        &mut self,
        token: RequestToken,
        request: Box<ConsumerGroupHeartbeatRequest>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        let group_id = match self.consumer_group_for(&request, now_ms) {
            Ok(group_id) => group_id,
            Err(refused) => return out.push(Output::Reply { token, response: response_of(refused) }),
        };
        self.queue(&group_id, Work::Heartbeat(token, request), now_ms, out);
    }

    /// Lets a request wait for its turn, which may be now.
    pub(super) fn queue(&mut self, group_id: &Arc<str>, work: Work, now_ms: i64, out: &mut Vec<Output>) {
        if let Some(refusal) = self.consumer_groups.queue(group_id, work, self.config.consumer.waiting_max) {
            return out.push(refusal);
        }
        self.run_consumer_group(group_id, now_ms, out);
    }

    /// The group that the heartbeat is for; who joins makes it if there is none.
    fn consumer_group_for(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        now_ms: i64,
    ) -> Result<Arc<str>, Refused> {
        let group_id = request.group_id.as_str();
        if let Some((group_id, _)) = self.consumer_groups.by_id.get_key_value(group_id) {
            return Ok(Arc::clone(group_id));
        }
        let not_found = |message: String| Err(Refused::new(ErrorCode::GroupIdNotFound, message));
        let is_joining = request.member_epoch == 0;
        if let Some(group) = self.groups.get(group_id) {
            if !is_joining {
                return not_found(format!("Group {group_id} is not a consumer group."));
            }
            if group.state() != GroupState::Empty {
                let metadata = self.metadata.current();
                let context = Context { config: &self.config, metadata: &*metadata, now_ms };
                migration::check_upgrade(&context, group)?;
            }
        } else if self.share_groups.by_id.contains_key(group_id)
            || self.streams_groups.by_id.contains_key(group_id)
        {
            return not_found(format!("Group {group_id} is not a consumer group."));
        } else if !is_joining {
            let kind = if request.member_epoch > 0 { "Consumer group" } else { "Group" };
            return not_found(format!("{kind} {group_id} not found."));
        } else if self.group_count() >= self.config.groups_per_shard_max {
            let message = "The coordinator has as many groups as it may have.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(self.consumer_groups.make(group_id))
    }

    /// Decides on all that waits for the group, unless an append of it is under way.
    pub(super) fn run_consumer_group(&mut self, group_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        // What turned out to be for a classic group of this id takes its way from the beginning.
        for (token, request) in self.decide_what_waits(group_id, now_ms, out) {
            self.request(token, request, now_ms, out);
        }
    }

    fn decide_what_waits(
        &mut self,
        group_id: &Arc<str>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) -> Vec<(RequestToken, Request)> {
        let mut elsewhere = Vec::new();
        let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) else { return elsewhere };
        if slot.has_append_under_way() {
            return elsewhere;
        }
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let is_metadata_stale = slot.metadata_version != Some(metadata.version());
        let mut draft = Draft::new(&slot.group, is_metadata_stale);
        // Of a classic group in use the first member that joins makes a consumer group.
        let mut classic =
            self.groups.get(group_id).filter(|group| !slot.is_written && group.state() != GroupState::Empty);
        let mut replies = Vec::new();
        let mut records: Vec<CoordinatorRecord> = Vec::new();
        let mut downgraded = None;
        let mut bytes = 0;
        while bytes < context.config.consumer.append_bytes
            && downgraded.is_none()
            && let Some(work) = slot.waiting.pop_front()
        {
            match work {
                Work::Classic(token, request) if classic.is_some() || draft.group().is_empty() => {
                    elsewhere.push((token, *request));
                }
                Work::Heartbeat(token, request) if let Some(group) = classic => {
                    let mut upgraded = Draft::new(&slot.group, is_metadata_stale);
                    let joined = migration::upgrade(&mut upgraded, &context, group)
                        .and_then(|()| consumer::heartbeat(&mut upgraded, &context, &request));
                    if joined.is_ok() {
                        draft = upgraded;
                        classic = None;
                    }
                    let response = joined.map_or_else(response_of, Response::ConsumerGroupHeartbeat);
                    replies.push((token, response));
                }
                work => {
                    let had_consumers = draft.group().consumer_member_count() > 0;
                    decide(&mut draft, &context, work, &mut replies);
                    if had_consumers && draft.group().consumer_member_count() == 0 {
                        downgraded = migration::downgraded(&context, draft.group());
                    }
                }
            }
            for record in &draft.records[records.len()..] {
                let record = record.encode(group_id);
                bytes += record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
                records.push(record);
            }
        }
        slot.metadata_version = (!draft.is_metadata_stale).then(|| metadata.version());
        let timers = std::mem::take(&mut draft.timers);
        if let Some(group_record) = downgraded {
            records.extend(draft.group().tombstones().iter().map(|record| record.encode(group_id)));
            records.push(CoordinatorRecord { key: group_key(group_id), value: Some(group_record.clone()) });
            rejoin_if_joined(&mut replies);
            self.append_of_consumer_group(
                group_id,
                records,
                Becomes::Successor(group_record),
                replies,
                now_ms,
                out,
            );
        } else if records.is_empty() {
            drop(draft);
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.forget_unwritten(group_id);
        } else {
            let becomes = Becomes::Group(draft.into_group());
            self.append_of_consumer_group(group_id, records, becomes, replies, now_ms, out);
        }
        self.set_timers(group_id, timers, now_ms);
        elsewhere
    }

    fn append_of_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        mut records: Vec<CoordinatorRecord>,
        becomes: Becomes<Consumers>,
        replies: Vec<(RequestToken, Response)>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        // A classic group gives its place, and its offsets, in the same append.
        let removed_groups: Vec<ClassicGroup> =
            self.retire_classic_group(group_id, out).into_iter().collect();
        if !removed_groups.is_empty() {
            records.insert(0, CoordinatorRecord { key: group_key(group_id), value: None });
        }
        let append = PendingAppend { records, removed_groups, ..PendingAppend::default() };
        let append_id = self.appends.append_with(append, out);
        let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
        self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
        self.consumer_groups.begin_append(group_id, append_id, becomes, (), replies);
    }

    /// The outcome of an append that changes consumer groups is known.
    pub(super) fn consumer_groups_appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        for group_id in self.consumer_groups.take_appended(append_id) {
            let classic = self.consumer_groups.settle(&group_id, append_id, result, out);
            if result.is_err() {
                // The draft set the timers for what did not come to be.
                self.arm_timers(&group_id, now_ms);
            }
            if let Some(record) = classic {
                self.become_classic(&group_id, &record, now_ms, out);
            }
            self.run_consumer_group(&group_id, now_ms, out);
            self.forget_unwritten(&group_id);
        }
    }

    /// A group of which nothing is written, and that nobody waits for, never was.
    fn forget_unwritten(&mut self, group_id: &Arc<str>) {
        if !self.consumer_groups.forget_unwritten(group_id) {
            return;
        }
        if self.has_offsets(group_id) && !self.groups.contains_key(group_id) {
            // Somebody has committed for it meanwhile: that much of it stays.
            self.groups.insert(Arc::clone(group_id), ClassicGroup::new(Arc::clone(group_id), 0));
        }
    }

    /// Sets and stops timers of a group's members.
    pub(super) fn set_timers(&mut self, group_id: &Arc<str>, changes: Vec<TimerChange>, now_ms: i64) {
        let session = |member_id| TimerKey::Session { group_id: Arc::clone(group_id), member_id };
        let revocation = |member_id| TimerKey::Revocation { group_id: Arc::clone(group_id), member_id };
        let rejoin = |member_id| TimerKey::Rejoin { group_id: Arc::clone(group_id), member_id };
        for change in changes {
            match change {
                TimerChange::Session { member_id, timeout_ms } => {
                    self.timers.schedule(session(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::Revocation { member_id, timeout_ms } => {
                    self.timers.schedule(revocation(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::RevocationEnds { member_id } => self.timers.cancel(&revocation(member_id)),
                TimerChange::Rejoin { member_id, timeout_ms, moves: true } => {
                    self.timers.schedule(rejoin(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::Rejoin { member_id, timeout_ms, moves: false } => {
                    self.timers.schedule_if_absent(rejoin(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::RejoinEnds { member_id } => self.timers.cancel(&rejoin(member_id)),
                TimerChange::Ends { member_id } => {
                    self.timers.cancel(&session(Arc::clone(&member_id)));
                    self.timers.cancel(&rejoin(Arc::clone(&member_id)));
                    self.timers.cancel(&revocation(member_id));
                }
            }
        }
    }

    /// A deadline of a member has come.
    pub(super) fn member_overdue(
        &mut self,
        group_id: &Arc<str>,
        work: Work,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) {
            slot.waiting.push_back(work);
            self.run_consumer_group(group_id, now_ms, out);
        }
    }

    /// The load is over: members get fresh sessions.
    pub(super) fn finish_load_of_consumer_groups(&mut self, now_ms: i64) {
        for group_id in self.consumer_groups.settle_kinds(&mut self.groups) {
            self.arm_timers(&group_id, now_ms);
        }
    }

    /// Starts all timers of a group's members anew.
    fn arm_timers(&mut self, group_id: &Arc<str>, now_ms: i64) {
        let Some(slot) = self.consumer_groups.by_id.get(group_id) else { return };
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let timeout_ms = context.session_timeout_ms(group_id);
        let session = |(member_id, member): (&Arc<str>, &Arc<ConsumerMember>)| {
            let own = member.metadata.classic.as_ref().map(|classic| i64::from(classic.session_timeout_ms));
            let timeout_ms = own.unwrap_or(timeout_ms);
            TimerChange::Session { member_id: Arc::clone(member_id), timeout_ms }
        };
        let revocation = |(member_id, timeout_ms): (&Arc<str>, i32)| TimerChange::Revocation {
            member_id: Arc::clone(member_id),
            timeout_ms: i64::from(timeout_ms),
        };
        let sessions = slot.group.members().map(session);
        let changes = sessions.chain(slot.group.revoking_members().map(revocation)).collect();
        self.set_timers(group_id, changes, now_ms);
    }

    /// Makes room for a classic group of this id: an empty consumer group goes, and its offsets stay. Gives the tombstones, and
    /// what comes back if they cannot be written. Nothing happens to one in use.
    pub(super) fn retire_empty_consumer_group(
        &mut self,
        group_id: &str,
    ) -> Option<(Vec<CoordinatorRecord>, Retired)> {
        let slot = self.consumer_groups.by_id.get(group_id)?;
        if !slot.is_idle_and_empty() {
            return None;
        }
        let records = slot.group.tombstones().iter().map(|record| record.encode(group_id)).collect();
        let slot = self.consumer_groups.by_id.remove(group_id)?;
        Some((records, Retired::Consumer(Box::new(slot.group))))
    }

    /// Takes an empty consumer group out, with tombstones for all that is written of it; it stays if they cannot be
    /// written.
    pub(super) fn remove_consumer_group(&mut self, group_id: &str, append: &mut PendingAppend) -> bool {
        let Some((group_id, slot)) = self.consumer_groups.by_id.get_key_value(group_id) else { return false };
        if !slot.is_idle_and_empty() {
            return false;
        }
        let group_id = Arc::clone(group_id);
        let tombstones = slot.group.tombstones();
        self.append_offset_tombstones(&group_id, append);
        append.records.extend(tombstones.iter().map(|record| record.encode(&group_id)));
        append.offsets_of.insert(group_id);
        true
    }
}

impl ConsumerSlot {
    /// Takes out the requests that wait, as they came.
    pub(super) fn into_requests(self) -> Vec<(RequestToken, Request)> {
        let request = |work| match work {
            Work::Heartbeat(token, request) => Some((token, Request::ConsumerGroupHeartbeat(request))),
            Work::Classic(token, request) => Some((token, *request)),
            Work::SessionEnds(_) | Work::RevocationEnds(_) | Work::RejoinEnds(_) => None,
        };
        self.waiting.into_iter().filter_map(request).collect()
    }
}

fn decide(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    work: Work,
    replies: &mut Vec<(RequestToken, Response)>,
) {
    match work {
        Work::Heartbeat(token, request) => {
            let answer = if request.member_epoch < 0 {
                consumer::leave(draft, context, &request)
            } else {
                consumer::heartbeat(draft, context, &request)
            };
            let response = answer.map_or_else(response_of, Response::ConsumerGroupHeartbeat);
            replies.push((token, response));
        }
        Work::Classic(token, request) => {
            let response = match *request {
                Request::Join(request) => Response::Join(classic::join(draft, context, &request)),
                Request::Sync(request) => {
                    classic::sync(draft, context, &request).map_or_else(sync_refused, Response::Sync)
                }
                Request::Heartbeat(request) => Response::Heartbeat(classic::heartbeat(draft, &request)),
                Request::Leave(request) => Response::Leave(classic::leave(draft, context, &request)),
                other => refusal::refused(&other, ErrorCode::UnknownServerError),
            };
            replies.push((token, response));
        }
        Work::RejoinEnds(member_id) => {
            let is_classic = draft.group().member(&member_id).is_some_and(|m| m.uses_classic_protocol());
            if is_classic {
                consumer::fence_member(draft, context, &member_id);
            }
        }
        Work::SessionEnds(member_id) => {
            if draft.group().member(&member_id).is_some() {
                consumer::fence_member(draft, context, &member_id);
            }
        }
        Work::RevocationEnds(member_id) => {
            let is_revoking = draft.group().revoking_members().any(|(id, _)| *id == member_id);
            if is_revoking {
                consumer::fence_member(draft, context, &member_id);
            }
        }
    }
}

/// Who joined a group that becomes a classic one at that moment has to join that.
fn rejoin_if_joined(replies: &mut [(RequestToken, Response)]) {
    if let Some((_, response)) = replies.last_mut()
        && let Response::Join(joined) = response
        && joined.error.is_none()
    {
        *response = join_refused(ErrorCode::RebalanceInProgress, &joined.member_id);
    }
}

/// The answer to a heartbeat that is refused without a word.
pub(super) fn refused(error: ErrorCode) -> Response {
    Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
        error,
        error_message: None,
        member_id: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
    })
}

pub(super) fn response_of(why: Refused) -> Response {
    match refused(why.error) {
        Response::ConsumerGroupHeartbeat(response) => {
            Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
                error_message: Some(why.message),
                ..response
            })
        }
        other => other,
    }
}
