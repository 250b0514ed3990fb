//! What consumer, share and streams groups have in common in a shard: one append of a group is under way at a time, what comes
//! meanwhile waits, and all that waits is decided on one draft and answered with one append. What a group is changes only by
//! what is in the log; a group whose append fails is what it was before.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use moldau_model::ErrorCode;

use super::append::append_error_to_response;
use super::{AppendId, Output};
use crate::group::ClassicGroup;
use crate::request::RequestToken;
use crate::response::Response;

/// A kind of groups that are written by records of their own.
pub(crate) trait GroupKind: Debug {
    type Group: Debug;
    /// What waits for its turn: a request, or what time has brought about.
    type Work: Debug;
    /// What else than a group of its kind a committed append may make of a group.
    type Successor: Debug;
    /// What is known of a group beyond its records.
    type Memory: Debug + Default;

    fn new_group(group_id: Arc<str>) -> Self::Group;
    fn is_empty(group: &Self::Group) -> bool;
    /// The request's answer, with an error; `None` if it is none.
    fn refused(work: &Self::Work, error: ErrorCode) -> Option<Output>;
    /// The same kind of answer, when its append failed.
    fn failed(response: &Response, error: ErrorCode) -> Response;
}

/// One group of the shard.
#[derive(Debug)]
pub(crate) struct GroupSlot<K: GroupKind> {
    /// As the log has it.
    pub(crate) group: K::Group,
    /// Whether the log has anything of it.
    pub(super) is_written: bool,
    /// Of the topics that its epoch was begun with; `None` if that is not known.
    pub(super) metadata_version: Option<i64>,
    pub(super) memory: K::Memory,
    pub(super) waiting: VecDeque<K::Work>,
    in_flight: Option<InFlight<K>>,
}

/// An append of one group whose outcome is not known.
#[derive(Debug)]
struct InFlight<K: GroupKind> {
    append_id: AppendId,
    becomes: Becomes<K>,
    /// What is known of the group beyond its records from then on.
    memory: K::Memory,
    replies: Vec<(RequestToken, Response)>,
    /// The clients were told that it takes too long; whoever comes is told so too.
    is_overdue: bool,
}

/// What a group is once its append is committed.
#[derive(Debug)]
pub(super) enum Becomes<K: GroupKind> {
    Group(K::Group),
    Successor(K::Successor),
    /// It is no more.
    Nothing,
}

/// The groups of one kind in a shard, and which of their appends are under way.
#[derive(Debug)]
pub(crate) struct Groups<K: GroupKind> {
    pub(crate) by_id: BTreeMap<Arc<str>, GroupSlot<K>>,
    in_flight: BTreeMap<AppendId, Vec<Arc<str>>>,
}

impl<K: GroupKind> Default for Groups<K> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), in_flight: BTreeMap::new() }
    }
}

impl<K: GroupKind> Groups<K> {
    /// At the end of a load an id is of one kind. A change of kind is one append, and was two once: if the second came without
    /// the first, members tell which it is. Gives the groups that stay.
    pub(super) fn settle_kinds(&mut self, classic: &mut BTreeMap<Arc<str>, ClassicGroup>) -> Vec<Arc<str>> {
        self.by_id.retain(|group_id, slot| {
            let is_empty = !slot.is_written || K::is_empty(&slot.group);
            let gives_way = is_empty && classic.contains_key(group_id);
            if !gives_way {
                classic.remove(group_id);
            }
            !gives_way
        });
        self.by_id.keys().cloned().collect()
    }
}

impl<K: GroupKind> GroupSlot<K> {
    fn new(group_id: Arc<str>) -> Self {
        Self {
            group: K::new_group(group_id),
            is_written: false,
            metadata_version: None,
            memory: K::Memory::default(),
            waiting: VecDeque::new(),
            in_flight: None,
        }
    }

    /// Whether it can be removed: nobody is in it, or about to be.
    pub(super) fn is_idle_and_empty(&self) -> bool {
        K::is_empty(&self.group) && !self.is_busy()
    }

    /// Whether requests that come now are for this group, and not for one that may take its place.
    pub(super) fn is_in_use(&self) -> bool {
        !K::is_empty(&self.group) || self.is_busy()
    }

    fn is_busy(&self) -> bool {
        self.in_flight.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn has_append_under_way(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What the append under way makes of it.
    pub(super) fn becomes(&self) -> Option<&Becomes<K>> {
        self.in_flight.as_ref().map(|in_flight| &in_flight.becomes)
    }

    /// Refuses the requests that wait; what time has brought about stays.
    fn refuse_waiting(&mut self, error: ErrorCode, out: &mut Vec<Output>) {
        self.waiting.retain(|work| match K::refused(work, error) {
            Some(reply) => {
                out.push(reply);
                false
            }
            None => true,
        });
    }
}

impl<K: GroupKind> Groups<K> {
    pub(crate) fn get(&self, group_id: &str) -> Option<&K::Group> {
        // What was not written yet is not there yet.
        self.by_id.get(group_id).filter(|slot| slot.is_written).map(|slot| &slot.group)
    }

    /// All of which the log has something.
    pub(super) fn written(&self) -> impl Iterator<Item = &K::Group> {
        self.by_id.values().filter(|slot| slot.is_written).map(|slot| &slot.group)
    }

    /// The group's place, which is made if there is none.
    pub(super) fn make(&mut self, group_id: &str) -> Arc<str> {
        if let Some((group_id, _)) = self.by_id.get_key_value(group_id) {
            return Arc::clone(group_id);
        }
        let group_id: Arc<str> = group_id.into();
        self.by_id.insert(Arc::clone(&group_id), GroupSlot::new(Arc::clone(&group_id)));
        group_id
    }

    /// A written group is what it was: what was to take its place did not come to be.
    pub(super) fn put_back(&mut self, group_id: &Arc<str>, group: K::Group) {
        if !self.by_id.contains_key(group_id) {
            let slot = GroupSlot { group, is_written: true, ..GroupSlot::new(Arc::clone(group_id)) };
            self.by_id.insert(Arc::clone(group_id), slot);
        }
    }

    /// Takes in a record of a load. A tombstone of a group that is not there tells nothing.
    pub(super) fn replay(&mut self, group_id: &str, is_tombstone: bool, apply: impl FnOnce(&mut K::Group)) {
        if is_tombstone && !self.by_id.contains_key(group_id) {
            return;
        }
        let group_id = self.make(group_id);
        if let Some(slot) = self.by_id.get_mut(&group_id) {
            slot.is_written = true;
            apply(&mut slot.group);
        }
    }

    /// Lets work wait for its turn. Gives the answer of a request that there is no room for.
    pub(super) fn queue(&mut self, group_id: &str, work: K::Work, waiting_max: usize) -> Option<Output> {
        let slot = self.by_id.get_mut(group_id)?;
        let is_overdue = slot.in_flight.as_ref().is_some_and(|in_flight| in_flight.is_overdue);
        if (is_overdue || slot.waiting.len() >= waiting_max)
            && let Some(reply) = K::refused(&work, ErrorCode::CoordinatorNotAvailable)
        {
            return Some(reply);
        }
        slot.waiting.push_back(work);
        None
    }

    /// An append of the group is under way.
    pub(super) fn begin_append(
        &mut self,
        group_id: &Arc<str>,
        append_id: AppendId,
        becomes: Becomes<K>,
        memory: K::Memory,
        replies: Vec<(RequestToken, Response)>,
    ) {
        if let Some(slot) = self.by_id.get_mut(group_id) {
            slot.in_flight = Some(InFlight { append_id, becomes, memory, replies, is_overdue: false });
            self.in_flight.entry(append_id).or_default().push(Arc::clone(group_id));
        }
    }

    /// Holds requests of groups back while their tombstones are on their way.
    pub(super) fn go(&mut self, append_id: AppendId, group_ids: &[Arc<str>]) {
        for group_id in group_ids {
            self.begin_append(group_id, append_id, Becomes::Nothing, K::Memory::default(), Vec::new());
        }
    }

    /// The groups that an append changes whose outcome has come.
    pub(super) fn take_appended(&mut self, append_id: AppendId) -> Vec<Arc<str>> {
        self.in_flight.remove(&append_id).unwrap_or_default()
    }

    /// Takes in the outcome of the append for one group, and answers who waited for it. Gives what else the group is now.
    pub(super) fn settle(
        &mut self,
        group_id: &Arc<str>,
        append_id: AppendId,
        result: Result<(), ErrorCode>,
        out: &mut Vec<Output>,
    ) -> Option<K::Successor> {
        let slot = self.by_id.get_mut(group_id)?;
        let in_flight = slot.in_flight.take_if(|in_flight| in_flight.append_id == append_id)?;
        let mut successor = None;
        match (result, in_flight.becomes) {
            (Ok(()), Becomes::Group(group)) => {
                slot.group = group;
                slot.memory = in_flight.memory;
                slot.is_written = true;
            }
            (Ok(()), Becomes::Successor(next)) => successor = Some(next),
            // Who waits makes it anew.
            (Ok(()), Becomes::Nothing) => {
                let waiting = std::mem::take(&mut slot.waiting);
                *slot = GroupSlot { waiting, ..GroupSlot::new(Arc::clone(group_id)) };
            }
            // The draft took note of the topics; the group that stays did not.
            (Err(_), _) => slot.metadata_version = None,
        }
        for (token, response) in in_flight.replies {
            let response = match result {
                Ok(()) => response,
                Err(error) => K::failed(&response, append_error_to_response(error)),
            };
            out.push(Output::Reply { token, response });
        }
        successor
    }

    /// A group of which nothing is written, and that nobody waits for, never was. Says whether it was forgotten.
    pub(super) fn forget_unwritten(&mut self, group_id: &str) -> bool {
        let is_unused = self.by_id.get(group_id).is_some_and(|slot| !slot.is_written && !slot.is_busy());
        if is_unused {
            self.by_id.remove(group_id);
        }
        is_unused
    }

    /// An append takes too long: whoever waits for it, or behind it, is told.
    pub(super) fn overdue(&mut self, append_id: AppendId, out: &mut Vec<Output>) {
        let error = ErrorCode::CoordinatorNotAvailable;
        for group_id in self.in_flight.get(&append_id).into_iter().flatten() {
            let Some(slot) = self.by_id.get_mut(group_id) else { continue };
            let Some(in_flight) = &mut slot.in_flight else { continue };
            in_flight.is_overdue = true;
            for (token, response) in in_flight.replies.drain(..) {
                out.push(Output::Reply { token, response: K::failed(&response, error) });
            }
            slot.refuse_waiting(error, out);
        }
    }

    /// Forgets all groups; whoever waits is told.
    pub(super) fn unload(&mut self, error: ErrorCode, out: &mut Vec<Output>) {
        for mut slot in std::mem::take(self).by_id.into_values() {
            let replies = slot.in_flight.take().map(|in_flight| in_flight.replies).unwrap_or_default();
            let reply = |(token, response)| Output::Reply { token, response: K::failed(&response, error) };
            out.extend(replies.into_iter().map(reply));
            slot.refuse_waiting(error, out);
        }
    }
}
