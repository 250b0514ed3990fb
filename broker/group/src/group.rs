//! A classic group: its members, the protocols they share, and the state machine between them.
//!
//! Only data and the rules that hold without looking at time or at replies; `rebalance.rs` drives it.

mod member;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, GenerationId, TimestampMs};

pub(crate) use member::{Member, metadata_bytes, own_protocols};
pub(crate) use state::GroupState;

use crate::records::{GroupMetadataValue, MemberMetadata, RecordError, subscribed_topics};
use crate::request::JoinGroupProtocol;

/// The protocol type of Kafka's consumers: what a group must have for its subscriptions to be understood.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// What the join timer of a group means when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinPhase {
    /// The first rebalance of an empty group waits for more members (KIP-134): for `delay_ms` at most, until
    /// `window_end_ms`, after which another such window may follow out of `remaining_ms`.
    Initial { delay_ms: i64, window_end_ms: i64, remaining_ms: i64 },
    /// Members have until then to join again.
    Rebalance,
}

/// One classic group.
///
/// `pending_join` and `members` are disjoint; `static_members` holds exactly the members with an instance id;
/// `leader` is one of `members` or `None`; `members_awaiting_join` counts members with a parked JoinGroup.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(crate) group_id: Arc<str>,
    state: GroupState,
    previous_state: GroupState,
    state_timestamp: Option<TimestampMs>,
    pub(crate) generation_id: GenerationId,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    pub(crate) pending_join: BTreeSet<Arc<str>>,
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    members_awaiting_join: usize,
    /// By how many members each protocol is supported.
    supported_protocols: BTreeMap<String, usize>,
    /// `None` where the subscriptions are not known: not a consumer group, or not understood.
    subscribed_topics: Option<BTreeSet<String>>,
    pub(crate) new_member_added: bool,
    /// Its record names no leader: it was a consumer group, and nobody has assigned its partitions yet.
    pub(crate) was_never_led: bool,
    pub(crate) join_phase: JoinPhase,
    /// Bytes of all members' metadata, for the bound on it.
    metadata_bytes: usize,
}

impl ClassicGroup {
    /// An empty group without a protocol type: also what a "simple" group is, one that only commits offsets.
    pub(crate) fn new(group_id: Arc<str>, now_ms: i64) -> Self {
        Self {
            group_id,
            state: GroupState::Empty,
            previous_state: GroupState::Dead,
            state_timestamp: Some(TimestampMs(now_ms)),
            generation_id: GenerationId(0),
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            members_awaiting_join: 0,
            supported_protocols: BTreeMap::new(),
            subscribed_topics: None,
            new_member_added: false,
            was_never_led: false,
            join_phase: JoinPhase::Rebalance,
            metadata_bytes: 0,
        }
    }

    /// The group that a record tells of: stable if it has members, empty otherwise.
    pub(crate) fn from_record(
        group_id: Arc<str>,
        value: &GroupMetadataValue<'_>,
    ) -> Result<Self, RecordError> {
        let mut group = Self::new(group_id, 0);
        group.state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_timestamp =
            Some(value.current_state_timestamp).filter(|timestamp| *timestamp != TimestampMs::NONE);
        group.generation_id = value.generation_id;
        group.protocol_type = Some(value.protocol_type.to_owned()).filter(|text| !text.is_empty());
        group.protocol_name = value.protocol.map(str::to_owned);
        for member in &value.members {
            let member = Member::from_record(member, value.protocol.unwrap_or_default());
            let known = group.members.contains_key(&member.member_id)
                || member.group_instance_id.as_ref().is_some_and(|id| group.static_members.contains_key(id));
            if known {
                return Err(RecordError::Invalid { field: "members" });
            }
            group.add(member);
        }
        if let Some(leader) = value.leader.and_then(|id| group.members.get_key_value(id)) {
            group.leader = Some(Arc::clone(leader.0));
        }
        group.was_never_led = value.leader.is_none() && !value.members.is_empty();
        group.subscribed_topics = group.compute_subscribed_topics();
        Ok(group)
    }

    /// The group's record, with `assignments` as its members' (none is the empty one).
    pub(crate) fn to_record(&self, assignment: impl Fn(&Member) -> bytes::Bytes) -> bytes::Bytes {
        let assignments: Vec<bytes::Bytes> = self.members.values().map(assignment).collect();
        let protocol = self.protocol_name.as_deref();
        let members = self.members.values().zip(&assignments).map(|(member, assignment)| MemberMetadata {
            member_id: &member.member_id,
            group_instance_id: member.group_instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: protocol.and_then(|name| member.metadata(name)).map_or(&[], |bytes| bytes),
            assignment,
        });
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation_id: self.generation_id,
            protocol,
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_timestamp.unwrap_or(TimestampMs::NONE),
            members: members.collect(),
        }
        .encode()
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    pub(crate) fn previous_state(&self) -> GroupState {
        self.previous_state
    }

    /// When the group came into its state; `None` if an old record did not tell.
    pub(crate) fn state_timestamp(&self) -> Option<TimestampMs> {
        self.state_timestamp
    }

    /// # Panics
    /// If the state machine has no such transition.
    pub(crate) fn transition_to(&mut self, state: GroupState, now_ms: i64) {
        assert!(self.state.may_become(state), "group {}: {} to {state}", self.group_id, self.state);
        self.previous_state = self.state;
        self.state = state;
        self.state_timestamp = Some(TimestampMs(now_ms));
    }

    /// The rebalance under way is given up: who waits for it is returned, to be told. The members stay.
    pub(crate) fn abandon_rebalance(&mut self) -> Vec<Member> {
        self.pending_join.clear();
        self.pending_sync.clear();
        let waits = |member: &&Member| member.awaiting_join.is_some() || member.awaiting_sync.is_some();
        let waiting: Vec<Member> = self.members.values().filter(waits).cloned().collect();
        for member in &waiting {
            self.update(&member.member_id, |member| {
                member.awaiting_join = None;
                member.awaiting_sync = None;
            });
        }
        if !self.members.is_empty() {
            if self.protocol_name.is_none() {
                self.protocol_name = self.select_protocol();
            }
            self.state = GroupState::Stable;
        }
        waiting
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn members_awaiting_join(&self) -> usize {
        self.members_awaiting_join
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.metadata_bytes
    }

    pub(crate) fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    /// Whoever reads the group's record is to have it assigned anew.
    pub(crate) fn forget_leader(&mut self) {
        self.leader = None;
    }

    pub(crate) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(crate) fn static_member_id(&self, group_instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(group_instance_id)
    }

    pub(crate) fn is_pending(&self, member_id: &str) -> bool {
        self.pending_join.contains(member_id)
    }

    /// Whether everyone who is to join has done so.
    pub(crate) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.members_awaiting_join && self.pending_join.is_empty()
    }

    /// The longest time that a member grants a rebalance.
    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    /// Adds a member that is not there yet.
    pub(crate) fn add(&mut self, member: Member) {
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(&member.member_id));
        }
        self.pending_join.remove(&member.member_id);
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.member_id));
        }
        self.count(&member);
        let previous = self.members.insert(Arc::clone(&member.member_id), member);
        assert!(previous.is_none(), "group {}: a member is added once", self.group_id);
    }

    /// Removes a member, or one that was pending. Another member becomes leader if it was that.
    pub(crate) fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.discount(&member);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member's place to a new member id (KIP-345). The old one's parked requests are returned
    /// with it, to be fenced. Kafka forgets that the old one had not synced yet; the new one has to instead.
    pub(crate) fn replace_static_member(
        &mut self,
        old_member_id: &str,
        new_member_id: &Arc<str>,
    ) -> Option<Member> {
        let old = self.members.remove(old_member_id)?;
        self.discount(&old);
        let mut new = old.clone();
        new.member_id = Arc::clone(new_member_id);
        new.awaiting_join = None;
        new.awaiting_sync = None;
        new.is_new = false;
        if self.pending_sync.remove(old_member_id) {
            self.pending_sync.insert(Arc::clone(new_member_id));
        }
        if self.is_leader(old_member_id) {
            self.leader = Some(Arc::clone(new_member_id));
        }
        if let Some(instance_id) = &new.group_instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(new_member_id));
        }
        self.count(&new);
        self.members.insert(Arc::clone(new_member_id), new);
        Some(old)
    }

    /// Changes a member; the group's counts follow whatever was changed.
    pub(crate) fn update<T>(&mut self, member_id: &str, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let (id, mut member) = self.members.remove_entry(member_id)?;
        self.discount(&member);
        let result = change(&mut member);
        self.count(&member);
        self.members.insert(id, member);
        Some(result)
    }

    fn count(&mut self, member: &Member) {
        for protocol in &member.protocols {
            match self.supported_protocols.get_mut(&protocol.name) {
                Some(count) => *count += 1,
                None => {
                    self.supported_protocols.insert(protocol.name.clone(), 1);
                }
            }
        }
        self.metadata_bytes += member.metadata_bytes();
        self.members_awaiting_join += usize::from(member.awaiting_join.is_some());
    }

    fn discount(&mut self, member: &Member) {
        for protocol in &member.protocols {
            if let Some(count) = self.supported_protocols.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported_protocols.remove(&protocol.name);
                }
            }
        }
        self.metadata_bytes -= member.metadata_bytes();
        self.members_awaiting_join -= usize::from(member.awaiting_join.is_some());
    }

    /// Whether a member with these protocols has one in common with all members.
    pub(crate) fn supports_protocols(&self, protocol_type: &str, protocols: &[JoinGroupProtocol]) -> bool {
        if self.state == GroupState::Empty || self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported_protocols.get(&p.name) == Some(&self.members.len()))
    }

    /// The protocol that most members prefer among those that all support; of two, the one first by name.
    pub(crate) fn select_protocol(&self) -> Option<String> {
        let is_candidate = |name: &str| self.supported_protocols.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) = member.protocols.iter().find(|p| is_candidate(&p.name)) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    /// Sees to it that the leader is somebody who has joined. `false`: nobody has.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader.as_ref().and_then(|id| self.members.get(id)) else { return false };
        if leader.awaiting_join.is_some() {
            return true;
        }
        match self.members.values().find(|member| member.awaiting_join.is_some()) {
            Some(member) => {
                self.leader = Some(Arc::clone(&member.member_id));
                true
            }
            None => false,
        }
    }

    /// Begins the next generation: completing the rebalance if there are members, empty otherwise.
    pub(crate) fn begin_next_generation(&mut self, now_ms: i64) {
        self.generation_id = GenerationId(self.generation_id.0.wrapping_add(1).max(0));
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        let state = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.transition_to(state, now_ms);
        self.pending_sync.clear();
    }

    /// Checks that a member id is the member's that it says it is.
    pub(crate) fn validate_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<&Member, ErrorCode> {
        if let Some(instance_id) = group_instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether the subscriptions are known, which is what lets a stable group's unused offsets expire.
    pub(crate) fn knows_subscribed_topics(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// Whether a member subscribes to the topic; a consumer group whose subscriptions are unknown might.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let names = subscribed_topics(member.metadata(protocol)?).ok()?;
            topics.extend(names.into_iter().map(str::to_owned));
        }
        Some(topics)
    }

    /// The invariants of the type, for tests and debug builds.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let awaiting = self.members.values().filter(|member| member.awaiting_join.is_some()).count();
        assert_eq!(awaiting, self.members_awaiting_join);
        assert!(self.pending_join.iter().all(|id| !self.members.contains_key(id)));
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)));
        assert_eq!(self.leader.is_some(), !self.members.is_empty());
        assert!(self.leader.iter().all(|id| self.members.contains_key(id)));
        let statics = self.members.values().filter(|member| member.group_instance_id.is_some()).count();
        assert_eq!(statics, self.static_members.len());
        for (instance_id, member_id) in &self.static_members {
            let member = &self.members[member_id];
            assert_eq!(member.group_instance_id.as_ref(), Some(instance_id));
        }
        assert_eq!(self.metadata_bytes, self.members.values().map(Member::metadata_bytes).sum::<usize>());
        if self.state == GroupState::Empty {
            assert!(self.members.is_empty());
        }
        if matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable)
            && !self.members.is_empty()
        {
            assert!(self.protocol_name.is_some());
        }
    }
}
