//! The rebalance of one group: who is parked, who is answered when, which timer runs.
//!
//! The rules are those of Kafka's classic groups. Whatever removes a member answers what it has parked, so that
//! every request is answered once.

use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId};

use crate::config::GroupConfig;
use crate::group::{ClassicGroup, GroupState, JoinPhase, Member};
use crate::records::group_key;
use crate::request::RequestToken;
use crate::response::{JoinGroupMember, JoinGroupResponse, Response, SyncGroupResponse};
use crate::shard::append::{Appends, Completion};
use crate::shard::{CoordinatorRecord, Output};
use crate::timers::{TimerKey, Timers};

/// How long a member that has no generation yet may wait for one. Its session does not count, for it cannot
/// send heartbeats; without a bound, clients that went away and came back would pile up.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// One group, and what its rebalance acts on.
pub(crate) struct Rebalance<'a> {
    pub(crate) config: &'a GroupConfig,
    pub(crate) group: &'a mut ClassicGroup,
    pub(crate) timers: &'a mut Timers,
    pub(crate) appends: &'a mut Appends,
    pub(crate) out: &'a mut Vec<Output>,
    pub(crate) now_ms: i64,
}

impl Rebalance<'_> {
    pub(crate) fn reply(&mut self, token: RequestToken, response: Response) {
        self.out.push(Output::Reply { token, response });
    }

    fn session_key(&self, member_id: &Arc<str>) -> TimerKey {
        TimerKey::Session { group_id: Arc::clone(&self.group.group_id), member_id: Arc::clone(member_id) }
    }

    fn join_key(&self) -> TimerKey {
        TimerKey::Join { group_id: Arc::clone(&self.group.group_id) }
    }

    fn sync_key(&self) -> TimerKey {
        TimerKey::Sync { group_id: Arc::clone(&self.group.group_id) }
    }

    pub(crate) fn schedule_session(&mut self, member_id: &Arc<str>, timeout_ms: i64) {
        let key = self.session_key(member_id);
        self.timers.schedule(key, self.now_ms.saturating_add(timeout_ms));
    }

    /// A sign of life: the member's session starts anew.
    pub(crate) fn renew_session(&mut self, member_id: &str) {
        if let Some(member) = self.group.member(member_id) {
            let (member_id, timeout_ms) =
                (Arc::clone(&member.member_id), i64::from(member.session_timeout_ms));
            self.schedule_session(&member_id, timeout_ms);
        }
    }

    /// The id is nobody's any more.
    pub(crate) fn retire_session(&mut self, member_id: &Arc<str>) {
        let key = self.session_key(member_id);
        self.timers.cancel(&key);
    }

    /// Adds a member with a parked JoinGroup and sees what that means for the group.
    pub(crate) fn add_member(&mut self, mut member: Member, protocol_type: &str, token: RequestToken) {
        member.is_new = true;
        member.awaiting_join = Some(token);
        let initial = self.group.state() == GroupState::PreparingRebalance
            && self.group.previous_state() == GroupState::Empty;
        if initial {
            self.group.new_member_added = true;
            self.wait_for_quiet();
        }
        if self.group.member_count() == 0 {
            self.group.protocol_type = Some(protocol_type.to_owned());
        }
        let member_id = Arc::clone(&member.member_id);
        self.group.add(member);
        self.schedule_session(&member_id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.prepare_rebalance_or_complete_join();
    }

    /// Parks a JoinGroup of a known member, after `change` was made to it.
    pub(crate) fn rejoin(&mut self, member_id: &str, token: RequestToken, change: impl FnOnce(&mut Member)) {
        self.park_join(member_id, token, change);
        self.prepare_rebalance_or_complete_join();
    }

    pub(crate) fn park_join(
        &mut self,
        member_id: &str,
        token: RequestToken,
        change: impl FnOnce(&mut Member),
    ) {
        let superseded = self.group.update(member_id, |member| {
            change(member);
            member.awaiting_join.replace(token)
        });
        // The client has given up on its earlier request, or it would not send another.
        if let Some(Some(old)) = superseded {
            self.reply(old, join_refused(ErrorCode::RebalanceInProgress, member_id));
        }
    }

    pub(crate) fn park_sync(&mut self, member_id: &str, token: RequestToken) {
        let superseded = self.group.update(member_id, |member| member.awaiting_sync.replace(token));
        if let Some(Some(old)) = superseded {
            self.reply(old, sync_refused(ErrorCode::RebalanceInProgress));
        }
        self.synced(member_id);
    }

    /// The member has asked for its assignment.
    pub(crate) fn synced(&mut self, member_id: &str) {
        self.group.pending_sync.remove(member_id);
        if self.group.pending_sync.is_empty() {
            self.timers.cancel(&self.sync_key());
        }
    }

    /// Takes a member out of the group, or out of those that are to join with an id of theirs, and answers what
    /// it has parked: UNKNOWN_MEMBER_ID lets a client that is still there join anew.
    pub(crate) fn remove_member(&mut self, member_id: &str) {
        self.retire_session(&member_id.into());
        if let Some(member) = self.group.remove(member_id) {
            self.answer_parked(&member, ErrorCode::UnknownMemberId, "");
        }
    }

    pub(crate) fn answer_parked(&mut self, member: &Member, error: ErrorCode, member_id: &str) {
        if let Some(token) = member.awaiting_join {
            self.reply(token, join_refused(error, member_id));
        }
        if let Some(token) = member.awaiting_sync {
            self.reply(token, sync_refused(error));
        }
    }

    pub(crate) fn prepare_rebalance_or_complete_join(&mut self) {
        if self.group.state().may_become(GroupState::PreparingRebalance) {
            self.prepare_rebalance();
        } else {
            self.complete_join_if_all_joined();
        }
    }

    /// # Panics
    /// If the group is already preparing.
    pub(crate) fn prepare_rebalance(&mut self) {
        // Who awaits an assignment gets none from this generation and has to join again.
        if self.group.state() == GroupState::CompletingRebalance {
            self.propagate_error(ErrorCode::RebalanceInProgress);
        }
        self.group.pending_sync.clear();
        self.timers.cancel(&self.sync_key());
        let initial = self.group.state() == GroupState::Empty;
        self.group.transition_to(GroupState::PreparingRebalance, self.now_ms);
        if initial {
            let delay_ms = i64::from(self.config.initial_rebalance_delay_ms.max(0));
            let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
            self.open_join_window(delay_ms, remaining_ms);
        } else if self.group.has_all_members_joined() {
            self.complete_join();
        } else {
            self.schedule_join(self.group.rebalance_timeout_ms(), JoinPhase::Rebalance);
        }
    }

    fn schedule_join(&mut self, delay_ms: i64, phase: JoinPhase) {
        self.group.join_phase = phase;
        let key = self.join_key();
        self.timers.schedule(key, self.now_ms.saturating_add(delay_ms));
    }

    /// A window in which the first members of a group wait for more.
    fn open_join_window(&mut self, delay_ms: i64, remaining_ms: i64) {
        let window_end_ms = self.now_ms.saturating_add(delay_ms);
        self.group.join_phase = JoinPhase::Initial { delay_ms, window_end_ms, remaining_ms };
        self.wait_for_quiet();
    }

    /// The first rebalance begins once nobody has come for a while, and at the end of its window at the latest.
    fn wait_for_quiet(&mut self) {
        if let JoinPhase::Initial { window_end_ms, .. } = self.group.join_phase {
            let quiet_ms = i64::from(self.config.initial_rebalance_quiet_ms.max(0));
            let key = self.join_key();
            self.timers.schedule(key, self.now_ms.saturating_add(quiet_ms).min(window_end_ms));
        }
    }

    /// The group's first rebalance takes its time, whoever has joined.
    pub(crate) fn complete_join_if_all_joined(&mut self) {
        if self.group.state() == GroupState::PreparingRebalance
            && self.group.previous_state() != GroupState::Empty
            && self.group.has_all_members_joined()
        {
            self.complete_join();
        }
    }

    /// A member is gone: the others rebalance, or were only waiting for that one.
    pub(crate) fn after_removal(&mut self) {
        match self.group.state() {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    pub(crate) fn join_timer_fired(&mut self) {
        if self.group.state() != GroupState::PreparingRebalance {
            return;
        }
        match self.group.join_phase {
            // Nobody came for a while, unless somebody was given an id and is to come with it at once.
            JoinPhase::Initial { window_end_ms, .. } if self.now_ms < window_end_ms => {
                if self.group.pending_join.is_empty() {
                    self.complete_join();
                } else {
                    self.wait_for_quiet();
                }
            }
            JoinPhase::Initial { delay_ms, remaining_ms, .. }
                if self.group.new_member_added && remaining_ms > 0 =>
            {
                self.group.new_member_added = false;
                let next_delay_ms =
                    i64::from(self.config.initial_rebalance_delay_ms.max(0)).min(remaining_ms);
                let remaining_ms = (remaining_ms - delay_ms).max(0);
                self.open_join_window(next_delay_ms, remaining_ms);
            }
            JoinPhase::Initial { .. } | JoinPhase::Rebalance => self.complete_join(),
        }
    }

    /// Ends the join phase: who has not joined is out (static members stay until their session ends), the rest
    /// is the next generation.
    fn complete_join(&mut self) {
        self.timers.cancel(&self.join_key());
        self.group.new_member_added = false;
        let missing: Vec<Arc<str>> = self
            .group
            .members()
            .filter(|member| member.awaiting_join.is_none() && member.group_instance_id.is_none())
            .map(|member| Arc::clone(&member.member_id))
            .collect();
        for member_id in missing {
            self.remove_member(&member_id);
        }
        if !self.group.elect_joined_leader() && self.group.member_count() > 0 {
            // Only static members are left, none of them here: their sessions decide.
            self.schedule_join(self.group.rebalance_timeout_ms().max(1), JoinPhase::Rebalance);
            return;
        }
        self.group.begin_next_generation(self.now_ms);
        if self.group.state() == GroupState::Empty {
            // If this record is lost, a later coordinator sees the previous generation and lets it expire.
            let record = self.metadata_record(|_| Bytes::new());
            self.appends.append(vec![record], None, self.out);
            return;
        }
        self.answer_joined();
        let (key, timeout_ms) = (self.sync_key(), self.group.rebalance_timeout_ms());
        self.timers.schedule(key, self.now_ms.saturating_add(timeout_ms));
    }

    fn answer_joined(&mut self) {
        let member_ids: Vec<Arc<str>> =
            self.group.members().map(|member| Arc::clone(&member.member_id)).collect();
        for member_id in member_ids {
            let token = self.group.update(&member_id, |member| {
                member.is_new = false;
                member.awaiting_join.take()
            });
            if let Some(Some(token)) = token {
                let response = self.joined(&member_id);
                self.reply(token, Response::Join(response));
            }
            self.renew_session(&member_id);
            self.group.pending_sync.insert(member_id);
        }
    }

    /// What a member of the current generation is told when it joins.
    pub(crate) fn joined(&self, member_id: &str) -> JoinGroupResponse {
        let group = &self.group;
        let protocol = group.protocol_name.as_deref().unwrap_or_default();
        let members = group.members().filter(|_| group.is_leader(member_id)).map(|member| JoinGroupMember {
            member_id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.as_deref().map(str::to_owned),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        });
        JoinGroupResponse {
            error: ErrorCode::None,
            generation_id: group.generation_id,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol_name.clone(),
            leader: group.leader().map(|id| id.to_string()).unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: members.collect(),
        }
    }

    /// The current generation's assignments are known and written.
    pub(crate) fn assign(&mut self, assignment: impl Fn(&str) -> Bytes) {
        self.group.transition_to(GroupState::Stable, self.now_ms);
        let member_ids: Vec<Arc<str>> =
            self.group.members().map(|member| Arc::clone(&member.member_id)).collect();
        for member_id in member_ids {
            let token = self.group.update(&member_id, |member| {
                member.assignment = assignment(&member_id);
                member.awaiting_sync.take()
            });
            if let Some(Some(token)) = token {
                let response = self.assigned(&member_id);
                self.reply(token, response);
                // A session that ended while the member waited was excused and has no timer any more.
                self.renew_session(&member_id);
            }
        }
    }

    /// What a member of a stable group is told when it syncs.
    pub(crate) fn assigned(&self, member_id: &str) -> Response {
        Response::Sync(SyncGroupResponse {
            error: ErrorCode::None,
            protocol_type: self.group.protocol_type.clone(),
            protocol_name: self.group.protocol_name.clone(),
            assignment: self
                .group
                .member(member_id)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        })
    }

    /// Nobody gets an assignment of this generation.
    pub(crate) fn propagate_error(&mut self, error: ErrorCode) {
        let member_ids: Vec<Arc<str>> =
            self.group.members().map(|member| Arc::clone(&member.member_id)).collect();
        for member_id in member_ids {
            let token = self.group.update(&member_id, |member| {
                member.assignment = Bytes::new();
                member.awaiting_sync.take()
            });
            if let Some(Some(token)) = token {
                self.reply(token, sync_refused(error));
                self.renew_session(&member_id);
            }
        }
    }

    pub(crate) fn session_expired(&mut self, member_id: &str) {
        let excused = self.group.member(member_id).is_some_and(Member::has_satisfied_heartbeat);
        let known = self.group.member(member_id).is_some() || self.group.is_pending(member_id);
        if known && !excused {
            let was_pending = self.group.is_pending(member_id);
            self.remove_member(member_id);
            match self.group.state() {
                // Even a first rebalance ends when the last one it waited for is gone: Kafka does so too.
                GroupState::PreparingRebalance if self.group.has_all_members_joined() => self.complete_join(),
                GroupState::PreparingRebalance => {}
                _ if was_pending => {}
                _ => self.after_removal(),
            }
        }
    }

    pub(crate) fn sync_timer_fired(&mut self) {
        let waiting = matches!(self.group.state(), GroupState::CompletingRebalance | GroupState::Stable);
        if !waiting || self.group.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.group.pending_sync) {
            self.remove_member(&member_id);
        }
        self.prepare_rebalance();
    }

    /// The group's record for the log.
    pub(crate) fn metadata_record(&self, assignment: impl Fn(&Member) -> Bytes) -> CoordinatorRecord {
        let key = group_key(&self.group.group_id);
        CoordinatorRecord { key, value: Some(self.group.to_record(assignment)) }
    }

    pub(crate) fn append(&mut self, record: CoordinatorRecord, completion: Completion) {
        let deadline_ms = self.now_ms.saturating_add(self.config.offset_commit_timeout_ms);
        let append_id = self.appends.append(vec![record], Some(completion), self.out);
        self.timers.schedule(TimerKey::Append(append_id), deadline_ms);
    }
}

/// JoinGroup's answer with an error.
pub(crate) fn join_refused(error: ErrorCode, member_id: &str) -> Response {
    Response::Join(join_refusal(error, member_id))
}

pub(crate) fn join_refusal(error: ErrorCode, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse {
        error,
        generation_id: GenerationId(-1),
        protocol_type: None,
        protocol_name: None,
        leader: String::new(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: Vec::new(),
    }
}

/// SyncGroup's answer with an error.
pub(crate) fn sync_refused(error: ErrorCode) -> Response {
    Response::Sync(SyncGroupResponse {
        error,
        protocol_type: None,
        protocol_name: None,
        assignment: Bytes::new(),
    })
}
