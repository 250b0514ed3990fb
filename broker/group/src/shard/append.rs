//! Appends under way, and what is to happen when their outcome is known.
//!
//! An offset becomes visible when the append that carries it is committed, never earlier. Outcomes may come in
//! another order than the appends were made; the log's order decides nevertheless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, PartitionIndex, ProducerId};

use super::{AppendId, AppendKind, CoordinatorRecord, Output};
use crate::consumer::ConsumerGroup;
use crate::group::{ClassicGroup, Member};
use crate::records::RecordKey;
use crate::request::RequestToken;
use crate::response::Response;
use crate::streams::StreamsGroup;

/// What a reply, or a group, waits for.
#[derive(Debug)]
pub(crate) enum Completion {
    /// The first record of a new group. If it fails, the group was never there.
    NewGroup { group_id: Arc<str> },
    /// The leader's SyncGroup: everyone gets an assignment, or nobody.
    Assignment { group_id: Arc<str>, generation_id: GenerationId, assignments: BTreeMap<String, Bytes> },
    /// A static member was replaced in a stable group (KIP-345).
    StaticMember(Box<StaticMemberReplaced>),
    /// A response that is ready but for the append. With an error, `simple_group` was never there.
    Reply { token: RequestToken, response: Response, simple_group: Option<Arc<str>> },
}

/// An empty group that gave its place.
#[derive(Debug)]
pub(crate) enum Retired {
    Consumer(Box<ConsumerGroup>),
    Streams(Box<StreamsGroup>),
}

/// What it takes to answer the new static member, or to give its place back to the old one.
#[derive(Debug)]
pub(crate) struct StaticMemberReplaced {
    pub(crate) api_version: i16,
    pub(crate) group_id: Arc<str>,
    pub(crate) generation_id: GenerationId,
    /// The leader's id before the replacement: what a member that cannot skip the assignment must not be.
    pub(crate) leader: String,
    pub(crate) old_member: Member,
    pub(crate) new_member_id: Arc<str>,
    pub(crate) token: RequestToken,
}

/// An append whose outcome is not known.
#[derive(Debug, Default)]
pub(crate) struct PendingAppend {
    pub(crate) kind: AppendKind,
    pub(crate) records: Vec<CoordinatorRecord>,
    /// Gone once the clients were told that it takes too long.
    pub(crate) completion: Option<Completion>,
    /// Groups that its tombstones remove; they come back if it fails.
    pub(crate) removed_groups: Vec<ClassicGroup>,
    /// The empty group of another kind whose place a classic one takes; it comes back if that fails.
    pub(crate) retired: Option<Retired>,
    /// Groups whose offsets it changes.
    pub(crate) offsets_of: BTreeSet<Arc<str>>,
}

/// The appends of one shard.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    pub(crate) leader_epoch: LeaderEpoch,
    next_id: u64,
    pending: BTreeMap<AppendId, PendingAppend>,
    /// Those of producers that are committed while earlier ones of the same producer are not known to be.
    held: BTreeSet<AppendId>,
    /// By group, the pending appends that change its offsets.
    offsets_pending: BTreeMap<Arc<str>, BTreeSet<AppendId>>,
    /// Keys that a committed append wrote while an earlier one was still pending: that one comes too late.
    overtaken: BTreeMap<Bytes, AppendId>,
}

impl Appends {
    /// The place of a record that is loaded, or of the next append.
    pub(crate) fn next_place(&mut self) -> AppendId {
        let place = AppendId(self.next_id);
        self.next_id += 1;
        place
    }

    /// Hands records to the log that touch no offsets.
    pub(crate) fn append(
        &mut self,
        records: Vec<CoordinatorRecord>,
        completion: Option<Completion>,
        out: &mut Vec<Output>,
    ) -> AppendId {
        self.append_with(PendingAppend { records, completion, ..PendingAppend::default() }, out)
    }

    /// Hands records to the log.
    pub(crate) fn append_with(&mut self, append: PendingAppend, out: &mut Vec<Output>) -> AppendId {
        let append_id = self.next_place();
        for group_id in &append.offsets_of {
            self.offsets_pending.entry(Arc::clone(group_id)).or_default().insert(append_id);
        }
        out.push(Output::Append {
            append_id,
            leader_epoch: self.leader_epoch,
            kind: append.kind,
            records: append.records.clone(),
        });
        self.pending.insert(append_id, append);
        append_id
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes out an append whose outcome has come.
    pub(crate) fn settle(&mut self, append_id: AppendId) -> Option<PendingAppend> {
        let append = self.pending.remove(&append_id)?;
        for group_id in &append.offsets_of {
            if let Some(pending) = self.offsets_pending.get_mut(group_id) {
                pending.remove(&append_id);
                if pending.is_empty() {
                    self.offsets_pending.remove(group_id);
                }
            }
        }
        Some(append)
    }

    /// Whether the append has to wait, though it is committed: its producer has earlier ones of which that is not known yet,
    /// and a transaction is taken in as it stands in the log.
    pub(crate) fn hold(&mut self, append_id: AppendId) -> bool {
        let is_held = self.has_undecided_before(append_id);
        if is_held {
            self.held.insert(append_id);
        }
        is_held
    }

    /// The earliest held append that waits for nothing any more.
    pub(crate) fn next_free(&mut self) -> Option<AppendId> {
        let free = self.held.iter().copied().find(|held| !self.has_undecided_before(*held))?;
        self.held.remove(&free);
        Some(free)
    }

    fn has_undecided_before(&self, append_id: AppendId) -> bool {
        let Some(producer_id) = self.pending.get(&append_id).and_then(|append| append.kind.producer_id())
        else {
            return false;
        };
        let mut earlier = self.pending.range(..append_id);
        earlier.any(|(_, append)| append.kind.producer_id() == Some(producer_id))
    }

    /// The groups of which pending appends commit offsets in the producer's transaction.
    pub(crate) fn groups_in_transaction(&self, producer_id: ProducerId) -> BTreeSet<Arc<str>> {
        let of_producer =
            self.pending.values().filter(|append| append.kind.producer_id() == Some(producer_id));
        of_producer.flat_map(|append| append.offsets_of.iter().cloned()).collect()
    }

    /// Whether the log holds a later record of this key that is already known to be committed.
    pub(crate) fn was_overtaken(&self, append_id: AppendId, key: &Bytes) -> bool {
        self.overtaken.get(key).is_some_and(|later| *later > append_id)
    }

    /// Whether the log holds a later record of this key that is already known to be committed. Remembers this
    /// one if an earlier append is still under way.
    pub(crate) fn is_overtaken(&mut self, append_id: AppendId, key: &Bytes) -> bool {
        if self.was_overtaken(append_id, key) {
            return true;
        }
        if self.pending.first_key_value().is_some_and(|(first, _)| *first < append_id) {
            self.overtaken.insert(key.clone(), append_id);
        }
        false
    }

    /// Forgets keys that nothing pending can come too late for.
    pub(crate) fn prune_overtaken(&mut self) {
        match self.pending.first_key_value().map(|(first, _)| *first) {
            Some(first) => self.overtaken.retain(|_, append_id| *append_id > first),
            None => self.overtaken.clear(),
        }
    }

    pub(crate) fn take_completion(&mut self, append_id: AppendId) -> Option<Completion> {
        self.pending.get_mut(&append_id)?.completion.take()
    }

    /// The latest pending append that changes the group's offsets.
    pub(crate) fn last_offsets_append(&self, group_id: &str) -> Option<AppendId> {
        self.offsets_pending.get(group_id)?.last().copied()
    }

    /// The earliest one.
    pub(crate) fn first_offsets_append(&self, group_id: &str) -> Option<AppendId> {
        self.offsets_pending.get(group_id)?.first().copied()
    }

    /// The group's offsets that pending appends would leave behind: a deletion has to write tombstones for them
    /// too, since they come to the log before it.
    pub(crate) fn pending_offset_keys(&self, group_id: &str) -> BTreeSet<(String, PartitionIndex)> {
        let mut keys = BTreeSet::new();
        for append_id in self.offsets_pending.get(group_id).into_iter().flatten() {
            let records = self.pending.get(append_id).map(|append| &append.records);
            for record in records.into_iter().flatten() {
                match RecordKey::decode(&record.key) {
                    Ok(RecordKey::Offset { group_id: group, topic, partition }) if group == group_id => {
                        if record.value.is_some() {
                            keys.insert((topic.to_owned(), partition));
                        } else {
                            keys.remove(&(topic.to_owned(), partition));
                        }
                    }
                    _ => {}
                }
            }
        }
        keys
    }

    /// The groups of which offsets are pending.
    pub(crate) fn groups_with_pending_offsets(&self) -> Vec<Arc<str>> {
        self.offsets_pending.keys().cloned().collect()
    }

    /// Forgets everything; ids go on, so that a late outcome meets nothing.
    pub(crate) fn clear(&mut self) -> BTreeMap<AppendId, PendingAppend> {
        self.offsets_pending.clear();
        self.overtaken.clear();
        self.held.clear();
        std::mem::take(&mut self.pending)
    }
}

/// How Kafka's coordinator tells clients that an append failed: by what makes them look for the coordinator
/// again, or repeat.
pub(crate) fn append_error_to_response(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch | ErrorCode::KafkaStorageError => {
            ErrorCode::NotCoordinator
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_overtaken_are_remembered_while_an_earlier_append_is_under_way_and_no_longer() {
        let (mut appends, mut out) = (Appends::default(), Vec::new());
        let key = Bytes::from_static(b"key");
        let ids: Vec<AppendId> = (0..3).map(|_| appends.append(Vec::new(), None, &mut out)).collect();
        assert!(appends.settle(ids[1]).is_some());
        assert!(!appends.is_overtaken(ids[1], &key));
        appends.prune_overtaken();
        assert!(appends.is_overtaken(ids[0], &key), "the later one is committed");
        assert!(appends.settle(ids[0]).is_some());
        appends.prune_overtaken();
        assert!(appends.overtaken.is_empty(), "nothing pending is older");
        assert!(!appends.is_overtaken(ids[2], &key));
        assert!(appends.settle(ids[2]).is_some() && appends.settle(ids[2]).is_none());
    }
}
