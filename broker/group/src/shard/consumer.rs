//! Consumer groups in a shard: one append of a group is under way at a time, and heartbeats that come meanwhile wait.
//!
//! All that wait are answered together, by one draft and one append: what a group is changes only by what is in the log,
//! and a hundred members that join at once cost a few writes. A group whose append fails is what it was before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::append::{PendingAppend, append_error_to_response};
use super::offset_commit::CommitKind;
use super::{AppendId, CoordinatorRecord, GroupShard, Output};
use crate::consumer::{self, ConsumerGroup, Context, Draft, Refused, TimerChange};
use crate::group::{ClassicGroup, GroupState};
use crate::records::{ConsumerRecord, group_key};
use crate::request::{ConsumerGroupHeartbeatRequest, OffsetCommitRequest, RequestToken};
use crate::response::{ConsumerGroupHeartbeatResponse, Response};
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
    /// `None`: it is no more then.
    becomes: Option<ConsumerGroup>,
    replies: Vec<(RequestToken, Response)>,
    /// The clients were told that it takes too long; whoever comes is told so too.
    is_overdue: bool,
}

#[derive(Debug)]
enum Work {
    Heartbeat(RequestToken, Box<ConsumerGroupHeartbeatRequest>),
    SessionEnds(Arc<str>),
    RevocationEnds(Arc<str>),
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

    /// Whether this client may commit for the group. While its tombstones are on their way it is to come again.
    pub(super) fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        kind: CommitKind,
    ) -> Result<(), ErrorCode> {
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.becomes.is_none()) {
            return Err(ErrorCode::CoordinatorNotAvailable);
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
        let group_id = match self.consumer_group_for(&request) {
            Ok(group_id) => group_id,
            Err(refused) => return out.push(Output::Reply { token, response: response_of(refused) }),
        };
        let waiting_max = self.config.consumer.waiting_max;
        let Some(slot) = self.consumer_groups.by_id.get_mut(&group_id) else { return };
        let is_overdue = slot.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_overdue);
        if is_overdue || slot.waiting.len() >= waiting_max {
            return out.push(Output::Reply { token, response: refused(ErrorCode::CoordinatorNotAvailable) });
        }
        slot.waiting.push_back(Work::Heartbeat(token, request));
        self.run_consumer_group(&group_id, now_ms, out);
    }

    /// The group that the heartbeat is for; who joins makes it if there is none.
    fn consumer_group_for(&mut self, request: &ConsumerGroupHeartbeatRequest) -> Result<Arc<str>, Refused> {
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
            if group.state() != GroupState::Empty || !group.pending_join.is_empty() {
                return not_found(format!(
                    "Cannot upgrade classic group {group_id} to consumer group because it is in use."
                ));
            }
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
    fn run_consumer_group(&mut self, group_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) else { return };
        if slot.in_flight.is_some() {
            return;
        }
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let is_metadata_stale = slot.metadata_version != Some(metadata.version());
        let mut draft = Draft::new(&slot.group, is_metadata_stale);
        let mut replies = Vec::new();
        let mut records: Vec<CoordinatorRecord> = Vec::new();
        let mut bytes = 0;
        while bytes < context.config.consumer.append_bytes
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
        if !draft.is_metadata_stale {
            slot.metadata_version = Some(metadata.version());
        }
        if records.is_empty() {
            drop(draft);
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.forget_unwritten(group_id);
        } else {
            let becomes = draft.into_group();
            self.append_of_consumer_group(group_id, records, becomes, replies, now_ms, out);
        }
        self.set_timers(group_id, timers, now_ms);
    }

    fn append_of_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        mut records: Vec<CoordinatorRecord>,
        becomes: ConsumerGroup,
        replies: Vec<(RequestToken, Response)>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        // An empty classic group gives its place, and its offsets, in the same append.
        let removed_groups: Vec<ClassicGroup> = self.groups.remove(group_id).into_iter().collect();
        if !removed_groups.is_empty() {
            records.insert(0, CoordinatorRecord { key: group_key(group_id), value: None });
        }
        let append = PendingAppend { records, removed_groups, ..PendingAppend::default() };
        let append_id = self.appends.append_with(append, out);
        let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
        self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
        let in_flight = InFlight { append_id, becomes: Some(becomes), replies, is_overdue: false };
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
            match (result, in_flight.becomes) {
                (Ok(()), Some(group)) => {
                    slot.group = group;
                    slot.is_written = true;
                }
                // Who waits makes it anew.
                (Ok(()), None) => {
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
                    Err(error) => refused(append_error_to_response(error)),
                };
                out.push(Output::Reply { token, response });
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
            let tokens: Vec<RequestToken> = in_flight.replies.drain(..).map(|(token, _)| token).collect();
            let waiting = slot.waiting_tokens();
            for token in tokens.into_iter().chain(waiting) {
                out.push(Output::Reply { token, response: refused(ErrorCode::CoordinatorNotAvailable) });
            }
        }
    }

    fn set_timers(&mut self, group_id: &Arc<str>, changes: Vec<TimerChange>, now_ms: i64) {
        let session = |member_id| TimerKey::Session { group_id: Arc::clone(group_id), member_id };
        let revocation = |member_id| TimerKey::Revocation { group_id: Arc::clone(group_id), member_id };
        for change in changes {
            match change {
                TimerChange::Session { member_id, timeout_ms } => {
                    self.timers.schedule(session(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::Revocation { member_id, timeout_ms } => {
                    self.timers.schedule(revocation(member_id), now_ms.saturating_add(timeout_ms));
                }
                TimerChange::RevocationEnds { member_id } => self.timers.cancel(&revocation(member_id)),
                TimerChange::Ends { member_id } => {
                    self.timers.cancel(&session(Arc::clone(&member_id)));
                    self.timers.cancel(&revocation(member_id));
                }
            }
        }
    }

    pub(super) fn consumer_session_ended(
        &mut self,
        group_id: &Arc<str>,
        member_id: Arc<str>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) {
            slot.waiting.push_back(Work::SessionEnds(member_id));
            self.run_consumer_group(group_id, now_ms, out);
        }
    }

    pub(super) fn revocation_timed_out(
        &mut self,
        group_id: &Arc<str>,
        member_id: Arc<str>,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(slot) = self.consumer_groups.by_id.get_mut(group_id) {
            slot.waiting.push_back(Work::RevocationEnds(member_id));
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
                slot.in_flight = Some(InFlight { append_id, becomes: None, replies, is_overdue: false });
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
            let tokens = replies.into_iter().map(|(token, _)| token).chain(slot.waiting_tokens());
            out.extend(tokens.map(|token| Output::Reply { token, response: refused(error) }));
        }
    }
}

impl ConsumerSlot {
    /// Takes out the requests that wait; what time has brought about stays.
    fn waiting_tokens(&mut self) -> Vec<RequestToken> {
        let mut tokens = Vec::new();
        self.waiting.retain(|work| match work {
            Work::Heartbeat(token, _) => {
                tokens.push(*token);
                false
            }
            Work::SessionEnds(_) | Work::RevocationEnds(_) => true,
        });
        tokens
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
