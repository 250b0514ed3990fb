//! Consumer groups in a shard: one append of a group is under way at a time, and heartbeats that come meanwhile wait.
//!
//! All that wait are answered together, by one draft and one append: what a group is changes only by what is in the log,
//! and a hundred members that join at once cost a few writes. A group whose append fails is what it was before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::ErrorCode;

use super::append::{PendingAppend, append_error_to_response};
use super::offset_commit::CommitKind;
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

/// One consumer group of the shard.
#[derive(Debug)]
pub(crate) struct ConsumerSlot {
    /// As the log has it.
    pub(crate) group: ConsumerGroup,
    /// Whether the log has anything of it.
    is_written: bool,
    /// Of the topics that its epoch was begun with; `None` if that is not known.
    metadata_version: Option<i64>,
    in_flight: Option<InFlight>,
    waiting: VecDeque<Work>,
}

/// An append of one group whose outcome is not known.
#[derive(Debug)]
struct InFlight {
    append_id: AppendId,
    becomes: Becomes,
    replies: Vec<(RequestToken, Response)>,
    /// The clients were told that it takes too long; whoever comes is told so too.
    is_overdue: bool,
}

/// What a group is once its append is committed.
#[derive(Debug)]
pub(super) enum Becomes {
    Consumer(ConsumerGroup),
    /// A classic group, with its record.
    Classic(Bytes),
    /// It is no more.
    Nothing,
}

#[derive(Debug)]
pub(super) enum Work {
    Heartbeat(RequestToken, Box<ConsumerGroupHeartbeatRequest>),
    /// JoinGroup, SyncGroup, Heartbeat or LeaveGroup.
    Classic(RequestToken, Box<Request>),
    SessionEnds(Arc<str>),
    RevocationEnds(Arc<str>),
    RejoinEnds(Arc<str>),
}

/// The consumer groups of a shard, and which of their appends are under way.
#[derive(Debug, Default)]
pub(crate) struct ConsumerGroups {
    pub(crate) by_id: BTreeMap<Arc<str>, ConsumerSlot>,
    in_flight: BTreeMap<AppendId, Vec<Arc<str>>>,
}

impl ConsumerSlot {
    fn new(group_id: Arc<str>) -> Self {
        Self {
            group: ConsumerGroup::new(group_id),
            is_written: false,
            metadata_version: None,
            in_flight: None,
            waiting: VecDeque::new(),
        }
    }

    /// Whether it can be removed: nobody is in it, or about to be.
    pub(super) fn is_idle_and_empty(&self) -> bool {
        self.group.is_empty() && self.in_flight.is_none() && self.waiting.is_empty()
    }

    /// Whether requests of the classic protocol are for this group, and not for one that may take its place.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_flight.is_some() || !self.waiting.is_empty() || !self.group.is_empty()
    }

    /// Whether this client may commit for the group. While the group is changing into another one, or is going, it is to
    /// come again.
    pub(super) fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        kind: CommitKind,
    ) -> Result<(), ErrorCode> {
        match self.in_flight.as_ref().map(|in_flight| &in_flight.becomes) {
            Some(Becomes::Nothing) => return Err(ErrorCode::CoordinatorNotAvailable),
            Some(Becomes::Classic(_)) => return Err(ErrorCode::CoordinatorLoadInProgress),
            Some(Becomes::Consumer(_)) if !self.is_written && request.generation_id.0 >= 0 => {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            Some(Becomes::Consumer(_)) | None => {}
        }
        consumer::validate_commit(&self.group, request, kind)
    }
}

impl ConsumerGroups {
    pub(crate) fn get(&self, group_id: &str) -> Option<&ConsumerGroup> {
        // What was not written yet is not there yet.
        self.by_id.get(group_id).filter(|slot| slot.is_written).map(|slot| &slot.group)
    }

    /// Takes in a record of a load.
    pub(super) fn replay(&mut self, group_id: &str, record: &ConsumerRecord) {
        if matches!(record, ConsumerRecord::Epoch(None)) {
            self.by_id.remove(group_id);
            return;
        }
        // A tombstone of a group that is not there tells nothing.
        if !self.by_id.contains_key(group_id) {
            if is_tombstone(record) {
                return;
            }
            let group_id: Arc<str> = group_id.into();
            self.by_id.insert(Arc::clone(&group_id), ConsumerSlot::new(group_id));
        }
        if let Some(slot) = self.by_id.get_mut(group_id) {
            slot.is_written = true;
            slot.group.apply(record);
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
        let waiting_max = self.config.consumer.waiting_max;
        let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) else { return };
        let is_overdue = slot.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_overdue);
        if is_overdue || slot.waiting.len() >= waiting_max {
            return out.extend(work.refused(ErrorCode::CoordinatorNotAvailable));
        }
        slot.waiting.push_back(work);
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
        } else if self.share_groups.by_id.contains_key(group_id) {
            return not_found(format!("Group {group_id} is not a consumer group."));
        } else if !is_joining {
            let kind = if request.member_epoch > 0 { "Consumer group" } else { "Group" };
            return not_found(format!("{kind} {group_id} not found."));
        } else if self.group_count() >= self.config.groups_per_shard_max {
            let message = "The coordinator has as many groups as it may have.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let group_id: Arc<str> = group_id.into();
        self.consumer_groups.by_id.insert(Arc::clone(&group_id), ConsumerSlot::new(Arc::clone(&group_id)));
        Ok(group_id)
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
        if slot.in_flight.is_some() {
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
                Becomes::Classic(group_record),
                replies,
                now_ms,
                out,
            );
        } else if records.is_empty() {
            drop(draft);
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.forget_unwritten(group_id);
        } else {
            let becomes = Becomes::Consumer(draft.into_group());
            self.append_of_consumer_group(group_id, records, becomes, replies, now_ms, out);
        }
        self.set_timers(group_id, timers, now_ms);
        elsewhere
    }

    fn append_of_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        mut records: Vec<CoordinatorRecord>,
        becomes: Becomes,
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
        let in_flight = InFlight { append_id, becomes, replies, is_overdue: false };
        if let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) {
            slot.in_flight = Some(in_flight);
        }
        self.consumer_groups.in_flight.insert(append_id, vec![Arc::clone(group_id)]);
    }

    /// The outcome of an append that changes consumer groups is known.
    pub(super) fn consumer_groups_appended(
        &mut self,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        for group_id in self.consumer_groups.in_flight.remove(&append_id).into_iter().flatten() {
            let Some(slot) = self.consumer_groups.by_id.get_mut(&group_id) else { continue };
            let Some(in_flight) = slot.in_flight.take_if(|in_flight| in_flight.append_id == append_id) else {
                continue;
            };
            let mut group_record = None;
            match (result, in_flight.becomes) {
                (Ok(()), Becomes::Consumer(group)) => {
                    slot.group = group;
                    slot.is_written = true;
                }
                (Ok(()), Becomes::Classic(record)) => group_record = Some(record),
                // Who waits makes it anew.
                (Ok(()), Becomes::Nothing) => {
                    slot.group = ConsumerGroup::new(Arc::clone(&group_id));
                    slot.is_written = false;
                    slot.metadata_version = None;
                }
                // The draft took note of the topics and set the timers; the group that stays did not.
                (Err(_), _) => slot.metadata_version = None,
            }
            if result.is_err() {
                self.arm_timers(&group_id, now_ms);
            }
            for (token, response) in in_flight.replies {
                let response = match result {
                    Ok(()) => response,
                    Err(error) => failed(&response, append_error_to_response(error)),
                };
                out.push(Output::Reply { token, response });
            }
            if let Some(record) = group_record {
                self.become_classic(&group_id, &record, now_ms, out);
            }
            self.run_consumer_group(&group_id, now_ms, out);
            self.forget_unwritten(&group_id);
        }
    }

    /// A group of which nothing is written, and that nobody waits for, never was.
    fn forget_unwritten(&mut self, group_id: &Arc<str>) {
        let is_unused = self
            .consumer_groups
            .by_id
            .get(group_id)
            .is_some_and(|slot| !slot.is_written && slot.in_flight.is_none() && slot.waiting.is_empty());
        if !is_unused {
            return;
        }
        self.consumer_groups.by_id.remove(group_id);
        if self.has_offsets(group_id) && !self.groups.contains_key(group_id) {
            // Somebody has committed for it meanwhile: that much of it stays.
            self.groups.insert(Arc::clone(group_id), ClassicGroup::new(Arc::clone(group_id), 0));
        }
    }

    /// An append takes too long: whoever waits for it, or behind it, is told.
    pub(super) fn consumer_groups_overdue(&mut self, append_id: AppendId, out: &mut Vec<Output>) {
        let group_ids = self.consumer_groups.in_flight.get(&append_id).cloned().unwrap_or_default();
        for group_id in group_ids {
            let Some(slot) = self.consumer_groups.by_id.get_mut(&group_id) else { continue };
            let Some(in_flight) = &mut slot.in_flight else { continue };
            in_flight.is_overdue = true;
            let error = ErrorCode::CoordinatorNotAvailable;
            let replies = in_flight.replies.drain(..);
            out.extend(
                replies.map(|(token, response)| Output::Reply { token, response: failed(&response, error) }),
            );
            slot.refuse_waiting(error, out);
        }
    }

    fn set_timers(&mut self, group_id: &Arc<str>, changes: Vec<TimerChange>, now_ms: i64) {
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

    /// The load is over: members get fresh sessions. A group is of one kind, and a change of it is two appends: if the
    /// second came without the first, members tell which it is.
    pub(super) fn finish_load_of_consumer_groups(&mut self, now_ms: i64) {
        let group_ids: Vec<Arc<str>> = self.consumer_groups.by_id.keys().cloned().collect();
        for group_id in group_ids {
            let is_empty = self.consumer_groups.get(&group_id).is_none_or(ConsumerGroup::is_empty);
            if is_empty && self.groups.contains_key(&group_id) {
                self.consumer_groups.by_id.remove(&group_id);
            } else {
                self.groups.remove(&group_id);
                self.arm_timers(&group_id, now_ms);
            }
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

    /// Makes room for a classic group of this id: an empty consumer group goes, and its offsets stay. False if it is in
    /// use.
    pub(super) fn retire_empty_consumer_group(
        &mut self,
        group_id: &str,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(slot) = self.consumer_groups.by_id.get(group_id) else { return true };
        if !slot.is_idle_and_empty() {
            return false;
        }
        let records = slot.group.tombstones().iter().map(|record| record.encode(group_id)).collect();
        self.consumer_groups.by_id.remove(group_id);
        let append = PendingAppend { records, ..PendingAppend::default() };
        self.append(append, now_ms, out);
        true
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

    /// Holds heartbeats of groups back while their tombstones are on their way.
    pub(super) fn consumer_groups_go(&mut self, append_id: AppendId, group_ids: Vec<Arc<str>>) {
        for group_id in &group_ids {
            if let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) {
                let replies = Vec::new();
                slot.in_flight =
                    Some(InFlight { append_id, becomes: Becomes::Nothing, replies, is_overdue: false });
            }
        }
        if !group_ids.is_empty() {
            self.consumer_groups.in_flight.insert(append_id, group_ids);
        }
    }

    /// Forgets all consumer groups; whoever waits is told.
    pub(super) fn unload_consumer_groups(&mut self, error: ErrorCode, out: &mut Vec<Output>) {
        let groups = std::mem::take(&mut self.consumer_groups);
        for mut slot in groups.by_id.into_values() {
            let replies = slot.in_flight.take().map(|in_flight| in_flight.replies).unwrap_or_default();
            let reply = |(token, response)| Output::Reply { token, response: failed(&response, error) };
            out.extend(replies.into_iter().map(reply));
            slot.refuse_waiting(error, out);
        }
    }
}

impl ConsumerSlot {
    /// Refuses the requests that wait; what time has brought about stays.
    fn refuse_waiting(&mut self, error: ErrorCode, out: &mut Vec<Output>) {
        let (requests, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|work| matches!(work, Work::Heartbeat(..) | Work::Classic(..)));
        self.waiting = rest;
        let requests: VecDeque<Work> = requests;
        out.extend(requests.iter().filter_map(|work| work.refused(error)));
    }

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

impl Work {
    /// The request's answer, with an error; `None` if it is none.
    fn refused(&self, error: ErrorCode) -> Option<Output> {
        let (token, response) = match self {
            Self::Heartbeat(token, _) => (*token, refused(error)),
            Self::Classic(token, request) => (*token, refusal::refused(request, error)),
            Self::SessionEnds(_) | Self::RevocationEnds(_) | Self::RejoinEnds(_) => return None,
        };
        Some(Output::Reply { token, response })
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

/// The same kind of answer, when its append failed.
fn failed(response: &Response, error: ErrorCode) -> Response {
    match response {
        Response::Join(_) => join_refused(error, ""),
        Response::Sync(_) => sync_refused(error),
        Response::Heartbeat(_) => Response::Heartbeat(error),
        Response::Leave(_) => Response::Leave(LeaveGroupResponse { error, members: Vec::new() }),
        _ => refused(error),
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
