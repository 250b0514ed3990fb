//! Share groups in a shard. As with consumer groups one append of a group is under way at a time, what comes meanwhile waits,
//! and all that waits is decided on one draft and answered with one append.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::append::{PendingAppend, append_error_to_response};
use super::{AppendId, CoordinatorRecord, GroupShard, Output};
use crate::consumer::{Context, Refused, TimerChange};
use crate::records::ShareRecord;
use crate::request::{RequestToken, ShareGroupHeartbeatRequest, ShareOffsetsChange, ShareOffsetsRequest};
use crate::response::{Response, ShareGroupHeartbeatResponse};
use crate::share::{self, ShareDraft, ShareGroup};
use crate::timers::TimerKey;

/// One share group of the shard.
#[derive(Debug)]
pub(crate) struct ShareSlot {
    /// As the log has it.
    pub(crate) group: ShareGroup,
    /// Whether the log has anything of it.
    is_written: bool,
    /// Of the topics that its epoch was begun with; `None` if that is not known.
    metadata_version: Option<i64>,
    asked_to_initialize_ms: Option<i64>,
    in_flight: Option<InFlight>,
    waiting: VecDeque<Work>,
}

/// An append of one group whose outcome is not known.
#[derive(Debug)]
struct InFlight {
    append_id: AppendId,
    /// `None`: it is no more then.
    becomes: Option<ShareGroup>,
    replies: Vec<(RequestToken, Response)>,
    /// The clients were told that it takes too long; whoever comes is told so too.
    is_overdue: bool,
}

#[derive(Debug)]
enum Work {
    Heartbeat(RequestToken, Box<ShareGroupHeartbeatRequest>),
    Offsets(RequestToken, ShareOffsetsChange),
    SessionEnds(Arc<str>),
    TopicsDeleted,
}

/// The share groups of a shard, and which of their appends are under way.
#[derive(Debug, Default)]
pub(crate) struct ShareGroups {
    pub(crate) by_id: BTreeMap<Arc<str>, ShareSlot>,
    in_flight: BTreeMap<AppendId, Vec<Arc<str>>>,
}

impl ShareSlot {
    fn new(group_id: Arc<str>) -> Self {
        Self {
            group: ShareGroup::new(group_id),
            is_written: false,
            metadata_version: None,
            asked_to_initialize_ms: None,
            in_flight: None,
            waiting: VecDeque::new(),
        }
    }

    fn is_idle_and_empty(&self) -> bool {
        self.group.is_empty() && self.in_flight.is_none() && self.waiting.is_empty()
    }

    /// Takes out the requests that wait, with what refuses them; what time has brought about stays.
    fn take_waiting(&mut self, error: ErrorCode) -> Vec<Output> {
        let mut out = Vec::new();
        self.waiting.retain(|work| match work {
            Work::Heartbeat(token, _) => {
                out.push(Output::Reply { token: *token, response: refused(error) });
                false
            }
            Work::Offsets(token, _) => {
                out.push(Output::Reply { token: *token, response: offsets_refused(error) });
                false
            }
            Work::SessionEnds(_) | Work::TopicsDeleted => true,
        });
        out
    }
}

impl ShareGroups {
    pub(crate) fn get(&self, group_id: &str) -> Option<&ShareGroup> {
        // What was not written yet is not there yet.
        self.by_id.get(group_id).filter(|slot| slot.is_written).map(|slot| &slot.group)
    }

    /// Takes in a record of a load.
    pub(super) fn replay(&mut self, group_id: &str, record: &ShareRecord) {
        if matches!(record, ShareRecord::Epoch(None)) {
            self.by_id.remove(group_id);
            return;
        }
        // A tombstone of a group that is not there tells nothing.
        if !self.by_id.contains_key(group_id) {
            if record.is_tombstone() {
                return;
            }
            let group_id: Arc<str> = group_id.into();
            self.by_id.insert(Arc::clone(&group_id), ShareSlot::new(group_id));
        }
        if let Some(slot) = self.by_id.get_mut(group_id) {
            slot.is_written = true;
            slot.group.apply(record);
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
        let is_other =
            self.groups.contains_key(group_id) || self.consumer_groups.by_id.contains_key(group_id);
        let reason = if is_other { "is not a share group" } else { "not found" };
        (ErrorCode::GroupIdNotFound, format!("Group {group_id} {reason}."))
    }

    /// The group that the heartbeat is for; who joins makes it if there is none.
    fn share_group_for(&mut self, request: &ShareGroupHeartbeatRequest) -> Result<Arc<str>, Refused> {
        let group_id = request.group_id.as_str();
        let is_known = self.share_groups.by_id.contains_key(group_id)
            || self.groups.contains_key(group_id)
            || self.consumer_groups.by_id.contains_key(group_id);
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
        let is_other =
            self.groups.contains_key(group_id) || self.consumer_groups.by_id.contains_key(group_id);
        if is_other {
            let message = format!("Group {group_id} is not a share group.");
            return Err(Refused::new(ErrorCode::GroupIdNotFound, message));
        }
        if self.group_count() >= self.config.groups_per_shard_max {
            let message = "The coordinator has as many groups as it may have.";
            return Err(Refused::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let group_id: Arc<str> = group_id.into();
        self.share_groups.by_id.insert(Arc::clone(&group_id), ShareSlot::new(Arc::clone(&group_id)));
        Ok(group_id)
    }

    fn share_group_work(&mut self, group_id: &Arc<str>, work: Work, now_ms: i64, out: &mut Vec<Output>) {
        let waiting_max = self.config.share.waiting_max;
        let Some(slot) = self.share_groups.by_id.get_mut(group_id) else { return };
        slot.waiting.push_back(work);
        let is_overdue = slot.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_overdue);
        if is_overdue || slot.waiting.len() > waiting_max {
            out.extend(slot.take_waiting(ErrorCode::CoordinatorNotAvailable));
        }
        self.run_share_group(group_id, now_ms, out);
    }

    /// Decides on all that waits for the group, unless an append of it is under way.
    fn run_share_group(&mut self, group_id: &Arc<str>, now_ms: i64, out: &mut Vec<Output>) {
        let Some(slot) = self.share_groups.by_id.get_mut(group_id) else { return };
        if slot.in_flight.is_some() {
            return;
        }
        let metadata = self.metadata.current();
        let context = Context { config: &self.config, metadata: &*metadata, now_ms };
        let is_metadata_stale = slot.metadata_version != Some(metadata.version());
        let mut draft =
            ShareDraft::new(&slot.group, is_metadata_stale, slot.asked_to_initialize_ms, slot.is_written);
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
        slot.asked_to_initialize_ms = draft.asked_to_initialize_ms;
        if !draft.is_metadata_stale {
            slot.metadata_version = Some(metadata.version());
        }
        if records.is_empty() {
            drop(draft);
            out.extend(replies.into_iter().map(|(token, response)| Output::Reply { token, response }));
            self.forget_unwritten_share_group(group_id);
        } else {
            let becomes = Some(draft.into_group());
            let append = PendingAppend { records, ..PendingAppend::default() };
            let append_id = self.appends.append_with(append, out);
            let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
            self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
            if let Some(slot) = self.share_groups.by_id.get_mut(group_id) {
                slot.in_flight = Some(InFlight { append_id, becomes, replies, is_overdue: false });
            }
            self.share_groups.in_flight.insert(append_id, vec![Arc::clone(group_id)]);
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
        for group_id in self.share_groups.in_flight.remove(&append_id).into_iter().flatten() {
            let Some(slot) = self.share_groups.by_id.get_mut(&group_id) else { continue };
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
                    let waiting = std::mem::take(&mut slot.waiting);
                    *slot = ShareSlot { waiting, ..ShareSlot::new(Arc::clone(&group_id)) };
                }
                // The draft took note of the topics and set the timers; the group that stays did not.
                (Err(_), _) => {
                    slot.metadata_version = None;
                    slot.asked_to_initialize_ms = None;
                }
            }
            if result.is_err() {
                self.arm_share_timers(&group_id, now_ms);
            }
            for (token, response) in in_flight.replies {
                let response = match result {
                    Ok(()) => response,
                    Err(error) => with_error(&response, append_error_to_response(error)),
                };
                out.push(Output::Reply { token, response });
            }
            self.run_share_group(&group_id, now_ms, out);
            self.forget_unwritten_share_group(&group_id);
        }
    }

    /// A group of which nothing is written, and that nobody waits for, never was.
    fn forget_unwritten_share_group(&mut self, group_id: &Arc<str>) {
        let is_unused = self
            .share_groups
            .by_id
            .get(group_id)
            .is_some_and(|slot| !slot.is_written && slot.in_flight.is_none() && slot.waiting.is_empty());
        if is_unused {
            self.share_groups.by_id.remove(group_id);
        }
    }

    /// An append takes too long: whoever waits for it, or behind it, is told.
    pub(super) fn share_groups_overdue(&mut self, append_id: AppendId, out: &mut Vec<Output>) {
        let group_ids = self.share_groups.in_flight.get(&append_id).cloned().unwrap_or_default();
        for group_id in group_ids {
            let Some(slot) = self.share_groups.by_id.get_mut(&group_id) else { continue };
            let Some(in_flight) = &mut slot.in_flight else { continue };
            in_flight.is_overdue = true;
            let error = ErrorCode::CoordinatorNotAvailable;
            for (token, response) in in_flight.replies.drain(..) {
                out.push(Output::Reply { token, response: with_error(&response, error) });
            }
            out.extend(slot.take_waiting(error));
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
        let is_concerned = |slot: &ShareSlot| {
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

    /// Holds requests of groups back while their tombstones are on their way.
    pub(super) fn share_groups_go(&mut self, append_id: AppendId, group_ids: Vec<Arc<str>>) {
        for group_id in &group_ids {
            if let Some(slot) = self.share_groups.by_id.get_mut(group_id) {
                let replies = Vec::new();
                slot.in_flight = Some(InFlight { append_id, becomes: None, replies, is_overdue: false });
            }
        }
        if !group_ids.is_empty() {
            self.share_groups.in_flight.insert(append_id, group_ids);
        }
    }

    /// Forgets all share groups; whoever waits is told.
    pub(super) fn unload_share_groups(&mut self, error: ErrorCode, out: &mut Vec<Output>) {
        let groups = std::mem::take(&mut self.share_groups);
        for mut slot in groups.by_id.into_values() {
            let replies = slot.in_flight.take().map(|in_flight| in_flight.replies).unwrap_or_default();
            out.extend(
                replies
                    .into_iter()
                    .map(|(token, response)| Output::Reply { token, response: with_error(&response, error) }),
            );
            out.extend(slot.take_waiting(error));
        }
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

fn with_error(response: &Response, error: ErrorCode) -> Response {
    match response {
        Response::ShareOffsets(_) => offsets_refused(error),
        _ => refused(error),
    }
}
